/**
 * Multi-scalar multiplication on a GPU, in G1 and in G2: buckets by signed digits, every addition an affine one in a batch
 * (digits.ts, addition.ts), the reduction of the buckets a tree of the same additions; the few hundred points that are
 * left are doubled and added here.
 *
 * Point sets stay on the device in planes of coordinates, cut by their points into pieces whose buffers a binding can hold;
 * sections that are summed with the same scalars are held together, so that one sort of the digits serves all of them.
 *
 * Formats are those of circuits/groth16/engine.ts. Right for all points of the curve, or of the whole twist; others are not
 * noticed. Not constant time. Buffers that held digits of scalars are cleared after use, not overwritten by more than zeros.
 */
import type { EngineOptions, Group } from '../../../circuits/groth16/engine.ts';
import { readCoordinate } from '../../../circuits/groth16/field.ts';
import {
  G1,
  type G1Point,
  G2,
  type G2Point,
  POINT_BYTES,
  writeG1,
  writeG2,
} from '../../../circuits/groth16/point.ts';
import { type ByteSource, bytesSource } from '../../../circuits/groth16/source.ts';
import { VouchError } from '../../../protocols/errors.ts';
import {
  additionParams,
  doubled,
  emitAddition,
  inBuckets,
  inTree,
  type Pairs,
  type Pass,
} from './addition.ts';
import { COORDINATE_BYTES, COORDINATE_WORK } from './coordinate.ts';
import {
  BUCKET_BYTES,
  DIGIT_WORK,
  emitBlockSums,
  emitDigits,
  emitOffsets,
  ROUNDS,
  SCAN_BLOCK,
  SCAN_WORK,
  SUMMARY_BYTES,
} from './digits.ts';
import type { FieldVariant } from './field.ts';
import { WORKGROUP } from './interface.ts';
import { emitInversion, INVERSION_WORK } from './inversion.ts';
import { emitGather, emitPick, emitSplit } from './planes.ts';
import type { Dispatch, Queue, RunOptions, Step } from './queue.ts';
import { bucketsOf, planWindows, type Windows } from './windows.ts';

type Bytes = Uint8Array<ArrayBuffer>;

/** Points of one sum. */
export interface HeldSection {
  readonly group: Group;
  /** affine, in zkey form */
  readonly points: ByteSource;
  /** points at infinity in front of them, so that sections share their scalars' indices */
  readonly lead?: number | undefined;
}

export interface HoldOptions extends RunOptions {
  /** Bytes that the points and tables of their multiples may take; the points alone are always held. */
  readonly tableBytes?: number | undefined;
}

export interface HeldSumsOptions extends RunOptions {
  /** The sections, by their number, that are summed, in this order; all by default. */
  readonly only?: readonly number[] | undefined;
}

/** Points on the device. */
export interface HeldPoints {
  /** of each section, its lead included */
  readonly count: number;
  /** on the device */
  readonly bytes: number;
  readonly windows: Windows;
  /**
   * Per section the sum of scalars[i] * points[i], affine in zkey form. `scalars`: `count` elements in standard form from
   * the buffer's beginning. Calls are done one after another.
   */
  sums(scalars: GPUBuffer, options?: HeldSumsOptions): Promise<Bytes[]>;
  release(): void;
}

export interface GpuMsm {
  /** RangeError unless the sections have the same number of points, their leads included. */
  hold(sections: readonly HeldSection[], options?: HoldOptions): Promise<HeldPoints>;
  /** One sum over points that are not kept; as `Pool.msm`. */
  msm(group: Group, bases: Uint8Array, scalars: Uint8Array, options?: EngineOptions): Promise<Bytes>;
  /** Gives back the scratch memory, which grew with the sums. */
  close(): void;
}

export interface GpuMsmOptions {
  readonly variant: FieldVariant;
  /** Threads that keep the device busy; more than it has use for cost divisions. */
  readonly threads?: number | undefined;
  /** Bytes of each of the two planes of partial sums, 512 MiB by default: a larger sum is cut into pieces. */
  readonly slotBytes?: number | undefined;
}

const THREADS = 2 ** 15;
const SLOT_BYTES = 2 ** 29;
/** Additions per thread at most: by then a division is a small part of the work. */
const CHAIN = 32;
/** Additions whose products are kept at a time, in bytes. */
const SLICE_BYTES = 2 ** 27;
/** Points uploaded at a time, in bytes. */
const UPLOAD_BYTES = 2 ** 24;
const SCALAR_BYTES = 32;
/** A binding's offset is a multiple of 256 bytes. */
const SCALARS_ALIGNED = 8;
/** Multiplications of the passes, per addition. */
const PASS_WORK = { forward: 1.3, backward: 6 } as const satisfies Record<Pass, number>;

interface Planes {
  readonly x: GPUBuffer;
  readonly y: GPUBuffer;
}
/** What additions work on (addition.ts). */
interface AdditionBuffers {
  readonly points: Planes;
  readonly entries: GPUBuffer;
  readonly tasks: GPUBuffer;
  readonly slots: Planes;
}
/** A section's points of one piece. */
interface Part {
  readonly group: Group;
  readonly planes: Planes;
}
interface Piece {
  /** its first point, and how many it has */
  readonly from: number;
  readonly count: number;
  /** by section; level l of point i at l * count + i */
  readonly sections: readonly Planes[];
}

/** A piece's digits, sorted (digits.ts). */
interface Sorted {
  /** additions of each round */
  readonly rounds: readonly number[];
  /** what entries may take, with what is wasted at buckets' ends */
  readonly positions: number;
  readonly buckets: GPUBuffer;
  readonly entries: GPUBuffer;
  readonly tasks: GPUBuffer;
  /** what takes it from the device again */
  readonly clear: readonly Step[];
}

const emitKernels = (group: Group, variant: FieldVariant) => ({
  split: emitSplit(group),
  forward: emitAddition(group, variant, 'forward'),
  inversion: emitInversion(group, variant),
  backward: emitAddition(group, variant, 'backward'),
  gather: emitGather(group, variant),
  pick: emitPick(group),
});
type Kernels = ReturnType<typeof emitKernels>;
const DIGIT_KERNELS = {
  count: emitDigits('count'),
  blockSums: emitBlockSums(),
  offsets: emitOffsets(),
  scatter: emitDigits('scatter'),
};
/** A kernel's first line says what it is. */
const labelOf = (code: string): string => /^\/\/ (.*)/.exec(code)?.[1] ?? 'kernel';

const ceilDivide = (a: number, b: number): number => Math.ceil(a / b);
const sum = (numbers: Iterable<number>): number => {
  let total = 0;
  for (const number of numbers) total += number;
  return total;
};

export function createGpuMsm(
  queue: Queue,
  { variant, threads = THREADS, slotBytes = SLOT_BYTES }: GpuMsmOptions,
): GpuMsm {
  const { limits } = queue.device;
  const bindingBytes = Math.min(limits.maxStorageBufferBindingSize, limits.maxBufferSize);
  const scratch = new Map<string, GPUBuffer>();
  /** buffers that were too small, and may be in use until the turn ends */
  const outgrown: GPUBuffer[] = [];
  let turn: Promise<unknown> = Promise.resolve();
  let closed = false;

  /** A buffer that is kept from sum to sum, at least that large; what is in it may be anything. */
  async function room(name: string, bytes: number): Promise<GPUBuffer> {
    const known = scratch.get(name);
    if (known && known.size >= bytes) return known;
    if (known) outgrown.push(known);
    scratch.delete(name);
    const buffer = await queue.buffer(name, bytes);
    scratch.set(name, buffer);
    return buffer;
  }

  const kernelsOf = new Map<Group, Promise<Kernels>>();
  /** A group's kernels, compiled side by side when they are first asked for. */
  function kernelsFor(group: Group): Promise<Kernels> {
    const known = kernelsOf.get(group);
    if (known) return known;
    const kernels = emitKernels(group, variant);
    const codes = [...Object.values(kernels), ...Object.values(DIGIT_KERNELS)];
    const made = Promise.all(codes.map((code) => queue.pipeline(labelOf(code), code))).then(() => kernels);
    made.catch(() => kernelsOf.delete(group));
    kernelsOf.set(group, made);
    return made;
  }

  /** One at a time: all share the scratch buffers. */
  function inTurn<T>(work: () => Promise<T>): Promise<T> {
    const mine = turn.then(async () => {
      if (closed) throw new VouchError('not-ready', 'the GPU engine is closed');
      try {
        return await work();
      } finally {
        for (const buffer of outgrown.splice(0)) buffer.destroy();
      }
    });
    turn = mine.catch(() => {});
    return mine;
  }

  async function dispatch(
    stage: string,
    code: string,
    buffers: Dispatch['buffers'],
    params: readonly number[],
    { items, work, each = WORKGROUP }: { items: number; work: number; each?: number },
  ): Promise<Dispatch> {
    const pipeline = await queue.pipeline(labelOf(code), code);
    return { stage, pipeline, buffers, params, workgroups: ceilDivide(items, each), work };
  }

  /** Adds `count` pairs from task `begin` on; a sum takes its left addend's slot. */
  async function additions(
    stage: string,
    group: Group,
    { points, entries, tasks, slots }: AdditionBuffers,
    pairs: Pairs,
    { begin = 0, count }: { begin?: number; count: number },
  ): Promise<Step[]> {
    if (count === 0) return [];
    const size = COORDINATE_BYTES[group];
    const slice = Math.min(count, Math.floor(Math.min(SLICE_BYTES, bindingBytes) / size));
    const chain = Math.min(Math.max(1, Math.round(slice / threads)), CHAIN);
    const prefixes = await room('prefixes', slice * size);
    const products = await room('products', ceilDivide(slice, chain) * size);
    const buffers = [points.x, points.y, entries, tasks, slots.x, slots.y, prefixes, products];
    const kernels = await kernelsFor(group);
    const steps: Step[] = [];
    for (let at = 0; at < count; at += slice) {
      const part = Math.min(slice, count - at);
      const active = ceilDivide(part, chain);
      const params = additionParams({ begin: begin + at, tasks: part, threads: active }, pairs);
      const pass = (which: Pass) => {
        const work = WORKGROUP * chain * PASS_WORK[which] * COORDINATE_WORK[group];
        return dispatch(stage, kernels[which], buffers, params, { items: active, work });
      };
      steps.push(
        await pass('forward'),
        await dispatch(stage, kernels.inversion, [products], [active], {
          items: active,
          work: WORKGROUP * INVERSION_WORK[group],
        }),
        await pass('backward'),
      );
    }
    return steps;
  }

  /** The windows for sections of `count` points, and the points of a piece that fits the device's bindings. */
  function plan(count: number, groups: readonly Group[], tableBytes: number) {
    const size = Math.max(...groups.map((group) => COORDINATE_BYTES[group]));
    const levelBytes = count * sum(groups.map((group) => POINT_BYTES[group]));
    const levels = Math.max(1, Math.floor(tableBytes / Math.max(levelBytes, 1)));
    const coordinates = Math.floor(bindingBytes / size);
    const slots = Math.min(coordinates, Math.floor(slotBytes / size));
    for (let piece = count; ; ) {
      const windows = planWindows(piece, { levels, buckets: Math.min(coordinates, slots) });
      // A bucket may leave one of its positions empty, two positions share a slot.
      const bySlots = Math.floor((2 * slots - bucketsOf(windows)) / windows.windows);
      const largest = Math.min(
        bySlots,
        Math.floor(coordinates / windows.levels),
        Math.floor(bindingBytes / SCALAR_BYTES) - SCALARS_ALIGNED,
      );
      if (piece <= largest) return { windows, piece };
      const pieces = Math.max(ceilDivide(count, largest), ceilDivide(count, piece) + 1);
      piece = ceilDivide(ceilDivide(count, pieces), SCALARS_ALIGNED) * SCALARS_ALIGNED;
    }
  }

  /** The points [from, from + count) of a section, and their multiples, into planes. */
  async function upload(
    { group, points, lead = 0 }: HeldSection,
    { from, count }: { from: number; count: number },
    { bits, sets, levels }: Windows,
    { x, y }: Planes,
    options: RunOptions,
  ): Promise<void> {
    const size = POINT_BYTES[group];
    const whole = UPLOAD_BYTES / size;
    const kernels = await kernelsFor(group);
    const staging = await room('staging', UPLOAD_BYTES);
    // A lead is what a new buffer is: zeros.
    for (let at = Math.max(from, lead); at < from + count; at += whole) {
      const length = Math.min(whole, from + count - at);
      const bytes = new Uint8Array(length * size);
      await points.read((at - lead) * size, bytes);
      await queue.write(staging, 0, bytes, options);
      const params = [length, at - from];
      const step = await dispatch('upload', kernels.split, [staging, x, y], params, {
        items: length,
        work: 1,
      });
      await queue.run([step], options);
    }
    const nothing = await room('nothing', 32);
    const buffers = { points: { x: nothing, y: nothing }, entries: nothing, tasks: nothing, slots: { x, y } };
    for (let level = 1; level < levels; level++) {
      const steps: Step[] = [];
      for (let doubling = 0; doubling < bits * sets; doubling++) {
        const [begin, shift] = doubling === 0 ? [(level - 1) * count, count] : [level * count, 0];
        steps.push(...(await additions('table', group, buffers, doubled(shift), { begin, count })));
      }
      await queue.run(steps, options);
    }
  }

  /** Sorts the digits of a piece's scalars; answers how many additions each round has. */
  async function sort(
    { from, count }: Piece,
    parts: readonly Part[],
    windows: Windows,
    scalars: GPUBuffer,
    options: RunOptions,
  ): Promise<Sorted> {
    const total = bucketsOf(windows);
    const [entryCount, blockCount] = [count * windows.windows, ceilDivide(total, SCAN_BLOCK)];
    const buckets = await room('buckets', total * BUCKET_BYTES);
    const blocks = await room('blocks', 4 * blockCount);
    const summary = await room('summary', SUMMARY_BYTES);
    const entries = await room('entries', 4 * (entryCount + total));
    const tasks = await room('tasks', 4 * entryCount);
    const aligned = from - (from % SCALARS_ALIGNED);
    const part = {
      buffer: scalars,
      offset: aligned * SCALAR_BYTES,
      size: (from - aligned + count) * SCALAR_BYTES,
    };
    const { group, planes } = parts[0]!;
    const params = [
      from - aligned,
      count,
      windows.bits,
      windows.windows,
      windows.sets,
      count,
      // What is infinite in one section may be a point in another.
      parts.length === 1 ? 1 : 0,
      COORDINATE_BYTES[group] / 16,
    ];
    const perScalar = { items: count, work: DIGIT_WORK(windows.windows) };
    const perBlock = { items: blockCount, each: 1, work: SCAN_WORK };
    const shared = [part, planes.x, planes.y, buckets];
    await queue.run(
      [
        { clear: buckets },
        { clear: summary },
        await dispatch('digits', DIGIT_KERNELS.count, shared, params, perScalar),
        await dispatch('digits', DIGIT_KERNELS.blockSums, [buckets, blocks, summary], [total], perBlock),
        await dispatch('digits', DIGIT_KERNELS.offsets, [buckets, blocks], [total], perBlock),
        await dispatch(
          'digits',
          DIGIT_KERNELS.scatter,
          [...shared, summary, entries, tasks],
          params,
          perScalar,
        ),
      ],
      options,
    );
    const words = await queue.read(summary, 4 * ROUNDS);
    return {
      rounds: [...new Uint32Array(words.buffer, 0, ROUNDS)],
      positions: entryCount + total,
      buckets,
      entries,
      tasks,
      clear: [{ clear: buckets }, { clear: entries }, { clear: tasks }],
    };
  }

  /**
   * What is left of a section's buckets: per bucket set the sum of all, then per bit the sum of those whose index has it.
   */
  async function reduce(
    { group, planes: { x, y } }: Part,
    windows: Windows,
    { rounds, positions, buckets, entries, tasks }: Sorted,
    options: RunOptions,
  ): Promise<{ xs: Bytes; ys: Bytes }> {
    const size = COORDINATE_BYTES[group];
    const total = bucketsOf(windows);
    // A slot per two positions, of which each bucket may waste one. Entries are additions and buckets that have any.
    const slots = ceilDivide(Math.min(sum(rounds) + 2 * total, positions), 2) * size;
    const [slotsX, slotsY] = [await room('slots x', slots), await room('slots y', slots)];
    const steps: Step[] = [];
    const buffers = { points: { x, y }, entries, tasks, slots: { x: slotsX, y: slotsY } };
    let begin = 0;
    for (const [round, count] of rounds.entries()) {
      steps.push(...(await additions('buckets', group, buffers, inBuckets(round), { begin, count })));
      begin += count;
    }
    const kernels = await kernelsFor(group);
    const nodes: Planes = { x: await room('nodes x', total * size), y: await room('nodes y', total * size) };
    for (const [points, slots, target, negates] of [
      [x, slotsX, nodes.x, 0],
      [y, slotsY, nodes.y, 1],
    ] as const) {
      const bound = [buckets, entries, points, slots, target];
      const extent = { items: total, work: WORKGROUP / 8 };
      steps.push(await dispatch('reduction', kernels.gather, bound, [total, negates], extent));
    }
    for (let round = 0; round < windows.bits - 1; round++) {
      const pairs = inTree(round);
      const count = (total / pairs.stride) * pairs.groups;
      steps.push(...(await additions('reduction', group, { ...buffers, slots: nodes }, pairs, { count })));
    }
    const left = windows.sets * windows.bits;
    const picked: Planes = { x: await room('picked x', left * size), y: await room('picked y', left * size) };
    for (const plane of ['x', 'y'] as const) {
      const bound = [nodes[plane], picked[plane]];
      const extent = { items: left, work: 1 };
      steps.push(await dispatch('reduction', kernels.pick, bound, [left, windows.bits], extent));
    }
    await queue.run(steps, options);
    return { xs: await queue.read(picked.x, left * size), ys: await queue.read(picked.y, left * size) };
  }

  const engine: GpuMsm = {
    async hold(sections, { tableBytes = 0, ...options } = {}) {
      const counts = sections.map(
        ({ group, points, lead = 0 }) => lead + points.byteLength / POINT_BYTES[group],
      );
      const count = counts[0];
      if (count === undefined || !Number.isInteger(count) || counts.some((other) => other !== count)) {
        throw new RangeError(`hold: expected sections of equal length, got ${counts.join(', ')} points`);
      }
      const groups = sections.map(({ group }) => group);
      const { windows, piece } = plan(count, groups, tableBytes);
      const pieces: Piece[] = [];
      const buffers: GPUBuffer[] = [];
      const release = () => {
        for (const buffer of buffers) buffer.destroy();
      };
      try {
        for (let from = 0; from < count; from += piece) {
          const range = { from, count: Math.min(piece, count - from) };
          const planes: Planes[] = [];
          for (const section of sections) {
            const bytes = range.count * windows.levels * COORDINATE_BYTES[section.group];
            const [x, y] = [await queue.buffer('points x', bytes), await queue.buffer('points y', bytes)];
            buffers.push(x, y);
            planes.push({ x, y });
            await inTurn(() => upload(section, range, windows, { x, y }, options));
          }
          pieces.push({ ...range, sections: planes });
        }
      } catch (error) {
        release();
        throw error;
      }
      return {
        count,
        bytes: sum(buffers.map(({ size }) => size)),
        windows,
        release,
        sums: (scalars, { only = [...groups.keys()], ...runOptions } = {}) =>
          inTurn(async () => {
            if (only.length === 0) return [];
            const chosen = only.map((index) => ({ index, group: groups[index]! }));
            const left = chosen.map(({ group }) => createRemainder(group, windows));
            for (const each of pieces) {
              const parts = chosen.map(({ index, group }) => ({ group, planes: each.sections[index]! }));
              const sorted = await sort(each, parts, windows, scalars, runOptions);
              try {
                for (const [index, part] of parts.entries()) {
                  left[index]!.add(await reduce(part, windows, sorted, runOptions));
                }
              } finally {
                // Not when aborted: what is cleared must be cleared. A lost device has nothing left.
                await queue.run(sorted.clear).catch(() => {});
              }
            }
            return left.map((remainder) => remainder.sum());
          }),
      };
    },

    async msm(group, bases, scalars, options = {}) {
      const count = scalars.byteLength / SCALAR_BYTES;
      if (!Number.isInteger(count) || bases.byteLength !== count * POINT_BYTES[group]) {
        throw new RangeError(
          `msm: ${count} scalars need ${count * POINT_BYTES[group]} bytes of ${group} bases, got ${bases.byteLength}`,
        );
      }
      if (count === 0) return new Uint8Array(POINT_BYTES[group]);
      const points = await engine.hold([{ group, points: bytesSource(bases) }], options);
      let buffer: GPUBuffer | undefined;
      try {
        buffer = await queue.buffer('scalars', scalars.byteLength);
        await queue.write(buffer, 0, scalars, options);
        const [result] = await points.sums(buffer, options);
        return result!;
      } finally {
        if (buffer) await queue.run([{ clear: buffer }]).catch(() => {});
        buffer?.destroy();
        points.release();
      }
    },

    close() {
      closed = true;
      for (const buffer of scratch.values()) buffer.destroy();
      scratch.clear();
    },
  };
  return engine;
}

/** Adds up what the pieces leave: points by the power of two that they stand for. */
function createRemainder(group: Group, { bits, sets }: Windows) {
  return group === 'G1' ? remainderOf(G1_POINTS, bits, sets) : remainderOf(G2_POINTS, bits, sets);
}

interface Points<P> {
  readonly group: Group;
  readonly zero: P;
  readonly read: (xs: Bytes, ys: Bytes, offset: number) => P;
  readonly write: (point: P) => Bytes;
}
const what = 'a point from the GPU';
const G1_POINTS: Points<G1Point> = {
  group: 'G1',
  zero: G1.ZERO,
  read: (xs, ys, at) => G1.fromAffine({ x: readCoordinate(xs, at, what), y: readCoordinate(ys, at, what) }),
  write: writeG1,
};
const G2_POINTS: Points<G2Point> = {
  group: 'G2',
  zero: G2.ZERO,
  read: (xs, ys, at) => {
    const pair = (bytes: Bytes) => ({
      c0: readCoordinate(bytes, at, what),
      c1: readCoordinate(bytes, at + SCALAR_BYTES, what),
    });
    return G2.fromAffine({ x: pair(xs), y: pair(ys) });
  },
  write: writeG2,
};

function remainderOf<P extends { add(other: P): P; double(): P }>(
  { group, zero, read, write }: Points<P>,
  bits: number,
  sets: number,
) {
  /** the coefficient of 2^i */
  const powers: P[] = [];
  const size = COORDINATE_BYTES[group];
  return {
    add({ xs, ys }: { xs: Bytes; ys: Bytes }): void {
      for (let index = 0; index < sets * bits; index++) {
        const at = index * size;
        const range = (bytes: Bytes) => bytes.subarray(at, at + size);
        if ([range(xs), range(ys)].every((bytes) => bytes.every((byte) => byte === 0))) continue;
        // First the sum of all buckets, whose factors are their index plus one; then those of bits 0, 1, ...
        const power = Math.floor(index / bits) * bits + Math.max(0, (index % bits) - 1);
        powers[power] = (powers[power] ?? zero).add(read(xs, ys, at));
      }
    },
    sum(): Bytes {
      let total = zero;
      for (let power = powers.length - 1; power >= 0; power--)
        total = total.double().add(powers[power] ?? zero);
      return write(total);
    },
  };
}
