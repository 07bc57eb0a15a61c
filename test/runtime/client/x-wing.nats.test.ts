/** A session sealed by X-Wing end to end: the vendor's policy demands it of the model's key, the client's of requests. */
import { evaluate } from '../../../circuits/model/quantise.ts';
import { infer, verifyService } from '../../../runtime/client/client.ts';
import { folder } from '../../../runtime/home/home.ts';
import { credentials } from '../../../runtime/installation/credentials.ts';
import { connect } from '../../../runtime/nats/connect.ts';
import { assert, suite } from '../../harness.ts';
import { MODEL, serving } from '../roles/serving-fixture.ts';

const test = suite('x-wing session', { timeoutMs: 180_000 });
const SOURCE = 'client.one';

test('key release, requests and answers by X-Wing, and by X25519 for whoever does not demand it', async (t) => {
  const { url, model, policies } = await serving(t, { sealing: 'x-wing' });
  const bus = await connect({ url, creds: await credentials('client', 'one', folder('creds')) });
  t.defer(() => bus.close());
  const row = ['7', '-1', '4', '11'];
  const expected = evaluate(model, row.map(Number));
  for (const [sealing, kem] of [
    ['x-wing', [0x64, 0x7a]],
    [undefined, [0x00, 0x20]],
  ] as const) {
    const policy = { ...policies.inference, ...(sealing === undefined ? {} : { sealing }) };
    const service = await verifyService(bus, SOURCE, MODEL, policy);
    const first = await infer(bus, SOURCE, service, policy, row);
    assert.equal([...first.sealed.subarray(0, 2)], [...kem]);
    assert.is(first.answer.decision, expected.decision);
    assert.is(first.receipt.verdict, 'accept');
    assert.ok(first.receipt.checks.every(({ detail }) => detail.startsWith('SIMULATED: ')));
    // The second receipt of a session is by the evidence of the first.
    const second = await infer(bus, SOURCE, service, policy, row);
    assert.is(second.receipt.claims?.evidence, service.digest);
    assert.is(second.receipt.claims?.sequence, first.receipt.claims!.sequence + 1);
  }
});

test.run();
