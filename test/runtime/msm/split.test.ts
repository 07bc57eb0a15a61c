import { measureRates, sectionsForThreads } from '../../../runtime/msm/split.ts';
import { assert, suite } from '../../harness.ts';

const test = suite('split of a proof');
const shape = { variables: 1000, publics: 1, domainSize: 1024 };
const chosen = (gpu: { G1: number; G2: number }, threads: { G1: number; G2: number }) =>
  [...sectionsForThreads(shape, gpu, threads)].sort().join(' ');

test('a GPU that is far faster does all, threads that are far faster do all but H', () => {
  assert.is(chosen({ G1: 1e6, G2: 1e6 }, { G1: 1e3, G2: 300 }), '');
  assert.is(chosen({ G1: 1e3, G2: 300 }, { G1: 1e6, G2: 1e6 }), 'A B1 B2 C');
});

test('B2 goes where it is cheap', () => {
  // A GPU whose G2 is eight times dearer than its G1, beside threads of whose it is three times.
  assert.is(chosen({ G1: 8e5, G2: 1e5 }, { G1: 3e5, G2: 1e5 }), 'B2');
  assert.is(chosen({ G1: 1e5, G2: 1e5 }, { G1: 1e5, G2: 1e4 }), 'A B1 C');
});

test('both sides are done at about the same time, and never later than the GPU alone', () => {
  for (const ratio of [0.1, 0.5, 1, 2, 10]) {
    const gpu = { G1: 1e6, G2: 3e5 };
    const threads = { G1: 1e6 * ratio, G2: 3e5 * ratio };
    const mine = sectionsForThreads(shape, gpu, threads);
    assert.not.ok(mine.has('H'));
    const cost = { A: 1000, B1: 1000, B2: 1000 / 0.3, C: 998, H: 1024 };
    const total = Object.values(cost).reduce((sum, each) => sum + each, 0);
    const own = [...mine].reduce((sum, section) => sum + cost[section], 0);
    assert.ok(Math.max(own / ratio, total - own) <= total);
  }
});

test('rates come from sums that take long enough, or are large enough', async () => {
  const sizes: string[] = [];
  let now = 0;
  const multiply = async (group: 'G1' | 'G2', bits: number) => {
    sizes.push(`${group} ${bits}`);
    now += (group === 'G1' ? 1 : 0.001) * 2 ** (bits - 10);
  };
  const rates = await measureRates(multiply, () => now);
  // Each size once before it counts; 2^14 is not yet 25 ms of G1, and 2^18 is the largest that is tried.
  const twice = (group: string, all: number[]) =>
    all.flatMap((bits) => [`${group} ${bits}`, `${group} ${bits}`]);
  assert.equal(sizes, [...twice('G1', [10, 12, 14, 16]), ...twice('G2', [10, 12, 14, 16, 18])]);
  assert.is(Math.round(rates.G1), 1_024_000);
  assert.is(Math.round(rates.G2), 1_024_000_000);
  const error = await measureRates(() => Promise.reject(new Error('wrong'))).catch((caught) => caught);
  assert.is(error.message, 'wrong');
});

test.run();
