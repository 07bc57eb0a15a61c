/**
 * From a constraint system to the shape of its proving key: snarkjs's choice of domain, the public signals' extra
 * rows, and the entries of a `.zkey`'s section 4 (snarkjs `src/zkey_new.js`). Used to make a key and to check one.
 *
 * Entries are made some at a time: those of 2^22 constraints are more than half a gigabyte.
 */
import { equal } from '../../protocols/encoding.ts';
import { VouchError } from '../../protocols/errors.ts';
import type { EngineOptions, FieldEngine } from './engine.ts';
import { ELEMENT_BYTES, ENTRY_BYTES, elementBytes, MONTGOMERY_R, R, TWO_ADICITY } from './field.ts';
import type { R1cs, Terms } from './r1cs.ts';
import type { ProvingKey } from './zkey.ts';

const ENTRY_WORDS = ENTRY_BYTES / 4;
const ELEMENT_WORDS = ELEMENT_BYTES / 4;
/** Entries in memory at a time, about: 88 MiB. */
const BATCH = 2 ** 21;

export interface Qap {
  readonly variables: number;
  readonly publics: number;
  readonly domainSize: number;
  /** How many entries section 4 has: the terms of A and B, and one for each public signal and the constant 1. */
  readonly entries: number;
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
export function qapOf(r1cs: R1cs): Qap {
  const { variables, terms } = r1cs;
  const publics = r1cs.outputs + r1cs.publicInputs;
  let entries = publics + 1;
  for (let term = 0; term < terms.count; term++) if (terms.matrix[term]! < 2) entries++;
  return { variables, publics, domainSize: 2 ** domainBits(r1cs), entries };
}

/** Takes an entry, whose coefficient is that of the term of this number; the number of terms stands for 1. */
type Emit = (matrix: number, row: number, column: number, term: number) => void;

/** The entries that `visit` emits, at most `capacity`, values times R^2. */
async function entriesBy(
  terms: Terms,
  capacity: number,
  visit: (emit: Emit) => void,
  field: FieldEngine,
  options: EngineOptions,
): Promise<Uint8Array<ArrayBuffer>> {
  // Little-endian words: there is no big-endian host for WebAssembly. Moving 32 bytes by subarray costs more than
  // multiplying them.
  const values =
    terms.values.byteOffset % 4 === 0
      ? new Uint32Array(terms.values.buffer, terms.values.byteOffset, terms.values.byteLength / 4)
      : new Uint32Array(terms.values.slice().buffer);
  const places = new Uint32Array(3 * capacity);
  const plain = new Uint32Array(ELEMENT_WORDS * capacity);
  let count = 0;
  visit((matrix, row, column, term) => {
    places[3 * count] = matrix;
    places[3 * count + 1] = row;
    places[3 * count + 2] = column;
    const from = term * ELEMENT_WORDS;
    const to = count * ELEMENT_WORDS;
    if (term === terms.count) plain[to] = 1;
    else for (let word = 0; word < ELEMENT_WORDS; word++) plain[to + word] = values[from + word]!;
    count++;
  });
  const scaled = new Uint32Array(
    (
      await field.scale(
        new Uint8Array(plain.buffer, 0, count * ELEMENT_BYTES),
        // Montgomery's product divides by R, so R^3 multiplies by R^2.
        elementBytes(MONTGOMERY_R ** 3n % R),
        elementBytes(MONTGOMERY_R),
        options,
      )
    ).slice().buffer,
  );
  const words = new Uint32Array(count * ENTRY_WORDS);
  for (let entry = 0; entry < count; entry++) {
    const to = entry * ENTRY_WORDS;
    for (let word = 0; word < 3; word++) words[to + word] = places[3 * entry + word]!;
    for (let word = 0; word < ELEMENT_WORDS; word++)
      words[to + 3 + word] = scaled[entry * ELEMENT_WORDS + word]!;
  }
  return new Uint8Array(words.buffer);
}

/** Section 4, a piece at a time: the terms of A and B in order, then 1 for each public signal in a row of A of its own. */
export async function* keyEntries(
  { terms, constraints }: R1cs,
  { publics }: Qap,
  field: FieldEngine,
  options: EngineOptions = {},
): AsyncGenerator<Uint8Array<ArrayBuffer>> {
  for (let from = 0; from < terms.count; from += BATCH) {
    const to = Math.min(from + BATCH, terms.count);
    const visit = (emit: Emit) => {
      for (let term = from; term < to; term++) {
        const matrix = terms.matrix[term]!;
        if (matrix < 2) emit(matrix, terms.row[term]!, terms.column[term]!, term);
      }
    };
    yield await entriesBy(terms, to - from, visit, field, options);
  }
  const visit = (emit: Emit) => {
    for (let signal = 0; signal <= publics; signal++) emit(0, constraints + signal, signal, terms.count);
  };
  yield await entriesBy(terms, publics + 1, visit, field, options);
}

/** The entries of the matrix C, as matrix 0: a key has none, because its prover needs none. */
export function entriesOfC(
  { terms }: R1cs,
  field: FieldEngine,
  options: EngineOptions = {},
): Promise<Uint8Array<ArrayBuffer>> {
  const count = terms.matrix.reduce((sum, matrix) => sum + (matrix === 2 ? 1 : 0), 0);
  const visit = (emit: Emit) => {
    for (let term = 0; term < terms.count; term++)
      if (terms.matrix[term] === 2) emit(0, terms.row[term]!, terms.column[term]!, term);
  };
  return entriesBy(terms, count, visit, field, options);
}

/** A, B and C times a vector with an element for each wire: an element for each row, over R. */
export async function rowProducts(
  { terms, constraints }: R1cs,
  { publics, domainSize }: Qap,
  vector: Uint8Array,
  field: FieldEngine,
  options: EngineOptions = {},
): Promise<Record<'a' | 'b' | 'c', Uint8Array>> {
  const [a, b, c] = [0, 1, 2].map(() => new Uint8Array(domainSize * ELEMENT_BYTES)) as [
    Uint8Array,
    Uint8Array,
    Uint8Array,
  ];
  for (let from = 0; from < terms.count || from === 0; ) {
    // Whole constraints, so that each row is in one piece.
    let to = Math.min(from + BATCH, terms.count);
    while (to < terms.count && terms.row[to] === terms.row[to - 1]) to++;
    const first = terms.row[from] ?? 0;
    const last = to === terms.count;
    const rows = (last ? constraints + publics + 1 : terms.row[to]!) - first;
    const multiply = async (wanted: (matrix: number) => boolean, withPublics: boolean) => {
      const visit = (emit: Emit) => {
        for (let term = from; term < to; term++) {
          const matrix = terms.matrix[term]!;
          if (wanted(matrix)) emit(matrix % 2, terms.row[term]! - first, terms.column[term]!, term);
        }
        if (withPublics)
          for (let signal = 0; signal <= publics; signal++)
            emit(0, constraints + signal - first, signal, terms.count);
      };
      const entries = await entriesBy(terms, to - from + publics + 1, visit, field, options);
      return field.sparseProduct(entries, vector, rows, options);
    };
    const [[ofA, ofB], [ofC]] = await Promise.all([
      multiply((matrix) => matrix < 2, last),
      multiply((matrix) => matrix === 2, false),
    ]);
    a.set(ofA, first * ELEMENT_BYTES);
    b.set(ofB, first * ELEMENT_BYTES);
    c.set(ofC, first * ELEMENT_BYTES);
    if (last) break;
    from = to;
  }
  return { a, b, c };
}

/** In which of two products a term is, and with which element of the vector it is multiplied there. */
export type Placed = readonly [product: 0 | 1, element: number];

/**
 * The columns of matrices times a vector, for a setup: `place` says where each term belongs, undefined leaves it out. The
 * rows of public signals count as terms of A. Answers an element for each wire, over R.
 */
export async function columnProducts(
  { terms, constraints, variables }: R1cs,
  { publics }: Qap,
  vector: Uint8Array,
  place: (matrix: number, row: number) => Placed | undefined,
  field: FieldEngine,
  options: EngineOptions = {},
): Promise<[Uint8Array, Uint8Array]> {
  const products = [0, 1].map(() => new Uint8Array(variables * ELEMENT_BYTES)) as [Uint8Array, Uint8Array];
  const counts = new Uint32Array(variables);
  for (let term = 0; term < terms.count; term++) counts[terms.column[term]!]!++;
  for (let from = 0, to = 0; from < variables; from = to) {
    let capacity = publics + 1;
    do capacity += counts[to++]!;
    while (to < variables && capacity + counts[to]! <= BATCH);
    const visit = (emit: Emit) => {
      for (let term = 0; term < terms.count; term++) {
        const column = terms.column[term]!;
        if (column < from || column >= to) continue;
        const found = place(terms.matrix[term]!, terms.row[term]!);
        if (found) emit(found[0], column - from, found[1], term);
      }
      for (let signal = from; signal <= publics && signal < to; signal++) {
        const found = place(0, constraints + signal);
        if (found) emit(found[0], signal - from, found[1], terms.count);
      }
    };
    const entries = await entriesBy(terms, capacity, visit, field, options);
    const made = await field.sparseProduct(entries, vector, to - from, options);
    for (const [index, product] of products.entries()) {
      product.set(made[index as 0 | 1], from * ELEMENT_BYTES);
      // What the setup makes with it is a secret.
      made[index as 0 | 1].fill(0);
    }
  }
  return products;
}

/**
 * Throws `key-rejected` unless the key's shape and its matrices A and B are those of the circuit, as snarkjs lays them
 * out. The shape comes first: of a key for another circuit nothing large is read. That its points were made from them is
 * check-key.ts's to say.
 */
export async function checkCircuit(
  zkey: ProvingKey,
  r1cs: R1cs,
  field: FieldEngine,
  options: EngineOptions = {},
): Promise<void> {
  const qap = qapOf(r1cs);
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
  if (zkey.range('entries').length !== qap.entries * ENTRY_BYTES) throw wrong();
  let at = 0;
  for await (const entries of keyEntries(r1cs, qap, field, options)) {
    const bytes = new Uint8Array(entries.byteLength);
    await zkey.read('entries', bytes, at);
    if (!equal(bytes, entries)) throw wrong();
    at += bytes.byteLength;
  }
}
