import { existsSync, readFileSync } from 'node:fs';
import * as fc from 'fast-check';
import { splitCertificates } from '../../protocols/attestation/certificate.ts';
import { SnpPolicy } from '../../protocols/attestation/demands.ts';
import { kindOf } from '../../protocols/attestation/evidence-files.ts';
import type { SnpResult } from '../../protocols/attestation/formats/sev-snp.ts';
import {
  parseCertificateTable,
  parseSnpReport,
  productOf,
  SNP_REPORT_BYTES,
} from '../../protocols/attestation/formats/sev-snp-report.ts';
import { concat, fromHex, hex, utf8 } from '../../protocols/encoding.ts';
import { VouchError } from '../../protocols/errors.ts';
import { assert, suite } from '../harness.ts';
import {
  basicConstraints,
  certify,
  der,
  type Extension,
  fingerprint,
  flip,
  integer,
  keyUsage,
  maker,
  octets,
  revoke,
} from './certificate-maker.ts';
import { type SnpQuestion, verifySnp } from './from-bytes.ts';
import {
  ARC,
  ark,
  arkCrl,
  arkDer,
  ask,
  askDer,
  asvk,
  CHIP,
  hwId,
  snpReport,
  TCB,
  turinExtensions,
  vcek,
  vcekDer,
  vlek,
} from './snp-maker.ts';

const test = suite('SEV-SNP evidence', { timeoutMs: 60_000 });
const VECTORS = new URL('../../../shared/vectors/', import.meta.url);
const read = (path: string) => new Uint8Array(readFileSync(new URL(path, VECTORS)));
const present = existsSync(VECTORS);

/** What `genuine` demands: real hardware, in force, not debugged. */
const GENUINE = SnpPolicy.parse({
  platformFeatures: [],
  tcbFloors: 'none',
  maximumVmpl: 3,
  migration: true,
  uncommittedFirmware: true,
  revocation: 'if-present',
});
const failed = ({ checks }: SnpResult) =>
  checks.filter(({ status }) => status === 'fail').map(({ id }) => id);

interface Case {
  readonly path: string;
  readonly kind: string;
  readonly now: string;
  readonly verdict: 'accept' | 'reject';
  readonly cert: string;
  readonly reason?: string;
  readonly measurement?: string;
  readonly keyType?: string;
  readonly vmpl?: number;
}
const cases: Case[] = present
  ? (JSON.parse(readFileSync(new URL('vectors.json', VECTORS), 'utf8')) as Case[]).filter(
      ({ kind }) => kind === 'snp',
    )
  : [];
const REASONS: Readonly<Record<string, string>> = {
  debug_policy: 'snp.debug',
  chain_or_signature: 'snp.chain',
  cert_expired: 'snp.chain-dates',
};
const questionOf = ({ path, cert, now }: Case): SnpQuestion => ({
  report: read(path),
  certificates: splitCertificates(read(cert)),
  policy: { debug: false, amd: GENUINE },
  now: new Date(now),
});

test('every report that real hardware signed gets its expected verdict', async (t) => {
  if (!present) t.skip('../shared/vectors is absent');
  assert.ok(cases.length >= 6);
  for (const one of cases) {
    const result = await verifySnp(questionOf(one));
    assert.is(result.verdict, one.verdict, `${one.path} with ${one.cert}`);
    if (one.reason !== undefined) assert.ok(failed(result).includes(REASONS[one.reason]!), one.reason);
    if (one.measurement !== undefined) assert.is(result.claims?.measurement, one.measurement);
    if (one.keyType !== undefined) assert.is(result.claims?.signingKey, one.keyType);
    if (one.vmpl !== undefined) assert.is(result.claims?.vmpl, one.vmpl);
    assert.is(kindOf(read(one.path))?.name, 'sev-snp');
    assert.match(kindOf(read(one.cert))?.name ?? '', /^(certificates|pem)$/);
  }
});

test('the certificates that AMD hands out with a VCEK serve as well as our own copies', async (t) => {
  if (!present) t.skip('../shared/vectors is absent');
  const one = cases.find(({ verdict }) => verdict === 'accept')!;
  const question = questionOf(one);
  for (const file of ['amd/certs/milan_cert_chain.pem', 'roots/amd_milan_ask_ark_asvk.pem']) {
    const certificates = [...splitCertificates(read(file)), ...question.certificates];
    assert.is((await verifySnp({ ...question, certificates })).verdict, 'accept', file);
  }
});

test('one changed byte anywhere in a report or a VCEK is refused', async (t) => {
  if (!present) t.skip('../shared/vectors is absent');
  const question = questionOf(cases.find(({ verdict }) => verdict === 'accept')!);
  for (let at = 0; at < SNP_REPORT_BYTES; at += at < 0x2a0 ? 2 : 1) {
    const { verdict } = await verifySnp({ ...question, report: flip(question.report, at) });
    assert.is(verdict, 'reject', `report byte ${at}`);
  }
  const [vcek] = question.certificates;
  for (let at = 0; at < vcek!.length; at += 5) {
    const { verdict } = await verifySnp({ ...question, certificates: [flip(vcek!, at)] });
    assert.is(verdict, 'reject', `VCEK byte ${at}`);
  }
});

// From here on reports are made here: own keys, own root.

const NOW = new Date('2026-01-01');
/** With least levels of its own; what AMD's bulletins say is attestation-genuine.test.ts's matter. */
const STRICT = SnpPolicy.parse({ tcbFloors: 'none', minimumTcb: { fmc: 1, snp: 4, microcode: 200 } });
const verify = async (report: Uint8Array, change: Partial<SnpQuestion> = {}, amd: Partial<SnpPolicy> = {}) =>
  verifySnp({
    report,
    certificates: [vcekDer, askDer, arkDer],
    crls: [arkCrl],
    policy: { debug: false, amd: { ...STRICT, ...amd } },
    now: NOW,
    roots: new Map([[fingerprint(arkDer), 'Turin']]),
    ...change,
  });

test('a Turin report of version 5 passes the strict policy, with the TCB in its own layout', async () => {
  const { verdict, claims, checks } = await verify(await snpReport());
  assert.is(verdict, 'accept', JSON.stringify(checks));
  assert.equal(claims?.tcb.reported, { fmc: 1, bootloader: 2, tee: 3, snp: 4, microcode: 205 });
  assert.is(claims?.product, 'Turin');
  assert.is(claims?.chipId, hex(CHIP));
  assert.is(parseSnpReport(await snpReport()).mitigations?.launch, 7n);
});

test("AMD's roots are the only ones trusted unless others are named", async () => {
  const { verdict, checks } = await verify(await snpReport(), { roots: undefined });
  assert.is(verdict, 'reject');
  assert.is(checks.find(({ id }) => id === 'snp.chain')?.status, 'fail');
});

test('every negative is refused by the check that is named for it', async () => {
  const expectOnly = async (id: string, report: Uint8Array, change = {}, amd: Partial<SnpPolicy> = {}) => {
    const result = await verify(report, change, amd);
    assert.is(result.verdict, 'reject', id);
    assert.equal(failed(result), [id]);
  };
  const lower = (at: number) => flip(TCB, at, TCB[at]! ^ (TCB[at]! - 1));
  await expectOnly('snp.signature', await snpReport({}, await maker('SEV-VCEK')));
  await expectOnly('snp.debug', await snpReport({ policy: (1n << 17n) | (1n << 19n) }));
  await expectOnly('snp.migration', await snpReport({ policy: (1n << 17n) | (1n << 18n) }));
  await expectOnly('snp.vmpl', await snpReport({ vmpl: 1 }));
  await expectOnly('snp.vmpl', await snpReport({ vmpl: 0xffffffff }), {}, { maximumVmpl: 3 });
  await expectOnly('snp.tcb', await snpReport({ reported: flip(TCB, 1) }));
  await expectOnly('snp.tcb', await snpReport({ reported: flip(TCB, 5) }), {}, {});
  await expectOnly('snp.minimum-tcb', await snpReport({ launch: lower(3) }));
  await expectOnly('snp.minimum-tcb', await snpReport({ committed: lower(3), current: lower(3) }));
  await expectOnly('snp.minimum-tcb', await snpReport(), {}, { minimumTcb: { microcode: 206 } });
  await expectOnly('snp.firmware', await snpReport({ current: flip(TCB, 7, 2) }));
  await expectOnly('snp.chip-id', await snpReport({ chip: flip(CHIP, 0) }));
  await expectOnly('snp.chip-id', await snpReport({ chip: new Uint8Array(64) }));
  await expectOnly('snp.chip-id', await snpReport({ chip: concat(CHIP, Uint8Array.of(1)) }));
  await expectOnly('snp.product', await snpReport({ cpuid: [0x19, 0x11, 0x01] }));
  await expectOnly('snp.product', await snpReport({ cpuid: [0x1b, 0, 0] }));
  await expectOnly(
    'snp.chain-dates',
    await snpReport(),
    { now: new Date('2034-02-01'), crls: [] },
    { revocation: 'if-present' },
  );
  await expectOnly('snp.chain-revocation', await snpReport(), { crls: [] });
  await expectOnly('snp.chain-revocation', await snpReport(), { crls: [await revoke(ark, [5])] });
  await expectOnly('snp.chip-allowed', await snpReport(), {}, { chipIds: ['ff'.repeat(8)] });
  await expectOnly('snp.measurement', await snpReport(), {
    policy: { debug: false, measurements: ['00'.repeat(48)], amd: STRICT },
  });
  await expectOnly('snp.report-data', await snpReport(), {
    policy: { debug: false, reportData: '00'.repeat(64), amd: STRICT },
  });
  await expectOnly('snp.firmware', await snpReport(), {}, { minimumFirmware: '1.58.10' });
  await expectOnly('snp.firmware', await snpReport(), {}, { minimumFirmware: '2.0.0' });
  await expectOnly(
    'snp.platform',
    await snpReport({ change: (report) => report.set([0x21], 0x40) }),
    {},
    { smt: false },
  );
  const unchecked = await snpReport({ change: (report) => report.set([0], 0x40) });
  await expectOnly('snp.platform', unchecked);
  await expectOnly('snp.measurement', await snpReport(), {
    policy: { debug: false, measurements: [{ minimumGuestSvn: 1 }], amd: STRICT },
  });
  await expectOnly('snp.certificate', await snpReport(), { certificates: [askDer, arkDer] });
  await expectOnly('snp.certificate', await snpReport({ flags: 1 << 2 }));
  await expectOnly('snp.certificate', await snpReport({ flags: 7 << 2 }));
  await expectOnly('snp.certificate', await snpReport({ flags: 2 }));
  await expectOnly('snp.certificate', await snpReport(), { certificates: [utf8('nothing')] });
});

test('what a policy allows is accepted', async () => {
  const accept = async (report: Uint8Array, change = {}, amd: Partial<SnpPolicy> = {}) =>
    assert.is((await verify(report, change, amd)).verdict, 'accept');
  await accept(await snpReport({ policy: (1n << 17n) | (1n << 19n) }), {
    policy: { debug: true, amd: STRICT },
  });
  await accept(await snpReport({ policy: (1n << 17n) | (1n << 18n) }), {}, { migration: true });
  await accept(await snpReport({ vmpl: 2 }), {}, { maximumVmpl: 2 });
  await accept(await snpReport({ current: flip(TCB, 7, 2) }), {}, { uncommittedFirmware: true });
  await accept(await snpReport(), { crls: [] }, { revocation: 'if-present' });
  await accept(await snpReport(), {}, { chipIds: [hex(CHIP)] });
  await accept(await snpReport(), {}, { minimumFirmware: '1.57.200' });
  await accept(await snpReport({ change: (report) => report.set([0], 0x40) }), {}, { platformFeatures: [] });
  const measured = { measurement: hex(concat(utf8('measurement'), new Uint8Array(37))), minimumGuestSvn: 0 };
  await accept(await snpReport(), { policy: { debug: false, measurements: [measured], amd: STRICT } });
  await accept(await snpReport({ version: 3 }));
  await accept(await snpReport({ version: 4 }));
  await accept(await snpReport({ version: 2, cpuid: [] }));
});

test('the certificate must be for this product, chip and TCB', async () => {
  const check = async (extensions: Extension[], id: string | undefined) => {
    const certificate = await certify(ask, vcek, { extensions });
    const result = await verify(await snpReport(), { certificates: [certificate, askDer, arkDer] });
    assert.equal(failed(result), id === undefined ? [] : [id]);
  };
  await check([...turinExtensions(), hwId(octets(CHIP))], undefined);
  await check([...turinExtensions(), hwId(flip(CHIP, 2))], 'snp.chip-id');
  await check([...turinExtensions(), hwId(concat(CHIP, new Uint8Array(56)))], 'snp.chip-id');
  await check(turinExtensions(), 'snp.certificate');
  const nobody = await certify(ask, vcek, { extensions: [...turinExtensions(), hwId(new Uint8Array(8))] });
  const masked = await verify(await snpReport({ chip: new Uint8Array(64) }), {
    certificates: [nobody, askDer, arkDer],
  });
  assert.equal(failed(masked), ['snp.chip-id']);
  const genoa = await verify(await snpReport(), { roots: new Map([[fingerprint(arkDer), 'Genoa']]) });
  assert.equal(failed(genoa), ['snp.product'], 'a root of another product');
  await check([...turinExtensions(flip(TCB, 7)), hwId(CHIP)], 'snp.tcb');
  await check([...turinExtensions().filter(({ id }) => id !== `${ARC}.3.9`), hwId(CHIP)], 'snp.certificate');
  const other = turinExtensions().map((one) => (one.id === `${ARC}.1` ? { ...one, value: integer(0) } : one));
  await check([...other, hwId(CHIP)], 'snp.product');
});

test('a VLEK vouches for a provider and names no chip', async () => {
  const provider = { id: `${ARC}.5`, value: der(0x16, utf8('CN=cloud.example')) };
  const extensions = [...turinExtensions(), provider];
  const asvkDer = await certify(ark, asvk, {
    extensions: [basicConstraints(true, 0), keyUsage(5)],
    serial: 6,
  });
  const certificates = [await certify(asvk, vlek, { extensions }), asvkDer, arkDer];
  const report = await snpReport({ flags: 1 << 2, chip: new Uint8Array(64) }, vlek);
  const result = await verify(report, { certificates });
  assert.is(result.verdict, 'accept', JSON.stringify(result.checks));
  assert.is(result.claims?.provider, 'CN=cloud.example');
  assert.is(result.claims?.chipId, undefined);
  const byAsk = [await certify(ask, vlek, { extensions }), askDer, arkDer];
  assert.equal(failed(await verify(report, { certificates: byAsk })), ['snp.issuer']);
  const byAsvk = await certify(asvk, vcek, { extensions: [...turinExtensions(), hwId(CHIP)] });
  assert.equal(failed(await verify(await snpReport(), { certificates: [byAsvk, asvkDer, arkDer] })), [
    'snp.issuer',
  ]);
  const listed = await verify(report, { certificates }, { chipIds: ['00'.repeat(64)] });
  assert.equal(failed(listed), ['snp.chip-allowed']);
  assert.equal(failed(await verify(report, { certificates: [vcekDer, askDer, arkDer] })), [
    'snp.certificate',
  ]);
});

test('versions, lengths and reserved fields are read strictly', async () => {
  for (const version of [0, 1, 6, 7]) {
    assert.throws(
      () => parseSnpReport(flip(new Uint8Array(SNP_REPORT_BYTES), 0, version)),
      hasCode('bad-version'),
    );
  }
  const report = await snpReport();
  for (const bytes of [new Uint8Array(0), report.subarray(1), concat(report, new Uint8Array(1))]) {
    assert.throws(() => parseSnpReport(bytes), hasCode('bad-file'));
  }
  const reserved = [
    0x0b, 0x34, 0x49, 0x4c, 0x18b, 0x19f, 0x1eb, 0x1ef, 0x208, 0x29f, 0x2d0, 0x2e7, 0x318, 0x330, 0x49f,
  ];
  for (const at of reserved) {
    assert.throws(() => parseSnpReport(flip(report, at, 0x80)), hasCode('bad-file'), `byte ${at}`);
  }
  assert.throws(() => parseSnpReport(flip(report, 0x0a, 2)), /bit 17/);
  const older = await snpReport({ version: 3, change: (bytes) => bytes.set([1], 0x1f8) });
  assert.throws(() => parseSnpReport(older), hasCode('bad-file'), 'version 3 has no mitigation vector');
  assert.is(productOf({ family: 0x19, model: 0xa0, stepping: 1 }), 'Genoa');
  assert.is(productOf({ family: 0x19, model: 0x50, stepping: 1 }), undefined);
});

test('the certificate table of a host is read within its bounds', () => {
  const table = (...entries: [guid: string, offset: number, length: number][]) => {
    const bytes = new Uint8Array(200);
    const view = new DataView(bytes.buffer);
    for (const [i, [guid, offset, length]] of entries.entries()) {
      bytes.set(fromHex(guid), i * 24);
      view.setUint32(i * 24 + 16, offset, true);
      view.setUint32(i * 24 + 20, length, true);
    }
    return bytes;
  };
  const VCEK = '63da758de6644564adc5f4b93be8accd';
  const CRL = '92f81bc358114d3d97ffd19f88dc67ea';
  const good = table([VCEK, 120, 10], ['11'.repeat(16), 130, 10], [CRL, 140, 5]);
  const { certificates, crls } = parseCertificateTable(good);
  assert.equal([certificates.length, certificates[0]?.length, crls[0]?.length], [1, 10, 5]);
  assert.is(kindOf(good)?.name, 'sev-snp-certificates');
  // google/gce-tcb-verifier: Compute Engine's table starts with its firmware's endorsement, or holds nothing else.
  const google = table(['9f4116cdc5034f5a8f6ffb68882f4ce2', 120, 10], [VCEK, 130, 10]);
  assert.is(kindOf(google)?.name, 'sev-snp-certificates');
  assert.is(parseCertificateTable(google).certificates.length, 1);
  for (const bad of [
    table([VCEK, 0, 10]),
    table([VCEK, 195, 10]),
    table([VCEK, 100, 0]),
    new Uint8Array(20),
  ]) {
    assert.throws(() => parseCertificateTable(bad), hasCode('bad-file'));
  }
});

test('no bytes make the readers do anything but refuse', async () => {
  const report = await snpReport();
  const near = fc
    .array(fc.tuple(fc.nat(SNP_REPORT_BYTES - 1), fc.nat(255)), { maxLength: 4 })
    .map((changes) => changes.reduce((bytes: Uint8Array, [at, mask]) => flip(bytes, at, mask), report));
  fc.assert(
    fc.property(fc.oneof(near, fc.uint8Array({ maxLength: 1300 })), (bytes) => {
      kindOf(bytes);
      for (const parse of [parseSnpReport, parseCertificateTable]) {
        try {
          parse(bytes);
        } catch (error) {
          if (!(error instanceof VouchError)) throw error;
        }
      }
    }),
    { numRuns: 500 },
  );
});

const hasCode = (code: string) => (error: unknown) => error instanceof VouchError && error.code === code;

test.run();
