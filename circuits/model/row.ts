/**
 * The commitment to a row that is hidden: Poseidon(2, element of the columns, salt, root of the packed features), as a model's
 * (commit.ts), whose first number is 1. The columns are those of the data dictionary: the same cells under other columns are another
 * commitment. Of a model of tensors the inputs are in their place, with shapes and ranges, and with the step that makes numbers of
 * integers: the same integers under another step are other numbers. Each feature is stored as value - low, in as many bits as its range takes.
 *
 * Hiding rests on the salt, 31 random bytes: rows are few, and whoever has the salt can try them all. Opened, it shows one row.
 */
import { sha256 } from '@noble/hashes/sha2.js';
import { encode, rfc8949EncodeOptions } from 'cborg';
import { hex } from '../../protocols/encoding.ts';
import { VouchError } from '../../protocols/errors.ts';
import { R } from '../groth16/field.ts';
import type { Architecture } from './architecture.ts';
import { elementsFor, placements, SALT_BYTES, saltElement } from './commit.ts';
import { poseidon, poseidonChain } from './poseidon.ts';
import { featureRanges, type Preprocessing } from './preprocessing.ts';

export const ROW_COMMITMENT_VERSION = 2n;

/** Features that nobody but their owner and the prover see, and what opens their commitment. */
export interface HiddenRow {
  readonly features: Int32Array;
  readonly salt: Uint8Array;
}

/** What a row's features mean. */
type Meaning = Pick<Architecture, 'preprocessing' | 'named'>;

/** What the columns are, as a field element: SHA-256 of their deterministic CBOR, big-endian, mod r. */
export function columnsElement({ preprocessing: { columns }, named }: Meaning): bigint {
  const meant = named ? { inputs: named.inputs, exponent: named.exponent } : { columns };
  return BigInt(`0x${hex(sha256(encode(meant, rfc8949EncodeOptions)))}`) % R;
}

/** How a row is packed. */
export interface RowLayout {
  readonly low: readonly number[];
  readonly span: readonly number[];
  readonly bits: readonly number[];
  /** of a column of categories its number, from 1; else 0 */
  readonly column: readonly number[];
  readonly elements: number;
}

export function rowLayout(preprocessing: Preprocessing): RowLayout {
  const ranges = featureRanges(preprocessing);
  const bits = ranges.map(({ low, high }) => (high - low).toString(2).length);
  let categories = 0;
  return {
    low: ranges.map(({ low }) => low),
    span: ranges.map(({ low, high }) => high - low),
    bits,
    column: preprocessing.columns.flatMap((column) => {
      if (column.kind !== 'category') return [0];
      categories++;
      return column.categories.map(() => categories);
    }),
    elements: elementsFor(bits),
  };
}

/** Throws RangeError for features outside of their ranges. */
export function commitRow(meaning: Meaning, { features, salt }: HiddenRow): bigint {
  const { low, span, bits, elements } = rowLayout(meaning.preprocessing);
  if (features.length !== low.length)
    throw new RangeError(`row: expected ${low.length} features, got ${features.length}`);
  const packed = Array<bigint>(elements).fill(0n);
  placements(bits).forEach(({ element, offset }, i) => {
    const stored = features[i]! - low[i]!;
    if (!(stored >= 0 && stored <= span[i]!)) throw new RangeError(`row: feature ${i} outside of its range`);
    packed[element]! |= BigInt(stored) << BigInt(offset);
  });
  return poseidon([
    ROW_COMMITMENT_VERSION,
    columnsElement(meaning),
    saltElement(salt),
    poseidonChain(packed),
  ]);
}

/** Whether a text has the form of a salt. */
export const isRowSalt = (text: string): boolean => new RegExp(`^[0-9a-f]{${2 * SALT_BYTES}}$`).test(text);

/** A salt as text. Throws `bad-input`, which names the field. */
export function readRowSalt(text: string, field: string): Uint8Array {
  if (!isRowSalt(text))
    throw new VouchError('bad-input', `${field}: expected ${SALT_BYTES} bytes as lower-case hex`);
  return Uint8Array.from(text.match(/../g)!, (byte) => Number.parseInt(byte, 16));
}
