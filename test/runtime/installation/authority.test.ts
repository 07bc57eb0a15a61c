import { chmod, mkdir, readdir, readFile, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { decode } from 'nats-jwt';
import { ROLES } from '../../../protocols/subjects.ts';
import { ensureAuthority } from '../../../runtime/installation/authority.ts';
import { crossings, rightsOf } from '../../../runtime/nats/rights.ts';
import { assert, suite } from '../../harness.ts';
import { codeOf, temporaryFolder } from '../nats/nats-fixture.ts';

const test = suite('NATS keys', { timeoutMs: 100_000 });

test('seeds are private, made once, and never in the configuration', async (t) => {
  const folder = await temporaryFolder(t);
  await ensureAuthority(folder);
  const keys = join(folder, 'keys');
  assert.equal(await readdir(keys), ['authority.json'], 'nothing half-written is left');
  assert.is((await stat(keys)).mode & 0o777, 0o700);
  assert.is((await stat(join(keys, 'authority.json'))).mode & 0o777, 0o600);
  const seeds = await readFile(join(keys, 'authority.json'), 'utf8');
  await ensureAuthority(folder);
  assert.is(await readFile(join(keys, 'authority.json'), 'utf8'), seeds);
  const conf = await readFile(join(folder, 'nats/authority.conf'), 'utf8');
  assert.not.match(conf, /S[OAU][A-Z2-7]{56}/);
  // Jwt payloads are base64: look inside, too.
  for (const [, payload] of conf.matchAll(/eyJ[\w-]+\.([\w-]+)\./g)) {
    assert.not.match(Buffer.from(payload!, 'base64url').toString(), /S[OAU][A-Z2-7]{56}/);
  }
});

test('two that start at once agree on one authority', async (t) => {
  const folder = await temporaryFolder(t);
  const [one, two] = await Promise.all([ensureAuthority(folder), ensureAuthority(folder)]);
  const issuerOf = async (authority: typeof one) => {
    const creds = await authority!.mintUser('worker', 'w1');
    return decode<{ issuer_account: string }>(/JWT-+\n(.+)\n/.exec(creds)![1]!).iss;
  };
  assert.is(await issuerOf(one), await issuerOf(two));
});

test('damaged seeds are reported and not replaced', async (t) => {
  const folder = await temporaryFolder(t);
  await mkdir(join(folder, 'keys'));
  await writeFile(join(folder, 'keys/authority.json'), '{"version":1}');
  await chmod(join(folder, 'keys/authority.json'), 0o600);
  assert.is(await codeOf(ensureAuthority(folder)), 'bad-file');
  assert.is(await readFile(join(folder, 'keys/authority.json'), 'utf8'), '{"version":1}');
});

test('credentials carry the id, no rights of their own, and refuse a bad id', async (t) => {
  const authority = await ensureAuthority(await temporaryFolder(t));
  const creds = await authority.mintUser('worker', 'w1', { ttlSeconds: 60 });
  const claims = decode<{ pub?: unknown; sub?: unknown; tags: string[] }>(/JWT-+\n(.+)\n/.exec(creds)![1]!);
  assert.is(claims.name, 'w1');
  assert.equal([claims.nats.pub, claims.nats.sub, claims.nats.tags], [undefined, undefined, ['role:worker']]);
  assert.ok(claims.exp! > Date.now() / 1000);
  for (const id of ['', 'a.b', '*', '>', 'a b', '{{name()}}']) {
    assert.is(await codeOf(authority.mintUser('worker', id)), 'bad-token');
  }
});

test('no role may listen to everything, and templates replace whole tokens', () => {
  for (const role of ROLES) {
    const { publish, subscribe } = rightsOf(role);
    for (const subject of [...publish, ...subscribe]) {
      assert.is.not(subject, '>');
      for (const part of subject.split('.'))
        assert.ok(part === '{{name()}}' || /^[\w$*>-]+$/.test(part), subject);
      assert.not.match(subject, /__/, 'a placeholder was left');
    }
    const inboxes = subscribe.filter((subject) => subject.startsWith('_INBOX'));
    assert.equal(inboxes, [`_INBOX.${role}.{{name()}}.>`]);
  }
});

test('nothing that manages streams or consumers crosses into the account that has them', () => {
  for (const { subject, as } of crossings().inward) {
    assert.not.match(
      as,
      /STREAM\.(CREATE|UPDATE|DELETE|PURGE|MSG|RESTORE|SNAPSHOT)|CONSUMER\.(CREATE|DURABLE|DELETE)|\$KV/,
    );
    assert.is.not(subject, '>');
    assert.not.match(subject, /^\$JS\.API\.>|^vouch\.v1\.(proof|model|work\.msm)/);
  }
});

test.run();
