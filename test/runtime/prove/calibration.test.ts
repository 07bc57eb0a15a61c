/** What is foretold of a circuit's times, against circuits that were measured (docs/BENCHMARKS.md). */
import { forecast } from '../../../runtime/prove/calibration.ts';
import { assert, suite } from '../../harness.ts';

const test = suite('calibration');
const RATES = { setup: 1000, setupStart: 600, proof: 150, start: 500 };
/** That three of them were measured with, on a quiet machine; the others are seconds of a processor that was shared. */
const QUIET = 0.36;

/** Constraints, terms that the compiler moves, and its seconds where the setup of the measured circuit takes one. */
const MEASURED: [string, number, number, number][] = [
  ['logistic regression, 300 rows', 5_610, 19_500, 2.7 / QUIET],
  ['demonstration MLP, 300 rows', 51_279, 134_000, 7.5 / QUIET],
  ['MLP of 16 units, 850 rows', 250_770, 646_000, 23.2 / QUIET],
  ['one output, 100 rows of 63', 2_878, 20_173, 4.9],
  ['one output, 300 rows of 63', 6_479, 43_935, 7.5],
  ['one output, 600 rows of 63', 11_880, 79_761, 12.5],
  ['one output, 600 rows of 63, two of three features 0', 10_777, 32_539, 8.1],
  ['one output, 600 rows of 6', 9_275, 14_899, 6.0],
  ['one output, 1200 rows of 63', 22_679, 151_269, 22.6],
  ['63-8-2, 300 rows', 57_892, 325_327, 27.8],
  ['63-64-2, 40 rows', 89_472, 475_092, 32.8],
  ['63-64-2, one hidden row', 45_940, 149_814, 14.1],
  ['100 trees of depth 3, 40 rows', 82_018, 0, 15.3],
  ['convolutions on 10 images of 8 x 8', 20_291, 29_083, 8.0],
  ['convolutions on an image of 14 x 14', 103_052, 263_487, 27.6],
  ['convolutions on an image of 20 x 20', 267_586, 558_069, 77.2],
  ['LeNet-5, an image of 28 x 28', 953_844, 2_317_224, 254.9],
  ['convolutions on a hidden image of 14 x 14', 46_908, 38_666, 17.0],
];
for (const [name, constraints, movedTerms, measured] of MEASURED)
  test(`${name}: the compiler's time is foretold within 40 %, and lies in the range`, () => {
    const size = { constraints, movedTerms, variables: constraints, domain: 2 ** 20 };
    const { compileSeconds, compileRange } = forecast(size, RATES);
    assert.ok(Math.abs(compileSeconds / measured - 1) < 0.4, `${compileSeconds} for ${measured}`);
    const [low, high] = compileRange;
    assert.ok(low <= measured && measured <= high, `${low} to ${high} for ${measured}`);
    // A machine that is twice as fast takes half as long.
    const fast = forecast(size, { ...RATES, setup: 500 });
    assert.ok(Math.abs(fast.compileSeconds / compileSeconds - 0.5) < 0.05);
  });

test('the first key and the first proof of a process take longer by what their code takes to be made', () => {
  const size = { constraints: 5_610, movedTerms: 19_500, variables: 5_610, domain: 2 ** 13 };
  const [cold, warm] = [forecast(size, RATES), forecast(size, { ...RATES, setupStart: 0, start: 0 })];
  assert.ok(Math.abs(cold.setupSeconds - warm.setupSeconds - 0.6) < 0.02);
  assert.ok(Math.abs(cold.proofSeconds - warm.proofSeconds - 0.5) < 0.02);
});

test.run();
