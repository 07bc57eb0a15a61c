/**
 * The witness file of circom and snarkjs, `.wtns` version 2: section 1 {n8, prime, count}, section 2 the values.
 * Says that the values are scalars and that the first is 1, not that they satisfy any circuit.
 */
import { VouchError } from '../../protocols/errors.ts';
import { readBinFile, writeBinFile } from './binfile.ts';
import { areScalars, ELEMENT_BYTES, elementBytes, R, readElement } from './field.ts';

const VERSION = 2;

/** The values as one view of `file`: count * 32 bytes, little-endian standard form. A secret; never log it. */
export function readWitness(file: Uint8Array): Uint8Array {
  const bad = (why: string) => new VouchError('bad-file', `.wtns file: ${why}`);
  const sections = readBinFile(file, 'wtns', VERSION);
  const header = sections.section(1);
  if (header.byteLength !== 4 + ELEMENT_BYTES + 4) {
    throw bad(`its header has ${header.byteLength} bytes, expected ${4 + ELEMENT_BYTES + 4}`);
  }
  const view = new DataView(header.buffer, header.byteOffset, header.byteLength);
  const n8 = view.getUint32(0, true);
  if (n8 !== ELEMENT_BYTES) throw bad(`values have ${n8} bytes, expected ${ELEMENT_BYTES}`);
  if (readElement(header, 4) !== R) throw bad("its prime is not BN254's");
  const count = view.getUint32(4 + ELEMENT_BYTES, true);
  const values = sections.section(2);
  if (values.byteLength !== count * ELEMENT_BYTES) {
    throw bad(`its header says ${count} values, section 2 has ${values.byteLength} bytes`);
  }
  checkWitness(values);
  return values;
}

/** The file of `values` (as `readWitness` gives them), byte for byte as snarkjs writes it. */
export function writeWitness(values: Uint8Array): Uint8Array<ArrayBuffer> {
  checkWitness(values);
  const header = new Uint8Array(4 + ELEMENT_BYTES + 4);
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
  if (!areScalars(values))
    throw new VouchError('bad-file', "witness: a value is not below the field's prime");
  if (readElement(values) !== 1n)
    throw new VouchError('bad-file', 'witness: the first value is not the constant 1');
}
