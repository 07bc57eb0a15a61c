/**
 * Points that stay in the threads' memory by the chunks that they were read from, converted once: for a worker, which is asked
 * for other ranges of the same keys again and again. A chunk's points are all loaded, those that nobody asked for too: what
 * is not a point there is never added. Within a budget the least recently used goes first; what is in use stays.
 *
 * A name is the digest of its bytes, so nobody can have others' points replaced.
 */
import type { EngineOptions, Group } from '../../../circuits/groth16/engine.ts';
import { POINT_BYTES } from '../../../circuits/groth16/point.ts';
import { SCALAR_BYTES } from '../../../protocols/bn254.ts';
import { concat } from '../../../protocols/encoding.ts';
import { VouchError } from '../../../protocols/errors.ts';
import type { HeldRuns, HoldRuns, PointChunk, PointRun } from '../runs.ts';
import type { Msm, Part, Points } from './msm.ts';
import type { Workshop } from './workshop.ts';

/** Some ten keys of 2^16, or a tenth of one of 2^22. */
const MAX_BYTES = 256 * 2 ** 20;

/** What is held of a chunk: its whole points from `phase` bytes on, and what is left at either end. */
interface Piece {
  readonly length: number;
  readonly whole: number;
  readonly points: Points;
  readonly head: Uint8Array;
  readonly tail: Uint8Array;
}
interface Entry {
  readonly made: Promise<Piece>;
  bytes: number;
  users: number;
}

export function createHeldRuns(
  { arena, putting }: Workshop,
  { loadPoints, recode, sum }: Msm,
  maxBytes = MAX_BYTES,
): HoldRuns {
  /** The last used one last. */
  const entries = new Map<string, Entry>();
  let total = 0;

  async function load(group: Group, phase: number, chunk: Promise<Uint8Array>): Promise<Piece> {
    const bytes = await chunk;
    const size = POINT_BYTES[group];
    const whole = Math.max(0, Math.floor((bytes.byteLength - phase) / size));
    const end = phase + whole * size;
    const points = await loadPoints(group, whole, async (target, offset) =>
      target.set(bytes.subarray(phase + offset, phase + offset + target.byteLength)),
    );
    // Copies: views would keep all of the chunk.
    const [head, tail] = [bytes.slice(0, phase), bytes.slice(end)];
    return { length: bytes.byteLength, whole, points, head, tail };
  }
  const makeRoom = () => {
    for (const [key, entry] of entries) {
      if (total <= maxBytes) return;
      if (entry.users > 0 || entry.bytes === 0) continue;
      entries.delete(key);
      total -= entry.bytes;
      void entry.made.then(({ points }) => arena.release(points.region, 'public'));
    }
  };
  function take(group: Group, phase: number, { name, read }: PointChunk): Entry {
    const key = `${group} ${phase} ${name}`;
    let entry = entries.get(key);
    if (!entry) {
      const made = load(group, phase, read());
      const mine: Entry = { made, bytes: 0, users: 0 };
      made.then(
        ({ points }) => {
          mine.bytes = points.region.bytes;
          total += mine.bytes;
          makeRoom();
        },
        () => {
          if (entries.get(key) === mine) entries.delete(key);
        },
      );
      entry = mine;
    }
    entries.delete(key);
    entries.set(key, entry);
    entry.users += 1;
    return entry;
  }

  /** A run's parts, for as many scalars; `used` gets whatever is to be given back. */
  async function partsOf(
    { group, count, chunks, offset }: PointRun,
    scalars: number,
    used: { entries: Entry[]; loose: Points[] },
    options: EngineOptions,
  ): Promise<Part[]> {
    const size = POINT_BYTES[group];
    const parts: Part[] = [];
    /** Points that lie in two chunks, and their scalars. */
    const across: { readonly bytes: Uint8Array; readonly scalar: number }[] = [];
    let phase = offset % size;
    let first = (offset - phase) / size;
    let scalar = scalars - count;
    let before: Piece | undefined;
    for (const chunk of chunks) {
      const entry = take(group, phase, chunk);
      used.entries.push(entry);
      const piece = await entry.made;
      if (before && before.tail.length > 0 && scalar < scalars) {
        const bytes = concat(before.tail, piece.head);
        if (bytes.length !== size) throw tooShort(count);
        across.push({ bytes, scalar });
        scalar += 1;
      }
      if (first > piece.whole) throw tooShort(count);
      const many = Math.min(scalars - scalar, piece.whole - first);
      if (many > 0)
        parts.push({ points: piece.points, from: scalar - first, range: { from: first, to: first + many } });
      scalar += many;
      first = 0;
      phase = (size - piece.tail.length) % size;
      before = piece;
    }
    if (scalar < scalars) throw tooShort(count);
    if (across.length > 0) {
      const bytes = concat(...across.map((point) => point.bytes));
      const points = await loadPoints(
        group,
        across.length,
        async (target, at) => target.set(bytes.subarray(at, at + target.byteLength)),
        options,
        across.map((point) => point.scalar),
      );
      used.loose.push(points);
      parts.push({ points, from: 0 });
    }
    return parts;
  }

  return async (runs, scalars, options = {}): Promise<HeldRuns> => {
    const used = { entries: [] as Entry[], loose: [] as Points[] };
    let users = 1;
    const leave = () => {
      users -= 1;
      if (users > 0) return;
      for (const entry of used.entries) entry.users -= 1;
      for (const { region } of used.loose) arena.release(region, 'public');
      makeRoom();
    };
    const settled = await Promise.allSettled(runs.map((run) => partsOf(run, scalars, used, options)));
    const failed = settled.find((result) => result.status === 'rejected');
    if (failed) {
      leave();
      throw failed.reason;
    }
    const parts = settled.map((result) => (result as PromiseFulfilledResult<Part[]>).value);
    let released = false;
    return {
      async sums(values, sumOptions = {}) {
        if (released) throw new VouchError('internal', 'the points were released');
        if (values.byteLength !== scalars * SCALAR_BYTES)
          throw new RangeError(`expected ${scalars} scalars, got ${values.byteLength} bytes`);
        users += 1;
        try {
          return await putting(values, async ({ at }) => {
            const digits = await recode(at, scalars, sumOptions);
            const sums = await Promise.allSettled(parts.map((own) => sum(digits, own, sumOptions)));
            arena.release(digits.region);
            return sums.map((result) => {
              if (result.status === 'rejected') throw result.reason;
              return result.value;
            });
          });
        } finally {
          leave();
        }
      },
      release() {
        if (released) return;
        released = true;
        leave();
      },
    };
  };
}

const tooShort = (count: number) =>
  new VouchError('bad-message', `msm.shard: expected chunks that hold ${count} base points, got fewer`);
