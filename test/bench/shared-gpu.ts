/**
 * A language model and proofs on one GPU: how long the first token takes beside a worker's sums that make way, beside such that
 * do not, and beside nothing, in turns; and what is left for proofs while inferences run without an end. Rows of a software
 * adapter begin with SOFTWARE: there the GPU is the processor, which client and runner need, too.
 */
import { spawn } from 'node:child_process';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { openGpu } from '../../runtime/gpu/adapter.ts';
import type { TextRequest } from '../../runtime/inference/text-engine.ts';
import { asking } from '../runtime/inference/llama-fixture.ts';
import { type BenchContext, type Row, row } from './result.ts';
import { quantile } from './statistics.ts';

export const SHARED = 'chat on a GPU that makes proofs';
const QUESTIONS = 40;
/** Between two questions, in which the GPU is the proof's. */
const PAUSE_MS = 150;
const BUSY_MS = 30_000;
const SHARE = 10;

/** Is there an adapter, and is it one of software? */
export async function adapterHere(): Promise<{ readonly software: boolean } | undefined> {
  const gpu = await openGpu({ allowSoftware: true }).catch(() => undefined);
  gpu?.close();
  return gpu?.capability;
}

/** `ask` asks a runner whose engine computes on this GPU. */
export async function benchmarkShared(
  { say, signal }: BenchContext,
  {
    software,
    ask,
  }: { readonly software: boolean; ask(request: TextRequest): Promise<{ readonly firstMs: number }> },
): Promise<Row[]> {
  const title = `${software ? 'SOFTWARE ' : ''}${SHARED}`;
  const request = asking('How long does the first word take?', { maxTokens: 16 });
  const ask40 = async (load?: Load): Promise<number[]> => {
    const firsts: number[] = [];
    load?.go();
    for (let i = 0; i < QUESTIONS + 3; i++) {
      signal.throwIfAborted();
      await new Promise((resolve) => setTimeout(resolve, PAUSE_MS));
      const { firstMs } = await ask(request);
      // The first ones are not counted: submits have to be cut.
      if (i >= 3) firsts.push(firstMs);
    }
    load?.pause();
    return firsts;
  };
  using polite = await startLoad(SHARE);
  using rude = await startLoad(100);
  const samples = { alone: [] as number[], polite: [] as number[], rude: [] as number[] };
  for (let turn = 0; turn < 3; turn++) {
    samples.alone.push(...(await ask40()));
    samples.polite.push(...(await ask40(polite)));
    samples.rude.push(...(await ask40(rude)));
  }
  const p50 = (of: keyof typeof samples) => quantile(samples[of], 0.5);
  const p99 = (of: keyof typeof samples) => quantile(samples[of], 0.99);
  for (const which of ['alone', 'polite', 'rude'] as const)
    say(`${title}, first token ${which}: p50 ${p50(which).toFixed(1)} ms, p99 ${p99(which).toFixed(1)} ms`);

  polite.go();
  await polite.rate();
  await new Promise((resolve) => setTimeout(resolve, BUSY_MS));
  const idle = await polite.rate();
  const until = performance.now() + BUSY_MS;
  const asker = async () => {
    while (performance.now() < until) await ask({ ...request, maxTokens: 128 });
  };
  await Promise.all([asker(), asker()]);
  const busy = await polite.rate();
  polite.pause();
  say(
    `${title}: ${idle.toFixed(0)} points/s where nothing is asked, ${busy.toFixed(0)} where something always is`,
  );
  const firsts = (['polite', 'rude'] as const).flatMap((which) =>
    Object.entries({ p50, p99 }).map(([quantity, of]) =>
      row({
        name: `${title}, which ${which === 'polite' ? 'make way' : 'do not'}: first token, ${quantity}`,
        unit: 'ms',
        ours: of(which),
        peer: { name: 'no proof', value: of('alone') },
      }),
    ),
  );
  return [
    ...firsts,
    row({
      name: `${title}, which make way: points a second while inferences run without an end`,
      unit: 'points/s',
      better: 'more',
      ours: busy,
      peer: { name: 'while none runs', value: idle },
    }),
  ];
}

interface Load extends Disposable {
  go(): void;
  pause(): void;
  /** points a second since it was last asked */
  rate(): Promise<number>;
}

/** A process that makes sums, stopped until it is told to go. */
async function startLoad(percent: number): Promise<Load> {
  const child = spawn(process.execPath, [join(import.meta.dirname, 'proof-load.ts'), String(percent)], {
    stdio: ['pipe', 'pipe', 'inherit'],
    env: { ...process.env, VOUCH_SOFTWARE_GPU: '1' },
  });
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  const line = async () => {
    const { value, done } = await lines.next();
    if (done) throw new Error('the load of proofs has ended');
    return value as string;
  };
  await line();
  child.kill('SIGSTOP');
  return {
    go: () => child.kill('SIGCONT'),
    pause: () => child.kill('SIGSTOP'),
    async rate() {
      child.stdin.write('\n');
      return Number(await line());
    },
    [Symbol.dispose]: () => child.kill('SIGKILL'),
  };
}
