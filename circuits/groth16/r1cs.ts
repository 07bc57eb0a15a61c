/**
 * circom's constraint system file, `.r1cs` version 1 (github.com/iden3/r1csfile, doc/r1cs_bin_format.md).
 * Every count and index is checked before memory is taken for it. Custom gates (PLONK) are refused.
 */
import { VouchError } from '../../protocols/errors.ts';
import { parsePrime, parseSections, type Sections, uint32 } from './binfile.ts';
import { areScalars, ELEMENT_BYTES, otherFieldOf, R, readElement, TWO_ADICITY } from './field.ts';
import { type ByteSource, type Parser, parseBytes, parseSource, type Range } from './source.ts';

const VERSION = 1;
/** Which signals meet at which custom gate, after their count. */
const CUSTOM_GATE_USES = 5;
const TERM_BYTES = 4 + ELEMENT_BYTES;
/** Three linear combinations, each at least its count. */
const MIN_CONSTRAINT_BYTES = 3 * 4;
/** Of the constraints, in memory at a time. */
const PIECE_BYTES = 4 * 1024 * 1024;

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

/** What a file says of its circuit, over whatever field. */
export interface R1csInfo extends Omit<R1cs, 'terms'> {
  readonly prime: bigint;
  /** Bytes of a field element. */
  readonly elementBytes: number;
  readonly labels: number;
  /** How often PLONK's custom gates are used. */
  readonly customGates: number;
}

/** The header alone, also of what no setup is made from. `bad-file` unless it is whole. */
export async function readR1csInfo(source: ByteSource): Promise<R1csInfo> {
  return parseSource(source, parseInfo(source.byteLength));
}

function* parseInfo(byteLength: number): Parser<R1csInfo> {
  const sections = yield* parseSections(byteLength, 'r1cs', VERSION);
  const range = sections.range(1);
  const { prime, bytes: elementBytes } = yield* parsePrime(range, 'r1cs');
  const expected = 4 + elementBytes + 4 * 4 + 8 + 4;
  if (range.length !== expected) throw bad(`its header has ${range.length} bytes, expected ${expected}`);
  const header = yield { offset: range.offset + 4 + elementBytes, length: expected - 4 - elementBytes };
  const view = new DataView(header.buffer, header.byteOffset, header.byteLength);
  const [variables, outputs, publicInputs, privateInputs] = [0, 4, 8, 12].map((offset) =>
    view.getUint32(offset, true),
  ) as [number, number, number, number];
  return {
    prime,
    elementBytes,
    variables,
    outputs,
    publicInputs,
    privateInputs,
    labels: Number(view.getBigUint64(16, true)),
    constraints: view.getUint32(24, true),
    customGates: yield* parseCount(sections, CUSTOM_GATE_USES),
  };
}

/** The number that a section begins with; 0 where there is no such section. */
function* parseCount(sections: Sections, id: number): Parser<number> {
  if (!sections.has(id)) return 0;
  const { offset, length } = sections.range(id);
  return length < 4 ? 0 : uint32(yield { offset, length: 4 }, 0);
}

/** Throws `bad-file` with one sentence unless the file is a whole R1CS over BN254's scalars. */
export const readR1cs = (file: Uint8Array): R1cs => parseBytes(file, parseR1cs(file.byteLength));

/** The same of a source, which is read in pieces: in memory are the terms alone, 41 bytes each. */
export const openR1cs = (source: ByteSource): Promise<R1cs> =>
  parseSource(source, parseR1cs(source.byteLength));

function* parseR1cs(byteLength: number): Parser<R1cs> {
  const info = yield* parseInfo(byteLength);
  const { prime, variables, outputs, publicInputs, privateInputs, constraints, customGates } = info;
  if (prime !== R) throw bad(`its prime is ${otherFieldOf(prime)}, expected BN254's`);
  if (customGates > 0) {
    throw bad(
      `it uses custom gates (${customGates}), which Groth16 does not constrain; compile the circuit without them, or use snarkjs (plonk setup)`,
    );
  }
  if (1 + outputs + publicInputs + privateInputs > variables) {
    throw bad(`its ${variables} wires are fewer than the constant, outputs and inputs`);
  }
  if (variables > 2 ** TWO_ADICITY) throw bad(`${variables} wires are more than 2^${TWO_ADICITY}`);
  const body = (yield* parseSections(byteLength, 'r1cs', VERSION)).range(2);
  if (constraints * MIN_CONSTRAINT_BYTES > body.length) {
    throw bad(`${constraints} constraints do not fit into ${body.length} bytes`);
  }
  const terms = yield* parseTerms(body, constraints, variables);
  return { variables, outputs, publicInputs, privateInputs, constraints, terms };
}

/** The first constraint that a witness of this circuit (`readWitness`) breaks; -1 for none. Some microseconds a term. */
export function firstBroken({ constraints, terms }: R1cs, witness: Uint8Array): number {
  const value = (bytes: Uint8Array, index: number) => readElement(bytes, index * ELEMENT_BYTES);
  let term = 0;
  for (let constraint = 0; constraint < constraints; constraint++) {
    const sums: [bigint, bigint, bigint] = [0n, 0n, 0n];
    for (; term < terms.count && terms.row[term] === constraint; term++)
      sums[terms.matrix[term] as 0 | 1 | 2] +=
        value(terms.values, term) * value(witness, terms.column[term]!);
    if ((sums[0] * sums[1] - sums[2]) % R !== 0n) return constraint;
  }
  return -1;
}

function* parseTerms(body: Range, constraints: number, variables: number): Parser<Terms> {
  // Every term has TERM_BYTES, every combination 4 more, so the section's length gives their number.
  const bytes = body.length - constraints * MIN_CONSTRAINT_BYTES;
  const count = bytes / TERM_BYTES;
  if (!Number.isInteger(count)) throw bad(`its constraint section has ${body.length} bytes, which cannot be`);
  const matrix = new Uint8Array(count);
  const row = new Uint32Array(count);
  const column = new Uint32Array(count);
  const values = new Uint8Array(count * ELEMENT_BYTES);
  /** Where the next count or term begins in the section; what is in memory of it begins at `first`. */
  let at = 0;
  let first = 0;
  let piece = yield { offset: body.offset, length: Math.min(PIECE_BYTES, body.length) };
  let view = new DataView(piece.buffer, piece.byteOffset, piece.byteLength);
  let term = 0;
  for (let combination = 0; combination < 3 * constraints; combination++) {
    const constraint = Math.floor(combination / 3);
    /** Of the combination's terms; unknown before its count was read. */
    let left = -1;
    while (left !== 0) {
      const length = left < 0 ? 4 : TERM_BYTES;
      if (at + length > body.length) throw bad(`constraint ${constraint} is longer than the section`);
      if (at + length > first + piece.byteLength) {
        first = at;
        piece = yield { offset: body.offset + at, length: Math.min(PIECE_BYTES, body.length - at) };
        view = new DataView(piece.buffer, piece.byteOffset, piece.byteLength);
      }
      const from = at - first;
      at += length;
      if (left < 0) {
        left = view.getUint32(from, true);
        if (left > count - term || at + left * TERM_BYTES > body.length)
          throw bad(`constraint ${constraint} is longer than the section`);
        continue;
      }
      const wire = view.getUint32(from, true);
      if (wire >= variables) throw bad(`constraint ${constraint} names wire ${wire} of ${variables}`);
      matrix[term] = combination % 3;
      row[term] = constraint;
      column[term] = wire;
      values.set(piece.subarray(from + 4, from + TERM_BYTES), term * ELEMENT_BYTES);
      term++;
      left--;
    }
  }
  if (at !== body.length || term !== count) throw bad('its constraints do not fill their section');
  if (!areScalars(values)) throw bad("a coefficient is not below the field's prime");
  return { count, matrix, row, column, values };
}

function bad(why: string): VouchError {
  return new VouchError('bad-file', `.r1cs file: ${why}`);
}
