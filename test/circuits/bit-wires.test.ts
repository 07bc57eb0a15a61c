import { bitWires } from '../../circuits/groth16/bit-wires.ts';
import { elementBytes, R } from '../../circuits/groth16/field.ts';
import type { R1cs } from '../../circuits/groth16/r1cs.ts';
import { concat } from '../../protocols/encoding.ts';
import { assert, suite } from '../harness.ts';

const test = suite('bit wires');

type Combination = Readonly<Record<number, bigint>>;

/** A circuit of these constraints, each [A, B, C] as coefficients by wire. */
function circuit(
  variables: number,
  constraints: readonly (readonly [Combination, Combination, Combination])[],
): R1cs {
  const terms = constraints.flatMap((abc, row) =>
    abc.flatMap((combination, matrix) =>
      Object.entries(combination).map(([wire, value]) => ({ row, matrix, column: Number(wire), value })),
    ),
  );
  return {
    variables,
    outputs: 0,
    publicInputs: 0,
    privateInputs: 0,
    constraints: constraints.length,
    terms: {
      count: terms.length,
      matrix: Uint8Array.from(terms, ({ matrix }) => matrix),
      row: Uint32Array.from(terms, ({ row }) => row),
      column: Uint32Array.from(terms, ({ column }) => column),
      values: concat(...terms.map(({ value }) => elementBytes(((value % R) + R) % R))),
    },
  };
}
const found = (r1cs: R1cs): number[] => {
  const bits = bitWires(r1cs);
  return Array.from({ length: r1cs.variables }, (_, wire) => wire).filter(
    (wire) => (bits[wire >> 3]! >> (wire & 7)) & 1,
  );
};
const BIT = (wire: number) => [{ [wire]: 1n }, { [wire]: 1n, 0: -1n }, {}] as const;

test('a wire is a bit where a constraint says so, however it is written', () => {
  assert.equal(found(circuit(3, [])), [0]);
  assert.equal(found(circuit(3, [BIT(2)])), [0, 2]);
  assert.equal(found(circuit(3, [[{ 1: 5n }, { 0: 7n, 1: -7n }, {}]])), [0, 1]);
  assert.equal(found(circuit(3, [[{ 1: 1n, 0: -1n }, { 1: 1n }, {}]])), [0, 1]);
  assert.equal(found(circuit(3, [[{ 1: 2n }, { 1: 3n }, { 1: 6n }]])), [0, 1]);
});

test('what looks like it and is not: other values, other wires, a product that is used', () => {
  for (const constraint of [
    [{ 1: 1n }, { 1: 1n, 0: -2n }, {}],
    [{ 1: 1n }, { 1: 1n, 0: 1n }, {}],
    [{ 1: 1n }, { 2: 1n, 0: -1n }, {}],
    [{ 1: 1n }, { 1: 1n, 0: -1n }, { 2: 1n }],
    [{ 1: 2n }, { 1: 3n }, { 1: 5n }],
    [{}, { 1: 1n, 0: -1n }, {}],
    [{ 0: 1n }, { 1: 1n, 0: -2n }, {}],
  ] as const)
    assert.equal(
      found(circuit(3, [constraint])),
      [0],
      JSON.stringify(constraint, (_, v) => String(v)),
    );
});

test('what is made of bits and is one: products, exclusive or, choices; not sums', () => {
  const xor = [{ 1: 2n }, { 2: 1n }, { 1: 1n, 2: 1n, 3: -1n }] as const;
  assert.equal(found(circuit(4, [BIT(1), BIT(2), [{ 1: 1n }, { 2: 1n }, { 3: 1n }]])), [0, 1, 2, 3]);
  assert.equal(found(circuit(4, [xor, BIT(1), BIT(2)])), [0, 1, 2, 3], 'whatever the order');
  assert.equal(found(circuit(4, [BIT(1), BIT(2), [{ 0: 1n }, { 1: 1n, 2: 1n }, { 3: 1n }]])), [0, 1, 2]);
  // 4 = 1 ? 2 : 3
  const choice = [{ 1: 1n }, { 2: 1n, 3: -1n }, { 4: 1n, 3: -1n }] as const;
  assert.equal(found(circuit(5, [BIT(1), BIT(2), BIT(3), choice])), [0, 1, 2, 3, 4]);
  assert.equal(found(circuit(5, [BIT(2), BIT(3), choice])), [0, 2, 3], 'one of them is no bit');
  // A factor that may be zero leaves the other free.
  assert.equal(found(circuit(3, [BIT(1), [{ 1: 1n }, { 2: 1n }, {}]])), [0, 1]);
});

test.run();
