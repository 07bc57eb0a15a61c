/**
 * A server of OpenAI's API on loopback as the engine. No vLLM or llama-server is here: node-llama-cpp behind a small server of the
 * tests stands in for them, in a process that can be killed.
 */
import { createServer as createHttpServer } from 'node:http';
import { type AddressInfo, createServer } from 'node:net';
import { MAX_TOOL_CALL_BYTES } from '../../../runtime/inference/tool-calls.ts';
import { openUpstream } from '../../../runtime/inference/upstream-engine.ts';
import { assert, suite, type TestContext } from '../../harness.ts';
import { codeOf, until } from '../nats/nats-fixture.ts';
import { answerOf, asking, embedded, sharedEngine, startUpstream } from './llama-fixture.ts';

const test = suite('upstream engine', { timeoutMs: 100_000 });

/** A server of the right form that says these deltas, each in an event of its own, and then that it has called tools. */
async function saying(
  t: TestContext,
  deltas: () => Iterable<unknown>,
): Promise<{ url: string; hungUp(): boolean }> {
  let closed = false;
  const server = createHttpServer(async (request, response) => {
    if (request.method === 'GET') {
      const found = request.url === '/v1/models';
      return response.writeHead(found ? 200 : 404).end(JSON.stringify({ data: [{ id: 'liar' }] }));
    }
    response.on('close', () => {
      closed = !response.writableFinished;
    });
    const say = (value: unknown) => response.write(`data: ${JSON.stringify(value)}\n\n`);
    for (const delta of deltas()) {
      if (response.destroyed) return;
      if (!say({ choices: [{ delta }] }))
        await new Promise((resume) => response.once('drain', resume).once('close', resume));
    }
    say({ choices: [{ delta: {}, finish_reason: 'tool_calls' }] });
    return response.end('data: [DONE]\n\n');
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  t.defer(() => {
    server.closeAllConnections();
    server.close();
  });
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/v1`, hungUp: () => closed };
}

test('it says what the server says, with tools, vectors and its version', async (t) => {
  const { url } = await startUpstream(t);
  await using engine = await openUpstream({ url });
  assert.equal(engine.provider, { name: 'upstream', version: '0.0.1', build: 'tiny' });
  const raw = { ...asking(''), messages: [{ role: 'prompt', content: 'abc' } as const] };
  const directly = await answerOf(await sharedEngine(t), raw);
  const { text, end } = await answerOf(engine, asking('abc'));
  assert.is((await answerOf(engine, raw)).text, text);
  // The server cuts letters where tokens end, so that only what is plain can be compared.
  assert.is(text.replace(/[^ -~]/g, ''), directly.text.replace(/[^ -~]/g, ''));
  assert.equal(end, { finish: 'length', promptTokens: 3, completionTokens: 40 });

  const tools = [{ type: 'function', function: { name: 'weather', parameters: {} } }];
  const called = await answerOf(engine, asking('x', { tools }));
  assert.is(called.end.finish, 'tool_calls');
  assert.equal(called.end.toolCalls, [
    { id: 'call_1', type: 'function', function: { name: 'weather', arguments: '{"city":"Ulm"}' } },
  ]);
  const vectors = await embedded(engine, ['a', 'b']);
  assert.equal(vectors, [Float32Array.of(0, 0.5), Float32Array.of(1, 0.5)]);
  assert.is(await codeOf(answerOf(engine, asking('x', { temperature: 3 }))), 'bad-input');
  assert.is(await codeOf(answerOf(engine, asking('x', { seed: 429 }))), 'busy');
});

test('cancelling hangs up, so that the server stops', async (t) => {
  const { url, said } = await startUpstream(t);
  await using engine = await openUpstream({ url });
  const abort = new AbortController();
  const answer = engine.generate(asking('x', { maxTokens: 400, seed: 7 }), abort.signal);
  await answer.next();
  abort.abort();
  let next = await answer.next();
  while (!next.done) next = await answer.next();
  assert.is(next.value.finish, 'cancelled');
  assert.is(await said(), 'hung up');
  for await (const _ of engine.generate(
    asking('x', { maxTokens: 400, seed: 7 }),
    new AbortController().signal,
  ))
    break;
  assert.is(await said(), 'hung up');
});

test('a server that dies is lost: for the answer in hand, and for who waits for no answer', async (t) => {
  for (const answering of [true, false]) {
    const { url, child } = await startUpstream(t);
    await using engine = await openUpstream({ url });
    const answer = engine.generate(asking('x', { maxTokens: 400, seed: 7 }), new AbortController().signal);
    if (answering) await answer.next();
    child.kill('SIGKILL');
    if (answering) {
      const rest = (async () => {
        while (!(await answer.next()).done);
      })();
      assert.is(await codeOf(rest), 'device-lost');
    }
    assert.match(await engine.lost, /nothing listens at 127\.0\.0\.1/);
    assert.is(await codeOf(answerOf(engine, asking('x'))), 'device-lost');
  }
});

test('calls of tools without end are refused by a sentence, and the server is hung up on', async (t) => {
  const kib = 'x'.repeat(1024);
  const endless = {
    arguments: { function: { arguments: kib } },
    name: { function: { name: kib } },
    id: { id: kib },
  };
  for (const [part, call] of Object.entries(endless)) {
    const { url, hungUp } = await saying(t, function* () {
      for (let i = 0; ; i++) yield { tool_calls: [{ index: i % 128, ...call }] };
    });
    await using engine = await openUpstream({ url });
    const error = await answerOf(engine, asking('x')).catch((error: unknown) => error as Error);
    assert.match(String(error), /expected at most 262144 bytes of calls of tools/, part);
    assert.is(await codeOf(Promise.reject(error)), 'too-large');
    await until(hungUp);
  }
  // As many as there is room for are taken, wherever a server begins to count.
  const most = 'y'.repeat(MAX_TOOL_CALL_BYTES - 7);
  const { url } = await saying(t, () => [
    { tool_calls: [{ index: 5, id: 'c', function: { name: 'ab', arguments: '{}' } }] },
    { tool_calls: [{ index: 5, function: { arguments: most } }] },
    { tool_calls: [{ index: 2, function: { name: 'ef' } }] },
  ]);
  await using engine = await openUpstream({ url });
  const { end } = await answerOf(engine, asking('x'));
  assert.equal(end.toolCalls, [
    { id: '', type: 'function', function: { name: 'ef', arguments: '' } },
    { id: 'c', type: 'function', function: { name: 'ab', arguments: `{}${most}` } },
  ]);
});

test('nothing is asked beyond loopback, and no redirection is followed', async (t) => {
  for (const url of [
    'http://192.0.2.7:8000/v1',
    'https://api.example.com/v1',
    'http://127.0.0.1.example.com/v1',
    'http://user@127.0.0.1/v1',
    'file:///etc/passwd',
    'localhost',
  ])
    assert.is(await codeOf(openUpstream({ url })), 'bad-input', url);
  const { url } = await startUpstream(t);
  assert.is(await codeOf(openUpstream({ url: `${url}/elsewhere` })), 'not-ready');
  assert.is(await codeOf(openUpstream({ url, model: 'other' })), 'bad-input');
  const silent = createServer((socket) => socket.end('nonsense'));
  await new Promise<void>((resolve) => silent.listen(0, '127.0.0.1', resolve));
  t.defer(() => silent.close());
  const { port } = silent.address() as { port: number };
  assert.is(await codeOf(openUpstream({ url: `http://127.0.0.1:${port}/v1` })), 'not-ready');
});

test.run();
