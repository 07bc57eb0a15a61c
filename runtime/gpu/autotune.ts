/**
 * What a device is good at, found out when it is started: which variant of the field's multiplication computes right and
 * fastest there, how many threads keep it busy, and how many points it multiplies in a second.
 *
 * Every variant that is used is checked at every start, with both primes, against BigInt. Times are taken once per adapter,
 * driver and version of the kernels, and remembered in the store that the caller gives: a file, a browser's localStorage.
 */
import { z } from 'zod';
import {
  ELEMENT_BYTES,
  power,
  R,
  randomScalar,
  readElement,
  writeElement,
} from '../../circuits/groth16/field.ts';
import { G1, G2, type Group, POINT_BYTES, writeG1, writeG2 } from '../../circuits/groth16/point.ts';
import { bytesSource } from '../../circuits/groth16/source.ts';
import type { Capability } from '../../protocols/device.ts';
import { concat, equal } from '../../protocols/encoding.ts';
import { VouchError } from '../../protocols/errors.ts';
import { FIELD_VARIANTS, FIELDS, type FieldVariant } from '../msm/webgpu/field.ts';
import { WORKGROUP } from '../msm/webgpu/interface.ts';
import { createGpuMsm } from '../msm/webgpu/msm.ts';
import type { Queue } from '../msm/webgpu/queue.ts';
import { emitTrial } from '../msm/webgpu/trial.ts';

/** Another number when kernels change so that old times say nothing. */
const VERSION = 2;

export const Tuning = z.object({
  variant: z.enum(FIELD_VARIANTS),
  /** what keeps the device busy */
  threads: z.int().min(WORKGROUP),
  /** field multiplications per second, by variant; those that compute wrongly are absent */
  multiplications: z.partialRecord(z.enum(FIELD_VARIANTS), z.number().positive()),
  /** points per second of one sum with uniform scalars, points on the device */
  G1: z.number().positive(),
  G2: z.number().positive(),
});
export type Tuning = z.infer<typeof Tuning>;

/** Where tunings are kept from start to start. What cannot be read is measured again. */
export interface TuningStore {
  read(key: string): Promise<string | undefined> | string | null | undefined;
  write(key: string, text: string): Promise<void> | void;
}

export interface TuneOptions {
  readonly capability: Pick<Capability, 'adapter' | 'driver'>;
  readonly store?: TuningStore | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** Throws `device-lost` when no variant computes right, or sums of points are wrong. */
export async function tune(queue: Queue, { capability, store, signal }: TuneOptions): Promise<Tuning> {
  const key = tuningKey(capability);
  const known = remembered(await store?.read(key));
  if (known && (await isRight(queue, known.variant, signal))) return known;
  const rates: Partial<Record<FieldVariant, number>> = {};
  let best: { variant: FieldVariant; rate: number; threads: number } | undefined;
  for (const variant of FIELD_VARIANTS) {
    if (!(await isRight(queue, variant, signal))) continue;
    const { rate, threads } = await timed(queue, variant, signal);
    rates[variant] = Math.round(rate);
    if (!best || rate > best.rate) best = { variant, rate, threads };
  }
  if (!best) throw new VouchError('device-lost', 'the GPU computes wrongly: no variant of the field passed');
  const { variant, threads } = best;
  const points = { G1: 0, G2: 0 };
  for (const group of ['G1', 'G2'] as const) {
    points[group] = Math.round(await pointsPerSecond(queue, { group, variant, threads, signal }));
  }
  const tuning = Tuning.parse({ variant, threads, multiplications: rates, ...points });
  await store?.write(key, JSON.stringify(tuning));
  return tuning;
}

/** What a tuning is remembered under. */
export const tuningKey = ({ adapter, driver }: TuneOptions['capability']): string =>
  `vouch gpu tuning ${VERSION}: ${adapter}, ${driver}`;

function remembered(text: string | null | undefined): Tuning | undefined {
  if (!text) return undefined;
  try {
    return Tuning.safeParse(JSON.parse(text)).data;
  } catch {
    return undefined;
  }
}

/** More than 256: a bad last subtraction shows in one of some dozens only. */
const PAIRS = 1024;

/** Does a variant multiply right, modulo both primes, edge values among the factors? */
async function isRight(queue: Queue, variant: FieldVariant, signal?: AbortSignal): Promise<boolean> {
  for (const modulus of Object.values(FIELDS)) {
    const radix = 2n ** 256n % modulus;
    const inverse = power(radix, modulus - 2n, modulus);
    const edges = [0n, 1n, 2n, modulus - 1n, modulus - 2n, modulus >> 1n, radix, (radix * radix) % modulus];
    edges.push(2n ** 253n - 1n, 2n ** 252n, 2n ** 224n - 1n, 2n ** 32n - 1n, 2n ** 208n, 2n ** 13n - 1n);
    const pairs = edges.flatMap((left) => edges.map((right) => [left % modulus, right % modulus] as const));
    while (pairs.length < PAIRS) pairs.push([randomScalar() % modulus, randomScalar() % modulus]);
    let trial: Awaited<ReturnType<typeof openTrial>>;
    try {
      trial = await openTrial(queue, variant, modulus, pairs);
    } catch (error) {
      // What does not compile here is no variant. Everything else is a failure of the device.
      if (error instanceof VouchError) throw error;
      return false;
    }
    try {
      const products = await trial.run(PAIRS, 1, signal);
      const right = pairs.every(
        ([a, b], i) => readElement(products, ELEMENT_BYTES * i) === (((a * b) % modulus) * inverse) % modulus,
      );
      if (!right) return false;
    } finally {
      trial.close();
    }
  }
  return true;
}

async function openTrial(
  queue: Queue,
  variant: FieldVariant,
  modulus: bigint,
  pairs: readonly (readonly [bigint, bigint])[],
  threads = PAIRS,
) {
  const code = emitTrial({ variant, modulus });
  const pipeline = await queue.pipeline(`trial of ${variant}`, code);
  const buffers = [
    await queue.buffer('left', ELEMENT_BYTES * pairs.length),
    await queue.buffer('right', ELEMENT_BYTES * pairs.length),
    await queue.buffer('results', ELEMENT_BYTES * threads),
  ];
  for (const side of [0, 1] as const) {
    const bytes = new Uint8Array(ELEMENT_BYTES * pairs.length);
    pairs.forEach((pair, i) => {
      writeElement(pair[side], bytes, ELEMENT_BYTES * i);
    });
    await queue.write(buffers[side]!, 0, bytes);
  }
  const chains = (active: number, links: number, signal?: AbortSignal) =>
    queue.run(
      [
        {
          stage: 'trial',
          pipeline,
          buffers,
          params: [active, pairs.length, links],
          workgroups: Math.ceil(active / WORKGROUP),
          work: WORKGROUP * links,
        },
      ],
      { signal },
    );
  return {
    async run(active: number, links: number, signal?: AbortSignal): Promise<Uint8Array> {
      await chains(active, links, signal);
      return queue.read(buffers[2]!, ELEMENT_BYTES * active);
    },
    /** Of the fastest of some runs: the device may have had other work, or been clocked down. */
    milliseconds: (active: number, links: number, signal?: AbortSignal) =>
      fastestOf(TIMED_RUNS, () => chains(active, links, signal)),
    close(): void {
      for (const buffer of buffers) buffer.destroy();
    },
  };
}

const TIMED_RUNS = 3;

async function fastestOf(runs: number, work: () => Promise<unknown>): Promise<number> {
  let best = Number.POSITIVE_INFINITY;
  for (let run = 0; run < runs; run++) {
    const began = performance.now();
    await work();
    best = Math.min(best, performance.now() - began);
  }
  return best;
}

/** Long enough for a clock and a submit to be small beside it. */
const ENOUGH_MS = 10;
const FIRST_THREADS = 256;
const MAX_THREADS = 2 ** 18;
const MAX_LINKS = 2 ** 14;

/** Multiplications per second with as many threads as help, and how many these are. */
async function timed(queue: Queue, variant: FieldVariant, signal?: AbortSignal) {
  const pairs = Array.from({ length: WORKGROUP }, () => [randomScalar(), randomScalar()] as const);
  const trial = await openTrial(queue, variant, FIELDS.Fq, pairs, MAX_THREADS);
  try {
    // The first dispatch may compile.
    await trial.milliseconds(WORKGROUP, 1, signal);
    let links = 16;
    while (links < MAX_LINKS && (await trial.milliseconds(FIRST_THREADS, links, signal)) < ENOUGH_MS)
      links *= 2;
    let best = { rate: 0, threads: FIRST_THREADS };
    // Twice in vain, because one time may be a bad one.
    for (let threads = FIRST_THREADS, misses = 0; threads <= MAX_THREADS && misses < 2; threads *= 2) {
      const rate = (1000 * threads * links) / (await trial.milliseconds(threads, links, signal));
      if (rate > 1.1 * best.rate) {
        best = { rate, threads };
        misses = 0;
      } else misses++;
    }
    return best;
  } finally {
    trial.close();
  }
}

const DISTINCT_POINTS = 64;
const FIRST_POINTS = 2 ** 10;
const MAX_POINTS = 2 ** 20;
const CALIBRATION_MS = 100;

/** The rate of sums that take a while. The points repeat, so that the sum is known. */
async function pointsPerSecond(
  queue: Queue,
  {
    group,
    signal,
    ...options
  }: { group: Group; variant: FieldVariant; threads: number; signal?: AbortSignal | undefined },
): Promise<number> {
  const msm = createGpuMsm(queue, options);
  const write = (log: bigint) =>
    group === 'G1' ? writeG1(G1.BASE.multiply(log)) : writeG2(G2.BASE.multiply(log));
  const some = concat(...Array.from({ length: DISTINCT_POINTS }, (_, i) => write(BigInt(i + 1))));
  try {
    for (let count = FIRST_POINTS; ; count *= 4) {
      const bases = new Uint8Array(count * POINT_BYTES[group]);
      for (let at = 0; at < bases.byteLength; at += some.byteLength) bases.set(some, at);
      const scalars = uniformScalars(count);
      const held = await msm.hold([{ group, points: bytesSource(bases) }], { signal });
      const buffer = await queue.buffer('scalars', scalars.byteLength);
      try {
        await queue.write(buffer, 0, scalars, { signal });
        const [sum] = await held.sums(buffer, { signal });
        if (!equal(sum!, write(logarithm(scalars)))) {
          throw new VouchError('device-lost', `the GPU computes wrongly: a sum of ${count} ${group} points`);
        }
        // Compiled, and its memory taken.
        const milliseconds = await fastestOf(TIMED_RUNS, () => held.sums(buffer, { signal }));
        if (milliseconds >= CALIBRATION_MS || count >= MAX_POINTS) return (1000 * count) / milliseconds;
      } finally {
        held.release();
        buffer.destroy();
      }
    }
  } finally {
    msm.close();
  }
}

/** Uniform below 2^253, so below r: for measuring, not for secrets. */
export function uniformScalars(count: number): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(ELEMENT_BYTES * count);
  // What getRandomValues gives at a time.
  for (let at = 0; at < bytes.byteLength; at += 65_536)
    crypto.getRandomValues(bytes.subarray(at, at + 65_536));
  for (let at = ELEMENT_BYTES - 1; at < bytes.byteLength; at += ELEMENT_BYTES) bytes[at]! &= 0x1f;
  return bytes;
}

/** Of the sum of scalars[i] * (i mod DISTINCT_POINTS + 1) G. */
function logarithm(scalars: Uint8Array): bigint {
  const sums = new Array<bigint>(DISTINCT_POINTS).fill(0n);
  for (let at = 0; at < scalars.byteLength; at += ELEMENT_BYTES)
    sums[(at / ELEMENT_BYTES) % DISTINCT_POINTS]! += readElement(scalars, at);
  return sums.reduce((sum, factor, i) => (sum + factor * BigInt(i + 1)) % R, 0n);
}
