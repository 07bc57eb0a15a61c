/**
 * Intel's collateral: TCB info, QE identity, CRLs and their chains, genuine and damaged.
 *
 * One file, although it is long: its cases spoil one platform's collateral, each in a single place.
 */
import * as fc from 'fast-check';
import { parseCertificate } from '../../protocols/attestation/certificate.ts';
import {
  type IntelCollateral,
  mergeCollateral,
  NO_COLLATERAL,
  parseQeIdentity,
  parseTcbInfo,
  readIntelCollateral,
} from '../../protocols/attestation/formats/intel-collateral.ts';
import { converge } from '../../protocols/attestation/formats/intel-tcb.ts';
import { BUILT_IN, type EvidencePolicy, parseEvidencePolicy } from '../../protocols/attestation/policy.ts';
import { VouchError } from '../../protocols/errors.ts';
import { assert, suite } from '../harness.ts';
import { crlOf, verifyIntelQuote } from './from-bytes.ts';
import {
  failures,
  intelCase,
  judge,
  level,
  module,
  NOW,
  type Options,
  platformTcb,
  qeIdentity,
  signedBy,
  tcbInfo,
} from './intel-platform.ts';
import {
  collateralOf,
  combinedOf,
  flippedText,
  needVectors,
  readVector,
  TDX,
  verify,
} from './intel-vectors.ts';

const test = suite('Intel collateral');
const rejects = async (expected: string[], options: Options, policy?: EvidencePolicy, now?: Date) => {
  const report = await judge(await intelCase(options), policy, now);
  assert.is(report.verdict, 'reject');
  assert.equal(failures(report), expected);
  return report;
};
const accepts = async (options: Options, policy?: EvidencePolicy) => {
  const report = await judge(await intelCase(options), policy);
  assert.equal(failures(report), []);
  assert.is(report.verdict, 'accept');
  return report;
};
const intel = (changes: object) => parseEvidencePolicy({ version: 1, intel: changes });
const detail = (report: { checks: readonly { id: string; detail: string }[] }, id: string) =>
  report.checks.find((check) => check.id === id)?.detail ?? '';

test('a character changed anywhere in any part of the collateral rejects', async (t) => {
  needVectors(t);
  const quote = readVector(TDX.quote);
  const combined = combinedOf(TDX.collateral);
  for (const [name, text] of Object.entries(combined)) {
    for (const at of [
      0,
      1,
      text.length - 2,
      ...[1, 2, 3, 4, 5, 6, 7].map((i) => Math.floor((text.length * i) / 8)),
    ]) {
      // Text around and between PEM blocks is not part of any certificate.
      if (name.endsWith('chain') && /^\s$/.test(text[at]!)) continue;
      const changed = collateralOf({ ...combined, [name]: flippedText(text, at) });
      assert.is((await verify(quote, changed)).verdict, 'reject', `${name} at ${at}`);
    }
  }
});

test('a part that is missing, empty or garbage rejects', async (t) => {
  needVectors(t);
  const quote = readVector(TDX.quote);
  const combined = combinedOf(TDX.collateral);
  for (const name of Object.keys(combined)) {
    for (const value of ['', 'zz', '00', '{}', '[]', 'null', combined.tcb_info!.slice(0, 100)]) {
      const { verdict } = await verify(quote, collateralOf({ ...combined, [name]: value }));
      assert.is(verdict, 'reject', `${name}: ${value.slice(0, 10)}`);
    }
    const { [name]: _, ...rest } = combined;
    // The PCK CA is in the quote as well, and the two statements have one signer.
    const expected = name.endsWith('chain') ? 'accept' : 'reject';
    assert.is((await verify(quote, collateralOf(rest))).verdict, expected, `without ${name}`);
  }
  const { tcb_info_issuer_chain: _, qe_identity_issuer_chain: __, ...unsigned } = combined;
  assert.is((await verify(quote, collateralOf(unsigned))).verdict, 'reject');
});

test("another issuer's CRL does not do, nor does one list for both", async (t) => {
  needVectors(t);
  const quote = readVector(TDX.quote);
  const combined = combinedOf(TDX.collateral);
  const sgx = combinedOf('intel/collateral/dcapqvl_sgx_quote_collateral.json');
  for (const changes of [
    { pck_crl: sgx.pck_crl! },
    { pck_crl: combined.root_ca_crl! },
    { root_ca_crl: combined.pck_crl! },
  ]) {
    const report = await verify(quote, collateralOf({ ...combined, ...changes }));
    assert.is(report.verdict, 'reject');
    assert.match(detail(report, 'tdx.pck-chain-revocation'), /no CRL of .*revocation is unknown/);
  }
});

test('unknown revocation is accepted only where the policy says so', async () => {
  const given = await intelCase();
  const without = { ...given, collateral: { ...given.collateral, crls: [] } };
  assert.is((await judge(without)).verdict, 'reject');
  assert.is((await judge(without, intel({ revocation: 'if-present' }))).verdict, 'accept');
  // A list that is there counts in any case.
  const stale = await intelCase({ crlDates: { nextUpdate: new Date('2026-01-14T00:00:00Z') } });
  assert.is((await judge(stale, intel({ revocation: 'if-present' }))).verdict, 'reject');
});

test('revoked: the PCK, its CA, the TCB signer', async () => {
  await rejects(['tdx.pck-chain-revocation'], { revoked: ['pck'] }, BUILT_IN.genuine);
  await rejects(['tdx.pck-chain-revocation'], { revoked: ['pckCa'] }, BUILT_IN.genuine);
  await rejects(
    ['tdx.tcb-signing-chain-revocation', 'tdx.qe-signing-chain-revocation'],
    { revoked: ['signer'] },
    BUILT_IN.genuine,
  );
});

test('stale and future CRLs are called so', async () => {
  const ids = [
    'tdx.pck-chain-revocation',
    'tdx.tcb-signing-chain-revocation',
    'tdx.qe-signing-chain-revocation',
  ];
  const stale = await rejects(ids, { crlDates: { nextUpdate: new Date('2026-01-14T00:00:00Z') } });
  assert.match(detail(stale, ids[0]!), 'stale');
  const future = await rejects(ids, { crlDates: { thisUpdate: new Date('2026-01-16T00:00:00Z') } });
  assert.match(detail(future, ids[0]!), 'future');
});

test('stale and future statements are called so', async () => {
  const stale = { nextUpdate: '2026-01-14T23:59:59Z' };
  const future = { issueDate: '2026-01-15T00:00:01Z' };
  assert.match(
    detail(await rejects(['tdx.tcb-info-dates'], { tcbInfo: stale }), 'tdx.tcb-info-dates'),
    'stale',
  );
  assert.match(
    detail(await rejects(['tdx.tcb-info-dates'], { tcbInfo: future }), 'tdx.tcb-info-dates'),
    'not yet valid',
  );
  await rejects(['tdx.qe-identity-dates'], { qeIdentity: stale });
  await rejects(['tdx.qe-identity-dates'], { qeIdentity: future });
});

test('only the TCB signer that the root certified signs statements', async () => {
  const ids = ['tdx.tcb-signing-chain', 'tdx.qe-signing-chain'];
  await rejects(ids, { signerName: 'Intel SGX PCK Certificate' });
  await rejects(ids, { signerBy: 'pckCa' });
});

test('only a PCK certificate signs for a quoting enclave, and only in its time', async () => {
  await rejects(['tdx.pck-certificate'], { pckName: 'Intel SGX TCB Signing' });
  await rejects(['tdx.pck-chain-dates'], { pckDates: { notAfter: new Date('2026-01-14T00:00:00Z') } });
  await rejects(['tdx.pck-chain-dates'], { pckDates: { notBefore: new Date('2026-01-16T00:00:00Z') } });
});

test('a root that is not pinned rejects', async () => {
  const given = await intelCase();
  const report = await judge({ ...given, roots: ['00'.repeat(32)] });
  assert.match(detail(report, 'tdx.pck-chain'), 'not pinned');
  assert.is(report.claims, undefined);
});

test('statements for another platform do not fit', async () => {
  await rejects(['tdx.tcb-info-platform'], { tcbInfo: { pceId: '0001' } });
  await rejects(['tdx.tcb-info-platform'], { tcbInfo: { fmspc: '00806F050001' } });
  await rejects(['tdx.tcb-info-platform'], { pceId: '0001' });
});

test('collateral that was rolled back is refused by its evaluation number', async () => {
  await accepts({}, intel({ minimumEvaluationNumber: 18 }));
  await rejects(['tdx.tcb-evaluation', 'tdx.qe-evaluation'], {}, intel({ minimumEvaluationNumber: 19 }));
});

test("the quoting enclave has to be Intel's, at a level that it lists", async () => {
  const differs: [string, (report: Uint8Array) => void][] = [
    ['MISCSELECT', (report) => report.set([1], 16)],
    ['attributes', (report) => report.set([0x13], 48)],
    ['MRSIGNER', (report) => report.set([1], 128)],
    ['ISVPRODID', (report) => report.set([3], 256)],
  ];
  for (const [name, qeReport] of differs) {
    const report = await rejects(['tdx.qe-identity'], { qeReport }, BUILT_IN.genuine);
    assert.match(detail(report, 'tdx.qe-identity'), name);
  }
  await rejects(['tdx.qe-tcb-level'], { qeReport: (report) => report.set([3], 258) }, BUILT_IN.genuine);
  // Another key than the one that its report data names.
  await rejects(['tdx.attestation-key'], { qeReport: (report) => report.set([1], 320) }, BUILT_IN.genuine);
  await rejects(['tdx.attestation-key'], { qeReport: (report) => report.set([1], 383) }, BUILT_IN.genuine);
});

test('a platform below every level is rejected, whichever SVN it is', async () => {
  const svns = [7, 7, 2, 2, 3, 1, 0, 3, 0, 0, 0, 0, 0, 0, 0, 0];
  for (const i of [0, 1, 2, 3, 4, 5, 7]) {
    await rejects(['tdx.tcb-level'], { svns: svns.with(i, svns[i]! - 1) }, BUILT_IN.genuine);
  }
  await rejects(['tdx.tcb-level'], { pceSvn: 10 }, BUILT_IN.genuine);
  await rejects(['tdx.tcb-level'], { report: (body) => body.set([6], 2) }, BUILT_IN.genuine);
  const sgxOnly = { ...platformTcb(), tdxtcbcomponents: undefined };
  await rejects(['tdx.tcb-level'], { tcbInfo: { tcbLevels: [level(sgxOnly)] } }, BUILT_IN.genuine);
});

test('the first level that is reached counts, and statuses converge', async () => {
  const best = level(platformTcb([8, 8, 2, 2, 3, 1, 0, 3, 0, 0, 0, 0, 0, 0, 0, 0]));
  const own = level(platformTcb(), 'OutOfDate', '2024-01-01T00:00:00Z', ['INTEL-SA-00960']);
  const worst = level(platformTcb(new Array(16).fill(0), 5), 'Revoked', '2018-01-01T00:00:00Z');
  const options = { tcbInfo: { tcbLevels: [best, own, worst] } };
  const report = await rejects(['tdx.tcb-level'], options);
  assert.is(detail(report, 'tdx.tcb-level'), 'OutOfDate since 2025-06-01: INTEL-SA-00960');
  assert.is(report.claims?.tcbStatus, 'OutOfDate');
  assert.equal(report.claims?.advisories, ['INTEL-SA-00960']);
  await accepts(options, BUILT_IN.genuine);
  // 229 days lie between the better level and the clock.
  await accepts(options, intel({ graceDays: 229 }));
  await rejects(['tdx.tcb-level'], options, intel({ graceDays: 227 }));
  await accepts(options, intel({ tcbStatuses: ['OutOfDate', 'UpToDate'], advisories: ['INTEL-SA-00960'] }));
  await rejects(
    ['tdx.tcb-level'],
    options,
    intel({ tcbStatuses: ['OutOfDate', 'UpToDate'], advisories: ['INTEL-SA-00001'] }),
  );
  await rejects(['tdx.tcb-level'], { ...options, pceSvn: 6, svns: new Array(16).fill(1) }, BUILT_IN.genuine);
});

test('module and quoting enclave pull the status down', async () => {
  const old = [
    level({ isvsvn: 5 }),
    level({ isvsvn: 1 }, 'OutOfDate', '2024-01-01T00:00:00Z', ['INTEL-SA-01036']),
  ];
  const byModule = {
    tcbInfo: { tdxModuleIdentities: [{ id: 'TDX_01', ...module, tcbLevels: old }] },
    report: (body: Uint8Array) => body.set([4], 0),
  };
  const report = await rejects(['tdx.module-tcb-level'], byModule);
  assert.is(report.claims?.tcbStatus, 'OutOfDate');
  assert.equal(report.claims?.advisories, ['INTEL-SA-01036']);
  await rejects(
    ['tdx.qe-tcb-level'],
    { qeIdentity: { tcbLevels: [level({ isvsvn: 1 }, 'Revoked')] } },
    BUILT_IN.genuine,
  );
  assert.is(converge('UpToDate', ['UpToDate', 'OutOfDate']), 'OutOfDate');
  assert.is(converge('SWHardeningNeeded', ['OutOfDate']), 'OutOfDate');
  assert.is(converge('ConfigurationNeeded', ['OutOfDate']), 'OutOfDateConfigurationNeeded');
  assert.is(converge('ConfigurationAndSWHardeningNeeded', ['UpToDate']), 'ConfigurationAndSWHardeningNeeded');
  assert.is(converge('OutOfDate', ['Revoked', 'UpToDate']), 'Revoked');
});

test('least SVNs and named platforms are demands of their own', async () => {
  const svns = [7, 7, 2, 2, 3, 1, 0, 3, 0, 0, 0, 0, 0, 0, 0, 0];
  const tee = [5, 1, 7, ...new Array(13).fill(0)];
  const met = { cpu: svns, pce: 11, qe: 6, tee };
  await accepts({}, intel({ minimumSvns: met, platformIds: ['00'.repeat(16)] }));
  for (const least of [{ cpu: svns.with(4, 4) }, { pce: 12 }, { qe: 7 }, { tee: tee.with(2, 8) }]) {
    await rejects(['tdx.minimum-svns'], {}, intel({ minimumSvns: { ...met, ...least } }));
  }
  await rejects(['tdx.platform-id'], {}, intel({ platformIds: ['01'.repeat(16)] }));
});

test('OutOfDate is accepted for the days of grace, and no longer', async () => {
  const old = {
    svns: [6, ...new Array(15).fill(0)],
    tcbInfo: {
      tcbLevels: [
        level(platformTcb(), 'UpToDate', '2026-01-10T00:00:00Z'),
        level(platformTcb(new Array(16).fill(0)), 'OutOfDate', '2025-01-01T00:00:00Z'),
      ],
    },
  };
  await rejects(['tdx.tcb-level'], old);
  await accepts(old, intel({ graceDays: 5 }));
  await rejects(['tdx.tcb-level'], old, intel({ graceDays: 4 }));
  const others = intel({ graceDays: 5, tcbStatuses: ['SWHardeningNeeded'] });
  await rejects(['tdx.tcb-level', 'tdx.module-tcb-level', 'tdx.qe-tcb-level'], old, others);
});

test('what Intel serves is read as served: signature over the exact bytes', async () => {
  const given = await intelCase();
  const [info] = given.collateral.tcbInfos;
  const [identity] = given.collateral.qeIdentities;
  const loose = {
    ...NO_COLLATERAL,
    crls: given.collateral.crls,
    certificates: [given.signers.signer, given.signers.root].map(({ der }) => parseCertificate(der)),
  };
  const served = (spaces: string, signature = info!.signature) =>
    mergeCollateral(
      loose,
      readIntelCollateral(
        `{${spaces}"tcbInfo"${spaces}:${spaces}${info!.text}${spaces},"signature":"${signature}"}`,
      )!,
      readIntelCollateral(`{"signature":"${identity!.signature}","enclaveIdentity":${identity!.text}}`)!,
    );
  const verdict = async (collateral: IntelCollateral) => (await judge({ ...given, collateral })).verdict;
  assert.is(await verdict(served('')), 'accept');
  assert.is(await verdict(served('\n  ')), 'accept');
  assert.is(await verdict(served('', identity!.signature)), 'reject');
  const spaced = mergeCollateral(loose, {
    ...NO_COLLATERAL,
    tcbInfos: [{ ...info!, text: JSON.stringify(JSON.parse(info!.text), null, 1) }],
    qeIdentities: [identity!],
  });
  assert.is(await verdict(spaced), 'reject');
});

test('a member that is there twice is refused: readers could differ', () => {
  assert.is(readIntelCollateral('{"tcbInfo":{"a":1},"tcbInfo":{"a":2},"signature":"00"}'), undefined);
  const tricky = readIntelCollateral('{"x":"\\"tcbInfo\\":{}","tcbInfo":{"s":"},{\\\\"},"signature":"00"}');
  assert.is(tricky?.tcbInfos[0]?.text, '{"s":"},{\\\\"}');
});

test('a store fills in what was not given, and nothing else', async () => {
  const given = await intelCase();
  const { tcbInfos, qeIdentities, crls, crlChains } = given.collateral;
  const ask = async (collateral: Partial<IntelCollateral>, store: Partial<IntelCollateral>) =>
    (
      await verifyIntelQuote({
        quote: given.quote,
        collateral: { ...NO_COLLATERAL, ...collateral },
        store: { ...NO_COLLATERAL, ...store },
        policy: BUILT_IN.strict,
        roots: given.roots,
        now: NOW,
      })
    ).verdict;
  assert.is(await ask({}, given.collateral), 'accept');
  assert.is(await ask({ crls }, { tcbInfos, qeIdentities }), 'accept');
  const tampered = [{ ...tcbInfos[0]!, signature: '00'.repeat(64) }];
  assert.is(await ask({ tcbInfos: tampered, crlChains }, given.collateral), 'reject');
  assert.is(await ask({ tcbInfos: [{ ...tcbInfos[0]!, text: '{' }] }, given.collateral), 'reject');
  assert.is(await ask({ crls: [crlOf(new Uint8Array(3))] }, given.collateral), 'reject');
  // Rubbish in store is passed over.
  assert.is(
    await ask({}, mergeCollateral({ ...NO_COLLATERAL, crls: [crlOf(new Uint8Array(3))] }, given.collateral)),
    'accept',
  );
});

test('of several statements the current one with the highest evaluation is used, in whatever order', async () => {
  const given = await intelCase();
  const [info] = given.collateral.tcbInfos;
  const older = tcbInfo({ nextUpdate: '2026-01-02T00:00:00Z', tcbEvaluationDataNumber: 99 });
  const expired = await signedBy(given.signers.signer, older, info!.chain!);
  for (const tcbInfos of [
    [expired, info!],
    [info!, expired],
  ]) {
    const collateral = { ...given.collateral, tcbInfos };
    assert.is((await judge({ ...given, collateral })).verdict, 'accept');
  }
});

// Issue 11, 5: a tampered TCB info was passed over or not by the order of the files.
test('a statement that nobody signed is a failure beside one that holds, in whatever order', async () => {
  const given = await intelCase();
  const [info] = given.collateral.tcbInfos;
  const [identity] = given.collateral.qeIdentities;
  for (const tampered of [
    { ...info!, text: info!.text.replace('"UpToDate"', '"Revoked"') },
    { ...info!, text: info!.text.replace('"tcbEvaluationDataNumber":18', '"tcbEvaluationDataNumber":19') },
    { ...info!, signature: identity!.signature },
  ]) {
    for (const tcbInfos of [
      [tampered, info!],
      [info!, tampered],
    ]) {
      const report = await judge({ ...given, collateral: { ...given.collateral, tcbInfos } });
      assert.is(report.verdict, 'reject');
      assert.equal(failures(report), ['tdx.tcb-info-signature']);
    }
  }
});

test('a whole folder of collateral serves quotes of many platforms', async (t) => {
  needVectors(t);
  const all = ['dcapqvl_sgx_quote', 'dcapqvl_tdx_quote_outdated', 'dcapqvl_tdx_quote'].map((name) =>
    collateralOf(`intel/collateral/${name}_collateral.json`),
  );
  const { verdict } = await verify(readVector(TDX.quote), mergeCollateral(...all));
  assert.is(verdict, 'accept');
});

test('statements that are not as specified are refused by name', () => {
  const wrong: [object, RegExp][] = [
    [{ version: 4 }, /TCB info/],
    [{ id: 'XYZ' }, /TCB info/],
    [{ fmspc: '00' }, /TCB info/],
    [{ tcbLevels: [] }, /TCB info/],
    [{ issueDate: 'yesterday' }, /TCB info/],
    [{ issueDate: '2026-13-01T00:00:00Z' }, /TCB info/],
    [{ tcbType: 1 }, /TCB info/],
    [{ tcbLevels: [level({ ...platformTcb(), pcesvn: -1 })] }, /TCB info/],
    [{ tcbLevels: [level(platformTcb([1]))] }, /TCB info/],
    [{ tcbLevels: [level(platformTcb(), 'Splendid')] }, /TCB info/],
  ];
  parseTcbInfo(JSON.stringify(tcbInfo()));
  parseQeIdentity(JSON.stringify(qeIdentity()));
  for (const [changes, message] of wrong) {
    assert.throws(() => parseTcbInfo(JSON.stringify(tcbInfo(changes))), message);
  }
  assert.throws(() => parseQeIdentity(JSON.stringify(qeIdentity({ version: 1 }))), /QE identity.version/);
  assert.throws(
    () => parseQeIdentity(JSON.stringify(qeIdentity({ mrsigner: 'zz' }))),
    /QE identity.mrsigner/,
  );
});

test('whatever text comes, reading it ends in an error of ours or in nothing', () => {
  const text = fc.oneof(
    fc.string({ maxLength: 200 }),
    fc.json({ maxDepth: 3 }),
    fc.json({ maxDepth: 2 }).map((json) => `{"tcbInfo":${json},"signature":"00"}`),
    fc.json({ maxDepth: 2 }).map((json) => `{"tcb_info":${json}}`),
  );
  fc.assert(
    fc.property(text, (source) => {
      for (const read of [readIntelCollateral, parseTcbInfo, parseQeIdentity]) {
        try {
          read(source);
        } catch (error) {
          assert.instance(error, VouchError);
        }
      }
    }),
    { numRuns: 300 },
  );
});

test('policies: defaults are strict, unknown fields and values are errors', () => {
  assert.equal(parseEvidencePolicy({ version: 1 }), BUILT_IN.strict);
  assert.is(BUILT_IN.strict.debug, false);
  assert.is(BUILT_IN.strict.intel.revocation, 'required');
  assert.is(BUILT_IN.genuine.intel.revocation, 'required');
  for (const [policy, field] of [
    [{}, 'policy.version'],
    [{ version: 2 }, 'policy.version'],
    [{ version: 1, nonsense: true }, 'nonsense'],
    [{ version: 1, intel: { nonsense: true } }, 'policy.intel'],
    [{ version: 1, intel: { tcbStatuses: ['Revoked'] } }, 'policy.intel.tcbStatuses'],
    [{ version: 1, platforms: [] }, 'policy.platforms'],
    [{ version: 1, platforms: ['simulated'] }, 'policy.minimumTcb'],
    [{ version: 1, measurements: ['00'] }, 'policy.measurements'],
    [{ version: 1, measurements: [{ rtmr9: '00'.repeat(48) }] }, 'policy.measurements'],
    [null, 'policy'],
  ] as const) {
    assert.throws(
      () => parseEvidencePolicy(policy),
      (error: unknown) => error instanceof VouchError && error.message.includes(field),
    );
  }
});

test.run();
