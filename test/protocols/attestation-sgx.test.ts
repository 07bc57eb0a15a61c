import { BUILT_IN, parseEvidencePolicy } from '../../protocols/attestation/policy.ts';
import { assert, suite } from '../harness.ts';
import { failures, intelCase, judge } from './intel-platform.ts';
import {
  collateralOf,
  flipped,
  intelVectors,
  needVectors,
  readVector,
  SGX,
  verify,
} from './intel-vectors.ts';

const test = suite('SGX evidence');
const rejects = async (expected: string[], ...[given, policy]: Parameters<typeof judge>) => {
  const report = await judge(given, policy);
  assert.is(report.verdict, 'reject');
  assert.equal(failures(report), expected);
};

test('every SGX vector gets its verdict, for its reason', async (t) => {
  needVectors(t);
  const reasons: Record<string, RegExp> = {
    collateral_expired: /stale/,
    collateral_not_yet_valid: /not yet valid/,
  };
  for (const vector of intelVectors().filter(({ path }) => path.includes('sgx'))) {
    const report = await verify(
      readVector(vector.path),
      collateralOf(vector.collateral),
      new Date(vector.now),
    );
    assert.is(report.verdict, vector.verdict, `${vector.path} at ${vector.now}`);
    if (vector.reason !== undefined) {
      const found = report.checks.filter(({ status }) => status === 'fail').map(({ detail }) => detail);
      assert.match(found.join('\n'), reasons[vector.reason]!);
      // What is out of date is not called tampered with.
      assert.ok(report.checks.every(({ code }) => code !== 'signature-rejected'));
    } else {
      assert.is(report.claims?.mrenclave, vector.mrenclave);
      assert.is(report.claims?.tcbStatus, vector.tcbStatus);
      assert.equal(report.claims?.advisories, vector.advisories);
    }
  }
});

test('strict refuses what needs configuration, and says the advisories', async (t) => {
  needVectors(t);
  const report = await verify(readVector(SGX.quote), collateralOf(SGX.collateral), SGX.now, BUILT_IN.strict);
  assert.equal(failures(report), ['sgx.tcb-level']);
  assert.match(
    report.checks.find(({ id }) => id === 'sgx.tcb-level')!.detail,
    'ConfigurationAndSWHardeningNeeded since 2024-03-13: INTEL-SA-00289, INTEL-SA-00615',
  );
});

test('a byte flipped anywhere in the quote rejects', async (t) => {
  needVectors(t);
  const quote = readVector(SGX.quote);
  const collateral = collateralOf(SGX.collateral);
  const places = [0, 2, 4, 12, 432, 436, 500, 564, 948, 1012, 1014, 1046, 1048, quote.length - 1];
  for (let at = 0; at < quote.length; at += 61) places.push(at);
  for (const at of places) {
    const { verdict } = await verify(flipped(quote, at), collateral);
    assert.is(verdict, 'reject', `byte ${at}`);
  }
});

test('enclaves come in versions 3, 4 and 5', async () => {
  for (const version of [3, 4, 5] as const) {
    const report = await judge(await intelCase({ sgx: true, version }));
    assert.equal(failures(report), []);
    assert.is(report.claims?.mrenclave, 'aa'.repeat(32));
  }
});

test('debug enclaves are refused unless the policy takes them', async () => {
  const given = await intelCase({ sgx: true, report: (body) => body.set([7], 48) });
  await rejects(['sgx.debug'], given);
  await rejects(['sgx.debug'], given, BUILT_IN.genuine);
  assert.is((await judge(given, parseEvidencePolicy({ version: 1, debug: true }))).verdict, 'accept');
});

test('reserved bits and fields reject, and so does an enclave that is not initialised', async () => {
  const changes: [number, number][] = [
    [48, 0x0d],
    [49, 0x01],
    [55, 0x80],
    [48, 0x04],
    [20, 1],
    [96, 1],
    [160, 1],
    [262, 1],
  ];
  for (const [at, byte] of changes) {
    const given = await intelCase({ sgx: true, report: (body) => body.set([byte], at) });
    await rejects(['sgx.reserved-bits'], given, BUILT_IN.genuine);
  }
});

test('TCB info of API version 3 is read, too', async () => {
  const components = Object.fromEntries(
    [7, 7, 2, 2, 3, 1, 0, 3, 0, 0, 0, 0, 0, 0, 0, 0].map((svn, i) => [
      `sgxtcbcomp${String(i + 1).padStart(2, '0')}svn`,
      svn,
    ]),
  );
  const level = (pcesvn: number) => ({
    tcb: { ...components, pcesvn },
    tcbDate: '2025-06-01T00:00:00Z',
    tcbStatus: 'UpToDate',
  });
  const old = { id: undefined, version: 2, tdxModule: undefined, tdxModuleIdentities: undefined };
  const given = await intelCase({ sgx: true, tcbInfo: { ...old, tcbLevels: [level(11)] } });
  assert.equal(failures(await judge(given)), []);
  await rejects(
    ['sgx.tcb-level'],
    await intelCase({ sgx: true, tcbInfo: { ...old, tcbLevels: [level(12)] } }),
  );
});

test.run();
