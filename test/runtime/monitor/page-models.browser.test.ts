/**
 * Published models in the monitor's page, over a real server and with nothing but the monitor's own rights. On the other side: a
 * vendor, who writes names and shapes as he likes, and an operator of NATS, who puts into the stream what he likes.
 */
import { architectureDocument } from '../../../circuits/model/architecture.ts';
import { commit } from '../../../circuits/model/commit.ts';
import { signerFromSeed } from '../../../protocols/cose.ts';
import { base64url } from '../../../protocols/encoding.ts';
import { encodeMessage } from '../../../protocols/envelope.ts';
import {
  type ModelManifest,
  PublishedManifest,
  signManifest,
  vendorFingerprint,
} from '../../../protocols/manifest.ts';
import { subjects } from '../../../protocols/subjects.ts';
import { DEFAULT_TERMS, TEXT_TERMS } from '../../../protocols/terms.ts';
import type { FoundModel } from '../../../runtime/monitor/look-ups.ts';
import { startMonitorRole } from '../../../runtime/roles/monitor.ts';
import { barriers } from '../../chromium.ts';
import { smallModel } from '../../circuits/model-fixture.ts';
import { residualModel } from '../../circuits/tensors-fixture.ts';
import { assert, suite } from '../../harness.ts';
import { startFixture } from '../nats/nats-fixture.ts';
import { opened, shoot, wider } from './page-fixture.ts';

const test = suite('monitor page: models', { timeoutMs: 120_000 });

const VENDOR = await signerFromSeed(new Uint8Array(32).fill(7));
const DIGEST = '0'.repeat(64);

const signed = (name: string, changes: Partial<ModelManifest>) =>
  signManifest(VENDOR, {
    name,
    commitment: '5',
    architecture: {},
    terms: DEFAULT_TERMS,
    policy: DIGEST,
    sealedModel: DIGEST,
    releaseKeys: [base64url(VENDOR.publicKey)],
    serial: 1,
    ...changes,
  });

test('each is drawn with where its constraints go, and whatever a vendor or operator writes stays text', async (t) => {
  const nats = await startFixture(t);
  const provisioner = await nats.bus('provisioner', 'p1');
  const put = (name: string, body: PublishedManifest) => {
    const subject = subjects.model(name);
    return provisioner.append(
      subject,
      encodeMessage(PublishedManifest, { subject, source: 'provisioner.p1', body }),
    );
  };
  const network = smallModel({ units: [5, 4, 3] });
  const document = architectureDocument(network.architecture);
  const markup = ['<img src=x onerror=alert(1)>', '\u202egnp', '"&'];
  await put(
    'network',
    await signed('network', { architecture: document, commitment: commit(network).toString() }),
  );
  await put('hostile', await signed('hostile', { architecture: { ...document, classes: markup } }));
  await put(
    'tensors',
    await signed('tensors', { architecture: architectureDocument(residualModel().architecture) }),
  );
  await put('strange', await signed('strange', { architecture: { version: 9 } }));
  const text = {
    type: 'text-model',
    version: 1,
    format: 'gguf',
    parts: [
      { name: 'weights', bytes: 1_000_000 },
      { name: 'defaults', bytes: 60 },
    ],
    defaults: { context: 512, maxTokens: 64, temperature: 0, topP: 1 },
  };
  await put(
    'words',
    await signed('words', { architecture: text, commitmentKind: 'hash', terms: TEXT_TERMS }),
  );
  const honest = await signed('altered', { architecture: document });
  await put('altered', { ...honest, manifest: { ...honest.manifest, commitment: '6' } });
  await put('swapped', await signed('network', { architecture: document }));

  const monitor = await startMonitorRole({ bus: await nats.bus('monitor', 'm1') });
  t.defer(() => monitor.close());
  const found = (await (await fetch(`${monitor.url}models.json`)).json()) as FoundModel[];
  assert.equal(
    found.map(({ name, ...rest }) => [name, 'error' in rest]),
    [
      ['altered', true],
      ['hostile', false],
      ['network', false],
      ['strange', true],
      ['swapped', true],
      ['tensors', false],
      ['words', false],
    ],
  );

  const { page, complaints } = await opened(t, { url: monitor.url, hash: '#/models' });
  const of = (name: string) => page.locator(`section[aria-label=${name}]`);
  await of('network').locator('.graph').waitFor();
  assert.equal(await of('network').locator('.graph .kind').allTextContents(), [
    'rows',
    'dense',
    'relu',
    'dense',
    'argmax',
    'commitment',
    'threshold',
  ]);
  const column = async (name: string, nth: number) =>
    of(name).locator(`tbody tr > :nth-child(${nth})`).allTextContents();
  const shares = (await column('network', 4)).filter((share) => share !== '').map(Number.parseFloat);
  assert.ok(shares.length >= 3 && Math.abs(shares.reduce((a, b) => a + b, 0) - 100) < 0.5, shares.join());
  assert.match(
    (await of('network').locator('[data-cost]').textContent())!,
    /^A proof about 300 rows has at most /,
  );
  assert.match((await of('network').textContent())!, vendorFingerprint(VENDOR.publicKey));
  assert.match((await of('network').textContent())!, 'compare it with what the vendor has told you');

  // Values that are taken twice are drawn around, and named.
  const steps = await column('tensors', 2);
  assert.ok(
    steps.some((step) => /takes \d+ and \d+$/.test(step)),
    steps.join('\n'),
  );
  const arrows = await of('tensors').locator('.graph path').count();
  assert.ok(arrows >= (await of('tensors').locator('.graph .kind', { hasText: /^\d/ }).count()), `${arrows}`);
  assert.match((await of('tensors').locator('[data-cost]').textContent())!, /^A proof about 1 row has/);

  assert.match((await of('hostile').locator('.graph').textContent())!, '<img src=x onerror=alert(1)>');
  assert.not.match((await of('hostile').textContent())!, '\u202e');
  assert.is(await page.locator('main img').count(), 0);
  assert.match((await of('altered').textContent())!, 'its vendor signed another one');
  assert.match((await of('swapped').textContent())!, 'the manifest names another model');
  assert.match((await of('words').textContent())!, /nothing can be proved about them[\s\S]*1000000/);

  assert.equal(await barriers(page), []);
  await shoot(page, 'models', 'section[aria-label=network]');
  await page.setViewportSize({ width: 390, height: 844 });
  assert.is(await wider(page), 0, 'on a phone');
  assert.equal(complaints, []);
});

test.run();
