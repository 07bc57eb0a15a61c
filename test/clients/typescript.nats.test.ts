/** `vouch/client` against a real runner: it trusts whom it was told to trust, and believes what it verified. */
import { evaluate } from '../../circuits/model/quantise.ts';
import { hex } from '../../protocols/encoding.ts';
import { groupOf } from '../../protocols/stored-receipts.ts';
import { openClient } from '../../runtime/client/index.ts';
import { folder } from '../../runtime/home/home.ts';
import { credentials } from '../../runtime/installation/credentials.ts';
import { assert, suite } from '../harness.ts';
import { codeOf } from '../runtime/nats/nats-fixture.ts';
import { MODEL, serving } from '../runtime/roles/serving-fixture.ts';

const test = suite('TypeScript client', { timeoutMs: 90_000 });

test('it decides many rows over one session, and refuses another vendor and no vendor', async (t) => {
  const { url, model, policies, vendor } = await serving(t);
  const creds = await credentials('client', 'one', folder('creds'));
  const policy = JSON.parse(JSON.stringify(policies.inference)) as unknown;
  const client = await openClient({ url, creds, policy, vendor });
  t.defer(() => client.close());
  const rows = Array.from({ length: 12 }, (_, i) => ['7', String(i), '4', '11']);
  const made = await Promise.all(rows.map((row) => client.decide(MODEL, row)));
  made.forEach(({ answer, receipt }, i) => {
    assert.is(answer.decision, evaluate(model, rows[i]!.map(Number)).decision);
    assert.is(receipt.verdict, 'accept');
  });
  assert.is(new Set(made.map(({ evidenceNonce }) => evidenceNonce)).size, 1, 'one session');
  const groups = new Set(made.map(({ nonce }) => groupOf(nonce)));
  assert.is(groups.size, 2, 'the first alone, and the group of those that were asked beside it');
  const { enclave } = (await client.service(MODEL)).document;
  const stored = ({ nonce }: { nonce: string }) => client.stored({ model: MODEL, enclave, nonce });
  for (const one of made) assert.is(hex((await stored(one))!), hex(one.bundle));
  const alone = await client.decide(MODEL, rows[0]!);
  assert.is(groupOf(alone.nonce), undefined);
  assert.is(hex((await stored(alone))!), hex(alone.bundle));

  const stranger = await openClient({ url, creds, policy, vendor: '00'.repeat(32) });
  t.defer(() => stranger.close());
  assert.is(await stranger.stored({ model: MODEL, enclave, nonce: '00'.repeat(32) }), undefined);
  assert.is(await codeOf(stranger.decide(MODEL, rows[0]!)), 'signature-rejected');
  assert.is(await codeOf(openClient({ url, creds, policy })), 'bad-input');
  assert.is(await codeOf(openClient({ url, creds, policy: {}, vendor })), 'bad-message');
});

test.run();
