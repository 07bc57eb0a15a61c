/**
 * Asking vendors about revocation, of a real HTTP server that answers as NVIDIA's responder does (RFC 6960, appendix A).
 * On the other side stands whoever is on the way: he can keep, replay and change what he carries. Source: issue 11, 3.
 */

import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer, type IncomingMessage } from 'node:http';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { parseCertificates } from '../../../protocols/attestation/certificate.ts';
import { childrenOf, readDer } from '../../../protocols/attestation/der.ts';
import { parseOcspResponse } from '../../../protocols/attestation/ocsp.ts';
import { hex } from '../../../protocols/encoding.ts';
import { fetchCollateral } from '../../../runtime/attest/collateral.ts';
import { createStapler, fetchRevocation } from '../../../runtime/attest/revocation.ts';
import { assert, suite, type TestContext } from '../../harness.ts';
import type { Maker } from '../../protocols/certificate-maker.ts';
import { gpu, vendor } from '../../protocols/gpu-maker.ts';
import { type OcspOptions, ocsp } from '../../protocols/ocsp-maker.ts';

const test = suite('revocation asked of vendors', { timeoutMs: 60_000 });
const makers = await vendor();
const card = await gpu(makers, { name: 'GH100 A01 GSP FMC LF' });
const NOW = new Date('2026-01-10T12:00:00Z');
const ISSUERS: Readonly<Record<number, Maker>> = { 2: makers.root, 3: makers.product, 4: makers.provisioner };

/** The serial number and the nonce that a request asks with. */
function asked(request: Uint8Array): { serial: number; nonce: Uint8Array } {
  const inside = (bytes: Uint8Array) => childrenOf(readDer(bytes, 'request'), 'request');
  const [list, holder] = inside(inside(request)[0]!.raw);
  const id = inside(inside(inside(list!.raw)[0]!.raw)[0]!.raw);
  const [, octets] = inside(inside(readDer(holder!.value, 'request').raw)[0]!.raw);
  return { serial: id[3]!.value[0]!, nonce: readDer(octets!.value, 'nonce').value };
}

/** A responder; `change` says what is different about an answer. */
async function responder(
  t: TestContext,
  change: (serial: number) => OcspOptions & { readonly http?: number } = () => ({}),
): Promise<{ url: string; requests: number[] }> {
  const requests: number[] = [];
  const bodyOf = async (request: IncomingMessage) => {
    const parts: Buffer[] = [];
    for await (const part of request) parts.push(part as Buffer);
    return new Uint8Array(Buffer.concat(parts));
  };
  const server = createServer(async (request, response) => {
    const { serial, nonce } = asked(await bodyOf(request));
    requests.push(serial);
    const { http = 200, ...options } = change(serial);
    response.writeHead(http, { 'content-type': 'application/ocsp-response' });
    response.end(await ocsp(ISSUERS[serial]!, serial, { nonce, ...options }));
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  t.defer(() => void server.close());
  const { port } = server.address() as { port: number };
  return { url: `http://127.0.0.1:${port}`, requests };
}

const certificates = parseCertificates(card.chain);

test('every certificate but the root and the attestation key is asked about, once', async (t) => {
  const { url, requests } = await responder(t);
  const { files, faults } = await fetchRevocation(certificates, [], { responder: url, now: NOW });
  assert.equal(faults, []);
  assert.equal(requests.sort(), [2, 3, 4]);
  const serials = files.map((der) => Number.parseInt(parseOcspResponse(der).answers[0]!.serial, 16));
  assert.equal(serials.sort(), [2, 3, 4]);
});

test('an answer to another nonce, unsigned, about another, or none at all is not kept; a revocation is', async (t) => {
  const bad: Readonly<Record<number, OcspOptions & { http?: number }>> = {
    2: { nonce: new Uint8Array(32) },
    3: { responderExtensions: [] },
    4: { http: 503 },
  };
  const { url } = await responder(t, (serial) => bad[serial]!);
  const { files, faults } = await fetchRevocation(certificates, [], { responder: url, now: NOW });
  assert.is(files.length, 0);
  assert.match(faults.join('\n'), /answers another nonce/);
  assert.match(faults.join('\n'), /is not certified for OCSP/);
  assert.match(faults.join('\n'), /the server answered 503/);
  const honest = await responder(t, (serial) => (serial === 4 ? { status: 'revoked', reason: 1 } : {}));
  const told = await fetchRevocation(certificates, [], { responder: honest.url, now: NOW });
  assert.is(told.files.length, 3);
  const none = await responder(t, () => ({ status: 'unknown' }));
  assert.is((await fetchRevocation(certificates, [], { responder: none.url, now: NOW })).files.length, 0);
});

test('a certificate cannot send this host anywhere but to a vendor', async () => {
  const connected: string[] = [];
  const ask = async (url: string): Promise<Uint8Array> => {
    connected.push(new URL(url).hostname);
    throw new Error('not reached');
  };
  const { faults } = await fetchRevocation(certificates, [], { ask, now: NOW });
  assert.equal([...new Set(connected)], ['ocsp.ndis.nvidia.com']);
  assert.is(faults.length, 3);
  const hostile = certificates.map((one) => ({
    ...one,
    extensions: new Map(
      [...one.extensions].map(([id, { critical, value }]) => {
        const text = Buffer.from(value)
          .toString('latin1')
          .replace('ocsp.ndis.nvidia.com', '169.254.169.254:80/a');
        return [id, { critical, value: new Uint8Array(Buffer.from(text, 'latin1')) }];
      }),
    ),
  }));
  connected.length = 0;
  const refused = await fetchRevocation(hostile, [], { ask, now: NOW });
  assert.equal(connected, []);
  assert.match(refused.faults[0]!, /expected a vendor's host/);
});

test('what is brought along is asked for again only after a while', async () => {
  let times = 0;
  const staple = createStapler(async () => {
    times += 1;
    throw new Error('not reached');
  });
  assert.equal(await staple([card.chain]), []);
  assert.equal(await staple([card.chain]), []);
  assert.is(times, 3);
});

test('vouch collateral fetch keeps what it is told, under digests', async (t) => {
  const folder = mkdtempSync(path.join(tmpdir(), 'vouch-fetch-'));
  t.defer(() => rmSync(folder, { recursive: true, force: true }));
  const file = path.join(folder, 'chain.der');
  writeFileSync(file, Buffer.concat(card.chain));
  const { url } = await responder(t);
  const directory = path.join(folder, 'kept');
  const ask = async (to: string, body: Uint8Array | undefined): Promise<Uint8Array> => {
    if (body === undefined) return to.includes('l1-root') ? makers.crls[0]! : makers.crls[1]!;
    const answer = await fetch(to, { method: 'POST', body: Uint8Array.from(body) });
    return new Uint8Array(await answer.arrayBuffer());
  };
  const { added, faults } = await fetchCollateral([file], { directory, responder: url, now: NOW, ask });
  assert.equal(faults, []);
  assert.is(added.length, 5, 'three answers, two lists');
  for (const name of readdirSync(directory)) {
    const digest = await crypto.subtle.digest('SHA-256', readFileSync(path.join(directory, name)));
    assert.is(name, hex(new Uint8Array(digest)));
  }
});

test.run();
