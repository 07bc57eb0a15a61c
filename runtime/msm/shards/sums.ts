/**
 * What comes back from workers: one point per shard, added up to the five sums of a proof, and the search for the
 * wrong ones when the proof of those sums does not verify. A point here has been checked to be one of its group,
 * and nothing more.
 */
import { type CurveEngine, SECTION_GROUP, SECTIONS, type Section } from '../../../circuits/groth16/engine.ts';
import { addPoints, POINT_BYTES } from '../../../circuits/groth16/point.ts';
import type { Zkey } from '../../../circuits/groth16/zkey.ts';
import { SCALAR_BYTES } from '../../../protocols/bn254.ts';
import { equal } from '../../../protocols/encoding.ts';
import type { PlannedShard } from './plan.ts';

/** Scalars of the five sections, 32 bytes each. Secret. */
export type SectionScalars = Readonly<Record<Section, Uint8Array>>;

export interface PartialSum {
  readonly shard: PlannedShard;
  /** affine, in zkey form */
  readonly point: Uint8Array;
  /** who computed it, and for how long */
  readonly worker: string;
  readonly millis: number;
}

/** The scalars of one shard: a view. */
export const scalarsOf = (
  scalars: SectionScalars,
  { section, from, count }: Pick<PlannedShard, 'section' | 'from' | 'count'>,
): Uint8Array => scalars[section].subarray(from * SCALAR_BYTES, (from + count) * SCALAR_BYTES);

/** Adds up each section; a section without shards is the point at infinity. */
export function sectionSums(parts: Iterable<PartialSum>): Record<Section, Uint8Array> {
  const points = [...parts];
  return Object.fromEntries(
    SECTIONS.map((section) => [
      section,
      addPoints(
        SECTION_GROUP[section],
        points.filter(({ shard }) => shard.section === section).map(({ point }) => point),
        `section ${section}`,
      ),
    ]),
  ) as Record<Section, Uint8Array>;
}

/** Computes every shard again and yields the wrong ones, with the right point: as much work as all workers did. */
export async function* wrongSums(
  parts: Iterable<PartialSum>,
  { zkey, scalars }: { readonly zkey: Zkey; readonly scalars: SectionScalars },
  engine: Pick<CurveEngine, 'msm'>,
  signal: AbortSignal,
): AsyncGenerator<{ readonly part: PartialSum; readonly right: Uint8Array }> {
  for (const part of parts) {
    const { section, from, count } = part.shard;
    const group = SECTION_GROUP[section];
    const size = POINT_BYTES[group];
    const bases = zkey.points[section].subarray(from * size, (from + count) * size);
    const right = await engine.msm(group, bases, scalarsOf(scalars, part.shard), { signal });
    if (!equal(right, part.point)) yield { part, right };
  }
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
