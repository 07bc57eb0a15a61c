/**
 * What a client keeps of a decision, and what it can show with it: that this receipt is of that application and answer,
 * until the salt is erased. Real server, runner, files.
 */
import { readdirSync, readFileSync, renameSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { generateSigner } from '../../../protocols/cose.ts';
import { type PublishedManifest, signManifest } from '../../../protocols/manifest.ts';
import { inferCommand } from '../../../runtime/commands/infer.ts';
import { initVendor, showVendor } from '../../../runtime/commands/vendor.ts';
import { type VerifyCommand, verifyCommand } from '../../../runtime/commands/verify.ts';
import { folder } from '../../../runtime/home/home.ts';
import { publishModel } from '../../../runtime/models/publish.ts';
import { startRoles, stopRoles } from '../../../runtime/roles/start.ts';
import { smallModel } from '../../circuits/model-fixture.ts';
import { assert, suite, type TestContext } from '../../harness.ts';
import { startHome } from '../home/home-fixture.ts';
import { codeOf, temporaryFolder } from '../nats/nats-fixture.ts';

const test = suite('kept receipts', { timeoutMs: 120_000 });
const ROWS = [
  ['7', '-1', '4', '11'],
  ['0', '12', '-3', '5'],
  ['1', '2', '3', '4'],
];
let models = 1;

/** Three decisions in a folder. */
async function decided(t: TestContext) {
  const home = await startHome(t);
  const name = `kept-${models++}`;
  const model = smallModel({ units: [4, 3, 2] });
  await publishModel(home.observer, 'provisioner.test', { name, model, policy: home.policies.release });
  const place = { url: home.server.url, creds: folder('creds') };
  const roles = await startRoles(['broker', 'runner', 'gpu', 'enclave'], {
    ...place,
    id: `enclave-${name}`,
    log: home.say,
    model: name,
  });
  t.defer(() => stopRoles(roles, home.say));
  const directory = await temporaryFolder(t);
  const input = join(directory, 'input');
  writeFileSync(input, JSON.stringify(ROWS));
  const receipts = join(directory, 'receipts');
  const said: string[] = [];
  const lines: string[] = [];
  await inferCommand(
    name,
    input,
    { ...place, json: false, receipts },
    (line) => void lines.push(String(line)),
    (line) => void said.push(line),
  );
  const verify = async (file = receipts, options: Partial<VerifyCommand> = {}) => {
    const out: string[] = [];
    const accepted = await verifyCommand([file], { json: false, ...options }, (line) =>
      out.push(typeof line === 'string' ? line : JSON.stringify(line)),
    );
    return { accepted, text: out.join('\n') };
  };
  const ids = lines.map((line) => /([0-9a-f]{32})\.cose$/.exec(line)![1]!);
  const file = (id: string, end: string) => join(receipts, `${id}.${end}`);
  const kept = (id: string) => JSON.parse(readFileSync(file(id, 'json'), 'utf8'));
  return { receipts, ids, file, kept, verify, said };
}

test('infer keeps every decision, readable by its owner alone; verify judges them all', async (t) => {
  const { receipts, ids, verify, said } = await decided(t);
  assert.is(ids.length, ROWS.length);
  assert.match(said.join('\n'), /^not checked: gpu\.bound$/m);
  const files = readdirSync(receipts);
  assert.is(files.length, 3 * ROWS.length + 1, files.join(' '));
  for (const name of files) assert.is(statSync(join(receipts, name)).mode & 0o777, 0o600, name);
  const { accepted, text } = await verify();
  assert.ok(accepted, text);
  assert.match(
    text,
    /^verdict: accept: 3 of 3 receipts hold, with the nonces and salts that were kept beside them$/m,
  );
  for (const id of ids) assert.match(text, new RegExp(`^accept  ${id}  not checked: gpu\\.bound$`, 'm'));
  const json = JSON.parse((await verify(receipts, { json: true })).text);
  assert.equal([json.verdict, json.accepted, json.rejected, json.erased], ['accept', 3, 0, 0]);
});

test('one receipt with all that belongs to it, and with what does not', async (t) => {
  const { ids, file, kept, receipts, verify } = await decided(t);
  const id = ids[0]!;
  const { application, answer, nonce, evidenceNonce } = kept(id);
  assert.equal(application, ROWS[0]);
  const manifest = readdirSync(receipts).find((name) => name.endsWith('.manifest.json'))!;
  const all = {
    application: JSON.stringify(application),
    answer: JSON.stringify(answer),
    salts: file(id, 'salts'),
    requestNonce: nonce,
    nonce: evidenceNonce,
    manifest: join(receipts, manifest),
  };
  const bundle = file(id, 'cose');
  const right = await verify(bundle, all);
  assert.ok(right.accepted, right.text);
  assert.match(right.text, /^not checked: gpu\.bound$/m);
  // What was kept can be named as it is.
  const byFile = { ...all, application: file(id, 'json'), answer: file(id, 'json') };
  assert.ok((await verify(bundle, byFile)).accepted);
  const wrong = async (changes: Partial<VerifyCommand>, check: string) => {
    const { accepted, text } = await verify(bundle, { ...all, ...changes });
    assert.not.ok(accepted, check);
    assert.match(text, new RegExp(`^fail +${check.replace('.', '\\.')}`, 'm'));
  };
  await wrong({ application: JSON.stringify(ROWS[1]) }, 'receipt.request');
  const flipped = { decision: 1 - answer.decision, label: answer.label };
  await wrong({ answer: JSON.stringify(flipped) }, 'receipt.response');
  await wrong({ salts: file(ids[1]!, 'salts') }, 'receipt.request');
  await wrong({ requestNonce: evidenceNonce }, 'receipt.nonce');
  await wrong({ nonce }, 'binding.nonce');
  await wrong({ vendor: '00'.repeat(32) }, 'manifest.vendor');
  await wrong({ releasePolicy: 'ff'.repeat(32) }, 'receipt.policy');
  // Alone it says what it cannot show.
  const alone = await verify(bundle);
  assert.ok(alone.accepted, alone.text);
  for (const check of [
    'receipt.policy',
    'receipt.nonce',
    'binding.nonce',
    'binding.model-commitment',
    'manifest.vendor',
  ])
    assert.match(alone.text, new RegExp(`^skipped +${check.replace('.', '\\.')}`, 'm'));
  // A pin without the manifest that it is about cannot hold.
  const pin = await verify(bundle, { vendor: '00'.repeat(32) });
  assert.not.ok(pin.accepted);
  assert.match(pin.text, /^fail +manifest\.vendor .*no manifest is at hand/m);
  const byHand = { application: all.application };
  assert.is(await codeOf(verify(bundle, byHand)), 'bad-input');
  assert.is(await codeOf(verify(bundle, { ...all, application: '[1]' })), 'bad-input');
  assert.is(await codeOf(verify(receipts, { salts: all.salts })), 'bad-input');
});

test('a salt that is deleted erases the link, and nothing else', async (t) => {
  const { ids, file, verify } = await decided(t);
  const [first, second] = ids as [string, string];
  const { response } = JSON.parse(readFileSync(file(first, 'salts'), 'utf8'));
  writeFileSync(file(first, 'salts'), JSON.stringify({ response }));
  rmSync(file(second, 'salts'));
  const { accepted, text } = await verify();
  assert.ok(accepted, text);
  assert.match(text, new RegExp(`^accept  ${first}  not checked: receipt\\.request, gpu\\.bound$`, 'm'));
  assert.match(
    text,
    new RegExp(`^accept  ${second}  not checked: receipt\\.request, receipt\\.response, gpu`, 'm'),
  );
  assert.match(text, /3 of 3 receipts hold, .*; of 2 a salt was erased$/m);
  const { text: one } = await verify(file(first, 'cose'), {
    application: file(first, 'json'),
    answer: file(first, 'json'),
    salts: file(first, 'salts'),
  });
  assert.match(one, /^skipped +receipt\.request +erased: its salt is gone/m);
  assert.match(one, /^pass +receipt\.response/m);
});

test('a folder that somebody has changed: each receipt that is wrong is named', async (t) => {
  const { ids, file, kept, receipts, verify } = await decided(t);
  const [first, second, third] = ids as [string, string, string];
  const original = readFileSync(file(first, 'json'), 'utf8');
  writeFileSync(file(first, 'json'), JSON.stringify({ ...kept(first), application: ROWS[2] }));
  renameSync(file(second, 'cose'), join(receipts, 'elsewhere'));
  const changed = await verify();
  assert.not.ok(changed.accepted);
  assert.match(changed.text, new RegExp(`^reject  ${first}  failed: receipt\\.request`, 'm'));
  assert.match(changed.text, new RegExp(`^reject  ${second}  failed: receipt\\.kept`, 'm'));
  assert.match(changed.text, new RegExp(`^accept  ${third}  `, 'm'));
  assert.match(changed.text, /^verdict: reject: 1 of 3 receipts hold/m);
  renameSync(join(receipts, 'elsewhere'), file(second, 'cose'));
  writeFileSync(file(first, 'json'), original);
  assert.ok((await verify()).accepted);

  // A manifest of the changer's own, with the vendor's name on the file.
  const name = readdirSync(receipts).find((entry) => entry.endsWith('.manifest.json'))!;
  const { manifest } = JSON.parse(readFileSync(join(receipts, name), 'utf8')) as PublishedManifest;
  const { vendor: _, ...content } = manifest;
  writeFileSync(join(receipts, name), JSON.stringify(await signManifest(await generateSigner(), content)));
  const forged = await verify();
  assert.match(forged.text, new RegExp(`^reject  ${third}  failed: manifest\\.vendor`, 'm'));
  writeFileSync(
    join(receipts, name),
    JSON.stringify({ manifest: { ...manifest, policy: 'ff'.repeat(32) }, signature: 'AA' }),
  );
  assert.match((await verify()).text, new RegExp(`^reject  ${third}  failed: receipt\\.kept`, 'm'));
  assert.is(await codeOf(verify(await temporaryFolder(t))), 'bad-file');
});

test('the vendor key: made once, shown, never overwritten', async (t) => {
  const before = process.env.VOUCH_HOME;
  process.env.VOUCH_HOME = await temporaryFolder(t);
  t.defer(() => {
    process.env.VOUCH_HOME = before;
  });
  const out: unknown[] = [];
  const printing = (value: unknown) => void out.push(value);
  assert.is(await codeOf(showVendor({ json: true }, printing)), 'bad-file');
  await initVendor({ json: true }, printing);
  assert.is(statSync(folder('keys', 'vendor')).mode & 0o777, 0o600);
  assert.is(await codeOf(initVendor({ json: true }, printing)), 'conflict');
  await showVendor({ json: true }, printing);
  await showVendor({ json: false }, printing);
  const [made, shown, line] = out as [{ key: string; fingerprint: string }, object, string];
  assert.equal(shown, made);
  assert.match(line, made.key);
});

test.run();
