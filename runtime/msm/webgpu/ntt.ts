/**
 * The transforms of a Groth16 quotient on a GPU, in place: values on the domain -> coefficients -> values on the odd
 * coset (the domain times a root of unity of twice its order), and the products before and after.
 *
 * Inverse stages decimate in frequency: natural order in, bit-reversed out; forward stages in time, the other way round;
 * so nothing is ever permuted. The coset costs nothing: a forward stage over blocks of 2h takes w^(2j + 1) for the
 * primitive root w of order 4h, where the plain transform takes w^(2j). Nothing is divided by the domain's size n either:
 * three vectors that are each n times too large are put right by the products, which multiply by a constant anyway.
 *
 * The 2k stages are cut into passes. A pass loads a tile into workgroup memory, runs up to TILE_BITS stages there (the
 * pass in the middle all inverse and all forward stages of its bits), and stores it. Radix 2, as the one product site
 * of field.ts asks for; the tile plays the part of the higher radices.
 */
import {
  ELEMENT_BYTES,
  elementBytes,
  MONTGOMERY_R,
  power,
  R,
  rootOfUnity,
} from '../../../circuits/groth16/field.ts';
import { concat } from '../../../protocols/encoding.ts';
import { emitAccess, emitField, FIELDS, type FieldVariant } from './field.ts';
import type { Dispatch, Queue, RunOptions } from './queue.ts';

/** 512 elements are 16 KiB of workgroup memory and one butterfly for each of 256 threads: WebGPU's default limits. */
const TILE_BITS = 9;
const THREADS = 2 ** (TILE_BITS - 1);
/** Neighbours that a pass of distant rows loads together, so that it reads 64 bytes at a time. */
const COLUMN_BITS = 1;
const POINTWISE_THREADS = 64;

/** One pass over the whole vector. Steps count stages: 0 to k-1 are inverse (bit k-1 first), k to 2k-1 forward (bit 0 first). */
export interface Pass {
  /** the tile's rows are the elements that differ in bits `low` to `low + rows - 1` of their index */
  readonly low: number;
  readonly rows: number;
  readonly from: number;
  readonly to: number;
}

/** The passes of a transform and back of 2^k elements. */
export function passesOf(k: number): Pass[] {
  const inner = Math.min(k, TILE_BITS);
  const count = Math.ceil((k - inner) / (TILE_BITS - COLUMN_BITS));
  const cut = (index: number) => inner + Math.floor(((k - inner) * index) / count);
  const outer = Array.from({ length: count }, (_, index) => ({
    low: cut(index),
    rows: cut(index + 1) - cut(index),
  }));
  return [
    ...outer.toReversed().map(({ low, rows }) => ({ low, rows, from: k - low - rows, to: k - low })),
    { low: 0, rows: inner, from: k - inner, to: k + inner },
    ...outer.map(({ low, rows }) => ({ low, rows, from: k + low, to: k + low + rows })),
  ];
}

const header = (variant: FieldVariant, params: readonly string[]): string => `\
${emitField({ modulus: FIELDS.Fr, variant })}
struct Params { first: u32, ${params.map((name) => `${name}: u32`).join(', ')} }
@group(0) @binding(0) var<uniform> params: Params;
`;

const emitPass = (variant: FieldVariant): string => `\
${header(variant, ['k', 'low', 'rows', 'start', 'end'])}
// powers of the root of order 2n, the first n
@group(0) @binding(1) var<storage, read> roots: array<vec4u>;
@group(0) @binding(2) var<storage, read_write> values: array<vec4u>;
var<workgroup> tile: array<vec4u, ${2 ** (TILE_BITS + 1)}>;
${emitAccess('roots')}${emitAccess('values', 'read_write')}${emitAccess('tile', 'read_write')}

// The element in a slot of workgroup \`group\`'s tile: slots are rows of 2^columns neighbours.
fn element(group: u32, slot: u32, columns: u32) -> u32 {
  let row = slot >> columns;
  let column = slot & ((1u << columns) - 1u);
  let within = params.low - columns;
  let high = group >> within;
  let low = group & ((1u << within) - 1u);
  return (((high << params.rows) | row) << params.low) | (low << columns) | column;
}

@compute @workgroup_size(${THREADS})
fn main(@builtin(workgroup_id) id: vec3u, @builtin(local_invocation_index) thread: u32) {
  let group = params.first + id.x;
  let k = params.k;
  let slots = min(k, ${TILE_BITS}u);
  let columns = slots - params.rows;
  let busy = thread < ((1u << slots) >> 1u);
  if (busy) {
    for (var half = 0u; half < 2u; half++) {
      let slot = thread + half * (1u << (slots - 1u));
      fe_store_tile(slot, fe_load_values(element(group, slot, columns)));
    }
  }
  for (var step = params.start; step < params.end; step++) {
    workgroupBarrier();
    if (busy) {
      let inverse = step < k;
      let bit = select(step - k, k - 1u - step, inverse);
      // this thread's butterfly: slots that differ in the one bit
      let at = bit - params.low + columns;
      let left = ((thread >> at) << (at + 1u)) | (thread & ((1u << at) - 1u));
      let right = left | (1u << at);
      let j = element(group, left, columns) & ((1u << bit) - 1u);
      let u = fe_load_tile(left);
      let v = fe_load_tile(right);
      // w^-x = -w^(n - x) turns the difference round, but for x = 0
      let power = j << (k - bit);
      let turned = inverse && power != 0u;
      var root = ((2u * j) + 1u) << (k - 1u - bit);
      if (inverse) { root = select(0u, (1u << k) - power, turned); }
      let factor = fe_select(v, fe_sub(fe_select(u, v, turned), fe_select(v, u, turned)), inverse);
      let product = fe_mul(factor, fe_load_roots(root));
      fe_store_tile(left, fe_add(u, fe_select(product, v, inverse)));
      fe_store_tile(right, fe_select(fe_sub(u, product), product, inverse));
    }
  }
  workgroupBarrier();
  if (busy) {
    for (var half = 0u; half < 2u; half++) {
      let slot = thread + half * (1u << (slots - 1u));
      fe_store_values(element(group, slot, columns), fe_load_tile(slot));
    }
  }
}`;

/** c = (a * b - c, or a * b) * factor */
const emitProduct = (variant: FieldVariant): string => `\
${header(variant, ['count', 'subtract'])}
@group(0) @binding(1) var<storage, read> factor: array<vec4u>;
@group(0) @binding(2) var<storage, read> a: array<vec4u>;
@group(0) @binding(3) var<storage, read> b: array<vec4u>;
@group(0) @binding(4) var<storage, read_write> c: array<vec4u>;
${emitAccess('factor')}${emitAccess('a')}${emitAccess('b')}${emitAccess('c', 'read_write')}
@compute @workgroup_size(${POINTWISE_THREADS})
fn main(@builtin(workgroup_id) id: vec3u, @builtin(local_invocation_index) thread: u32) {
  let i = (params.first + id.x) * ${POINTWISE_THREADS}u + thread;
  if (i >= params.count) { return; }
  var left = fe_load_a(i);
  var right = fe_load_b(i);
  for (var step = 0u; step < 2u; step++) {
    left = fe_mul(left, right);
    if (step == 0u && params.subtract == 1u) { left = fe_sub(left, fe_load_c(i)); }
    right = fe_load_factor(0u);
  }
  fe_store_c(i, left);
}`;

/** out[i] = parts[i mod 2^bits] * parts[2^bits + i / 2^bits] */
const emitRoots = (variant: FieldVariant): string => `\
${header(variant, ['count', 'bits'])}
@group(0) @binding(1) var<storage, read> parts: array<vec4u>;
@group(0) @binding(2) var<storage, read_write> out: array<vec4u>;
${emitAccess('parts')}${emitAccess('out', 'read_write')}
@compute @workgroup_size(${POINTWISE_THREADS})
fn main(@builtin(workgroup_id) id: vec3u, @builtin(local_invocation_index) thread: u32) {
  let i = (params.first + id.x) * ${POINTWISE_THREADS}u + thread;
  if (i >= params.count) { return; }
  let low = i & ((1u << params.bits) - 1u);
  let high = (1u << params.bits) + (i >> params.bits);
  fe_store_out(i, fe_mul(fe_load_parts(low), fe_load_parts(high)));
}`;

export interface Transforms {
  /** device memory that it holds */
  readonly bytes: number;
  /** `values` (2^k elements on the domain) become n times their polynomial's values on the odd coset. */
  shift(values: GPUBuffer): Dispatch[];
  /** c = n * a * b for a and b in Montgomery form, n the domain's size: what `join` takes after `shift`. */
  product(a: GPUBuffer, b: GPUBuffer, c: GPUBuffer): Dispatch;
  /** c = (a * b - c) of vectors that went through `product` and `shift`, in standard form. */
  join(a: GPUBuffer, b: GPUBuffer, c: GPUBuffer): Dispatch;
  destroy(): void;
}

/** How many bytes of device memory `createTransforms` takes for 2^k elements. */
export const transformBytes = (k: number): number => 2 ** k * ELEMENT_BYTES;

/** For a domain of 2^k elements. The roots are made on the device. */
export async function createTransforms(
  queue: Queue,
  k: number,
  variant: FieldVariant,
  options: RunOptions = {},
): Promise<Transforms> {
  const size = 2 ** k;
  const made: GPUBuffer[] = [];
  const uploaded = async (label: string, data: Uint8Array) => {
    const buffer = await queue.buffer(label, data.byteLength);
    made.push(buffer);
    await queue.write(buffer, 0, data, options);
    return buffer;
  };
  const destroy = () => {
    for (const buffer of made) buffer.destroy();
  };
  try {
    const [pass, product, fill] = await Promise.all([
      queue.pipeline('transform', emitPass(variant)),
      queue.pipeline('product', emitProduct(variant)),
      queue.pipeline('roots', emitRoots(variant)),
    ]);
    const factors = {
      product: await uploaded('factor n', elementBytes((BigInt(size) * MONTGOMERY_R) % R)),
      join: await uploaded('factor 1/n^2', elementBytes(power(BigInt(size) ** 2n % R, R - 2n))),
    };
    const bits = k >> 1;
    const parts = await uploaded('parts of roots', rootParts(k, bits));
    const roots = await queue.buffer('roots', size * ELEMENT_BYTES);
    made.push(roots);
    const pointwise = (stage: string, pipeline: GPUComputePipeline, buffers: GPUBuffer[], param: number) => ({
      stage,
      pipeline,
      buffers,
      params: [size, param],
      workgroups: Math.ceil(size / POINTWISE_THREADS),
      work: 2 * POINTWISE_THREADS,
    });
    await queue.run([pointwise('roots', fill, [parts, roots], bits)], options);

    return {
      bytes: transformBytes(k),
      shift: (values) =>
        passesOf(k).map(({ low, rows, from, to }) => ({
          stage: 'transforms',
          pipeline: pass,
          buffers: [roots, values],
          params: [k, low, rows, from, to],
          workgroups: size >> Math.min(k, TILE_BITS),
          work: THREADS * (to - from + 1),
        })),
      product: (a, b, c) => pointwise('products', product, [factors.product, a, b, c], 0),
      join: (a, b, c) => pointwise('products', product, [factors.join, a, b, c], 1),
      destroy,
    };
  } catch (error) {
    destroy();
    throw error;
  }
}

/** Powers 0 to 2^bits - 1 of the root of order 2^(k+1), then multiples of 2^bits of them, in Montgomery form. */
function rootParts(k: number, bits: number): Uint8Array {
  const root = rootOfUnity(k + 1);
  const powers = (step: bigint, count: number) => {
    let value = MONTGOMERY_R;
    return Array.from({ length: count }, () => {
      const bytes = elementBytes(value);
      value = (value * step) % R;
      return bytes;
    });
  };
  return concat(...powers(root, 2 ** bits), ...powers(power(root, BigInt(2 ** bits)), 2 ** (k - bits)));
}
