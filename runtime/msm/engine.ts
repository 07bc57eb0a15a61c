/**
 * Multi-scalar multiplications and quotients as programs for threads that share one WebAssembly memory (wasm/kernel.ts):
 * what lies where, how the work is cut, in which order. Points, rows and powers of a key stay while it is ready.
 *
 * Not constant time. Bases are not checked to be points: for others a sum is any bytes.
 */
import {
  type EngineOptions,
  type ReadyKey,
  SECTION_GROUP,
  type Section,
  type Sums,
} from '../../circuits/groth16/engine.ts';
import {
  elementBytes,
  MONTGOMERY_R2,
  power,
  Q,
  R,
  rootOfUnity,
  writeElement,
} from '../../circuits/groth16/field.ts';
import { G1, G2, type Group, POINT_BYTES, writeG1, writeG2 } from '../../circuits/groth16/point.ts';
import { ENTRY_BYTES, type ProvingKey, sectionCounts } from '../../circuits/groth16/zkey.ts';
import { concat } from '../../protocols/encoding.ts';
import { VouchError } from '../../protocols/errors.ts';
import { createArena, type Region } from './arena.ts';
import { type Call, heapStart, type Program, type SharedKernel, shapeOf } from './wasm/kernel.ts';
import type { Degree } from './wasm/layout.ts';
import { DIGIT_BYTES } from './wasm/msm.ts';
import { TERM_BYTES } from './wasm/ntt.ts';

const SCALAR_BYTES = 32;
/** Wider windows' buckets outgrow the cache; narrower ones save nothing. */
const WINDOW_BITS = { min: 4, max: 16 };
/** Running sums side by side, so that a batch of additions is worth its inversion. */
const SIDE_BY_SIDE = 384;
/** Pieces of work a thread, so that all end at about the same time. */
const PIECES = 3;
/** Less than this is not worth a piece. */
const MIN_POINTS = 512;
/** Elements that a thread works on before it takes the next piece. */
const CHUNK = 1 << 14;
/** Rows of a block at most, as a power of two, and what a sweep over columns may touch at once: both stay in a core's cache. */
const BLOCK_BITS = 10;
const SWEEP_BYTES = 2 ** 18;
/** The fewest bits of a domain that has blocks and columns. */
const MIN_DOMAIN_BITS = 6;

/** Width of a window of the generator's multiples: 22 rows of 2048 points, 4 and 8 MiB, which a cache can hold. */
const MULTIPLE_BITS = 12;
/** Multiples that a thread makes at a time: their slots stay in its cache. */
const MULTIPLES = 2048;

/** Sections in the order in which a proof adds them up: H waits for the quotient, B2 takes longest. */
const ORDER = ['B2', 'A', 'B1', 'C', 'H'] as const satisfies readonly Section[];
/** What part of the threads' time a section gets, about. */
const SHARE = { A: 0.25, B1: 0.25, B2: 0.5, C: 0.25, H: 0.5 } as const satisfies Record<Section, number>;

/**
 * Runs one program on the next free thread. It is made when the thread is known: its number, and a generation that
 * changes when a program of this thread was cut short.
 */
export type Run = (
  program: (thread: number, generation: number) => Program,
  options?: EngineOptions,
) => Promise<void>;

export type WasmEngine = ReturnType<typeof createWasmEngine>;

/** Bits per window with the fewest additions: one per point and two per bucket in each window. */
export function windowBits(count: number): number {
  const cost = (bits: number) => windowCount(bits) * (count + 2 * 2 ** (bits - 1));
  let best = WINDOW_BITS.min;
  for (let bits = best + 1; bits <= WINDOW_BITS.max; bits++) if (cost(bits) < cost(best)) best = bits;
  return best;
}
/** Scalars are below 2^253.6; the highest digit has no sign and may not pass 2^(bits - 1). */
export const windowCount = (bits: number): number => Math.ceil((254.6 - bits) / bits) + 1;

/** Signed digits of scalars: a plane per window. Secret. */
interface Digits {
  readonly region: Region;
  readonly count: number;
  readonly bits: number;
  readonly windows: number;
  readonly plane: number;
}
interface Points {
  readonly region: Region;
  readonly group: Group;
  readonly count: number;
}
/** A part of some digits: the sum over points that begin at the given one. */
interface Part {
  readonly digits: Digits;
  readonly from: number;
}

export function createWasmEngine(kernel: SharedKernel, threads: number, run: Run) {
  const { base: field, scalar, layout } = shapeOf(kernel.kind);
  const arena = createArena(kernel.memory, heapStart(layout, threads));
  const view = () => new DataView(kernel.memory.buffer);

  /** A region for as long as `use` takes. */
  async function using<T>(bytes: number, use: (region: Region) => Promise<T>): Promise<T> {
    const region = arena.allocate(bytes);
    try {
      return await use(region);
    } finally {
      arena.release(region);
    }
  }
  function put(bytes: Uint8Array): Region {
    const region = arena.allocate(bytes.byteLength);
    arena.bytes(region).set(bytes);
    return region;
  }
  async function putting<T>(bytes: Uint8Array, use: (region: Region) => Promise<T>): Promise<T> {
    const region = put(bytes);
    try {
      return await use(region);
    } finally {
      arena.release(region);
    }
  }
  /** All of these have ended when this one has, so that what they use can be given back. */
  async function all(work: Promise<void>[]): Promise<void> {
    const settled = await Promise.allSettled(work);
    for (const result of settled) if (result.status === 'rejected') throw result.reason;
  }
  /** Cuts `count` into ranges of at most `chunk`, of which all but the last are multiples of `multiple`. */
  function* ranges(count: number, chunk = CHUNK, multiple = 2): Generator<[from: number, count: number]> {
    const size = Math.max(
      multiple,
      Math.ceil(Math.min(chunk, Math.ceil(count / threads)) / multiple) * multiple,
    );
    for (let from = 0; from < count; from += size) yield [from, Math.min(size, count - from)];
  }

  /** Affine points in zkey form, which `read` gives by byte offset, to ours. */
  async function loadPoints(
    group: Group,
    count: number,
    read: (target: Uint8Array, offset: number) => Promise<void>,
    options: EngineOptions = {},
  ): Promise<Points> {
    const degree = degreeOf(group);
    const region = arena.allocate(count * layout.pointBytes(degree));
    const converting: Promise<void>[] = [];
    try {
      // A piece at a time: all of a large key twice would not fit.
      for (const [from, length] of ranges(count)) {
        const source = arena.allocate(length * POINT_BYTES[group]);
        try {
          await read(arena.bytes(source).subarray(0, length * POINT_BYTES[group]), from * POINT_BYTES[group]);
        } catch (error) {
          arena.release(source);
          throw error;
        }
        const to = region.at + from * layout.pointBytes(degree);
        const done = run(() => [['convert', source.at, length * degree, to]], options);
        const converted = done.finally(() => arena.release(source, 'public'));
        // Awaited below, when the last piece has been read.
        converted.catch(() => undefined);
        converting.push(converted);
      }
      await all(converting);
      return { region, group, count };
    } catch (error) {
      await Promise.allSettled(converting);
      arena.release(region);
      throw error;
    }
  }

  /** The digits of 32-byte integers in memory; `bits` by default what their number asks for. */
  async function recode(
    at: number,
    count: number,
    options: EngineOptions = {},
    bits = windowBits(count),
  ): Promise<Digits> {
    const windows = windowCount(bits);
    const plane = Math.ceil((count * DIGIT_BYTES) / 64) * 64;
    let bias = 0n;
    for (let window = 0; window < windows - 1; window++) bias += 1n << BigInt(window * bits + bits - 1);
    const region = arena.allocate(windows * plane);
    try {
      await putting(elementBytes(bias), (pBias) =>
        all(
          [...ranges(count)].map(([from, length]) => {
            const [source, to] = [at + from * SCALAR_BYTES, region.at + from * DIGIT_BYTES];
            return run(() => [['recode', source, length, pBias.at, bits, windows, to, plane]], options);
          }),
        ),
      );
    } catch (error) {
      arena.release(region);
      throw error;
    }
    return { region, count, bits, windows, plane };
  }

  /** A region for each thread, all zero between programs. */
  interface Scratch {
    readonly region: Region;
    readonly each: number;
    /** Of the program that last used each thread's part. */
    readonly generations: number[];
    users: number;
  }
  let scratch: Scratch | undefined;
  /** For as long as `use` takes; `of` gives a thread's part, and the calls that have to come before its use. */
  async function withScratch<T>(
    size: number,
    use: (of: (thread: number, generation: number) => { at: number; first: Call[] }) => Promise<T>,
  ): Promise<T> {
    if (!scratch || scratch.each < size) {
      if (scratch?.users === 0) arena.release(scratch.region);
      const each = Math.ceil(size / 4096) * 4096;
      scratch = { region: arena.allocate(each * threads), each, generations: [], users: 0 };
    }
    const mine = scratch;
    mine.users++;
    try {
      return await use((thread, generation) => {
        const at = mine.region.at + thread * mine.each;
        const clean = mine.generations[thread] === generation;
        mine.generations[thread] = generation;
        return { at, first: clean ? [] : [['clear', at, mine.each]] };
      });
    } finally {
      mine.users--;
      if (mine.users === 0 && mine !== scratch) arena.release(mine.region);
    }
  }

  /** The sum of points times digits: affine, in zkey form. `share` of all work that is under way, for the cutting. */
  async function sum(
    points: Points,
    { digits, from }: Part,
    options: EngineOptions = {},
    share = 1,
  ): Promise<Uint8Array<ArrayBuffer>> {
    const { group, count } = points;
    const { bits, windows } = digits;
    const degree = degreeOf(group);
    const call = (name: string, ...args: number[]): Call => [`g${degree}_${name}`, ...args];
    const slot = layout.slotBytes(degree);
    const buckets = 2 ** (bits - 1);
    const pieces =
      count < MIN_POINTS ? 1 : Math.max(1, Math.min(windows, Math.round(PIECES * threads * share)));
    const widest = Math.ceil(windows / pieces);
    const segmentBits = Math.min(bits - 1, Math.max(3, Math.ceil(Math.log2(SIDE_BY_SIDE / widest))));
    const segments = 2 ** segmentBits;
    const length = buckets / segments;
    const sumsAt = widest * buckets * slot;
    const scratchBytes = sumsAt + widest * segments * 2 * slot;
    const weightedBytes = windows * 2 * slot;
    const plainBytes = windows * slot;

    return using(weightedBytes + plainBytes + 2 * slot, async (region) => {
      arena.bytes(region).fill(0);
      const weighted = region.at;
      const plain = weighted + weightedBytes;
      const result = plain + plainBytes;
      await withScratch(scratchBytes, (partOf) =>
        all(
          Array.from({ length: pieces }, (_, piece) => {
            const first = Math.floor((windows * piece) / pieces);
            const end = Math.floor((windows * (piece + 1)) / pieces);
            const many = end - first;
            return run((thread, generation) => {
              const own = partOf(thread, generation);
              const sums = own.at + sumsAt;
              return [
                ...own.first,
                call('reset'),
                ...Array.from({ length: many }, (_, index) =>
                  call(
                    'accumulate',
                    points.region.at,
                    digits.region.at + (first + index) * digits.plane + from * DIGIT_BYTES,
                    count,
                    own.at + index * buckets * slot,
                  ),
                ),
                call('finish'),
                call('running_sums', own.at, slot, length, 0, sums, many * segments),
                // Bucket j of segment s counts s * length + j + 1 times.
                call('running_sums', sums, 2 * slot, segments, 1, weighted + first * 2 * slot, many),
                call('add_all', sums + slot, 2 * slot, segments, plain + first * slot, many),
                call('reset'),
                ['clear', own.at, scratchBytes],
              ];
            }, options);
          }),
        ),
      );
      await run(
        () => [
          call('reset'),
          call('horner', weighted + slot, plain, windows, bits, Math.log2(length), result),
          call('reset'),
        ],
        options,
      );
      return readPoint(degree, result);
    });
  }

  function readPoint(degree: Degree, at: number): Uint8Array<ArrayBuffer> {
    const point = new Uint8Array(64 * degree);
    const data = view();
    if (data.getUint32(at + layout.pointBytes(degree), true) === 0) return point;
    for (let i = 0; i < 2 * degree; i++) {
      const value = (field.read(data, at + i * 8 * field.limbs, 8) * fromRadix) % Q;
      writeElement(value < 0n ? value + Q : value, point, 32 * i);
    }
    return point;
  }
  /** From our radix to that of the files. */
  const fromRadix = (2n ** 256n * power(field.radix % Q, Q - 2n, Q)) % Q;

  /** The sum over scalars that are not in memory yet. */
  const sumOf = (points: Points, scalars: Uint8Array, options: EngineOptions, bits?: number) =>
    putting(scalars, async ({ at }) => {
      const digits = await recode(at, points.count, options, bits);
      try {
        return await sum(points, { digits, from: 0 }, options);
      } finally {
        arena.release(digits.region);
      }
    });

  /** The sum of scalars[i] * bases[i]. `bits` fixes the width of the windows, for tests. */
  async function msm(
    group: Group,
    bases: Uint8Array,
    scalars: Uint8Array,
    options: EngineOptions & { readonly bits?: number | undefined } = {},
  ): Promise<Uint8Array<ArrayBuffer>> {
    const read = async (target: Uint8Array, offset: number) =>
      target.set(bases.subarray(offset, offset + target.byteLength));
    const points = await loadPoints(group, scalars.byteLength / SCALAR_BYTES, read, options);
    try {
      return await sumOf(points, scalars, options, options.bits);
    } finally {
      arena.release(points.region, 'public');
    }
  }

  /** The number of the first of these points that is not on its curve, -1 when all are. */
  async function firstOffCurve(
    group: Group,
    points: Uint8Array,
    options: EngineOptions = {},
  ): Promise<number> {
    const count = points.byteLength / POINT_BYTES[group];
    const pieces = [...ranges(count)];
    return using(4 * pieces.length, async (found) => {
      arena.bytes(found).fill(0xff);
      await putting(points, (source) =>
        all(
          pieces.map(([from, many], piece) =>
            run(
              () => [
                [
                  `g${degreeOf(group)}_off_curve`,
                  source.at + from * POINT_BYTES[group],
                  many,
                  from,
                  found.at + 4 * piece,
                ],
              ],
              options,
            ),
          ),
        ),
      );
      const places = pieces.map((_, piece) => view().getInt32(found.at + 4 * piece, true));
      return places.find((place) => place >= 0) ?? -1;
    });
  }

  /** Rows of the multiples 1 .. 2^(bits - 1) of 2^(bits w) times a group's generator, a slot each. */
  const tables: Partial<Record<Group, Promise<Region>>> = {};
  const tableOf = (group: Group): Promise<Region> => {
    tables[group] ??= makeTable(group).catch((error: unknown) => {
      delete tables[group];
      throw error;
    });
    return tables[group];
  };
  async function makeTable(group: Group): Promise<Region> {
    const degree = degreeOf(group);
    const slot = layout.slotBytes(degree);
    const rows = windowCount(MULTIPLE_BITS);
    const length = 2 ** (MULTIPLE_BITS - 1);
    const powers = Array.from({ length: rows }, (_, row) => 2n ** BigInt(MULTIPLE_BITS * row));
    const bases = concat(
      ...powers.map((scalar) =>
        group === 'G1' ? writeG1(G1.BASE.multiplyUnsafe(scalar)) : writeG2(G2.BASE.multiplyUnsafe(scalar)),
      ),
    );
    const points = await loadPoints(group, rows, async (target, offset) => {
      target.set(bases.subarray(offset, offset + target.byteLength));
    });
    const table = arena.allocate(rows * length * slot);
    try {
      const all = new Uint8Array(kernel.memory.buffer);
      for (let row = 0; row < rows; row++) {
        const from = points.region.at + row * layout.pointBytes(degree);
        const to = table.at + row * length * slot;
        all.copyWithin(to, from, from + layout.pointBytes(degree));
        view().setUint32(to + layout.pointBytes(degree), 1, true);
      }
      const call = (name: string, ...args: number[]): Call => [`g${degree}_${name}`, ...args];
      await run(() => [call('reset'), call('consecutive', table.at, rows, length)]);
      return table;
    } catch (error) {
      arena.release(table);
      throw error;
    } finally {
      arena.release(points.region, 'public');
    }
  }

  /** scalars[i] * generator: affine points in zkey form. */
  async function multiples(
    group: Group,
    scalars: Uint8Array,
    options: EngineOptions = {},
  ): Promise<Uint8Array<ArrayBuffer>> {
    const degree = degreeOf(group);
    const slot = layout.slotBytes(degree);
    const call = (name: string, ...args: number[]): Call => [`g${degree}_${name}`, ...args];
    const count = scalars.byteLength / SCALAR_BYTES;
    const length = 2 ** (MULTIPLE_BITS - 1);
    const table = await tableOf(group);
    return putting(scalars, async ({ at }) => {
      const digits = await recode(at, count, options, MULTIPLE_BITS);
      try {
        return await using(count * POINT_BYTES[group], async (result) => {
          await all(
            [...ranges(count, MULTIPLES)].map(([from, many]) =>
              using(many * slot, (slots) => {
                arena.bytes(slots).fill(0);
                return run(
                  () => [
                    call('reset'),
                    ...Array.from({ length: digits.windows }, (_, window) =>
                      call(
                        'add_multiples',
                        slots.at,
                        digits.region.at + window * digits.plane + from * DIGIT_BYTES,
                        many,
                        table.at + window * length * slot,
                      ),
                    ),
                    call('leave', slots.at, many, result.at + from * POINT_BYTES[group]),
                    call('reset'),
                  ],
                  options,
                );
              }),
            ),
          );
          return arena.bytes(result).slice(0, count * POINT_BYTES[group]);
        });
      } finally {
        arena.release(digits.region);
      }
    });
  }

  /** Both lanes of an element in Fr. */
  function writeConstant(at: number, values: readonly [bigint, bigint]): void {
    const data = view();
    values.forEach((value, lane) => {
      scalar.patterns(value % R).forEach((pattern, i) => {
        data.setBigUint64(at + 16 * i + 8 * lane, pattern, true);
      });
    });
  }
  const pairBytes = 16 * scalar.limbs;
  const entryBytes = 8 * scalar.limbs;
  const radix = scalar.radix % R;

  /** g^0 .. g^N for g of order 2N, in Montgomery form. */
  async function powersOf(size: number, options: EngineOptions): Promise<Region> {
    const pairs = size / 2 + 1;
    const root = rootOfUnity(Math.log2(size) + 1);
    const region = arena.allocate(pairs * 2 * entryBytes);
    try {
      await all(
        [...ranges(pairs)].map(([from, count]) =>
          using(2 * pairBytes, (constants) => {
            const first = (power(root, BigInt(2 * from)) * radix) % R;
            writeConstant(constants.at, [first, first * root]);
            const step = root * root * radix;
            writeConstant(constants.at + pairBytes, [step, step]);
            return run(
              () => [
                ['powers', region.at + from * 2 * entryBytes, count, constants.at, constants.at + pairBytes],
              ],
              options,
            );
          }),
        ),
      );
      return region;
    } catch (error) {
      arena.release(region);
      throw error;
    }
  }

  /** Rows of A and B as lists of terms, and the coefficients that occur. */
  interface Matrices {
    readonly size: number;
    readonly starts: Region;
    readonly terms: Region;
    readonly table: Region;
  }
  async function loadMatrices(key: ProvingKey, options: EngineOptions): Promise<Matrices> {
    const { domainSize } = key;
    const entries = new Uint8Array(key.range('entries').length);
    await key.read('entries', entries);
    const { starts, terms, coefficients } = compressRows(entries, domainSize, entryBytes);
    const regions: Region[] = [];
    const keep = (region: Region) => {
      regions.push(region);
      return region;
    };
    try {
      const list = keep(put(terms));
      const addresses = starts.map((start) => list.at + start * TERM_BYTES);
      const pStarts = keep(put(new Uint8Array(addresses.buffer)));
      const table = keep(
        arena.allocate(Math.ceil(coefficients.byteLength / SCALAR_BYTES / 2) * 2 * entryBytes),
      );
      await putting(coefficients, (source) =>
        using(pairBytes, (factor) => {
          // Values are times the square of the files' radix; entering divides by ours once.
          const over = (radix * radix * power(MONTGOMERY_R2, R - 2n)) % R;
          writeConstant(factor.at, [over, over]);
          const pairs = Math.ceil(coefficients.byteLength / SCALAR_BYTES / 2);
          return run(() => [['enter', source.at, pairs, table.at, factor.at]], options);
        }),
      );
      return { size: domainSize, starts: pStarts, terms: list, table };
    } catch (error) {
      for (const region of regions) arena.release(region);
      throw error;
    }
  }

  /** H's scalars, 32 bytes each, for a witness in memory. */
  async function quotient(
    matrices: Matrices,
    powers: Region,
    witness: Region,
    options: EngineOptions,
  ): Promise<Region> {
    const { size, starts, table } = matrices;
    const half = size / 2;
    const bits = Math.log2(size);
    const block = Math.min(BLOCK_BITS, Math.floor((bits - 1) / 2));
    const rows = bits - 1 - block;
    const width = Math.max(1, Math.min(block, Math.floor(Math.log2(SWEEP_BYTES / (2 ** rows * pairBytes)))));
    const arrayBytes = half * pairBytes;
    const result = arena.allocate(size * SCALAR_BYTES);
    try {
      await using(3 * arrayBytes + 2 * pairBytes, async ({ at }) => {
        const [a, b, c] = [at, at + arrayBytes, at + 2 * arrayBytes] as const;
        const factors = at + 3 * arrayBytes;
        // Transforms leave N times the values, the product of two N^2 times over one radix; the third array has one too.
        const over = power(BigInt(size), R - 2n);
        const square = ((radix * radix) % R) * over;
        writeConstant(factors, [square * over, square * over]);
        writeConstant(factors + pairBytes, [R - (square % R), R - (square % R)]);

        await all(
          [...ranges(half)].map(([from, count]) =>
            run(() => {
              const offset = from * pairBytes;
              return [
                [
                  'rows',
                  starts.at + 4 * from,
                  half,
                  count,
                  witness.at,
                  table.at,
                  a + offset,
                  b + offset,
                  c + offset,
                ],
              ];
            }, options),
          ),
        );
        /** Sweeps over all columns of some arrays; a piece has as many columns as a thread can share a message for. */
        const columns = 2 ** block;
        const sweep = (
          name: 'columns_inverse' | 'columns_forward',
          arrays: readonly number[],
          then?: (column: number, count: number) => Call[],
        ) =>
          [...ranges(columns, Math.max(2 ** width, Math.ceil(columns / threads / 4)), 2 ** width)].map(
            ([from, count]) =>
              run(
                () => [
                  ...arrays.flatMap((data) =>
                    Array.from(
                      { length: count / 2 ** width },
                      (_, index): Call => [
                        name,
                        data,
                        block,
                        from + index * 2 ** width,
                        width,
                        rows,
                        powers.at,
                        bits,
                      ],
                    ),
                  ),
                  ...(then?.(from, count) ?? []),
                ],
                options,
              ),
          );
        await all(sweep('columns_inverse', [a, b, c]));
        await all(
          [a, b, c].flatMap((data) =>
            [...ranges(2 ** rows, Math.ceil(2 ** rows / threads / 2), 1)].map(([from, count]) =>
              run(
                () =>
                  Array.from({ length: count }, (_, index): Call => {
                    const at = data + (from + index) * columns * pairBytes;
                    return ['blocks', at, block, powers.at, bits];
                  }),
                options,
              ),
            ),
          ),
        );
        await all(
          sweep('columns_forward', [a, b, c], (column, count) =>
            Array.from({ length: 2 ** rows }, (_, line): Call => {
              const pair = line * columns + column;
              const offset = pair * pairBytes;
              const to = result.at + pair * SCALAR_BYTES;
              return ['join', a + offset, b + offset, c + offset, count, factors, to, half];
            }),
          ),
        );
      });
      return result;
    } catch (error) {
      arena.release(result);
      throw error;
    }
  }

  /** The key's points, rows and powers, each on its way into memory, in the order in which a proof needs them. */
  async function ready(key: ProvingKey, options: EngineOptions = {}): Promise<ReadyKey> {
    const counts = sectionCounts(key);
    const regions: Region[] = [];
    let released = false;
    let before: Promise<unknown> = Promise.resolve();
    /** Loads one after the other. What went wrong is told to whoever asks for the part. */
    function loading<T>(load: () => Promise<T>, ...own: ((loaded: T) => Region)[]): Promise<T> {
      const loaded = before.then(load).then((part) => {
        regions.push(...own.map((region) => region(part)));
        return part;
      });
      before = loaded.catch(() => undefined);
      return loaded;
    }
    const loadSection = (section: Section) => {
      const read = (target: Uint8Array, offset: number) => key.read(section, target, offset);
      const load = () => loadPoints(SECTION_GROUP[section], counts[section], read, options);
      return loading(load, ({ region }) => region);
    };
    // Threads convert these points, and add them up, while this one sorts the rows.
    const [first, ...others] = ORDER;
    const points: Partial<Record<Section, Promise<Points>>> = { [first]: loadSection(first) };
    const matrices = loading(
      () => loadMatrices(key, options),
      ({ starts }) => starts,
      ({ terms }) => terms,
      ({ table }) => table,
    );
    const powers = loading(
      () => powersOf(key.domainSize, options),
      (region) => region,
    );
    for (const section of others) points[section] = loadSection(section);
    const pointsOf = (section: Section): Promise<Points> => points[section]!;
    const everything = before;

    const check = (scalars: Uint8Array, count: number) => {
      if (released) throw new VouchError('not-ready', 'the key was released');
      if (scalars.byteLength !== count * SCALAR_BYTES)
        throw new RangeError(`expected ${count} scalars, got ${scalars.byteLength} bytes`);
    };
    return {
      async msm(section, scalars, engineOptions = {}) {
        check(scalars, counts[section]);
        return sumOf(await pointsOf(section), scalars, engineOptions);
      },
      async quotient(witness, engineOptions = {}) {
        check(witness, key.variables);
        return putting(witness, async (source) => {
          const values = await quotient(await matrices, await powers, source, engineOptions);
          try {
            return arena.bytes(values).slice(0, key.domainSize * SCALAR_BYTES);
          } finally {
            arena.release(values);
          }
        });
      },
      async sums(witness, { onPhase, ...engineOptions } = {}) {
        check(witness, key.variables);
        onPhase?.('transforming');
        return putting(witness, async (source) => {
          const ofWitness = recode(source.at, key.variables, engineOptions);
          const ofQuotient = (async () => {
            const values = await quotient(await matrices, await powers, source, engineOptions);
            onPhase?.('dispatching');
            try {
              return await recode(values.at, key.domainSize, engineOptions);
            } finally {
              arena.release(values);
            }
          })();
          const sums = ORDER.map(async (section) => {
            const digits = await (section === 'H' ? ofQuotient : ofWitness);
            const from = section === 'C' ? key.publics + 1 : 0;
            return [
              section,
              await sum(await pointsOf(section), { digits, from }, engineOptions, SHARE[section]),
            ] as const;
          });
          // Nothing is released before all that uses it has ended.
          const settled = await Promise.allSettled(sums);
          for (const digits of await Promise.allSettled([ofWitness, ofQuotient]))
            if (digits.status === 'fulfilled') arena.release(digits.value.region);
          return Object.fromEntries(
            settled.map((result) => {
              if (result.status === 'rejected') throw result.reason;
              return result.value;
            }),
          ) as Sums;
        });
      },
      release() {
        if (released) return;
        released = true;
        void everything.then(() => {
          for (const region of regions) arena.release(region, 'public');
        });
      },
    };
  }

  return { msm, multiples, firstOffCurve, ready, minDomain: 2 ** MIN_DOMAIN_BITS, kind: kernel.kind };
}

const degreeOf = (group: Group): Degree => (group === 'G1' ? 1 : 2);

/**
 * The entries of a zkey's section 4 by rows: for each matrix the N + 1 places in `terms` at which its rows begin and end,
 * terms of {byte offset of the wire's 32-byte value, byte offset of the coefficient}, and the coefficients that occur, 32
 * bytes each, zero first. `entries` begin at a multiple of 4.
 */
export function compressRows(
  entries: Uint8Array<ArrayBuffer>,
  rows: number,
  coefficientBytes: number,
): {
  starts: Uint32Array<ArrayBuffer>;
  terms: Uint8Array<ArrayBuffer>;
  coefficients: Uint8Array<ArrayBuffer>;
} {
  const words = new Uint32Array(entries.buffer, entries.byteOffset, entries.byteLength / 4);
  const stride = ENTRY_BYTES / 4;
  const count = words.length / stride;
  const starts = new Uint32Array(2 * (rows + 1));
  for (let at = 0; at < words.length; at += stride) {
    const slot = words[at]! * (rows + 1) + words[at + 1]! + 1;
    starts[slot]!++;
  }
  for (let slot = 1; slot <= rows; slot++) starts[slot]! += starts[slot - 1]!;
  starts[rows + 1] = starts[rows]!;
  for (let slot = rows + 2; slot < starts.length; slot++) starts[slot]! += starts[slot - 1]!;

  const known = createDictionary(words, count);
  const next = starts.slice();
  const terms = new Uint32Array(2 * count);
  for (let at = 0; at < words.length; at += stride) {
    const slot = words[at]! * (rows + 1) + words[at + 1]!;
    const term = 2 * next[slot]!++;
    terms[term] = words[at + 2]! * SCALAR_BYTES;
    terms[term + 1] = known.indexOf(at + 3) * coefficientBytes;
  }
  return { starts, terms: new Uint8Array(terms.buffer), coefficients: known.bytes() };
}

/** The different 8-word values among the entries; 0 is the zero. */
function createDictionary(words: Uint32Array, count: number) {
  const size = 2 ** Math.ceil(Math.log2(2 * count + 2));
  const table = new Int32Array(size);
  /** where each value was met first */
  const places: number[] = [-1];
  const same = (place: number, at: number) => {
    for (let word = 0; word < 8; word++) if (words[place + word] !== words[at + word]) return false;
    return true;
  };
  return {
    indexOf(at: number): number {
      let hash = 0;
      for (let word = 0; word < 8; word++)
        hash = Math.imul(hash ^ words[at + word]!, 0x9e3779b1) ^ (hash >>> 15);
      for (let slot = (hash >>> 0) & (size - 1); ; slot = (slot + 1) & (size - 1)) {
        const index = table[slot]!;
        if (index === 0) {
          table[slot] = places.push(at) - 1;
          return table[slot]!;
        }
        if (same(places[index]!, at)) return index;
      }
    },
    /** An even number of values. */
    bytes(): Uint8Array<ArrayBuffer> {
      const values = new Uint32Array(8 * Math.ceil(places.length / 2) * 2);
      places.forEach((place, index) => {
        if (place >= 0) values.set(words.subarray(place, place + 8), 8 * index);
      });
      return new Uint8Array(values.buffer);
    },
  };
}
