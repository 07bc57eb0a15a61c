/**
 * The rows of a proving key's matrices A and B times a witness, on a GPU. Entries are sorted by row once, and cut into
 * segments of a few entries each: a thread multiplies one segment, another adds up the segments of a row, so that a row
 * with thousands of entries keeps no one waiting. Parts that fit a device's bindings follow one another.
 */
import { ELEMENT_BYTES, ENTRY_BYTES } from '../../../circuits/groth16/field.ts';
import { VouchError } from '../../../protocols/errors.ts';
import { emitAccess, emitField, FIELDS, type FieldVariant } from './field.ts';
import type { Dispatch, Queue, RunOptions } from './queue.ts';

/** Entries of a segment at most. */
const SEGMENT = 16;
const THREADS = 64;

/** Rows `from` to `to` of one matrix, in the form that the kernels read. */
export interface RowsPart {
  readonly matrix: 0 | 1;
  readonly from: number;
  readonly to: number;
  /** 32 bytes per entry, and the column of each */
  readonly values: Uint8Array<ArrayBuffer>;
  readonly columns: Uint32Array<ArrayBuffer>;
  /** segment s has the entries cuts[s] to cuts[s + 1] - 1, row r of the part the segments starts[r] to starts[r + 1] - 1 */
  readonly cuts: Uint32Array<ArrayBuffer>;
  readonly starts: Uint32Array<ArrayBuffer>;
}

/** Yields the parts of both matrices, none of which has more than `limit` entries or segments. `too-large` for a row that has. */
export function* partsOf(entries: Uint8Array, rows: number, limit: number): Generator<RowsPart> {
  const view = new DataView(entries.buffer, entries.byteOffset, entries.byteLength);
  const words = new Uint32Array(ELEMENT_BYTES / 4);
  for (const matrix of [0, 1] as const) {
    const ends = rowEnds(view, matrix, rows);
    for (let from = 0, to = 0; from < rows; from = to) {
      const first = from === 0 ? 0 : ends[from - 1]!;
      while (to < rows && ends[to]! - first <= limit && to - from < limit / 2) to++;
      if (to === from) {
        throw new VouchError(
          'too-large',
          `row ${from} has more than ${limit} entries, too many for this GPU`,
        );
      }
      const count = ends[to - 1]! - first;
      const values = new Uint8Array(count * ELEMENT_BYTES);
      const columns = new Uint32Array(count);
      /** where the next entry of a row goes */
      const next = Uint32Array.from({ length: to - from }, (_, row) =>
        from + row === 0 ? 0 : ends[from + row - 1]! - first,
      );
      const target = new Uint32Array(values.buffer);
      for (let at = 0; at < view.byteLength; at += ENTRY_BYTES) {
        const row = view.getUint32(at + 4, true);
        if (view.getUint32(at, true) !== matrix || row < from || row >= to) continue;
        const index = next[row - from]!++;
        columns[index] = view.getUint32(at + 8, true);
        for (let word = 0; word < words.length; word++)
          target[index * words.length + word] = view.getUint32(at + 12 + 4 * word, true);
      }
      yield { matrix, from, to, values, columns, ...segments(ends.subarray(from, to), first) };
    }
  }
}

/** For every row of a matrix how many entries it and those before it have. */
function rowEnds(view: DataView, matrix: number, rows: number): Uint32Array {
  const ends = new Uint32Array(rows);
  for (let at = 0; at < view.byteLength; at += ENTRY_BYTES) {
    if (view.getUint32(at, true) === matrix) ends[view.getUint32(at + 4, true)]! += 1;
  }
  for (let row = 1; row < rows; row++) ends[row]! += ends[row - 1]!;
  return ends;
}

function segments(ends: Uint32Array, first: number): Pick<RowsPart, 'cuts' | 'starts'> {
  const starts = new Uint32Array(ends.length + 1);
  for (const [row, end] of ends.entries()) {
    const count = end - (row === 0 ? first : ends[row - 1]!);
    starts[row + 1] = starts[row]! + Math.ceil(count / SEGMENT);
  }
  const cuts = new Uint32Array(starts.at(-1)! + 1);
  let next = 0;
  for (const [row, end] of ends.entries()) {
    for (let at = (row === 0 ? first : ends[row - 1]!) - first; at < end - first; at += SEGMENT)
      cuts[next++] = at;
  }
  cuts[next] = (ends.at(-1) ?? first) - first;
  return { cuts, starts };
}

const emitSegments = (variant: FieldVariant): string => `\
${emitField({ modulus: FIELDS.Fr, variant })}
struct Params { first: u32, segments: u32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> cuts: array<u32>;
@group(0) @binding(2) var<storage, read> columns: array<u32>;
@group(0) @binding(3) var<storage, read> values: array<vec4u>;
@group(0) @binding(4) var<storage, read> witness: array<vec4u>;
@group(0) @binding(5) var<storage, read_write> sums: array<vec4u>;
${emitAccess('values')}${emitAccess('witness')}${emitAccess('sums', 'read_write')}
@compute @workgroup_size(${THREADS})
fn main(@builtin(workgroup_id) id: vec3u, @builtin(local_invocation_index) thread: u32) {
  let segment = (params.first + id.x) * ${THREADS}u + thread;
  if (segment >= params.segments) { return; }
  var sum = FE_ZERO;
  for (var i = cuts[segment]; i < cuts[segment + 1u]; i++) {
    sum = fe_add(sum, fe_mul(fe_load_values(i), fe_load_witness(columns[i])));
  }
  fe_store_sums(segment, sum);
}`;

const emitRows = (variant: FieldVariant): string => `\
${emitField({ modulus: FIELDS.Fr, variant })}
struct Params { first: u32, row: u32, rows: u32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> starts: array<u32>;
@group(0) @binding(2) var<storage, read> sums: array<vec4u>;
@group(0) @binding(3) var<storage, read_write> product: array<vec4u>;
${emitAccess('sums')}${emitAccess('product', 'read_write')}
@compute @workgroup_size(${THREADS})
fn main(@builtin(workgroup_id) id: vec3u, @builtin(local_invocation_index) thread: u32) {
  let row = (params.first + id.x) * ${THREADS}u + thread;
  if (row >= params.rows) { return; }
  var sum = FE_ZERO;
  for (var i = starts[row]; i < starts[row + 1u]; i++) {
    sum = fe_add(sum, fe_load_sums(i));
  }
  fe_store_product(params.row + row, sum);
}`;

export interface Rows {
  /** device memory that it holds */
  readonly bytes: number;
  /** a = A * witness and b = B * witness in Montgomery form, for a witness in standard form. */
  multiply(witness: GPUBuffer, a: GPUBuffer, b: GPUBuffer): Dispatch[];
  /** Where a secret lies between the steps of `multiply`: to be zeroed after them. */
  readonly sums: GPUBuffer;
  destroy(): void;
}

interface RowBuffers {
  readonly witness: GPUBuffer;
  readonly sums: GPUBuffer;
  readonly products: readonly [GPUBuffer, GPUBuffer];
}

/** About how many bytes of device memory `createRows` takes. */
export const rowsBytes = (entryBytes: number, rows: number): number =>
  Math.ceil((entryBytes / ENTRY_BYTES) * (36 + (4 + ELEMENT_BYTES) / SEGMENT)) + rows * (16 + ELEMENT_BYTES);

/** Uploads the entries of a zkey's section 4, whose values are times R^2. */
export async function createRows(
  queue: Queue,
  entries: Uint8Array,
  rows: number,
  variant: FieldVariant,
  options: RunOptions = {},
): Promise<Rows> {
  const made: GPUBuffer[] = [];
  const allocated = async (label: string, bytes: number) => {
    const buffer = await queue.buffer(label, bytes);
    made.push(buffer);
    return buffer;
  };
  const uploaded = async (label: string, data: Uint8Array | Uint32Array<ArrayBuffer>) => {
    const buffer = await allocated(label, data.byteLength);
    const bytes = new Uint8Array(data.buffer as ArrayBuffer, data.byteOffset, data.byteLength);
    await queue.write(buffer, 0, bytes, options);
    return buffer;
  };
  const destroy = () => {
    for (const buffer of made) buffer.destroy();
  };
  try {
    const [multiply, add] = await Promise.all([
      queue.pipeline('segments of rows', emitSegments(variant)),
      queue.pipeline('rows', emitRows(variant)),
    ]);
    const limit = Math.floor(queue.device.limits.maxStorageBufferBindingSize / ELEMENT_BYTES);
    const steps: ((buffers: RowBuffers) => Dispatch[])[] = [];
    let most = 0;
    for (const { matrix, from, to, values, columns, cuts, starts } of partsOf(entries, rows, limit)) {
      const count = cuts.length - 1;
      most = Math.max(most, count);
      const operands = [
        await uploaded('segments of rows', cuts),
        await uploaded('columns of entries', columns),
        await uploaded('values of entries', values),
      ];
      const rowStarts = await uploaded('rows', starts);
      steps.push(({ witness, sums, products }) => [
        {
          stage: 'rows',
          pipeline: multiply,
          buffers: [...operands, witness, sums],
          params: [count],
          workgroups: Math.ceil(count / THREADS),
          work: THREADS * SEGMENT,
        },
        {
          stage: 'rows',
          pipeline: add,
          buffers: [rowStarts, sums, products[matrix]],
          params: [from, to - from],
          workgroups: Math.ceil((to - from) / THREADS),
          work: THREADS,
        },
      ]);
    }
    const sums = await allocated('sums of segments', most * ELEMENT_BYTES);
    return {
      bytes: made.reduce((total, { size }) => total + size, 0),
      sums,
      multiply: (witness, a, b) => steps.flatMap((step) => step({ witness, sums, products: [a, b] })),
      destroy,
    };
  } catch (error) {
    destroy();
    throw error;
  }
}
