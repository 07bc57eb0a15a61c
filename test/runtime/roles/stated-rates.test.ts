/** What a worker says of its rates, and what a coordinator that chooses its sums can make of that. */
import { pieceOf } from '../../../runtime/msm/shards/work.ts';
import { createStatedRates } from '../../../runtime/roles/stated-rates.ts';
import { assert, suite } from '../../harness.ts';

const test = suite('stated rates');
const MEASURED = { g1: 1000, g2: 300 };
const { bits } = pieceOf('quotient', 0, 2 ** 16);
const CHUNKS = { chunks: ['0'.repeat(64)], offset: 0 };
const overH = (count: number) => ({ bases: [{ section: 'H' as const, count, ...CHUNKS }], bits });
/** By the rates above. */
const EXPECTED_MS = 65_536;

test('a worker that takes longer than it says corrects itself, a part of the way for each sum', () => {
  const rates = createStatedRates(MEASURED);
  rates.summed(overH(2 ** 16), 2 * EXPECTED_MS);
  assert.ok(Math.abs(rates.said().g1 - 1000 / 2 ** 0.25) < 1);
  for (let sum = 0; sum < 30; sum++) rates.summed(overH(2 ** 16), 2 * EXPECTED_MS);
  const { g1, g2 } = rates.said();
  assert.ok(Math.abs(g1 - 500) < 1 && Math.abs(g2 - 150) < 1, `${g1}, ${g2}`);
});

test('what says nothing of a rate changes nothing: short sums, a clock that stood still, wires, several sums at once', () => {
  const rates = createStatedRates(MEASURED);
  for (const ms of [0, 5, Number.NaN]) rates.summed(overH(2 ** 16), ms);
  const { bases } = overH(2 ** 16);
  rates.summed({ bases: [...bases, ...bases], bits }, 1000);
  rates.summed({ bases: [], bits }, 1000);
  rates.summed({ bases: [{ ...bases[0]!, section: 'A' }], bits }, 1000);
  assert.equal(rates.said(), MEASURED);
  rates.summed(overH(8), 1000);
  assert.ok(rates.said().g1 < MEASURED.g1);
  const quick = createStatedRates({ g1: 1e9, g2: 1e9 });
  quick.summed(overH(2 ** 16), 1000);
  assert.is(quick.said().g1, 1e9);
});

test('a coordinator that sends zeros for uniform scalars, or calls a moment hours, moves the rates within bounds', () => {
  const boasting = createStatedRates(MEASURED);
  for (let sum = 0; sum < 1000; sum++) boasting.summed(overH(2 ** 20), 10);
  assert.ok(boasting.said().g1 <= 64 * MEASURED.g1 && boasting.said().g2 <= 64 * MEASURED.g2);
  const slowed = createStatedRates(MEASURED);
  for (let sum = 0; sum < 1000; sum++) slowed.summed(overH(2 ** 10), 1e12);
  assert.ok(slowed.said().g1 >= MEASURED.g1 / 64);
});

test.run();
