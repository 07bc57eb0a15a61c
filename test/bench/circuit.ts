/**
 * A circuit of any size for measuring: each constraint multiplies two combinations of two wires, w' = (w + w0)(3w + k),
 * so that every wire is in A and in B, and the witness is dense: more work than a circuit of the same size usually is.
 */
import { writeBinFile } from '../../circuits/groth16/binfile.ts';
import { ELEMENT_BYTES, elementBytes, R, writeElement } from '../../circuits/groth16/field.ts';

const START = 123_456_789n;
/** Combinations of 2, 2 and 1 terms: their counts and terms. */
const CONSTRAINT_BYTES = 3 * 4 + 5 * (4 + ELEMENT_BYTES);

export interface MadeCircuit {
  readonly r1cs: Uint8Array<ArrayBuffer>;
  /** As `readWitness` gives it. */
  readonly witness: Uint8Array<ArrayBuffer>;
}

/** As many constraints as a domain of 2^bits has room for; one public signal, one private input. */
export function circuitOf(bits: number): MadeCircuit {
  const constraints = 2 ** bits - 2;
  const variables = constraints + 2;
  /** The last value is the output, wire 1. */
  const wireOf = (index: number) => (index < constraints ? 2 + index : 1);

  const body = new Uint8Array(constraints * CONSTRAINT_BYTES);
  const view = new DataView(body.buffer);
  const witness = new Uint8Array(variables * ELEMENT_BYTES);
  const set = (index: number, value: bigint) => writeElement(value, witness, wireOf(index) * ELEMENT_BYTES);
  writeElement(1n, witness);
  set(0, START);
  let value = START;
  let at = 0;
  const word = (number: number) => {
    view.setUint32(at, number, true);
    at += 4;
  };
  // Coefficients are small, so that one word holds them.
  const term = (wire: number, coefficient: number) => {
    word(wire);
    view.setUint32(at, coefficient, true);
    at += ELEMENT_BYTES;
  };
  for (let index = 0; index < constraints; index++) {
    word(2);
    term(wireOf(index), 1);
    // A wire occurs once in a combination.
    term(index === 0 ? 0 : wireOf(0), 1);
    word(2);
    term(0, index + 1);
    term(wireOf(index), 3);
    word(1);
    term(wireOf(index + 1), 1);
    value = ((value + (index === 0 ? 1n : START)) * (3n * value + BigInt(index + 1))) % R;
    set(index + 1, value);
  }

  const header = new Uint8Array(4 + ELEMENT_BYTES + 7 * 4);
  const head = new DataView(header.buffer);
  head.setUint32(0, ELEMENT_BYTES, true);
  header.set(elementBytes(R), 4);
  // wires, outputs, public inputs, private inputs, labels (64 bits), constraints
  [variables, 1, 0, 1, variables, 0, constraints].forEach((number, index) => {
    head.setUint32(4 + ELEMENT_BYTES + 4 * index, number, true);
  });
  const r1cs = writeBinFile('r1cs', 1, [
    [1, header],
    [2, body],
  ]);
  return { r1cs, witness };
}
