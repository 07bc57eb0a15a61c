/**
 * A home that the previous release made, opened by this code: what is irreplaceable in it goes on working, and what the upgrade
 * takes (docs/OPERATING.md) is done here as it says there. The previous release makes the home itself, from this clone's
 * history, so no key of anybody is stored for it.
 */
import { execFileSync, spawnSync } from 'node:child_process';
import { cpSync, mkdirSync, readdirSync, readFileSync, statSync, symlinkSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { STREAMS } from '../../../protocols/streams.ts';
import { subjects } from '../../../protocols/subjects.ts';
import { infer, verifyService } from '../../../runtime/client/client.ts';
import { keptReceipts } from '../../../runtime/client/decisions.ts';
import { verifyCommand } from '../../../runtime/commands/verify.ts';
import { folder } from '../../../runtime/home/home.ts';
import { authority, credentials } from '../../../runtime/installation/credentials.ts';
import { policyFile, writePolicies } from '../../../runtime/installation/policies.ts';
import { publishModel } from '../../../runtime/models/publish.ts';
import { vendorName, vendorSigner } from '../../../runtime/models/vendor-key.ts';
import { connect } from '../../../runtime/nats/connect.ts';
import { provision } from '../../../runtime/nats/provision.ts';
import { startNats } from '../../../runtime/nats/server.ts';
import { startRoles, stopRoles } from '../../../runtime/roles/start.ts';
import { smallModel } from '../../circuits/model-fixture.ts';
import { assert, suite, type TestContext } from '../../harness.ts';
import { BIN_DIR, temporaryFolder } from '../nats/nats-fixture.ts';

const test = suite('upgrade', { timeoutMs: 400_000 });
const ROOT = fileURLToPath(new URL('../../..', import.meta.url));
/** The last commit of 0.1.0: what comes after it stands in CHANGELOG.md under another heading. */
const PREVIOUS = '46e8ce49050d82088e83d922ad3a15097d26f2c4';
const MODEL = 'tiny';

/** Makes the home by the code of the previous release. */
async function previousHome(t: TestContext): Promise<string> {
  const git = (...words: string[]) =>
    spawnSync('git', words, { cwd: ROOT, encoding: 'buffer', maxBuffer: 2 ** 28 });
  if (git('cat-file', '-e', `${PREVIOUS}^{commit}`).status !== 0)
    t.skip('the previous release is not in the history of this copy');
  const tree = await temporaryFolder(t);
  const home = await temporaryFolder(t);
  execFileSync('tar', ['-x', '-C', tree], { input: git('archive', PREVIOUS).stdout });
  symlinkSync(join(ROOT, 'node_modules'), join(tree, 'node_modules'));
  const program = join(tree, 'test/runtime/home/previous-home.ts');
  mkdirSync(join(program, '..'), { recursive: true });
  cpSync(join(ROOT, 'test/runtime/home/previous-home.ts'), program);
  const made = spawnSync(process.execPath, [program], {
    encoding: 'utf8',
    env: { ...process.env, VOUCH_HOME: home, BIN_DIR },
  });
  assert.is(made.status, 0, made.stderr);
  return home;
}

/** Every file below, with its text, to see that nothing was made anew. */
const contents = (directory: string): Map<string, string> =>
  new Map(
    readdirSync(directory, { recursive: true, encoding: 'utf8' })
      .map((name) => join(directory, name))
      .filter((file) => statSync(file).isFile())
      .map((file) => [file, readFileSync(file, 'latin1')]),
  );

test('keys, credentials, receipts and policies of the previous release go on working', async (t) => {
  const home = await previousHome(t);
  const before = process.env.VOUCH_HOME;
  process.env.VOUCH_HOME = home;
  t.defer(() => {
    if (before === undefined) delete process.env.VOUCH_HOME;
    else process.env.VOUCH_HOME = before;
  });
  const [keys, creds] = [contents(folder('keys')), contents(folder('creds'))];
  assert.ok(keys.size > 0 && creds.size > 0);

  // Kept receipts, by the policies that were kept with them.
  const verify = async (policy?: string): Promise<boolean> =>
    verifyCommand(
      [folder('receipts')],
      { json: false, ...(policy === undefined ? {} : { policy }) },
      () => {},
    );
  const ids = keptReceipts(folder('receipts'));
  assert.is(ids.length, 2);
  assert.ok(await verify(), 'kept decisions verify');

  // The same authority, and credentials of before on a server of now.
  await authority();
  const { fingerprint } = vendorName(await vendorSigner());
  const server = await startNats({ stateDir: folder(), binDir: BIN_DIR, port: 0, onLog: () => {} });
  t.defer(() => server.stop());
  const open = async (role: 'provisioner' | 'client', id: string) => {
    const bus = await connect({ url: server.url, creds: await credentials(role, id, folder('creds')) });
    t.defer(() => bus.close());
    return bus;
  };
  const client = await open('client', 'one');
  for (const id of ids) {
    const stored = await client.getLast(STREAMS.receipts.name, subjects.receipt(MODEL, 'one', id));
    const kept = readFileSync(folder('receipts', `${id}.cose`));
    assert.ok(stored && kept.equals(stored.data), 'what the server has is what was kept');
  }

  // As OPERATING.md says it: policies of before are put aside, new ones made, models published again.
  const kept = join(home, 'inference-0.1.0.json');
  cpSync(policyFile('inference'), kept);
  const policies = await writePolicies();
  const vendor = await open('provisioner', 'vendor');
  await provision(vendor);
  const model = smallModel({ units: [4, 3, 2] });
  await publishModel(vendor, 'provisioner.vendor', { name: MODEL, model, policy: policies.release });
  const roles = await startRoles(['broker', 'runner', 'enclave'], {
    url: server.url,
    creds: folder('creds'),
    id: 'enclave-1',
    model: MODEL,
    log: () => {},
  });
  t.defer(() => stopRoles(roles, () => {}));
  const service = await verifyService(client, 'client.one', MODEL, {
    ...policies.inference,
    vendor: fingerprint,
  });
  const made = await infer(client, 'client.one', service, policies.inference, ['1', '2', '3', '4']);
  assert.is(made.receipt.verdict, 'accept');
  assert.not(await verify(), 'SIMULATED evidence of another version is refused by the policies of this one');
  assert.ok(await verify(kept), 'and accepted by those of its time');

  for (const [file, text] of [...keys, ...creds])
    assert.is(readFileSync(file, 'latin1'), text, `${file} is as it was`);
});

test.run();
