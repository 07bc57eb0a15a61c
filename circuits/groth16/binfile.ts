/**
 * iden3's container for keys, witnesses and constraint systems: four letters, a version, a section count, then
 * sections of {id u32, length u64, bytes}, all little-endian (github.com/iden3/binfileutils).
 *
 * Says that the sections fill the file exactly; what is inside them is their reader's to check.
 */
import { VouchError } from '../../protocols/errors.ts';
import { type Parser, parseBytes, type Range } from './source.ts';

const HEADER_BYTES = 12;
const SECTION_HEADER_BYTES = 12;
// The formats define at most 10 (zkey groth16) to 17 (zkey fflonk) sections.
const MAX_SECTIONS = 32;

export interface Sections {
  has(id: number): boolean;
  /** Where a section lies; `bad-file` when the file has none of this number. */
  range(id: number): Range;
}

export interface BinFile extends Sections {
  /** A view of the section's bytes. */
  section(id: number): Uint8Array;
}

/** Finds the sections. `bad-file` unless magic, version and every length are right. */
export function* parseSections(byteLength: number, type: string, version: number): Parser<Sections> {
  const bad = (why: string) => new VouchError('bad-file', `.${type} file: ${why}`);
  if (byteLength < HEADER_BYTES) throw bad(`${byteLength} bytes are too few for a header`);
  const header = yield { offset: 0, length: HEADER_BYTES };
  if (String.fromCharCode(...header.subarray(0, 4)) !== type) throw bad(`it does not begin with "${type}"`);
  const found = uint32(header, 4);
  if (found < 1 || found > version)
    throw bad(`version ${found} is not supported, expected at most ${version}`);
  const count = uint32(header, 8);
  if (count > MAX_SECTIONS) throw bad(`${count} sections are more than ${MAX_SECTIONS}`);

  const ranges = new Map<number, Range>();
  let at = HEADER_BYTES;
  for (let index = 0; index < count; index++) {
    if (byteLength - at < SECTION_HEADER_BYTES)
      throw bad(`it is cut off before section ${index + 1} of ${count}`);
    const bytes = yield { offset: at, length: SECTION_HEADER_BYTES };
    const id = uint32(bytes, 0);
    const length = new DataView(bytes.buffer, bytes.byteOffset).getBigUint64(4, true);
    at += SECTION_HEADER_BYTES;
    if (length > BigInt(byteLength - at)) {
      throw bad(
        `section ${id} says ${length} bytes, ${byteLength - at} are left; the file is cut off or damaged`,
      );
    }
    if (ranges.has(id)) throw bad(`section ${id} is there twice`);
    ranges.set(id, { offset: at, length: Number(length) });
    at += Number(length);
  }
  if (at !== byteLength) throw bad(`${byteLength - at} bytes follow its last section`);
  return {
    has: (id) => ranges.has(id),
    range(id) {
      const known = ranges.get(id);
      if (known === undefined) throw bad(`section ${id} is missing`);
      return known;
    },
  };
}

/** Of any field that circom knows, with a little to spare. */
const MAX_PRIME_BYTES = 64;

/** The prime that a section begins with, after its size; `bad-file` where there is none of a plausible size. */
export function* parsePrime(section: Range, type: string): Parser<{ prime: bigint; bytes: number }> {
  const bad = (why: string) => new VouchError('bad-file', `.${type} file: ${why}`);
  if (section.length < 4) throw bad(`its header has ${section.length} bytes, too few for a prime`);
  const bytes = uint32(yield { offset: section.offset, length: 4 }, 0);
  if (bytes === 0 || bytes > MAX_PRIME_BYTES || section.length < 4 + bytes)
    throw bad(`its prime has ${bytes} bytes, which cannot be`);
  const digits = yield { offset: section.offset + 4, length: bytes };
  return { prime: digits.reduceRight((value, byte) => (value << 8n) | BigInt(byte), 0n), bytes };
}

/** The sections of a file in memory; nothing is copied. */
export function readBinFile(file: Uint8Array, type: string, version: number): BinFile {
  const sections = parseBytes(file, parseSections(file.byteLength, type, version));
  return {
    ...sections,
    section(id) {
      const { offset, length } = sections.range(id);
      return file.subarray(offset, offset + length);
    },
  };
}

/** The unsigned 32-bit number at `offset`, little-endian as all of these files. */
export function uint32(bytes: Uint8Array, offset: number): number {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength).getUint32(offset, true);
}

/** A file that is to be written: how long it is, where its sections lie, and the bytes around them. */
export interface Plan {
  readonly byteLength: number;
  range(id: number): Range;
  /** Header and section headers, each with its place. */
  readonly heads: ReadonlyArray<{ readonly offset: number; readonly bytes: Uint8Array }>;
}

/** The plan of a file with sections of these lengths, in this order. */
export function planBinFile(
  type: string,
  version: number,
  sections: ReadonlyArray<readonly [id: number, length: number]>,
): Plan {
  const header = new Uint8Array(HEADER_BYTES);
  const view = new DataView(header.buffer);
  for (let index = 0; index < 4; index++) header[index] = type.charCodeAt(index);
  view.setUint32(4, version, true);
  view.setUint32(8, sections.length, true);
  const heads = [{ offset: 0, bytes: header }];
  const ranges = new Map<number, Range>();
  let at = HEADER_BYTES;
  for (const [id, length] of sections) {
    const bytes = new Uint8Array(SECTION_HEADER_BYTES);
    const own = new DataView(bytes.buffer);
    own.setUint32(0, id, true);
    own.setBigUint64(4, BigInt(length), true);
    heads.push({ offset: at, bytes });
    at += SECTION_HEADER_BYTES;
    ranges.set(id, { offset: at, length });
    at += length;
  }
  return { byteLength: at, heads, range: (id) => ranges.get(id)! };
}

/** The file with these sections, in this order; a section is the concatenation of its parts. */
export function writeBinFile(
  type: string,
  version: number,
  sections: ReadonlyArray<readonly [id: number, ...parts: Uint8Array[]]>,
): Uint8Array<ArrayBuffer> {
  const lengthOf = (parts: Uint8Array[]) => parts.reduce((sum, part) => sum + part.byteLength, 0);
  const plan = planBinFile(
    type,
    version,
    sections.map(([id, ...parts]) => [id, lengthOf(parts)]),
  );
  const file = new Uint8Array(plan.byteLength);
  for (const { offset, bytes } of plan.heads) file.set(bytes, offset);
  for (const [id, ...parts] of sections) {
    let at = plan.range(id).offset;
    for (const part of parts) {
      file.set(part, at);
      at += part.byteLength;
    }
  }
  return file;
}
