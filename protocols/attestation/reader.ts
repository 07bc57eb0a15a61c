/**
 * Reads fields of fixed size one after the other, never beyond the end. Values are views of the input, so that
 * no declared length can make anything allocate. Numbers are little-endian, as in all hardware formats here.
 */
import { VouchError } from '../errors.ts';

export interface Reader {
  /** bytes read so far */
  readonly at: () => number;
  readonly left: () => number;
  /** the next `length` bytes */
  readonly take: (length: number) => Uint8Array;
  /** a number of 1 to 6 bytes */
  readonly uint: (bytes: number) => number;
  readonly uint64: () => bigint;
  /** skips bytes that must be zero */
  readonly zeros: (length: number) => void;
  /** checks that nothing is left */
  readonly end: () => void;
}

/** Every method throws `bad-file` with `what` in front when the input does not hold what is asked for. */
export function createReader(bytes: Uint8Array, what: string): Reader {
  let at = 0;
  const refuse = (reason: string): never => {
    throw new VouchError('bad-file', `${what}: ${reason}`);
  };
  const take = (length: number): Uint8Array => {
    if (length > bytes.length - at) {
      refuse(`expected ${length} bytes at ${at}, got ${bytes.length - at}`);
    }
    at += length;
    return bytes.subarray(at - length, at);
  };
  const uint = (length: number): number => take(length).reduceRight((sum, byte) => sum * 256 + byte, 0);
  return {
    at: () => at,
    left: () => bytes.length - at,
    take,
    uint,
    uint64: () => BigInt(uint(4)) | (BigInt(uint(4)) << 32n),
    zeros: (length) => {
      const start = at;
      if (take(length).some((byte) => byte !== 0))
        refuse(`expected zeros in the ${length} bytes at ${start}`);
    },
    end: () => {
      if (at !== bytes.length) refuse(`expected ${at} bytes, got ${bytes.length}`);
    },
  };
}
