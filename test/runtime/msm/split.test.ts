import { ratedPoints } from '../../../runtime/msm/shards/work.ts';
import { correctedRates, measureRates, sectionsForThreads } from '../../../runtime/msm/split.ts';
import { assert, suite } from '../../harness.ts';

const test = suite('split of a proof');
const shape = { variables: 1000, publics: 1, domainSize: 1024 };
const chosen = (gpu: { g1: number; g2: number }, threads: { g1: number; g2: number }) =>
  [...sectionsForThreads(shape, gpu, threads)].sort().join(' ');

test('a GPU that is far faster does all, threads that are far faster do all but H', () => {
  assert.is(chosen({ g1: 1e6, g2: 1e6 }, { g1: 1e3, g2: 300 }), '');
  assert.is(chosen({ g1: 1e3, g2: 300 }, { g1: 1e6, g2: 1e6 }), 'A B1 B2 C');
});

test('B2 goes where it is cheap', () => {
  // A GPU whose G2 is eight times dearer than its G1, beside threads of whose it is three times.
  assert.is(chosen({ g1: 8e5, g2: 1e5 }, { g1: 3e5, g2: 1e5 }), 'B2');
  assert.is(chosen({ g1: 1e5, g2: 1e5 }, { g1: 1e5, g2: 1e4 }), 'A B1 C');
});

test('both sides are done at about the same time, and never later than the GPU alone', () => {
  for (const ratio of [0.1, 0.5, 1, 2, 10]) {
    const gpu = { g1: 1e6, g2: 3e5 };
    const threads = { g1: 1e6 * ratio, g2: 3e5 * ratio };
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
  // Each size once before it counts; 2^14 is not yet 25 ms of G1, and 2^18 is the largest that is tried. The last three times.
  const runs = (group: string, all: number[]) => [
    ...all.flatMap((bits) => [`${group} ${bits}`, `${group} ${bits}`]),
    ...new Array<string>(2).fill(`${group} ${all.at(-1)}`),
  ];
  assert.equal(sizes, [...runs('G1', [10, 12, 14, 16]), ...runs('G2', [10, 12, 14, 16, 18])]);
  assert.is(Math.round(rates.g1), 1_024_000);
  assert.is(Math.round(rates.g2), Math.round(1e6 * 2 ** 10 * (ratedPoints(2 ** 18) / 2 ** 18)));
  const error = await measureRates(() => Promise.reject(new Error('wrong'))).catch((caught) => caught);
  assert.is(error.message, 'wrong');
});

test('of the last size the fastest run counts: a sum that was interrupted says nothing', async () => {
  let now = 0;
  let run = 0;
  const rates = await measureRates(
    async () => {
      now += run++ % 4 === 1 ? 500 : 30;
    },
    () => now,
  );
  assert.is(Math.round(rates.g1), Math.round((1000 * ratedPoints(2 ** 10)) / 30));
});

test('a rate is that of 2^16 points, although a slower engine is measured with fewer', async () => {
  for (const msPerPoint of [0.1, 0.01, 0.001]) {
    let now = 0;
    const { g1 } = await measureRates(
      async (_, bits) => {
        now += ratedPoints(2 ** bits) * msPerPoint;
      },
      () => now,
    );
    assert.is(Math.round(g1), Math.round(1000 / msPerPoint));
  }
});

test('proofs correct the rates, until both sides take as long as they are said to', () => {
  const real = { gpu: { g1: 1e5, g2: 2e4 }, threads: { g1: 1e5, g2: 5e4 } };
  // Measured while another process had the cores, and the GPU was clocked up.
  let rates = { gpu: { g1: 2e5, g2: 4e4 }, threads: { g1: 3e4, g2: 15e3 } };
  const counts = { A: 1000, B1: 1000, B2: 1000, C: 998, H: 1024 };
  const group = (section: string) => (section === 'B2' ? 'g2' : 'g1') as 'g1' | 'g2';
  const ideal = sectionsForThreads(shape, real.gpu, real.threads);
  let mine = sectionsForThreads(shape, rates.gpu, rates.threads);
  assert.is(mine.size, 1);
  for (let proof = 0; proof < 12; proof++) {
    const spent = { gpu: 0, threads: 0 };
    for (const [section, count] of Object.entries(counts)) {
      const side = mine.has(section as 'A') ? 'threads' : 'gpu';
      spent[side] += (1000 * count) / real[side][group(section)];
    }
    rates = correctedRates(shape, rates, mine, spent);
    mine = sectionsForThreads(shape, rates.gpu, rates.threads);
  }
  assert.equal([...mine].sort(), [...ideal].sort());
});

test.run();
