/**
 * From a constraint system to the shape of its proving key: snarkjs's choice of domain, the public signals' extra
 * rows, and the entries of a `.zkey`'s section 4 (snarkjs `src/zkey_new.js`). Used to make a key and to check one.
 */
import { equal } from '../../protocols/encoding.ts';
import { VouchError } from '../../protocols/errors.ts';
import type { EngineOptions, FieldEngine } from './engine.ts';
import { ELEMENT_BYTES, ENTRY_BYTES, elementBytes, MONTGOMERY_R, R, TWO_ADICITY } from './field.ts';
import type { R1cs } from './r1cs.ts';
import type { ProvingKey } from './zkey.ts';

const ENTRY_WORDS = ENTRY_BYTES / 4;
const ELEMENT_WORDS = ELEMENT_BYTES / 4;
/** Entries of a key in memory at a time. */
const BATCH = 2 ** 16;

export interface Qap {
  readonly variables: number;
  readonly publics: number;
  readonly domainSize: number;
  /** Coefficients of all terms times R^2, in the order of `R1cs.terms`, and after them R^2 itself. */
  readonly values: Uint8Array;
  /** Section 4: the terms of A and B in order, then 1 for each public signal in a row of A of its own. */
  readonly entries: Uint8Array;
}

/**
 * The size of the circuit's domain, as a power of two: a row for each constraint and each public signal, the constant 1
 * included. `too-large` beyond 2^27.
 */
export function domainBits({
  constraints,
  outputs,
  publicInputs,
}: Pick<R1cs, 'constraints' | 'outputs' | 'publicInputs'>): number {
  const bits = Math.floor(Math.log2(Math.max(constraints + outputs + publicInputs, 1))) + 1;
  if (bits < TWO_ADICITY) return bits;
  throw new VouchError(
    'too-large',
    `circuit: ${constraints} constraints need more than 2^${TWO_ADICITY - 1} rows`,
  );
}

/** `too-large` when the circuit needs a domain beyond 2^27. */
export async function qapOf(r1cs: R1cs, field: FieldEngine, options: EngineOptions = {}): Promise<Qap> {
  const { variables, constraints, terms } = r1cs;
  const publics = r1cs.outputs + r1cs.publicInputs;
  const bits = domainBits(r1cs);
  const plain = new Uint8Array((terms.count + 1) * ELEMENT_BYTES);
  plain.set(terms.values);
  plain[terms.count * ELEMENT_BYTES] = 1;
  // Montgomery's product divides by R, so R^3 multiplies by R^2.
  const values = await field.scale(
    plain,
    elementBytes(MONTGOMERY_R ** 3n % R),
    elementBytes(MONTGOMERY_R),
    options,
  );

  const inKey = terms.matrix.reduce((sum, matrix) => sum + (matrix < 2 ? 1 : 0), 0);
  const entries = createEntries(inKey + publics + 1, values);
  for (let term = 0; term < terms.count; term++) {
    const matrix = terms.matrix[term]!;
    if (matrix < 2) entries.push(matrix, terms.row[term]!, terms.column[term]!, term);
  }
  for (let signal = 0; signal <= publics; signal++)
    entries.push(0, constraints + signal, signal, terms.count);
  return { variables, publics, domainSize: 2 ** bits, values, entries: entries.bytes };
}

/** The entries of the matrix C, as matrix 0: a key has none, because its prover needs none. */
export function entriesOfC({ terms }: R1cs, { values }: Qap): Uint8Array<ArrayBuffer> {
  const count = terms.matrix.reduce((sum, matrix) => sum + (matrix === 2 ? 1 : 0), 0);
  const entries = createEntries(count, values);
  for (let term = 0; term < terms.count; term++)
    if (terms.matrix[term] === 2) entries.push(0, terms.row[term]!, terms.column[term]!, term);
  return entries.bytes;
}

/**
 * Throws `key-rejected` unless the key's shape and its matrices A and B are those of the circuit, as snarkjs lays them
 * out. That its points were made from them is check-key.ts's to say.
 */
export async function checkCircuit(zkey: ProvingKey, qap: Qap): Promise<void> {
  for (const [name, member] of [
    ['nVars', 'variables'],
    ['nPublic', 'publics'],
    ['domainSize', 'domainSize'],
  ] as const) {
    if (zkey[member] !== qap[member]) {
      throw new VouchError(
        'key-rejected',
        `proving key: ${name} is ${zkey[member]}, the circuit's is ${qap[member]}`,
      );
    }
  }
  const wrong = () =>
    new VouchError('key-rejected', 'proving key: its coefficients are not those of the circuit');
  const { length } = zkey.range('entries');
  if (length !== qap.entries.byteLength) throw wrong();
  for (let at = 0; at < length; at += BATCH * ENTRY_BYTES) {
    const bytes = new Uint8Array(Math.min(BATCH * ENTRY_BYTES, length - at));
    await zkey.read('entries', bytes, at);
    if (!equal(bytes, qap.entries.subarray(at, at + bytes.byteLength))) throw wrong();
  }
}

/**
 * A list of `count` sparse-matrix entries (44 bytes each) whose coefficients are among `values`. Works in words:
 * moving 32 bytes by subarray costs more than multiplying them.
 */
export function createEntries(count: number, values: Uint8Array) {
  // Little-endian words: there is no big-endian host for WebAssembly.
  const words = new Uint32Array(count * ENTRY_WORDS);
  const source = new Uint32Array(new Uint8Array(values).buffer);
  let at = 0;
  return {
    bytes: new Uint8Array(words.buffer),
    /** Appends an entry with coefficient number `value`. */
    push(matrix: number, row: number, column: number, value: number): void {
      words[at] = matrix;
      words[at + 1] = row;
      words[at + 2] = column;
      const from = value * ELEMENT_WORDS;
      for (let word = 0; word < ELEMENT_WORDS; word++) words[at + 3 + word] = source[from + word]!;
      at += ENTRY_WORDS;
    },
  };
}
