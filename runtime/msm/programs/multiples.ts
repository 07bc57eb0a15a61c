/**
 * Multiples of the groups' generators, for a setup, and the check that points lie on their curve.
 */
import type { EngineOptions } from '../../../circuits/groth16/engine.ts';
import { G1, G2, type Group, POINT_BYTES, writeG1, writeG2 } from '../../../circuits/groth16/point.ts';
import { SCALAR_BYTES } from '../../../protocols/bn254.ts';
import { concat } from '../../../protocols/encoding.ts';
import { DIGIT_BYTES } from '../wasm/digits.ts';
import type { Call } from '../wasm/instance.ts';
import type { Region } from './arena.ts';
import type { Msm } from './msm.ts';
import { windowCount } from './windows.ts';
import { all, degreeOf, type Workshop } from './workshop.ts';

/** Width of a window of the generator's multiples: 22 rows of 2048 points, 4 and 8 MiB, which a cache can hold. */
const MULTIPLE_BITS = 12;
/** Multiples that a thread makes at a time: their slots stay in its cache. */
const MULTIPLES = 2048;

export function createMultiples(
  { layout, arena, run, view, using, putting, ranges }: Workshop,
  { loadPoints, recode }: Msm,
) {
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
      const size = layout.pointBytes(degree);
      const [from, to] = [arena.bytes(points.region), arena.bytes(table)];
      for (let row = 0; row < rows; row++) {
        const first = row * length * slot;
        to.set(from.subarray(row * size, (row + 1) * size), first);
        view().setUint32(table.at + first + size, 1, true);
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

  return { firstOffCurve, multiples };
}
