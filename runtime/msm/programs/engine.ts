/**
 * A prover's engine out of programs for threads that share one WebAssembly memory: keys made ready, and the order of a
 * proof's work. Points, rows and powers of a key stay while it is ready.
 */
import {
  type EngineOptions,
  type QuotientOptions,
  type ReadyKey,
  type ReadyOptions,
  SECTION_GROUP,
  SECTIONS,
  type Section,
  type Sums,
} from '../../../circuits/groth16/engine.ts';
import { ENTRY_BYTES } from '../../../circuits/groth16/field.ts';
import { G1, G2, knownG1, knownG2, POINT_BYTES, writeG1, writeG2 } from '../../../circuits/groth16/point.ts';
import { type ProvingKey, sectionCounts } from '../../../circuits/groth16/zkey.ts';
import { SCALAR_BYTES } from '../../../protocols/bn254.ts';
import { VouchError } from '../../../protocols/errors.ts';
import { DIGIT_BYTES } from '../wasm/digits.ts';
import type { SharedKernel } from '../wasm/instance.ts';
import { MAX_BYTES, type Region } from './arena.ts';
import { createHeldRuns } from './held-runs.ts';
import { createMsm, type Digits, type Points } from './msm.ts';
import { createMultiples } from './multiples.ts';
import { type Compress, createQuotient, type Matrices, MIN_DOMAIN_BITS } from './quotient.ts';
import { tablesOf, windowBits, windowCount } from './windows.ts';
import { createWorkshop, degreeOf, type Run } from './workshop.ts';

/** Sections in the order in which a proof adds them up: H waits for the quotient, B2 takes longest. */
const ORDER = ['B2', 'A', 'B1', 'C', 'H'] as const satisfies readonly Section[];
/** What part of the threads' time a section gets, about. */
const SHARE = { A: 0.25, B1: 0.25, B2: 0.5, C: 0.25, H: 0.5 } as const satisfies Record<Section, number>;

/** As many tables as there are windows of the widest kind. */
const MAX_LEVELS = 16;
/**
 * Points of a section that is not held, in memory at a time, and those that are read meanwhile: each such part costs its
 * own buckets, about a sixteenth of its additions.
 */
const STREAMED = 2 ** 20;
/** Beside what grows with a key: the threads' buckets, and pieces on their way. */
const WORKING_BYTES = 2 ** 28;

export function createWasmEngine(kernel: SharedKernel, threads: number, run: Run, compress: Compress) {
  const workshop = createWorkshop(kernel, threads, run);
  const { arena, layout, putting, scalar } = workshop;
  const msm = createMsm(workshop);
  const { loadPoints, recode, sum, sumOf } = msm;
  const { firstOffCurve, multiples } = createMultiples(workshop, msm);
  const { powersOf, loadMatrices, loadEntries, quotient, satisfied } = createQuotient(workshop, compress);

  /** Bytes of a key's points, and of all else that a proof with it takes at once, about. */
  function roomFor(key: ProvingKey): { held: number; others: number } {
    const counts = sectionCounts(key);
    const { domainSize: rows, variables } = key;
    const element = 8 * scalar.limbs;
    const bits = windowBits(variables);
    const others =
      // the quotient's three arrays, its result, the powers
      rows * (4 * element + SCALAR_BYTES) +
      // where rows begin, their terms, a coefficient for each row
      rows * (8 + element) +
      8 * Math.ceil(key.range('entries').length / ENTRY_BYTES) +
      variables * SCALAR_BYTES +
      windowCount(bits) * DIGIT_BYTES * (rows + variables) +
      WORKING_BYTES;
    return { held: SECTIONS.reduce((sum, section) => sum + counts[section] * bytesOf(section), 0), others };
  }
  const bytesOf = (section: Section) => layout.pointBytes(degreeOf(SECTION_GROUP[section]));
  /** Points that were made here: not checked again. */
  const total = (section: Section, sums: readonly Uint8Array[]): Uint8Array =>
    SECTION_GROUP[section] === 'G1'
      ? writeG1(sums.reduce((sum, point) => sum.add(knownG1(point, section)), G1.ZERO))
      : writeG2(sums.reduce((sum, point) => sum.add(knownG2(point, section)), G2.ZERO));

  /** A key whose points, rows and powers come into memory when they are first needed, and stay. */
  async function ready(
    key: ProvingKey,
    { points: wish = 'held', streamedPoints = STREAMED, ...options }: ReadyOptions = {},
  ): Promise<ReadyKey> {
    const counts = sectionCounts(key);
    const { held, others } = roomFor(key);
    const streamed = wish === 'streamed' || held + others > MAX_BYTES;
    const regions = new Set<Region>();
    const drop = (region: Region) => {
      if (regions.delete(region)) arena.release(region, 'public');
    };
    let released = false;
    /** Calls under way that read the key's memory. */
    let users = 0;
    let before: Promise<unknown> = Promise.resolve();
    /** Loads one after the other. What went wrong is told to whoever asks for the part. */
    function loading<T>(load: () => Promise<T>, regionsOf: (loaded: T) => readonly Region[]): Promise<T> {
      const loaded = before.then(load).then((part) => {
        for (const region of regionsOf(part)) regions.add(region);
        return part;
      });
      before = loaded.catch(() => undefined);
      return loaded;
    }
    /** `count` points of a section from `first` on. */
    const readSection = (
      section: Section,
      engineOptions: EngineOptions,
      first = 0,
      count = counts[section],
    ) => {
      const group = SECTION_GROUP[section];
      const read = (target: Uint8Array, offset: number) =>
        key.read(section, target, first * POINT_BYTES[group] + offset);
      return loadPoints(group, count, read, engineOptions);
    };
    const loadSection = (section: Section) =>
      loading(
        () => readSection(section, options),
        ({ region }) => [region],
      );
    let turn: Promise<unknown> = Promise.resolve();
    /** The sum over a section that is not held; one section at a time, the next points read while these are added. */
    const streamedSum = (section: Section, digits: Digits, from: number, engineOptions: EngineOptions) => {
      const streaming = async () => {
        const sums: Uint8Array[] = [];
        const partAt = (first: number) =>
          first < counts[section]
            ? readSection(section, engineOptions, first, Math.min(streamedPoints, counts[section] - first))
            : undefined;
        let next = partAt(0);
        try {
          for (let first = 0; first < counts[section]; first += streamedPoints) {
            const points = await next!;
            next = partAt(first + streamedPoints);
            next?.catch(() => undefined);
            try {
              sums.push(await sum(digits, [{ points, from: from + first }], engineOptions));
            } finally {
              arena.release(points.region, 'public');
            }
          }
          next = undefined;
        } finally {
          // What was read in vain.
          await next?.then(
            ({ region }) => arena.release(region, 'public'),
            () => undefined,
          );
        }
        return total(section, sums);
      };
      const mine = turn.then(streaming);
      turn = mine.catch(() => undefined);
      return mine;
    };
    let points: Partial<Record<Section, Promise<Points>>> = {};
    /** Tables of each section. */
    let levels = 1;
    const regionsOf = ({ starts, terms, table }: Matrices) => [starts, terms, table];
    let quotientParts: { readonly matrices: Promise<Matrices>; readonly powers: Promise<Region> } | undefined;
    const partsOfQuotient = () => {
      quotientParts ??= {
        matrices: loading(() => loadMatrices(key, options), regionsOf),
        powers: loading(
          () => powersOf(key.domainSize, options),
          (region) => [region],
        ),
      };
      return quotientParts;
    };
    let products: Promise<Matrices> | undefined;
    const free = async () => {
      await before;
      if (released && users === 0) for (const region of regions) drop(region);
    };

    /** Tables for a section's sums: those over the witness share its digits, so theirs are alike. */
    const tablesFor = (section: Section, wanted: number) =>
      tablesOf(section === 'H' ? key.domainSize : key.variables, wanted);
    interface Held {
      pointsOf(section: Section): Promise<Points>;
      readonly tabulated: boolean;
      /** Bits of a window of the section's scalars. */
      widthOf(section: Section): number;
    }
    /** Counts the caller in for as long as `use` takes, with the points as they are now. */
    async function entering<T>(use: (held: Held) => Promise<T>): Promise<T> {
      if (released) throw new VouchError('not-ready', 'the key was released');
      users++;
      const now = { points, levels };
      try {
        return await use({
          pointsOf(section) {
            now.points[section] ??= loadSection(section);
            return now.points[section];
          },
          tabulated: now.levels > 1,
          widthOf: (section) => tablesFor(section, now.levels).bits,
        });
      } finally {
        users--;
        void free();
      }
    }
    const demand = (scalars: Uint8Array, count: number) => {
      if (scalars.byteLength !== count * SCALAR_BYTES)
        throw new RangeError(`expected ${count} scalars, got ${scalars.byteLength} bytes`);
    };
    /** Rows of C, once for a key, and again where that failed. */
    const productsBy = (entries: () => Promise<Uint8Array<ArrayBuffer>>): Promise<Matrices> => {
      products ??= loading(async () => loadEntries(await entries(), key.domainSize, options), regionsOf);
      const loaded = products;
      loaded.catch(() => {
        if (products === loaded) products = undefined;
      });
      return loaded;
    };
    /** H's scalars; undefined where a row of A times B is not that of `products`. */
    const quotientOf = (witness: Uint8Array, given: QuotientOptions, ofC?: () => Promise<Matrices>) =>
      entering(async () => {
        demand(witness, key.variables);
        return putting(witness, async (source) => {
          const { matrices, powers } = partsOfQuotient();
          const demands = { ...given, products: await ofC?.() };
          const values = await quotient(await matrices, await powers, source, demands);
          if (!values) return undefined;
          try {
            return arena.bytes(values).slice(0, key.domainSize * SCALAR_BYTES);
          } finally {
            arena.release(values);
          }
        });
      });
    return {
      msm: (section, scalars, engineOptions = {}) =>
        entering(async ({ pointsOf, widthOf }) => {
          demand(scalars, counts[section]);
          if (!streamed) return sumOf(await pointsOf(section), scalars, engineOptions, widthOf(section));
          return putting(scalars, async ({ at }) => {
            const digits = await recode(at, counts[section], engineOptions);
            try {
              return await streamedSum(section, digits, 0, engineOptions);
            } finally {
              arena.release(digits.region);
            }
          });
        }),
      quotient: async (witness, engineOptions = {}) => (await quotientOf(witness, engineOptions))!,
      checkedQuotient: (witness, entriesOfProducts, engineOptions = {}) =>
        quotientOf(witness, engineOptions, () => productsBy(entriesOfProducts)),
      satisfied: (witness, entriesOfProducts, engineOptions = {}) =>
        entering(async () => {
          demand(witness, key.variables);
          const [ab, c] = await Promise.all([partsOfQuotient().matrices, productsBy(entriesOfProducts)]);
          return putting(witness, (source) => satisfied(ab, c, source, engineOptions));
        }),
      sums: (witness, { onPhase, ...engineOptions } = {}) =>
        entering(async ({ pointsOf, widthOf }) => {
          demand(witness, key.variables);
          onPhase?.('transforming');
          // Threads convert the first section's points, and add them up, while this one sorts the rows.
          if (!streamed) void pointsOf(ORDER[0]);
          const { matrices, powers } = partsOfQuotient();
          return putting(witness, async (source) => {
            // A, B1, B2 and C have the same digits.
            const ofWitness = recode(source.at, key.variables, engineOptions, widthOf('A'));
            const ofQuotient = (async () => {
              const values = (await quotient(await matrices, await powers, source, engineOptions))!;
              onPhase?.('dispatching');
              try {
                return await recode(values.at, key.domainSize, engineOptions, widthOf('H'));
              } finally {
                arena.release(values);
              }
            })();
            const sums = ORDER.map(async (section) => {
              const digits = await (section === 'H' ? ofQuotient : ofWitness);
              const from = section === 'C' ? key.publics + 1 : 0;
              if (streamed)
                return [section, await streamedSum(section, digits, from, engineOptions)] as const;
              const of = await pointsOf(section);
              return [
                section,
                await sum(digits, [{ points: of, from }], engineOptions, SHARE[section]),
              ] as const;
            });
            // Nothing is released before all that uses it has ended.
            const settled = await Promise.allSettled(sums);
            for (const digits of await Promise.allSettled([ofWitness, ofQuotient]))
              if (digits.status === 'fulfilled') arena.release(digits.value.region);
            return Object.fromEntries(
              settled.map((result) => {
                if (result.status === 'rejected') throw result.reason;
                return result.value;
              }),
            ) as Sums;
          });
        }),
      rangeSums: (ranges, scalars, engineOptions = {}) =>
        entering(async ({ pointsOf, tabulated, widthOf }) => {
          const length = scalars.byteLength / SCALAR_BYTES;
          for (const { section, from, count } of ranges)
            if (!(from >= 0 && count > 0 && from + count <= counts[section] && count <= length))
              throw new RangeError(`${section}: expected a range of its ${counts[section]} points`);
          return putting(scalars, async ({ at }) => {
            // Windows as the tables have them, which is the same for all sections of one vector.
            const bits = tabulated && ranges[0] ? widthOf(ranges[0].section) : windowBits(length);
            const digits = await recode(at, length, engineOptions, bits);
            const sums = ranges.map(async ({ section, from, count }) => {
              const last = length - count;
              const share = SHARE[section];
              if (!streamed) {
                const part = {
                  points: await pointsOf(section),
                  from: last - from,
                  range: { from, to: from + count },
                };
                return sum(digits, [part], engineOptions, share);
              }
              const points = await readSection(section, engineOptions, from, count);
              try {
                return await sum(digits, [{ points, from: last }], engineOptions, share);
              } finally {
                arena.release(points.region, 'public');
              }
            });
            const settled = await Promise.allSettled(sums);
            arena.release(digits.region);
            return settled.map((result) => {
              if (result.status === 'rejected') throw result.reason;
              return result.value;
            });
          });
        }),
      tabulate: ({ bytes, kept, onProgress, signal }) =>
        entering(async ({ pointsOf }) => {
          const weights = SECTIONS.map((section) => counts[section] * bytesOf(section));
          const total = (of: (section: Section) => number) =>
            SECTIONS.reduce((sum, section, index) => sum + of(section) * weights[index]!, 0);
          const bytesFor = (wanted: number) => total((section) => tablesFor(section, wanted).levels);
          let wanted = streamed ? 1 : MAX_LEVELS;
          while (wanted > 1 && bytesFor(wanted) > bytes) wanted--;
          const result = { levels: tablesFor('A', wanted).levels, bytes: bytesFor(wanted) };
          if (wanted === 1) return result;
          const made: Partial<Record<Section, Points>> = {};
          let done = 0;
          try {
            for (const [index, section] of SECTIONS.entries()) {
              made[section] = await msm.tabulate(await pointsOf(section), {
                tables: tablesFor(section, wanted),
                store: kept?.store,
                name: `${kept?.digest}-${section}`,
                signal,
                onProgress(share) {
                  done += (share * weights[index]!) / total(() => 1);
                  onProgress?.(Math.min(done, 1));
                },
              });
            }
          } catch (error) {
            for (const { region } of Object.values(made)) arena.release(region, 'public');
            throw error;
          }
          const before = await Promise.all(SECTIONS.map(pointsOf));
          points = Object.fromEntries(SECTIONS.map((section) => [section, Promise.resolve(made[section]!)]));
          levels = wanted;
          for (const { region } of Object.values(made)) regions.add(region);
          // Others may still read the points as they were; then these stay as long as the key.
          if (users === 1) for (const { region } of before) drop(region);
          return result;
        }),
      fetch: () =>
        entering(async ({ pointsOf }) => {
          const { matrices, powers } = partsOfQuotient();
          await Promise.all([...(streamed ? [] : SECTIONS.map(pointsOf)), matrices, powers]);
        }),
      demandRoom() {
        if (others <= MAX_BYTES) return;
        const gib = (others / 2 ** 30).toFixed(1);
        throw new VouchError(
          'too-large',
          `proving key: a proof of 2^${Math.log2(key.domainSize)} rows takes ${gib} GiB of memory that threads share, and there are 4; use snarkjs, or split the circuit`,
        );
      },
      release() {
        released = true;
        void free();
      },
    };
  }

  return {
    msm: msm.msm,
    hold: createHeldRuns(workshop, msm),
    multiples,
    firstOffCurve,
    ready,
    minDomain: 2 ** MIN_DOMAIN_BITS,
    kind: kernel.kind,
  };
}
