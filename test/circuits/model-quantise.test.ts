import { R } from '../../circuits/groth16/field.ts';
import {
  architectureBytes,
  architectureDigest,
  architectureElement,
  EXACT,
  parseArchitecture,
} from '../../circuits/model/architecture.ts';
import type { DenseNetwork } from '../../circuits/model/network.ts';
import { evaluate, type QuantisedModel, quantise, randomFeatures } from '../../circuits/model/quantise.ts';
import { VouchError } from '../../protocols/errors.ts';
import { assert, suite } from '../harness.ts';
import { smallModel, smallNetwork } from './model-fixture.ts';

const test = suite('quantise');
const refuses = (run: () => unknown, text: RegExp): void => {
  assert.throws(
    run,
    (error: unknown) => error instanceof VouchError && error.code === 'bad-input' && text.test(error.message),
  );
};

/** The formulas of architecture.ts once more, in rationals of BigInt with explicit floors. */
function naive({ architecture, parameters }: QuantisedModel, x: ArrayLike<number>): bigint[] {
  const floor = (a: bigint, d: bigint): bigint => (a >= 0n ? a / d : -((-a + d - 1n) / d));
  let values = Array.from(x, BigInt);
  architecture.layers.forEach(({ inputs, outputs, shift }, l) => {
    const { weights, bias } = parameters.layers[l]!;
    values = Array.from({ length: outputs }, (_, j) => {
      let a = BigInt(bias[j]!);
      for (let i = 0; i < inputs; i++) a += BigInt(weights[j * inputs + i]!) * values[i]!;
      if (shift === 0) return a;
      const h = floor(2n * a + 2n ** BigInt(shift), 2n ** BigInt(shift + 1));
      return h > 0n ? h : 0n;
    });
  });
  return values;
}

test('evaluate computes the formulas, and stays within the public bounds', () => {
  for (const [seed, units] of [
    [1, [4, 3, 2]],
    [2, [3, 5, 4, 3]],
    [3, [6, 2]],
  ] as const) {
    const model = smallModel({ seed, units });
    for (const x of randomFeatures(model.architecture, 200)) {
      const { decision, logits } = evaluate(model, x);
      const expected = naive(model, x);
      assert.equal([...logits].map(BigInt), expected);
      assert.is(
        decision,
        expected.findIndex((a) => expected.every((b) => a >= b)),
      );
      assert.ok(logits.every((a) => Math.abs(a) <= model.architecture.layers.at(-1)!.output));
    }
    for (const layer of model.architecture.layers) assert.ok(layer.accumulator < EXACT);
  }
});

test('a tie goes to the lowest index, and 0 of one output is class 0', () => {
  const preprocessing = { columns: [{ kind: 'integer' as const, name: 'x', low: -3, high: 3 }] };
  const layer = (weights: number[], outputs: number) => ({
    inputs: 1,
    outputs,
    weights: Float64Array.from(weights),
    bias: new Float64Array(outputs),
    relu: false,
  });
  const calibration = [Int32Array.of(1)];
  const three = quantise(
    { inputs: 1, layers: [layer([1, 1, -1], 3)], decision: 'argmax' },
    { preprocessing, classes: ['a', 'b', 'c'], calibration },
  );
  assert.equal(
    [-2, 0, 2].map((x) => evaluate(three, [x]).decision),
    [2, 0, 0],
  );
  const one = quantise(
    { inputs: 1, layers: [layer([1], 1)], decision: 'sign' },
    { preprocessing, classes: ['no', 'yes'], calibration },
  );
  assert.equal(
    [-1, 0, 1].map((x) => evaluate(one, [x]).decision),
    [0, 0, 1],
  );
  // A power of two, at which the weight is exact.
  assert.equal([...evaluate(one, [1]).logits], [0, 64]);
});

test('quantising changes few decisions', () => {
  const network = smallNetwork({ units: [4, 6, 3], seed: 7 });
  const model = smallModel({ units: [4, 6, 3], seed: 7 });
  const rows = randomFeatures(model.architecture, 500);
  const agreeing = rows.filter((x) => floatDecision(network, x) === evaluate(model, x).decision).length;
  assert.ok(agreeing > 480, `${agreeing} of 500`);
});

function floatDecision(network: DenseNetwork, x: ArrayLike<number>): number {
  let values = Array.from(x);
  for (const { inputs, outputs, weights, bias, relu } of network.layers) {
    values = Array.from({ length: outputs }, (_, j) => {
      const a = values.reduce((sum, value, i) => sum + weights[j * inputs + i]! * value, bias[j]!);
      return relu ? Math.max(0, a) : a;
    });
  }
  return values.indexOf(Math.max(...values));
}

test('a bound that float32 cannot hold is refused, from widths alone', () => {
  const network = smallNetwork({ units: [4, 3, 2] });
  const wide = (high: number) => ({
    preprocessing: {
      columns: Array.from({ length: 4 }, (_, i) => ({
        kind: 'integer' as const,
        name: `x${i}`,
        low: 0,
        high,
      })),
    },
    classes: ['a', 'b'],
    // Calibrating on small values does not help: the bound is over all values in the range.
    calibration: [Int32Array.of(1, 1, 1, 1)],
  });
  refuses(() => quantise(network, wide(2 ** 20)), /layer 1: a sum may reach \d+, beyond the 2\^24/);
  refuses(() => quantise(network, { ...wide(3), classes: ['a', 'b', 'c'] }), /classes|outputs/);
  refuses(
    () => quantise(smallNetwork({ units: [5, 3, 2] }), wide(3)),
    /takes 5 features, the preprocessing gives 4/,
  );
});

test('where the next layer has many inputs, the step is coarser than calibration asks for', () => {
  const columns = Array.from({ length: 63 }, (_, i) => ({
    kind: 'integer' as const,
    name: `x${i}`,
    low: 0,
    high: 15,
  }));
  const calibration = [new Int32Array(63).fill(1)];
  const quantised = (hidden: number): QuantisedModel =>
    quantise(smallNetwork({ units: [63, hidden, 2] }), {
      preprocessing: { columns },
      classes: ['a', 'b'],
      calibration,
    });
  const shifts = [4, 16, 64, 256].map((hidden) => quantised(hidden).architecture.layers[0]!.shift);
  assert.ok(
    shifts.every((shift, i) => i === 0 || shift > shifts[i - 1]!),
    `${shifts}`,
  );
});

test('evaluate refuses features outside their ranges', () => {
  const model = smallModel({ units: [4, 3, 2] });
  for (const x of [
    [0, 0, 0],
    [0, 0, 0, 13],
    [0, 0, 0, -4],
    [0, 0, 0, 0.5],
    [0, 0, 0, Number.NaN],
  ]) {
    assert.throws(
      () => evaluate(model, x),
      (error: unknown) => error instanceof RangeError,
    );
  }
});

test('an architecture from outside is checked, bounds included', () => {
  const { architecture } = smallModel({ units: [4, 3, 2] });
  assert.equal(parseArchitecture(structuredClone(architecture)), architecture);
  // biome-ignore lint/suspicious/noExplicitAny: these changes break the type on purpose
  const changed = (change: (a: any) => void) => {
    const copy = structuredClone(architecture);
    change(copy);
    return () => parseArchitecture(copy);
  };
  refuses(
    changed((a) => {
      a.layers[0].accumulator -= 1;
    }),
    /layers.0: expected accumulator/,
  );
  refuses(
    changed((a) => {
      a.layers[0].output += 1;
    }),
    /layers.0/,
  );
  refuses(
    changed((a) => {
      a.layers[0].shift = 0;
    }),
    /shift/,
  );
  refuses(
    changed((a) => {
      a.layers[1].shift = 1;
    }),
    /shift/,
  );
  refuses(
    changed((a) => {
      a.layers[1].inputs = 4;
    }),
    /layers.1.inputs/,
  );
  refuses(
    changed((a) => {
      a.layers[0].weightBits = 9;
    }),
    /weightBits/,
  );
  refuses(
    changed((a) => {
      a.classes.push('third');
    }),
    /layers: expected 3 outputs/,
  );
  refuses(
    changed((a) => {
      a.rounding = 'round';
    }),
    /rounding/,
  );
  refuses(
    changed((a) => {
      a.version = 4;
    }),
    /version/,
  );
  refuses(
    changed((a) => {
      a.extra = 1;
    }),
    /extra/,
  );
  refuses(
    changed((a) => {
      a.preprocessing.columns[0].low = 12;
    }),
    /low < high/,
  );
  const category = (name: string, categories: string[]) => ({ kind: 'category', name, categories });
  const columns = (...list: object[]) =>
    changed((a) => {
      a.preprocessing.columns = list;
    });
  refuses(columns(category('c', ['a', 'b', 'a'])), /category occurs twice/);
  refuses(columns(category('c', ['a']), category('c', ['b'])), /same name/);
  const many = Array.from({ length: 1024 }, (_, i) => `${i}`);
  refuses(
    columns(...Array.from({ length: 5 }, (_, i) => category(`c${i}`, many))),
    /5120 features, more than 4096/,
  );
  refuses(() => parseArchitecture(undefined), /architecture/);
});

test('the canonical bytes do not depend on key order, and every field changes the digest', () => {
  const { architecture } = smallModel({ units: [4, 3, 2] });
  const reversed = Object.fromEntries(Object.entries(architecture).reverse()) as typeof architecture;
  assert.equal(architectureBytes(reversed), architectureBytes(architecture));
  assert.match(architectureDigest(architecture), /^[0-9a-f]{64}$/);
  assert.is(architectureElement(architecture), BigInt(`0x${architectureDigest(architecture)}`) % R);
  assert.is.not(
    architectureDigest({ ...architecture, classes: ['class 0', 'other'] }),
    architectureDigest(architecture),
  );
});

test.run();
