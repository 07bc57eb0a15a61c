/**
 * The witness file of circom and snarkjs, `.wtns` version 2: section 1 {n8, prime, count}, section 2 the values.
 * Says that the values are scalars and that the first is 1, not that they satisfy any circuit.
 */
import { VouchError } from '../../protocols/errors.ts';
import { parsePrime, parseSections, uint32, writeBinFile } from './binfile.ts';
import { areScalars, ELEMENT_BYTES, elementBytes, otherFieldOf, R, readElement } from './field.ts';
import { type ByteSource, demandWithin, type Parser, parseBytes, parseSource, type Range } from './source.ts';

const VERSION = 2;
const HEADER_BYTES = 4 + ELEMENT_BYTES + 4;
/** Values are checked while they are still in the cache that they were read into. */
const PIECE_BYTES = 1024 * 1024;

/** The values as one view of `file`: count * 32 bytes, little-endian standard form. A secret; never log it. */
export function readWitness(file: Uint8Array): Uint8Array {
  const { offset, length } = parseBytes(file, parseWitness(file.byteLength));
  const values = file.subarray(offset, offset + length);
  checkWitness(values);
  return values;
}

/** A witness whose values are elsewhere. */
export interface WitnessFile {
  /** Number of values, the constant 1 included. */
  readonly count: number;
  /**
   * Fills `target` (also in shared memory; whole values) with the values from number `first` (default 0) on, and
   * checks them on the way: `bad-file` when one is not below r, or the first of all is not 1.
   */
  read(target: Uint8Array, first?: number): Promise<void>;
}

export async function openWitness(source: ByteSource): Promise<WitnessFile> {
  const range = await parseSource(source, parseWitness(source.byteLength));
  return {
    count: range.length / ELEMENT_BYTES,
    async read(target, first = 0) {
      const begin = first * ELEMENT_BYTES;
      demandWithin({ byteLength: range.length }, begin, target.byteLength);
      if (target.byteLength % ELEMENT_BYTES !== 0) {
        throw new RangeError(`values are read whole, ${ELEMENT_BYTES} bytes each`);
      }
      for (let at = 0; at < target.byteLength; at += PIECE_BYTES) {
        const piece = target.subarray(at, at + PIECE_BYTES);
        await source.read(range.offset + begin + at, piece);
        checkValues(piece, begin + at === 0);
      }
    },
  };
}

/** Where the values lie. */
function* parseWitness(byteLength: number): Parser<Range> {
  const bad = (why: string) => new VouchError('bad-file', `.wtns file: ${why}`);
  const sections = yield* parseSections(byteLength, 'wtns', VERSION);
  const range = sections.range(1);
  const { prime } = yield* parsePrime(range, 'wtns');
  if (prime !== R) throw bad(`its prime is ${otherFieldOf(prime)}, expected BN254's`);
  if (range.length !== HEADER_BYTES)
    throw bad(`its header has ${range.length} bytes, expected ${HEADER_BYTES}`);
  const header = yield range;
  const count = uint32(header, 4 + ELEMENT_BYTES);
  const values = sections.range(2);
  if (values.length !== count * ELEMENT_BYTES) {
    throw bad(`its header says ${count} values, section 2 has ${values.length} bytes`);
  }
  if (count === 0) throw bad('it has no values');
  return values;
}

/** The file of `values` (as `readWitness` gives them), byte for byte as snarkjs writes it. */
export function writeWitness(values: Uint8Array): Uint8Array<ArrayBuffer> {
  checkWitness(values);
  const header = new Uint8Array(HEADER_BYTES);
  const view = new DataView(header.buffer);
  view.setUint32(0, ELEMENT_BYTES, true);
  header.set(elementBytes(R), 4);
  view.setUint32(4 + ELEMENT_BYTES, values.byteLength / ELEMENT_BYTES, true);
  return writeBinFile('wtns', VERSION, [
    [1, header],
    [2, values],
  ]);
}

/** `bad-file` unless `values` are whole scalars below r and start with the constant 1. */
export function checkWitness(values: Uint8Array): void {
  if (values.byteLength === 0 || values.byteLength % ELEMENT_BYTES !== 0) {
    throw new VouchError(
      'bad-file',
      `witness: ${values.byteLength} bytes are not a multiple of ${ELEMENT_BYTES}`,
    );
  }
  checkValues(values, true);
}

function checkValues(values: Uint8Array, fromTheFirst: boolean): void {
  if (!areScalars(values))
    throw new VouchError('bad-file', "witness: a value is not below the field's prime");
  if (fromTheFirst && readElement(values) !== 1n)
    throw new VouchError('bad-file', 'witness: the first value is not the constant 1');
}
