/**
 * The prover beside snarkjs and its engine ffjavascript: sums alone, the stages before them, and whole proofs from
 * file to proof, each on the same number of threads; without tables of points unless the row says so.
 *
 * The stages of snarkjs are told apart by what it logs. Our transforms include the join, which their last pass does.
 */
import { execFile } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import os from 'node:os';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { checkKey } from '../../circuits/groth16/check-key.ts';
import { randomScalar, writeElement } from '../../circuits/groth16/field.ts';
import { type Group, POINT_BYTES } from '../../circuits/groth16/point.ts';
import { prove, proveReady } from '../../circuits/groth16/prove.ts';
import { openPowers } from '../../circuits/groth16/ptau.ts';
import { readR1cs } from '../../circuits/groth16/r1cs.ts';
import { type SetupProgress, setup } from '../../circuits/groth16/setup.ts';
import { bytesSource } from '../../circuits/groth16/source.ts';
import { readWitness, writeWitness } from '../../circuits/groth16/witness.ts';
import { openZkey, readZkey } from '../../circuits/groth16/zkey.ts';

import { equal } from '../../protocols/encoding.ts';
import { openFile } from '../../runtime/home/file-source.ts';
import { writeWhole } from '../../runtime/home/files.ts';
import { folder } from '../../runtime/home/home.ts';
import { createPool, type Pool } from '../../runtime/msm/threads/pool.ts';
import { fuseVectors, rehearseFusedVectors } from '../../runtime/prove/fused-vectors.ts';
import { hasProverData, openOracle, PROVER_DATA } from '../circuits/groth16-oracle.ts';
import { circuitOf } from './circuit.ts';
import { benchmarkCold } from './cold.ts';
import { repeated } from './inputs.ts';
import type { LargeProof } from './large-proof.ts';
import { type BenchContext, type Row, RUNS, row } from './result.ts';
import { median, timed } from './statistics.ts';
import { alternate } from './turns.ts';
import { benchmarkWitness } from './witness.ts';

/** `demanded`: of two threads. */
interface SumRow {
  readonly group: Group;
  readonly bits: number;
  readonly threads: readonly number[];
  readonly demanded: { readonly must: number; readonly aim: number };
}
const SUMS: readonly SumRow[] = [
  { group: 'G1', bits: 14, threads: [1, 2], demanded: { must: 7.5, aim: 9 } },
  { group: 'G1', bits: 16, threads: [1, 2], demanded: { must: 7.5, aim: 9 } },
  { group: 'G1', bits: 18, threads: [1, 2], demanded: { must: 11, aim: 13 } },
  { group: 'G1', bits: 20, threads: [2], demanded: { must: 11, aim: 13 } },
  { group: 'G2', bits: 14, threads: [1, 2], demanded: { must: 10, aim: 12 } },
  { group: 'G2', bits: 16, threads: [1, 2], demanded: { must: 10, aim: 12 } },
];
const THREADS = [1, 2] as const;
const PROOFS = [
  { name: 'pos', must: 4.2, aim: 6, ready: { must: 9, aim: 12 } },
  { name: 'sha', must: 4, aim: 6, ready: { must: 11, aim: 15 } },
] as const;
const PROOF_THREADS = 2;
const SETUPS = [
  { bits: 16, must: 15, aim: 8 },
  { bits: 18, must: 60, aim: 30 },
] as const;
const CHECKS = [
  { bits: 16, must: 6, aim: 3 },
  { bits: 18, must: 25, aim: 12 },
] as const;
const LARGE_BITS = 20;
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
  // As the command line does.
  const fused = !context.plain && (await rehearseFusedVectors(context.say)) === 'right' && fuseVectors();
  context.say(`vectors of V8: ${fused ? 'fused' : 'plain'}`);
  for (const threads of THREADS) {
    if (SUMS.some((sum) => context.wants(sumName(sum, threads)))) {
      rows.push(...(await benchmarkSums(threads, context)));
    }
  }
  for (const proof of PROOFS) {
    if (!Object.values(proofNames(proof.name, PROOF_THREADS)).some(context.wants)) continue;
    if (hasProverData) rows.push(...(await benchmarkProof(proof, context)));
    else context.say(`no ../shared/prover here: no proof of ${proof.name}`);
  }
  rows.push(...(await benchmarkWitness(context)));
  rows.push(...(await benchmarkCold(context)));
  for (const setupRow of SETUPS) {
    if (context.wants(setupName(setupRow.bits))) rows.push(await benchmarkSetup(setupRow, context));
  }
  for (const check of CHECKS) {
    if (context.wants(checkName(check.bits))) rows.push(await benchmarkCheck(check, context));
  }
  if (Object.values(LARGE_NAMES).some(context.wants)) rows.push(...(await benchmarkLarge(context)));
  return rows;
}

const setupName = (bits: number) => `local setup, domain 2^${bits}, ${PROOF_THREADS} threads`;
const checkName = (bits: number) => `whole key check, domain 2^${bits}, ${PROOF_THREADS} threads`;
const LARGE_NAMES = {
  peak: `peak memory of a proof of 2^${LARGE_BITS}, ${PROOF_THREADS} threads`,
  time: `file to verified proof of 2^${LARGE_BITS}, ${PROOF_THREADS} threads`,
};

/** Each key has to prove before its time counts. */
async function benchmarkSetup(
  { bits, must, aim }: (typeof SETUPS)[number],
  { say, signal }: BenchContext,
): Promise<Row> {
  const { r1cs, witness } = circuitOf(bits);
  await using pool = await createPool({ threads: PROOF_THREADS });
  const engines = { field: pool, points: pool, hash: () => createHash('blake2b512') };
  const samples: number[] = [];
  for (let run = 0; run < RUNS; run++) {
    const { value, ms } = await timed(() => setup(r1cs, engines, { signal }));
    await prove(readZkey(value.zkey), witness, pool, { signal });
    samples.push(ms / 1000);
    say(`${setupName(bits)}: ${samples.at(-1)!.toFixed(1)} s`);
  }
  return row({ name: setupName(bits), unit: 's', ours: median(samples), must, aim });
}

/** From files in memory to the verdict. A key with two points of C exchanged has to be refused before any time counts. */
async function benchmarkCheck(
  { bits, must, aim }: (typeof CHECKS)[number],
  { say, signal }: BenchContext,
): Promise<Row> {
  const { r1cs } = circuitOf(bits);
  await using pool = await createPool({ threads: PROOF_THREADS });
  const made = await setup(r1cs, { field: pool, points: pool }, { signal });
  const check = async (bytes: Uint8Array) => {
    const zkey = readZkey(bytes);
    const key = await pool.ready(zkey, { signal });
    const powers = await openPowers(bytesSource(made.powers));
    await checkKey(zkey, readR1cs(r1cs), powers, { key, curve: pool, field: pool }, { signal });
    key.release();
  };
  const { offset } = readZkey(made.zkey).range('C');
  const damaged = made.zkey.slice();
  damaged.copyWithin(offset, offset + 64, offset + 128);
  await check(damaged).then(
    () => Promise.reject(new Error('a damaged key passed')),
    (error: { code?: string }) => (error.code === 'key-rejected' ? undefined : Promise.reject(error)),
  );
  const samples: number[] = [];
  for (let run = 0; run < RUNS; run++) {
    samples.push((await timed(() => check(made.zkey))).ms / 1000);
    say(`${checkName(bits)}: ${samples.at(-1)!.toFixed(1)} s`);
  }
  return row({ name: checkName(bits), unit: 's', ours: median(samples), must, aim });
}

/** A key of our own setup, made once and kept in `.vouch/cache/bench`; each proof in a process of its own. */
async function benchmarkLarge({ say, signal }: BenchContext): Promise<Row[]> {
  const [zkey, wtns] = ['zkey', 'wtns'].map((type) => folder('cache', 'bench', `${LARGE_BITS}.${type}`)) as [
    string,
    string,
  ];
  // The witness is written last.
  if (!existsSync(wtns)) {
    say(`making a key of 2^${LARGE_BITS}, once`);
    const { r1cs, witness } = circuitOf(LARGE_BITS);
    await using pool = await createPool();
    const onProgress = ({ done, total }: SetupProgress) => {
      if (done % 2 ** 20 < 4096) say(`${done} of ${total} points`);
    };
    await writeWhole(zkey, (await setup(r1cs, { field: pool, points: pool }, { signal, onProgress })).zkey);
    await writeWhole(wtns, writeWitness(witness));
  }
  const proveOnce = async (): Promise<LargeProof> => {
    const program = fileURLToPath(new URL('./large-proof.ts', import.meta.url));
    const words = [program, zkey, wtns, String(PROOF_THREADS)];
    const { stdout } = await promisify(execFile)(process.execPath, words, { signal });
    return JSON.parse(stdout);
  };
  // A proof that does not verify is none: the process fails.
  const first = await proveOnce();
  const proofs = first.checked ? [] : [first];
  while (proofs.length < RUNS) proofs.push(await proveOnce());
  return [
    row({
      name: LARGE_NAMES.peak,
      unit: 'GB',
      ours: Math.max(...proofs.map(({ peak }) => peak)) / 1e9,
      must: 6,
      aim: 3,
    }),
    row({ name: LARGE_NAMES.time, unit: 's', ours: median(proofs.map(({ ms }) => ms)) / 1000 }),
  ];
}

const sumName = ({ group, bits }: { group: Group; bits: number }, threads: number) =>
  `${group} sum of 2^${bits}, ${threads} ${threads === 1 ? 'thread' : 'threads'}, no tables`;

async function benchmarkSums(threads: number, context: BenchContext): Promise<Row[]> {
  await using pool = await createPool({ threads });
  const peer = await withCores(threads, () => buildCurve(threads === 1));
  const rows: Row[] = [];
  try {
    for (const group of ['G1', 'G2'] as const) {
      const points = await distinctPoints(pool, group);
      for (const { bits, demanded, ...sum } of SUMS) {
        if (sum.group !== group || !sum.threads.includes(threads)) continue;
        const bases = repeated(points, 2 ** bits * POINT_BYTES[group]);
        const scalars = randomScalars(2 ** bits);
        const name = sumName({ group, bits }, threads);
        if (!context.wants(name)) continue;
        const { ours, theirs } = await alternate(
          name,
          () => pool.msm(group, bases, scalars),
          () => peer[group].multiExpAffine(bases, scalars),
          (mine, its) => equal(mine, peer[group].toAffine(its)),
          context,
        );
        const bounds = threads === 2 ? demanded : {};
        rows.push(row({ name, unit: 'ms', ours, peer: { name: 'ffjavascript', value: theirs }, ...bounds }));
      }
    }
  } finally {
    await peer.terminate();
  }
  return rows;
}

const proofNames = (name: string, threads: number) => ({
  rows: `${name}: A/B/C rows, ${threads} threads`,
  transforms: `${name}: transforms of 2^16, ${threads} threads`,
  proof: `${name}: file to verified proof of 2^16, ${threads} threads, no tables`,
  ready: `${name}: witness file to verified proof of 2^16, key ready, ${threads} threads, no tables`,
  tables: `${name}: witness file to verified proof of 2^16, key ready, ${threads} threads, tables`,
});
/** What the tables of a key may take here; at 2^16 that is enough for as many as there are windows. */
const TABLE_BYTES = 768 * 2 ** 20;

async function benchmarkProof(
  { name, must, aim, ready: demanded }: (typeof PROOFS)[number],
  context: BenchContext,
): Promise<Row[]> {
  const threads = PROOF_THREADS;
  const names = proofNames(name, threads);
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
    const stages = { rows: [] as number[], transforms: [] as number[] };
    const { ours, theirs } = await alternate(
      `proof ${name}`,
      async () => {
        await using file = await openFile(zkeyFile, 'proving key');
        const values = readWitness(await readFile(wtnsFile));
        return await prove(await openZkey(file), values, pool, { signal: context.signal });
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
    const peer = (value: number) => ({ name: 'snarkjs', value });
    const ready = await pool.ready(zkey);
    const ms = { rows: [] as number[], transforms: [] as number[] };
    for (let run = 0; run <= RUNS; run++) {
      const began: number[] = [];
      await ready.quotient(witness, { onStage: () => began.push(performance.now()) });
      if (run === 0) continue;
      ms.rows.push(began[1]! - began[0]!);
      ms.transforms.push(performance.now() - began[1]!);
    }
    const again = async () => {
      const made = await repeat(context, async () =>
        proveReady(zkey, readWitness(await readFile(wtnsFile)), ready, pool),
      );
      if (!(await oracle.snarkjs.groth16.verify(key, made.value.publicSignals, made.value.proof)))
        throw new Error(`${name}: the proof with a ready key is wrong`);
      return made.ms;
    };
    const plain = await again();
    const tabulated = await timed(() => ready.tabulate!({ bytes: TABLE_BYTES, signal: context.signal }));
    const withTables = await again();
    const seconds = tabulated.ms / 1000;
    const tables = {
      seconds: Number(seconds.toPrecision(3)),
      mebibytes: Math.round(tabulated.value.bytes / 2 ** 20),
      paidAfter: withTables < plain ? Math.ceil(tabulated.ms / (plain - withTables)) : Infinity,
    };
    return [
      row({
        name: names.rows,
        unit: 'ms',
        ours: median(ms.rows),
        peer: peer(median(stages.rows)),
        must: 10,
        aim: 20,
      }),
      row({
        name: names.transforms,
        unit: 'ms',
        ours: median(ms.transforms),
        peer: peer(median(stages.transforms)),
        must: 3,
        aim: 6,
      }),
      row({ name: names.proof, unit: 'ms', ours, peer: peer(theirs), must, aim }),
      row({ name: names.ready, unit: 'ms', ours: plain, peer: peer(theirs), ...demanded }),
      row({ name: names.tables, unit: 'ms', ours: withTables, peer: peer(theirs), tables }),
    ];
  } finally {
    await oracle.close();
  }
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
function randomScalars(count: number): Uint8Array {
  const bytes = new Uint8Array(count * 32);
  for (let index = 0; index < count; index++) writeElement(randomScalar(), bytes, index * 32);
  return bytes;
}
