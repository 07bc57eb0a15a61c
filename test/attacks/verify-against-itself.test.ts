/**
 * The attacker wants a receipt, a proof or evidence to look checked where it was not. He made the file, so he controls all
 * that it says of itself: a check that compares the file with itself passes whatever he writes. Each check that can pass
 * must fail, too, when one side alone is changed; what the verifier does not know from elsewhere is skipped.
 */
import { readFileSync } from 'node:fs';
import type { Check } from '../../protocols/attestation/checklist.ts';
import { evidenceDigest } from '../../protocols/attestation/document.ts';
import { sortFiles } from '../../protocols/attestation/evidence-files.ts';
import { parsePolicy, policyDigest } from '../../protocols/attestation/policy.ts';
import { verifyDocument } from '../../protocols/attestation/verify.ts';
import { generateSigner } from '../../protocols/cose.ts';
import { base64url, fromBase64url, hex, randomBytes, utf8 } from '../../protocols/encoding.ts';
import { signManifest, verifyManifest } from '../../protocols/manifest.ts';
import {
  encodeReceiptBundle,
  type ReceiptClaims,
  type ReceiptQuestion,
  requestDigest,
  responseDigest,
  signReceipt,
  verifyReceipt,
} from '../../protocols/receipt.ts';
import { DEFAULT_TERMS } from '../../protocols/terms.ts';
import { verifyProof } from '../../runtime/client/client.ts';
import { closeSnarkjs } from '../../runtime/prove/snarkjs.ts';
import { assert, suite } from '../harness.ts';
import { attested, COMMITMENT, later } from '../protocols/attested.ts';
import type { PageQuestion } from '../protocols/composite-page.ts';
import { policies, publish, NOW as STORY_NOW, savedProof } from '../protocols/document-scenario.ts';

const test = suite('attack: verify against itself', { timeoutMs: 120_000 });

const request = { salt: new Uint8Array(32).fill(1), body: utf8('["A11","6"]') };
const response = { salt: new Uint8Array(32).fill(2), body: utf8('[1,"good"]') };
const other = '00'.repeat(32);

/** A receipt, and the question of a verifier who knows everything. */
async function receipted(changes: Partial<ReceiptClaims> = {}) {
  const enclave = await attested();
  const manifest = verifyManifest(
    await signManifest(await generateSigner(), {
      name: 'credit',
      commitment: COMMITMENT,
      architecture: {},
      terms: DEFAULT_TERMS,
      policy: policyDigest(enclave.policy),
      sealedModel: other,
      releaseKeys: [base64url(enclave.signer.publicKey)],
      serial: 1,
    }),
  );
  const nonce = hex(randomBytes(32));
  const { receipt } = await signReceipt(enclave.signer, {
    enclave: 'enclave-1',
    evidence: evidenceDigest(enclave.document),
    policy: manifest.manifest.policy,
    modelCommitment: COMMITMENT,
    manifest: manifest.digest,
    answers: 'decision',
    request: requestDigest(request),
    response: responseDigest(response),
    nonce,
    sequence: 0,
    time: later(10),
    ...changes,
  });
  const everything = {
    policy: enclave.policy,
    now: later(20),
    manifest,
    nonce,
    evidenceNonce: enclave.nonce,
    request,
    response,
  } satisfies ReceiptQuestion;
  return { bundle: encodeReceiptBundle({ receipt, evidence: enclave.document }), everything };
}

const ids = (checks: readonly Pick<Check, 'id' | 'status'>[], status: Check['status']): string[] =>
  checks.filter((check) => check.status === status).map(({ id }) => id);

/** What a question holds -> the checks that need it, and another value with which they fail. */
const ASKED: Readonly<Record<string, { readonly checks: readonly string[]; readonly wrong: object }>> = {
  nonce: { checks: ['receipt.nonce'], wrong: { nonce: other } },
  evidenceNonce: { checks: ['binding.nonce'], wrong: { evidenceNonce: other } },
  request: { checks: ['receipt.request'], wrong: { request: response } },
  response: { checks: ['receipt.response'], wrong: { response: request } },
  manifest: {
    checks: ['receipt.policy', 'receipt.manifest', 'receipt.answers', 'binding.model-commitment'],
    wrong: {
      manifest: {
        digest: other,
        manifest: { policy: other, commitment: '1', terms: { ...DEFAULT_TERMS, answers: 'exact' } },
      },
    },
  },
};
/** What the receipt says -> the check that compares it with what another key signed, or with a hash. */
const SAID: Readonly<Record<string, Partial<ReceiptClaims>>> = {
  'receipt.evidence': { evidence: other },
  'receipt.enclave': { enclave: 'enclave-2' },
  'receipt.model-commitment': { modelCommitment: '5' },
  'receipt.time': { time: later(200) },
};
/** Signatures, and forms that are read: there is nothing to compare. */
const READ = ['receipt.bundle', 'receipt.signature', 'receipt.claims', 'receipt.id'];

test('who knows nothing gets no pass for what he would have to know', async () => {
  const { bundle, everything } = await receipted();
  const { policy, now } = everything;
  const full = await verifyReceipt(bundle, everything);
  assert.is(full.verdict, 'accept', JSON.stringify(full.checks));
  const known = Object.values(ASKED).flatMap(({ checks }) => checks);
  assert.equal(ids(full.checks, 'skipped'), ['gpu.bound']);

  const nothing = await verifyReceipt(bundle, { policy, now });
  assert.equal(ids(nothing.checks, 'skipped').sort(), [...known, 'gpu.bound'].sort());
  for (const { id, status, detail } of nothing.checks)
    if (status === 'skipped') assert.match(detail, /not compared|expected|no GPU evidence/, id);
});

test('each part of a question: without it its checks are skipped, with another value they fail', async () => {
  const { bundle, everything } = await receipted();
  for (const [part, { checks, wrong }] of Object.entries(ASKED)) {
    const without = await verifyReceipt(bundle, { ...everything, [part]: undefined });
    assert.equal(ids(without.checks, 'skipped').sort(), [...checks, 'gpu.bound'].sort(), part);
    const against = await verifyReceipt(bundle, { ...everything, ...wrong });
    assert.is(against.verdict, 'reject', part);
    for (const check of checks) assert.ok(ids(against.checks, 'fail').includes(check), check);
  }
});

test('each check of a receipt that passes fails when the receipt alone says something else', async () => {
  const { bundle, everything } = await receipted();
  const asked = Object.values(ASKED).flatMap(({ checks }) => checks);
  const passed = ids((await verifyReceipt(bundle, everything)).checks, 'pass');
  const receipts = passed.filter((id) => id.startsWith('receipt.'));
  // A new check has to be in one of these tables.
  assert.equal(
    receipts.sort(),
    [...new Set([...READ, ...Object.keys(SAID), ...asked])].filter((id) => id.startsWith('receipt.')).sort(),
  );
  for (const [check, changes] of Object.entries(SAID)) {
    const lied = await receipted(changes);
    const { checks, verdict } = await verifyReceipt(lied.bundle, lied.everything);
    assert.is(verdict, 'reject', check);
    assert.ok(ids(checks, 'fail').includes(check), `${check}: ${ids(checks, 'fail')}`);
  }
});

test('an evidence document alone: neither its nonce nor its commitment is a pass', async () => {
  const { document, policy, nonce } = await attested();
  const question = { policy, now: later(1) };
  const alone = await verifyDocument(document, { ...question, nonce: undefined });
  assert.is(alone.verdict, 'accept');
  assert.equal(ids(alone.checks, 'skipped').sort(), [
    'binding.model-commitment',
    'binding.nonce',
    'gpu.bound',
  ]);
  const asked = await verifyDocument(document, { ...question, nonce, modelCommitment: COMMITMENT });
  assert.equal(ids(asked.checks, 'skipped'), ['gpu.bound']);
  const wrong = await verifyDocument(document, { ...question, nonce: other, modelCommitment: '1' });
  assert.equal(ids(wrong.checks, 'fail').sort(), ['binding.model-commitment', 'binding.nonce']);
});

test('the saved receipt of a stranger: what only its client knows is skipped', async () => {
  const file = new URL('../vectors/composite-receipt.json', import.meta.url);
  const saved = JSON.parse(readFileSync(file, 'utf8')) as PageQuestion;
  const named = saved.files.map((text, i) => ({ name: `file ${i}`, bytes: fromBase64url(text) }));
  const { checks, verdict } = await verifyReceipt(fromBase64url(saved.bundle), {
    policy: parsePolicy(saved.policy),
    now: new Date(saved.now),
    collateral: sortFiles(named),
    roots: saved.roots,
  });
  assert.is(verdict, 'accept', JSON.stringify(ids(checks, 'fail')));
  const known = Object.values(ASKED).flatMap((one) => one.checks);
  for (const id of known) assert.ok(ids(checks, 'skipped').includes(id), id);
});

test('the saved proof: which model and which job it is about is a pass only for who expects them', async (t) => {
  t.defer(() => closeSnarkjs());
  const { prover: policy } = await policies();
  const record = savedProof();
  const published = await publish({ ...record, time: STORY_NOW.toISOString() });
  const { commitment } = record.statement;
  const statusOf = async (id: string, question: { modelCommitment?: string; job?: string }) => {
    const { checks } = await verifyProof(published, { policy, ...question });
    return checks.find((check) => check.id === id)?.status;
  };
  const model = (modelCommitment?: string) =>
    statusOf('proof.model-commitment', modelCommitment === undefined ? {} : { modelCommitment });
  assert.equal([await model(), await model(commitment), await model('1')], ['skipped', 'pass', 'fail']);
  const job = (asked?: string) => statusOf('proof.job', asked === undefined ? {} : { job: asked });
  assert.equal([await job(), await job(record.job), await job('0'.repeat(64))], ['skipped', 'pass', 'fail']);
});

test.run();
