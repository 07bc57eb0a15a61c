/**
 * iden3's container for keys, witnesses and constraint systems: four letters, a version, a section count, then
 * sections of {id u32, length u64, bytes}, all little-endian (github.com/iden3/binfileutils).
 *
 * Says that the sections fill the file exactly; what is inside them is their reader's to check.
 */
import { VouchError } from '../../protocols/errors.ts';

const HEADER_BYTES = 12;
const SECTION_HEADER_BYTES = 12;
// The formats define at most 10 (zkey groth16) to 17 (zkey fflonk) sections.
const MAX_SECTIONS = 32;

/** Where a section lies in its file, in bytes. */
export interface Range {
  readonly offset: number;
  readonly length: number;
}

export interface BinFile {
  /** A view of the section's bytes; `bad-file` when the file has none. */
  section(id: number): Uint8Array;
  range(id: number): Range;
}

/** Finds the sections without copying. `bad-file` unless magic, version and every length are right. */
export function readBinFile(file: Uint8Array, type: string, version: number): BinFile {
  const bad = (why: string) => new VouchError('bad-file', `.${type} file: ${why}`);
  if (file.byteLength < HEADER_BYTES) throw bad(`${file.byteLength} bytes are too few for a header`);
  const view = new DataView(file.buffer, file.byteOffset, file.byteLength);
  if (String.fromCharCode(...file.subarray(0, 4)) !== type) throw bad(`it does not begin with "${type}"`);
  const found = view.getUint32(4, true);
  if (found < 1 || found > version)
    throw bad(`version ${found} is not supported, expected at most ${version}`);
  const count = view.getUint32(8, true);
  if (count > MAX_SECTIONS) throw bad(`${count} sections are more than ${MAX_SECTIONS}`);

  const ranges = new Map<number, Range>();
  let at = HEADER_BYTES;
  for (let index = 0; index < count; index++) {
    if (file.byteLength - at < SECTION_HEADER_BYTES)
      throw bad(`it is cut off before section ${index + 1} of ${count}`);
    const id = view.getUint32(at, true);
    const length = view.getBigUint64(at + 4, true);
    at += SECTION_HEADER_BYTES;
    if (length > BigInt(file.byteLength - at)) {
      throw bad(
        `section ${id} says ${length} bytes, ${file.byteLength - at} are left; the file is cut off or damaged`,
      );
    }
    if (ranges.has(id)) throw bad(`section ${id} is there twice`);
    ranges.set(id, { offset: at, length: Number(length) });
    at += Number(length);
  }
  if (at !== file.byteLength) throw bad(`${file.byteLength - at} bytes follow its last section`);

  const range = (id: number): Range => {
    const known = ranges.get(id);
    if (known === undefined) throw bad(`section ${id} is missing`);
    return known;
  };
  return {
    range,
    section(id) {
      const { offset, length } = range(id);
      return file.subarray(offset, offset + length);
    },
  };
}

/** The file with these sections, in this order; a section is the concatenation of its parts. */
export function writeBinFile(
  type: string,
  version: number,
  sections: ReadonlyArray<readonly [id: number, ...parts: Uint8Array[]]>,
): Uint8Array<ArrayBuffer> {
  const lengthOf = (parts: Uint8Array[]) => parts.reduce((sum, part) => sum + part.byteLength, 0);
  const size = sections.reduce(
    (sum, [, ...parts]) => sum + SECTION_HEADER_BYTES + lengthOf(parts),
    HEADER_BYTES,
  );
  const file = new Uint8Array(size);
  const view = new DataView(file.buffer);
  for (let index = 0; index < 4; index++) file[index] = type.charCodeAt(index);
  view.setUint32(4, version, true);
  view.setUint32(8, sections.length, true);
  let at = HEADER_BYTES;
  for (const [id, ...parts] of sections) {
    view.setUint32(at, id, true);
    view.setBigUint64(at + 4, BigInt(lengthOf(parts)), true);
    at += SECTION_HEADER_BYTES;
    for (const part of parts) {
      file.set(part, at);
      at += part.byteLength;
    }
  }
  return file;
}
