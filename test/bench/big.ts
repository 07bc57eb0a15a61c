/**
 * A key beyond 2 GiB from end to end: circuit, setup (with secrets that everybody knows: UNSAFE), check of its points, proof,
 * and a verifier that is not ours. Setup and each proof run in processes of their own, whose peak memory is told. By default
 * 2^22 rows, for which some 5 GB of disk are needed; `--max-bits` is smaller. `--keep FOLDER` leaves the files there, and
 * takes those that are there already.
 */
import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { mkdir, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { verificationKey } from '../../circuits/groth16/verify.ts';
import { openZkey } from '../../circuits/groth16/zkey.ts';
import { openFile } from '../../runtime/home/file-source.ts';
import { groth16 } from '../../runtime/prove/prover.ts';
import { closeSnarkjs, verifyWithSnarkjs } from '../../runtime/prove/snarkjs.ts';
import { proveByFleet } from './large-fleet.ts';
import type { LargeProof } from './large-proof.ts';
import type { LargeSetup } from './large-setup.ts';
import { type BenchContext, type Row, row } from './result.ts';

const BITS = 22;
const THREADS = 2;

export async function benchmarkBig(context: BenchContext): Promise<Row[]> {
  const bits = context.maxBits ?? BITS;
  const folder = context.keep ?? (await mkdtemp(join(tmpdir(), 'vouch-big-')));
  await mkdir(folder, { recursive: true });
  try {
    return await measure(bits, folder, context);
  } finally {
    await closeSnarkjs();
    if (context.keep === undefined) await rm(folder, { recursive: true, force: true });
  }
}

async function measure(bits: number, folder: string, context: BenchContext): Promise<Row[]> {
  const { say, signal } = context;
  const what = `2^${bits}, ${THREADS} threads`;
  const rows: Row[] = [];
  const peak = (name: string, bytes: number) =>
    rows.push(row({ name: `${what}: ${name}, peak memory`, unit: 'GB', ours: bytes / 1e9 }));
  const seconds = (name: string, ms: number) =>
    rows.push(row({ name: `${what}: ${name}`, unit: 's', ours: ms / 1000 }));
  const zkey = join(folder, 'circuit.zkey');
  if (existsSync(zkey)) say(`the key of ${folder} is taken as it is`);
  else {
    say(`making a circuit of 2^${bits} rows and its key, by known secrets`);
    const made = await run<LargeSetup>('large-setup.ts', [String(bits), folder, String(THREADS)], signal);
    seconds('setup', made.ms);
    peak('setup', made.peak);
  }
  const key = await (async () => {
    await using file = await openFile(zkey, 'proving key');
    rows.push(row({ name: `${what}: proving key`, unit: 'GB', ours: file.byteLength / 1e9 }));
    return verificationKey(await openZkey(file));
  })();
  const words = [zkey, join(folder, 'witness.wtns'), String(THREADS)];
  for (const [index, name] of ['first proof', 'proof'].entries()) {
    say(index === 0 ? 'proving, with a key that was never seen' : 'proving, with a key that was checked');
    const made = await run<LargeProof>('large-proof.ts', words, signal);
    const { proof, publicSignals } = made.proved;
    if (!(await groth16.verify(key, publicSignals, proof))) throw new Error('our verifier refuses the proof');
    if (!(await verifyWithSnarkjs(key, publicSignals, proof))) throw new Error('snarkjs refuses the proof');
    if (made.checked) seconds(`${name}, of which checking the key`, made.loadedMs);
    seconds(`${name}, from files to verified proof`, made.ms);
    peak(name, made.peak);
    if (!made.checked) break;
  }
  const byFleet = await proveByFleet(folder, context);
  const inFleet = 'by a coordinator and 2 workers, processes of their own';
  seconds(`${inFleet}: the key stored`, byFleet.storedMs);
  seconds(`${inFleet}: transforms`, byFleet.transformMs);
  seconds(`${inFleet}: sums to a verified proof, bases fetched`, byFleet.sumsMs[0]);
  seconds(`${inFleet}: the same again, bases kept`, byFleet.sumsMs[1]);
  peak(`${inFleet}: coordinator, with witness and transforms`, byFleet.peak);
  peak(`${inFleet}: a worker`, Math.max(...byFleet.workerPeaks));
  return rows;
}

async function run<Result>(program: string, words: readonly string[], signal: AbortSignal): Promise<Result> {
  const path = fileURLToPath(new URL(program, import.meta.url));
  const child = spawn(process.execPath, [path, ...words], { signal, stdio: ['ignore', 'pipe', 'inherit'] });
  let text = '';
  child.stdout.setEncoding('utf8').on('data', (piece: string) => {
    text += piece;
  });
  const code = await new Promise((resolve, reject) => child.once('close', resolve).once('error', reject));
  if (code !== 0) throw new Error(`${program} ended with code ${code}`);
  return JSON.parse(text);
}
