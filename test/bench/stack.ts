/**
 * The real programs under measurement: `npm start` from process start to process end, and a stack that stays up.
 * Every one runs on a VOUCH_HOME that the caller gives, and is stopped like a person would stop it.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { readFile } from 'node:fs/promises';
import path from 'node:path';
import { createInterface } from 'node:readline';
import { parseArchitecture } from '../../circuits/model/architecture.ts';
import { type CommittedModel, decodeSecret } from '../../circuits/model/commit.ts';
import type { TestSet } from '../../circuits/model/test-set.ts';
import type { ModelManifest } from '../../protocols/manifest.ts';
import { type DemoResult, passed } from '../../runtime/demo/report.ts';
import { folder, PACKAGE_ROOT } from '../../runtime/home/home.ts';
import { readRunning } from '../../runtime/home/running.ts';
import type { LabelledRow } from '../../runtime/models/labelled-rows.ts';
import { readManifest } from '../../runtime/models/obtain.ts';
import { dictionaryOf, readRows, testSetOf, usefulThreshold } from '../../runtime/models/test-sets.ts';
import { testFile } from '../../runtime/models/vendor.ts';
import type { Bus } from '../../runtime/nats/bus.ts';
import { connect } from '../../runtime/nats/connect.ts';
import { natsProgram } from './machine.ts';
import { watchMemory } from './memory.ts';
import type { BenchContext } from './result.ts';

const CLIENT = 'client-1';
/** The client of `npm start`, in whose name requests are made. */
export const CLIENT_SOURCE = `client.${CLIENT}`;
const UP_LINE = 'Up until Ctrl-C.';
/** lines of a failed program's own words that go into the error */
const LAST_LINES = 12;

export interface Once {
  /** from the start of the process to its end */
  readonly seconds: number;
  readonly result: DemoResult;
  /** peak bytes by process */
  readonly memory: ReadonlyMap<string, number>;
}

/** `npm start -- --once --json`. Throws unless it exits with 0 and says verified everywhere. */
export async function startOnce(home: string, signal: AbortSignal): Promise<Once> {
  const env = await environment(home);
  const began = performance.now();
  const child = spawn('npm', ['start', '--silent', '--', '--once', '--json'], {
    cwd: PACKAGE_ROOT,
    env,
    stdio: ['ignore', 'pipe', 'pipe'],
    detached: true,
  });
  stopOnAbort(child, signal);
  const memory = watchMemory(child.pid!);
  const printed = lastLines(child);
  let output = '';
  child.stdout!.setEncoding('utf8').on('data', (text: string) => {
    output += text;
  });
  const code = await ended(child);
  const seconds = (performance.now() - began) / 1000;
  const peaks = memory.stop();
  if (code !== 0) throw new Error(`npm start ended with ${code}:\n${printed()}`);
  const result = JSON.parse(output) as DemoResult;
  if (!passed(result)) throw new Error(`npm start did not verify everything: ${output}`);
  return { seconds, result, memory: peaks };
}

/** What `npm start` left behind, opened: the vendor's secret included, so that right answers are known. */
export interface Subject {
  readonly manifest: ModelManifest;
  readonly model: CommittedModel;
  readonly rows: readonly LabelledRow[];
  readonly testSet: TestSet;
  readonly threshold: number;
}

/** Runs `vouch demo`, and `work` as its client while it is up; stops it like Ctrl-C does. */
export async function withStack<T>(
  { home, model }: { home: string; model?: string },
  { say, signal }: BenchContext,
  work: (bus: Bus, subject: Subject) => Promise<T>,
): Promise<T> {
  const child = spawn(process.execPath, ['runtime/commands/cli.ts', 'demo'], {
    cwd: PACKAGE_ROOT,
    env: await environment(home),
    stdio: ['ignore', 'ignore', 'pipe'],
    detached: true,
  });
  stopOnAbort(child, signal);
  const printed = lastLines(child);
  const over = ended(child);
  over.catch(() => {});
  try {
    const up = new Promise<'up'>((resolve) => {
      createInterface({ input: child.stderr! }).on('line', (line) => line === UP_LINE && resolve('up'));
    });
    const outcome = await Promise.race([up, over]);
    if (outcome !== 'up') throw new Error(`vouch demo ended with ${outcome}:\n${printed()}`);
    say('a stack is up');
    const running = readRunning();
    const creds = await readFile(path.join(running.creds, `client_${CLIENT}.creds`), 'utf8');
    const bus = await connect({ url: running.url, creds });
    try {
      return await work(bus, await openSubject(bus, model ?? running.model!));
    } finally {
      await bus.close();
    }
  } finally {
    child.kill('SIGINT');
    await over;
  }
}

async function openSubject(bus: Bus, name: string): Promise<Subject> {
  const { manifest } = await readManifest(bus, name);
  const architecture = parseArchitecture(manifest.architecture);
  const rows = readRows(testFile(name), dictionaryOf(architecture));
  const testSet = testSetOf(rows, architecture);
  return {
    manifest,
    model: decodeSecret(architecture, await readFile(folder('models', `${name}.secret`))),
    rows,
    testSet,
    threshold: usefulThreshold(testSet),
  };
}

async function environment(home: string): Promise<NodeJS.ProcessEnv> {
  return { ...process.env, VOUCH_HOME: home, NATS_SERVER: (await natsProgram()).path };
}

function lastLines(child: ChildProcess): () => string {
  const lines: string[] = [];
  createInterface({ input: child.stderr! }).on('line', (line) => {
    lines.push(line);
    if (lines.length > LAST_LINES) lines.shift();
  });
  return () => lines.join('\n');
}

/** A terminal's Ctrl-C reaches a group; a child in a group of its own hears of it here, once, and ends in order. */
function stopOnAbort(child: ChildProcess, signal: AbortSignal): void {
  const stop = () => child.kill('SIGTERM');
  signal.addEventListener('abort', stop, { once: true });
  child.once('close', () => signal.removeEventListener('abort', stop));
}

const ended = (child: ChildProcess): Promise<number | null> =>
  new Promise((resolve, reject) => {
    child.once('error', reject);
    child.once('close', resolve);
  });
