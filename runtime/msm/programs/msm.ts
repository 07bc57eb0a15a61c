/**
 * Multi-scalar multiplication on the threads' memory: points and digits there, sums by windows, and tables beside points
 * that stay. Not constant time. Bases are not checked to be points: for others a sum is any bytes.
 */
import type { EngineOptions, TableStore } from '../../../circuits/groth16/engine.ts';
import { ELEMENT_BYTES, elementBytes, power, Q, writeElement } from '../../../circuits/groth16/field.ts';
import { type Group, POINT_BYTES } from '../../../circuits/groth16/point.ts';
import { SCALAR_BYTES } from '../../../protocols/bn254.ts';
import { DIGIT_BYTES } from '../wasm/digits.ts';
import type { Call } from '../wasm/instance.ts';
import type { Degree } from '../wasm/layout.ts';
import type { Region } from './arena.ts';
import { moveTogether } from './finite-points.ts';
import { type Tables, windowBits, windowCount } from './windows.ts';
import { all, degreeOf, slice, type Workshop } from './workshop.ts';

/** Pieces of work a thread, so that all end at about the same time. */
const PIECES = 3;
/** Less than this is not worth a piece. */
const MIN_POINTS = 512;
/** Points whose tables a thread makes at a time: a fifth of a second's work in G1. */
const TABULATED = 2048;

/** Signed digits of scalars: a plane per window. Secret. */
export interface Digits {
  readonly region: Region;
  readonly count: number;
  readonly bits: number;
  readonly windows: number;
  readonly plane: number;
}
export interface Points {
  /** Level after level, where there are tables; behind them, where `sparse`, which of the scalars is each point's (u32). */
  readonly region: Region;
  readonly group: Group;
  /** Scalars. */
  readonly length: number;
  /** Points, without those at infinity, which add nothing: two thirds of a circuit's B may be. */
  readonly count: number;
  readonly sparse: boolean;
  readonly tables?: Tables | undefined;
}
const PLACE_BYTES = 4;
/** Points that some digits are for. */
export interface Part {
  readonly points: Points;
  /** Which digits those of scalar 0 are: a negative number where the points begin before the digits do. */
  readonly from: number;
  /** The points that count, by the numbers of their scalars; all by default. */
  readonly range?: { readonly from: number; readonly to: number } | undefined;
}

export interface TabulateOptions extends EngineOptions {
  readonly tables: Tables;
  readonly store?: TableStore | undefined;
  /** What the points are, for the store. */
  readonly name: string;
  /** Called with each finished part's share of the whole. */
  readonly onProgress?: ((share: number) => void) | undefined;
}

export type Msm = ReturnType<typeof createMsm>;

export function createMsm({
  base: field,
  layout,
  kind,
  threads,
  arena,
  run,
  view,
  using,
  putting,
  ranges,
}: Workshop) {
  /** Affine points in zkey form, which `read` gives by byte offset, to ours. */
  async function loadPoints(
    group: Group,
    length: number,
    read: (target: Uint8Array, offset: number) => Promise<void>,
    options: EngineOptions = {},
    /** which scalar each point's is, ascending; by default they are numbered alike */
    scalars?: readonly number[],
  ): Promise<Points> {
    const degree = degreeOf(group);
    const pointBytes = layout.pointBytes(degree);
    const region = arena.allocate(length * (pointBytes + PLACE_BYTES));
    const converting: Promise<void>[] = [];
    const places = new Uint32Array(length);
    let count = 0;
    try {
      // A piece at a time: all of a large key twice would not fit.
      for (const [from, many] of ranges(length)) {
        const source = arena.allocate(many * POINT_BYTES[group]);
        const bytes = arena.bytes(source).subarray(0, many * POINT_BYTES[group]);
        try {
          await read(bytes, from * POINT_BYTES[group]);
        } catch (error) {
          arena.release(source);
          throw error;
        }
        const to = region.at + count * pointBytes;
        const found = moveTogether(bytes, POINT_BYTES[group], (index) => {
          places[count++] = scalars ? scalars[from + index]! : from + index;
        });
        const done = run(() => [['convert', source.at, found * degree, to]], options);
        const converted = done.finally(() => arena.release(source, 'public'));
        // Awaited below, when the last piece has been read.
        converted.catch(() => undefined);
        converting.push(converted);
      }
      await all(converting);
      const sparse = count < length || scalars !== undefined;
      if (sparse) putPlaces(places.subarray(0, count), region, count * pointBytes);
      const bytes = count * (pointBytes + (sparse ? PLACE_BYTES : 0));
      return { region: arena.shrink(region, bytes), group, length, count, sparse };
    } catch (error) {
      await Promise.allSettled(converting);
      arena.release(region);
      throw error;
    }
  }

  const putPlaces = (places: Uint32Array, { at, bytes }: Region, offset: number) =>
    arena
      .bytes({ at: at + offset, bytes: bytes - offset })
      .set(new Uint8Array(places.buffer, 0, places.byteLength));

  const placesOf = ({ region, group, count, tables }: Points): number =>
    region.at + (tables?.levels ?? 1) * count * layout.pointBytes(degreeOf(group));
  /** How many points there are whose scalars come before that of this number. */
  function pointsBefore(points: Points, scalar: number): number {
    if (!points.sparse) return scalar;
    const data = view();
    let [low, high] = [0, points.count];
    while (low < high) {
      const middle = (low + high) >> 1;
      if (data.getUint32(placesOf(points) + middle * PLACE_BYTES, true) < scalar) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  /** The digits of 32-byte integers in memory; `bits` by default what their number asks for. */
  async function recode(
    at: number,
    count: number,
    options: EngineOptions = {},
    bits = windowBits(count),
  ): Promise<Digits> {
    const windows = windowCount(bits);
    const plane = Math.ceil((count * DIGIT_BYTES) / 64) * 64;
    let bias = 0n;
    for (let window = 0; window < windows - 1; window++) bias += 1n << BigInt(window * bits + bits - 1);
    const region = arena.allocate(windows * plane);
    try {
      await putting(elementBytes(bias), (pBias) =>
        all(
          [...ranges(count)].map(([from, length]) => {
            const [source, to] = [at + from * SCALAR_BYTES, region.at + from * DIGIT_BYTES];
            return run(() => [['recode', source, length, pBias.at, bits, windows, to, plane]], options);
          }),
        ),
      );
    } catch (error) {
      arena.release(region);
      throw error;
    }
    return { region, count, bits, windows, plane };
  }

  /** A region for each thread, all zero between programs. */
  interface Scratch {
    readonly region: Region;
    readonly each: number;
    /** Of the program that last used each thread's part. */
    readonly generations: number[];
    users: number;
  }
  let scratch: Scratch | undefined;
  /** For as long as `use` takes; `of` gives a thread's part, and the calls that have to come before its use. */
  async function withScratch<T>(
    size: number,
    use: (of: (thread: number, generation: number) => { at: number; first: Call[] }) => Promise<T>,
  ): Promise<T> {
    if (!scratch || scratch.each < size) {
      if (scratch?.users === 0) arena.release(scratch.region);
      const each = Math.ceil(size / 4096) * 4096;
      scratch = { region: arena.allocate(each * threads), each, generations: [], users: 0 };
    }
    const mine = scratch;
    mine.users++;
    try {
      return await use((thread, generation) => {
        const at = mine.region.at + thread * mine.each;
        const clean = mine.generations[thread] === generation;
        mine.generations[thread] = generation;
        return { at, first: clean ? [] : [['clear', at, mine.each]] };
      });
    } finally {
      mine.users--;
      if (mine.users === 0 && mine !== scratch) arena.release(mine.region);
    }
  }

  /**
   * The sum of points times digits: affine, in zkey form. All parts are of one group, and only a single one may have tables.
   * `share` of all work that is under way, for the cutting.
   */
  async function sum(
    digits: Digits,
    given: readonly Part[],
    options: EngineOptions = {},
    share = 1,
  ): Promise<Uint8Array<ArrayBuffer>> {
    const [{ points: first }] = given as [Part];
    const { bits, windows } = digits;
    const { levels, sets } = first.tables ?? { levels: 1, sets: windows };
    const degree = degreeOf(first.group);
    let count = 0;
    const runs = given.map(({ points, from, range }) => {
      const skipped = range ? pointsBefore(points, range.from) : 0;
      const many = (range ? pointsBefore(points, range.to) : points.count) - skipped;
      const before = count;
      count += many;
      return { points, from, skipped, before, many, places: placesOf(points) };
    });
    /** Points `begin` to `end` of all runs, with their digits of one window. */
    const accumulate = (level: number, window: number, begin: number, end: number, to: number): Call[] =>
      runs.flatMap(({ points, from, skipped, before, many, places }) => {
        const [low, high] = [Math.max(begin - before, 0), Math.min(end - before, many)];
        if (low >= high) return [];
        const base = points.region.at + (level * points.count + skipped + low) * layout.pointBytes(degree);
        const plane = digits.region.at + window * digits.plane + from * DIGIT_BYTES;
        return points.sparse
          ? [call('accumulate_at', base, plane, high - low, to, places + (skipped + low) * PLACE_BYTES)]
          : [call('accumulate', base, plane + (skipped + low) * DIGIT_BYTES, high - low, to)];
      });
    const call = (name: string, ...args: number[]): Call => [`g${degree}_${name}`, ...args];
    const slot = layout.slotBytes(degree);
    const buckets = 2 ** (bits - 1);
    // What one batch costs beyond its additions, once per running sum and once per segment, is least where these are even.
    const segments = 2 ** Math.min(bits - 1, Math.max(3, Math.round(Math.log2(buckets / 2) / 2)));
    const length = buckets / segments;
    const wanted = count < MIN_POINTS ? 1 : Math.max(1, Math.round(PIECES * threads * share));
    // Sets of buckets are shared out first; where there are too few, each has some of the points only.
    const groups = Math.min(sets, wanted);
    const parts = Math.max(
      1,
      Math.min(threads, Math.round(wanted / 2 / groups), Math.floor(count / MIN_POINTS)),
    );
    const widest = Math.ceil(sets / groups);
    const sumsAt = widest * buckets * slot;
    const scratchBytes = sumsAt + widest * segments * 2 * slot;
    const partBytes = sets * 3 * slot;

    return using(parts * (partBytes + 2 * slot) + slot, async (region) => {
      arena.bytes(region).fill(0);
      const weighted = (part: number) => region.at + part * partBytes;
      const plain = (part: number) => weighted(part) + sets * 2 * slot;
      const results = region.at + parts * partBytes;
      await withScratch(scratchBytes, (partOf) =>
        all(
          Array.from({ length: groups * parts }, (_, piece) => {
            const part = piece % parts;
            const [begin, end] = slice(count, part, parts);
            const [begins, ends] = slice(sets, Math.floor(piece / parts), groups);
            const many = ends - begins;
            return run((thread, generation) => {
              const own = partOf(thread, generation);
              const sums = own.at + sumsAt;
              const additions: Call[] = [];
              for (let set = begins; set < ends; set++) {
                const to = own.at + (set - begins) * buckets * slot;
                for (let level = 0; level < levels && level * sets + set < windows; level++)
                  additions.push(...accumulate(level, level * sets + set, begin, end, to));
              }
              return [
                ...own.first,
                call('reset'),
                ...additions,
                call('finish'),
                call('running_sums', own.at, slot, length, 0, sums, many * segments),
                // Bucket j of segment s counts s * length + j + 1 times.
                call('running_sums', sums, 2 * slot, segments, 1, weighted(part) + begins * 2 * slot, many),
                call('add_all', sums + slot, 2 * slot, segments, plain(part) + begins * slot, many),
                call('reset'),
                ['clear', own.at, scratchBytes],
              ];
            }, options);
          }),
        ),
      );
      const total = results + parts * 2 * slot;
      await run(
        () => [
          call('reset'),
          ...Array.from({ length: parts }, (_, part) =>
            call(
              'horner',
              weighted(part) + slot,
              plain(part),
              sets,
              bits,
              Math.log2(length),
              results + part * 2 * slot,
            ),
          ),
          ...(parts > 1 ? [call('add_all', results, 2 * slot, parts, total, 1)] : []),
          call('reset'),
        ],
        options,
      );
      return readPoint(degree, parts > 1 ? total : results);
    });
  }

  function readPoint(degree: Degree, at: number): Uint8Array<ArrayBuffer> {
    const point = new Uint8Array(64 * degree);
    const data = view();
    if (data.getUint32(at + layout.pointBytes(degree), true) === 0) return point;
    for (let i = 0; i < 2 * degree; i++) {
      const value = (field.read(data, at + i * 8 * field.limbs, 8) * fromRadix) % Q;
      writeElement(value < 0n ? value + Q : value, point, ELEMENT_BYTES * i);
    }
    return point;
  }
  /** From our radix to that of the files. */
  const fromRadix = (2n ** 256n * power(field.radix % Q, Q - 2n, Q)) % Q;

  /** The sum over scalars that are not in memory yet. */
  const sumOf = (points: Points, scalars: Uint8Array, options: EngineOptions, bits?: number) =>
    putting(scalars, async ({ at }) => {
      const digits = await recode(at, points.length, options, bits);
      try {
        return await sum(digits, [{ points, from: 0 }], options);
      } finally {
        arena.release(digits.region);
      }
    });

  /** The sum of scalars[i] * bases[i]. `bits` fixes the width of the windows, for tests. */
  async function msm(
    group: Group,
    bases: Uint8Array,
    scalars: Uint8Array,
    options: EngineOptions & { readonly bits?: number | undefined } = {},
  ): Promise<Uint8Array<ArrayBuffer>> {
    const read = async (target: Uint8Array, offset: number) =>
      target.set(bases.subarray(offset, offset + target.byteLength));
    const points = await loadPoints(group, scalars.byteLength / SCALAR_BYTES, read, options);
    try {
      return await sumOf(points, scalars, options, options.bits);
    } finally {
      arena.release(points.region, 'public');
    }
  }

  /** The same points with tables, made here or read from where they are kept. */
  async function tabulate(
    { region: plain, group, length, count, sparse }: Points,
    { tables, store, name, onProgress, ...options }: TabulateOptions,
  ): Promise<Points> {
    const degree = degreeOf(group);
    const levelBytes = count * layout.pointBytes(degree);
    const { levels, bits, sets } = tables;
    const placeBytes = sparse ? count * PLACE_BYTES : 0;
    const region = arena.allocate(levels * levelBytes + placeBytes);
    const bytes = arena.bytes(region);
    const made = bytes.subarray(levelBytes, levels * levelBytes);
    const file = `${name}-${kind}-${bits}-${sets}`;
    try {
      const from = arena.bytes(plain);
      bytes.set(from.subarray(0, levelBytes));
      bytes.set(from.subarray(levelBytes, levelBytes + placeBytes), levels * levelBytes);
      if (await store?.read(file, made)) onProgress?.(1);
      else {
        const pieces = [...ranges(count, TABULATED)];
        await all(
          pieces.map(async ([from, many]) => {
            const at = (level: number) => region.at + level * levelBytes + from * layout.pointBytes(degree);
            const levelsUp = Array.from(
              { length: levels - 1 },
              (_, level): Call => [`g${degree}_powers_of_two`, at(level), at(level + 1), many, bits * sets],
            );
            await run(() => [[`g${degree}_reset`], ...levelsUp], options);
            onProgress?.(1 / pieces.length);
          }),
        );
        await store?.write(file, made);
      }
      return { region, group, length, count, sparse, tables };
    } catch (error) {
      arena.release(region, 'public');
      throw error;
    }
  }

  return { loadPoints, recode, sum, sumOf, msm, tabulate };
}
