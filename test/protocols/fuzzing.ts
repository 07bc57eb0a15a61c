/**
 * Feeds a reader many inputs: the good one changed in a few bytes, cut, joined, or something else altogether. Each has
 * to end in a value or a coded error, soon, and without allocating more than a small multiple of its length. Time is
 * what this thread computes, so that a busy machine does not count.
 */
import { getHeapStatistics } from 'node:v8';
import * as fc from 'fast-check';
import { kindOf } from '../../protocols/attestation/evidence-files.ts';
import { VouchError } from '../../protocols/errors.ts';
import { assert } from '../harness.ts';

const MOST_MS = 50;
/** Bytes allocated, garbage included: a parsed tree of XML or JSON is some tens of times its text. */
const FACTOR = 128;
/** What V8 hands out at once, and error messages with their stacks. */
const SLACK = 512 * 1024;
const TRIES = 3;

/** Bytes on and off the heap. */
const allocated = (): number => {
  const { used_heap_size, external_memory, malloced_memory } = getHeapStatistics();
  return used_heap_size + external_memory + malloced_memory;
};

export interface Cost {
  readonly ms: number;
  /** NaN when a collection came in between */
  readonly bytes: number;
}

export function costOf(parse: () => unknown): Cost {
  const before = allocated();
  const start = process.threadCpuUsage();
  try {
    parse();
  } catch (error) {
    if (!(error instanceof VouchError)) throw error;
  }
  const { user, system } = process.threadCpuUsage(start);
  const ms = (user + system) / 1000;
  const bytes = allocated() - before;
  return { ms, bytes: bytes < 0 ? Number.NaN : bytes };
}

/** Throws when an input of `length` bytes costs too much every time. */
export function demandCheap(parse: () => unknown, length: number, what: string): void {
  const most = FACTOR * length + SLACK;
  let cost: Cost = { ms: 0, bytes: 0 };
  // Garbage of others is not the reader's: what is expensive is so every time.
  for (let i = 0; i < TRIES; i++) {
    cost = costOf(parse);
    if (cost.ms <= MOST_MS && !(cost.bytes > most)) return;
  }
  assert.unreachable(`${what}: ${length} bytes took ${cost.ms.toFixed(0)} ms and ${cost.bytes} bytes`);
}

const flipped = (bytes: Uint8Array, at: number, mask: number): Uint8Array => {
  const copy = bytes.slice();
  copy[at]! ^= mask;
  return copy;
};

export function around(good: Uint8Array): fc.Arbitrary<Uint8Array> {
  const changes = fc.array(fc.tuple(fc.nat(good.length - 1), fc.integer({ min: 1, max: 255 })), {
    minLength: 1,
    maxLength: 6,
  });
  return fc.oneof(
    {
      weight: 6,
      arbitrary: changes.map((all) =>
        all.reduce((bytes: Uint8Array, [at, mask]) => flipped(bytes, at, mask), good),
      ),
    },
    { weight: 2, arbitrary: fc.nat(good.length).map((length) => good.slice(0, length)) },
    {
      weight: 1,
      arbitrary: fc
        .tuple(fc.nat(good.length), fc.nat(good.length))
        .map(([a, b]) => Uint8Array.from([...good.subarray(0, a), ...good.subarray(b)])),
    },
    { weight: 1, arbitrary: fc.uint8Array({ maxLength: 512 }) },
  );
}

export function fuzz(
  what: string,
  good: Uint8Array,
  parse: (bytes: Uint8Array) => unknown,
  runs: number,
): void {
  fc.assert(
    fc.property(around(good), (bytes) => demandCheap(() => parse(bytes), bytes.length, what)),
    { numRuns: runs, endOnFailure: true },
  );
}

/** A test for each reader: files that are nearly good, given to what recognises files and then to the reader. */
export function fuzzReaders(
  test: (name: string, run: () => void) => void,
  readers: readonly (readonly [name: string, good: Uint8Array, parse: (bytes: Uint8Array) => unknown])[],
  runs: number,
): void {
  for (const [name, good, parse] of readers)
    test(`${name}: a coded error or a value, in time and without waste`, () => {
      fuzz(
        name,
        good,
        (bytes) => {
          kindOf(bytes);
          return parse(bytes);
        },
        runs,
      );
    });
}
