/**
 * Proofs by processes that start for them, as from a shell, beside snarkjs's; and how long a prover takes to warm up.
 */
import { execFile } from 'node:child_process';
import { mkdir, readFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { folder } from '../../runtime/home/home.ts';
import { createProver, groth16 } from '../../runtime/prove/prover.ts';
import { hasProverData, PROVER_DATA } from '../circuits/groth16-oracle.ts';
import { type BenchContext, type Row, RUNS, row } from './result.ts';
import { median, timed } from './statistics.ts';
import { alternate } from './turns.ts';

/** Whole processes from a shell, our key checked before. snarkjs checks none. */
const COLD = [
  { name: 'pos', must: 5.5, aim: 7 },
  { name: 'sha', must: 7, aim: 10 },
] as const;
/** How much longer the first proof of a prover takes than its fifth, the key ready. */
const WARMING = { must: 1.4, aim: 1.15 };
const WARM_THREADS = 2;

const coldName = (name: string) => `${name}: whole process from a shell, key checked before`;
const warmingName = (name: string) => `${name}: first proof of a prover over its fifth, key ready`;

export async function benchmarkCold(context: BenchContext): Promise<Row[]> {
  const rows: Row[] = [];
  for (const cold of COLD) {
    if (![coldName(cold.name), warmingName(cold.name)].some(context.wants)) continue;
    if (hasProverData) rows.push(...(await benchmarkOne(cold, context)));
    else context.say(`no ../shared/prover here: no cold proof of ${cold.name}`);
  }
  return rows;
}

/** Each proof in a process of its own, in turns with the peer's; then five proofs in one process. */
async function benchmarkOne(
  { name, must, aim }: (typeof COLD)[number],
  context: BenchContext,
): Promise<Row[]> {
  const files = ['zkey', 'wtns'].map((type) => `${PROVER_DATA}${name}.${type}`);
  const key = JSON.parse(await readFile(`${PROVER_DATA}${name}_vk.json`, 'utf8'));
  const at = (whose: string, what: string) => folder('cache', 'bench', `${whose}-${name}-${what}.json`);
  const launcher = fileURLToPath(new URL('../../runtime/vouch.mjs', import.meta.url));
  const snarkjs = createRequire(import.meta.url)
    .resolve('snarkjs')
    .replace(/[^/\\]*$/, 'cli.cjs');
  const proved = async (whose: string, words: string[]) => {
    const [proof, signals] = [at(whose, 'proof'), at(whose, 'public')];
    await promisify(execFile)(process.execPath, [...words, ...files, proof, signals], {
      signal: context.signal,
    });
    return {
      proof: JSON.parse(await readFile(proof, 'utf8')),
      signals: JSON.parse(await readFile(signals, 'utf8')),
    };
  };
  await mkdir(folder('cache', 'bench'), { recursive: true });
  const { ours, theirs } = await alternate(
    coldName(name),
    () => proved('ours', [launcher, 'groth16', 'prove']),
    () => proved('theirs', [snarkjs, 'g16p']),
    async (mine, its) =>
      (await groth16.verify(key, mine.signals, mine.proof)) && groth16.verify(key, its.signals, its.proof),
    context,
  );
  const first: number[] = [];
  for (let run = 0; run < RUNS; run++) {
    await using prover = await createProver({ threads: WARM_THREADS });
    await using held = await prover.load(files[0]!);
    const times: number[] = [];
    for (let proof = 0; proof < 5; proof++) times.push((await timed(() => held.prove(files[1]!))).ms);
    first.push(times[0]! / times[4]!);
  }
  return [
    row({ name: coldName(name), unit: 'ms', ours, peer: { name: 'snarkjs', value: theirs }, must, aim }),
    row({ name: warmingName(name), unit: 'times', ours: median(first), ...WARMING }),
  ];
}
