/**
 * What a process of actors says in numbers, on real actors: and what whoever reads them after each request must not learn, which
 * is how long it took to the microsecond, for whom, and about what.
 */
import { infer, verifyService } from '../../../runtime/client/client.ts';
import { folder } from '../../../runtime/home/home.ts';
import { publishModel } from '../../../runtime/models/publish.ts';
import { startHealth } from '../../../runtime/roles/health.ts';
import { startRoles, stopRoles } from '../../../runtime/roles/start.ts';
import { smallModel } from '../../circuits/model-fixture.ts';
import { assert, suite } from '../../harness.ts';
import { startHome, until } from '../home/home-fixture.ts';

const test = suite('metrics of actors', { timeoutMs: 90_000 });
const SOURCE = 'client.one';

test('latencies, errors, bytes, streams and expiry, in buckets and without a name of what is worked on', async (t) => {
  const home = await startHome(t);
  const model = smallModel({ units: [4, 3, 2] });
  await publishModel(home.observer, 'provisioner.test', {
    name: 'tiny',
    model,
    policy: home.policies.release,
  });
  const health = await startHealth({ host: '127.0.0.1', port: 0 });
  t.defer(() => health.close());
  const roles = await startRoles(['broker', 'runner', 'enclave', 'coordinator'], {
    url: home.server.url,
    creds: folder('creds'),
    id: 'e1',
    model: 'tiny',
    log: home.say,
    timed: health.timed,
  });
  t.defer(() => stopRoles(roles, home.say));
  health.watch(roles);
  const client = await home.bus('client', 'one');
  const policy = home.policies.inference;
  const service = await verifyService(client, SOURCE, 'tiny', policy);
  const ask = (row: readonly string[]) => infer(client, SOURCE, service, policy, row);
  await ask(['7', '-1', '4', '11']);
  await ask(['1', '2', '3', '4']);
  await ask(['x']).catch(() => {});

  const read = async () => (await fetch(`${health.url}/metrics`)).text();
  await until(async () => /vouch_effect_errors_total\{[^}]*effect="infer"/.test(await read()));
  const text = await read();
  const value = (name: string, ...labels: string[]): number => {
    const line = text
      .split('\n')
      .find((each) => each.startsWith(`${name}{`) && labels.every((label) => each.includes(label)));
    assert.ok(line, `${name} ${labels}`);
    return Number(line!.split(' ').at(-1));
  };
  assert.is(value('vouch_infer_seconds_count', 'role="runner"'), 2);
  const bounds = new Set(
    [...text.matchAll(/^vouch_infer_seconds_bucket\{le="([\d.]+)"/gm)].map(([, le]) => Number(le)),
  );
  const sum = value('vouch_infer_seconds_sum', 'role="runner"');
  const sums = [...bounds].flatMap((a) => [...bounds].map((b) => a + b));
  assert.ok(
    sums.some((each) => Math.abs(each - sum) < 1e-12),
    `${sum} is a sum of two bounds`,
  );
  for (const [role, effect] of [
    ['broker', 'release'],
    ['runner', 'load'],
    ['enclave', 'attest'],
    ['coordinator', 'join'],
  ])
    assert.ok(value('vouch_effect_seconds_count', `role="${role}"`, `effect="${effect}"`) >= 1);
  assert.is(value('vouch_effect_errors_total', 'role="runner"', 'code="bad-input"'), 1);
  assert.ok(value('vouch_evidence_expiry_seconds', 'role="enclave"') > Date.now() / 1000);
  for (const role of ['runner', 'enclave', 'broker', 'coordinator'])
    assert.ok(value('vouch_nats_received_bytes', `role="${role}"`) >= 0);
  assert.ok(value('vouch_nats_sent_bytes', 'role="runner"') > 100);
  assert.is(value('vouch_actor_count', 'role="runner"', 'count="served"'), 2);
  const limit = value('vouch_stream_limit_bytes', 'stream="VOUCH_STATES"');
  assert.ok(value('vouch_stream_bytes', 'stream="VOUCH_STATES"') < limit);
  assert.ok(value('vouch_stream_messages', 'stream="VOUCH_STATES"') > 0);
  for (const name of ['tiny', 'client', 'one"', 'vouch.v1']) assert.not(text.includes(name), name);
});

test.run();
