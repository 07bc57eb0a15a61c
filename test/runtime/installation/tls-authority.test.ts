import { X509Certificate } from 'node:crypto';
import { readFile, stat, writeFile } from 'node:fs/promises';
import { createServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { connect } from 'node:tls';
import { parseCertificate } from '../../../protocols/attestation/certificate.ts';
import { ensureTlsAuthority, type ServerCertificate } from '../../../runtime/installation/tls-authority.ts';
import { assert, suite, type TestContext } from '../../harness.ts';
import { codeOf, temporaryFolder } from '../nats/nats-fixture.ts';

const test = suite('TLS authority');

/** How a client that trusts `ca` alone ends, by this name. */
async function attempt(t: TestContext, served: ServerCertificate, ca: string, servername: string) {
  const server = createServer({ cert: served.certificate, key: served.key });
  server.listen(0, '127.0.0.1');
  t.defer(() => server.close());
  await new Promise((ready) => server.once('listening', ready));
  const { port } = server.address() as AddressInfo;
  return new Promise<string>((resolve) => {
    const socket = connect({ host: '127.0.0.1', port, ca, servername });
    socket.once('secureConnect', () => resolve('connected'));
    socket.once('error', (error: NodeJS.ErrnoException) => resolve(error.code ?? error.message));
    t.defer(() => socket.destroy());
  });
}

test('it certifies servers for their names, and TLS agrees', async (t) => {
  const ours = await ensureTlsAuthority(await temporaryFolder(t));
  const others = await ensureTlsAuthority(await temporaryFolder(t));
  const served = ours.issue(['gpu1.example', '192.0.2.7', '2001:db8::1', '::ffff:192.0.2.8']);
  assert.is(await attempt(t, served, ours.certificate, 'gpu1.example'), 'connected');
  assert.is(await attempt(t, served, ours.certificate, 'gpu2.example'), 'ERR_TLS_CERT_ALTNAME_INVALID');
  assert.match(await attempt(t, served, others.certificate, 'gpu1.example'), /CERT|SIGNATURE|ISSUER/);
  const own = new X509Certificate(served.certificate);
  for (const address of ['192.0.2.7', '2001:db8::1', '::ffff:192.0.2.8'])
    assert.ok(own.checkIP(address), address);
  assert.not.ok(own.checkIP('192.0.2.9'));
  assert.not.ok(own.ca, 'a server certifies nobody');
  // Our own reader of certificates, which shares no code with the writer.
  const read = parseCertificate(new Uint8Array(own.raw));
  assert.equal(
    [read.subjectName, read.issuerName, read.authority],
    ['gpu1.example', 'Vouch installation', false],
  );
  const days = (read.notAfter.getTime() - Date.now()) / 86_400_000;
  assert.ok(days > 729 && days < 731, `${days} days`);
});

test('it is made once, by whoever is first, and is private', async (t) => {
  const folder = await temporaryFolder(t);
  const [one, two] = await Promise.all([ensureTlsAuthority(folder), ensureTlsAuthority(folder)]);
  assert.is(one.certificate, two.certificate);
  const file = join(folder, 'keys', 'tls-authority.pem');
  assert.is((await stat(file)).mode & 0o777, 0o600);
  assert.not.match(one.certificate, /PRIVATE/);
  assert.is.not(one.issue(['a']).key, one.issue(['a']).key, 'a key of its own each time');
});

test('damaged, or key and certificate of two authorities: reported and not replaced', async (t) => {
  const [folder, other] = [await temporaryFolder(t), await temporaryFolder(t)];
  const file = join(folder, 'keys', 'tls-authority.pem');
  await ensureTlsAuthority(folder);
  const certificate = (await ensureTlsAuthority(other)).certificate;
  const key = (await readFile(file, 'utf8')).replace(/-----BEGIN CERT[\s\S]*/, '');
  for (const text of ['nothing', key, certificate, key + certificate]) {
    await writeFile(file, text);
    assert.is(await codeOf(ensureTlsAuthority(folder)), 'bad-file');
    assert.is(await readFile(file, 'utf8'), text);
  }
});

test.run();
