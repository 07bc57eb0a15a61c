/**
 * Google's endorsement of the firmware that an SNP guest or a TD started with. Sources: issue 11, "Checks that others
 * have" (GCE firmware endorsement from the certificate table); github.com/google/gce-tcb-verifier, proto/endorsement.proto
 * and verify/verify.go (RSA-PSS, provenance since August 2024), sev/endorsement.go (GUID of the table's entry).
 *
 * On the other side stands an operator who runs firmware of his own on Google's hardware, or anywhere, and holds every
 * endorsement that Google ever published.
 */

import { kindOf, sortFiles } from '../../protocols/attestation/evidence-files.ts';
import { explainPolicy } from '../../protocols/attestation/explain.ts';
import { parseGceEndorsement } from '../../protocols/attestation/formats/gce-endorsement.ts';
import {
  BUILT_IN,
  completePolicy,
  parseEvidencePolicy,
  parsePolicy,
} from '../../protocols/attestation/policy.ts';
import { readMessage } from '../../protocols/attestation/protobuf.ts';
import { GcePolicy } from '../../protocols/attestation/software-demands.ts';
import { concat, hex, utf8 } from '../../protocols/encoding.ts';
import { VouchError } from '../../protocols/errors.ts';
import { assert, suite } from '../harness.ts';
import { AUTHORITY, basicConstraints, certify, fingerprint, keyUsage, maker } from './certificate-maker.ts';
import {
  bytes,
  certificateTable,
  type EndorsementFields,
  endorsement,
  FIRMWARE,
  GCE_GUID,
  googleRoot,
  googleRootDer,
  googleRoots,
  googleSigner,
  number,
  VCEK_GUID,
} from './google-maker.ts';
import { type Case, NOW } from './intel-platform.ts';
import { gpuRoots, pem, td } from './service-maker.ts';
import { ask, failing } from './service-question.ts';
import { arkCrl, arkDer, askDer, snpReport, vcekDer } from './snp-maker.ts';

const hasCode = (code: string) => (error: unknown) => error instanceof VouchError && error.code === code;
const test = suite("Google's endorsement of firmware", { timeoutMs: 60_000 });

const report = await snpReport();
const measured = hex(report.subarray(0x90, 0x90 + 48));
const other = 'ee'.repeat(48);
const machine: Case = await td(new Uint8Array(64));
const mrtd = hex(machine.quote.subarray(48 + 136, 48 + 136 + 48));
const roots = {
  gce: googleRoots,
  gpu: gpuRoots,
  intel: machine.roots,
  amd: new Map([[fingerprint(arkDer), 'Turin' as const]]),
};
const amd = [askDer, arkDer, arkCrl];
const policy = parseEvidencePolicy({ ...BUILT_IN.genuine });
const demanding = (gce: object = {}) =>
  completePolicy({ ...policy, gce: GcePolicy.parse({ roots: googleRoots, ...gce }) });
const fails = (files: readonly Uint8Array[], more: object = {}) =>
  failing([machine], files, { policy, roots, ...more });
const withTable = async (fields: EndorsementFields) =>
  concat(
    report,
    certificateTable([
      [VCEK_GUID, vcekDer],
      [GCE_GUID, await endorsement(fields)],
    ]),
  );

test('from the table of an SNP guest, and as a file beside a TD, it is checked whole', async () => {
  const table = await withTable({ snp: { 1: other, 2: measured } });
  const { verdict, checks, claims } = await ask([machine], [table, ...amd], { policy, roots });
  assert.is(verdict, 'accept');
  const rows = checks.filter(({ id }) => id.startsWith('gce.'));
  assert.ok(rows.length === 7 && rows.every(({ status }) => status === 'pass'));
  assert.match(rows.find(({ id }) => id === 'gce.measurement')!.detail, /2 virtual CPUs/);
  assert.equal((claims as { endorsement: unknown }).endorsement, {
    by: 'google',
    svn: 3,
    source: 'change 7',
    firmware: hex(FIRMWARE),
    signedAt: '2025-06-01T00:00:00.000Z',
    of: { vcpus: 2 },
  });
  const file = await endorsement({
    mrtds: [other, mrtd],
    commit: Uint8Array.of(0xc0, 0xff),
    snp: { 1: other },
  });
  assert.is(kindOf(file)?.name, 'gce-endorsement');
  assert.equal(await fails([machine.quote, file]), []);
  assert.equal(await fails([utf8(Buffer.from(file).toString('base64')), machine.quote]), []);
  const beside = await ask([machine], [machine.quote, file], { policy, roots });
  assert.equal((beside.claims as { endorsement: { of: unknown; source: string } }).endorsement.of, {
    ramGib: 16,
    earlyAccept: true,
  });
  // Under Google's SVSM the measurement is one of its own.
  assert.equal(await fails([await withTable({ svsm: measured }), ...amd]), []);
});

test('what does not hold is a failure by its name', async () => {
  const mallory = await maker('GCE-cc-tcb-root', 'RSA-PSS-256');
  const malloryDer = await certify(mallory, mallory, { extensions: AUTHORITY });
  const beside = async (fields: EndorsementFields, more: readonly Uint8Array[] = []) =>
    fails([machine.quote, await endorsement({ mrtds: [mrtd], ...fields }), ...more]);
  assert.equal(await beside({ mrtds: [other] }), ['gce.measurement']);
  assert.equal(
    await beside({ mrtds: undefined, snp: { 2: mrtd } }),
    ['gce.measurement'],
    'of the other platform',
  );
  assert.equal(await beside({ by: mallory }), ['gce.signature']);
  const forged = await certify(mallory, googleSigner, { extensions: [keyUsage(0)] });
  assert.equal(await beside({ certificate: forged }), ['gce.chain']);
  assert.equal(await beside({ certificate: forged, bundle: pem(malloryDer, googleRootDer) }), ['gce.chain']);
  const old = await certify(googleRoot, googleSigner, {
    extensions: [keyUsage(0)],
    notAfter: new Date('2025-12-31'),
  });
  assert.equal(await beside({ certificate: old }), ['gce.chain-dates']);
  const authority = await certify(googleRoot, googleSigner, { extensions: AUTHORITY });
  assert.equal(await beside({ certificate: authority }), ['gce.chain-constraints'], 'an authority');
  const encrypting = await certify(googleRoot, googleSigner, {
    extensions: [basicConstraints(false), keyUsage(2)],
  });
  assert.equal(await beside({ certificate: encrypting }), ['gce.chain-constraints']);
  assert.equal(await beside({ change: 0 }), ['gce.endorsement'], 'built from nothing');
  assert.equal(
    await beside({ change: 0, signedAt: new Date('2024-07-01') }),
    [],
    'as Google did before August',
  );
  assert.equal(
    await beside({}, [await endorsement({ mrtds: [other] })]),
    [],
    'one of other firmware beside it',
  );
  assert.equal(await beside({}, [await endorsement({ mrtds: [mrtd], by: mallory })]), ['gce.signature']);
});

test('without a pinned root nothing is said of it, and where to get the root', async () => {
  const mallory = await maker('GCE-cc-tcb-root', 'RSA-PSS-256');
  const malloryDer = await certify(mallory, mallory, { extensions: AUTHORITY });
  const bare = await endorsement({ mrtds: [mrtd], bundle: pem(malloryDer) });
  const { verdict, checks } = await ask([machine], [machine.quote, bare], { policy, roots });
  assert.is(verdict, 'accept');
  const row = checks.find(({ id }) => id === 'gce.signature');
  assert.is(row?.status, 'skipped');
  assert.match(row!.detail, /pki\.goog\/cloud_integrity\/GCE-cc-tcb-root_1\.crt/);
  assert.equal(await fails([machine.quote, bare], { policy: demanding() }), ['gce.chain']);
  // The root as a file, or in store.
  assert.equal(await fails([machine.quote, bare, googleRootDer], { policy: demanding() }), []);
  const store = { ...sortFiles([{ name: 'root', bytes: googleRootDer }]), intel: machine.collateral };
  assert.equal(await fails([machine.quote, bare], { policy: demanding(), store }), []);
});

test('a policy demands it, and what it must say', async () => {
  const file = await endorsement({ mrtds: [mrtd] });
  assert.equal(await fails([machine.quote, file], { policy: demanding() }), []);
  assert.equal(await fails([machine.quote], { policy: demanding() }), ['gce.endorsement']);
  for (const [gce, id] of [
    [{ minimumSvn: 4 }, 'gce.svn'],
    [{ notBefore: '2025-06-02' }, 'gce.signed'],
    [{ firmwares: [other] }, 'gce.firmware'],
    [{ roots: ['00'.repeat(32)] }, 'gce.chain'],
  ] as const) {
    const own = { policy: demanding(gce), roots: { ...roots, gce: undefined } };
    assert.equal(await fails([machine.quote, file], own), [id]);
  }
  assert.equal(
    await fails([machine.quote, file], {
      policy: demanding({ minimumSvn: 3, notBefore: '2025-06-01', firmwares: [hex(FIRMWARE)] }),
    }),
    [],
  );
  const said = explainPolicy(demanding({ minimumSvn: 3, firmwares: [other] })).filter((line) =>
    line.startsWith('Google: '),
  );
  assert.is(said.length, 2);
  assert.match(said[0]!, /under 1 root, of security version 3 or later\./);
  // A policy that does not speak of it keeps its digest.
  assert.ok(!Object.hasOwn(parsePolicy({ version: 1 }), 'gce'));
});

test('in store it is about many machines, and beside several it is about one', async () => {
  const mine = await endorsement({ mrtds: [mrtd] });
  const mallory = await maker('GCE-cc-tcb-root', 'RSA-PSS-256');
  const kept = [
    await endorsement({ mrtds: [other] }),
    await endorsement({ mrtds: [mrtd], by: mallory }),
    mine,
  ];
  const store = {
    ...sortFiles(kept.map((one, i) => ({ name: String(i), bytes: one }))),
    intel: machine.collateral,
  };
  assert.equal(await fails([machine.quote], { policy: demanding(), store }), []);
  const table = await withTable({ snp: { 4: measured } });
  const both = await ask([machine], [table, machine.quote, ...amd], { policy, roots });
  assert.is(both.verdict, 'accept', 'one machine of a table and a quote, as far as files say');
  // An attack: a guest with firmware of its own beside somebody else's machine.
  assert.equal(await fails([table, machine.quote, ...amd], { policy: demanding() }), ['gce.measurement']);
});

test('protobuf is read as it is defined, and what two readers could read differently is refused', () => {
  const message = readMessage(
    concat(number(1, 300), bytes(2, utf8('a')), bytes(2, utf8('b')), number(9, 1)),
    'x',
  );
  assert.is(message.number(1), 300n);
  assert.is(message.number(7), 0n);
  assert.is(message.all(2).length, 2);
  assert.throws(() => message.bytes(2), hasCode('bad-file'));
  assert.throws(() => message.bytes(1), hasCode('bad-file'));
  assert.throws(() => message.all(1), hasCode('bad-file'));
  assert.throws(() => message.number(2), hasCode('bad-file'));
  for (const wrong of [
    [0x0a, 5, 1],
    [0x0b, 1],
    [0x08],
    [0x00, 1],
    [0x08, ...new Array(10).fill(0xff), 1],
    [0x0a, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f],
    [0x0d, 1, 2],
  ]) {
    assert.throws(() => readMessage(Uint8Array.from(wrong), 'x'), hasCode('bad-file'), wrong.join());
  }
});

test('an endorsement that does not say what it has to is refused', async () => {
  const wrong: EndorsementFields[] = [
    { firmware: new Uint8Array(47) },
    { snp: { 2: 'ab' } },
    { mrtds: ['ab'] },
    { certificate: utf8('certificate') },
    { bundle: '-----BEGIN CERTIFICATE-----' },
    { commit: new Uint8Array(65) },
    { svn: 2 ** 32, mrtds: [] },
  ];
  for (const fields of wrong) {
    const file = await endorsement(fields);
    assert.throws(() => parseGceEndorsement(file), hasCode('bad-file'), JSON.stringify(fields));
  }
  const broken = await endorsement({ mrtds: ['ab'] });
  assert.equal(await fails([machine.quote, broken]), ['gce.endorsement']);
  assert.ok(NOW > new Date('2025-06-01'));
});

test.run();
