/** A host in the middle of a proof, told as the wire would tell it, and the page that shows it. */
import { join } from 'node:path';
import { chromium, type Page } from 'playwright-core';
import type { Message, MessageType } from '../../../protocols/envelope.ts';
import { encodeMessage } from '../../../protocols/envelope.ts';
import { ProofProgress, type ShardNews } from '../../../protocols/proof.ts';
import { subjects } from '../../../protocols/subjects.ts';
import { Heartbeat, Transition } from '../../../protocols/transition.ts';
import type { Feed } from '../../../runtime/monitor/feed.ts';
import { createFeed } from '../../../runtime/monitor/feed.ts';
import { observe } from '../../../runtime/monitor/intake.ts';
import type { LookUps } from '../../../runtime/monitor/look-ups.ts';
import { type MonitorOptions, monitorClock, startMonitor } from '../../../runtime/monitor/server.ts';
import { chromiumPath } from '../../chromium.ts';
import type { TestContext } from '../../harness.ts';

/** Where screenshots go; none are made without. */
export const SCREENSHOTS = process.env.VOUCH_SCREENSHOTS;
const ARGS = [
  '--headless',
  '--no-sandbox',
  '--disable-gpu',
  '--disable-quic',
  '--no-first-run',
  '--disable-background-networking',
  '--disable-component-update',
  '--disable-sync',
];

/** What a monitor finds that finds nothing. */
export const noLookUps: LookUps = {
  models: async () => [],
  evidence: async () => [],
  convictions: async () => [],
  proof: async () => ({ error: 'NATS has no proof of this job.' }),
};

/** A page in a browser of its own, so that no test depends on another. `url`: of a monitor that is there already. */
export async function opened(
  t: Pick<TestContext, 'defer' | 'skip'>,
  options: { dark?: boolean; hash?: string; url?: string } & Pick<MonitorOptions, 'lookUps'> = {},
) {
  const executablePath = chromiumPath();
  if (executablePath === undefined) t.skip('no Chromium was found; set $CHROMIUM to its path');
  const browser = await chromium.launch({ executablePath, args: ARGS });
  t.defer(() => browser.close());
  const feed = createFeed();
  const monitor = await startMonitor({ feed, lookUps: options.lookUps });
  t.defer(() => monitor.close());
  t.defer(() => feed.end());
  const context = await browser.newContext({
    viewport: { width: 1280, height: 800 },
    colorScheme: options.dark ? 'dark' : 'light',
    reducedMotion: 'reduce',
  });
  const page = await context.newPage();
  const complaints: string[] = [];
  page.on('pageerror', (error) => complaints.push(String(error)));
  page.on('console', (message) => {
    if (message.type() === 'error' || message.type() === 'warning') complaints.push(message.text());
  });
  await page.goto(`${options.url ?? monitor.url}${options.hash ?? ''}`);
  await page.locator('#connection', { hasText: 'live' }).waitFor();
  return { feed, monitor, page, complaints };
}

/** Publishes as the wire would: encoded by the sender, decoded by the intake. */
export function publish<Body>(
  feed: Feed,
  type: MessageType<Body>,
  subject: string,
  body: Body,
  more: Partial<Message<Body>> & { at?: number } = {},
) {
  const data = encodeMessage(type, { subject, source: 'test.t', body, epoch: more.epoch });
  feed.push(observe(subject, data, more.at ?? monitorClock()));
}

type Kind = Transition['kind'];

export function moves(
  feed: Feed,
  kind: Kind,
  id: string,
  states: string[],
  options: { boot?: string; first?: number; at?: number; counts?: Record<string, number> } = {},
) {
  const { boot = `boot-${id}`, first = 1, at, counts = {} } = options;
  states.forEach((to, index) => {
    const from = index === 0 ? null : states[index - 1]!;
    const event = index === 0 ? 'start' : 'done';
    const body: Transition = { kind, id, boot, seq: first + index, from, to, event, counts };
    publish(feed, Transition, subjects.state(kind, id), body, at === undefined ? {} : { at });
  });
}

export function beats(
  feed: Feed,
  kind: Kind,
  id: string,
  state: string,
  seq: number,
  more: Partial<Heartbeat> & { at?: number } = {},
) {
  const { at, ...rest } = more;
  const body: Heartbeat = { kind, id, boot: `boot-${id}`, seq, state, leaseMs: 60_000, counts: {}, ...rest };
  publish(feed, Heartbeat, subjects.beat(kind, id), body, at === undefined ? {} : { at });
}

export const LOST = {
  code: 'device-lost',
  message: 'the GPU was lost while it was measured; start the role again',
  errorId: '7c1e90ab',
};

const WORKER = { class: 'attested' as const, engine: 'wasm, 1 thread', inHand: [] as string[] };
const RATES = { g1: 50_000, g2: 15_000 };
const chunks = (count: number) => Array.from({ length: count }, (_, i) => i.toString(16).padStart(16, '0'));

export const JOB = 'quality-7f02';
const minutesAgo = (minutes: number): number => monitorClock() - minutes * 60_000;

/** One actor of each kind and two workers, all of it as it should be, after a day of work. */
export function healthyHost(feed: Feed, options: { hardware?: number } = {}): void {
  const { hardware = 1 } = options;
  moves(feed, 'supervisor', 'host', ['starting', 'supervising']);
  beats(feed, 'supervisor', 'host', 'supervising', 2, { counts: { children: 8 } });
  moves(feed, 'enclave', 'host', [
    'absent',
    'creating',
    'measuring',
    'launched',
    'attesting',
    'provisioning',
    'serving',
  ]);
  beats(feed, 'enclave', 'host', 'serving', 7, {
    counts: { hardware, boots: 1, attestations: 2, validMs: 3_600_000 },
  });
  moves(feed, 'broker', 'host', ['opening', 'ready']);
  beats(feed, 'broker', 'host', 'ready', 2, { counts: { released: 2 } });
  moves(feed, 'runner', 'host', ['waiting', 'loading', 'verifying', 'ready'], { at: minutesAgo(24 * 60) });
  let served = 0;
  for (let ago = 24 * 60 - 1; ago >= 0; ago--) {
    // As a day goes: little at night, most at noon, and nothing heard for an hour.
    served += Math.round(100 * (1.1 + Math.sin(ago / 130)) + 20 * Math.sin(ago / 7));
    if (ago < 500 || ago > 560)
      beats(feed, 'runner', 'host', 'ready', 4, { counts: { served }, at: minutesAgo(ago) });
  }
  moves(feed, 'coordinator', 'coordinator-1', ['joining', 'admitting']);
  beats(feed, 'coordinator', 'coordinator-1', 'admitting', 2, {
    counts: { running: 1, admitted: 4, hardware },
  });
  for (const [id, resident] of [
    ['worker-1', 42],
    ['worker-2', 33],
  ] as const) {
    moves(feed, 'worker', id, ['joining', 'selfTesting', 'idle', 'fetching', 'computing']);
    const worker = { ...WORKER, credit: 2 ** 25, rates: RATES, resident: chunks(resident) };
    beats(feed, 'worker', id, 'computing', 5, { counts: { done: 11, points: 1e6, hardware }, worker });
  }
  for (const [index, ago] of [700, 420, 130].entries()) {
    const phases = {
      queued: 10,
      witnessing: 900,
      planning: 20,
      transforming: 4_000,
      dispatching: 9_000,
      assembling: 700,
      verifying: 60,
      publishing: 20,
    };
    const job = `quality-${index}`;
    moves(feed, 'proof-job', job, ['publishing', 'published'], { first: 8, at: minutesAgo(ago) });
    const body: ProofProgress = { job, phase: 'published', done: 40, total: 40, workers: [], phases };
    publish(feed, ProofProgress, subjects.progress('client-1', job), body, { epoch: 1, at: minutesAgo(ago) });
  }
  moves(feed, 'proof-job', JOB, ['queued', 'witnessing', 'planning', 'transforming', 'dispatching']);
  beats(feed, 'proof-job', JOB, 'dispatching', 5);
  const shards = [...runs('worker-1', 0), ...runs('worker-2', 1)];
  const some = dispatching(20);
  publish(
    feed,
    ProofProgress,
    subjects.progress('client-1', JOB),
    { ...some, workers: some.workers.slice(0, 2), shards },
    { epoch: 4 },
  );
}

/** What a worker did of the proof: ten shards one after the other, of which one was given back, one is a copy, one is held. */
function runs(worker: string, offset: number): ShardNews[] {
  return Array.from({ length: 11 }, (_, i): ShardNews => {
    const part = i < 7 ? 'wires' : 'quotient';
    const sentMs = 40 + i * 600 + offset * 130;
    const shard = `${part}-${(2 * i + offset) * 4096}-4096`;
    const given = { shard, worker, points: 4 * 4096, bytes: 2 ** 19, sentMs, predictedMs: 560 };
    if (i === 10) return given;
    if (i === 3 && offset === 1) return { ...given, end: 'refused', endMs: sentMs + 200 };
    if (i === 9 && offset === 1) return { ...given, copy: true, end: 'dropped', endMs: sentMs + 350 };
    return { ...given, end: 'done', endMs: sentMs + 590 + (i % 3) * 40, computeMs: 540 + (i % 3) * 40 };
  });
}

/** The same with what may be wrong: a lost GPU, a worker that has been silent for a minute, one that was restarted, a false statement. */
export function busyHost(feed: Feed): void {
  healthyHost(feed, { hardware: 0 });
  moves(feed, 'gpu', 'host', ['unbound', 'binding', 'failed']);
  beats(feed, 'gpu', 'host', 'failed', 3, { failure: LOST });
  const minuteAgo = minutesAgo(1);
  moves(feed, 'worker', 'worker-3', ['joining', 'selfTesting', 'idle'], { at: minuteAgo });
  beats(feed, 'worker', 'worker-3', 'idle', 3, {
    at: minuteAgo,
    leaseMs: 10_000,
    worker: { class: 'masked', engine: 'webgpu', credit: 4, inHand: [], rates: RATES, resident: [] },
  });
  moves(feed, 'worker', 'worker-4', ['joining', 'selfTesting', 'failed'], { boot: 'crashed' });
  moves(feed, 'worker', 'worker-4', ['joining', 'selfTesting', 'idle', 'computing']);
  moves(feed, 'worker', 'worker-4', ['idle'], { first: 8 });
  beats(feed, 'worker', 'worker-4', 'idle', 8, {
    counts: { done: 9, refused: 1 },
    worker: { ...WORKER, credit: 2 ** 24, rates: RATES, resident: chunks(3) },
  });
  moves(feed, 'proof-job', 'quality-a41c', [
    'queued',
    'witnessing',
    'planning',
    'transforming',
    'dispatching',
    'failed',
  ]);
  const failed: ProofProgress = {
    job: 'quality-a41c',
    phase: 'failed',
    done: 0,
    total: 0,
    workers: [],
    phases: { queued: 12, witnessing: 640 },
    error: {
      code: 'statement-false',
      message: 'the model classifies 214 of 300 rows correctly, 230 were asked for',
    },
  };
  publish(feed, ProofProgress, subjects.progress('client-1', 'quality-a41c'), failed, { epoch: 1 });
}

export const dispatching = (done: number): ProofProgress => ({
  job: JOB,
  phase: 'dispatching',
  done,
  total: 40,
  workers: [
    { id: 'worker-1', assigned: 2, done: Math.ceil(done / 2) },
    { id: 'worker-2', assigned: 1, done: Math.floor(done / 2) },
    { id: 'worker-3', assigned: 0, done: 0 },
  ],
  phases: { queued: 9, witnessing: 1_240, transforming: 6_310, planning: 31 },
});

/** The beginning of the page, or a part of it, small enough to be kept. */
export async function shoot(page: Page, name: string, part?: string): Promise<void> {
  if (SCREENSHOTS === undefined) return;
  const height = await page.evaluate(() => document.documentElement.scrollHeight);
  await page.setViewportSize({ width: 900, height: Math.min(height, 1000) });
  const path = join(SCREENSHOTS, `${name}.png`);
  await (part === undefined ? page : page.locator(part)).screenshot({ path });
  await page.setViewportSize({ width: 1280, height: 800 });
}

export const at = async (page: Page, hash: string, title: RegExp | string) => {
  await page.evaluate((to) => {
    location.hash = to;
  }, hash);
  await page.locator('#title', { hasText: title }).waitFor({ state: 'attached' });
};
export const host = (page: Page, id: string) =>
  page.locator('#actors tbody tr').filter({ has: page.locator('th', { hasText: new RegExp(`^${id}$`) }) });

export const wider = (page: Page) => page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
