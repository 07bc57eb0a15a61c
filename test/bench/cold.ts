/**
 * Proofs by processes that start for them, as from a shell, beside snarkjs's and, where `$RAPIDSNARK` is its `prover`,
 * rapidsnark's; their memory; and how long a prover takes to warm up.
 */
import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import { mkdir, readFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { setup } from '../../circuits/groth16/setup.ts';
import { writeWitness } from '../../circuits/groth16/witness.ts';
import { writeWhole } from '../../runtime/home/files.ts';
import { folder } from '../../runtime/home/home.ts';
import { createPool } from '../../runtime/msm/threads/pool.ts';
import { createProver, groth16, zKey } from '../../runtime/prove/prover.ts';
import { hasProverData, PROVER_DATA } from '../circuits/groth16-oracle.ts';
import { circuitOf } from './circuit.ts';
import { type BenchContext, type Row, RUNS, row } from './result.ts';
import { median, timed } from './statistics.ts';
import { alternate } from './turns.ts';

const MADE_BITS = 17;
const MADE = `made circuit of 2^${MADE_BITS}`;
/** Whole processes from a shell, our key checked before. The peers check none. */
const COLD = [
  { name: 'pos', snarkjs: { must: 5.5, aim: 7 }, rapidsnark: { must: 0.9, aim: 1.3 } },
  { name: 'sha', snarkjs: { must: 7, aim: 10 }, rapidsnark: { must: 0.6, aim: 1 } },
  { name: MADE, snarkjs: { must: 5.5, aim: 7 }, rapidsnark: { must: 0.9, aim: 1.3 } },
] as const;
/** How much longer the first proof of a prover takes than its fifth, the key ready. */
const WARMING = { must: 1.4, aim: 1.15 };
const WARM_THREADS = 2;
const PEAK = { must: 200, aim: 120 };

const namesOf = (name: string) => ({
  snarkjs: `${name}: whole process from a shell, key checked before`,
  rapidsnark: `${name}: whole process from a shell, key checked before, beside rapidsnark`,
  warming: `${name}: first proof of a prover over its fifth, key ready`,
  peak: `${name}: peak memory of a proof from a shell`,
});

export async function benchmarkCold(context: BenchContext): Promise<Row[]> {
  const rows: Row[] = [];
  for (const cold of COLD) {
    if (!Object.values(namesOf(cold.name)).some(context.wants)) continue;
    if (cold.name === MADE || hasProverData) rows.push(...(await benchmarkOne(cold, context)));
    else context.say(`no ../shared/prover here: no cold proof of ${cold.name}`);
  }
  return rows;
}

interface Files {
  readonly zkey: string;
  readonly wtns: string;
}

/** A key of our own setup and a witness, made once and kept. */
async function madeFiles({ say, signal }: BenchContext): Promise<Files> {
  const [zkey, wtns] = ['zkey', 'wtns'].map((type) => folder('cache', 'bench', `${MADE_BITS}.${type}`)) as [
    string,
    string,
  ];
  // The witness is written last.
  if (!existsSync(wtns)) {
    say(`making a key of 2^${MADE_BITS}, once`);
    const { r1cs, witness } = circuitOf(MADE_BITS);
    await using pool = await createPool();
    await writeWhole(zkey, (await setup(r1cs, { field: pool, points: pool }, { signal })).zkey);
    await writeWhole(wtns, writeWitness(witness));
  }
  return { zkey, wtns };
}

/** Each proof in a process of its own, in turns with the peer's; then five proofs in one process. */
async function benchmarkOne(cold: (typeof COLD)[number], context: BenchContext): Promise<Row[]> {
  const { name } = cold;
  const names = namesOf(name);
  await mkdir(folder('cache', 'bench'), { recursive: true });
  const { zkey, wtns } =
    name === MADE
      ? await madeFiles(context)
      : { zkey: `${PROVER_DATA}${name}.zkey`, wtns: `${PROVER_DATA}${name}.wtns` };
  const key = await zKey.exportVerificationKey(zkey);
  const launcher = fileURLToPath(new URL('../../runtime/vouch.mjs', import.meta.url));
  const snarkjs = createRequire(import.meta.url)
    .resolve('snarkjs')
    .replace(/[^/\\]*$/, 'cli.cjs');
  const proved = async (whose: string, program: string, words: readonly string[]) => {
    const at = (what: string) => folder('cache', 'bench', `${whose}-${what}.json`);
    const { stderr } = await promisify(execFile)(program, [...words, zkey, wtns, at('proof'), at('public')], {
      signal: context.signal,
    });
    return {
      proof: JSON.parse(await readFile(at('proof'), 'utf8')),
      signals: JSON.parse(await readFile(at('public'), 'utf8')),
      stderr,
    };
  };
  const proveOurs = (...flags: string[]) =>
    proved('ours', process.execPath, [...flags, launcher, 'groth16', 'prove']);
  const peers = {
    snarkjs: { program: process.execPath, words: [snarkjs, 'g16p'] },
    rapidsnark: { program: process.env.RAPIDSNARK, words: [] },
  };
  const rows: Row[] = [];
  for (const peerName of ['snarkjs', 'rapidsnark'] as const) {
    const { program, words } = peers[peerName];
    if (!context.wants(names[peerName]) || program === undefined) continue;
    const { ours, theirs } = await alternate(
      names[peerName],
      () => proveOurs(),
      () => proved(peerName, program, words),
      async (mine, its) =>
        (await groth16.verify(key, mine.signals, mine.proof)) && groth16.verify(key, its.signals, its.proof),
      context,
    );
    const peer = { name: peerName, value: theirs };
    rows.push(row({ name: names[peerName], unit: 'ms', ours, peer, ...cold[peerName] }));
  }
  if (context.wants(names.peak)) {
    // Not what the system says of resources used, which begins with what this process had when it started that one.
    const say = `import { readFileSync } from 'node:fs';
      const peak = () => /VmHWM:\\s*(\\d+) kB/.exec(readFileSync('/proc/self/status', 'utf8'))?.[1];
      process.on('exit', () => console.error('peak ' + (process.platform === 'linux' ? peak() : process.resourceUsage().maxRSS)));`;
    const peaks: number[] = [];
    for (let run = 0; run <= RUNS; run++) {
      const { stderr } = await proveOurs('--import', `data:text/javascript,${encodeURIComponent(say)}`);
      peaks.push(Number(/^peak (\d+)$/m.exec(stderr)![1]) / 1024);
    }
    // The first may have checked the key, or compiled code.
    const ours = median(peaks.slice(1));
    rows.push(row({ name: names.peak, unit: 'MiB', ours, ...(name === MADE ? {} : PEAK) }));
  }
  if (context.wants(names.warming) && name !== MADE) {
    const first: number[] = [];
    for (let run = 0; run < RUNS; run++) {
      await using prover = await createProver({ threads: WARM_THREADS });
      await using held = await prover.load(zkey);
      const times: number[] = [];
      for (let proof = 0; proof < 5; proof++) times.push((await timed(() => held.prove(wtns))).ms);
      first.push(times[0]! / times[4]!);
    }
    rows.push(row({ name: names.warming, unit: 'times', ours: median(first), ...WARMING }));
  }
  return rows;
}
