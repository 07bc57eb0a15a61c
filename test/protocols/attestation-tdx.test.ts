import * as fc from 'fast-check';
import { NO_COLLATERAL } from '../../protocols/attestation/formats/intel-collateral.ts';
import { looksLikeQuote, parseIntelQuote } from '../../protocols/attestation/formats/intel-quote.ts';
import { BUILT_IN, parseEvidencePolicy } from '../../protocols/attestation/policy.ts';
import { concat, fromHex } from '../../protocols/encoding.ts';
import { VouchError } from '../../protocols/errors.ts';
import { assert, suite } from '../harness.ts';
import { failures, intelCase, judge, le } from './intel-platform.ts';
import {
  collateralOf,
  combinedOf,
  flipped,
  intelVectors,
  needVectors,
  readVector,
  TDX,
  verify,
} from './intel-vectors.ts';

const test = suite('TDX evidence', { timeoutMs: 60_000 });
const rejects = async (expected: string[], ...[given, policy, now]: Parameters<typeof judge>) => {
  const report = await judge(given, policy, now);
  assert.is(report.verdict, 'reject');
  assert.equal(failures(report), expected);
};
const detailOf = (report: { checks: readonly { id: string; detail: string }[] }, id: string) =>
  report.checks.find((check) => check.id === id)?.detail ?? '';

test('every TDX vector gets its verdict, for its reason', async (t) => {
  needVectors(t);
  const reasons: Record<string, string> = {
    no_matching_tcb_level: 'tdx.tcb-level',
    debug: 'tdx.debug',
  };
  for (const vector of intelVectors().filter(({ path }) => path.includes('tdx'))) {
    const report = await verify(
      readVector(vector.path),
      collateralOf(vector.collateral),
      new Date(vector.now),
    );
    assert.is(report.verdict, vector.verdict, vector.path);
    if (vector.reason !== undefined)
      assert.ok(failures(report).includes(reasons[vector.reason]!), vector.path);
    if (vector.mrtd !== undefined) assert.is(report.claims?.mrtd, vector.mrtd);
    if (vector.tcbStatus !== undefined) assert.is(report.claims?.tcbStatus, vector.tcbStatus);
  }
});

test('the strict policy accepts a platform that is up to date', async (t) => {
  needVectors(t);
  const report = await verify(readVector(TDX.quote), collateralOf(TDX.collateral), TDX.now, BUILT_IN.strict);
  assert.equal(failures(report), []);
  assert.is(report.verdict, 'accept');
});

test('a byte flipped anywhere in the quote rejects', async (t) => {
  needVectors(t);
  const quote = readVector(TDX.quote);
  const collateral = collateralOf(TDX.collateral);
  const end = quote.length - parseIntelQuote(quote).padding.length;
  // Every byte of a region that a stride could step over, then strides through the long ones.
  const places = [0, 2, 4, 12, 27, 28, 632, 636, 700, 764, 766, 770, 1154, 1218, 1220, 1252, 1254, end - 1];
  for (let at = 0; at < end; at += 41) places.push(at);
  for (const at of places) {
    const { verdict } = await verify(flipped(quote, at), collateral);
    assert.is(verdict, 'reject', `byte ${at}`);
  }
});

test('padding is zero or refused', async () => {
  const zero = await intelCase({ padding: new Uint8Array(3000) });
  assert.is((await judge(zero)).verdict, 'accept');
  await rejects(['tdx.padding'], await intelCase({ padding: Uint8Array.of(0, 0, 1) }));
});

test('version 4 and 5, TD 1.0 and TD 1.5 are taken', async () => {
  for (const options of [{ version: 4 }, { version: 5 }, { td15: true }, { td15ex: true }] as const) {
    const report = await judge(await intelCase(options));
    assert.equal(failures(report), []);
    assert.is(report.verdict, 'accept');
    assert.is(report.claims?.platform, 'tdx');
  }
});

test('a quote of another version, key type, TEE, vendor or body is refused', async () => {
  const { quote } = await intelCase({ td15: true });
  const changed = (at: number, ...bytes: number[]) => {
    const copy = quote.slice();
    copy.set(bytes, at);
    return copy;
  };
  const wrong = [
    ...[0, 1, 2, 6, 255].map((version) => changed(0, version)),
    changed(2, 3),
    changed(4, 0x82),
    changed(4, 0),
    changed(12, 0),
    changed(48, 1),
    changed(48, 2),
    changed(48, 4),
    changed(48, 5),
    changed(50, 0x87),
    changed(50, 0, 0, 0, 1),
  ];
  for (const bytes of wrong)
    assert.throws(
      () => parseIntelQuote(bytes),
      (error: unknown) => error instanceof VouchError,
    );
});

test('every declared length has to be met exactly', async () => {
  const { quote } = await intelCase();
  const size = 48 + 584;
  for (const [at, width] of [
    [size, 4],
    [size + 4 + 128 + 2, 4],
    [size + 4 + 128 + 6 + 384 + 64, 2],
    [size + 4 + 128 + 6 + 384 + 64 + 2 + 32 + 2, 4],
  ] as const) {
    const declared = quote.slice(at, at + width).reduceRight((sum, byte) => sum * 256 + byte, 0);
    for (const other of [0, declared - 1, declared + 1, 2 ** (8 * width) - 1]) {
      const copy = quote.slice();
      copy.set(le(other, width), at);
      assert.throws(() => parseIntelQuote(copy), `${at}: ${other}`);
    }
  }
  for (let length = 0; length < quote.length; length += 13) {
    assert.throws(() => parseIntelQuote(quote.subarray(0, length)));
  }
  assert.throws(() => parseIntelQuote(concat(quote, new Uint8Array(64 * 1024))), /at most/);
});

test('whatever bytes come, the parser answers with an error of ours', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 2000 }), fc.constantFrom(3, 4, 5), (bytes, version) => {
      const quote = bytes.slice();
      quote.set([version, 0, 2, 0, version === 3 ? 0 : 0x81, 0, 0, 0].slice(0, quote.length));
      if (quote.length >= 28) quote.set(fromHex('939a7233f79c4ca9940a0db3957f0607'), 12);
      looksLikeQuote(quote);
      try {
        parseIntelQuote(quote);
      } catch (error) {
        assert.instance(error, VouchError);
      }
    }),
    { numRuns: 300 },
  );
});

test('damage inside a real quote never throws out of the verification', async (t) => {
  needVectors(t);
  const quote = readVector(TDX.quote);
  const collateral = collateralOf(TDX.collateral);
  await fc.assert(
    fc.asyncProperty(
      fc.array(fc.tuple(fc.nat(quote.length - 71), fc.integer({ min: 1, max: 255 })), {
        minLength: 1,
        maxLength: 4,
      }),
      async (changes) => {
        const copy = quote.slice();
        for (const [at, mask] of new Map(changes)) copy[at]! ^= mask;
        assert.is((await verify(copy, collateral)).verdict, 'reject');
      },
    ),
    { numRuns: 40 },
  );
});

test('debugging and profiling TDs are refused unless the policy takes them', async () => {
  for (const bit of [0, 4, 5, 6]) {
    const given = await intelCase({ report: (body) => body.set([1 << bit], 120) });
    await rejects(['tdx.debug'], given);
    await rejects(['tdx.debug'], given, BUILT_IN.genuine);
    assert.is((await judge(given, parseEvidencePolicy({ version: 1, debug: true }))).verdict, 'accept');
  }
});

test('SEPT_VE_DISABLE is demanded by strict', async () => {
  const given = await intelCase({ report: (body) => body.set([0], 123) });
  await rejects(['tdx.sept-ve-disable'], given);
  assert.is((await judge(given, BUILT_IN.genuine)).verdict, 'accept');
});

test('reserved bits of attributes and XFAM reject', async () => {
  for (const change of [
    (body: Uint8Array) => body.set([1], 121),
    (body: Uint8Array) => body.set([1], 124),
    (body: Uint8Array) => body.set([0xe6], 128),
    (body: Uint8Array) => body.set([1], 132),
  ]) {
    await rejects(['tdx.reserved-bits'], await intelCase({ report: change }), BUILT_IN.genuine);
  }
});

test('a service TD has to be named by the policy', async () => {
  const given = await intelCase({ td15: true, report: (body) => body.fill(0x5e, 600) });
  await rejects(['tdx.service-td'], given);
  const named = parseEvidencePolicy({ version: 1, intel: { serviceTds: ['5e'.repeat(48)] } });
  assert.is((await judge(given, named)).verdict, 'accept');
});

test('the extended body says more, and its service TDs count as well', async () => {
  const fields = (body: Uint8Array) => {
    body.set([2], 648);
    body.fill(0xd1, 649, 681);
    body.fill(0xd2, 681, 729);
  };
  const report = await judge(await intelCase({ td15ex: true, report: fields }));
  assert.is(report.verdict, 'accept');
  assert.equal(
    [report.claims?.vmid, report.claims?.tdId, report.claims?.devInfo],
    [2, 'd1'.repeat(32), 'd2'.repeat(48)],
  );
  for (const [from, to] of [
    [729, 777],
    [829, 877],
  ] as const) {
    const given = await intelCase({ td15ex: true, report: (body) => body.fill(0x5e, from, to) });
    await rejects(['tdx.service-td'], given);
    const named = parseEvidencePolicy({ version: 1, intel: { serviceTds: ['5e'.repeat(48)] } });
    assert.is((await judge(given, named)).verdict, 'accept');
  }
  // Signed to its last byte.
  const { quote, ...rest } = await intelCase({ td15ex: true });
  for (const at of [54 + 649, 54 + 884])
    await rejects(['tdx.quote-signature'], { ...rest, quote: flipped(quote, at) });
});

test('a TD that may be moved has to say by whom', async () => {
  const movable = (body: Uint8Array) => body.set([0x30], 123);
  await rejects(['tdx.service-td'], await intelCase({ report: movable }));
  assert.is((await judge(await intelCase({ report: movable, td15: true }))).verdict, 'accept');
  const any = parseEvidencePolicy({ version: 1, intel: { serviceTds: 'any' } });
  assert.is((await judge(await intelCase({ report: movable }), any)).verdict, 'accept');
});

test('a build is accepted with all the registers that the policy names', async () => {
  const given = await intelCase({ report: (body) => body.fill(0xcc, 328, 376) });
  const measurement = 'bb'.repeat(48);
  const rtmr0 = 'cc'.repeat(48);
  const accepting = (...measurements: unknown[]) => parseEvidencePolicy({ version: 1, measurements });
  assert.is((await judge(given, accepting({ measurement, rtmr0 }))).verdict, 'accept');
  assert.is((await judge(given, accepting({ rtmr0: measurement }, { rtmr0 }))).verdict, 'accept');
  for (const build of [
    { measurement, rtmr1: rtmr0 },
    { measurement, mrsigner: 'cc'.repeat(32) },
    { minimumIsvSvn: 0 },
  ])
    await rejects(['tdx.measurement'], given, accepting(build));
});

test('measurement, report data and platform are compared where the policy names them', async () => {
  const given = await intelCase();
  const policy = (changes: object) => parseEvidencePolicy({ version: 1, ...changes });
  assert.is((await judge(given, policy({ measurements: ['bb'.repeat(48)] }))).verdict, 'accept');
  await rejects(['tdx.measurement'], given, policy({ measurements: ['cc'.repeat(48)] }));
  assert.is((await judge(given, policy({ reportData: '00'.repeat(64) }))).verdict, 'accept');
  await rejects(['tdx.report-data'], given, policy({ reportData: '01'.repeat(64) }));
  await rejects(['tdx.platform-allowed'], given, policy({ platforms: ['sgx'] }));
});

test('the TDX module has to be one that Intel describes, at a level that it lists', async () => {
  const signer = await intelCase({ report: (body) => body.set([1], 64) });
  await rejects(['tdx.module'], signer);
  const attributes = await intelCase({ report: (body) => body.set([1], 112) });
  await rejects(['tdx.module'], attributes);
  const version = await intelCase({ report: (body) => body.set([9], 1) });
  await rejects(['tdx.module', 'tdx.module-tcb-level'], version, BUILT_IN.genuine);
  const old = await intelCase({ report: (body) => body.set([3], 0) });
  await rejects(['tdx.module-tcb-level'], old, BUILT_IN.genuine);
});

test('a module before 1.5 is judged by the platform level, from the first SVN on', async () => {
  const taken = await intelCase({ report: (body) => body.set([5, 0, 7], 0) });
  assert.equal(failures(await judge(taken)), []);
  const old = await intelCase({ report: (body) => body.set([4, 0, 7], 0) });
  await rejects(['tdx.tcb-level'], old, BUILT_IN.genuine);
});

test('no collateral, no acceptance, and the failure says what is missing', async (t) => {
  needVectors(t);
  const report = await verify(readVector(TDX.quote), NO_COLLATERAL);
  assert.is(report.verdict, 'reject');
  assert.match(detailOf(report, 'tdx.pck-chain-revocation'), 'revocation is unknown');
  assert.match(detailOf(report, 'tdx.tcb-info-signature'), 'no TCB info');
  assert.ok(report.checks.some(({ status }) => status === 'skipped'));
});

test("another platform's collateral is refused", async (t) => {
  needVectors(t);
  const other = collateralOf('intel/collateral/tdx_50806f000000_2023-06.json');
  const report = await verify(readVector(TDX.quote), other, new Date('2025-02-10T00:00:00Z'));
  assert.ok(failures(report).includes('tdx.tcb-info-platform'));
});

test("SGX's TCB info and QE identity do not do for a TD", async () => {
  const td = await intelCase();
  const info = await intelCase({ tcbInfo: { id: 'SGX' }, qeIdentity: { id: 'QE' } });
  const report = await judge(info);
  assert.ok(failures(report).includes('tdx.tcb-info-platform'));
  assert.ok(failures(report).includes('tdx.qe-identity'));
  assert.is((await judge(td)).verdict, 'accept');
});

test('with no clock nothing is current', async (t) => {
  needVectors(t);
  const report = await verify(
    readVector(TDX.quote),
    collateralOf(combinedOf(TDX.collateral)),
    new Date(Number.NaN),
  );
  assert.is(report.verdict, 'reject');
});

test.run();
