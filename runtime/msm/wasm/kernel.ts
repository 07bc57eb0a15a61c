/**
 * One thread's multi-scalar multiplication in WebAssembly of our own (curve.ts, msm.ts), for engines with relaxed
 * SIMD on processors with fused multiply-add. Formats as in circuits/groth16/engine.ts.
 *
 * Not constant time. Bases are not checked to be points: for others the sum is any bytes.
 */
import { Q } from '../../../circuits/groth16/field.ts';
import type { Group } from '../../../circuits/groth16/point.ts';
import { createModule } from './assembler.ts';
import { defineCurve } from './curve.ts';
import { createConstants, fromLimbs, LIMBS, RADIX, toLimbs } from './fma-field.ts';
import { defineInversion } from './inversion.ts';
import {
  type Degree,
  FILLERS,
  HEAP,
  PAIR_BYTES,
  PENDING,
  POINT_STRIDE,
  SCRATCH,
  SLOT_STRIDE,
  STAMP,
  WAITING,
} from './layout.ts';
import { defineConversion, defineMsm } from './msm.ts';

const PAGE_BYTES = 65_536;
const SCALAR_BYTES = 32;
/** Wider windows' buckets outgrow the cache; narrower ones save nothing. */
const WINDOW_BITS = { min: 4, max: 15 };
/** Segments of a window's buckets that are summed side by side: 2^5. */
const SEGMENT_BITS = 5;

type Bytes = Uint8Array<ArrayBuffer>;
type Exports = Record<string, (...args: number[]) => number>;

/**
 * The module, to be compiled once and shared by all threads; undefined where the engine lacks relaxed SIMD, or where
 * it gives other products than BigInt does.
 */
export async function msmModule(): Promise<WebAssembly.Module | undefined> {
  const bytes = emitModule();
  if (!WebAssembly.validate(bytes)) return undefined;
  const module = await WebAssembly.compile(bytes);
  return multipliesRight(module) ? module : undefined;
}

function emitModule(): Bytes {
  const module = createModule();
  const constants = createConstants();
  const inversion = defineInversion(module, constants);
  defineConversion(module, constants);
  for (const degree of [1, 2] as const) {
    defineMsm(module, defineCurve(module, constants, inversion, degree), degree);
  }
  const patterns = BigUint64Array.from(constants.patterns.flatMap((bits) => [bits, bits]));
  module.data(0, new Uint8Array(patterns.buffer));
  return module.bytes(pages(HEAP));
}

const pages = (bytes: number): number => Math.ceil(bytes / PAGE_BYTES);

function instantiate(module: WebAssembly.Module) {
  const memory = new WebAssembly.Memory({ initial: pages(HEAP), maximum: PAGE_BYTES });
  return { memory, wasm: new WebAssembly.Instance(module, { env: { memory } }).exports as Exports };
}

/** Is multiply-add fused here? Without that almost every product is wrong. */
function multipliesRight(module: WebAssembly.Module): boolean {
  const { memory, wasm } = instantiate(module);
  const doubles = new Float64Array(memory.buffer);
  const lane = (index: number, of: number) => (SCRATCH + index * PAIR_BYTES(1)) / 8 + of;
  const write = (index: number, of: number, value: bigint) => {
    for (const [i, limb] of toLimbs(value).entries()) doubles[lane(index, of) + 2 * i] = Number(limb);
  };
  const read = (index: number, of: number) =>
    fromLimbs(Array.from({ length: LIMBS }, (_, i) => doubles[lane(index, of) + 2 * i]!));
  let value = Q - 1n;
  for (let round = 0; round < 64; round++) {
    const factors = [value, -value / 3n, (value * 7n) % Q, Q - value];
    factors.forEach((factor, index) => {
      write(index >> 1, index & 1, factor);
    });
    wasm.g1_multiply!(SCRATCH + 2 * PAIR_BYTES(1), SCRATCH, SCRATCH + PAIR_BYTES(1));
    for (const side of [0, 1]) {
      if ((read(2, side) * RADIX - factors[side]! * factors[2 + side]!) % Q !== 0n) return false;
    }
    value = (value * value + BigInt(round)) % Q;
  }
  return true;
}

/** Bits per window with the fewest additions: one per point and two per bucket in each window. */
export function windowBits(count: number): number {
  const cost = (bits: number) => windowCount(bits) * (count + 2 * 2 ** (bits - 1));
  let best = WINDOW_BITS.min;
  for (let bits = best + 1; bits <= WINDOW_BITS.max; bits++) if (cost(bits) < cost(best)) best = bits;
  return best;
}
/** Scalars are below 2^253.6; the highest digit has no sign and may not pass 2^(bits - 1). */
const windowCount = (bits: number): number => Math.ceil((254.6 - bits) / bits) + 1;

export interface MsmKernel {
  /**
   * The sum of scalars[i] * bases[i]: affine points in zkey form, 32-byte integers. RangeError when the operation does
   * not fit into 4 GiB.
   */
  msm(group: Group, bases: Uint8Array, scalars: Uint8Array): Bytes;
}

/** `bits` fixes the width of the windows, for tests. */
export function createMsmKernel(module: WebAssembly.Module, { bits }: { bits?: number } = {}): MsmKernel {
  const { memory, wasm } = instantiate(module);

  function msm(group: Group, bases: Uint8Array, scalars: Uint8Array): Bytes {
    const degree: Degree = group === 'G1' ? 1 : 2;
    const call = (name: string, ...args: number[]) => wasm[`g${degree}_${name}`]!(...args);
    const count = scalars.byteLength / SCALAR_BYTES;
    const width = bits ?? windowBits(count);
    const windows = windowCount(width);
    const buckets = 2 ** (width - 1);
    const segments = 2 ** Math.min(width - 1, SEGMENT_BITS);
    const length = buckets / segments;
    const slot = SLOT_STRIDE(degree);

    let end = HEAP;
    const region = (size: number) => {
      const at = end;
      end += Math.ceil(size / 64) * 64;
      return at;
    };
    // A digit is read as four bytes, of which some lie behind the last scalar.
    const pScalars = region(scalars.byteLength + 4);
    const pBias = region(SCALAR_BYTES);
    const pBuckets = region(windows * buckets * slot);
    const pSums = region(windows * segments * 2 * slot);
    const pWeighted = region(windows * 2 * slot);
    const pPlain = region(windows * slot);
    const pSum = region(2 * slot);
    const secretEnd = end;
    const pPoints = region(count * POINT_STRIDE(degree));
    const pRaw = region(bases.byteLength);
    if (end > memory.buffer.byteLength) memory.grow(pages(end - memory.buffer.byteLength));
    const bytes = new Uint8Array(memory.buffer);

    try {
      // Points of another operation may have lain here.
      bytes.fill(0, pBuckets, secretEnd);
      bytes.set(scalars, pScalars);
      bytes.set(bases, pRaw);
      prepare(degree);
      let bias = 0n;
      for (let window = 0; window < windows - 1; window++) bias += 1n << BigInt(window * width + width - 1);
      writeWords(bytes, pBias, bias);
      wasm.convert!(pRaw, count * degree, pPoints);
      call('recode', pScalars, pRaw, count, pBias);
      for (let window = 0; window < windows; window++) {
        const bit = window * width;
        // The highest window ends with its scalar.
        const mask = 2 ** Math.min(width, 256 - bit) - 1;
        const half = window < windows - 1 ? buckets : 0;
        const set = pBuckets + window * buckets * slot;
        call('accumulate', pPoints, pScalars, count, bit >> 3, bit & 7, mask, half, set);
      }
      call('running_sums', pBuckets, slot, length, 0, pSums, windows * segments);
      // Bucket j of segment s counts s * length + j + 1 times.
      call('running_sums', pSums, 2 * slot, segments, 1, pWeighted, windows);
      call('add_all', pSums + slot, 2 * slot, segments, pPlain, windows);
      call('horner', pWeighted + slot, pPlain, windows, width, Math.log2(length), pSum);
      return readPoint(degree, pSum);
    } finally {
      bytes.fill(0, PENDING, secretEnd);
    }
  }

  function prepare(degree: Degree): void {
    const words = new Uint32Array(memory.buffer);
    words[PENDING / 4] = words[WAITING / 4] = 0;
    // 0 is infinity's, 1 that of points that wait for no batch.
    words[STAMP / 4] = 2;
    // (0, 0) and some other x: no points of the curve, but their difference has an inverse.
    new Float64Array(memory.buffer)[(FILLERS + SLOT_STRIDE(degree)) / 8] = 1;
  }

  function readPoint(degree: Degree, at: number): Bytes {
    const point = new Uint8Array(64 * degree);
    const state = new Uint32Array(memory.buffer)[(at + POINT_STRIDE(degree)) / 4];
    if (state === 0) return point;
    const limbs = new Float64Array(memory.buffer, at, 2 * degree * LIMBS);
    for (let i = 0; i < 2 * degree; i++) {
      // From radix 2^255 to 2^256.
      const value = (2n * fromLimbs([...limbs.subarray(i * LIMBS, (i + 1) * LIMBS)])) % Q;
      writeWords(point, 32 * i, value < 0n ? value + Q : value);
    }
    return point;
  }

  return { msm };
}

function writeWords(bytes: Uint8Array, at: number, value: bigint): void {
  const view = new DataView(bytes.buffer, bytes.byteOffset + at, 32);
  for (let i = 0; i < 4; i++) view.setBigUint64(8 * i, BigInt.asUintN(64, value >> BigInt(64 * i)), true);
}
