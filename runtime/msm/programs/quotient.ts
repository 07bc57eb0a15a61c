/**
 * The scalars of a key's section H on the threads' memory (wasm/quotient.ts, wasm/ntt.ts): what stays of a key, and the
 * sweeps over it.
 */
import type { EngineOptions, QuotientOptions } from '../../../circuits/groth16/engine.ts';
import { MONTGOMERY_R2, power, R, rootOfUnity } from '../../../circuits/groth16/field.ts';
import type { ProvingKey } from '../../../circuits/groth16/zkey.ts';
import { SCALAR_BYTES } from '../../../protocols/bn254.ts';
import type { Call } from '../wasm/instance.ts';
import { TERM_BYTES } from '../wasm/quotient.ts';
import type { Region } from './arena.ts';
import { type CompressedRows, giveBack } from './rows.ts';
import { all, type Workshop } from './workshop.ts';

/** The fewest bits of a domain that has blocks and columns. */
export const MIN_DOMAIN_BITS = 6;
/** Rows of a block at most, as a power of two, and what a sweep over columns may touch at once: both stay in a core's cache. */
const BLOCK_BITS = 10;
const SWEEP_BYTES = 2 ** 18;
/** Pairs of rows that a thread compares at a time: 2 MiB of its arrays. */
const COMPARED = 2 ** 12;
/** Where threads say that something differs. */
const FLAG_BYTES = 16;

/** Rows of A and B as lists of terms, and the coefficients that occur. */
export interface Matrices {
  readonly size: number;
  readonly starts: Region;
  readonly terms: Region;
  readonly table: Region;
}

/** `compressRows` in a thread; `entries` move there. */
export type Compress = (
  entries: Uint8Array<ArrayBuffer>,
  rows: number,
  coefficientBytes: number,
  options: EngineOptions,
) => Promise<CompressedRows>;

export function createQuotient(
  { scalar, threads, arena, run, view, using, put, putting, ranges }: Workshop,
  compress: Compress,
) {
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

  async function loadMatrices(key: ProvingKey, options: EngineOptions): Promise<Matrices> {
    const entries = new Uint8Array(key.range('entries').length);
    await key.read('entries', entries);
    return loadEntries(entries, key.domainSize, options);
  }

  /** `entries` are moved to a thread. */
  async function loadEntries(
    entries: Uint8Array<ArrayBuffer>,
    domainSize: number,
    options: EngineOptions,
  ): Promise<Matrices> {
    const { starts, terms, coefficients } = await compress(entries, domainSize, entryBytes, options);
    const regions: Region[] = [];
    const keep = (region: Region) => {
      regions.push(region);
      return region;
    };
    try {
      const list = keep(put(terms));
      giveBack(terms);
      const addresses = starts.map((start) => list.at + start * TERM_BYTES);
      const pStarts = keep(put(new Uint8Array(addresses.buffer)));
      giveBack(addresses);
      giveBack(starts);
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

  /** The products of `count` pairs of rows from `from` on with a witness in memory, into three arrays. */
  const rowsCall = (
    { size, starts, table }: Matrices,
    witness: Region,
    from: number,
    count: number,
    [a, b, c]: readonly number[],
  ): Call => ['rows', starts.at + 4 * from, size / 2, count, witness.at, table.at, a!, b!, c!];

  /** What compares an array of `count` pairs with those rows of a matrix, in a thread. */
  type Differs = (thread: number, array: number, from: number, count: number) => Call[];
  /** Were all rows of the first matrix of `products` what `use` has compared them with, up to `longest` pairs at a time? */
  async function comparing(
    products: Matrices,
    witness: Region,
    longest: number,
    use: (differs: Differs) => Promise<void>,
  ): Promise<boolean> {
    // A thread's own: three arrays, the constant, and what differs.
    const bytes = 3 * longest * pairBytes + pairBytes + FLAG_BYTES;
    return using(threads * bytes, async ({ at }) => {
      const places = (thread: number) => {
        const arrays = Array.from({ length: 3 }, (_, i) => at + thread * bytes + i * longest * pairBytes);
        const one = at + thread * bytes + 3 * longest * pairBytes;
        return { arrays, one, flag: one + pairBytes };
      };
      const flags = Array.from({ length: threads }, (_, thread) => places(thread).flag);
      for (let thread = 0; thread < threads; thread++) {
        writeConstant(places(thread).one, [1n, 1n]);
        for (let byte = 0; byte < FLAG_BYTES; byte++) view().setUint8(flags[thread]! + byte, 0);
      }
      await use((thread, array, from, count) => {
        const { arrays, one, flag } = places(thread);
        return [
          rowsCall(products, witness, from, count, arrays),
          ['differ', array, arrays[0]!, count, one, flag],
        ];
      });
      return flags.every((flag) => {
        for (let byte = 0; byte < FLAG_BYTES; byte++) if (view().getUint8(flag + byte) !== 0) return false;
        return true;
      });
    });
  }

  /** H's scalars, 32 bytes each, for a witness in memory; undefined where there are `products` and a row of A times B is not theirs. */
  async function quotient(
    matrices: Matrices,
    powers: Region,
    witness: Region,
    { onStage, products, ...options }: QuotientOptions & { readonly products?: Matrices | undefined },
  ): Promise<Region | undefined> {
    const { size } = matrices;
    const half = size / 2;
    const bits = Math.log2(size);
    const block = Math.min(BLOCK_BITS, Math.floor((bits - 1) / 2));
    const rows = bits - 1 - block;
    const width = Math.max(1, Math.min(block, Math.floor(Math.log2(SWEEP_BYTES / (2 ** rows * pairBytes)))));
    const arrayBytes = half * pairBytes;
    const result = arena.allocate(size * SCALAR_BYTES);
    try {
      const holds = await using(3 * arrayBytes + 2 * pairBytes, async ({ at }) => {
        const [a, b, c] = [at, at + arrayBytes, at + 2 * arrayBytes] as const;
        const factors = at + 3 * arrayBytes;
        // Transforms leave N times the values, the product of two N^2 times over one radix; the third array has one too.
        const over = power(BigInt(size), R - 2n);
        const square = ((radix * radix) % R) * over;
        writeConstant(factors, [square * over, square * over]);
        writeConstant(factors + pairBytes, [R - (square % R), R - (square % R)]);

        onStage?.('rows');
        /** All of A's and B's, in pieces, each with what is said of it. */
        const everyRow = (pieces: Iterable<[number, number]>, differs?: Differs) =>
          all(
            [...pieces].map(([from, count]) =>
              run((thread) => {
                const places = [a, b, c].map((array) => array + from * pairBytes);
                const said = differs?.(thread, places[2]!, from, count) ?? [];
                return [rowsCall(matrices, witness, from, count, places), ...said];
              }, options),
            ),
          );
        if (!products) await everyRow(ranges(half));
        else if (!(await comparing(products, witness, COMPARED, (d) => everyRow(ranges(half, COMPARED), d))))
          return false;
        /** Sweeps over all columns of some arrays, a few columns a piece. */
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
        onStage?.('transforms');
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
        return true;
      });
      if (holds) return result;
      arena.release(result);
      return undefined;
    } catch (error) {
      arena.release(result);
      throw error;
    }
  }

  /** Is each row of A times B that of `products`, as its first matrix, for a witness in memory? */
  const satisfied = (
    matrices: Matrices,
    products: Matrices,
    witness: Region,
    options: EngineOptions,
  ): Promise<boolean> =>
    comparing(products, witness, COMPARED, (differs) =>
      using(threads * 3 * COMPARED * pairBytes, ({ at }) =>
        all(
          [...ranges(matrices.size / 2, COMPARED)].map(([from, count]) =>
            run((thread) => {
              const own = [0, 1, 2].map((i) => at + (3 * thread + i) * COMPARED * pairBytes);
              return [
                rowsCall(matrices, witness, from, count, own),
                ...differs(thread, own[2]!, from, count),
              ];
            }, options),
          ),
        ),
      ),
    );

  return { powersOf, loadMatrices, loadEntries, quotient, satisfied };
}
