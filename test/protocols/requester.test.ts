/** Who asks: a signed request holds for its signer and its content only. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fromSeed } from 'nkeys.js';
import { base64url, utf8 } from '../../protocols/encoding.ts';
import type { VouchError } from '../../protocols/errors.ts';
import { type Requester, requesterOf, signedRequest } from '../../protocols/requester.ts';
import { ensureAuthority } from '../../runtime/installation/authority.ts';
import { assert, suite, type TestContext } from '../harness.ts';

const test = suite('protocols/requester');

const NOW = new Date();
const request = { job: 'ab'.repeat(32), statement: { rows: 300, threshold: 219 } };
const jwtIn = (creds: string): string => /USER JWT-+\s+(\S+)/.exec(creds)![1]!;
const signedWith = (creds: string, what: object): Requester => {
  const [, seed] = /NKEY SEED-+\s+(\S+)/.exec(creds)!;
  const jwt = jwtIn(creds);
  return { jwt, signature: base64url(fromSeed(utf8(seed!)).sign(signedRequest(what))) };
};
async function installation(t: TestContext) {
  const home = await mkdtemp(join(tmpdir(), 'vouch-requester-'));
  t.defer(() => rm(home, { recursive: true, force: true }));
  return ensureAuthority(home);
}
const refused = (work: () => unknown, why: RegExp) =>
  assert.throws(work, (error: VouchError) => error.code === 'signature-rejected' && why.test(error.message));

test('a request is that of whoever signed it, under any key that he has had', async (t) => {
  const { requesters, mintUser } = await installation(t);
  for (const creds of [
    await mintUser('client', 'bank'),
    await mintUser('client', 'bank', { ttlSeconds: 60 }),
  ]) {
    const requester = signedWith(creds, request);
    assert.is(requesterOf({ ...request, requester }, requesters, NOW), 'bank');
    // What travels as JSON loses members that are undefined.
    const travelled = JSON.parse(JSON.stringify({ ...request, cancel: undefined, requester }));
    assert.is(requesterOf(travelled, requesters, NOW), 'bank');
  }
});

test('nobody borrows a name: another content, another role, another installation, an expired user, a JWT of his own', async (t) => {
  const { requesters, mintUser } = await installation(t);
  const creds = await mintUser('client', 'bank', { ttlSeconds: 60 });
  const requester = signedWith(creds, request);
  const asked =
    (by: Requester, what: object = request) =>
    () =>
      requesterOf({ ...what, requester: by }, requesters, NOW);
  refused(asked(requester, { ...request, job: 'cd'.repeat(32) }), /has not signed this very request/);
  refused(asked(requester, { ...request, more: 1 }), /has not signed/);
  refused(asked(signedWith(await mintUser('worker', 'bank'), request)), /not a client/);
  refused(asked(signedWith(await mintUser('coordinator', 'bank'), request)), /not a client/);
  refused(
    asked(signedWith(await (await installation(t)).mintUser('client', 'bank'), request)),
    /another installation/,
  );
  refused(
    () => requesterOf({ ...request, requester }, requesters, new Date(NOW.getTime() + 120_000)),
    /of bank have expired/,
  );
  const [head, body, mark] = requester.jwt.split('.') as [string, string, string];
  const claims = JSON.parse(Buffer.from(body, 'base64url').toString());
  const renamed = base64url(utf8(JSON.stringify({ ...claims, name: 'vendor' })));
  refused(asked({ ...requester, jwt: `${head}.${renamed}.${mark}` }), /not signed by the account/);
  // A stolen JWT without its key.
  const own = signedWith(await mintUser('client', 'thief'), request);
  refused(asked({ ...own, jwt: requester.jwt }), /bank has not signed/);
  refused(asked({ ...requester, jwt: `${requester.jwt}.x` }), /more than three parts/);
  for (const jwt of ['', 'a.b.c', `${head}.${body}`, `${head}.${base64url(utf8('[]'))}.${mark}`])
    refused(asked({ ...requester, jwt }), /requester: /);
});

test.run();
