/**
 * A model key over three key-brokers, two of which give it back: real server, brokers in processes of their own that
 * are killed, a runner and a client that notice nothing until one too many is gone.
 */
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { verifyChain } from '../../../protocols/audit.ts';
import { messageOf, type VouchError } from '../../../protocols/errors.ts';
import { createIdentity } from '../../../runtime/attest/identity.ts';
import { infer, verifyService } from '../../../runtime/client/client.ts';
import { folder } from '../../../runtime/home/home.ts';
import { readBrokerEntry } from '../../../runtime/models/broker-store.ts';
import { obtainModel } from '../../../runtime/models/obtain.ts';
import { publishModel, type Split } from '../../../runtime/models/publish.ts';
import { auditSigner, copyFile, readChainFile } from '../../../runtime/roles/audit-log.ts';
import { startRoles, stopRoles } from '../../../runtime/roles/start.ts';
import { smallModel } from '../../circuits/model-fixture.ts';
import { assert, suite, type TestContext } from '../../harness.ts';
import { kill, startBroker, startHome } from '../home/home-fixture.ts';
import { codeOf } from '../nats/nats-fixture.ts';

const test = suite('key shares', { timeoutMs: 240_000 });

const model = smallModel({ units: [3, 4, 2] });
let models = 1;

async function start(t: TestContext, split: Split | undefined) {
  const home = await startHome(t);
  const name = `model-${models++}`;
  const publish = (over: Split | undefined = split) =>
    publishModel(home.observer, 'provisioner.test', {
      name,
      model,
      policy: home.policies.release,
      split: over,
    });
  const manifest = await publish();
  const bus = await home.bus('runner', 'r1');
  const identity = await createIdentity('runner', 'r1');
  const obtain = () => obtainModel(bus, 'runner.r1', identity, name);
  const fails = async () => (await obtain().catch((error) => error)) as VouchError;
  const entryOf = (broker: string) => folder('broker', broker, `${name}.json`);
  return { home, name, manifest, publish, obtain, fails, entryOf };
}
const over = (prefix: string): Split => ({ threshold: 2, brokers: [1, 2, 3].map((i) => `${prefix}-${i}`) });

test('2 of 3: one broker is killed and serving goes on; two, and the refusal says who is missing', async (t) => {
  const split = over('kill');
  const { home, name, manifest, obtain, fails } = await start(t, split);
  assert.equal(
    manifest.shares?.brokers.map(({ id }) => id),
    split.brokers,
  );
  const brokers = await Promise.all(split.brokers.map((id) => home.process('broker', id)));
  assert.is((await obtain()).manifest.commitment, manifest.commitment);

  await kill(brokers[0]!);
  const roles = await startRoles(['runner', 'gpu', 'enclave'], {
    url: home.server.url,
    creds: folder('creds'),
    id: 'enclave-1',
    log: home.say,
    model: name,
  });
  t.defer(() => stopRoles(roles, home.say));
  const client = await home.bus('client', 'c1');
  const service = await verifyService(client, 'client.c1', name, home.policies.inference);
  const answer = async () => {
    const { receipt } = await infer(client, 'client.c1', service, home.policies.inference, ['1', '2', '3']);
    return receipt.verdict;
  };
  assert.is(await answer(), 'accept');

  await kill(brokers[1]!);
  // Who has the model serves it; who comes now does not get it.
  assert.is(await answer(), 'accept');
  const error = await fails();
  assert.is(error.code, 'not-ready', messageOf(error));
  assert.match(messageOf(error), '2 of 3 key shares are needed, got 1');
  for (const id of ['kill-1', 'kill-2']) assert.match(messageOf(error), `${id}: `);
  assert.match(messageOf(error), 'no-responder');
  assert.not.match(messageOf(error), 'kill-3: ');

  // It comes back, with its share and its chain.
  await home.process('broker', 'kill-1');
  await obtain();
  for (const id of split.brokers) {
    const { publicKey } = await auditSigner(id);
    const { records, broken } = verifyChain(publicKey, readChainFile(copyFile(id)), { broker: id });
    assert.is(broken, undefined);
    const shares = new Set(records.map(({ share }) => share));
    assert.equal([...shares], records.length === 0 ? [] : [split.brokers.indexOf(id) + 1]);
  }
});

test('a broker whose policy refuses counts as missing, and says why', async (t) => {
  const split = over('strict');
  const { home, obtain, fails, entryOf } = await start(t, split);
  const brokers = [];
  for (const id of split.brokers) brokers.push(await home.role('broker', id, startBroker));
  const change = (id: string, policy: object) => {
    const entry = JSON.parse(readFileSync(entryOf(id), 'utf8'));
    writeFileSync(entryOf(id), JSON.stringify({ ...entry, policy: { ...entry.policy, ...policy } }));
  };
  change('strict-1', { measurements: ['ab'.repeat(48)] });
  await obtain();
  await brokers[1]!.stop();
  const error = await fails();
  // The other may come back, so it is worth another try.
  assert.is(error.code, 'not-ready', messageOf(error));
  assert.match(messageOf(error), 'strict-1: key of model');
  assert.match(messageOf(error), 'measurement');
  assert.match(messageOf(error), '(policy-rejected)');
  change('strict-3', { measurements: ['ab'.repeat(48)] });
  const hopeless = await fails();
  assert.is(hopeless.code, 'policy-rejected', messageOf(hopeless));
  assert.match(messageOf(hopeless), 'got 0');
});

test('a wrong share is noticed before it is used, and its broker named', async (t) => {
  const split = over('wrong');
  const { home, obtain, fails, entryOf, publish } = await start(t, split);
  for (const id of split.brokers) await home.role('broker', id, startBroker);
  const spoil = (id: string) => {
    const entry = JSON.parse(readFileSync(entryOf(id), 'utf8'));
    const last = entry.piece.endsWith('0') ? '1' : '0';
    writeFileSync(entryOf(id), JSON.stringify({ ...entry, piece: entry.piece.slice(0, -1) + last }));
  };
  spoil('wrong-2');
  await obtain();
  spoil('wrong-3');
  const error = await fails();
  assert.is(error.code, 'key-rejected', messageOf(error));
  assert.match(messageOf(error), 'wrong-2: share 2 is not the one that the manifest commits to');
  assert.match(messageOf(error), 'wrong-3: share 3');
  // One broker's share given to another is as wrong.
  await publish();
  writeFileSync(entryOf('wrong-1'), readFileSync(entryOf('wrong-2')));
  await obtain();
  writeFileSync(entryOf('wrong-3'), 'no entry');
  const damaged = messageOf(await fails());
  assert.match(damaged, /wrong-1: .*\(signature-rejected\)/);
  assert.match(damaged, /wrong-3: .*\(bad-file\)/);
});

test('no broker of a split has the key, and a new way of keeping it leaves no old share behind', async (t) => {
  const split = over('store');
  const { home, name, obtain, publish, entryOf } = await start(t, split);
  const whole = folder('broker', `${name}.json`);
  assert.not.ok(existsSync(whole));
  const secrets = split.brokers.map((id) => readBrokerEntry(name, id).secret);
  assert.is(new Set(secrets).size, 3);
  assert.is(await codeOf((async () => readBrokerEntry(name, 'somebody'))()), 'unknown-model');
  for (const id of split.brokers) await home.role('broker', id, startBroker);
  await obtain();
  await publish({ threshold: 1, brokers: ['store-2'] });
  assert.not.ok(existsSync(entryOf('store-1')));
  await obtain();
  await publishModel(home.observer, 'provisioner.test', { name, model, policy: home.policies.release });
  assert.ok(existsSync(whole));
  assert.not.ok(existsSync(entryOf('store-2')));
  // Three brokers hold all of it now; whoever answers first is asked.
  const { manifest } = await obtain();
  assert.is(manifest.shares, undefined);
});

test.run();
