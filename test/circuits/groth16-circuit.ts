/** Circuits made up from a seed, as the files that circom would write: `.r1cs` and a witness that satisfies it. */
import { writeBinFile } from '../../circuits/groth16/binfile.ts';
import { ELEMENT_BYTES, elementBytes, R, writeElement } from '../../circuits/groth16/field.ts';

export interface CircuitShape {
  readonly constraints: number;
  readonly outputs?: number;
  readonly publicInputs?: number;
  readonly privateInputs?: number;
  readonly seed?: number;
}

/**
 * Each constraint is a product of two combinations of up to three wires, with a combination for its result that also
 * has older wires; coefficients are small, minus small or random. The inner wires follow the inputs, one for each
 * constraint; the outputs are the first results. One more wire occurs nowhere, and some only in C.
 */
export function randomCircuit({
  constraints,
  outputs = 1,
  publicInputs = 1,
  privateInputs = 3,
  seed = 1,
}: CircuitShape): { r1cs: Uint8Array; witness: Uint8Array } {
  const random = generator(seed);
  const scalar = () => [1n, R - 1n, BigInt(random() % 1000), wide(random) % R][random() % 4]!;
  const inputs = 1 + outputs + publicInputs + privateInputs;
  const variables = inputs + (constraints - outputs) + 1;
  const values: bigint[] = new Array<bigint>(variables).fill(0n);
  values[0] = 1n;
  for (let wire = 1 + outputs; wire < inputs; wire++) values[wire] = wide(random) % R;

  const known = [
    0,
    ...Array.from({ length: publicInputs + privateInputs }, (_, index) => 1 + outputs + index),
  ];
  // A wire occurs once in a combination, as in circom's files.
  const combination = (): Array<[wire: number, value: bigint]> => [
    ...new Map(Array.from({ length: 1 + (random() % 3) }, () => [known[random() % known.length]!, scalar()])),
  ];
  const evaluate = (terms: Array<[number, bigint]>) =>
    terms.reduce((sum, [wire, value]) => (sum + values[wire]! * value) % R, 0n);
  const body: Combination[] = [];
  for (let index = 0; index < constraints; index++) {
    const result = index < outputs ? 1 + index : inputs + index - outputs;
    const [a, b, c] = [combination(), combination(), random() % 2 ? combination() : []];
    values[result] = (((evaluate(a) * evaluate(b) - evaluate(c)) % R) + R) % R;
    c.push([result, 1n]);
    body.push(a, b, c);
    known.push(result);
  }
  const witness = new Uint8Array(variables * ELEMENT_BYTES);
  values.forEach((value, wire) => {
    writeElement(value, witness, wire * ELEMENT_BYTES);
  });
  return { r1cs: r1csFile({ variables, outputs, publicInputs, privateInputs, constraints: body }), witness };
}

/** A linear combination: wires and their factors. */
export type Combination = ReadonlyArray<readonly [wire: number, value: bigint]>;

/** The file of a circuit whose constraints are A, B and C one after the other. */
export function r1csFile({
  variables,
  outputs,
  publicInputs,
  privateInputs,
  constraints,
  prime = R,
}: {
  readonly variables: number;
  readonly outputs: number;
  readonly publicInputs: number;
  readonly privateInputs: number;
  readonly constraints: readonly Combination[];
  readonly prime?: bigint;
}): Uint8Array {
  const body = constraints.flatMap((terms) => [
    uint32(terms.length),
    ...terms.flatMap(([wire, value]) => [uint32(wire), elementBytes(value)]),
  ]);
  const header = [
    uint32(ELEMENT_BYTES),
    elementBytes(prime),
    ...[variables, outputs, publicInputs, privateInputs, variables, 0, constraints.length / 3].map(uint32),
  ];
  const labels = new Uint8Array(variables * 8);
  for (let wire = 0; wire < variables; wire++) new DataView(labels.buffer).setUint32(wire * 8, wire, true);
  return writeBinFile('r1cs', 1, [
    [2, ...body],
    [1, ...header],
    [3, labels],
  ]);
}

/** xorshift32: enough for test data, and the same everywhere. */
export function generator(seed: number): () => number {
  let state = seed | 1;
  return () => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return state >>> 0;
  };
}

export function wide(random: () => number): bigint {
  let value = 0n;
  for (let word = 0; word < 8; word++) value = (value << 32n) | BigInt(random());
  return value;
}

function uint32(value: number): Uint8Array {
  const bytes = new Uint8Array(4);
  new DataView(bytes.buffer).setUint32(0, value, true);
  return bytes;
}
