/** llama.cpp for tests: installed once for this checkout, tests that need it are skipped where that fails. */
import { spawn } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { VouchError } from '../../../protocols/errors.ts';
import { embeddingRequest, vectorsIn } from '../../../runtime/inference/embedding.ts';
import { type LlamaOptions, openLlama } from '../../../runtime/inference/llama-engine.ts';
import { LLAMA_VERSION, obtainLlama } from '../../../runtime/inference/llama-package.ts';
import type { TextEnd, TextEngine, TextRequest } from '../../../runtime/inference/text-engine.ts';
import type { TestContext } from '../../harness.ts';
import { ROOT } from '../../repo/sources.ts';
import { temporaryFolder } from '../nats/nats-fixture.ts';
import { type TinyModel, writeTinyModel } from './tiny-gguf.ts';

/** Outside of the homes that tests make for themselves. */
export const LLAMA_FOLDER = join(ROOT, '.vouch', 'cache', `llama-${LLAMA_VERSION}-cpu`);
/** One thread: more of them wait for each other where other tests run. */
export const THREADS = 1;

/** The package, or the test ends as skipped. */
export const llamaOrSkip = async (t: TestContext) =>
  obtainLlama(() => {}, { folder: LLAMA_FOLDER }).catch((error: unknown) => {
    if (error instanceof VouchError && error.code === 'not-ready') return t.skip(error.message);
    throw error;
  });

/** A file with a tiny model. */
export async function tinyModel(t: TestContext, options: TinyModel = {}): Promise<string> {
  const file = join(await temporaryFolder(t), 'tiny.gguf');
  writeTinyModel(file, options);
  return file;
}

let shared: Promise<TextEngine> | undefined;
/** One for all tests of a file that neither close it nor need another model; it ends with the process. */
export async function sharedEngine(t: TestContext): Promise<TextEngine> {
  await llamaOrSkip(t);
  shared ??= (async () => {
    const folder = mkdtempSync(join(tmpdir(), 'vouch-tiny-'));
    const file = join(folder, 'tiny.gguf');
    writeTinyModel(file);
    const engine = await openLlama({ file, threads: THREADS, folder: LLAMA_FOLDER, say: () => {} });
    rmSync(folder, { recursive: true });
    return engine;
  })();
  return shared;
}

export async function tinyEngine(
  t: TestContext,
  options: Partial<LlamaOptions> & { tiny?: TinyModel } = {},
): Promise<TextEngine> {
  await llamaOrSkip(t);
  const file = options.file ?? (await tinyModel(t, options.tiny));
  const engine = await openLlama({ threads: THREADS, folder: LLAMA_FOLDER, say: () => {}, ...options, file });
  t.defer(() => engine[Symbol.asyncDispose]());
  return engine;
}

export const asking = (content: string, more: Partial<TextRequest> = {}): TextRequest => ({
  messages: [{ role: 'user', content }],
  maxTokens: 40,
  temperature: 0,
  topP: 1,
  ...more,
});

/** All that an engine says to a request. */
export async function answerOf(
  engine: TextEngine,
  request: TextRequest,
  signal: AbortSignal = new AbortController().signal,
): Promise<{ text: string; pieces: string[]; tokens: number; end: TextEnd }> {
  const answer = engine.generate(request, signal);
  const pieces: string[] = [];
  let tokens = 0;
  for (;;) {
    const next = await answer.next();
    if (next.done) return { text: pieces.join(''), pieces, tokens, end: next.value };
    pieces.push(next.value.text);
    tokens += next.value.tokens;
  }
}

/** The vectors that an engine has for texts. */
export async function embedded(engine: TextEngine, texts: readonly string[]): Promise<Float32Array[]> {
  return vectorsIn((await answerOf(engine, embeddingRequest(texts))).text, texts.length);
}

/** llama.cpp behind a small server of OpenAI's API, in a process of its own. */
export async function startUpstream(t: TestContext, options: TinyModel = {}) {
  await llamaOrSkip(t);
  const program = join(import.meta.dirname, 'upstream-server.ts');
  const child = spawn(process.execPath, [program, LLAMA_FOLDER, await tinyModel(t, options)], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const ended = new Promise<void>((resolve) => child.once('exit', () => resolve()));
  t.defer(async () => {
    child.kill('SIGKILL');
    await ended;
  });
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  const said = async () => (await lines.next()).value as string;
  const url = await said();
  return { url, child, said };
}
