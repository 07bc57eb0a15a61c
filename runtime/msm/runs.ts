/** Base points by the chunks that they lie in, for engines that keep them from one sum to the next. */
import type { CurveEngine, EngineOptions, Group } from '../../circuits/groth16/engine.ts';
import { POINT_BYTES, SCALAR_BYTES } from '../../protocols/bn254.ts';
import { concat } from '../../protocols/encoding.ts';
import { VouchError } from '../../protocols/errors.ts';

export interface PointChunk {
  /** the digest of its bytes: the same name stands for the same bytes, whoever says it */
  readonly name: string;
  /** Called where the engine has not got it. */
  read(): Promise<Uint8Array>;
}

/** Points that follow each other, in zkey form, in chunks that follow each other. A point may lie in two. */
export interface PointRun {
  readonly group: Group;
  /** They belong to the last so many scalars. */
  readonly count: number;
  readonly chunks: readonly PointChunk[];
  /** bytes of the first chunk before the first point */
  readonly offset: number;
}

export interface HeldRuns {
  /** One affine point in zkey form for each run. */
  sums(scalars: Uint8Array, options?: EngineOptions): Promise<Uint8Array[]>;
  /** They may be dropped from here on. Only the first call counts. */
  release(): void;
}

/**
 * Brings them to where the engine computes. `scalars`: how many there will be. Throws `bad-message` when the chunks do not
 * hold so many points, and what reading throws.
 */
export type HoldRuns = (
  runs: readonly PointRun[],
  scalars: number,
  options?: EngineOptions,
) => Promise<HeldRuns>;

/** For an engine that keeps no points: each sum brings its own. */
export const holdNothing =
  ({ msm }: Pick<CurveEngine, 'msm'>): HoldRuns =>
  async (runs) => {
    const points = await Promise.all(
      runs.map(async ({ group, count, chunks, offset }) => {
        const parts = await Promise.all(chunks.map(({ read }) => read()));
        const bytes = count * POINT_BYTES[group];
        const all = parts.length === 1 ? parts[0]! : concat(...parts);
        if (offset + bytes > all.byteLength)
          throw new VouchError(
            'bad-message',
            `msm.shard: its chunks hold ${all.byteLength} bytes, expected ${offset + bytes}`,
          );
        return all.subarray(offset, offset + bytes);
      }),
    );
    return {
      async sums(scalars, options) {
        const sums: Uint8Array[] = [];
        for (const [i, { group, count }] of runs.entries()) {
          const last = scalars.subarray(scalars.byteLength - count * SCALAR_BYTES);
          sums.push(await msm(group, points[i]!, last, options));
        }
        return sums;
      },
      release() {},
    };
  };
