/**
 * Composite evidence and receipts: CPU, GPU, keys and model in one document, each part of it needed.
 *
 * One file, although it is long: its cases vary one composite, which is costly to make.
 */
import { readFileSync } from 'node:fs';
import { NO_FILES } from '../../protocols/attestation/collateral.ts';
import {
  bindGpu,
  type EvidenceDocument,
  evidenceDigest,
  evidenceDocument,
} from '../../protocols/attestation/document.ts';
import { sortFiles } from '../../protocols/attestation/evidence-files.ts';
import {
  createSimulatedPlatform,
  createSimulatedRoot,
} from '../../protocols/attestation/formats/simulated.ts';
import { BUILT_IN, parsePolicy, policyDigest } from '../../protocols/attestation/policy.ts';
import { gpuNonce, reportData } from '../../protocols/attestation/report-data.ts';
import { type EvidenceQuestion, verifyEvidence } from '../../protocols/attestation/verify.ts';
import { base64url, fromBase64url, hex, randomBytes, utf8 } from '../../protocols/encoding.ts';
import { verifyReceipt } from '../../protocols/receipt.ts';
import { open, SEALING_INFO, sealTo } from '../../protocols/sealing.ts';
import { measure } from '../../runtime/attest/measurement.ts';
import { simulatedProvider } from '../../runtime/attest/simulated-provider.ts';
import { assert, suite } from '../harness.ts';
import {
  answerAbout,
  COMMITMENT,
  type Composite,
  composite,
  later,
  makeCard,
  NOW,
  policyFor,
  questionFor,
  receiptBy,
  request,
  response,
  type Variation,
} from './composite-maker.ts';
import type { PageQuestion } from './composite-page.ts';
import { VECTOR } from './composite-vector.ts';
import { CHIP } from './snp-maker.ts';

const test = suite('composite evidence', { timeoutMs: 60_000 });

interface Report {
  readonly verdict: string;
  readonly checks: readonly { readonly id: string; readonly status: string; readonly detail: string }[];
}
const failures = ({ checks }: Report): string[] =>
  checks.filter(({ status }) => status === 'fail').map(({ id }) => id);
const judge = (made: Composite, changes: Partial<EvidenceQuestion> = {}) =>
  verifyEvidence(questionFor(made, changes));
/** Rejected, and these checks failed, among others only where a `*` says so. */
function assertRejected(report: Report, ...expected: string[]) {
  assert.is(report.verdict, 'reject', expected.join());
  const found = failures(report);
  if (expected.at(-1) !== '*') assert.equal(found.sort(), expected.sort());
  else for (const id of expected.slice(0, -1)) assert.ok(found.includes(id), `${id}: ${found.join(', ')}`);
}

const card = await makeCard();
const made = await composite({ cards: [card] });
const { document } = made;

test('a TD with its GPU is accepted under the strict policy, and says HARDWARE', async () => {
  const report = await judge(made);
  assert.equal(failures(report), []);
  assert.is(report.verdict, 'accept');
  assert.ok(report.checks.every(({ status }) => status === 'pass'));
  assert.ok(report.checks.every(({ detail }) => !detail.includes('SIMULATED')));
  assert.is(report.claims?.label, 'HARDWARE');
  assert.is(report.claims?.platform, 'tdx');
  assert.is(report.digest, evidenceDigest(document));
  const ids = report.checks.map(({ id }) => id);
  for (const id of ['gpu.bound', 'gpu.nonce', 'gpu.cc-mode', 'gpu.measurements', 'tdx.tcb-level']) {
    assert.ok(ids.includes(id), id);
  }
  assert.is(new Set(ids).size, ids.length);
});

test("the vendors' roots are the only ones trusted unless others are named", async () => {
  const report = await judge(made, { roots: undefined });
  assertRejected(report, 'tdx.pck-chain', 'gpu.chain', '*');
});

test('two GPUs are accepted where two are demanded, and not the same one twice', async () => {
  const policy = policyFor({ gpu: { count: 2 } });
  const pair = await composite({ cards: [card, await makeCard(9)] });
  assert.is((await judge(pair, { policy })).verdict, 'accept');
  assertRejected(await judge(pair), 'gpu.count');
  const twice = await composite({ cards: [card, card] });
  assertRejected(await judge(twice, { policy }), 'gpu.distinct');
});

test('wrong nonce: a replay, and old evidence under a new nonce', async () => {
  const other = hex(randomBytes(32));
  assertRejected(await judge(made, { nonce: other }), 'binding.nonce');
  // The nonce is in the report data and in what the GPU was asked with.
  const renamed = { ...document, nonce: other };
  assertRejected(
    await judge(made, { document: renamed, nonce: other }),
    'binding.report-data',
    'gpu.bound',
    'gpu.nonce',
  );
  const elsewhere = await composite({ cards: [card], report: { nonce: randomBytes(32) } });
  assertRejected(await judge(elsewhere), 'gpu.nonce');
});

test('another key, commitment, enclave, time or TLS key than the one that is bound', async () => {
  const xWing = base64url(new Uint8Array(1216));
  const key = base64url(randomBytes(32));
  const changes: Partial<EvidenceDocument>[] = [
    { hpkeKey: key },
    { xWingKey: xWing },
    { xWingKey: null },
    { receiptKey: key },
    { tlsKey: 'ab'.repeat(32) },
    { enclave: 'enclave-2' },
    { time: document.time + 1 },
  ];
  for (const change of changes) {
    const report = await judge(made, { document: { ...document, ...change } });
    assertRejected(report, 'binding.report-data', 'gpu.bound', 'gpu.nonce');
  }
});

test('another model commitment', async () => {
  assertRejected(await judge(made, { modelCommitment: '1' }), 'binding.model-commitment');
  const renamed = { ...document, modelCommitment: '1' };
  assertRejected(
    await judge(made, { document: renamed, modelCommitment: '1' }),
    'binding.report-data',
    'gpu.bound',
    'gpu.nonce',
  );
});

test('a GPU is never accepted unless the CPU binds that very evidence', async () => {
  // Unbound: the TD's report data leaves the GPU out, and the document says so or lies.
  const unbound = await composite({ cards: [card], unbound: true });
  assertRejected(await judge(unbound), 'gpu.bound', 'binding.required');
  const lax = policyFor({ requiredBinding: ['nonce'], gpu: {} });
  const report = await judge(unbound, { policy: lax });
  assertRejected(report, 'gpu.bound');
  assert.match(report.checks.find(({ id }) => id === 'gpu.bound')!.detail, /nothing binds/);
  const lying = { ...unbound.document, gpuEvidence: document.gpuEvidence };
  assertRejected(await judge(unbound, { document: lying, policy: lax }), 'gpu.bound', 'binding.report-data');

  // Swapped: another genuine GPU that answered the same nonce.
  const swapped = await composite({ cards: [await makeCard(7)] });
  const other = { ...document, gpu: swapped.document.gpu };
  assertRejected(await judge(made, { document: other }), 'gpu.bound', 'gpu.nonce');
  const renamed = { ...other, gpuEvidence: swapped.document.gpuEvidence };
  assertRejected(await judge(made, { document: renamed }), 'gpu.bound', 'binding.report-data', 'gpu.nonce');

  // Missing: the evidence binds a GPU that was left out, or there is none and the policy demands it.
  const missing = { ...document, gpu: null };
  assertRejected(await judge(made, { document: missing }), 'gpu.bound');
  assertRejected(await judge(made, { document: missing, policy: lax }), 'gpu.bound');
  const alone = await composite({ cards: [] });
  assertRejected(await judge(alone), 'gpu.bound', 'binding.required');
  assert.is((await judge(alone, { policy: lax })).verdict, 'accept');
  assertRejected(await judge(alone, { policy: policyFor({ requiredBinding: ['nonce'] }) }), 'gpu.bound');
});

test('what the guest says of its GPU is bound, and has to be good', async () => {
  const devtools = await composite({ cards: [card], state: { ccMode: 'devtools' } });
  assertRejected(await judge(devtools), 'gpu.cc-mode');
  const off = await composite({ cards: [card], state: { ccMode: 'off', ready: false } });
  assertRejected(await judge(off), 'gpu.cc-mode', 'gpu.ready');
  const lying = { ...devtools.document, gpu: { ...devtools.document.gpu!, ccMode: 'on' as const } };
  assertRejected(await judge(devtools, { document: lying }), 'gpu.bound');
});

test('debug, a rolled-back TCB and a wrong measurement', async () => {
  const debugging = (body: Uint8Array) => {
    body[120]! |= 1;
  };
  const debug = await composite({ cards: [card], td: { report: debugging } });
  assertRejected(await judge(debug), 'tdx.debug', 'policy.debug');
  const old = await composite({ cards: [card], td: { svns: [1, ...new Array(15).fill(0)] } });
  assertRejected(await judge(old), 'tdx.tcb-level', '*');
  const measured = await composite({ cards: [card], td: { report: (body) => void body.fill(1, 136, 184) } });
  assertRejected(await judge(measured), 'tdx.measurement', '*');
  const none = policyFor({ measurements: undefined });
  assertRejected(await judge(made, { policy: none }), 'policy.measurement');
});

test('stale evidence, stale collateral, and collateral of the future', async () => {
  assert.is((await judge(made, { now: later(300) })).verdict, 'accept');
  assertRejected(await judge(made, { now: later(301) }), 'evidence.fresh');
  assertRejected(await judge(made, { usedAt: later(-61) }), 'evidence.fresh');
  assertRejected(await judge(made, { usedAt: new Date(Number.NaN) }), 'evidence.fresh');
  // A month later the lists of what is revoked have expired, however fresh the receipt was.
  const late = await judge(made, { now: later(31 * 86_400), usedAt: NOW });
  assertRejected(late, 'tdx.tcb-info-dates', '*');
  assert.match(late.checks.find(({ id }) => id === 'tdx.tcb-info-dates')!.detail, /stale|expired|until/i);
  assertRejected(await judge(made, { collateral: NO_FILES }), 'tdx.tcb-info-signature', '*');
});

test('collateral that is named is a help: what is missing is listed, and nothing fails for it', async () => {
  const named = await composite({ cards: [card], collateral: ['aa'.repeat(32), 'bb'.repeat(32)] });
  const digests = new Set(['aa'.repeat(32)]);
  const some = await judge(named, { collateral: { ...named.collateral, digests } });
  const check = some.checks.find(({ id }) => id === 'evidence.collateral');
  assert.is(some.verdict, 'accept');
  assert.equal(
    [check?.status, check?.detail],
    ['skipped', 'not at hand, of 2 files named: bbbbbbbbbbbbbbbb'],
  );
});

test('an SEV-SNP guest with its GPU: accepted, and refused where anything is not as it should be', async () => {
  const policy = policyFor({
    platforms: ['sev-snp', 'nvidia-gpu'],
    measurements: [`${hex(utf8('measurement'))}${'00'.repeat(37)}`],
    amd: { minimumTcb: { snp: 4 }, chipIds: [hex(CHIP)] },
  });
  const snp = (variation: Variation = {}) => composite({ cards: [card], cpu: 'sev-snp', ...variation });
  const guest = await snp();
  const report = await judge(guest, { policy });
  assert.equal(failures(report), []);
  assert.is(report.verdict, 'accept');
  assert.equal([report.claims?.label, report.claims?.platform], ['HARDWARE', 'sev-snp']);
  const { bundle } = await receiptBy(guest);
  const { collateral, roots } = guest;
  const question = { policy, now: later(20), collateral, roots, releasePolicy: policyDigest(policyFor()) };
  assert.is((await verifyReceipt(bundle, question)).verdict, 'accept');

  const debug = await snp({ snp: { policy: (1n << 17n) | (1n << 19n) } });
  assertRejected(await judge(debug, { policy }), 'snp.debug', 'policy.debug');
  const unbound = await snp({ unbound: true });
  assertRejected(await judge(unbound, { policy }), 'gpu.bound', 'binding.required');
  const elsewhere = await snp({ snp: { reportData: new Uint8Array(64) } });
  assertRejected(await judge(elsewhere, { policy }), 'binding.report-data', 'gpu.bound');
  assertRejected(await judge(guest), 'policy.platform', 'snp.platform-allowed', '*');
  assertRejected(await judge(guest, { policy, collateral: made.collateral }), 'snp.chain-revocation');
  const chips = { ...policy, amd: { ...policy.amd!, chipIds: ['00'.repeat(8)] } };
  assertRejected(await judge(guest, { policy: chips }), 'snp.chip-allowed');
  const bare = { ...guest.document, cpu: { ...guest.document.cpu, certificates: [] } };
  assertRejected(await judge(guest, { policy, document: bare }), 'snp.certificate', '*');
});

test('a simulated part makes the whole SIMULATED, and needs a policy that says so', async () => {
  const root = await createSimulatedRoot();
  const provider = simulatedProvider(await createSimulatedPlatform(root));
  const binding = { ...made.binding, gpuEvidence: undefined };
  const gpu = await provider.gpus.answer(gpuNonce(binding));
  const bound = bindGpu(binding, gpu);
  const cpu = await provider.sign(reportData(bound), 'runner');
  const both = evidenceDocument({ cpu, gpu }, bound);
  const lax = {
    platforms: ['simulated', 'tdx', 'nvidia-gpu'],
    measurements: [measure('runner'), 'bb'.repeat(48)],
    minimumTcb: { simulated: [1] },
    simulated: true,
    simulatedRoots: [root.fingerprint],
  };
  const ask = (document: EvidenceDocument, changes: object = {}) =>
    judge(made, { document, policy: policyFor({ ...lax, ...changes }) });
  const report = await ask(both);
  assert.equal(failures(report), []);
  assert.equal([report.verdict, report.claims?.label], ['accept', 'SIMULATED']);
  assert.ok(report.checks.every(({ detail }) => detail.startsWith('SIMULATED: ')));
  assertRejected(await ask(both, { simulated: false }), 'policy.simulated-allowed');
  assertRejected(await ask(both, { simulatedRoots: [] }), 'simulated.root-pinned', 'gpu.root-pinned');
  assertRejected(await ask(both, { gpu: { count: 2 } }), 'gpu.count');
  assertRejected(await ask({ ...both, hardware: true }), 'evidence.hardware');
  const off = { ...both, gpu: { ...both.gpu!, ccMode: 'off' as const, ready: false } };
  assertRejected(await ask(off), 'gpu.bound', 'gpu.cc-mode', 'gpu.ready');
  const twice = { ...both, gpu: { ...both.gpu!, devices: [...both.gpu!.devices, ...both.gpu!.devices] } };
  assertRejected(await ask(twice, { gpu: { count: 2 } }), 'gpu.bound', 'gpu.distinct');

  // A real GPU beside a simulated CPU is simulated as a whole.
  const real = bindGpu(binding, made.gpu);
  const mixed = evidenceDocument(
    { cpu: await provider.sign(reportData(real), 'runner'), gpu: made.gpu },
    real,
  );
  assert.is(mixed.hardware, false);
  const half = await ask(mixed);
  assert.is(half.verdict, 'accept');
  assert.ok(half.checks.every(({ detail }) => detail.startsWith('SIMULATED: ')));
  assertRejected(await ask({ ...mixed, gpu: both.gpu }), 'gpu.bound');
});

test('a part that is not what the document says', async () => {
  const sgx = { ...document, cpu: { ...document.cpu, format: 'sgx' } };
  assertRejected(await judge(made, { document: sgx }), 'evidence.format');
  const snp = { ...document, cpu: { ...document.cpu, format: 'sev-snp' } };
  assertRejected(await judge(made, { document: snp }), 'snp.report', '*');
  const simulated = { ...document, cpu: { ...document.cpu, format: 'simulated' } };
  const report = await judge(made, { document: simulated });
  assertRejected(report, 'policy.simulated-allowed', 'simulated.encoding', '*');
  assert.ok(report.checks.every(({ detail }) => detail.startsWith('SIMULATED: ')));
  assertRejected(await judge(made, { document: { ...document, hardware: false } }), 'evidence.hardware');
  const [device] = document.gpu!.devices;
  const gpu = { ...document.gpu!, devices: [{ ...device!, format: 'simulated-gpu' }] };
  assertRejected(await judge(made, { document: { ...document, gpu } }), 'gpu.bound', 'gpu.encoding', '*');
  const switched = { ...document.gpu!, devices: [{ ...device!, format: 'nvidia-switch' }] };
  assertRejected(await judge(made, { document: { ...document, gpu: switched } }), 'gpu.bound', 'gpu.format');
  const unknown = { ...document.gpu!, devices: [{ ...device!, format: 'other' }] };
  const strange = await judge(made, { document: { ...document, gpu: unknown } });
  assertRejected(strange, 'gpu.format', 'gpu.bound', 'evidence.hardware');
});

test('a policy without GPUs refuses those that come', async () => {
  const policy = policyFor({ platforms: ['tdx'], requiredBinding: ['nonce'], gpu: undefined });
  assertRejected(await judge(made, { policy }), 'gpu.platform-allowed');
  const chips = { devices: ['00'.repeat(32)] };
  assertRejected(await judge(made, { policy: policyFor({ gpu: chips }) }), 'gpu.device-allowed');
});

test('one byte of every part is enough: quote, GPU report, each certificate', async () => {
  const flip = (text: string, at: number): string => {
    const bytes = fromBase64url(text);
    bytes[at < 0 ? bytes.length + at : at]! ^= 1;
    return base64url(bytes);
  };
  const { cpu, gpu } = document;
  const [device] = gpu!.devices;
  for (const at of [0, 48, 200, 520, 583, 640, 700, 1100]) {
    const flipped = { ...document, cpu: { ...cpu, evidence: flip(cpu.evidence, at) } };
    assert.is((await judge(made, { document: flipped })).verdict, 'reject', `quote ${at}`);
  }
  for (const at of [0, 4, 40, 60, 900, -1, -97]) {
    const devices = [{ ...device!, evidence: flip(device!.evidence, at) }];
    const flipped = { ...document, gpu: { ...gpu!, devices } };
    assertRejected(await judge(made, { document: flipped }), 'gpu.bound', '*');
  }
  for (const [i, text] of device!.certificates.entries()) {
    const devices = [{ ...device!, certificates: device!.certificates.with(i, flip(text, -1)) }];
    const flipped = { ...document, gpu: { ...gpu!, devices } };
    assertRejected(await judge(made, { document: flipped }), 'gpu.bound', '*');
  }
});

test('a policy that demands X-Wing gets that key to seal to, and needs one', async () => {
  const policy = policyFor({ sealing: 'x-wing' });
  const report = await judge(made, { policy });
  assert.is(report.verdict, 'accept');
  const { sealed } = await sealTo(report.sealingKey!, randomBytes(10), { info: SEALING_INFO.infer });
  assert.is((await open(made.sealing, sealed, { info: SEALING_INFO.infer })).plaintext.length, 10);
  assert.is((await judge(made)).sealingKey?.length, 32);
  const classic = await composite({ cards: [card], binding: { xWingKey: undefined } });
  assertRejected(await judge(classic, { policy }), 'policy.sealing');
  assert.is((await judge(classic)).verdict, 'accept');
});

// Issue 11, 3: a host may bring the vendor's answers along; it cannot make them, nor hide behind old ones.
test('answers about the GPUs may come along with the document, and are judged like any', async () => {
  const whole = await composite({ stapled: (answers) => answers });
  assert.is((await judge(whole)).verdict, 'accept');
  assert.ok((whole.document.stapled?.length ?? 0) > 2);
  assertRejected(await judge(await composite({ stapled: () => [] })), 'gpu.chain-revocation');
  const stale = await answerAbout(4, { nextUpdate: later(-60) });
  const others = (answers: readonly Uint8Array[]) => answers.slice(0, 2);
  assertRejected(
    await judge(await composite({ stapled: (answers) => [...others(answers), stale] })),
    'gpu.chain-revocation',
  );
  const forged = await answerAbout(4, { responderExtensions: [], by: undefined, certificates: undefined });
  assertRejected(
    await judge(await composite({ stapled: (answers) => [...others(answers), forged] })),
    'gpu.chain-revocation',
  );
  // What the verifier knows counts, however good what came along.
  const revoked = await answerAbout(4, { status: 'revoked', reason: 1 });
  const collateral = sortFiles([...whole.files, { name: 'answer', bytes: revoked }]);
  assertRejected(await judge(whole, { collateral }), 'gpu.chain-revocation');
  const garbage = { ...whole.document, stapled: ['AAAA'] };
  assertRejected(await judge(whole, { document: garbage }), 'evidence.document', '*');
});

test('the receipt carries all of it, and verifies with nothing but policy and collateral', async () => {
  const { collateral, roots } = made;
  const { bundle, nonce } = await receiptBy(made);
  const question = { policy: policyFor(), now: later(20), collateral, roots, request, response, nonce };
  const report = await verifyReceipt(bundle, question);
  assert.equal(failures(report), []);
  assert.is(report.verdict, 'accept');
  assert.is(report.claims?.label, 'HARDWARE');
  assert.is(report.claims?.modelCommitment, COMMITMENT);
  // A day later it is as good: age counts from evidence to receipt.
  assert.is((await verifyReceipt(bundle, { ...question, now: later(86_400) })).verdict, 'accept');
  assertRejected(await verifyReceipt(bundle, { ...question, roots: undefined }), 'tdx.pck-chain', '*');
  assertRejected(
    await verifyReceipt(bundle, { ...question, policy: BUILT_IN.strict }),
    'policy.measurement',
    '*',
  );

  // The signature covers the whole document: other GPU evidence under the same receipt is another document.
  const other = await composite({ cards: [await makeCard(8)] });
  const { bundle: swapped } = await receiptBy(made, { ...document, gpu: other.document.gpu });
  assertRejected(await verifyReceipt(swapped, question), 'gpu.bound', 'gpu.nonce', 'receipt.nonce');
  for (let at = 0; at < bundle.length; at += 1009) {
    const flipped = bundle.slice();
    flipped[at]! ^= 1;
    assert.is((await verifyReceipt(flipped, question)).verdict, 'reject', `byte ${at}`);
  }
});

test('the saved receipt still verifies', async () => {
  const { bundle, policy, files, now, roots } = JSON.parse(readFileSync(VECTOR, 'utf8')) as PageQuestion;
  const named = files.map((text, i) => ({ name: `file ${i}`, bytes: fromBase64url(text) }));
  const report = await verifyReceipt(fromBase64url(bundle), {
    policy: parsePolicy(policy),
    now: new Date(now),
    collateral: sortFiles(named),
    roots,
    request,
    response,
  });
  assert.equal(failures(report), []);
  assert.is(report.verdict, 'accept');
});

test('within a session a receipt is judged by the report that accepted its evidence', async () => {
  const { collateral, roots } = made;
  const accepted = await judge(made);
  const { bundle } = await receiptBy(made);
  // Without collateral only that report can have said so.
  const question = { policy: policyFor(), now: later(20), accepted };
  const report = await verifyReceipt(bundle, question);
  assert.is(report.verdict, 'accept');
  assert.is(report.claims?.label, 'HARDWARE');
  const short = policyFor({ maxAgeSeconds: 9 });
  const stale = await verifyReceipt(bundle, {
    ...question,
    policy: short,
    releasePolicy: report.claims!.policy,
  });
  assertRejected(stale, 'evidence.fresh');
  // Any other document, and a report that did not accept, are judged anew.
  const { bundle: other } = await receiptBy(await composite({ cards: [card] }));
  assert.is((await verifyReceipt(other, question)).verdict, 'reject');
  const rejected = await judge(made, { nonce: '00'.repeat(32) });
  assert.is((await verifyReceipt(bundle, { ...question, accepted: rejected })).verdict, 'reject');
  const again = { ...question, accepted: rejected, collateral, roots };
  assert.is((await verifyReceipt(bundle, again)).verdict, 'accept');
});

test.run();
