/**
 * A circuit of any size for measuring, written to disk as it is made: a long chain of products w' = (w + w0)(3w + k), and as
 * many bits b (b - 1) = 0 between them, as circuits of models have. One public signal, one private input.
 */
import { planBinFile } from '../../circuits/groth16/binfile.ts';
import { ELEMENT_BYTES, elementBytes, R, writeElement } from '../../circuits/groth16/field.ts';
import type { ByteSink } from '../../circuits/groth16/source.ts';

const START = 123_456_789n;
const TERM_BYTES = 4 + ELEMENT_BYTES;
/** Combinations of 2, 2 and 1 terms; of 1, 2 and none. */
const PRODUCT_BYTES = 3 * 4 + 5 * TERM_BYTES;
const BIT_BYTES = 3 * 4 + 3 * TERM_BYTES;
/** Constraints in memory at a time. */
const BATCH = 2 ** 14;
const MINUS_ONE = elementBytes(R - 1n);

/** Writes a `.r1cs` and a `.wtns` of as many constraints as a domain of 2^bits has room for. Answers how many these are. */
export async function writeLargeCircuit(
  bits: number,
  to: { readonly r1cs: ByteSink; readonly wtns: ByteSink },
): Promise<number> {
  const products = 2 ** (bits - 1) - 1;
  const constraints = 2 * products;
  // The constant, the chain with its first value, and the bits.
  const variables = 1 + (products + 1) + products;
  /** The last value of the chain is the output, wire 1. */
  const valueWire = (index: number) => (index < products ? 2 + index : 1);
  const bitWire = (index: number) => products + 2 + index;

  const r1cs = planBinFile('r1cs', 1, [
    [1, 4 + ELEMENT_BYTES + 7 * 4],
    [2, products * (PRODUCT_BYTES + BIT_BYTES)],
  ]);
  const header = new Uint8Array(4 + ELEMENT_BYTES + 7 * 4);
  const head = new DataView(header.buffer);
  head.setUint32(0, ELEMENT_BYTES, true);
  header.set(elementBytes(R), 4);
  // wires, outputs, public inputs, private inputs, labels (64 bits), constraints
  [variables, 1, 0, 1, variables, 0, constraints].forEach((number, index) => {
    head.setUint32(4 + ELEMENT_BYTES + 4 * index, number, true);
  });
  for (const { offset, bytes } of [...r1cs.heads, { offset: r1cs.range(1).offset, bytes: header }])
    await to.r1cs.write(offset, bytes);

  const witness = new Uint8Array(variables * ELEMENT_BYTES);
  const set = (wire: number, value: bigint) => writeElement(value, witness, wire * ELEMENT_BYTES);
  set(0, 1n);
  set(valueWire(0), START);
  let value = START;
  let written = r1cs.range(2).offset;
  for (let from = 0; from < products; from += BATCH) {
    const count = Math.min(BATCH, products - from);
    const body = new Uint8Array(count * (PRODUCT_BYTES + BIT_BYTES));
    const view = new DataView(body.buffer);
    let at = 0;
    const word = (number: number) => {
      view.setUint32(at, number, true);
      at += 4;
    };
    // Coefficients but -1 are small, so that one word holds them.
    const term = (wire: number, coefficient: number) => {
      word(wire);
      if (coefficient < 0) body.set(MINUS_ONE, at);
      else view.setUint32(at, coefficient, true);
      at += ELEMENT_BYTES;
    };
    for (let index = from; index < from + count; index++) {
      word(2);
      term(valueWire(index), 1);
      // A wire occurs once in a combination.
      term(index === 0 ? 0 : valueWire(0), 1);
      word(2);
      term(0, index + 1);
      term(valueWire(index), 3);
      word(1);
      term(valueWire(index + 1), 1);
      value = ((value + (index === 0 ? 1n : START)) * (3n * value + BigInt(index + 1))) % R;
      set(valueWire(index + 1), value);
      word(1);
      term(bitWire(index), 1);
      word(2);
      term(bitWire(index), 1);
      term(0, -1);
      word(0);
      set(bitWire(index), value & 1n);
    }
    await to.r1cs.write(written, body);
    written += body.byteLength;
  }

  const wtns = planBinFile('wtns', 2, [
    [1, 4 + ELEMENT_BYTES + 4],
    [2, witness.byteLength],
  ]);
  const about = new Uint8Array(4 + ELEMENT_BYTES + 4);
  about.set(header.subarray(0, 4 + ELEMENT_BYTES));
  new DataView(about.buffer).setUint32(4 + ELEMENT_BYTES, variables, true);
  for (const { offset, bytes } of wtns.heads) await to.wtns.write(offset, bytes);
  await to.wtns.write(wtns.range(1).offset, about);
  await to.wtns.write(wtns.range(2).offset, witness);
  return constraints;
}
