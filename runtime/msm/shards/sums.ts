/**
 * What comes back from workers: the sums of each shard, put together to the five sums of a proof, and the search for who
 * computed wrongly when the proof of those does not verify. A point here has been checked to lie on its curve, and
 * nothing more.
 *
 * Blame is cheap because only totals count: all sums are made again once, on all threads, which is what one local proof
 * takes and already gives the right proof; then each worker's total over the sections that were wrong. Errors of one worker
 * that cancel each other are not found, and do no harm. (Random weights would find them, too: but weights make every
 * scalar a uniform one, where most wires are bits.)
 */
import {
  type CurveEngine,
  type EngineOptions,
  SECTION_GROUP,
  SECTIONS,
  type Section,
  type SectionRange,
  type Sums,
} from '../../../circuits/groth16/engine.ts';
import { G1, G2, knownG1, knownG2, POINT_BYTES, writeG1, writeG2 } from '../../../circuits/groth16/point.ts';
import { type KeyShape, type ProvingKey, sectionCounts } from '../../../circuits/groth16/zkey.ts';
import { SCALAR_BYTES } from '../../../protocols/bn254.ts';
import { equal } from '../../../protocols/encoding.ts';
import { ALL_BITS, type Extent, type Part, type Piece } from './work.ts';

/** Points that are added up at a time when sums are made again: at most 128 MiB of a key. */
const BLAMED = 2 ** 20;

/** Scalars of the five sections, 32 bytes each. Secret. */
export type SectionScalars = Readonly<Record<Section, Uint8Array>>;

/** The sections that the scalars of a part are multiplied with, in the order of a result's points. */
export const SECTIONS_OF: Readonly<Record<Part, readonly Section[]>> = {
  wires: ['A', 'B1', 'B2', 'C'],
  quotient: ['H'],
};

/**
 * The base points that a piece's scalars are multiplied with. C has none for the constant and the public signals, so its
 * points belong to the last scalars; a section without any is left out.
 */
export function pointRanges(
  { publics }: Pick<KeyShape, 'publics'>,
  { part, from, count }: Pick<Piece, 'part' | 'from' | 'count'>,
): SectionRange[] {
  return SECTIONS_OF[part].flatMap((section) => {
    const skipped = section === 'C' ? publics + 1 : 0;
    const first = Math.max(from, skipped);
    const own = from + count - first;
    return own > 0 ? [{ section, from: first - skipped, count: own }] : [];
  });
}

/** A piece's own scalars of its part's, 32 bytes each: a view, or where it has some bits of them only a copy. Secret. */
export function scalarsOf(vector: Uint8Array, { from, count, bits }: Piece): Uint8Array {
  if (bits.count === ALL_BITS.count)
    return vector.subarray(from * SCALAR_BYTES, (from + count) * SCALAR_BYTES);
  const cut = new Uint8Array(count * SCALAR_BYTES);
  for (let i = 0; i < count; i++) {
    const start = (from + i) * SCALAR_BYTES + bits.from / 8;
    cut.set(vector.subarray(start, start + bits.count / 8), i * SCALAR_BYTES);
  }
  return cut;
}

export interface PartialSum {
  readonly piece: Piece;
  /** one for each of the piece's `pointRanges`, affine, in zkey form */
  readonly points: readonly Uint8Array[];
  /** who computed it, and for how long */
  readonly worker: string;
  readonly millis: number;
}

/** Adds up each section, the sums over higher bits doubled as often as needed; a section without shards is infinity. */
export function sectionSums(shape: Pick<KeyShape, 'publics'>, parts: Iterable<PartialSum>): Sums {
  const all = [...parts];
  return Object.fromEntries(
    SECTIONS.map((section) => [
      section,
      totalOf(
        section,
        all.flatMap(({ piece, points }) => {
          const at = pointRanges(shape, piece).findIndex((range) => range.section === section);
          return at < 0 ? [] : [{ point: points[at]!, doublings: piece.bits.from }];
        }),
      ),
    ]),
  ) as Record<Section, Uint8Array>;
}

function totalOf(section: Section, terms: readonly { point: Uint8Array; doublings: number }[]): Uint8Array {
  const what = `section ${section}`;
  if (SECTION_GROUP[section] === 'G1')
    return writeG1(
      sumOf(
        terms.map(({ point, doublings }) => ({ point: knownG1(point, what), doublings })),
        G1.ZERO,
      ),
    );
  return writeG2(
    sumOf(
      terms.map(({ point, doublings }) => ({ point: knownG2(point, what), doublings })),
      G2.ZERO,
    ),
  );
}

/** Horner's way: the highest bits first. */
function sumOf<P extends { add(other: P): P; double(): P }>(
  terms: readonly { readonly point: P; readonly doublings: number }[],
  zero: P,
): P {
  let sum = zero;
  let at = Math.max(0, ...terms.map(({ doublings }) => doublings));
  for (const { point, doublings } of terms.toSorted((a, b) => b.doublings - a.doublings)) {
    for (; at > doublings; at--) sum = sum.double();
    sum = sum.add(point);
  }
  for (; at > 0; at--) sum = sum.double();
  return sum;
}

export interface Blame {
  /** the right sums, whoever made what */
  readonly sums: Sums;
  readonly liars: readonly string[];
}

/** Makes the sums again, and finds whose were not right. Throws `cancelled` when aborted. */
export async function blame(
  parts: Iterable<PartialSum>,
  key: ProvingKey,
  scalars: SectionScalars,
  engine: Pick<CurveEngine, 'msm'>,
  options: EngineOptions,
): Promise<Blame> {
  const all = [...parts];
  const counts = sectionCounts(key);
  /** The sum over ranges of a section's points, each with the bits of its scalars that a piece covers. */
  const sumOver = async (
    section: Section,
    ranges: readonly { readonly from: number; readonly count: number; readonly bits: Extent }[],
  ): Promise<Uint8Array> => {
    const size = POINT_BYTES[SECTION_GROUP[section]];
    const terms: { point: Uint8Array; doublings: number }[] = [];
    for (const own of Map.groupBy(ranges, ({ bits }) => `${bits.from}/${bits.count}`).values()) {
      const { bits } = own[0]!;
      for (const batch of batchesOf(own)) {
        const points = batch.reduce((sum, { count }) => sum + count, 0);
        const bases = new Uint8Array(points * size);
        const cut = new Uint8Array(points * SCALAR_BYTES);
        let at = 0;
        for (const { from, count } of batch) {
          await key.read(section, bases.subarray(at * size, (at + count) * size), from * size);
          for (let i = 0; i < count; i++, at++) {
            const start = (from + i) * SCALAR_BYTES + bits.from / 8;
            cut.set(scalars[section].subarray(start, start + bits.count / 8), at * SCALAR_BYTES);
          }
        }
        terms.push({
          point: await engine.msm(SECTION_GROUP[section], bases, cut, options),
          doublings: bits.from,
        });
        cut.fill(0);
      }
    }
    return totalOf(section, terms);
  };
  const claimed = sectionSums(key, all);
  const liars = new Set<string>();
  const sums: Partial<Record<Section, Uint8Array>> = {};
  for (const section of SECTIONS) {
    const right = await sumOver(section, [{ from: 0, count: counts[section], bits: ALL_BITS }]);
    sums[section] = right;
    if (equal(right, claimed[section])) continue;
    for (const [worker, own] of Map.groupBy(all, ({ worker }) => worker)) {
      if (liars.has(worker)) continue;
      const ranges = own.flatMap(({ piece }) =>
        pointRanges(key, piece)
          .filter((range) => range.section === section)
          .map(({ from, count }) => ({ from, count, bits: piece.bits })),
      );
      if (!equal(sectionSums(key, own)[section], await sumOver(section, ranges))) liars.add(worker);
    }
  }
  return { sums: sums as Sums, liars: [...liars] };
}

/** Ranges cut and put together so that none of the batches has more than so many points. */
function batchesOf(
  ranges: readonly Pick<SectionRange, 'from' | 'count'>[],
): Pick<SectionRange, 'from' | 'count'>[][] {
  const batches: Pick<SectionRange, 'from' | 'count'>[][] = [];
  let room = 0;
  for (const range of ranges) {
    for (let at = range.from, left = range.count; left > 0; ) {
      if (room === 0) {
        batches.push([]);
        room = BLAMED;
      }
      const count = Math.min(left, room);
      batches.at(-1)!.push({ from: at, count });
      at += count;
      left -= count;
      room -= count;
    }
  }
  return batches;
}

/** Whose points went in: shards and milliseconds per worker, by id. */
export function sharesOf(parts: Iterable<PartialSum>): { id: string; shards: number; millis: number }[] {
  const byWorker = new Map<string, { id: string; shards: number; millis: number }>();
  for (const { worker, millis } of parts) {
    const share = byWorker.get(worker) ?? { id: worker, shards: 0, millis: 0 };
    byWorker.set(worker, { id: worker, shards: share.shards + 1, millis: share.millis + millis });
  }
  return [...byWorker.values()].sort((a, b) => (a.id < b.id ? -1 : 1));
}
