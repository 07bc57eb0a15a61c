/** Whoever asked the gateway in OpenAI's API is gone before his answer is whole: the model stops, and his place is free. */
import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import OpenAI from 'openai';
import { assert, suite } from '../../harness.ts';
import { scriptedEngine } from '../inference/scripted-engine.ts';
import { until } from '../nats/nats-fixture.ts';
import { MODEL } from '../roles/chat-fixture.ts';
import { started, USER } from './openai-fixture.ts';

const test = suite('gateway: hang-ups', { timeoutMs: 100_000 });

/** What is asked while the place of the one before is not free yet is asked again. */
async function inTurn<T>(ask: () => PromiseLike<T>): Promise<T> {
  for (;;) {
    try {
      return await ask();
    } catch (error) {
      if ((error as { status?: number }).status !== 429) throw error;
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  }
}

test('a client that hangs up stops the model, and its place is free', async (t) => {
  const engine = scriptedEngine({
    async *say(_, signal) {
      while (!signal.aborted) {
        yield 'word ';
        await new Promise((resolve) => setTimeout(resolve, 5));
      }
    },
  });
  const { openai } = await started(t, engine, { requests: 1 });
  for (const how of ['break', 'abort'] as const) {
    const stream = await inTurn(() =>
      openai.chat.completions.create({
        model: MODEL,
        messages: [...USER],
        max_tokens: 900_000,
        stream: true,
      }),
    );
    for await (const _ of stream) {
      if (how === 'break') break;
      stream.controller.abort();
    }
    const wanted = how === 'break' ? 1 : 2;
    while (engine.stopped() < wanted) await new Promise((resolve) => setTimeout(resolve, 20));
  }
  // One that waits for a whole answer, too.
  const waiting = new AbortController();
  const before = engine.said();
  const ended = inTurn(() =>
    openai.chat.completions.create(
      { model: MODEL, messages: [...USER], max_tokens: 900_000 },
      { signal: waiting.signal },
    ),
  ).catch((error: unknown) => error);
  while (engine.said() === before) await new Promise((resolve) => setTimeout(resolve, 20));
  waiting.abort();
  assert.instance(await ended, OpenAI.APIUserAbortError);
  while (engine.stopped() < 3) await new Promise((resolve) => setTimeout(resolve, 20));
});

test('a connection that is reset in the middle of a stream cancels the chat, and its place is free', async (t) => {
  let forEver = true;
  const engine = scriptedEngine({
    async *say(_, signal) {
      yield 'word ';
      while (forEver && !signal.aborted) {
        yield 'word ';
        await new Promise((resolve) => setTimeout(resolve, 5));
      }
    },
  });
  const { openai, gateway, served } = await started(t, engine, { requests: 1 });
  const { port } = new URL(gateway.url);
  /** A connection on which some words of the answer have come; undefined while the place is not free yet. */
  const listening = async (path: string, asked: object): Promise<Socket | undefined> => {
    const body = JSON.stringify({ model: MODEL, max_tokens: 900_000, stream: true, ...asked });
    const socket = connect(Number(port), '127.0.0.1');
    t.defer(() => socket.destroy());
    socket.write(
      `POST ${path} HTTP/1.1\r\nHost: 127.0.0.1:${port}\r\nContent-Type: application/json\r\nContent-Length: ${body.length}\r\n\r\n${body}`,
    );
    let heard = '';
    while (heard.split('word').length <= 3) {
      const [part] = (await once(socket, 'data')) as [Buffer];
      heard += part;
      if (heard.startsWith('HTTP/1.1 429')) return undefined;
      assert.match(heard, /^HTTP\/1\.1 200/);
    }
    return socket;
  };
  const paths = { '/v1/chat/completions': { messages: USER }, '/v1/completions': { prompt: 'hi' } };
  for (const [count, [path, asked]] of Object.entries(paths).entries()) {
    let socket: Socket | undefined;
    await until(async () => {
      socket = await listening(path, asked);
      return socket;
    });
    socket!.resetAndDestroy();
    await until(() => engine.stopped() === count + 1);
  }
  await until(() => served.runner.actor.getSnapshot().value === 'ready');
  forEver = false;
  const again = () => openai.chat.completions.create({ model: MODEL, messages: [...USER] });
  let said: string | null = null;
  await until(async () => {
    const after = await again().catch((error: { status?: number }) => assert.is(error.status, 429));
    said = after?.choices[0]?.message.content ?? null;
    return said;
  });
  assert.is(said, 'word ');
});

test.run();
