/**
 * OpenAI's API in the gateway, asked by OpenAI's own client as it comes, in front of a real client, runner and enclave. What the
 * model says is a script, where not what llama.cpp says is compared.
 */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import OpenAI from 'openai';
import { base64url } from '../../../protocols/encoding.ts';
import { VouchError } from '../../../protocols/errors.ts';
import { openUpstream } from '../../../runtime/inference/upstream-engine.ts';
import { publishModel } from '../../../runtime/models/publish.ts';
import { enclaveRole } from '../../../runtime/roles/enclave.ts';
import { untilUp } from '../../../runtime/roles/host.ts';
import type { Neighbours } from '../../../runtime/roles/neighbours.ts';
import { runnerRole } from '../../../runtime/roles/runner.ts';
import { smallModel } from '../../circuits/model-fixture.ts';
import { assert, suite } from '../../harness.ts';
import { answerOf, asking, embedded, sharedEngine, startUpstream } from '../inference/llama-fixture.ts';
import { scriptedEngine } from '../inference/scripted-engine.ts';
import { temporaryFolder } from '../nats/nats-fixture.ts';
import { DEFAULTS, MODEL } from '../roles/chat-fixture.ts';
import { started, USER } from './openai-fixture.ts';

const test = suite("gateway: OpenAI's API", { timeoutMs: 100_000 });
const SAY = ['Hello', ', ', 'wörld', ' 😀', '!'];

const refusal = async (asked: Promise<unknown>): Promise<InstanceType<typeof OpenAI.APIError>> => {
  const error = await asked.then(
    () => undefined,
    (error: unknown) => error,
  );
  assert.instance(error, OpenAI.APIError);
  return error as InstanceType<typeof OpenAI.APIError>;
};
type Vouched = { vouch?: { receipt: string; verdict: string; evidence: string } };

test('chat and completions, whole and streamed, with usage, receipt and verdict', async (t) => {
  const seen: unknown[] = [];
  const engine = scriptedEngine({
    say(request) {
      seen.push(request);
      return SAY;
    },
  });
  const { openai, gateway, served } = await started(t, engine);
  await publishModel(served.observer, 'provisioner.test', {
    name: 'rows',
    model: smallModel({ units: [4, 3, 2] }),
    policy: served.policies.release,
  });
  const models = await openai.models.list();
  assert.equal(
    models.data.map(({ id, object }) => [id, object]),
    [[MODEL, 'model']],
  );
  assert.match(models.data[0]!.owned_by, /^[0-9a-f]{64}$/);

  const { data, response } = await openai.chat.completions
    .create({
      model: MODEL,
      messages: [
        { role: 'developer', content: 'be short' },
        {
          role: 'user',
          content: [
            { type: 'text', text: 'h' },
            { type: 'text', text: 'i' },
          ],
        },
      ],
      max_completion_tokens: 20,
      top_p: 0.5,
      stop: 'never',
      seed: 3,
      user: 'somebody',
    })
    .withResponse();
  assert.equal(data.choices, [
    {
      index: 0,
      message: { role: 'assistant', content: SAY.join(''), refusal: null },
      logprobs: null,
      finish_reason: 'stop',
    },
  ]);
  assert.equal(data.usage, { prompt_tokens: 10, completion_tokens: 5, total_tokens: 15 });
  assert.equal(seen[0], {
    messages: [
      { role: 'developer', content: 'be short' },
      { role: 'user', content: 'hi' },
    ],
    maxTokens: 20,
    temperature: DEFAULTS.temperature,
    topP: 0.5,
    seed: 3,
    stop: ['never'],
  });
  assert.equal(
    [response.headers.get('vouch-verdict'), response.headers.get('vouch-evidence')],
    ['accept', 'SIMULATED'],
  );
  assert.match(response.headers.get('vouch-receipt')!, /^[0-9a-f]{32}$/);

  const stream = await openai.chat.completions.create({
    model: MODEL,
    messages: [...USER],
    stream: true,
    stream_options: { include_usage: true },
  });
  const chunks: OpenAI.ChatCompletionChunk[] = [];
  for await (const chunk of stream) chunks.push(chunk);
  assert.is(chunks.map(({ choices }) => choices[0]?.delta.content ?? '').join(''), SAY.join(''));
  assert.is(chunks[0]!.choices[0]!.delta.role, 'assistant');
  assert.is(new Set(chunks.map(({ id }) => id)).size, 1);
  assert.is(chunks.at(-2)!.choices[0]!.finish_reason, 'stop');
  assert.equal(chunks.at(-1)!.usage, { prompt_tokens: 2, completion_tokens: 5, total_tokens: 7 });
  const { vouch } = chunks.at(-1) as Vouched;
  assert.equal([vouch!.verdict, vouch!.evidence], ['accept', 'SIMULATED']);
  assert.is.not(vouch!.receipt, response.headers.get('vouch-receipt'));

  // The helper of the client that puts chunks together.
  const helped = openai.chat.completions.stream({ model: MODEL, messages: [...USER] });
  assert.is((await helped.finalChatCompletion()).choices[0]!.message.content, SAY.join(''));

  const text = await openai.completions.create({ model: MODEL, prompt: 'once', max_tokens: 2 });
  assert.equal([text.object, text.choices[0]!.text], ['text_completion', SAY.slice(0, 2).join('')]);
  assert.is(text.choices[0]!.finish_reason, 'length');
  assert.equal((seen.at(-1) as { messages: unknown }).messages, [{ role: 'prompt', content: 'once' }]);
  let continued = '';
  for await (const { choices } of await openai.completions.create({
    model: MODEL,
    prompt: 'x',
    stream: true,
  }))
    continued += choices[0]?.text ?? '';
  assert.is(continued, SAY.join(''));

  const metrics = await (await fetch(`${gateway.url}/metrics`)).text();
  assert.match(metrics, `vouch_gateway_answers_total{model="${MODEL}"} 5`);
  const { paths } = (await (await fetch(`${gateway.url}/openapi.json`)).json()) as { paths: object };
  assert.ok('/v1/chat/completions' in paths);
  assert.not.match(served.log.join('\n'), /wörld|be short/);
});

test('what is refused is an error as the client knows it, before and in the middle of a stream', async (t) => {
  let fail = false;
  const engine = scriptedEngine({
    async *say(request) {
      if (request.messages[0]?.content === 'too long')
        throw new VouchError('bad-input', 'messages: shorten it');
      yield 'a';
      if (fail) throw new Error('it broke');
    },
  });
  const { openai, gateway } = await started(t, engine, { requests: 1 });
  const ask = (more: object) =>
    openai.chat.completions.create({ model: MODEL, messages: [...USER], ...more } as never);
  const wrong: [object, RegExp][] = [
    [{ messages: [] }, /request\.messages/],
    [{ n: 2 }, /expected one answer/],
    [{ temperature: 3 }, /temperature/],
    [{ presence_penalty: 1 }, /no penalty/],
    [{ logit_bias: { 5: 1 } }, /no bias/],
    [{ logprobs: true }, /no probabilities/],
    [{ tool_choice: 'required', tools: [] }, /not forced/],
    [
      { messages: [{ role: 'user', content: [{ type: 'image_url', image_url: { url: 'x' } }] }] },
      /part of type image_url/,
    ],
    [{ messages: [{ role: 'user', content: 'too long' }] }, /shorten it/],
    [{ messages: [{ role: 'user', content: 'too long' }], stream: true }, /shorten it/],
  ];
  for (const [more, expected] of wrong) {
    const error = await refusal(ask(more));
    assert.instance(error, OpenAI.BadRequestError, JSON.stringify(more));
    assert.match(error.message, expected);
    assert.is(error.type, 'invalid_request_error');
  }
  const unknown = await refusal(ask({ model: 'nobody' }));
  assert.instance(unknown, OpenAI.NotFoundError);
  assert.is(unknown.code, 'model_not_found');
  assert.is((await fetch(`${gateway.url}/v1/nothing`)).status, 404);
  // Two at once: one has the only place.
  const both = await Promise.allSettled([ask({}), ask({}), ask({})]);
  const busy = both.filter((one) => one.status === 'rejected').map(({ reason }) => reason);
  assert.ok(busy.length >= 1 && busy.every((error) => error instanceof OpenAI.RateLimitError));

  fail = true;
  const stream = await openai.chat.completions.create({ model: MODEL, messages: [...USER], stream: true });
  let text = '';
  const reading = (async () => {
    for await (const { choices } of stream) {
      text += choices[0]?.delta.content ?? '';
      assert.is(choices[0]?.finish_reason ?? null, null, 'nothing says that the answer is whole');
    }
  })();
  const broken = await refusal(reading);
  assert.is(text, 'a');
  assert.not.match(broken.message, 'it broke');
  fail = false;
  await ask({});
});

test('llama.cpp behind it all says what it says directly; vectors and schemas come through', async (t) => {
  const engine = await sharedEngine(t);
  const { openai } = await started(t, engine);
  const expected = await answerOf(engine, asking('Grüße', { maxTokens: 60 }));
  const stream = await openai.chat.completions.create({
    model: MODEL,
    messages: [{ role: 'user', content: 'Grüße' }],
    max_tokens: 60,
    temperature: 0,
    top_p: 1,
    stream: true,
  });
  let text = '';
  for await (const { choices } of stream) text += choices[0]?.delta.content ?? '';
  assert.is(text, expected.text);

  const input = ['one', 'two'];
  const [one, two] = await embedded(engine, input);
  // Once as the client asks by itself (base64), once as numbers.
  for (const encoding of [{}, { encoding_format: 'float' } as const]) {
    const { data, usage } = await openai.embeddings.create({ model: MODEL, input, ...encoding });
    assert.equal(
      data.map(({ embedding }) => Float32Array.from(embedding)),
      [one, two],
    );
    assert.is(usage.prompt_tokens, 6);
  }
  const formed = await openai.chat.completions.create({
    model: MODEL,
    messages: [...USER],
    response_format: {
      type: 'json_schema',
      json_schema: { name: 'x', schema: { type: 'object', properties: { yes: { type: 'boolean' } } } },
    },
  });
  assert.is(typeof JSON.parse(formed.choices[0]!.message.content!).yes, 'boolean');
});

test('an enclave that came back with other keys goes unnoticed, answers are kept and verify, a key is demanded', async (t) => {
  const engine = scriptedEngine({ say: () => SAY });
  const receipts = await temporaryFolder(t);
  const key = 'k'.repeat(40);
  const { openai, gateway, served } = await started(t, engine, { receipts, keys: [key] });
  assert.instance(await refusal(openai.models.list()), OpenAI.AuthenticationError);
  const known = openai.withOptions({ apiKey: key });
  const ask = async () => {
    const asked = known.chat.completions.create({ model: MODEL, messages: [...USER] });
    const { data, response } = await asked.withResponse();
    assert.is(data.choices[0]!.message.content, SAY.join(''));
    return response.headers.get('vouch-receipt')!;
  };
  const before = await ask();
  await served.enclave.stop();
  await served.runner.stop();
  const neighbours: Neighbours = {};
  const runner = await served.role(
    'runner',
    'e1',
    runnerRole(neighbours, MODEL, undefined, { openEngine: async () => engine }),
  );
  runner.actor.send({ type: 'device.absent' });
  const enclave = await served.role('enclave', 'e1', enclaveRole(neighbours, served.policies.inference));
  enclave.actor.send({ type: 'enclave.start' });
  await untilUp(enclave, 30_000);
  const after = await ask();
  const kept = readdirSync(receipts);
  for (const id of [before, after]) {
    assert.ok(kept.includes(`${id}.cose`));
    const bundle = base64url(readFileSync(join(receipts, `${id}.cose`)));
    const { nonce } = JSON.parse(readFileSync(join(receipts, `${id}.json`), 'utf8'));
    const verified = await fetch(`${gateway.url}/verify`, {
      method: 'POST',
      headers: { 'Content-Type': 'application/json', Authorization: `Bearer ${key}` },
      body: JSON.stringify({ receipt: bundle, nonce }),
    });
    assert.is(((await verified.json()) as { verdict: string }).verdict, 'accept');
  }
});

test('tools go to an upstream, and its calls come back', async (t) => {
  const { url } = await startUpstream(t);
  const engine = await openUpstream({ url });
  t.defer(() => engine[Symbol.asyncDispose]());
  const { openai } = await started(t, engine);
  const tools = [
    { type: 'function', function: { name: 'weather', parameters: { type: 'object', properties: {} } } },
  ] as const;
  const called = await openai.chat.completions.create({
    model: MODEL,
    messages: [...USER],
    tools: [...tools],
  });
  const [choice] = called.choices;
  assert.equal([choice!.finish_reason, choice!.message.content], ['tool_calls', null]);
  const [call] = choice!.message.tool_calls!;
  assert.equal(call, {
    id: 'call_1',
    type: 'function',
    function: { name: 'weather', arguments: '{"city":"Ulm"}' },
  });
  const streamed = openai.chat.completions.stream({ model: MODEL, messages: [...USER], tools: [...tools] });
  const { tool_calls } = (await streamed.finalChatCompletion()).choices[0]!.message;
  assert.is((tool_calls![0] as { function: { arguments: string } }).function.arguments, '{"city":"Ulm"}');
  const answered = await openai.chat.completions.create({
    model: MODEL,
    messages: [...USER, choice!.message, { role: 'tool', tool_call_id: 'call_1', content: 'sunny' }],
    max_tokens: 3,
  });
  assert.is(answered.usage!.completion_tokens, 3);
});

test.run();
