/**
 * Evidence that hardware sends and that was refused, and evidence that was taken for more than it is. Each case has its
 * source; those without another are points of issue 11.
 */

import { sortFiles } from '../../protocols/attestation/evidence-files.ts';
import { type EvidenceQuestion, judgeEvidence } from '../../protocols/attestation/evidence-verdict.ts';
import { explainPolicy } from '../../protocols/attestation/explain.ts';
import { parseIntelQuote } from '../../protocols/attestation/formats/intel-quote.ts';
import { isGpuReport, isSwitchReport } from '../../protocols/attestation/formats/nvidia-report.ts';
import { parseSnpReport } from '../../protocols/attestation/formats/sev-snp-report.ts';
import { floorsOf, SNP_FLOORS_DATE } from '../../protocols/attestation/judgement/amd-floors.ts';
import { BUILT_IN, type EvidencePolicy, parseEvidencePolicy } from '../../protocols/attestation/policy.ts';
import { hex, utf8 } from '../../protocols/encoding.ts';
import { assert, suite } from '../harness.ts';
import { certify, fingerprint, flip } from './certificate-maker.ts';
import { gpu, measured, NONCE, report, rim, rimSigner, switchFields, VBIOS, vendor } from './gpu-maker.ts';
import { failures, intelCase, judge, level, module, platformTcb } from './intel-platform.ts';
import {
  arkCrl,
  arkDer,
  ask,
  askDer,
  CHIP,
  hwId,
  snpReport,
  TCB,
  turinExtensions,
  vcek,
  vcekDer,
} from './snp-maker.ts';

const test = suite('genuine evidence', { timeoutMs: 60_000 });
const SNP_ROOTS = { amd: new Map([[fingerprint(arkDer), 'Turin' as const]]) };

async function files(given: readonly Uint8Array[], question: Partial<EvidenceQuestion> = {}) {
  const sorted = sortFiles(given.map((bytes, i) => ({ name: `${i}`, bytes })));
  return judgeEvidence({
    given: sorted,
    store: sortFiles([]),
    policy: BUILT_IN.strict,
    now: new Date('2026-01-10'),
    roots: SNP_ROOTS,
    ...question,
  });
}
const failed = ({ checks }: { checks: readonly { id: string; status: string }[] }): string[] =>
  checks.filter(({ status }) => status === 'fail').map(({ id }) => id);
const row = (checks: readonly { id: string; status: string; detail: string }[], id: string) =>
  checks.find((check) => check.id === id);

// google/go-sev-guest #158, virtee/sev #307: Milan at a large cloud, firmware 1.55.31.
test('an SNP report of version 4 is read like version 3, without mitigation vectors', async () => {
  const { verdict, claims } = await files([await snpReport({ version: 4 }), vcekDer, arkCrl, askDer, arkDer]);
  assert.is(verdict, 'accept');
  const { reportVersion, mitigations } = claims as { reportVersion: number; mitigations?: unknown };
  assert.equal([reportVersion, mitigations], [4, undefined]);
  assert.equal(parseSnpReport(await snpReport({ version: 4 })).cpuid, {
    family: 0x1a,
    model: 2,
    stepping: 1,
  });
});

test('a version that is newer than those read is refused by that name, whichever format has it', async () => {
  const six = await snpReport({ version: 6 });
  assert.throws(() => parseSnpReport(six), /version 6 is newer than those read here/);
  const { quote } = await intelCase({ td15: true });
  assert.throws(() => parseIntelQuote(Uint8Array.from(quote).fill(6, 0, 1)), /got 6, which is newer/);
  assert.throws(
    () => parseIntelQuote(Uint8Array.from(quote).fill(5, 48, 49)),
    /body type.*got 5, which is newer/,
  );
  const future = await snpReport({ policy: (1n << 17n) | (1n << 26n) });
  assert.throws(() => parseSnpReport(future), /bits from 26 on are not known here/);
});

test("AMD's CA certificates may come along, be ours, be in store, or belong to another product", async () => {
  const bytes = await snpReport();
  const store = sortFiles([
    { name: 'ca', bytes: askDer },
    { name: 'ark', bytes: arkDer },
  ]);
  assert.is((await files([bytes, vcekDer, arkCrl], { store })).verdict, 'accept');
  assert.is((await files([bytes, vcekDer, arkCrl, askDer], { store })).verdict, 'accept', 'the ASK alone');
  assert.is((await files([bytes, vcekDer, arkCrl, arkDer], { store })).verdict, 'accept', 'the ARK alone');
  assert.equal(failed(await files([bytes, vcekDer, arkCrl, askDer])), ['snp.chain']);
});

// google/go-tdx-guest, Open Enclave (tdx_td_attributes_servtd_ext): bit 17 comes with the extended body.
test('a TD with SERVTD_EXT is taken, with what its extended body says of the platform it was made on', async () => {
  const given = await intelCase({
    td15ex: true,
    report: (body) => {
      body[122]! |= 0x02;
      body.fill(0xa1, 777, 785);
      body.fill(0xa2, 785, 801);
      body.fill(0xa3, 801, 817);
      body.fill(0xa4, 817, 829);
      body.fill(0xa5, 877, 885);
    },
  });
  const { verdict, claims } = await judge(given);
  assert.is(verdict, 'accept');
  assert.equal(
    [
      claims?.initServiceTdAttributes,
      claims?.initCpuSvn,
      claims?.initTeeTcbSvn,
      claims?.initFmspc,
      claims?.currentServiceTdAttributes,
    ],
    ['a1'.repeat(8), 'a2'.repeat(16), 'a3'.repeat(16), 'a4'.repeat(12), 'a5'.repeat(8)],
  );
});

const makers = await vendor();
const signer = await rimSigner();
const card = await gpu(makers);
const gpuFiles = [
  await report(card),
  ...card.chain,
  ...makers.ocsp,
  ...signer.ocsp,
  await makers.answer(4),
  await rim(signer),
  await rim(signer, { version: VBIOS, active: new Map([[2, [measured(2)]]]) }),
];
const gpuRoots = { ...SNP_ROOTS, gpu: { device: [fingerprint(makers.rootDer)], rim: [signer.root] } };
const gpuQuestion = { nonce: hex(NONCE), guest: { ccMode: 'on', ready: true }, roots: gpuRoots } as const;

// NVIDIA/attestation-sdk, gpu/evidence.cpp: the driver's manifest is named by the chip of opaque field 35.
test('a manifest is for the chip that the report names, or for its family where it names none', async () => {
  const named = async (chip: string | undefined, product: string, name = 'GB100 A01 GSP FMC') => {
    const device = await gpu(makers, { name });
    const fields = new Map([[35, chip === undefined ? undefined : utf8(`${chip}\0`)]]);
    const both = { product };
    const manifests = [
      await rim(signer, both),
      await rim(signer, { ...both, version: VBIOS, active: new Map([[2, [measured(2)]]]) }),
    ];
    const rest = [...device.chain, ...makers.ocsp, ...signer.ocsp, await makers.answer(4)];
    return failed(await files([await report(device, { fields }), ...rest, ...manifests], gpuQuestion));
  };
  const wrong = ['rim.driver.product', 'rim.vbios.product'];
  assert.equal(await named('GB100', 'GB100'), []);
  assert.equal(await named('GB100', 'GB110'), wrong);
  assert.equal(await named('GB110', 'GB100', 'GB110 A01'), wrong);
  assert.equal(await named('GB202', 'GB20X', 'GB202 A01'), []);
  assert.equal(await named(undefined, 'GB100', 'GB102 A01'), []);
  assert.equal(await named(undefined, 'GB110'), wrong);
});

test("a damaged switch report is a switch's all the same", async () => {
  const made = await gpu(makers, { name: 'LS_10 A01 FSP FMC LF', serial: 21 });
  const bytes = await report(made, { fields: switchFields(new Uint8Array(8).fill(1), []) });
  for (let at = 45; at < bytes.length; at += 1) {
    const damaged = flip(bytes, at, 0x80);
    assert.is(isSwitchReport(damaged), true, `byte ${at}`);
    assert.is(isGpuReport(damaged), false, `byte ${at}`);
  }
  const gpuBytes = gpuFiles[0]!;
  for (let at = 45; at < gpuBytes.length; at += 1)
    assert.is(isGpuReport(flip(gpuBytes, at, 0x80)), true, `byte ${at}`);
});

test('CPU and GPU evidence side by side: accepted, and said to be bound by nothing', async () => {
  const cpu = [await snpReport(), vcekDer, arkCrl, askDer, arkDer];
  const { verdict, checks } = await files([...cpu, ...gpuFiles], gpuQuestion);
  assert.is(verdict, 'accept', JSON.stringify(checks.filter(({ status }) => status !== 'pass')));
  assert.is(row(checks, 'evidence.bound')?.status, 'skipped');
  assert.match(row(checks, 'evidence.bound')!.detail, 'whether they are of one machine');
  assert.is(row(checks, 'evidence.nonce')?.status, 'skipped');
  assert.match(row(checks, 'evidence.nonce')!.detail, 'only GPUs and TPMs answer the nonce');
  const alone = await files(cpu);
  assert.is(row(alone.checks, 'evidence.bound'), undefined);
  assert.match(row(alone.checks, 'evidence.nonce')!.detail, 'compared with nothing');
  const reportData = hex(utf8('report data')).padEnd(128, '0');
  const demanded = await files(cpu, { policy: parseEvidencePolicy({ version: 1, reportData }) });
  assert.is(demanded.verdict, 'accept');
  assert.is(row(demanded.checks, 'evidence.nonce'), undefined);
});

test('a nonce that was not given is a failure of its own; two that differ late print differently', async () => {
  const { nonce: _, ...without } = gpuQuestion;
  const missing = await files(gpuFiles, without);
  assert.is(missing.verdict, 'reject');
  assert.equal(failed(missing), ['evidence.nonce']);
  const late = await files(gpuFiles, { ...gpuQuestion, nonce: hex(flip(NONCE, 31)) });
  assert.equal(failed(late), ['gpu.nonce']);
  const { detail } = row(late.checks, 'gpu.nonce')!;
  assert.ok(detail.includes(hex(NONCE)) && detail.includes(hex(flip(NONCE, 31))));
});

test('strict has floors for the patch levels of AMD, by product and stepping, and says from when they are', async () => {
  const levels = async (tcb: Uint8Array<ArrayBuffer>, policy: EvidencePolicy = BUILT_IN.strict) => {
    const certificate = await certify(ask, vcek, { extensions: [...turinExtensions(tcb), hwId(CHIP)] });
    const all = { reported: tcb, committed: tcb, launch: tcb, current: tcb };
    return files([await snpReport(all), certificate, arkCrl, askDer, arkDer], { policy });
  };
  assert.equal(failed(await levels(new Uint8Array(8))), ['snp.tcb-floor']);
  assert.equal(failed(await levels(TCB.with(3, 3))), ['snp.tcb-floor']);
  assert.equal(failed(await levels(TCB.with(7, 0x50))), ['snp.tcb-floor']);
  assert.is((await levels(TCB.with(7, 0x51))).verdict, 'accept');
  assert.is((await levels(new Uint8Array(8), BUILT_IN.genuine)).verdict, 'accept');
  // A guest launched before the update was open while it started.
  const launched = [await snpReport({ launch: TCB.with(3, 0) }), vcekDer, arkCrl, askDer, arkDer];
  assert.equal(failed(await files(launched)), ['snp.tcb-floor']);
  const cpuid = (family: number, model: number, stepping: number) => ({ cpuid: { family, model, stepping } });
  // AMD-SB-3030 and -3027, -3020, as far as they name levels.
  assert.equal(floorsOf('Milan', cpuid(0x19, 1, 1)), { snp: 0x1d, microcode: 0xde });
  assert.equal(floorsOf('Milan', cpuid(0x19, 1, 2)), { snp: 0x1d, microcode: 0x47 });
  assert.equal(floorsOf('Milan', {}), { snp: 0x1d, microcode: 0x47 });
  assert.equal(floorsOf('Genoa', cpuid(0x19, 0x11, 1)), { snp: 0x1b, microcode: 0x56 });
  assert.equal(floorsOf('Turin', cpuid(0x1a, 0x11, 0)), { snp: 4 });
  assert.ok(explainPolicy(BUILT_IN.strict).some((line) => line.includes(SNP_FLOORS_DATE)));
});

test('mitigation vectors are claimed, and demanded where a policy names bits', async () => {
  const demand = (launch: number[], current: number[] = []) =>
    parseEvidencePolicy({ version: 1, amd: { mitigations: { launch, current } } });
  const all = async (version: number, policy: EvidencePolicy) =>
    files([await snpReport({ version }), vcekDer, arkCrl, askDer, arkDer], { policy });
  const { claims, verdict } = await all(5, demand([0, 2]));
  assert.is(verdict, 'accept');
  assert.equal((claims as { mitigations: unknown }).mitigations, {
    launch: '0000000000000007',
    current: '0000000000000000',
  });
  for (const [version, policy] of [
    [5, demand([3])],
    [5, demand([], [1])],
    [4, demand([0])],
  ] as const)
    assert.equal(failed(await all(version, policy)), ['snp.mitigations']);
});

// Intel's DCAP Quote Verification Library, TDRelaunchCheck.cpp.
test('a TD launched under an older module than the one that runs now should be relaunched', async () => {
  const levels = [level({ isvsvn: 5 }), level({ isvsvn: 1 }, 'OutOfDate', '2024-01-01T00:00:00Z')];
  const tcbLevels = [
    level(platformTcb(undefined, 11, [0, 0, 7])),
    level(platformTcb(undefined, 11, [0, 0, 6]), 'OutOfDate', '2024-01-01T00:00:00Z'),
  ];
  const launchedOld = (now: number[], status = 'UpToDate') =>
    intelCase({
      td15: true,
      tcbInfo: {
        tdxModuleIdentities: [{ id: 'TDX_01', ...module, tcbLevels: levels }],
        tcbLevels: [level(platformTcb(undefined, 11, [0, 0, 7]), status), ...tcbLevels.slice(1)],
      },
      report: (body) => {
        body.set([4, 1, 6], 0);
        body.set(now, 584);
      },
    });
  const accepting = (...tcbStatuses: string[]) => parseEvidencePolicy({ version: 1, intel: { tcbStatuses } });
  const advised = await launchedOld([5, 1, 7]);
  const strictly = await judge(advised);
  assert.is(strictly.claims?.tcbStatus, 'TDRelaunchAdvised');
  assert.equal(failures(strictly).sort(), ['tdx.module-tcb-level', 'tdx.tcb-level']);
  assert.is((await judge(advised, accepting('UpToDate', 'TDRelaunchAdvised'))).verdict, 'accept');
  assert.is((await judge(advised, BUILT_IN.genuine)).verdict, 'accept');
  const needed = await judge(await launchedOld([5, 1, 7], 'ConfigurationNeeded'));
  assert.is(needed.claims?.tcbStatus, 'TDRelaunchAdvisedConfigurationNeeded');
  // The module that runs now is old as well, or the platform has to do more.
  for (const now of [
    [4, 1, 7],
    [5, 1, 6],
    [5, 2, 7],
  ]) {
    const report = await judge(await launchedOld(now), accepting('UpToDate', 'TDRelaunchAdvised'));
    assert.is(report.claims?.tcbStatus, 'OutOfDate');
    assert.is(report.verdict, 'reject');
  }
});

test('a policy may name the least date of the level that a platform is at', async () => {
  const given = await intelCase();
  const least = (minimumTcbDate: string) => parseEvidencePolicy({ version: 1, intel: { minimumTcbDate } });
  assert.is((await judge(given, least('2025-06-01'))).verdict, 'accept');
  assert.equal(failures(await judge(given, least('2025-06-02'))), ['tdx.tcb-date']);
  assert.throws(() => least('2025-02-31'), /minimumTcbDate/);
});

test('parts that a policy takes may make a status that it does not', async () => {
  const given = await intelCase({
    tcbInfo: { tcbLevels: [level(platformTcb(), 'ConfigurationNeeded')] },
    qeIdentity: { tcbLevels: [level({ isvsvn: 1 }, 'OutOfDate')] },
  });
  const accepting = (...tcbStatuses: string[]) => parseEvidencePolicy({ version: 1, intel: { tcbStatuses } });
  const report = await judge(given, accepting('UpToDate', 'ConfigurationNeeded', 'OutOfDate'));
  assert.is(report.claims?.tcbStatus, 'OutOfDateConfigurationNeeded');
  assert.equal(failures(report), ['tdx.tcb-status']);
  const all = accepting('UpToDate', 'ConfigurationNeeded', 'OutOfDate', 'OutOfDateConfigurationNeeded');
  assert.is((await judge(given, all)).verdict, 'accept');
});

test('a revoked PCK is not up to date, whatever its level', async () => {
  for (const name of ['pck', 'pckCa'] as const) {
    const report = await judge(await intelCase({ revoked: [name] }), BUILT_IN.genuine);
    assert.is(report.verdict, 'reject');
    assert.is(report.claims?.tcbStatus, 'Revoked');
  }
  assert.is((await judge(await intelCase())).claims?.tcbStatus, 'UpToDate');
});

// google/go-tdx-guest validate.go, google/go-sev-guest validate.go, Intel's appraisal policies.
test('bit fields are demanded whole or under a mask', async () => {
  const td = await intelCase();
  const enclave = await intelCase({
    sgx: true,
    report: (body) => body.fill(0x5a, 192, 256).set([7, 0], 260),
  });
  const intel = (changes: object) => parseEvidencePolicy({ version: 1, intel: changes });
  const masked = (mask: string, value: string) => ({ mask, value });
  for (const [given, demand, id] of [
    [td, { tdAttributes: '0000001000000000' }, undefined],
    [td, { tdAttributes: '0000003000000000' }, 'tdx.attributes'],
    [td, { tdAttributes: masked('0000002000000000', '0000000000000000') }, undefined],
    [td, { tdAttributes: masked('0000002000000000', '0000002000000000') }, 'tdx.attributes'],
    [td, { xfam: 'e702060000000000' }, undefined],
    [td, { xfam: masked('0000060000000000', '0000020000000000') }, 'tdx.xfam'],
    [enclave, { sgxAttributes: '0500000000000000' }, undefined],
    [enclave, { sgxAttributes: masked('0200000000000000', '0200000000000000') }, 'sgx.attributes'],
    [enclave, { sgxXfrm: 'e700000000000000' }, undefined],
    [enclave, { sgxXfrm: 'e702000000000000' }, 'sgx.xfrm'],
  ] as const) {
    assert.equal(failures(await judge(given, intel(demand))), id === undefined ? [] : [id]);
  }
  const builds = (...measurements: object[]) => parseEvidencePolicy({ version: 1, measurements });
  const configId = '5a'.repeat(64);
  assert.is((await judge(enclave, builds({ configId, minimumConfigSvn: 7 }))).verdict, 'accept');
  for (const build of [{ configId: '00'.repeat(64) }, { configId, minimumConfigSvn: 8 }]) {
    assert.equal(failures(await judge(enclave, builds(build))), ['sgx.measurement']);
  }
  assert.throws(() => intel({ xfam: masked('0000000000000000', '0100000000000000') }), /under its mask/);
});

test("an SNP guest's own policy, ID block and report ids are demanded where a policy names them", async () => {
  const idKey = 'a1'.repeat(48);
  const author = 'a2'.repeat(48);
  const signed = (report: Uint8Array) => {
    report.fill(0xa1, 0xe0, 0x110);
    report.fill(0xa2, 0x110, 0x140);
    report.fill(0xa3, 0x140, 0x160);
    report.fill(0xa4, 0x160, 0x180);
    report.set([0b1110_0010], 0x40);
  };
  const policy = (1n << 17n) | (1n << 20n) | (1n << 22n) | (1n << 25n) | 0x137n;
  const all = async (amd: object, change = signed, flags = 1) => {
    const bytes = await snpReport({ change, policy, flags });
    return failed(
      await files([bytes, vcekDer, arkCrl, askDer, arkDer], {
        policy: parseEvidencePolicy({ version: 1, amd }),
      }),
    );
  };
  const none = () => {};
  for (const [demand, id, change, flags] of [
    [
      {
        guestPolicy: {
          minimumAbi: '1.55',
          singleSocket: true,
          cxl: false,
          aes256Xts: true,
          pageSwapDisabled: true,
        },
      },
    ],
    [{ guestPolicy: { minimumAbi: '1.56' } }, 'snp.guest-policy'],
    [{ guestPolicy: { singleSocket: false } }, 'snp.guest-policy'],
    [{ guestPolicy: { cxl: true } }, 'snp.guest-policy'],
    [{ guestPolicy: { smt: false, raplDisabled: false, ciphertextHiding: false } }],
    [{ platformFeatures: ['tsme', 'alias-checked', 'iommu-write-safe', 'tio'] }],
    [{ platformFeatures: ['ecc'] }, 'snp.platform'],
    [{ idBlock: 'required' }],
    [{ idBlock: 'required' }, 'snp.id-block', none],
    [{ idKeys: [idKey] }],
    [{ idKeys: [author] }, 'snp.id-block'],
    [{ idKeys: [author], authorKeys: [author] }],
    [{ authorKeys: [author] }, 'snp.id-block', signed, 0],
    [{ reportIds: ['a3'.repeat(32)], reportIdMas: ['a4'.repeat(32)] }],
    [{ reportIds: ['a4'.repeat(32)] }, 'snp.report-id'],
    [{ reportIdMas: ['a3'.repeat(32)] }, 'snp.report-id-ma'],
  ] as readonly [object, string?, typeof signed?, number?][]) {
    assert.equal(await all(demand, change, flags), id === undefined ? [] : [id], JSON.stringify(demand));
    const said = explainPolicy(parseEvidencePolicy({ version: 1, amd: demand }));
    const strictly = explainPolicy(BUILT_IN.strict);
    assert.ok(
      said.some((line) => !strictly.includes(line)),
      `explained: ${JSON.stringify(demand)}`,
    );
  }
});

test.run();
