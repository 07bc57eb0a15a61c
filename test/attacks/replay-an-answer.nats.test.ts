/**
 * Attacker: whoever operates the NATS server, beside a genuine service. He keeps its genuine, signed evidence and sealed
 * answers and gives them to other questions, or tells a client that its request was refused.
 */
import { infer, verifyService } from '../../runtime/client/client.ts';
import { assert, suite } from '../harness.ts';
import { MODEL, serving } from '../runtime/roles/serving-fixture.ts';
import { edit, isOf, refusal, through } from './nats-proxy.ts';

const test = suite('attack: replay an answer', { timeoutMs: 120_000 });

test('evidence and answers of a genuine service, for other nonces and other requests', async (t) => {
  const { url, policies } = await serving(t);
  const policy = policies.inference;
  let old: unknown;
  let replay = true;
  let lastSealed: Buffer | undefined;
  let mode: 'sealed' | 'cause' | 'error' | 'none' = 'none';
  const bus = await through(t, url, (message) => {
    if (isOf(message, 'evidence.reply'))
      edit(message, (envelope) => {
        if (old === undefined) old = envelope.body;
        else if (replay) envelope.body = old;
      });
    if (!message.up && message.headers.includes('"type":"infer.reply"')) {
      if (mode === 'sealed') message.payload = lastSealed!;
      if (mode === 'cause') message.headers = message.headers.replace(/"cause":"[^"]*"/, '"cause":"another"');
      if (mode === 'error') {
        const { subject } = JSON.parse(/Vouch-Envelope: (.*)\r/.exec(message.headers)![1]!);
        message.headers = '';
        message.payload = Buffer.from(
          JSON.stringify({
            id: 'forged',
            type: 'error',
            version: 1,
            source: 'runner.r',
            time: new Date().toISOString(),
            subject,
            cause: 'another',
            body: { code: 'bad-input', message: 'of another request', errorId: 'e', retryable: false },
          }),
        );
      }
      lastSealed = message.payload;
    }
  });
  await verifyService(bus, 'client.victim', MODEL, policy);
  assert.match(
    await refusal(verifyService(bus, 'client.victim', MODEL, policy)),
    /^replayed: evidence rejected: binding.nonce/,
  );

  replay = false;
  const service = await verifyService(bus, 'client.victim', MODEL, policy);
  const row = ['0', '12', '-3', '5'];
  const asked = () => refusal(infer(bus, 'client.victim', service, policy, row));
  await infer(bus, 'client.victim', service, policy, row);
  mode = 'sealed';
  assert.match(await asked(), /^seal-rejected/);
  mode = 'cause';
  assert.match(await asked(), /^bad-message: infer.reply: the reply answers another request/);
  mode = 'error';
  assert.match(await asked(), /^bad-message: error: the reply answers another request/);
});

test.run();
