/**
 * The prover beside snarkjs and its engine ffjavascript: sums alone, the stages before them, and whole proofs from
 * file to proof, each on the same number of threads. No tables: every sum starts from the key's own points.
 *
 * The stages of snarkjs are told apart by what it logs.
 */
import { readFile } from 'node:fs/promises';
import os from 'node:os';
import { R, randomScalar, rootOfUnity, writeElement } from '../../circuits/groth16/field.ts';
import { type Group, POINT_BYTES } from '../../circuits/groth16/point.ts';
import { prove } from '../../circuits/groth16/prove.ts';
import { readWitness } from '../../circuits/groth16/witness.ts';
import { readZkey } from '../../circuits/groth16/zkey.ts';
import { equal } from '../../protocols/encoding.ts';
import { createPool, type Pool } from '../../runtime/msm/pool.ts';
import { hasProverData, openOracle, PROVER_DATA } from '../circuits/groth16-oracle.ts';
import { type BenchContext, type Row, RUNS, row } from './result.ts';
import { median, timed } from './statistics.ts';

const SUMS = [
  { group: 'G1', bits: 14, must: 4, aim: 6 },
  { group: 'G1', bits: 16, must: 4, aim: 6 },
  { group: 'G1', bits: 18, must: 4, aim: 6 },
  { group: 'G2', bits: 14, must: 4.5, aim: 7 },
  { group: 'G2', bits: 16, must: 4.5, aim: 7 },
] as const;
const THREADS = [1, 2] as const;
const PROOFS = [
  { name: 'pos', must: 4.2, aim: 6 },
  { name: 'sha', must: 4, aim: 6 },
] as const;
/** Points that are made; longer bases repeat them. */
const DISTINCT = 1 << 14;

interface Curve {
  G1: PeerGroup;
  G2: PeerGroup;
  terminate(): Promise<void>;
}
interface PeerGroup {
  multiExpAffine(bases: Uint8Array, scalars: Uint8Array): Promise<Uint8Array>;
  toAffine(point: Uint8Array): Uint8Array;
}

export async function benchmarkProver(context: BenchContext): Promise<Row[]> {
  const rows: Row[] = [];
  for (const threads of THREADS) rows.push(...(await benchmarkSums(threads, context)));
  if (hasProverData) {
    for (const proof of PROOFS) rows.push(...(await benchmarkProof(proof, context)));
  } else context.say('no ../shared/prover here: no whole proofs');
  return rows;
}

async function benchmarkSums(threads: number, context: BenchContext): Promise<Row[]> {
  await using pool = await createPool({ threads });
  const peer = await withCores(threads, () => buildCurve(threads === 1));
  const rows: Row[] = [];
  try {
    for (const group of ['G1', 'G2'] as const) {
      const points = await distinctPoints(pool, group);
      for (const { bits, must, aim } of SUMS.filter((sum) => sum.group === group)) {
        const bases = repeated(points, 2 ** bits * POINT_BYTES[group]);
        const scalars = randomScalars(2 ** bits);
        const name = `${group} sum of 2^${bits}, ${threads} ${threads === 1 ? 'thread' : 'threads'}, no tables`;
        const { ours, theirs } = await alternate(
          name,
          () => pool.msm(group, bases, scalars),
          () => peer[group].multiExpAffine(bases, scalars),
          (mine, its) => equal(mine, peer[group].toAffine(its)),
          context,
        );
        rows.push(row({ name, unit: 'ms', ours, peer: { name: 'ffjavascript', value: theirs }, must, aim }));
      }
    }
  } finally {
    await peer.terminate();
  }
  return rows;
}

async function benchmarkProof(
  { name, must, aim }: (typeof PROOFS)[number],
  context: BenchContext,
): Promise<Row[]> {
  const threads = 2;
  const [zkeyFile, wtnsFile] = [`${PROVER_DATA}${name}.zkey`, `${PROVER_DATA}${name}.wtns`];
  await using pool = await createPool({ threads });
  const oracle = await withCores(threads, openOracle);
  try {
    const { groth16 } = oracle.snarkjs as unknown as {
      groth16: {
        prove(
          zkey: string,
          wtns: string,
          logger: Logger,
        ): ReturnType<(typeof oracle)['snarkjs']['groth16']['prove']>;
      };
    };
    const key = JSON.parse(await readFile(`${PROVER_DATA}${name}_vk.json`, 'utf8'));
    const zkey = readZkey(await readFile(zkeyFile));
    const witness = readWitness(await readFile(wtnsFile));
    const size = `2^${Math.log2(zkey.domainSize)}`;
    const stages = { rows: [] as number[], transforms: [] as number[] };
    const { ours, theirs } = await alternate(
      `proof ${name}`,
      async () => {
        const file = readZkey(await readFile(zkeyFile));
        const values = readWitness(await readFile(wtnsFile));
        return prove(file, values, pool, { signal: context.signal });
      },
      async () => {
        const times = new Map<string, number>();
        const logger = createLogger(times);
        const made = await groth16.prove(zkeyFile, wtnsFile, logger);
        stages.rows.push(times.get('transforms')! - times.get('rows')!);
        stages.transforms.push(times.get('join')! - times.get('transforms')!);
        return made;
      },
      async (mine, its) =>
        (await oracle.snarkjs.groth16.verify(key, mine.publicSignals, mine.proof)) &&
        (await oracle.snarkjs.groth16.verify(key, its.publicSignals, its.proof)),
      context,
    );
    const sparse = await repeat(context, async () => {
      const [a, b] = await pool.sparseProduct(zkey.entries, witness, zkey.domainSize);
      return [a, b, await pool.multiply(a, b)] as const;
    });
    const transforms = await repeat(context, () =>
      Promise.all(sparse.value.map((values) => odd(pool, values))),
    );
    const peer = (value: number) => ({ name: 'snarkjs', value });
    return [
      row({
        name: `${name}: A/B/C rows, ${threads} threads`,
        unit: 'ms',
        ours: sparse.ms,
        peer: peer(median(stages.rows)),
        must: 10,
        aim: 20,
      }),
      row({
        name: `${name}: transforms of ${size}, ${threads} threads`,
        unit: 'ms',
        ours: transforms.ms,
        peer: peer(median(stages.transforms)),
        must: 3,
        aim: 6,
      }),
      row({
        name: `${name}: file to verified proof of ${size}, ${threads} threads, no tables`,
        unit: 'ms',
        ours,
        peer: peer(theirs),
        must,
        aim,
      }),
    ];
  } finally {
    await oracle.close();
  }
}

/** What happens to each of A, B and C: coefficients, shifted by the root that is between the domain's, values. */
async function odd(pool: Pool, values: Uint8Array): Promise<Uint8Array> {
  const one = new Uint8Array(32);
  writeElement(2n ** 256n % R, one);
  const step = new Uint8Array(32);
  writeElement((rootOfUnity(Math.log2(values.byteLength / 32) + 1) * 2n ** 256n) % R, step);
  return pool.ntt(await pool.scale(await pool.ntt(values, true), one, step), false);
}

type Logger = Record<'debug' | 'info' | 'warn' | 'error', (line: string) => void>;
/** When snarkjs's stages began. */
function createLogger(times: Map<string, number>): Logger {
  const first: Record<string, RegExp> = { rows: /^Building ABC/, transforms: /^IFFT_A/, join: /^Join ABC/ };
  const debug = (line: string) => {
    for (const [stage, pattern] of Object.entries(first)) {
      if (pattern.test(line) && !times.has(stage)) times.set(stage, performance.now());
    }
  };
  return { debug, info: debug, warn: debug, error: debug };
}

/** Medians of `RUNS` runs of each in turns, after one of each that does not count; each pair's results are checked. */
async function alternate<A, B>(
  name: string,
  ours: () => Promise<A>,
  theirs: () => Promise<B>,
  check: (ours: A, theirs: B) => boolean | Promise<boolean>,
  { say, signal }: BenchContext,
): Promise<{ ours: number; theirs: number }> {
  const samples = { ours: [] as number[], theirs: [] as number[] };
  for (let run = 0; run <= RUNS; run++) {
    signal.throwIfAborted();
    const mine = await timed(ours);
    const its = await timed(theirs);
    if (!(await check(mine.value, its.value))) throw new Error(`${name}: the result is wrong`);
    if (run === 0) continue;
    samples.ours.push(mine.ms);
    samples.theirs.push(its.ms);
  }
  const result = { ours: median(samples.ours), theirs: median(samples.theirs) };
  say(`${name}: ${result.ours.toFixed(0)} ms, ${result.theirs.toFixed(0)} ms`);
  return result;
}

async function repeat<T>(
  { signal }: BenchContext,
  work: () => Promise<T>,
): Promise<{ value: T; ms: number }> {
  // Its result is checked where the proof is.
  const { value } = await timed(work);
  const samples: number[] = [];
  for (let run = 0; run < RUNS; run++) {
    signal.throwIfAborted();
    samples.push((await timed(work)).ms);
  }
  return { value, ms: median(samples) };
}

/** ffjavascript takes as many threads as there are cores. */
async function withCores<T>(count: number, work: () => Promise<T>): Promise<T> {
  const { cpus } = os;
  const all = cpus();
  os.cpus = () => Array.from({ length: count }, (_, index) => all[index % all.length]!);
  try {
    return await work();
  } finally {
    os.cpus = cpus;
  }
}

async function buildCurve(singleThread: boolean): Promise<Curve> {
  // The package has no types; a computed name keeps the compiler from asking for them.
  const name = 'ffjavascript';
  const ffjavascript = (await import(name)) as { buildBn128(singleThread: boolean): Promise<Curve> };
  return ffjavascript.buildBn128(singleThread);
}

function distinctPoints(pool: Pool, group: Group): Promise<Uint8Array> {
  return pool.multiples(group, randomScalars(DISTINCT));
}
function repeated(bytes: Uint8Array, length: number): Uint8Array {
  const all = new Uint8Array(length);
  for (let at = 0; at < length; at += bytes.byteLength) all.set(bytes.subarray(0, length - at), at);
  return all;
}
function randomScalars(count: number): Uint8Array {
  const bytes = new Uint8Array(count * 32);
  for (let index = 0; index < count; index++) writeElement(randomScalar(), bytes, index * 32);
  return bytes;
}
