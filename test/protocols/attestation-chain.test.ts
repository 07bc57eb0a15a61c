import * as fc from 'fast-check';
import {
  parseCertificate,
  parseRevocationList,
  readPem,
  splitCertificates,
} from '../../protocols/attestation/certificate.ts';
import type { ChainReport } from '../../protocols/attestation/chain.ts';
import { readDer } from '../../protocols/attestation/der.ts';
import { kindOf } from '../../protocols/attestation/evidence-files.ts';
import { createReader } from '../../protocols/attestation/reader.ts';
import { fromDerSignature } from '../../protocols/attestation/signature.ts';
import { base64url, utf8 } from '../../protocols/encoding.ts';
import { VouchError } from '../../protocols/errors.ts';
import { assert, suite } from '../harness.ts';
import {
  AUTHORITY,
  basicConstraints,
  certify,
  der,
  fingerprint,
  flip,
  keyUsage,
  type Maker,
  maker,
  revoke,
} from './certificate-maker.ts';
import { type ChainQuestion, verifyChain } from './from-bytes.ts';

const test = suite('certificate chains');
const NOW = new Date('2026-01-01');

const root = await maker('Root', 'RSA-PSS');
const middle = await maker('Middle');
const leaf = await maker('Leaf', 'P-256');
const rootDer = await certify(root, root, { extensions: AUTHORITY, serial: 1 });
const middleDer = await certify(root, middle, {
  extensions: [basicConstraints(true, 0), keyUsage(5, 6)],
  serial: 2,
});
const leafDer = await certify(middle, leaf, { extensions: [keyUsage(0)], serial: 3 });

const question: ChainQuestion = {
  leaf: leafDer,
  intermediates: [rootDer, middleDer],
  rootFingerprints: [fingerprint(rootDer)],
  now: NOW,
};
const verify = (change: Partial<ChainQuestion> = {}) => verifyChain({ ...question, ...change });
function refused(report: ChainReport, name: string, detail: RegExp) {
  assert.not.ok(report.passed);
  const failed = report.checks.filter(({ status }) => status === 'fail');
  assert.equal(
    failed.map((check) => check.name),
    [name],
  );
  assert.match(failed[0]!.detail, detail);
}

test('a chain of RSA-PSS and ECDSA to a pinned root passes every check', async () => {
  const report = await verify();
  assert.ok(report.passed);
  assert.equal(
    report.path.map(({ subjectName }) => subjectName),
    ['Leaf', 'Middle', 'Root'],
  );
  assert.equal(report.path[0]?.key.type, 'EC');
  assert.ok(report.checks.every(({ status }) => status === 'pass'));
});

test('only the pinned root is trusted, whatever its name', async () => {
  refused(await verify({ rootFingerprints: [] }), 'path', /root that is not pinned/);
  const impostor = await maker('Root', 'RSA-PSS');
  const fake = await certify(impostor, impostor, { extensions: AUTHORITY });
  refused(await verify({ intermediates: [fake, middleDer] }), 'path', /signature of Root on Middle/);
  refused(await verify({ intermediates: [middleDer] }), 'path', /no certificate of its issuer Root/);
  refused(await verify({ intermediates: [rootDer] }), 'path', /no certificate of its issuer Middle/);
  const both = await verify({ intermediates: [fake, middleDer, rootDer] });
  assert.ok(both.passed, 'the right one of two issuers with one name is found');
});

test('our own copy of a root may complete a chain, and stray certificates are refused where asked', async () => {
  assert.ok((await verify({ intermediates: [middleDer], own: [rootDer], exact: true })).passed);
  const stray = await maker('Stray');
  const strayDer = await certify(stray, stray, { extensions: AUTHORITY });
  assert.ok((await verify({ intermediates: [...question.intermediates, strayDer] })).passed);
  refused(
    await verify({ intermediates: [...question.intermediates, strayDer], exact: true }),
    'path',
    /Stray is not part of the chain/,
  );
});

test('dates of every certificate are checked, and stale is called stale', async () => {
  refused(await verify({ now: new Date('2034-01-02') }), 'dates', /Leaf is stale: it expired on 2034-01-01/);
  refused(await verify({ now: new Date('2023-12-31') }), 'dates', /Leaf is not valid before 2024-01-01/);
  refused(await verify({ now: new Date(Number.NaN) }), 'dates', /not valid/);
  const old = await certify(root, middle, { extensions: AUTHORITY, notAfter: new Date('2025-01-01') });
  refused(await verify({ intermediates: [rootDer, old] }), 'dates', /Middle is stale/);
});

test('who may sign, and how many may follow', async () => {
  const withMiddle = async (extensions: Parameters<typeof certify>[2]) =>
    verify({ intermediates: [rootDer, await certify(root, middle, extensions)] });
  refused(await withMiddle({}), 'constraints', /Middle is no certificate authority/);
  refused(
    await withMiddle({ extensions: [basicConstraints(false)] }),
    'constraints',
    /no certificate authority/,
  );
  refused(
    await withMiddle({ extensions: [basicConstraints(true), keyUsage(0)] }),
    'constraints',
    /may not sign certificates/,
  );
  const second = await maker('Second');
  const secondDer = await certify(middle, second, { extensions: AUTHORITY });
  const deep = await certify(second, leaf);
  refused(
    await verify({ leaf: deep, intermediates: [rootDer, middleDer, secondDer] }),
    'constraints',
    /Middle allows 0 intermediates below, not 1/,
  );
  refused(
    await verify({ leaf: await certify(middle, leaf, { extensions: AUTHORITY }) }),
    'constraints',
    /authority, not a leaf/,
  );
  const unknown = { id: '1.2.3.4', critical: true, value: der(0x05) };
  refused(
    await verify({ leaf: await certify(middle, leaf, { extensions: [unknown] }) }),
    'constraints',
    /critical extension 1\.2\.3\.4/,
  );
});

test('a leaf that may do other things only may not sign', async () => {
  refused(
    await verify({ leaf: await certify(middle, leaf, { extensions: [keyUsage(2)] }) }),
    'constraints',
    /Leaf may not sign/,
  );
});

test('an endless or a huge chain is refused', async () => {
  const a = await maker('A');
  const b = await maker('B');
  const loop = [
    await certify(b, a, { extensions: AUTHORITY }),
    await certify(a, b, { extensions: AUTHORITY }),
  ];
  refused(
    await verify({ leaf: await certify(a, leaf), intermediates: loop }),
    'path',
    /no certificate of its issuer/,
  );
  refused(
    await verify({ intermediates: Array.from({ length: 40 }, () => rootDer) }),
    'certificates',
    /at most 32/,
  );
});

test('revocation: good, revoked, stale, future, tampered, garbage, empty, of another issuer, unknown', async () => {
  const rootCrl = await revoke(root, [77]);
  const middleCrl = await revoke(middle, []);
  const required = (crls: readonly Uint8Array[], change: Partial<ChainQuestion> = {}) =>
    verify({ crls, revocation: 'required', ...change });
  assert.ok((await required([rootCrl, middleCrl])).passed);
  refused(await required([rootCrl, await revoke(middle, [9, 3])]), 'revocation', /Leaf is revoked/);
  refused(await required([await revoke(root, [2]), middleCrl]), 'revocation', /Middle is revoked/);
  refused(
    await required([middleCrl]),
    'revocation',
    /no CRL of Root and no OCSP response about Middle: revocation is unknown/,
  );
  refused(await required([]), 'revocation', /unknown/);
  const stale = await revoke(middle, [], { nextUpdate: new Date('2025-06-01') });
  refused(await required([rootCrl, stale]), 'revocation', /CRL of Middle is stale/);
  refused(await verify({ crls: [stale] }), 'revocation', /CRL of Middle is stale/);
  const future = await revoke(middle, [], { thisUpdate: new Date('2027-01-01') });
  refused(await required([rootCrl, future]), 'revocation', /from the future/);
  const impostor: Maker = { ...(await maker('x')), common: 'Middle' };
  refused(
    await required([rootCrl, await revoke(impostor, [])]),
    'revocation',
    /signature of the CRL of Middle/,
  );
  refused(await verify({ crls: [flip(middleCrl, 40)] }), 'certificates', /CRL: /);
  refused(
    await verify({ crls: [flip(middleCrl, middleCrl.length - 3)] }),
    'revocation',
    /signature of the CRL/,
  );
  refused(await verify({ crls: [new Uint8Array(0)] }), 'certificates', /CRL: /);
  refused(await verify({ crls: [utf8('garbage')] }), 'certificates', /CRL: /);
  const delta = { id: '2.5.29.27', critical: true, value: der(0x02, Uint8Array.of(1)) };
  refused(
    await verify({ crls: [await revoke(middle, [], { extensions: [delta] })] }),
    'certificates',
    /2\.5\.29\.27/,
  );
  const other = await maker('Other');
  assert.ok((await verify({ crls: [await revoke(other, [3])] })).passed, 'another issuer cannot revoke');
});

test('one changed byte anywhere in a certificate is refused', async () => {
  for (let at = 0; at < leafDer.length; at++)
    assert.not.ok((await verify({ leaf: flip(leafDer, at) })).passed);
  for (let at = 0; at < middleDer.length; at += 3) {
    assert.not.ok((await verify({ intermediates: [rootDer, flip(middleDer, at)] })).passed);
  }
  for (let at = 0; at < rootDer.length; at += 7) {
    assert.not.ok((await verify({ intermediates: [flip(rootDer, at), middleDer] })).passed);
  }
});

test('files: PEM bundles and DER, told apart by content', async () => {
  const pem = (bytes: Uint8Array) => {
    const text = btoa(String.fromCharCode(...bytes)).replaceAll(/.{64}/g, '$&\n');
    return `-----BEGIN CERTIFICATE-----\n${text}\n-----END CERTIFICATE-----\n`;
  };
  const bundle = utf8(`comment\n${pem(leafDer)}${pem(middleDer)}`);
  assert.equal(splitCertificates(bundle), [leafDer, middleDer]);
  assert.equal(splitCertificates(leafDer), [leafDer]);
  assert.is(kindOf(bundle)?.name, 'pem');
  assert.is(kindOf(leafDer)?.name, 'certificates');
  assert.is(kindOf(await revoke(root, []))?.name, 'crl');
  assert.is(kindOf(utf8('nothing')), undefined);
  for (const bad of ['', '-----BEGIN CERTIFICATE-----\nAAAA', pem(leafDer).replace('\n', '\n@')]) {
    assert.throws(() => splitCertificates(utf8(bad)), isRefusal);
  }
  assert.throws(() => readPem(pem(leafDer).repeat(40)), isRefusal);
});

const isRefusal = (error: unknown) => error instanceof VouchError;

test('DER is read strictly', () => {
  const bad = [
    [],
    [0x30],
    [0x30, 0x80, 0, 0],
    [0x30, 0x81, 0x01, 0],
    [0x30, 0x82, 0, 0x80],
    [0x3f, 0x81, 0, 0],
    [5, 0, 0],
  ];
  for (const bytes of bad) assert.throws(() => readDer(Uint8Array.from(bytes), 'x'), isRefusal);
  const reader = createReader(Uint8Array.of(1, 2, 3), 'x');
  assert.is(reader.uint(2), 0x0201);
  assert.throws(() => reader.take(2), /expected 2 bytes at 2, got 1/);
  assert.throws(() => reader.end(), /expected 2 bytes, got 3/);
  assert.throws(() => reader.zeros(1), /expected zeros/);
});

test('a DER signature has one spelling', () => {
  const number = (...bytes: number[]) => der(0x02, Uint8Array.from(bytes));
  const read = (...parts: Uint8Array[]) => fromDerSignature(der(0x30, ...parts), 2);
  assert.equal(read(number(1), number(0, 0x80)), Uint8Array.of(0, 1, 0, 0x80));
  const bad = [
    [number(1)],
    [number(1), number(1), number(1)],
    [number(0, 1), number(1)],
    [number(0x80), number(1)],
    [number(), number(1)],
    [number(1, 2, 3), number(1)],
    [der(0x04, Uint8Array.of(1)), number(1)],
  ];
  for (const parts of bad) assert.is(read(...parts), undefined);
});

test('no bytes make the readers do anything but refuse', () => {
  const attempt = (work: () => unknown) => {
    try {
      work();
    } catch (error) {
      if (!(error instanceof VouchError)) throw error;
    }
  };
  const near = fc.tuple(fc.nat(leafDer.length - 1), fc.nat(255)).map(([at, mask]) => flip(leafDer, at, mask));
  const cut = fc.nat(leafDer.length).map((length) => leafDer.subarray(0, length));
  fc.assert(
    fc.property(fc.oneof(fc.uint8Array({ maxLength: 200 }), near, cut), (bytes) => {
      attempt(() => parseCertificate(bytes));
      attempt(() => parseRevocationList(bytes));
      attempt(() => splitCertificates(bytes));
      attempt(() =>
        splitCertificates(utf8(`-----BEGIN CERTIFICATE-----${base64url(bytes)}-----END CERTIFICATE-----`)),
      );
      kindOf(bytes);
    }),
    { numRuns: 500 },
  );
});

test.run();
