/** The matrices of a proving key as the rows' kernel reads them (wasm/quotient.ts). */
import { ENTRY_BYTES } from '../../../circuits/groth16/field.ts';
import { SCALAR_BYTES } from '../../../protocols/bn254.ts';

export interface CompressedRows {
  readonly starts: Uint32Array<ArrayBuffer>;
  readonly terms: Uint8Array<ArrayBuffer>;
  readonly coefficients: Uint8Array<ArrayBuffer>;
}

/**
 * The entries of a zkey's section 4 by rows: for each matrix the N + 1 places in `terms` at which its rows begin and end,
 * terms of {byte offset of the wire's 32-byte value, byte offset of the coefficient}, and the coefficients that occur, 32
 * bytes each, zero first. `entries` begin at a multiple of 4.
 */
export function compressRows(
  entries: Uint8Array<ArrayBuffer>,
  rows: number,
  coefficientBytes: number,
): CompressedRows {
  const words = new Uint32Array(entries.buffer, entries.byteOffset, entries.byteLength / 4);
  const stride = ENTRY_BYTES / 4;
  const count = words.length / stride;
  const starts = new Uint32Array(2 * (rows + 1));
  for (let at = 0; at < words.length; at += stride) {
    const slot = words[at]! * (rows + 1) + words[at + 1]! + 1;
    starts[slot]!++;
  }
  for (let slot = 1; slot <= rows; slot++) starts[slot]! += starts[slot - 1]!;
  starts[rows + 1] = starts[rows]!;
  for (let slot = rows + 2; slot < starts.length; slot++) starts[slot]! += starts[slot - 1]!;

  const known = createDictionary(words, count);
  const next = starts.slice();
  const terms = new Uint32Array(2 * count);
  for (let at = 0; at < words.length; at += stride) {
    const slot = words[at]! * (rows + 1) + words[at + 1]!;
    const term = 2 * next[slot]!++;
    terms[term] = words[at + 2]! * SCALAR_BYTES;
    terms[term + 1] = known.indexOf(at + 3) * coefficientBytes;
  }
  return { starts, terms: new Uint8Array(terms.buffer), coefficients: known.bytes() };
}

/**
 * Frees an array's memory at once, all of its buffer: a collector that sees only small objects leaves large buffers until
 * the process ends.
 */
export const giveBack = ({ buffer }: Uint8Array | Uint32Array): void =>
  void (buffer as ArrayBuffer).transfer(0);

/** Places of its table that are looked at: a key made to collide loses compression, not time. */
const MAX_PROBES = 32;

/** The different 8-word values among the entries, few of them perhaps twice; 0 is the zero. */
function createDictionary(words: Uint32Array, count: number) {
  const size = 2 ** Math.ceil(Math.log2(2 * count + 2));
  const table = new Int32Array(size);
  /** where each value was met first */
  const places: number[] = [-1];
  const same = (place: number, at: number) => {
    for (let word = 0; word < 8; word++) if (words[place + word] !== words[at + word]) return false;
    return true;
  };
  return {
    indexOf(at: number): number {
      let hash = 0;
      for (let word = 0; word < 8; word++)
        hash = Math.imul(hash ^ words[at + word]!, 0x9e3779b1) ^ (hash >>> 15);
      for (let probe = 0; probe < MAX_PROBES; probe++) {
        const slot = (hash + probe) & (size - 1);
        const index = table[slot]!;
        if (index === 0) {
          table[slot] = places.push(at) - 1;
          return table[slot]!;
        }
        if (same(places[index]!, at)) return index;
      }
      return places.push(at) - 1;
    },
    /** An even number of values. */
    bytes(): Uint8Array<ArrayBuffer> {
      const values = new Uint32Array(8 * Math.ceil(places.length / 2) * 2);
      places.forEach((place, index) => {
        if (place >= 0) values.set(words.subarray(place, place + 8), 8 * index);
      });
      return new Uint8Array(values.buffer);
    },
  };
}
