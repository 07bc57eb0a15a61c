/**
 * Takes gzip (RFC 1952) and the DEFLATE stream inside (RFC 1951) off evidence that travels compressed. Small inputs
 * only: what comes out is bounded by the caller, and read bit by bit. Checksum and length must hold.
 */
import { VouchError } from '../errors.ts';

const refuse = (reason: string): never => {
  throw new VouchError('bad-file', `gzip: ${reason}`);
};

/** Bits of a stream, lowest first. */
interface Bits {
  readonly take: (count: number) => number;
  /** skips to the next whole byte and gives its offset */
  readonly align: () => number;
  readonly seek: (at: number) => void;
}

function bitsOf(bytes: Uint8Array): Bits {
  let at = 0;
  let held = 0;
  let count = 0;
  return {
    take: (wanted) => {
      while (count < wanted) {
        if (at >= bytes.length) refuse('expected more bytes');
        held |= bytes[at++]! << count;
        count += 8;
      }
      const value = held & ((1 << wanted) - 1);
      held >>>= wanted;
      count -= wanted;
      return value;
    },
    align: () => {
      // Whole bytes that were read ahead go back.
      at -= count >> 3;
      held = 0;
      count = 0;
      return at;
    },
    seek: (to) => {
      at = to;
    },
  };
}

/** A canonical Huffman code: how many codes have each length, and the symbols in their order. */
interface Code {
  readonly counts: readonly number[];
  readonly symbols: readonly number[];
}

const MAX_CODE_BITS = 15;

function codeOf(lengths: readonly number[]): Code {
  const counts = new Array<number>(MAX_CODE_BITS + 1).fill(0);
  for (const length of lengths) counts[length]!++;
  counts[0] = 0;
  let left = 1;
  for (let length = 1; length <= MAX_CODE_BITS; length++) {
    left = 2 * left - counts[length]!;
    if (left < 0) refuse('expected a code that is not over-subscribed');
  }
  const symbols = lengths
    .map((length, symbol) => ({ length, symbol }))
    .filter(({ length }) => length > 0)
    .sort((a, b) => a.length - b.length || a.symbol - b.symbol)
    .map(({ symbol }) => symbol);
  return { counts, symbols };
}

function symbolOf({ take }: Bits, { counts, symbols }: Code): number {
  let code = 0;
  let first = 0;
  let index = 0;
  for (let length = 1; length <= MAX_CODE_BITS; length++) {
    code |= take(1);
    const count = counts[length]!;
    if (code - count < first) return symbols[index + code - first] ?? refuse('expected a symbol');
    index += count;
    first = (first + count) << 1;
    code <<= 1;
  }
  return refuse('expected a symbol');
}

const range = (from: number, to: number, value: number): number[] => new Array<number>(to - from).fill(value);
const FIXED_LENGTHS = codeOf([
  ...range(0, 144, 8),
  ...range(144, 256, 9),
  ...range(256, 280, 7),
  ...range(280, 288, 8),
]);
const FIXED_DISTANCES = codeOf(range(0, 30, 5));
const LENGTH_BASE = [
  3, 4, 5, 6, 7, 8, 9, 10, 11, 13, 15, 17, 19, 23, 27, 31, 35, 43, 51, 59, 67, 83, 99, 115, 131, 163, 195,
  227, 258,
];
const LENGTH_BITS = [0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3, 4, 4, 4, 4, 5, 5, 5, 5, 0];
const DISTANCE_BASE = [
  1, 2, 3, 4, 5, 7, 9, 13, 17, 25, 33, 49, 65, 97, 129, 193, 257, 385, 513, 769, 1025, 1537, 2049, 3073, 4097,
  6145, 8193, 12289, 16385, 24577,
];
const DISTANCE_BITS = [
  0, 0, 0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6, 7, 7, 8, 8, 9, 9, 10, 10, 11, 11, 12, 12, 13, 13,
];
const CODE_ORDER = [16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15];

function dynamicCodes(bits: Bits): [Code, Code] {
  const lengths = bits.take(5) + 257;
  const distances = bits.take(5) + 1;
  const order = bits.take(4) + 4;
  const of = new Array<number>(CODE_ORDER.length).fill(0);
  for (let i = 0; i < order; i++) of[CODE_ORDER[i]!] = bits.take(3);
  const code = codeOf(of);
  const all: number[] = [];
  while (all.length < lengths + distances) {
    const symbol = symbolOf(bits, code);
    if (symbol < 16) all.push(symbol);
    else {
      if (symbol === 16 && all.length === 0) refuse('expected a length to repeat');
      const value = symbol === 16 ? all.at(-1)! : 0;
      const times = symbol === 16 ? 3 + bits.take(2) : symbol === 17 ? 3 + bits.take(3) : 11 + bits.take(7);
      for (let i = 0; i < times; i++) all.push(value);
    }
  }
  if (all.length !== lengths + distances) refuse('expected as many lengths as announced');
  return [codeOf(all.slice(0, lengths)), codeOf(all.slice(lengths))];
}

/** Bytes that grow, up to a limit. */
function output(most: number) {
  let bytes = new Uint8Array(Math.min(most, 4096));
  let length = 0;
  const push = (byte: number): void => {
    if (length === most) refuse(`expected at most ${most} bytes inside`);
    if (length === bytes.length) {
      const larger = new Uint8Array(Math.min(most, 2 * length));
      larger.set(bytes);
      bytes = larger;
    }
    bytes[length++] = byte;
  };
  return {
    push,
    copy: (distance: number, count: number): void => {
      if (distance > length) refuse('expected a distance inside');
      for (let i = 0; i < count; i++) push(bytes[length - distance]!);
    },
    bytes: () => bytes.subarray(0, length),
  };
}

/** The DEFLATE stream at the start of `bytes`, and where it ends. */
function inflate(bytes: Uint8Array, most: number): { inside: Uint8Array; end: number } {
  const bits = bitsOf(bytes);
  const out = output(most);
  for (let last = false; !last; ) {
    last = bits.take(1) === 1;
    const type = bits.take(2);
    if (type === 0) {
      const at = bits.align();
      const size = bytes[at]! | (bytes[at + 1]! << 8);
      const inverse = bytes[at + 2]! | (bytes[at + 3]! << 8);
      if (at + 4 + size > bytes.length || (size ^ inverse) !== 0xffff)
        refuse('stored block: expected its length');
      for (const byte of bytes.subarray(at + 4, at + 4 + size)) out.push(byte);
      bits.seek(at + 4 + size);
      continue;
    }
    if (type === 3) refuse('expected a block of type 0 to 2');
    const [lengths, distances] = type === 1 ? [FIXED_LENGTHS, FIXED_DISTANCES] : dynamicCodes(bits);
    for (let symbol = symbolOf(bits, lengths); symbol !== 256; symbol = symbolOf(bits, lengths)) {
      if (symbol < 256) {
        out.push(symbol);
        continue;
      }
      const base = LENGTH_BASE[symbol - 257] ?? refuse('expected a length');
      const count = base + bits.take(LENGTH_BITS[symbol - 257]!);
      const far = symbolOf(bits, distances);
      const distance = (DISTANCE_BASE[far] ?? refuse('expected a distance')) + bits.take(DISTANCE_BITS[far]!);
      out.copy(distance, count);
    }
  }
  return { inside: out.bytes(), end: bits.align() };
}

const FLAG = { check: 2, extra: 4, name: 8, comment: 16 } as const;

export const isGzip = (bytes: Uint8Array): boolean =>
  bytes[0] === 0x1f && bytes[1] === 0x8b && bytes[2] === 8;

/** What one gzip member holds, at most `most` bytes; throws `bad-file`. */
export function gunzip(bytes: Uint8Array, most: number): Uint8Array {
  if (!isGzip(bytes) || bytes.length < 18) return refuse('expected a member of it');
  const flags = bytes[3]!;
  let at = 10;
  const text = () => {
    while (at < bytes.length && bytes[at] !== 0) at++;
    at++;
  };
  if (flags & FLAG.extra) at += 2 + (bytes[at]! | (bytes[at + 1]! << 8));
  if (flags & FLAG.name) text();
  if (flags & FLAG.comment) text();
  if (flags & FLAG.check) at += 2;
  const { inside, end } = inflate(bytes.subarray(at), most);
  const tail = bytes.subarray(at + end);
  if (tail.length !== 8) refuse('expected its checksum and length at the end');
  const [checksum, length] = [0, 4].map((from) =>
    new DataView(tail.slice(from, from + 4).buffer).getUint32(0, true),
  );
  if (checksum !== crc32(inside) || length !== inside.length) refuse('checksum or length does not hold');
  return inside;
}

function crc32(bytes: Uint8Array): number {
  let crc = 0xffffffff;
  for (const byte of bytes) {
    crc ^= byte;
    for (let i = 0; i < 8; i++) crc = (crc >>> 1) ^ (crc & 1 ? 0xedb88320 : 0);
  }
  return (crc ^ 0xffffffff) >>> 0;
}
