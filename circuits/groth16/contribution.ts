/**
 * Section 10 of a `.zkey`: the circuit's hash and the list of phase-2 contributions (layout and transcript: snarkjs
 * `src/zkey_utils.js`). Reading says that a record is well formed; that it is true (the ratios of its points, the
 * chain of transcripts) is checked by `snarkjs zkey verify` against the ceremony's files.
 */
import { VouchError } from '../../protocols/errors.ts';
import { checkPoint, POINT_BYTES } from './point.ts';

const HASH_BYTES = 64;
/** deltaAfter, g1_s, g1_sx, g2_spx, transcript, type, parameters' length */
const FIXED_BYTES = 3 * POINT_BYTES.G1 + POINT_BYTES.G2 + HASH_BYTES + 8;
// A name of at most 255 bytes, an exponent, a beacon of at most 255 bytes, each with type and length.
const MAX_PARAMETER_BYTES = 2 + 255 + 2 + 2 + 255;
// The largest public ceremonies have some thousand contributions.
const MAX_CONTRIBUTIONS = 65_536;
/** More than a section of that many contributions can have. */
export const MAX_CONTRIBUTIONS_BYTES =
  HASH_BYTES + 4 + MAX_CONTRIBUTIONS * (FIXED_BYTES + MAX_PARAMETER_BYTES);

/** One contribution to delta. Points in zkey form. */
export interface Contribution {
  readonly deltaAfter: Uint8Array;
  readonly g1s: Uint8Array;
  readonly g1sx: Uint8Array;
  readonly g2spx: Uint8Array;
  /** blake2b-512 */
  readonly transcript: Uint8Array;
  readonly name?: string | undefined;
  /** A contribution by a public random beacon. */
  readonly beacon?: { readonly hash: Uint8Array; readonly iterationsExponent: number } | undefined;
}

export interface Contributions {
  /** blake2b-512 of the circuit's points before any contribution. */
  readonly circuitHash: Uint8Array;
  readonly list: readonly Contribution[];
}

/** `check` is told each point. */
export function readContributions(section: Uint8Array, check = checkPoint): Contributions {
  const view = new DataView(section.buffer, section.byteOffset, section.byteLength);
  let at = 0;
  const take = (length: number) => {
    if (section.byteLength - at < length) throw bad('it is cut off');
    at += length;
    return section.subarray(at - length, at);
  };
  const u32 = () => {
    take(4);
    return view.getUint32(at - 4, true);
  };
  const point = (group: 'G1' | 'G2', what: string) => {
    const bytes = take(POINT_BYTES[group]);
    check(group, bytes, `.zkey file: contribution's ${what}`);
    return bytes;
  };

  const circuitHash = take(HASH_BYTES);
  const count = u32();
  if (count > MAX_CONTRIBUTIONS || count * FIXED_BYTES > section.byteLength - at) {
    throw bad(`${count} contributions do not fit into it`);
  }
  const list: Contribution[] = [];
  for (let index = 0; index < count; index++) {
    const points = {
      deltaAfter: point('G1', 'deltaAfter'),
      g1s: point('G1', 'g1_s'),
      g1sx: point('G1', 'g1_sx'),
      g2spx: point('G2', 'g2_spx'),
    };
    const transcript = take(HASH_BYTES);
    const type = u32();
    if (type > 1) throw bad(`contribution ${index} has the unknown type ${type}`);
    const length = u32();
    if (length > MAX_PARAMETER_BYTES) throw bad(`contribution ${index} has ${length} bytes of parameters`);
    const parameters = readParameters(take(length), index);
    if ((type === 1) !== (parameters.beacon !== undefined)) {
      throw bad(`contribution ${index} does not say whether it is a beacon's`);
    }
    list.push({ ...points, transcript, ...parameters });
  }
  if (at !== section.byteLength) throw bad(`${section.byteLength - at} bytes follow the last contribution`);
  return { circuitHash, list };
}

export function writeContributions({ circuitHash, list }: Contributions): Uint8Array {
  const bytes: number[] = [...circuitHash, ...uint32(list.length)];
  for (const { deltaAfter, g1s, g1sx, g2spx, transcript, name, beacon } of list) {
    bytes.push(...deltaAfter, ...g1s, ...g1sx, ...g2spx, ...transcript, ...uint32(beacon ? 1 : 0));
    const parameters: number[] = [];
    if (name) {
      const text = new TextEncoder().encode(name);
      // snarkjs writes at most 64 characters, and the length into one byte.
      if (name.length > 64 || text.byteLength > 255)
        throw new RangeError('a contribution name has at most 64 characters');
      parameters.push(1, text.byteLength, ...text);
    }
    if (beacon) parameters.push(2, beacon.iterationsExponent, 3, beacon.hash.byteLength, ...beacon.hash);
    bytes.push(...uint32(parameters.length), ...parameters);
  }
  return Uint8Array.from(bytes);
}

/** Tagged values, each tag at most once and in ascending order: 1 name, 2 iterations exponent, 3 beacon. */
function readParameters(bytes: Uint8Array, index: number): Pick<Contribution, 'name' | 'beacon'> {
  let name: string | undefined;
  let iterationsExponent: number | undefined;
  let hash: Uint8Array | undefined;
  let last = 0;
  for (let at = 0; at < bytes.byteLength; ) {
    const tag = bytes[at]!;
    const value = bytes[at + 1];
    const length = tag === 2 ? 0 : value;
    if (
      tag <= last ||
      tag > 3 ||
      value === undefined ||
      length === undefined ||
      at + 2 + length > bytes.byteLength
    ) {
      throw bad(`contribution ${index} has malformed parameters`);
    }
    const content = bytes.subarray(at + 2, at + 2 + length);
    if (tag === 1) name = decodeName(content, index);
    else if (tag === 2) iterationsExponent = value;
    else hash = content;
    last = tag;
    at += 2 + length;
  }
  if ((hash === undefined) !== (iterationsExponent === undefined)) {
    throw bad(`contribution ${index} has half a beacon`);
  }
  return {
    ...(name === undefined ? {} : { name }),
    ...(hash === undefined || iterationsExponent === undefined
      ? {}
      : { beacon: { hash, iterationsExponent } }),
  };
}

function decodeName(bytes: Uint8Array, index: number): string {
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch {
    throw bad(`the name of contribution ${index} is not UTF-8`);
  }
}

function uint32(value: number): number[] {
  return [value & 0xff, (value >>> 8) & 0xff, (value >>> 16) & 0xff, value >>> 24];
}

function bad(why: string): VouchError {
  return new VouchError('bad-file', `.zkey file: contribution section: ${why}`);
}
