/** Random fleets and shapes for the tests of the ledger: the same for the same seed. */
import type { SimulatedNode } from '../../../../runtime/msm/shards/simulation.ts';
import type { PartShape, Piece } from '../../../../runtime/msm/shards/work.ts';
import { quotientShape, wiresShape } from '../../../../runtime/msm/shards/work.ts';

/** Numbers in [0, 1): mulberry32 (Tommy Ettinger, public domain algorithm). */
export function randomOf(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

export const node = (id: string, g1: number, more: Partial<SimulatedNode> = {}): SimulatedNode => ({
  id,
  rates: { g1, g2: g1 / 3 },
  bytesPerSecond: 125e6,
  roundTripMs: 1,
  ...more,
});

/** Nodes up to 50 times as fast as others, some without G2 worth mentioning, near and far. */
export function randomNodes(random: () => number, count: number): SimulatedNode[] {
  return Array.from({ length: count }, (_, index) => {
    const g1 = 2e4 * 50 ** random();
    const base = node(`n${index}`, g1, {
      bytesPerSecond: 2e6 * 100 ** random(),
      roundTripMs: 0.2 * 200 ** random(),
    });
    return { ...base, rates: { g1, g2: g1 / (2 + 4 * random()) } };
  });
}

/** Both parts of a proof of some 2^bits rows. */
export function shapesOf(bits: number, random: () => number): [PartShape, PartShape] {
  const rows = Math.floor(2 ** bits * (0.6 + 0.4 * random()));
  const density = random();
  const seed = Math.floor(random() * 2 ** 31);
  const full = randomOf(seed);
  const isFull = Array.from({ length: rows }, () => full() < density);
  return [
    wiresShape({ rows, privateFrom: Math.floor(rows * 0.01), isBit: (row) => !isFull[row] }),
    quotientShape({ rows: 2 ** bits }),
  ];
}

/** Throws unless the pieces cover every row and every bit of each part exactly once. */
export function demandExactCover(shapes: readonly PartShape[], pieces: readonly Piece[]): void {
  for (const { part, rows, cellRows } of shapes) {
    const cells = Math.ceil(rows / cellRows);
    const covered = new Uint8Array(cells * 8); // in steps of 32 bits
    for (const { part: own, from, count, bits } of pieces) {
      if (own !== part) continue;
      if (from % cellRows !== 0 || ((from + count) % cellRows !== 0 && from + count !== rows))
        throw new Error(`${part}: rows ${from} to ${from + count} are not on the grid`);
      for (let cell = from / cellRows; cell < (from + count) / cellRows; cell++)
        for (let band = bits.from / 32; band < (bits.from + bits.count) / 32; band++)
          covered[cell * 8 + band] = covered[cell * 8 + band]! + 1;
    }
    const wrong = covered.findIndex((times) => times !== 1);
    if (wrong >= 0)
      throw new Error(
        `${part}: rows from ${Math.floor(wrong / 8) * cellRows}, bits from ${(wrong % 8) * 32}: covered ${covered[wrong]} times`,
      );
  }
}
