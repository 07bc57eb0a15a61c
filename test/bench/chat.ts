/**
 * What the seal, the receipts and the way over NATS cost a model that answers in text, against the same engine used directly in the
 * same run. Clients are in this process, the runner in one of its own, with a SIMULATED enclave.
 *
 * Times to the first token are of a tiny model in llama.cpp, whose own time is next to nothing. Rates are of an upstream that says
 * words at a pace: how fast a real engine is does not matter, only whether its pace is kept.
 */
import { spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { open, rm, statfs, symlink } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { createInterface } from 'node:readline';
import { createIdentity } from '../../runtime/attest/identity.ts';
import { chat } from '../../runtime/client/chat.ts';
import { createSessions } from '../../runtime/client/sessions.ts';
import { publishGguf } from '../../runtime/commands/model-text.ts';
import { openFile } from '../../runtime/home/file-source.ts';
import { makeFolder } from '../../runtime/home/files.ts';
import { folder } from '../../runtime/home/home.ts';
import { keepChunks } from '../../runtime/home/kept-chunks.ts';
import { createMemoryFolder } from '../../runtime/home/memory-folder.ts';
import { openLlama } from '../../runtime/inference/llama-engine.ts';
import { obtainLlama } from '../../runtime/inference/llama-package.ts';
import type { TextEnd, TextPiece, TextRequest } from '../../runtime/inference/text-engine.ts';
import { openUpstream } from '../../runtime/inference/upstream-engine.ts';
import { obtainText } from '../../runtime/models/weights.ts';
import { type Home, startBroker, startHome } from '../runtime/home/home-fixture.ts';
import { asking, LLAMA_FOLDER } from '../runtime/inference/llama-fixture.ts';
import { writeTinyModel } from '../runtime/inference/tiny-gguf.ts';
import { temporaryFolder } from '../runtime/nats/nats-fixture.ts';
import { withDefer } from './dist-stand.ts';
import { type BenchContext, type Benchmark, type Row, row } from './result.ts';
import { adapterHere, benchmarkShared, SHARED } from './shared-gpu.ts';
import { quantile, timed } from './statistics.ts';

const WARM_UP = 20;
const FIRST_TOKENS = 200;
const PACE = { one: 100, many: 25 };
const PACED_SECONDS = 5;
const TOGETHER = 32;
const MIB = 2 ** 20;
const LOADS = 5;
const CANCELLATIONS = 100;
/** Width and layers of random models of about so many bytes. */
const LARGE = [
  { bits: 30, width: 2048, layers: 8 },
  { bits: 26, width: 1024, layers: 2 },
] as const;

type Answer = AsyncIterator<TextPiece, TextEnd | undefined>;
interface Heard {
  readonly firstMs: number;
  readonly ms: number;
  readonly text: string;
  readonly tokens: number;
}

async function hear(answer: Answer): Promise<Heard> {
  const began = performance.now();
  let firstMs = 0;
  let text = '';
  let tokens = 0;
  for (;;) {
    const next = await answer.next();
    if (next.done) return { firstMs, ms: performance.now() - began, text, tokens };
    firstMs ||= performance.now() - began;
    text += next.value.text;
    tokens += next.value.tokens;
  }
}

const clientOf = async (home: Home) => {
  const bus = await home.bus('client', 'bench');
  const sessions = createSessions(bus, 'client.bench', { policy: home.policies.inference, meet: () => {} });
  const ask = async (model: string, request: TextRequest): Promise<Heard> => {
    const stream = chat(sessions, { model, request });
    const heard = await hear(stream[Symbol.asyncIterator]() as Answer);
    if ((await stream.receipt).report.verdict !== 'accept') throw new Error('a receipt was not accepted');
    return heard;
  };
  return { ask, sessions };
};
const offerOf = (home: Home, name: string) => ({ name, policy: home.policies.release });
const peakOf = (pid: number): number =>
  Number(/^VmHWM:\s+(\d+) kB/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1] ?? 0) * 1024;

export const benchmarkChat: Benchmark = (context) =>
  withDefer(context, async (t) => {
    await obtainLlama(context.say, { folder: LLAMA_FOLDER });
    const home = await startHome(t);
    await home.role('broker', 'broker-1', startBroker);
    const file = join(await temporaryFolder(t), 'tiny.gguf');
    writeTinyModel(file, { context: 2048 });
    const rows: Row[] = [];
    const stand = { home, file, t, context };
    if (context.wants(FIRST) || context.wants(MEMORY)) rows.push(...(await firstTokens(stand)));
    if (context.wants(ONE) || context.wants(MANY) || context.wants(CANCELLED))
      rows.push(...(await paces(stand)));
    if (context.wants(LOADING)) rows.push(...(await loading(stand)));
    if (context.wants(SHARED)) rows.push(...(await sharing(stand)));
    return rows;
  });

interface Stand {
  readonly home: Home;
  readonly file: string;
  readonly t: Parameters<Parameters<typeof withDefer>[1]>[0];
  readonly context: BenchContext;
}
const FIRST = 'chat, added time to first token';
const MEMORY = "chat, memory of the runner's process over the engine's own";
const ONE = `chat, one stream at ${PACE.one} tokens/s`;
const MANY = `chat, ${TOGETHER} streams together at ${PACE.many} tokens/s each`;
const CANCELLED = 'chat, from a cancellation to the engine, which is another process here';
const LOADING = 'chat, loading a model';

async function firstTokens({ home, file, t, context: { say, signal } }: Stand): Promise<Row[]> {
  await publishGguf(home.observer, 'provisioner.test', file, { context: 2048 }, offerOf(home, 'chat'), say);
  const engine = await openLlama({ file, folder: LLAMA_FOLDER, threads: 1, say });
  t.defer(() => engine[Symbol.asyncDispose]());
  // The runner's process looks where its home keeps it.
  await makeFolder(folder('cache'));
  await symlink(LLAMA_FOLDER, folder('cache', basename(LLAMA_FOLDER)));
  const runner = await home.process('enclave', 'e1', {
    args: ['gpu', 'runner', '--model', 'chat', '--threads', '1'],
  });
  const { ask } = await clientOf(home);
  const request = asking('How long does the first word take?', { maxTokens: 32 });
  const samples = { ours: [] as number[], direct: [] as number[] };
  for (let i = 0; i < WARM_UP + FIRST_TOKENS; i++) {
    signal.throwIfAborted();
    const direct = await hear(engine.generate(request, signal));
    const ours = await ask('chat', request);
    if (ours.text !== direct.text) throw new Error('an answer is not what the engine says directly');
    if (i < WARM_UP) continue;
    samples.direct.push(direct.firstMs);
    samples.ours.push(ours.firstMs);
  }
  const added = (q: number) => quantile(samples.ours, q) - quantile(samples.direct, q);
  say(`first token: p50 ${added(0.5).toFixed(1)} ms, p99 ${added(0.99).toFixed(1)} ms more than directly`);
  const alone = await own(file, WARM_UP + FIRST_TOKENS);
  const beside = (peakOf(runner.pid) - alone) / MIB;
  return [
    row({ name: `${FIRST}: p50`, unit: 'ms', ours: added(0.5), must: 15, aim: 6 }),
    row({ name: `${FIRST}: p99`, unit: 'ms', ours: added(0.99), must: 50, aim: 20 }),
    row({ name: MEMORY, unit: 'MiB', ours: beside, must: 200, aim: 100 }),
  ];
}

/** The peak of llama.cpp alone after as many requests. */
async function own(file: string, requests: number): Promise<number> {
  const program = join(import.meta.dirname, 'llama-alone.ts');
  const child = spawn(process.execPath, [program, LLAMA_FOLDER, file, String(requests)], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  for await (const line of createInterface({ input: child.stdout })) return Number(line);
  throw new Error('llama.cpp alone said nothing');
}

async function paces({ home, file, t, context: { say, signal } }: Stand): Promise<Row[]> {
  const child = spawn(process.execPath, [join(import.meta.dirname, 'paced-server.ts')], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  t.defer(() => child.kill('SIGKILL'));
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  const url = (await lines.next()).value as string;
  await publishGguf(home.observer, 'provisioner.test', file, {}, offerOf(home, 'paced'), say);
  await home.process('enclave', 'e2', {
    args: ['gpu', 'runner', '--model', 'paced', '--upstream', url, '--weights', file],
  });
  const engine = await openUpstream({ url });
  t.defer(() => engine[Symbol.asyncDispose]());
  const { ask, sessions } = await clientOf(home);
  /** Tokens a second of all streams, from the requests to the last word of all. */
  const measure = async (streams: number, pace: number, one: (request: TextRequest) => Promise<Heard>) => {
    signal.throwIfAborted();
    const request = asking('x', { maxTokens: PACED_SECONDS * pace, seed: pace });
    const { value, ms } = await timed(() => Promise.all(Array.from({ length: streams }, () => one(request))));
    const expected = Array.from({ length: request.maxTokens }, (_, i) => `w${i} `).join('');
    if (value.some(({ text }) => text !== expected)) throw new Error('an answer is not what the engine says');
    return (1000 * streams * request.maxTokens) / ms;
  };
  const directly = (request: TextRequest) => hear(engine.generate(request, signal));
  const through = (request: TextRequest) => ask('paced', request);
  await measure(2, PACE.one, through);
  const rows: Row[] = [];
  for (const [name, streams, pace, must, aim] of [
    [ONE, 1, PACE.one, 0.95, 0.99],
    [MANY, TOGETHER, PACE.many, 0.85, 0.95],
  ] as const) {
    const peer = { name: 'directly', value: await measure(streams, pace, directly) };
    const ours = await measure(streams, pace, through);
    say(`${name}: ${ours.toFixed(0)} tokens/s, directly ${peer.value.toFixed(0)}`);
    rows.push(row({ name, unit: 'tokens/s', better: 'more', ours, peer, must, aim }));
  }
  const late: number[] = [];
  for (let i = 0; i < CANCELLATIONS; i++) {
    signal.throwIfAborted();
    const stream = chat(sessions, {
      model: 'paced',
      request: asking('x', { maxTokens: 10_000, seed: PACE.one }),
    });
    const pieces = stream[Symbol.asyncIterator]();
    for (let heard = 0; heard < 3 + (i % 5); heard++) await pieces.next();
    const told = performance.timeOrigin + performance.now();
    // Whoever stops reading cancels.
    await pieces.return?.();
    late.push(Number((await lines.next()).value) - told);
    if ((await stream.receipt).end.finish !== 'cancelled')
      throw new Error('a cancelled stream ended in another way');
  }
  say(`cancelled: p50 ${quantile(late, 0.5).toFixed(1)} ms, p99 ${quantile(late, 0.99).toFixed(1)} ms`);
  rows.push(
    row({ name: `${CANCELLED}: p99 of ${CANCELLATIONS}`, unit: 'ms', ours: quantile(late, 0.99), must: 200 }),
  );
  return rows;
}

/** llama.cpp by Vulkan on the adapter that proofs are made on. */
async function sharing({ home, file, context }: Stand): Promise<Row[]> {
  const { say } = context;
  const adapter = await adapterHere();
  if (!adapter) {
    say(`${SHARED}: not measured, there is no WebGPU adapter here`);
    return [];
  }
  // llama.cpp does not take a software adapter of its own accord.
  if (adapter.software) process.env.GGML_VK_VISIBLE_DEVICES = '0';
  const place = `${LLAMA_FOLDER.slice(0, -'cpu'.length)}vulkan`;
  await obtainLlama(say, { build: 'vulkan', folder: place });
  await makeFolder(folder('cache'));
  await symlink(place, folder('cache', basename(place)));
  await publishGguf(home.observer, 'provisioner.test', file, { context: 2048 }, offerOf(home, 'on-gpu'), say);
  await home.process('enclave', 'e3', { args: ['runner', '--model', 'on-gpu', '--llama', 'vulkan'] });
  const { ask } = await clientOf(home);
  say('llama.cpp compiles its kernels, which takes minutes on a software adapter');
  await ask('on-gpu', asking('x', { maxTokens: 2 }));
  return benchmarkShared(context, { ...adapter, ask: (request) => ask('on-gpu', request) });
}

async function loading({ home, t, context }: Stand): Promise<Row[]> {
  const { say, signal, maxBits = 30 } = context;
  const size = LARGE.find(({ bits }) => bits <= maxBits) ?? LARGE[1];
  const directory = await temporaryFolder(t);
  const file = join(directory, 'large.gguf');
  const bytes = writeTinyModel(file, { width: size.width, layers: size.layers, feedForward: 4 * size.width });
  const shared = await statfs('/dev/shm');
  if (shared.bavail * shared.bsize < 1.2 * bytes) throw new Error('/dev/shm has no room for the model');
  await publishGguf(home.observer, 'provisioner.test', file, {}, offerOf(home, 'large'), say);
  const bus = await home.bus('runner', 'bench');
  const identity = await createIdentity('runner', 'bench');
  const asking = [bus, 'runner.bench', identity, 'large'] as const;
  const kept = keepChunks(join(directory, 'kept'), 2 * bytes);
  const ours = async () => {
    const { ms } = await timed(async () => {
      const obtained = await obtainText(asking, createMemoryFolder, { kept, signal });
      await obtained[Symbol.asyncDispose]();
    });
    return ms;
  };
  const plain = async () => {
    const { ms } = await timed(async () => {
      await using source = await openFile(file, 'model');
      const memory = await createMemoryFolder(bytes);
      await using target = await open((await memory.create('copy')).path, 'r+');
      const piece = new Uint8Array(4 * MIB);
      for (let at = 0; at < bytes; at += piece.length) {
        const part = piece.subarray(0, Math.min(piece.length, bytes - at));
        await source.read(at, part);
        await target.write(part, 0, part.length, at);
      }
      await memory[Symbol.asyncDispose]();
    });
    return ms;
  };
  const first = await ours();
  const again: number[] = [];
  const read: number[] = [];
  for (let turn = 0; turn < LOADS; turn++) {
    read.push(await plain());
    again.push(await ours());
  }
  await rm(file);
  const mebibytes = (bytes / MIB).toFixed(0);
  const peer = { name: 'the plain file, read and copied', value: quantile(read, 0.5) / 1000 };
  say(
    `loading ${mebibytes} MiB: ${first.toFixed(0)} ms, again ${again.map((ms) => ms.toFixed(0)).join(' ')}, read and copied ${read.map((ms) => ms.toFixed(0)).join(' ')}`,
  );
  return [
    row({
      name: `${LOADING} of ${mebibytes} MiB for the first time: fetched over NATS, kept, decrypted, verified`,
      unit: 's',
      ours: first / 1000,
      peer,
    }),
    row({
      name: `${LOADING} of ${mebibytes} MiB: encrypted chunks that were kept decrypted and verified, median of ${LOADS}`,
      unit: 's',
      ours: quantile(again, 0.5) / 1000,
      peer,
      must: 1 / 2.5,
      aim: 1 / 1.3,
    }),
  ];
}
