/**
 * Single operations by wasmcurves, on an instance with a memory of its own: what our engine has no program for, and all
 * that a thread does where the engine cannot run (no shared memory, no SIMD). Formats are those of
 * circuits/groth16/engine.ts: scalars little-endian in standard form, points affine in zkey form.
 *
 * Checks nothing about its inputs' values (points on the curve, scalars below r); lengths are the pool's to check.
 * Every byte that an operation used is zeroed when it ends: scalars are secrets.
 */
import bn128 from 'wasmcurves/build/bn128_wasm.js';
import { ENTRY_BYTES } from '../../../circuits/groth16/field.ts';
import { POINT_BYTES, SCALAR_BYTES } from '../../../protocols/bn254.ts';

type Group = 'G1' | 'G2';
type Bytes = Uint8Array<ArrayBuffer>;

const PAGE_BYTES = 65_536;
const INITIAL_PAGES = 25;
/** A third coordinate. */
const JACOBIAN_BYTES = { G1: 3 * SCALAR_BYTES, G2: 6 * SCALAR_BYTES } as const;
/** An element of the pairing's target group. */
const GT_BYTES = 384;
const GENERATOR = { G1: bn128.pG1gen, G2: bn128.pG2gen } as const;
const PREFIX = { G1: 'g1m', G2: 'g2m' } as const;
/** wasmcurves' widest MSM window: its bucket table has at most 2^17 Jacobian points. */
const MAX_WINDOW_BITS = 17;
/**
 * Width of the fixed-base windows. Signed digits halve the tables: 22 windows of 2048 points are 2.8 MiB in G1 and
 * 5.6 MiB in G2; wider ones saved additions but left the cache (measured, 2 cores).
 */
const FIXED_BASE_BITS = 12;

export interface Fallback {
  msm(group: Group, bases: Bytes, scalars: Bytes): Bytes;
  /** [1] when the product of all e(g1[i], g2[i]) is one, else [0]. */
  pairingsCancel(g1: Bytes, g2: Bytes): Bytes;
  multiples(group: Group, scalars: Bytes): Bytes;
  uncompressed(group: Group, points: Bytes): Bytes;
  sparseProduct(entries: Bytes, vector: Bytes, rows: number): [Bytes, Bytes];
  ntt(values: Bytes, inverse: boolean): Bytes;
  scale(values: Bytes, first: Bytes, step: Bytes): Bytes;
  multiply(left: Bytes, right: Bytes, minus?: Bytes): Bytes;
}

/** wasmcurves' module; a process compiles it once. */
export function curveModule(): Promise<WebAssembly.Module> {
  compiled ??= WebAssembly.compile(curveCode());
  return compiled;
}
let compiled: Promise<WebAssembly.Module> | undefined;

/** Its bytes. */
export const curveCode = (): Uint8Array<ArrayBuffer> =>
  Uint8Array.from(atob(bn128.code), (char) => char.charCodeAt(0));

/** From now on the module is this one, which another process has compiled from the same bytes. */
export function adoptCurve(module: WebAssembly.Module): void {
  compiled = Promise.resolve(module);
}

/** An instance of wasmcurves (`curveModule`) with a memory of its own. */
export function createFallback(module: WebAssembly.Module): Fallback {
  const memory = new WebAssembly.Memory({ initial: INITIAL_PAGES, maximum: PAGE_BYTES });
  const wasm = new WebAssembly.Instance(module, { env: { memory } }).exports as Record<
    string,
    (...args: number[]) => number
  >;
  const call = (name: string, ...args: number[]) => wasm[name]!(...args);
  let bytes = new Uint8Array(memory.buffer);
  let words = new Uint32Array(memory.buffer);
  /** Everything from here on belongs to the running operation; below lie constants and fixed-base tables. */
  let floor = words[0]!;

  /** Highest address that the running operation may have written to. */
  let high = floor;

  function alloc(length: number): number {
    const at = (words[0]! + 15) & ~15;
    words[0] = at + length;
    workspace(0);
    return at;
  }
  /** Makes room for what wasmcurves itself takes from the allocation pointer on; it never grows its memory. */
  function workspace(length: number): void {
    high = Math.max(high, words[0]! + length);
    if (high > bytes.byteLength) {
      memory.grow(Math.ceil((high - bytes.byteLength) / PAGE_BYTES));
      bytes = new Uint8Array(memory.buffer);
      words = new Uint32Array(memory.buffer);
    }
  }
  function put(data: Uint8Array): number {
    const at = alloc(data.byteLength);
    bytes.set(data, at);
    return at;
  }
  const get = (at: number, length: number): Bytes => bytes.slice(at, at + length);

  /** Runs one operation and takes its memory back, zeroed. */
  function scoped<T>(run: () => T): T {
    try {
      return run();
    } finally {
      bytes.fill(0, floor, high);
      words[0] = high = floor;
    }
  }

  /** Jacobian points at `from` to affine ones at `to`, which may be the same address. */
  function toAffine(group: Group, from: number, count: number, to: number): void {
    // The inverses and the running products, one coordinate each.
    workspace((2 * count + 1) * (POINT_BYTES[group] / 2));
    call(`${PREFIX[group]}_batchToAffine`, from, count, to);
  }

  /** Table of d * 2^(12 w) * generator for d = 1 .. 2048, affine, window after window; built on first use. */
  const tables: Partial<Record<Group, number>> = {};
  const windows = Math.ceil((SCALAR_BYTES * 8) / FIXED_BASE_BITS);
  const half = 1 << (FIXED_BASE_BITS - 1);
  function table(group: Group): number {
    const known = tables[group];
    if (known !== undefined) return known;
    const g = PREFIX[group];
    const affine = POINT_BYTES[group];
    const jacobian = JACOBIAN_BYTES[group];
    const at = alloc(windows * half * affine);
    floor = words[0]!;
    scoped(() => {
      const row = alloc(half * jacobian);
      const base = alloc(jacobian);
      const baseAffine = alloc(affine);
      call(`${g}_copy`, GENERATOR[group], base);
      for (let window = 0; window < windows; window++) {
        call(`${g}_toAffine`, base, baseAffine);
        call(`${g}_copy`, base, row);
        for (let digit = 1; digit < half; digit++) {
          call(`${g}_addMixed`, row + (digit - 1) * jacobian, baseAffine, row + digit * jacobian);
        }
        // 2^11 * base, doubled, is the next window's base.
        call(`${g}_double`, row + (half - 1) * jacobian, base);
        toAffine(group, row, half, at + window * half * affine);
      }
    });
    tables[group] = at;
    return at;
  }

  return {
    msm(group, bases, scalars) {
      const count = scalars.byteLength / SCALAR_BYTES;
      const g = PREFIX[group];
      const tableBytes = JACOBIAN_BYTES[group] * 2 ** Math.min(MAX_WINDOW_BITS, 32 - Math.clz32(count));
      return scoped(() => {
        const pBases = put(bases);
        const pScalars = put(scalars);
        const sum = alloc(JACOBIAN_BYTES[group]);
        workspace(tableBytes);
        call(`${g}_multiexpAffine`, pBases, pScalars, SCALAR_BYTES, count, sum);
        call(`${g}_toAffine`, sum, sum);
        return get(sum, POINT_BYTES[group]);
      });
    },

    pairingsCancel(g1, g2) {
      const count = g1.byteLength / POINT_BYTES.G1;
      return scoped(() => {
        const prepared = { G1: alloc(bn128.prePSize), G2: alloc(bn128.preQSize) };
        const product = alloc(GT_BYTES);
        const factor = alloc(GT_BYTES);
        call('ftm_one', product);
        for (let index = 0; index < count; index++) {
          const points = { G1: g1, G2: g2 };
          let infinity = false;
          for (const group of ['G1', 'G2'] as const) {
            const size = POINT_BYTES[group];
            const affine = put(points[group].subarray(index * size, (index + 1) * size));
            const jacobian = alloc(JACOBIAN_BYTES[group]);
            call(`${PREFIX[group]}_toJacobian`, affine, jacobian);
            infinity ||= call(`${PREFIX[group]}_isZero`, jacobian) !== 0;
            workspace(JACOBIAN_BYTES[group]);
            call(`bn128_prepare${group}`, jacobian, prepared[group]);
          }
          // A pair with infinity contributes one.
          if (infinity) continue;
          call('bn128_millerLoop', prepared.G1, prepared.G2, factor);
          call('ftm_mul', product, factor, product);
        }
        call('bn128_finalExponentiation', product, product);
        return Uint8Array.of(call('ftm_isOne', product) ? 1 : 0);
      });
    },

    multiples(group, scalars) {
      const g = PREFIX[group];
      const affine = POINT_BYTES[group];
      const jacobian = JACOBIAN_BYTES[group];
      const count = scalars.byteLength / SCALAR_BYTES;
      const addMixed = wasm[`${g}_addMixed`]!;
      const subMixed = wasm[`${g}_subMixed`]!;
      const at = table(group);
      return scoped(() => {
        const sums = alloc(count * jacobian);
        const view = new DataView(scalars.buffer, scalars.byteOffset, scalars.byteLength);
        for (let index = 0; index < count; index++) {
          const sum = sums + index * jacobian;
          call(`${g}_zero`, sum);
          let carry = 0;
          for (let window = 0; window < windows; window++) {
            let digit = bits(view, index * SCALAR_BYTES, window * FIXED_BASE_BITS) + carry;
            carry = digit > half ? 1 : 0;
            digit -= carry << FIXED_BASE_BITS;
            if (digit === 0) continue;
            const entry = at + (window * half + Math.abs(digit) - 1) * affine;
            (digit > 0 ? addMixed : subMixed)(sum, entry, sum);
          }
        }
        toAffine(group, sums, count, sums);
        return get(sums, count * affine);
      });
    },

    uncompressed(group, points) {
      return scoped(() => {
        const at = put(points);
        call(`${PREFIX[group]}_batchLEMtoU`, at, points.byteLength / POINT_BYTES[group], at);
        return get(at, points.byteLength);
      });
    },

    sparseProduct(entries, vector, rows) {
      return scoped(() => {
        const length = rows * SCALAR_BYTES;
        const pEntries = put(entries);
        const pVector = put(vector);
        const [a, b, product] = [alloc(length), alloc(length), alloc(length)];
        const count = entries.byteLength / ENTRY_BYTES;
        call(
          'qap_buildABC',
          pEntries,
          count,
          pVector,
          a,
          b,
          product,
          0,
          rows,
          0,
          vector.byteLength / SCALAR_BYTES,
        );
        return [get(a, length), get(b, length)];
      });
    },

    ntt(values, inverse) {
      return scoped(() => {
        const at = put(values);
        call(inverse ? 'frm_ifft' : 'frm_fft', at, values.byteLength / SCALAR_BYTES);
        return get(at, values.byteLength);
      });
    },

    scale(values, first, step) {
      return scoped(() => {
        const at = put(values);
        call('frm_batchApplyKey', at, values.byteLength / SCALAR_BYTES, put(first), put(step), at);
        return get(at, values.byteLength);
      });
    },

    multiply(left, right, minus) {
      return scoped(() => {
        const at = put(left);
        const pMinus = minus ? put(minus) : alloc(left.byteLength);
        call('qap_joinABC', at, put(right), pMinus, left.byteLength / SCALAR_BYTES, at);
        return get(at, left.byteLength);
      });
    },
  };
}

/** One window's bits of a 256-bit little-endian number from bit `start` on; bits past its end are zero. */
function bits(view: DataView, offset: number, start: number): number {
  const byte = start >> 3;
  const low = view.getUint8(offset + byte);
  const middle = byte < 31 ? view.getUint8(offset + byte + 1) : 0;
  const high = byte < 30 ? view.getUint8(offset + byte + 2) : 0;
  return ((low | (middle << 8) | (high << 16)) >> (start & 7)) & ((1 << FIXED_BASE_BITS) - 1);
}
