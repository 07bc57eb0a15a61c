/**
 * NVIDIA GPU and switch reports, genuine ones and made ones.
 *
 * One file, although it is long: its cases vary one made device and the manifests that belong to it.
 */
import { existsSync, readFileSync } from 'node:fs';
import * as fc from 'fast-check';
import { splitCertificates } from '../../protocols/attestation/certificate.ts';
import { GpuPolicy } from '../../protocols/attestation/demands.ts';
import { kindOf } from '../../protocols/attestation/evidence-files.ts';
import type { GpuResult } from '../../protocols/attestation/formats/nvidia-gpu.ts';
import { parseGpuEvidenceFile, parseGpuReport } from '../../protocols/attestation/formats/nvidia-report.ts';
import { concat, fromHex, hex, utf8 } from '../../protocols/encoding.ts';
import { VouchError } from '../../protocols/errors.ts';
import { assert, suite } from '../harness.ts';
import { certify, fingerprint, flip, keyUsage, maker } from './certificate-maker.ts';
import { type GpuQuestion, verifyGpu } from './from-bytes.ts';
import {
  DRIVER,
  FWID,
  FWID_OF_COMPOSITE,
  type Gpu,
  gpu,
  measured,
  NONCE,
  type ReportOptions,
  report,
  rim,
  rimSigner,
  switchFields,
  VBIOS,
  vendor,
} from './gpu-maker.ts';

const test = suite('NVIDIA GPU evidence', { timeoutMs: 60_000 });
const VECTORS = new URL('../../../shared/vectors/', import.meta.url);
const read = (path: string) => new Uint8Array(readFileSync(new URL(path, VECTORS)));
const present = existsSync(VECTORS);
const isRefusal = (error: unknown) => error instanceof VouchError;

/** What `genuine` demands: real hardware, in force; what is not at hand is not demanded. */
const GENUINE = GpuPolicy.parse({
  modes: ['cc', 'mpt', 'ppcie'],
  rims: 'if-present',
  fwid: 'if-present',
  guestState: 'if-present',
  revocation: 'if-present',
});
const failed = ({ checks }: GpuResult) =>
  checks.filter(({ status }) => status === 'fail').map(({ id }) => id);

interface Case {
  readonly path: string;
  readonly kind: string;
  readonly verdict: 'accept' | 'reject';
  readonly expectedNonce: string;
  readonly vbiosRim?: string;
  readonly vbiosMatch?: string;
  readonly rimNow?: string;
  readonly reason?: string;
}
const cases: Case[] = present
  ? (JSON.parse(readFileSync(new URL('vectors.json', VECTORS), 'utf8')) as Case[]).filter(
      ({ kind }) => kind === 'nvidia-spdm',
    )
  : [];
const questionOf = ({ path, expectedNonce, vbiosRim, rimNow }: Case): GpuQuestion => ({
  gpus: [{ report: read(path), certificates: splitCertificates(read(path.replace('.hex', '.chain.pem'))) }],
  rims: vbiosRim === undefined ? [] : [read(vbiosRim)],
  nonce: fromHex(expectedNonce),
  policy: GENUINE,
  now: new Date(rimNow ?? '2025-06-01'),
});

test('every report that real hardware signed gets its expected verdict', async (t) => {
  if (!present) t.skip('../shared/vectors is absent');
  assert.is(cases.length, 3);
  for (const one of cases) {
    const result = await verifyGpu(questionOf(one));
    assert.is(result.verdict, one.verdict, JSON.stringify(result.checks));
    if (one.reason === 'signature') assert.ok(failed(result).includes('gpu.signature'));
    if (one.vbiosMatch !== undefined) {
      const { detail } = result.checks.find(({ id }) => id === 'gpu.measurements')!;
      assert.is(detail, `${one.vbiosMatch.replace('/', ' of ')} match`);
    }
    assert.is(kindOf(read(one.path))?.name, 'nvidia-gpu');
  }
});

test('the strict policy demands both manifests, revocation and what the guest states', async (t) => {
  if (!present) t.skip('../shared/vectors is absent');
  const strict = await verifyGpu({ ...questionOf(cases[1]!), policy: GpuPolicy.parse({}) });
  assert.is(strict.verdict, 'reject');
  assert.equal(failed(strict), [
    'gpu.cc-mode',
    'gpu.chain-revocation',
    'gpu.fwid',
    'rim.driver.version',
    'rim.vbios.chain-revocation',
  ]);
  const skipped = strict.checks.filter(({ status }) => status === 'skipped').map(({ id }) => id);
  assert.ok(skipped.includes('gpu.ready') && skipped.includes('rim.driver.signature'));
});

test('a driver manifest of another version, an expired one, another nonce', async (t) => {
  if (!present) t.skip('../shared/vectors is absent');
  const question = questionOf(cases[0]!);
  const driver = read('nvidia/rims/NV_GPU_DRIVER_GH100_550.144.03.xml');
  assert.equal(failed(await verifyGpu({ ...question, rims: [driver] })), ['rim.driver.version']);
  const late = await verifyGpu({ ...questionOf(cases[1]!), now: new Date('2025-07-01') });
  assert.equal(failed(late), ['rim.vbios.chain-dates']);
  assert.equal(failed(await verifyGpu({ ...question, nonce: flip(question.nonce!, 31) })), ['gpu.nonce']);
  assert.equal(failed(await verifyGpu({ ...question, nonce: question.nonce!.subarray(1) })), ['gpu.nonce']);
  const without = await verifyGpu({ ...question, nonce: undefined });
  assert.is(without.verdict, 'reject');
  assert.equal(failed(without), []);
});

test('one changed byte anywhere in a report or its chain is refused', async (t) => {
  if (!present) t.skip('../shared/vectors is absent');
  const question = questionOf(cases[0]!);
  const [one] = question.gpus;
  const binary = fromHex(new TextDecoder().decode(one!.report).trim());
  assert.is((await verifyGpu({ ...question, gpus: [{ ...one!, report: binary }] })).verdict, 'accept');
  const { length } = binary;
  for (let at = 0; at < length; at += at < 37 || at > length - 96 ? 1 : 31) {
    const { verdict } = await verifyGpu({ ...question, gpus: [{ ...one!, report: flip(binary, at) }] });
    assert.is(verdict, 'reject', `report byte ${at}`);
  }
  for (const [i, der] of one!.certificates.entries()) {
    for (let at = 0; at < der.length; at += 23) {
      const certificates = one!.certificates.with(i, flip(der, at));
      const { verdict } = await verifyGpu({ ...question, gpus: [{ ...one!, certificates }] });
      assert.is(verdict, 'reject', `certificate ${i} byte ${at}`);
    }
  }
});

// From here on reports and manifests are made here: own keys, own roots.

const NOW = new Date('2026-01-01');
const makers = await vendor();
const signer = await rimSigner();
const card = await gpu(makers);
/** What is published about every CA, and about the devices made here. */
const published = [...makers.ocsp, ...signer.ocsp];
const SERIALS = [4, 8, 9, 21, 22, 23, 24, 25, 26, 27];
const ocsp = [...published, ...(await Promise.all(SERIALS.map((serial) => makers.answer(serial))))];
const driverRim = await rim(signer);
const vbiosRim = await rim(signer, {
  version: VBIOS.toLowerCase(),
  active: new Map([[2, [measured(9), measured(2)]]]),
});
const STRICT = GpuPolicy.parse({});

const ask = async (
  gpus: readonly (readonly [Gpu, ReportOptions?])[] = [[card]],
  change: Partial<GpuQuestion> = {},
): Promise<GpuResult> =>
  verifyGpu({
    gpus: await Promise.all(
      gpus.map(async ([one, options]) => ({ report: await report(one, options), certificates: one.chain })),
    ),
    rims: [driverRim, vbiosRim],
    nonce: NONCE,
    guest: { ccMode: 'on', ready: true },
    ocsp,
    policy: STRICT,
    now: NOW,
    roots: { device: [fingerprint(makers.rootDer)], rim: [signer.root] },
    ...change,
  });
const expectOnly = async (id: string, result: Promise<GpuResult>) => {
  const { verdict, checks } = await result;
  assert.is(verdict, 'reject', id);
  assert.equal(
    checks.filter(({ status }) => status === 'fail').map((check) => check.id),
    [id],
  );
};

test('a GPU that meets every demand is accepted, with its claims', async () => {
  const { verdict, claims, checks } = await ask();
  assert.is(verdict, 'accept', JSON.stringify(checks));
  assert.ok(checks.every(({ status }) => status === 'pass'));
  const [one] = claims;
  assert.equal(
    [one?.chip, one?.architecture, one?.driverVersion, one?.vbiosVersion, one?.project, one?.mode, one?.fwid],
    ['GB100', 'blackwell', DRIVER, VBIOS, 'G548', 'cc', hex(FWID)],
  );
  assert.is((await ask([[card]], { roots: undefined })).verdict, 'reject');
});

test('every negative is refused by the check that is named for it', async () => {
  const fields = (...entries: [number, Uint8Array | undefined][]) => ({ fields: new Map(entries) });
  const policy = (change: Partial<GpuPolicy>) => ({ policy: { ...STRICT, ...change } });
  await expectOnly('gpu.signature', ask([[{ ...card, key: await maker('x') }]]));
  await expectOnly('gpu.nonce', ask([[card, { nonce: flip(NONCE, 0) }]]));
  await expectOnly('gpu.fwid', ask([[card, fields([20, flip(FWID, 47)])]]));
  await expectOnly('gpu.fwid', ask([[card, fields([20, undefined])]]));
  await expectOnly('gpu.fwid', ask([[await gpu(makers, { extensions: [] })]]));
  await expectOnly(
    'gpu.architecture',
    ask([[await gpu(makers, { name: 'AD102 X' })]], { rims: [] }).then(withoutRims),
  );
  await expectOnly('gpu.architecture', ask([[card]], policy({ architectures: ['hopper'] })));
  await expectOnly('gpu.mode', ask([[card]], policy({ modes: ['mpt'] })));
  await expectOnly('gpu.driver', ask([[card]], policy({ drivers: ['580.10.02'] })));
  await expectOnly('gpu.vbios', ask([[card]], policy({ vbioses: ['97.00.83.00.0A'] })));
  await expectOnly('gpu.device-allowed', ask([[card]], policy({ devices: ['00'.repeat(32)] })));
  await expectOnly('gpu.cc-mode', ask([[card]], { guest: { ccMode: 'devtools', ready: true } }));
  await expectOnly('gpu.ready', ask([[card]], { guest: { ccMode: 'on', ready: false } }));
  await expectOnly('gpu.count', ask([[card]], policy({ count: 2 })));
  await expectOnly(
    'gpu.chain-revocation',
    ask([[card]], {
      ocsp: [...published, await makers.answer(4, { status: 'revoked', reason: 1 })],
    }),
  );
  await expectOnly('gpu.report', ask([[card, { change: (bytes) => flip(bytes, 0, 2) }]]));
  await expectOnly('gpu.chain', ask([[{ ...card, chain: card.chain.slice(0, 4) }]]));
  await expectOnly('gpu.certificates', ask([[{ ...card, chain: card.chain.with(1, card.chain[0]!) }]]));
  const other = await gpu(makers, { serial: 9 });
  await expectOnly('gpu.chain', ask([[{ ...card, chain: card.chain.with(1, other.chain[1]!) }]]));
  assert.is((await ask([[{ ...card, chain: card.chain.toReversed() }]])).verdict, 'accept', 'in any order');
  // Four certificates that hold, and one that belongs to nothing.
  const short = await certify(makers.provisioner, card.key, {
    extensions: [keyUsage(0), FWID_OF_COMPOSITE(FWID)],
  });
  await expectOnly('gpu.chain', ask([[{ ...card, chain: card.chain.with(0, short) }]]));
});
const withoutRims = (result: GpuResult): GpuResult => ({
  ...result,
  checks: result.checks.filter(({ id }) => !id.startsWith('rim.')),
});

test('Hopper states its firmware id in another form', async () => {
  const hopper = await gpu(makers, { name: 'GH100 A01 GSP FMC LF', extensions: [FWID_OF_COMPOSITE(FWID)] });
  const rims = [
    await rim(signer, { product: 'GH100' }),
    await rim(signer, { product: 'GH100', version: VBIOS, active: new Map([[2, [measured(2)]]]) }),
  ];
  const { verdict, checks } = await ask([[hopper]], { rims });
  assert.is(verdict, 'accept', JSON.stringify(checks));
  const wrong = await gpu(makers, { name: 'GH100 A01', extensions: [FWID_OF_COMPOSITE(flip(FWID, 3))] });
  await expectOnly('gpu.fwid', ask([[wrong]], { rims }));
});

test('manifests: both needed, for this chip and these versions, every active index, none twice', async () => {
  await expectOnly('rim.driver.version', ask([[card]], { rims: [vbiosRim] }));
  await expectOnly('rim.vbios.version', ask([[card]], { rims: [driverRim] }));
  const older = await rim(signer, { version: '570.1.1' });
  await expectOnly('rim.driver.version', ask([[card]], { rims: [older, vbiosRim] }));
  assert.is((await ask([[card]], { rims: [older, vbiosRim, driverRim] })).verdict, 'accept');
  const hopper = await rim(signer, { product: 'GH100' });
  await expectOnly('rim.driver.product', ask([[card]], { rims: [hopper, vbiosRim] }));
  await expectOnly('rim.document', ask([[card]], { rims: [utf8('<x/>'), vbiosRim] }));
  const changed = await rim(signer, { after: (text) => text.replace('02020202', '03030303') });
  const both = await ask([[card]], { rims: [changed, vbiosRim] });
  assert.equal(failed(both), ['rim.driver.digest', 'gpu.measurements']);
  const unsigned = await rim({ ...signer, key: await maker('x') });
  await expectOnly('rim.driver.signature', ask([[card]], { rims: [unsigned, vbiosRim] }));
  const expects = (index: number, ...values: number[]) =>
    rim(signer, { active: new Map([[index, values.map(measured)]]) });
  await expectOnly('gpu.measurements', ask([[card]], { rims: [await expects(1, 5), vbiosRim] }));
  await expectOnly('gpu.measurements', ask([[card]], { rims: [await expects(41, 41), vbiosRim] }));
  await expectOnly('gpu.measurement-indices', ask([[card]], { rims: [await expects(2, 2), vbiosRim] }));
  assert.is((await ask([[card]], { rims: [await expects(1, 5, 1), vbiosRim] })).verdict, 'accept');
});

test('the measurement of the first video decoder counts only while it is in use', async () => {
  const rims = [
    await rim(signer, {
      active: new Map([
        [1, [measured(1)]],
        [35, [measured(0)]],
      ]),
    }),
    vbiosRim,
  ];
  const off = { fields: new Map([[11, Uint8Array.of(0x55)]]) };
  assert.is((await ask([[card, off]], { rims })).verdict, 'accept');
  await expectOnly('gpu.measurements', ask([[card]], { rims }));
  await expectOnly('gpu.measurements', ask([[card, { fields: new Map([[11, undefined]]) }]], { rims }));
});

test('several GPUs: all verified, different ones, in one mode', async () => {
  const second = await gpu(makers, { serial: 8 });
  const policy = { ...STRICT, count: 2, switchEvidence: 'if-present' } as const;
  const two = await ask([[card], [second]], { policy });
  assert.is(two.verdict, 'accept', JSON.stringify(two.checks));
  assert.is(new Set(two.claims.map(({ device }) => device)).size, 2);
  assert.ok(two.checks.some(({ id }) => id === 'rim.2.driver.signature'));
  await expectOnly('gpu.distinct', ask([[card], [card]], { policy }));
  await expectOnly('gpu.2.nonce', ask([[card], [second, { nonce: flip(NONCE, 1) }]], { policy }));
  const behind = (pdi: number) => ({
    fields: new Map([
      [21, Uint8Array.of(0xaa)],
      [22, new Uint8Array(16).fill(pdi)],
    ]),
  });
  assert.is(
    (
      await ask(
        [
          [card, behind(1)],
          [second, behind(1)],
        ],
        { policy },
      )
    ).verdict,
    'accept',
  );
  const switched = (count: number) => ({
    policy: { ...policy, switches: count },
  });
  const linked = [
    [card, behind(1)],
    [second, behind(1)],
  ] as const;
  assert.is((await ask([...linked], switched(1))).verdict, 'accept');
  await expectOnly('gpu.topology', ask([...linked], switched(4)));
  await expectOnly(
    'gpu.topology',
    ask(
      [
        [card, behind(0)],
        [second, behind(0)],
      ],
      { policy },
    ),
  );
  await expectOnly(
    'gpu.topology',
    ask(
      [
        [card, behind(1)],
        [second, behind(2)],
      ],
      { policy },
    ),
  );
  const mixed = await ask([[card, behind(1)], [second]], { policy });
  assert.equal(failed(mixed), ['gpu.one-mode', 'gpu.topology']);
  assert.is(
    (await ask([[card], [second, { change: (bytes) => flip(bytes, 0) }]], { policy })).verdict,
    'reject',
  );
  assert.is((await ask([], { policy: STRICT })).verdict, 'reject', 'no GPU at all');
});

test('behind switches: evidence of each, of those that the GPUs see, which see these GPUs', async () => {
  const second = await gpu(makers, { serial: 8 });
  const pdi = (fill: number) => Uint8Array.from({ length: 8 }, (_, i) => fill + i);
  const behind = (...pdis: number[]) => ({
    fields: new Map([
      [21, Uint8Array.of(0xaa)],
      // A GPU says them the other way round, and zeros for links that are off.
      [22, concat(...pdis.map((fill) => pdi(fill).toReversed()), new Uint8Array(8))],
    ]),
  });
  const makeSwitch = async (
    serial: number,
    fill: number,
    seen: number[] = [0x81, 0x91],
    change: ReportOptions = {},
    name = 'LS_10 A01 FSP FMC LF',
  ) => {
    const made = await gpu(makers, { name, serial });
    const fields = switchFields(pdi(fill), seen.map(pdi));
    return { report: await report(made, { fields, ...change }), certificates: made.chain };
  };
  const bios = await rim(signer, {
    version: '96.10.55.00.01',
    product: 'LS10',
    active: new Map([[1, [measured(1)]]]),
  });
  const gpus = [
    [card, behind(0x11, 0x21)],
    [second, behind(0x21, 0x11)],
  ] as const;
  const one = await makeSwitch(21, 0x11);
  const two = await makeSwitch(22, 0x21);
  const all = { switches: [one, two], rims: [driverRim, vbiosRim, bios] };
  const whole = await ask([...gpus], all);
  assert.is(whole.verdict, 'accept', JSON.stringify(whole.checks.filter(({ status }) => status !== 'pass')));
  assert.equal(
    whole.switches.map((found) => [found.chip, found.biosVersion, found.pdi, found.gpus.length]),
    [
      ['LS10', '96.10.55.00.01', hex(pdi(0x11)), 2],
      ['LS10', '96.10.55.00.01', hex(pdi(0x21)), 2],
    ],
  );
  assert.ok(whole.checks.some(({ id }) => id === 'rim.switch.2.signature'));
  // Every way in which the pieces do not belong together.
  for (const switches of [
    [one],
    [one, one],
    [one, await makeSwitch(23, 0x31)],
    [one, await makeSwitch(24, 0x21, [0x81, 0xa1])],
    [await makeSwitch(25, 0x11, [0x81]), await makeSwitch(26, 0x21, [0x81])],
  ]) {
    await expectOnly('gpu.topology', ask([...gpus], { ...all, switches }));
  }
  await expectOnly('gpu.topology', ask([[card], [second]], all));
  const missing = await ask([...gpus], { ...all, switches: [] });
  assert.is(missing.verdict, 'reject');
  assert.is(missing.checks.find(({ id }) => id === 'switch.report')?.status, 'skipped');
  // Each switch is judged as a device.
  const late = await makeSwitch(22, 0x21, undefined, { nonce: flip(NONCE, 2) });
  await expectOnly('switch.2.nonce', ask([...gpus], { ...all, switches: [one, late] }));
  const forged = { ...two, report: flip(two.report, 200) };
  await expectOnly('switch.2.signature', ask([...gpus], { ...all, switches: [one, forged] }));
  const stranger = { ...two, certificates: one.certificates };
  await expectOnly('switch.2.signature', ask([...gpus], { ...all, switches: [one, stranger] }));
  const unknown = await makeSwitch(27, 0x11, undefined, {}, 'LS_19 A01 FSP FMC LF');
  const strange = await ask([...gpus], { ...all, switches: [unknown, two] });
  assert.equal(failed(strange), ['switch.architecture', 'rim.switch.version']);
  const other = await rim(signer, {
    version: '96.10.55.00.01',
    product: 'LS10',
    active: new Map([[1, [measured(2)]]]),
  });
  const measuredWrong = await ask([...gpus], { ...all, rims: [driverRim, vbiosRim, other] });
  assert.equal(failed(measuredWrong), ['switch.measurements', 'switch.2.measurements']);
  const without = await ask([...gpus], { ...all, rims: [driverRim, vbiosRim] });
  assert.equal(failed(without), ['rim.switch.version', 'rim.switch.2.version']);
  // Alone they are verified as devices.
  assert.is((await ask([], { ...all })).verdict, 'accept');
  for (const at of [0, 37, 60, one.report.length - 1]) {
    assert.is(
      (await ask([], { ...all, switches: [{ ...one, report: flip(one.report, at) }] })).verdict,
      'reject',
    );
  }
  assert.is(kindOf(one.report)?.name, 'nvidia-switch');
  assert.is(kindOf(await report(card))?.name, 'nvidia-gpu');
});

test('reports are read strictly', async () => {
  const refuses = async (options: ReportOptions, reason: RegExp) => {
    const bytes = await report(card, options);
    assert.throws(() => parseGpuReport(bytes), reason);
  };
  const fields = (type: number, ...bytes: number[]) => ({
    fields: new Map([[type, Uint8Array.from(bytes)]]),
  });
  await refuses({ change: (bytes) => flip(bytes, 0, 3) }, /expected SPDM 1\.1, got 0x12/);
  await refuses({ change: (bytes) => flip(bytes, 37, 3) }, /expected SPDM 1\.1/);
  await refuses({ change: (bytes) => flip(bytes, 1) }, /GET_MEASUREMENTS/);
  await refuses({ change: (bytes) => flip(bytes, 2) }, /all measurements, signed/);
  await refuses({ change: (bytes) => flip(bytes, 3) }, /all measurements, signed/);
  await refuses({ change: (bytes) => flip(bytes, 38) }, /MEASUREMENTS response/);
  await refuses({ change: (bytes) => flip(bytes, 41) }, /GPU report/);
  await refuses({ change: (bytes) => flip(bytes, 42) }, /expected measurements up to byte/);
  await refuses({ change: (bytes) => flip(bytes, 45, 3) }, /each index from 1 on once/);
  await refuses({ change: (bytes) => flip(bytes, 46) }, /DMTF/);
  await refuses({ change: (bytes) => flip(bytes, 47) }, /expected 51 bytes/);
  await refuses({ measurements: [] }, /expected measurements/);
  await refuses({ change: (bytes) => concat(bytes, new Uint8Array(1)) }, /signature of 96 bytes/);
  await refuses({ change: (bytes) => bytes.subarray(0, -1) }, /GPU report/);
  await refuses(fields(3, 0x41), /opaque field 3/);
  await refuses(fields(6, 1, 2), /vBIOS version/);
  await refuses(fields(11, 1), /0xaa or 0x55/);
  await refuses(fields(20, 1), /FWID/);
  await refuses(fields(21, 1), /0xaa or 0x55/);
  await refuses(fields(22, 1), /switch PDIs/);
  await refuses(fields(34, 3), /opaque data of version 3/);
  await refuses(fields(36, 9), /feature flag/);
  const twice = (bytes: Uint8Array) => {
    const at = bytes.findIndex((_, i) => hex(bytes.subarray(i, i + 6)) === 'c9000200abcd');
    return flip(bytes, at, 201 ^ 200);
  };
  const pair = new Map([
    [200, Uint8Array.of(1)],
    [201, Uint8Array.of(0xab, 0xcd)],
  ]);
  await refuses({ fields: pair, change: twice }, /opaque field 200: expected it once/);
  await refuses(
    {
      fields: new Map([
        [21, Uint8Array.of(0x55)],
        [36, Uint8Array.of(2)],
      ]),
    },
    /contradict/,
  );
  const good = await report(card);
  assert.is(parseGpuReport(utf8(`${hex(good)}\n`)).driverVersion, DRIVER, 'as hex text, too');
  assert.is(parseGpuReport(await report(card, fields(36, 1))).mode, 'mpt');
  assert.throws(() => parseGpuReport(new Uint8Array(70_000)), /at most/);
});

test("the file that NVIDIA's tools write", async () => {
  const base64 = (bytes: Uint8Array) => btoa(String.fromCharCode(...bytes));
  const pem = card.chain
    .map((der) => `-----BEGIN CERTIFICATE-----\n${base64(der)}\n-----END CERTIFICATE-----\n`)
    .join('');
  const bytes = await report(card);
  const file = utf8(
    JSON.stringify([{ arch: 'BLACKWELL', evidence: base64(bytes), certificate: btoa(pem), nonce: '' }]),
  );
  assert.is(kindOf(file)?.name, 'nvidia-evidence-file');
  const [one, ...more] = parseGpuEvidenceFile(file);
  assert.equal([one?.report, one?.certificates.length, more.length], [bytes, 5, 0]);
  for (const bad of ['', '{}', '[]', '[1]', '[null]', '[{"evidence":"@","certificate":""}]']) {
    assert.throws(() => parseGpuEvidenceFile(utf8(bad)), isRefusal, bad);
  }
});

test('no bytes make the reader do anything but refuse', async () => {
  const good = await report(card);
  const near = fc
    .array(fc.tuple(fc.nat(good.length - 1), fc.nat(255)), { maxLength: 4 })
    .map((changes) => changes.reduce((bytes: Uint8Array, [at, mask]) => flip(bytes, at, mask), good));
  const cut = fc.nat(good.length).map((length) => good.subarray(0, length));
  fc.assert(
    fc.property(fc.oneof(near, cut, fc.uint8Array({ maxLength: 200 })), (bytes) => {
      kindOf(bytes);
      for (const parse of [parseGpuReport, parseGpuEvidenceFile]) {
        try {
          parse(bytes);
        } catch (error) {
          if (!isRefusal(error)) throw error;
        }
      }
    }),
    { numRuns: 400 },
  );
});

test.run();
