/**
 * SIMULATED evidence, evidence documents, and the policies that judge them.
 *
 * One file, although it is long: its cases vary one document against one policy.
 */
import { z } from 'zod';
import { createChecklist } from '../../protocols/attestation/checklist.ts';
import { type EvidenceDocument, evidenceDigest } from '../../protocols/attestation/document.ts';
import { createSimulatedRoot, quote } from '../../protocols/attestation/formats/simulated.ts';
import { MAX_EVIDENCE_BYTES } from '../../protocols/attestation/limits.ts';
import { parsePolicy, policyDigest } from '../../protocols/attestation/policy.ts';
import { fieldBytes, fieldFromBytes, reportData } from '../../protocols/attestation/report-data.ts';
import { demandAccepted, type EvidenceReport, verifyEvidence } from '../../protocols/attestation/verify.ts';
import { decodeCbor, encodeCbor } from '../../protocols/cbor.ts';
import { signStatement } from '../../protocols/cose.ts';
import { base64url, concat, hex, randomBytes, sha256Hex, sha512, utf8 } from '../../protocols/encoding.ts';
import { VouchError } from '../../protocols/errors.ts';
import { assert, suite } from '../harness.ts';
import { attested, COMMITMENT, later, MEASUREMENT, NOW, policyFor } from './attested.ts';

const test = suite('attestation');

const failures = ({ checks }: EvidenceReport): string[] =>
  checks.filter(({ status }) => status === 'fail').map(({ id }) => id);

const withEvidence = (document: EvidenceDocument, evidence: Uint8Array) => ({
  ...document,
  cpu: { ...document.cpu, evidence: base64url(evidence) },
});

/** Rejected, and these are the checks that failed. */
function assertRejected(report: EvidenceReport, ...expected: string[]) {
  assert.is(report.verdict, 'reject');
  assert.equal(failures(report), expected);
  assert.is(report.binding, undefined);
}

test('good evidence is accepted, and says SIMULATED in every line', async () => {
  const { document, policy, nonce, binding } = await attested();
  const report = await verifyEvidence({ document, policy, nonce, modelCommitment: COMMITMENT, now: NOW });
  assert.equal(failures(report), []);
  assert.is(report.verdict, 'accept');
  assert.equal(
    report.checks.filter(({ status }) => status !== 'pass').map(({ id }) => id),
    ['gpu.bound'],
  );
  assert.ok(report.checks.every(({ detail }) => detail.startsWith('SIMULATED: ')));
  assert.is(report.claims?.label, 'SIMULATED');
  assert.is(report.claims?.hardware, false);
  assert.is(report.claims?.measurement, MEASUREMENT);
  assert.is(report.digest, evidenceDigest(document));
  assert.equal([...report.binding!.hpkeKey], [...binding.hpkeKey]);
  const ids = report.checks.map(({ id }) => id);
  assert.is(new Set(ids).size, ids.length);
  for (const id of [
    'simulated.signature',
    'simulated.chain',
    'simulated.root-pinned',
    'policy.simulated-allowed',
    'policy.platform',
    'policy.measurement',
    'policy.debug',
    'policy.tcb',
    'evidence.fresh',
    'binding.report-data',
  ]) {
    assert.ok(ids.includes(id), id);
  }
  demandAccepted(report);
});

test('the verification is pure: same question, same report, question untouched', async () => {
  const { document, policy, nonce } = await attested();
  const question = Object.freeze({
    document: Object.freeze(document),
    policy: Object.freeze(policy),
    nonce,
    now: NOW,
  });
  assert.equal(await verifyEvidence(question), await verifyEvidence(question));
});

test('the policy decides: measurement, debug, TCB, platform, root, simulation', async () => {
  const { root, document, policy, nonce } = await attested();
  const ask = (changes: Record<string, unknown>) =>
    verifyEvidence({ document, policy: policyFor(root, changes), nonce, now: NOW });
  assertRejected(await ask({ measurements: ['cd'.repeat(48)] }), 'policy.measurement');
  assertRejected(await ask({ minimumTcb: { simulated: [4] } }), 'policy.tcb');
  assertRejected(await ask({ minimumTcb: { simulated: [3, 0] } }), 'policy.tcb');
  assertRejected(await ask({ platforms: ['sev-snp'] }), 'policy.platform');
  assertRejected(await ask({ platforms: ['sev-snp'], minimumTcb: {} }), 'policy.platform', 'policy.tcb');
  assertRejected(await ask({ measurements: undefined }), 'policy.measurement');
  assertRejected(
    await ask({ measurements: [{ measurement: MEASUREMENT, minimumIsvSvn: 0 }] }),
    'policy.measurement',
  );
  assert.is((await ask({ measurements: [{ measurement: MEASUREMENT }] })).verdict, 'accept');
  assertRejected(await ask({ simulatedRoots: [] }), 'simulated.root-pinned');
  assertRejected(
    await ask({ simulatedRoots: [(await createSimulatedRoot()).fingerprint] }),
    'simulated.root-pinned',
  );
  assertRejected(await ask({ simulated: false }), 'policy.simulated-allowed');
  assertRejected(await ask({ simulated: undefined }), 'policy.simulated-allowed');
  assertRejected(
    await ask({ requiredBinding: ['gpuEvidence', 'tlsKey', 'nonce'] }),
    'binding.required',
    'gpu.bound',
  );
  assertRejected(await ask({ sealing: 'x-wing' }), 'policy.sealing');
  assert.is((await verifyEvidence({ document, policy, nonce, now: NOW })).verdict, 'accept');

  const debug = await attested({ debug: true, root });
  const askDebug = (allowed: boolean) =>
    verifyEvidence({ ...debug, policy: policyFor(root, { debug: allowed }), now: NOW });
  assertRejected(await askDebug(false), 'policy.debug');
  assert.is((await askDebug(true)).verdict, 'accept');
});

test('stale evidence, evidence from the future and a broken clock are refused', async () => {
  const { document, policy, nonce } = await attested();
  const at = (now: Date) => verifyEvidence({ document, policy, nonce, now });
  for (const seconds of [0, 300, -60])
    assert.is((await at(later(seconds))).verdict, 'accept', `${seconds} s`);
  for (const seconds of [301, 1e6, -61]) assertRejected(await at(later(seconds)), 'evidence.fresh');
  assertRejected(await at(new Date(Number.NaN)), 'evidence.fresh');
  const { checks } = await at(later(-600));
  assert.match(
    checks.find(({ id }) => id === 'evidence.fresh')!.detail,
    "your clock is 600 s behind the enclave's",
  );
});

test('another nonce is a replay, another commitment a mismatch', async () => {
  const { document, policy, nonce } = await attested();
  const replayed = await verifyEvidence({ document, policy, nonce: hex(randomBytes(32)), now: NOW });
  assertRejected(replayed, 'binding.nonce');
  assert.throws(
    () => demandAccepted(replayed),
    (error: VouchError) => error.code === 'replayed',
  );
  const other = await verifyEvidence({ document, policy, nonce, modelCommitment: '1', now: NOW });
  assertRejected(other, 'binding.model-commitment');
  assert.throws(
    () => demandAccepted(other),
    (error: VouchError) => error.code === 'commitment-mismatch',
  );
});

test('every input of the binding is bound', async () => {
  const { document, policy, nonce } = await attested();
  const key = base64url(randomBytes(32));
  const other = hex(randomBytes(32));
  const changes = { hpkeKey: key, receiptKey: key, modelCommitment: '1', enclave: 'enclave-2' };
  for (const [field, value] of Object.entries(changes)) {
    const report = await verifyEvidence({
      document: { ...document, [field]: value },
      policy,
      nonce,
      now: NOW,
    });
    assertRejected(report, 'binding.report-data');
  }
  // An attacker who answers a new nonce with old evidence.
  const answered = { ...document, nonce: other };
  assertRejected(
    await verifyEvidence({ document: answered, policy, nonce: other, now: NOW }),
    'binding.report-data',
  );
  const without = await verifyEvidence({
    document: { ...document, receiptKey: null },
    policy,
    nonce,
    now: NOW,
  });
  assertRejected(without, 'binding.required', 'binding.report-data');
});

test('a holder without model and receipt key is accepted by a policy that asks for neither', async () => {
  const worker = await attested({ binding: { receiptKey: undefined, modelCommitment: undefined } });
  const policy = policyFor(worker.root, { requiredBinding: ['nonce', 'hpkeKey', 'enclave'] });
  assert.is((await verifyEvidence({ ...worker, policy, now: NOW })).verdict, 'accept');
  assertRejected(await verifyEvidence({ ...worker, now: NOW }), 'binding.required');
});

test('a document of another shape is refused with its field named', async () => {
  const { document, policy, nonce } = await attested();
  const ask = (changed: unknown) => verifyEvidence({ document: changed, policy, nonce, now: NOW });
  const shapes: [unknown, RegExp][] = [
    [{ ...document, version: 1 }, /version/],
    [{ ...document, time: -1 }, /time/],
    [{ ...document, gpu: { ccMode: 'on', ready: true, devices: [] } }, /devices/],
    [{ ...document, xWingKey: 'AA' }, /xWingKey/],
    [{ ...document, extra: 1 }, /extra/],
    [{ ...document, hpkeKey: 'AA' }, /hpkeKey/],
    // The final two bits of 43 characters are not part of 32 bytes.
    [{ ...document, hpkeKey: `${'A'.repeat(42)}B` }, /hpkeKey/],
    [{ ...document, cpu: { ...document.cpu, evidence: 'A' } }, /evidence/],
    [{ ...document, cpu: { ...document.cpu, evidence: 'A'.repeat(2 * MAX_EVIDENCE_BYTES) } }, /evidence/],
    [{ ...document, cpu: { ...document.cpu, certificates: ['AAAA'] } }, /certificates/],
    [{ ...document, modelCommitment: '9'.repeat(77) }, /commitment/],
    [{ ...document, nonce: 'ab' }, /nonce/],
    [null, /evidence/],
    ['text', /evidence/],
  ];
  for (const [shape, detail] of shapes) {
    const report = await ask(shape);
    assertRejected(report, 'evidence.document');
    assert.match(report.checks[0]!.detail, detail);
  }
  assertRejected(await ask({ ...document, cpu: { ...document.cpu, format: 'nitron' } }), 'evidence.format');
  assertRejected(await ask({ ...document, hardware: true }), 'evidence.hardware');
});

test('a flipped bit anywhere in the evidence is refused', async () => {
  const { document, evidence, policy, nonce } = await attested();
  // Every other byte, at a bit that changes from byte to byte.
  for (let at = 0; at < evidence.length; at += 2) {
    const flipped = evidence.slice();
    flipped[at]! ^= 1 << ((at >> 1) & 7);
    const report = await verifyEvidence({
      document: withEvidence(document, flipped),
      policy,
      nonce,
      now: NOW,
    });
    assert.is(report.verdict, 'reject', `byte ${at}`);
  }
  for (const length of [0, 1, 100, evidence.length - 1]) {
    const cut = withEvidence(document, evidence.subarray(0, length));
    assert.is((await verifyEvidence({ document: cut, policy, nonce, now: NOW })).verdict, 'reject');
  }
});

const loose = (bytes: Uint8Array) =>
  decodeCbor(bytes, { schema: z.record(z.string(), z.unknown()), what: 'value', maxBytes: 4096 });

test('evidence by the wrong keys, or with parts exchanged, is refused', async () => {
  const mine = await attested();
  const stranger = await attested();
  const { document, policy, nonce } = mine;
  const ask = (evidence: Uint8Array) =>
    verifyEvidence({ document: withEvidence(document, evidence), policy, nonce, now: NOW });
  const [a, b] = [loose(mine.evidence), loose(stranger.evidence)];
  // A device that another root certified, under the name of a pinned root.
  assertRejected(await ask(encodeCbor({ ...b, root: a.root })), 'simulated.chain');
  assertRejected(await ask(encodeCbor({ ...a, quote: b.quote })), 'simulated.signature');
  assertRejected(await ask(encodeCbor({ ...a, device: b.device })), 'simulated.chain');
  // A statement of the wrong kind: the certificate in place of the quote.
  assertRejected(await ask(encodeCbor({ ...a, quote: a.device })), 'simulated.signature');
  assertRejected(await ask(encodeCbor({ ...a, v: 2 })), 'simulated.encoding');
  assertRejected(await ask(encodeCbor({ ...a, extra: 1 })), 'simulated.encoding');
  assertRejected(await ask(new Uint8Array(3000)), 'simulated.encoding');
});

test('a properly signed quote with an unknown field, version or claim of hardware is refused', async () => {
  const { platform, binding, document, policy, nonce, evidence } = await attested();
  const payload = {
    v: 2,
    platform: 'simulated',
    hardware: false,
    measurement: new Uint8Array(48).fill(0xab),
    debug: false,
    tcb: 3,
    reportData: reportData(binding),
  };
  const ask = async (claims: Record<string, unknown>) => {
    const signed = await signStatement(
      platform.signer,
      'application/vouch-simulated-quote+cbor',
      encodeCbor(claims),
    );
    const forged = withEvidence(document, encodeCbor({ ...loose(evidence), quote: signed }));
    return verifyEvidence({ document: forged, policy, nonce, now: NOW });
  };
  assert.is((await ask(payload)).verdict, 'accept');
  for (const change of [
    { v: 1 },
    { extra: 0 },
    { hardware: true },
    { platform: 'tdx' },
    { tcb: -1 },
    { debug: 0 },
  ]) {
    assertRejected(await ask({ ...payload, ...change }), 'simulated.claims');
  }
  const { debug: _, ...without } = payload;
  assertRejected(await ask(without), 'simulated.claims');
});

test('a root is the same after it was kept as a seed', async () => {
  const seed = randomBytes(32);
  const [first, second] = [await createSimulatedRoot(seed), await createSimulatedRoot(seed)];
  assert.is(first.fingerprint, second.fingerprint);
  assert.is(first.fingerprint, sha256Hex(first.signer.publicKey));
  const { document, nonce } = await attested({ root: second });
  assert.is(
    (await verifyEvidence({ document, policy: policyFor(first), nonce, now: NOW })).verdict,
    'accept',
  );
});

test('the report data is the documented hash, and no two bindings share it', () => {
  const nonce = new Uint8Array(16).fill(1);
  const hpkeKey = new Uint8Array(32).fill(2);
  const expected = sha512(
    utf8('vouch/v2/report-data\0'),
    concat(Uint8Array.of(1, 0, 16), nonce),
    concat(Uint8Array.of(2, 0, 32), hpkeKey),
    Uint8Array.of(3, 0, 0),
    concat(Uint8Array.of(4, 0, 32, 0x02, 0x01), new Uint8Array(30)),
    concat(Uint8Array.of(5, 0, 1), utf8('e')),
    Uint8Array.of(6, 0, 0, 7, 0, 0, 8, 0, 0),
    Uint8Array.of(9, 0, 8, 0, 0, 0, 0, 0, 0, 0, 66),
  );
  const base = { nonce, hpkeKey, modelCommitment: '258', enclave: 'e', time: new Date(66_000) };
  assert.equal(reportData(base), expected);
  const key = new Uint8Array(32).fill(9);
  const all = [
    base,
    { ...base, receiptKey: key },
    { ...base, tlsKey: key },
    { ...base, gpuEvidence: key },
    { ...base, xWingKey: new Uint8Array(1216) },
    { ...base, time: new Date(67_000) },
    { ...base, modelCommitment: undefined },
    { ...base, modelCommitment: '0' },
  ].map((binding) => hex(reportData(binding)));
  assert.is(new Set(all).size, all.length);
  for (const wrong of [
    { nonce: new Uint8Array(15) },
    { nonce: new Uint8Array(65) },
    { hpkeKey: nonce },
    { enclave: '' },
    { xWingKey: key },
    { time: new Date(Number.NaN) },
    { time: new Date(-1000) },
  ]) {
    assert.throws(() => reportData({ ...base, ...wrong }), /binding/);
  }
});

test('a commitment is a field element below the order', () => {
  const order = 21888242871839275222246405745257275088548364400416034343698204186575808495617n;
  for (const value of ['0', '1', '256', `${order - 1n}`]) assert.is(fieldFromBytes(fieldBytes(value)), value);
  for (const value of [`${order}`, `${order + 1n}`, '-1', '01', '0x1', '', '1e3']) {
    assert.throws(() => fieldBytes(value), /model commitment/);
  }
  assert.throws(() => fieldFromBytes(new Uint8Array(32).fill(255)), /model commitment/);
  assert.throws(() => fieldFromBytes(new Uint8Array(31)), /model commitment/);
});

test('a policy is strict, and its defaults are the safe ones', async () => {
  const least = {
    version: 1,
    platforms: ['simulated'],
    measurements: [MEASUREMENT],
    minimumTcb: { simulated: [0] },
  };
  const policy = parsePolicy({ ...least, maxAgeSeconds: 60 });
  assert.is(policy.debug, false);
  assert.is(policy.simulated, false);
  assert.equal(policy.simulatedRoots, []);
  const wrong: [Record<string, unknown>, RegExp][] = [
    [{ maxAgeSeconds: 60, version: 2 }, /version/],
    [{ maxAgeSeconds: 60, debugAllowed: true }, /debugAllowed/],
    [{ maxAgeSeconds: 0 }, /maxAgeSeconds/],
    [{ maxAgeSeconds: 60, measurements: [] }, /measurements/],
    [{ maxAgeSeconds: 60, measurements: [MEASUREMENT.toUpperCase()] }, /measurements/],
    [{ maxAgeSeconds: 60, minimumTcb: {} }, /minimumTcb.*simulated/],
    [{ maxAgeSeconds: 60, platforms: ['simulated', 'other'] }, /platforms/],
    [{ maxAgeSeconds: 60, measurements: [{}] }, /measurements/],
    [{ maxAgeSeconds: 60, measurements: [{ mrsigner: 'ab' }] }, /measurements/],
    [{ maxAgeSeconds: 60, requiredBinding: ['colour'] }, /requiredBinding/],
  ];
  for (const [changes, message] of wrong) {
    assert.throws(
      () => parsePolicy({ ...least, ...changes }),
      (error: unknown) =>
        error instanceof VouchError && error.code === 'bad-input' && message.test(error.message),
    );
  }
});

test('the digest of a policy does not depend on spelling, only on content', () => {
  const policy = {
    version: 1,
    platforms: ['simulated'],
    measurements: [MEASUREMENT],
    minimumTcb: { simulated: [1] },
    maxAgeSeconds: 60,
  };
  const digest = policyDigest(parsePolicy(policy));
  const reordered = Object.fromEntries(Object.entries(policy).reverse());
  assert.is(policyDigest(parsePolicy({ ...reordered, debug: false, simulated: false })), digest);
  const spelled =
    '{"debug":false,"maxAgeSeconds":60,"measurements":["' +
    `${MEASUREMENT}"],"minimumTcb":{"simulated":[1]},"platforms":["simulated"],` +
    '"requiredBinding":["nonce","hpkeKey","enclave"],"simulated":false,"simulatedRoots":[],"version":1}';
  assert.is(digest, sha256Hex(utf8(spelled)));
  assert.is.not(policyDigest(parsePolicy({ ...policy, debug: true })), digest);
});

test('a checklist fails closed', () => {
  assert.is(createChecklist([]).result('').verdict, 'reject');
  const list = createChecklist(['a', 'b']);
  list.record('a', true, 'evidence-rejected', 'done');
  assert.is(list.result('').verdict, 'reject');
  assert.is(list.result('').checks[1]!.status, 'skipped');
  list.record('b', true, 'evidence-rejected', 'done');
  assert.is(list.result('').verdict, 'accept');
  list.require(['c']);
  assert.is(list.result('').verdict, 'reject');
  list.omit('c', 'not asked for');
  assert.is(list.result('').verdict, 'accept');
  list.record('b', false, 'evidence-rejected', 'no');
  list.record('b', true, 'evidence-rejected', 'done');
  assert.is(list.result('').verdict, 'reject');
});

test('a quote needs 64 bytes of report data and a measurement of 48', async () => {
  const { platform } = await attested();
  const ask = (bytes: number, measurement: string) =>
    quote(platform, { measurement, reportData: new Uint8Array(bytes) }).then(
      () => 'taken',
      () => 'refused',
    );
  assert.is(await ask(64, MEASUREMENT), 'taken');
  assert.is(await ask(63, MEASUREMENT), 'refused');
  assert.is(await ask(64, 'ab'), 'refused');
});

test.run();
