/**
 * Answers in text through the real roles, NATS and client: what is said with which receipt, how a slow reader, a client that
 * is gone, a cancellation and a lost engine end, and that nobody learns what another asked. The engine is a script.
 */

import { decodeMessage } from '../../../protocols/envelope.ts';
import { VouchError } from '../../../protocols/errors.ts';
import { verifyReceipt } from '../../../protocols/receipt.ts';
import { STREAMS } from '../../../protocols/streams.ts';
import { subjects } from '../../../protocols/subjects.ts';
import { Heartbeat } from '../../../protocols/transition.ts';
import type { ChatStream } from '../../../runtime/client/chat.ts';
import { hearGpuUse } from '../../../runtime/home/gpu-users.ts';
import { MAX_TOOL_CALL_BYTES } from '../../../runtime/inference/tool-calls.ts';
import { createStreams } from '../../../runtime/roles/text-streams.ts';
import { assert, suite } from '../../harness.ts';
import { until } from '../home/home-fixture.ts';
import { scriptedEngine } from '../inference/scripted-engine.ts';
import { temporaryFolder } from '../nats/nats-fixture.ts';
import { MODEL, serveText } from './chat-fixture.ts';

const test = suite('chat', { timeoutMs: 90_000 });

async function readAll(stream: ChatStream): Promise<string> {
  let text = '';
  for await (const piece of stream) text += piece.text;
  return text;
}
const errorOf = (outcome: Promise<unknown>): Promise<VouchError> =>
  outcome.then(
    () => assert.unreachable('it was answered'),
    (error: unknown) => error as VouchError,
  ) as Promise<VouchError>;

/** Says a word a turn, for ever, with a breath between them. */
async function* endless(signal: AbortSignal) {
  for (let i = 0; !signal.aborted; i++) {
    yield `${i} `;
    await new Promise((resume) => setTimeout(resume, 1));
  }
}

test('an answer comes in pieces, and its receipt is over the request and all of it', async (t) => {
  const served = await serveText(t, scriptedEngine({ say: () => ['Grüezi, ', '世界', '!'] }));
  const { client, chat, policies } = served;
  const stream = chat('hello');
  assert.is(await readAll(stream), 'Grüezi, 世界!');
  const made = await stream.receipt;
  assert.equal([made.end.finish, made.end.promptTokens, made.end.completionTokens], ['stop', 5, 3]);
  assert.equal(made.report.claims?.text?.engine, { name: 'script', version: '1', build: 'test' });
  assert.is(made.report.claims?.answers, 'text');
  // The very bundle is stored, under the client's name.
  const subject = subjects.receipt(MODEL, client.bus.id, made.end.receiptId);
  const stored = await client.bus.getLast(STREAMS.receipts.name, subject);
  assert.equal([...stored!.data], [...made.bundle]);
  // As many at once as one client may have, each with its own.
  const many = Array.from({ length: 32 }, (_, i) => chat(`hello ${i}`));
  const texts = await Promise.all(many.map(readAll));
  assert.equal(new Set(texts), new Set(['Grüezi, 世界!']));
  const ids = await Promise.all(many.map(async ({ receipt }) => (await receipt).end.receiptId));
  assert.is(new Set(ids).size, 32);
  // A stranger verifies it without the salts.
  const report = await verifyReceipt(made.bundle, { policy: policies.inference, now: new Date() });
  assert.is(report.verdict, 'accept');
});

test('a reader that does not read stops the engine, and goes on where it was; proofs on its GPU do not wait for him', async (t) => {
  const engine = scriptedEngine({ say: (_, signal) => endless(signal) });
  const turns = await temporaryFolder(t);
  const { chat, client } = await serveText(t, engine, { textOnGpu: true, turns });
  let isBusy = false;
  const hearing = await hearGpuUse(({ busy }) => {
    isBusy = busy;
  }, turns);
  t.defer(() => hearing.close());
  const stream = chat('count', { credit: 4, batchMs: 0 });
  const pieces = stream[Symbol.asyncIterator]();
  await pieces.next();
  // What was granted is said, and one more asked for at most.
  await until(() => engine.said() >= 4);
  await new Promise((resume) => setTimeout(resume, 300));
  assert.ok(engine.said() <= 7, `${engine.said()} pieces were made for a reader of one`);
  await until(() => !isBusy);
  // The monitor shows as much, and no word.
  let counts: Record<string, number> = {};
  const beats = client.bus.subscribe(subjects.beat('runner', 'e1'), ({ subject, data }) => {
    ({ counts } = decodeMessage(Heartbeat, subject, data).body);
  });
  await until(() => counts.streams === 1);
  assert.is(counts.waiting, 0);
  assert.ok(counts.firstTokenMs! >= 0);
  beats.unsubscribe();
  const before = engine.said();
  for (let i = 0; i < 20; i++) await pieces.next();
  assert.ok(engine.said() > before);
  while (!isBusy) await pieces.next();
  await pieces.return?.();
  assert.is((await stream.receipt).end.finish, 'cancelled');
  await until(() => !isBusy);
});

test('a cancellation reaches the engine, and the receipt is over what was sent', async (t) => {
  const engine = scriptedEngine({ say: (_, signal) => endless(signal) });
  const { chat, runner } = await serveText(t, engine);
  const stream = chat('count', { credit: 1000 });
  let text = '';
  for await (const piece of stream) {
    text += piece.text;
    if (text.length > 20) stream.cancel();
  }
  await until(() => engine.stopped() === 1);
  const made = await stream.receipt;
  assert.is(made.end.finish, 'cancelled');
  assert.is(made.text, text);
  assert.is(made.report.verdict, 'accept');
  await until(() => runner.actor.getSnapshot().value === 'ready');
});

test('a client that is gone is noticed, and its stream ends with a stored receipt', async (t) => {
  const engine = scriptedEngine({ say: (_, signal) => endless(signal) });
  const { chat, clientOf, runner } = await serveText(t, engine, { streams: createStreams({ leaseMs: 500 }) });
  const other = await clientOf('gone');
  const stream = chat('count', {}, other);
  const pieces = stream[Symbol.asyncIterator]();
  await pieces.next();
  const unread = chat('count', {}, other);
  await unread[Symbol.asyncIterator]().next();
  await other.bus.close();
  assert.is((await errorOf(unread.receipt)).code, 'nats-unreachable', 'although nobody reads on');
  const rest = await errorOf(
    (async () => {
      while (!(await pieces.next()).done);
    })(),
  );
  assert.is(rest.code, 'nats-unreachable');
  await until(() => engine.stopped() === 2 && runner.actor.getSnapshot().value === 'ready');
});

test('calls of tools that fit no frame are refused by a sentence, and the runner serves on', async (t) => {
  const script = scriptedEngine({ say: () => [] });
  const end = { finish: 'tool_calls', promptTokens: 1, completionTokens: 1 } as const;
  let toolCalls: unknown = ['x'.repeat(MAX_TOOL_CALL_BYTES)];
  const { chat } = await serveText(t, {
    ...script,
    async *generate() {
      yield { text: 'word', tokens: 1 };
      return { ...end, toolCalls };
    },
  });
  const stream = chat('call');
  const error = await errorOf(readAll(stream));
  assert.match(`${error.code}: ${error.message}`, /^too-large: .*bytes of calls of tools/);
  assert.is((await errorOf(stream.receipt)).code, 'too-large');
  toolCalls = ['x'.repeat(MAX_TOOL_CALL_BYTES - 4)];
  const fitting = chat('call');
  await readAll(fitting);
  assert.equal((await fitting.receipt).toolCalls, toolCalls);
});

test('a frame that no runner sends ends the stream before it is opened, read or not', async (t) => {
  const { chat, client } = await serveText(t, scriptedEngine({ say: () => ['word'] }));
  /** The client's own connection, on which a frame of whoever runs the server comes first. */
  const converse: typeof client.bus.converse = (subject, request, { onAnswer, ...rest }) => {
    onAnswer({ subject, headers: {}, data: new Uint8Array(2 ** 20 + 1), reply: undefined });
    return client.bus.converse(subject, request, { onAnswer, ...rest });
  };
  const stream = chat('hello', {}, { ...client, bus: { ...client.bus, converse } });
  for (const outcome of [readAll(stream), stream.receipt]) {
    const error = await errorOf(outcome);
    assert.match(
      `${error.code}: ${error.message}`,
      /^too-large: chat: expected frames of at most 1048576 bytes, got 1048577/,
    );
  }
});

test('a receipt settles although nobody reads: cancelled before anything was sent, and in the middle', async (t) => {
  const engine = scriptedEngine({ say: (_, signal) => endless(signal) });
  const { chat } = await serveText(t, engine);
  // Nothing of it was read, so nothing was sent.
  const early = chat('count');
  early.cancel();
  assert.is((await errorOf(early.receipt)).code, 'cancelled');
  const told = new AbortController();
  const never = chat('count', { signal: told.signal });
  told.abort();
  assert.is((await errorOf(never.receipt)).code, 'cancelled');
  assert.is((await errorOf(readAll(never))).code, 'cancelled');
  assert.is(engine.said(), 0);

  // Who has read one piece and goes away without a word; the others are there for who comes back.
  const left = chat('count', { credit: 8 });
  const pieces = left[Symbol.asyncIterator]();
  const first = await pieces.next();
  left.cancel();
  const made = await left.receipt;
  assert.is(made.end.finish, 'cancelled');
  let text = first.done ? '' : first.value.text;
  for (let next = await pieces.next(); !next.done; next = await pieces.next()) text += next.value.text;
  assert.is(text, made.text, 'every piece once, and in its order');
});

test('a lost engine ends its streams with a code, and fails the runner', async (t) => {
  const engine = scriptedEngine({
    async *say() {
      yield 'half a ';
      throw new VouchError('device-lost', 'the engine has died');
    },
  });
  const { chat, runner, log } = await serveText(t, engine);
  const stream = chat('hello');
  assert.is((await errorOf(readAll(stream))).code, 'device-lost');
  assert.is((await errorOf(stream.receipt)).code, 'device-lost');
  await until(() => runner.actor.getSnapshot().value === 'failed');
  assert.ok(log.some((line) => line.includes('the engine has died')));
  // Idle, it says so as well, and from then on requests are refused.
  assert.is((await errorOf(readAll(chat('again')))).code, 'not-ready');
});

test('an engine that dies while nothing is asked fails the runner', async (t) => {
  const engine = scriptedEngine({ say: () => ['never'] });
  const { runner } = await serveText(t, engine);
  engine.lose('its process has ended');
  await until(() => runner.actor.getSnapshot().value === 'failed');
  assert.match(runner.failure()!.message, 'its process has ended');
});

test('NATS restarted in the middle ends the stream with a code, and its runner serves on', async (t) => {
  const engine = scriptedEngine({ say: (_, signal) => endless(signal) });
  const { chat, server, runner, client } = await serveText(t, engine, {
    streams: createStreams({ leaseMs: 2000 }),
  });
  const stream = chat('count');
  await stream[Symbol.asyncIterator]().next();
  process.kill(server.pid, 'SIGKILL');
  assert.is((await errorOf(readAll(stream))).code, 'nats-unreachable');
  await until(() => client.bus.state === 'connected' && runner.bus.state === 'connected');
  // Nobody is heard of the first stream any more, so it ends by itself.
  await until(() => engine.stopped() === 1);
  const again = chat('again');
  await until(async () => (await again[Symbol.asyncIterator]().next()).done === false);
  again.cancel();
});

test('one client has so many streams at a time, others their own', async (t) => {
  const engine = scriptedEngine({ say: (_, signal) => endless(signal) });
  const { chat, clientOf } = await serveText(t, engine, { streams: createStreams({ perClient: 2 }) });
  const running = [chat('a'), chat('b')];
  for (const stream of running) await stream[Symbol.asyncIterator]().next();
  assert.is((await errorOf(readAll(chat('c')))).code, 'busy');
  const other = chat('d', {}, await clientOf('two'));
  await other[Symbol.asyncIterator]().next();
  for (const stream of [...running, other]) stream.cancel();
});

test('nobody learns what another asked: not from answers, log, transitions or heartbeats', async (t) => {
  const secret = 'swordfish-4711';
  // An engine that tells all that it remembers, and a fault that quotes the request.
  const remembered: string[] = [];
  const engine = scriptedEngine({
    *say({ messages }) {
      const own = messages.map(({ content }) => content).join();
      if (own.includes('fail')) throw new Error(`cannot answer ${own}`);
      yield* remembered;
      yield `you said ${own.length} characters`;
    },
  });
  const { chat, clientOf, log, observer, counts } = await serveText(t, engine);
  const seen: string[] = [];
  const monitor = await clientOf('watcher');
  monitor.bus.subscribe(
    subjects.beat('runner', 'e1'),
    ({ data }) => void seen.push(new TextDecoder().decode(data)),
  );
  await readAll(chat(secret));
  const failed = await errorOf(readAll(chat(`${secret} fail`)));
  assert.is(failed.code, 'internal');
  assert.not(failed.message.includes(secret));
  const other = await clientOf('two');
  const texts = await Promise.all([
    readAll(chat('what do you know?', {}, other)),
    readAll(chat('and now?', {}, other)),
  ]);
  for (const text of texts) assert.not(text.includes(secret));
  await until(() => seen.length > 0);
  const states = await observer.getLast(STREAMS.states.name, subjects.state('runner', 'e1'));
  for (const text of [...seen, new TextDecoder().decode(states?.data), JSON.stringify(counts())])
    assert.not(text.includes(secret), text);
  // A defect's own words are in the log of the attested process; those of requests are not.
  assert.equal(
    log.filter((line) => line.includes(secret)),
    [],
  );
});

test.run();
