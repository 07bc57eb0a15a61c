/**
 * The attacker wants his model, or an old one, or a false receipt, to pass under a vendor's name. He is a host with an
 * ordinary provisioner's and a broker's credentials and a vendor key of his own, or he runs the NATS server and changes
 * what it stores. He does not have the vendor's key, nor what the vendor gave to its key-brokers.
 */
import { readFileSync, writeFileSync } from 'node:fs';
import { generateSigner } from '../../protocols/cose.ts';
import { decodeMessage, encodeMessage } from '../../protocols/envelope.ts';
import { messageOf, type VouchError } from '../../protocols/errors.ts';
import { PublishedManifest, signManifest, verifyManifest } from '../../protocols/manifest.ts';
import { STREAMS } from '../../protocols/streams.ts';
import { subjects } from '../../protocols/subjects.ts';
import { DEFAULT_TERMS, type Terms } from '../../protocols/terms.ts';
import { createIdentity } from '../../runtime/attest/identity.ts';
import { verifyService } from '../../runtime/client/client.ts';
import { acquaint, type Pins } from '../../runtime/client/pins.ts';
import { folder } from '../../runtime/home/home.ts';
import { obtainModel, readManifest } from '../../runtime/models/obtain.ts';
import { type Publication, publishModel } from '../../runtime/models/publish.ts';
import { vendorSigner } from '../../runtime/models/vendor-key.ts';
import { smallModel } from '../circuits/model-fixture.ts';
import { assert, suite, type TestContext } from '../harness.ts';
import { startBroker, startHome } from '../runtime/home/home-fixture.ts';

const test = suite('attack: serve under a name', { timeoutMs: 120_000 });
const THEIRS = smallModel({ units: [3, 4, 2] });
const HIS = smallModel({ units: [3, 5, 2] });
let models = 1;

/** A vendor's published model with its broker, a client that has seen it, and the attacker's connection. */
async function start(t: TestContext) {
  const home = await startHome(t);
  const name = `name-${models++}`;
  const subject = subjects.model(name);
  const publish = (changes: Partial<Publication> = {}) =>
    publishModel(home.observer, 'provisioner.test', {
      name,
      model: THEIRS,
      policy: home.policies.release,
      ...changes,
    });
  const manifest = await publish();
  await home.role('broker', `broker-${name}`, startBroker);
  const client = await home.bus('client', 'c1');
  const runner = await home.bus('runner', 'r1');
  const identity = await createIdentity('runner', 'r1');
  const attacker = await home.bus('provisioner', 'attacker');
  const said: string[] = [];
  const look = async (pins: Pins = {}) =>
    acquaint(await readManifest(client, name), { ...pins, say: (line) => void said.push(line) });
  const stored = async () => (await attacker.getLast(STREAMS.models.name, subject))!.data;
  const put = (data: Uint8Array) => attacker.append(subject, data);
  const published = async () => decodeMessage(PublishedManifest, subject, await stored()).body;
  /** What somebody who changes messages on their way, or at rest, makes of the vendor's. */
  const alter = async (changes: object) => {
    const body = await published();
    const message = encodeMessage(PublishedManifest, {
      subject,
      source: 'provisioner.test',
      body: { ...body, manifest: { ...body.manifest, ...changes } },
    });
    await put(message);
  };
  return {
    home,
    name,
    manifest,
    publish,
    client,
    attacker,
    said,
    look,
    stored,
    put,
    alter,
    obtain: () => obtainModel(runner, 'runner.r1', identity, name),
  };
}
const refusalOf = async (work: Promise<unknown>): Promise<VouchError> =>
  work.then(
    () => assert.unreachable('it was accepted') as never,
    (error: unknown) => error as VouchError,
  );
const refuses = async (work: Promise<unknown>, code: string, words: RegExp) => {
  const error = await refusalOf(work);
  assert.is(error.code, code, messageOf(error));
  assert.match(messageOf(error), words);
};

test('a model of his own under the name: whoever has seen or pinned the vendor refuses, with both fingerprints', async (t) => {
  const { home, name, client, attacker, said, look } = await start(t);
  assert.is(await look(), 'first-use');
  assert.is(await look(), 'remembered');
  const theirs = (await readManifest(client, name)).vendor;
  assert.match(said.join('\n'), new RegExp(`vendor ${theirs}, seen for the first time`));

  const vendor = await generateSigner();
  await publishModel(attacker, 'provisioner.attacker', {
    name,
    model: HIS,
    policy: home.policies.release,
    vendor,
  });
  const { vendor: his, manifest } = await readManifest(client, name);
  const both = new RegExp(`its vendor was ${theirs}, now it is ${his}: .*--vendor ${his}`);
  await refuses(look(), 'signature-rejected', both);
  await refuses(look({ vendor: theirs }), 'signature-rejected', /expected .*\(--vendor\)/);
  const pinned = { ...home.policies.inference, vendor: theirs };
  await refuses(look({ policy: pinned }), 'signature-rejected', /policy\.vendor/);
  // The pin of a policy holds without any memory as well.
  const asked = verifyService(client, 'client.c1', name, pinned);
  await refuses(asked, 'signature-rejected', /policy\.vendor/);

  // Only who is told by the vendor, and says so, takes the new key.
  assert.is(await look({ vendor: manifest.vendor }), 'pinned');
  assert.is(await look(), 'remembered');
});

test('the policy set to ff…ff in flight, or any other member: neither client nor runner takes it', async (t) => {
  const { look, alter, obtain, publish, client, name } = await start(t);
  await look();
  const changes = {
    policy: 'ff'.repeat(32),
    commitment: '1',
    terms: { ...DEFAULT_TERMS, answers: 'exact' } satisfies Terms,
    architecture: { classes: ['bad', 'good'] },
    serial: 2 ** 50,
    sealedModel: '00'.repeat(32),
  };
  for (const [member, value] of Object.entries(changes)) {
    await publish();
    await alter({ [member]: value });
    await refuses(readManifest(client, name), 'signature-rejected', /signed another one/);
    await refuses(obtain(), 'signature-rejected', /signed another one/);
  }
});

test('an older manifest of the vendor put back: refused by who has seen a newer one, and by the broker', async (t) => {
  const { look, publish, stored, put, obtain } = await start(t);
  await publish({ terms: { ...DEFAULT_TERMS, answers: 'exact' } });
  const old = await stored();
  await look();
  await publish();
  await look();
  await obtain();
  await put(old);
  await refuses(look(), 'signature-rejected', /is not the newest that was seen here/);
  // A runner that starts now would serve exact answers, if the broker answered for another publication than its own.
  await refuses(obtain(), 'signature-rejected', /not signed by the release key in the manifest/);
});

test('two manifests of one serial, which only a vendor can sign: the second is refused', async (t) => {
  const { client, look, publish, name } = await start(t);
  await publish();
  await look();
  const { manifest, signature } = await readManifest(client, name);
  const other = await signManifest(await vendorSigner(), { ...manifest, policy: 'ff'.repeat(32) });
  const pins = { say: () => {} };
  await refuses(acquaint(verifyManifest(other), pins), 'signature-rejected', /is not the newest/);
  await acquaint(verifyManifest({ manifest, signature }), pins);
});

test('a broker that the manifest does not name answers the release', async (t) => {
  const { home, name, obtain } = await start(t);
  await obtain();
  // He has a copy of the entry but for the release key, which he has to make up; and a policy that says what he wants.
  const file = folder('broker', `${name}.json`);
  const entry = JSON.parse(readFileSync(file, 'utf8'));
  writeFileSync(file, JSON.stringify({ ...entry, releaseKey: 'ab'.repeat(32) }));
  await refuses(obtain(), 'signature-rejected', /not signed by the release key in the manifest/);
  // With the right key, the policy that he releases under has to be the vendor's.
  const policy = { ...home.policies.release, maxAgeSeconds: 299 };
  writeFileSync(file, JSON.stringify({ ...entry, policy }));
  await refuses(obtain(), 'key-rejected', /its policy is [0-9a-f]{64}, expected [0-9a-f]{64}/);
  writeFileSync(file, JSON.stringify(entry));
  await obtain();
});

test('a new model of the same vendor is taken, and said; a pinned commitment refuses it', async (t) => {
  const { home, look, publish, manifest, said } = await start(t);
  await look();
  await publish({ model: HIS });
  assert.is(await look(), 'remembered');
  assert.match(said.at(-1)!, /its vendor has published a new model, commitment \d+/);
  const policy = { ...home.policies.inference, commitment: manifest.commitment };
  await refuses(look({ policy }), 'commitment-mismatch', /policy\.commitment/);
});

test.run();
