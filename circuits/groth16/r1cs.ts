/**
 * circom's constraint system file, `.r1cs` version 1 (github.com/iden3/r1csfile, doc/r1cs_bin_format.md).
 * Every count and index is checked before memory is taken for it. Custom gates (PLONK) are refused.
 */
import { VouchError } from '../../protocols/errors.ts';
import { readBinFile } from './binfile.ts';
import { areScalars, ELEMENT_BYTES, R, readElement, TWO_ADICITY } from './field.ts';

const VERSION = 1;
const HEADER_BYTES = 4 + ELEMENT_BYTES + 4 * 4 + 8 + 4;
const TERM_BYTES = 4 + ELEMENT_BYTES;
/** Three linear combinations, each at least its count. */
const MIN_CONSTRAINT_BYTES = 3 * 4;

/** The nonzero terms in the file's order: constraint after constraint, in each A, then B, then C. */
export interface Terms {
  readonly count: number;
  /** 0 for A, 1 for B, 2 for C. */
  readonly matrix: Uint8Array;
  /** The constraint. */
  readonly row: Uint32Array;
  /** The wire. */
  readonly column: Uint32Array;
  /** 32-byte standard-form scalars. */
  readonly values: Uint8Array;
}

export interface R1cs {
  /** Number of wires: the constant 1, then outputs, public inputs, private inputs, inner wires. */
  readonly variables: number;
  readonly outputs: number;
  readonly publicInputs: number;
  readonly privateInputs: number;
  readonly constraints: number;
  readonly terms: Terms;
}

/** Throws `bad-file` with one sentence unless the file is a whole R1CS over BN254's scalars. */
export function readR1cs(file: Uint8Array): R1cs {
  const sections = readBinFile(file, 'r1cs', VERSION);
  const header = sections.section(1);
  if (header.byteLength !== HEADER_BYTES) {
    throw bad(`its header has ${header.byteLength} bytes, expected ${HEADER_BYTES}`);
  }
  const view = new DataView(header.buffer, header.byteOffset, header.byteLength);
  const size = view.getUint32(0, true);
  if (size !== ELEMENT_BYTES) throw bad(`values have ${size} bytes, expected ${ELEMENT_BYTES}`);
  if (readElement(header, 4) !== R) throw bad("its prime is not BN254's");
  const at = 4 + ELEMENT_BYTES;
  const [variables, outputs, publicInputs, privateInputs] = [0, 4, 8, 12].map((offset) =>
    view.getUint32(at + offset, true),
  ) as [number, number, number, number];
  const constraints = view.getUint32(at + 24, true);
  if (1 + outputs + publicInputs + privateInputs > variables) {
    throw bad(`its ${variables} wires are fewer than the constant, outputs and inputs`);
  }
  if (variables > 2 ** TWO_ADICITY) throw bad(`${variables} wires are more than 2^${TWO_ADICITY}`);
  const body = sections.section(2);
  if (constraints * MIN_CONSTRAINT_BYTES > body.byteLength) {
    throw bad(`${constraints} constraints do not fit into ${body.byteLength} bytes`);
  }
  const terms = readTerms(body, constraints, variables);
  return { variables, outputs, publicInputs, privateInputs, constraints, terms };
}

function readTerms(body: Uint8Array, constraints: number, variables: number): Terms {
  // Every term has TERM_BYTES, every combination 4 more, so the section's length gives their number.
  const bytes = body.byteLength - constraints * MIN_CONSTRAINT_BYTES;
  const count = bytes / TERM_BYTES;
  if (!Number.isInteger(count))
    throw bad(`its constraint section has ${body.byteLength} bytes, which cannot be`);
  const view = new DataView(body.buffer, body.byteOffset, body.byteLength);
  const matrix = new Uint8Array(count);
  const row = new Uint32Array(count);
  const column = new Uint32Array(count);
  const values = new Uint8Array(count * ELEMENT_BYTES);
  let at = 0;
  let term = 0;
  for (let combination = 0; combination < 3 * constraints; combination++) {
    const constraint = Math.floor(combination / 3);
    const length = at + 4 <= body.byteLength ? view.getUint32(at, true) : Number.POSITIVE_INFINITY;
    at += 4;
    if (length > count - term || at + length * TERM_BYTES > body.byteLength) {
      throw bad(`constraint ${constraint} is longer than the section`);
    }
    for (const end = term + length; term < end; term++, at += TERM_BYTES) {
      const wire = view.getUint32(at, true);
      if (wire >= variables) throw bad(`constraint ${constraint} names wire ${wire} of ${variables}`);
      matrix[term] = combination % 3;
      row[term] = constraint;
      column[term] = wire;
      values.set(body.subarray(at + 4, at + TERM_BYTES), term * ELEMENT_BYTES);
    }
  }
  if (at !== body.byteLength || term !== count) throw bad('its constraints do not fill their section');
  if (!areScalars(values)) throw bad("a coefficient is not below the field's prime");
  return { count, matrix, row, column, values };
}

function bad(why: string): VouchError {
  return new VouchError('bad-file', `.r1cs file: ${why}`);
}
