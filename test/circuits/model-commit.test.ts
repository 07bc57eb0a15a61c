import { R } from '../../circuits/groth16/field.ts';
import {
  commit,
  decodeSecret,
  encodeSecret,
  packParameters,
  parameterWidths,
  randomSalt,
  SALT_BYTES,
} from '../../circuits/model/commit.ts';
import { poseidon, poseidonChain } from '../../circuits/model/poseidon.ts';
import { VouchError } from '../../protocols/errors.ts';
import { assert, suite } from '../harness.ts';
import { smallModel } from './model-fixture.ts';

const test = suite('commitment');

test("Poseidon gives circomlib's values", () => {
  assert.is(poseidon([1n]), 18586133768512220936620570745912940619677854269274689475585506675881198879027n);
  assert.is(
    poseidon([1n, 2n]),
    7853200120776062878684798364095072458815029376092732009249414926327459813530n,
  );
  const sixteen = Array.from({ length: 16 }, (_, i) => BigInt(i + 1));
  assert.is(poseidon(sixteen), 9989051620750914585850546081941653841776809718687451684622678807385399211877n);
  assert.throws(
    () => poseidon([]),
    (error: unknown) => error instanceof RangeError,
  );
  assert.throws(
    () => poseidon([...sixteen, 1n]),
    (error: unknown) => error instanceof RangeError,
  );
  assert.throws(
    () => poseidon([R]),
    (error: unknown) => error instanceof RangeError,
  );
  assert.is(poseidonChain([...sixteen, 17n]), poseidon([poseidon(sixteen), 17n]));
});

test('everything that is committed to changes the commitment', () => {
  const model = smallModel({ units: [4, 3, 2] });
  const { architecture, parameters, salt } = model;
  const seen = new Set([commit(model)]);
  assert.is(commit({ ...model }), [...seen][0]);
  const add = (changed: typeof model): void => {
    const commitment = commit(changed);
    assert.not(seen.has(commitment));
    assert.ok(commitment < R);
    seen.add(commitment);
  };
  add({ ...model, salt: salt.map((byte, i) => (i === SALT_BYTES - 1 ? byte ^ 1 : byte)) });
  add({ ...model, salt: salt.map((byte, i) => (i === 0 ? byte ^ 128 : byte)) });
  add({ ...model, architecture: { ...architecture, classes: ['a', 'b'] } });
  for (const l of [0, 1]) {
    for (const part of ['weights', 'bias'] as const) {
      const layers = parameters.layers.map((layer, i) =>
        i === l
          ? {
              ...layer,
              [part]: layer[part].map((value, at) =>
                at === 0 ? (value > 0 ? value - 1 : value + 1) : value,
              ),
            }
          : layer,
      );
      add({ ...model, parameters: { layers } });
    }
  }
});

test('a parameter outside its width is refused, not wrapped into its neighbour', () => {
  const model = smallModel({ units: [4, 3, 2] });
  const [first, ...rest] = model.parameters.layers;
  const withWeight = (value: number) => ({
    layers: [{ ...first!, weights: first!.weights.with(0, value) }, ...rest],
  });
  for (const value of [128, -129, 1000]) {
    assert.throws(
      () => packParameters(model.architecture, withWeight(value)),
      (error: unknown) => error instanceof RangeError,
    );
  }
  packParameters(model.architecture, withWeight(-128));
  assert.throws(
    () => packParameters(model.architecture, { layers: rest }),
    (error: unknown) => error instanceof RangeError,
  );
});

test('packed elements leave room below the field', () => {
  const model = smallModel({ units: [16, 8, 2] });
  const elements = packParameters(model.architecture, model.parameters);
  assert.ok(elements.every((element) => element < 2n ** 248n));
  const bits = parameterWidths(model.architecture).reduce((a, b) => a + b, 0);
  assert.is(elements.length, Math.ceil(bits / 248));
});

test("a model's secret is read back, and damage to it is refused", () => {
  const model = smallModel({ units: [15, 8, 2] });
  const bytes = encodeSecret(model);
  const back = decodeSecret(model.architecture, bytes);
  assert.equal(back, model);
  assert.is(commit(back), commit(model));
  const refuses = (damaged: Uint8Array): void =>
    assert.throws(
      () => decodeSecret(model.architecture, damaged),
      (error: unknown) => error instanceof VouchError && error.code === 'bad-input',
    );
  refuses(bytes.subarray(0, -1));
  refuses(Uint8Array.of(...bytes, 0));
  refuses(new Uint8Array());
  // Bits above the last parameter.
  refuses(bytes.with(bytes.length - 1, 0x80));
  assert.is.not(commit(decodeSecret(model.architecture, bytes.with(40, bytes[40]! ^ 1))), commit(model));
});

test('salts are random and of the right length', () => {
  assert.is(randomSalt().length, SALT_BYTES);
  assert.not.equal(randomSalt(), randomSalt());
  const model = smallModel({ units: [4, 3, 2] });
  assert.throws(
    () => commit({ ...model, salt: new Uint8Array(16) }),
    (error: unknown) => error instanceof RangeError,
  );
});

test.run();
