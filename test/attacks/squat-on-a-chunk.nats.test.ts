/**
 * Attacker: a client with credentials of its own. Digests of what others will upload can be predicted: a test set is
 * public, a proving key is made from public files. He wants their uploads to fail for ever, so he stores garbage under
 * those digests first; and he wants an upload to report success although what lies there is not what was uploaded.
 */
import { STREAMS } from '../../protocols/streams.ts';
import { subjects } from '../../protocols/subjects.ts';
import { getBlob, manifestOf, putBlob } from '../../runtime/nats/blobs.ts';
import { assert, suite } from '../harness.ts';
import { bytes, codeOf, startFixture } from '../runtime/nats/nats-fixture.ts';

const test = suite('attack: squat on a chunk', { timeoutMs: 60_000 });

const SHELVES = [
  ['keys', subjects.key],
  ['testSets', subjects.testSet],
] as const;

test("garbage under a digest that will be another's spoils the squatter's own only", async (t) => {
  const nats = await startFixture(t);
  const [mallory, victim] = [await nats.bus('client', 'mallory'), await nats.bus('client', 'victim')];
  const coordinator = await nats.bus('coordinator', 'c1');
  const blob = bytes('what everybody knows will be uploaded');
  const { digest, manifest } = manifestOf(blob);
  for (const [shelf, subject] of SHELVES) {
    for (const name of [digest, manifest.chunks[0]!.sha256]) {
      // Under the victim's name he may not write, under his own he may.
      assert.is(await codeOf(mallory.append(subject('victim', name), bytes('garbage'))), 'nats-credentials');
      await mallory.append(subject('mallory', name), bytes('garbage'));
    }
    assert.is((await putBlob(victim, shelf, blob)).digest, digest);
    const limits = { maxBytes: blob.length };
    assert.equal(await getBlob(coordinator, { shelf, writer: 'victim' }, digest, limits), blob);
    const squatted = getBlob(coordinator, { shelf, writer: 'mallory' }, digest, limits);
    assert.is(await codeOf(squatted), 'bad-file');
  }
});

test('an upload over garbage does not say that it is stored: it is read back, and mended', async (t) => {
  const nats = await startFixture(t);
  const client = await nats.bus('client', 'me');
  const worker = await nats.bus('worker', 'w1');
  const blob = bytes('bases');
  const { digest, manifest } = manifestOf(blob);
  // Whatever wrote it: another program with the same credentials, a damaged disk.
  for (const name of [digest, manifest.chunks[0]!.sha256])
    await client.append(subjects.key('me', name), bytes('garbage'));
  await putBlob(client, 'keys', blob);
  assert.equal(
    await getBlob(worker, { shelf: 'keys', writer: 'me' }, digest, { maxBytes: blob.length }),
    blob,
  );
});

test('what a client has spoilt for itself, the provisioner can clear away; the client cannot touch the stream', async (t) => {
  const nats = await startFixture(t);
  const client = await nats.bus('client', 'me');
  const provisioner = await nats.bus('provisioner', 'p');
  const subject = subjects.key('me', 'a'.repeat(64));
  await client.append(subject, bytes('garbage'));
  const { name } = STREAMS.keys;
  assert.is(await codeOf(client.api(`STREAM.PURGE.${name}`, { filter: subject })), 'nats-credentials');
  await provisioner.api(`STREAM.PURGE.${name}`, { filter: subject });
  assert.is(await client.getLast(name, subject), undefined);
});

test('a sealed model is written by the provisioner alone', async (t) => {
  const nats = await startFixture(t);
  for (const role of ['client', 'runner', 'worker', 'coordinator', 'broker'] as const) {
    const bus = await nats.bus(role, 'x1');
    assert.is(
      await codeOf(bus.request(subjects.sealedModel('a'.repeat(64)), bytes('x'))),
      'nats-credentials',
      role,
    );
  }
});

test.run();
