/**
 * Receipts of answers in text: what they are over, that they are no receipts of rows nor the other way round, and that those
 * which were saved still verify (VOUCH_SAVE_VECTORS=1 writes them anew, when the version has changed).
 */
import { readFileSync, writeFileSync } from 'node:fs';
import { evidenceDigest } from '../../protocols/attestation/document.ts';
import { parsePolicy, policyDigest } from '../../protocols/attestation/policy.ts';
import { answerBytes, questionBytes, type TextQuestion } from '../../protocols/chat.ts';
import { generateSigner } from '../../protocols/cose.ts';
import { base64url, fromBase64url, fromHex, hex, randomBytes } from '../../protocols/encoding.ts';
import { signManifest, verifyManifest } from '../../protocols/manifest.ts';
import {
  encodeReceiptBundle,
  type ReceiptClaims,
  type ReceiptReport,
  readReceipt,
  requestDigest,
  responseDigest,
  signReceipt,
  verifyReceipt,
} from '../../protocols/receipt.ts';
import { DEFAULT_TERMS, TEXT_TERMS } from '../../protocols/terms.ts';
import { assert, suite } from '../harness.ts';
import { attested, COMMITMENT, later } from './attested.ts';

const test = suite('text receipt', { timeoutMs: 60_000 });
const VECTOR = `${import.meta.dirname}/../vectors/text-receipt.json`;

const QUESTION: TextQuestion = {
  messages: [{ role: 'user', content: 'What is a bank?' }],
  maxTokens: 16,
  temperature: 0.5,
  topP: 0.9,
  seed: 7,
};
const ANSWER = { text: 'A place for money — and for 🦆.' };
const TEXT = {
  engine: { name: 'llama.cpp', version: 'b6000 (node-llama-cpp 3.21.1)', build: 'cpu 0123456789abcdef' },
  finish: 'stop',
  promptTokens: 6,
  completionTokens: 9,
} as const;
const request = { salt: new Uint8Array(32).fill(1), body: questionBytes(QUESTION) };
const response = { salt: new Uint8Array(32).fill(2), body: answerBytes(ANSWER) };

async function receipted(changes: Partial<ReceiptClaims> = {}) {
  const enclave = await attested();
  const content = {
    name: 'chat',
    commitment: COMMITMENT,
    architecture: {},
    policy: policyDigest(enclave.policy),
    sealedModel: '00'.repeat(32),
    releaseKeys: [base64url(enclave.signer.publicKey)],
    serial: 1,
  };
  const vendor = await generateSigner();
  const [manifest, ofRows] = await Promise.all([
    signManifest(vendor, { ...content, commitmentKind: 'hash', terms: TEXT_TERMS }).then(verifyManifest),
    signManifest(vendor, { ...content, terms: DEFAULT_TERMS }).then(verifyManifest),
  ]);
  const claims: ReceiptClaims = {
    enclave: 'enclave-1',
    evidence: evidenceDigest(enclave.document),
    policy: policyDigest(enclave.policy),
    modelCommitment: COMMITMENT,
    manifest: manifest.digest,
    answers: 'text',
    text: TEXT,
    request: requestDigest(request),
    response: responseDigest(response),
    nonce: hex(randomBytes(32)),
    sequence: 0,
    time: later(10),
    ...changes,
  };
  const { receipt } = await signReceipt(enclave.signer, claims);
  const bundle = encodeReceiptBundle({ receipt, evidence: enclave.document });
  return { ...enclave, claims, bundle, manifest, ofRows };
}
const failures = ({ checks }: ReceiptReport): string[] =>
  checks.filter(({ status }) => status === 'fail').map(({ id }) => id);

test('it says what computed, how the text ended, and is over question and text', async () => {
  const { bundle, policy, manifest, claims } = await receipted();
  const ask = (question: object) => verifyReceipt(bundle, { policy, now: later(20), manifest, ...question });
  const good = await ask({ request, response, nonce: claims.nonce });
  assert.equal([good.verdict, failures(good)], ['accept', []]);
  assert.equal(good.claims?.text, TEXT);
  const body = (changes: object) => ({ ...request, body: questionBytes({ ...QUESTION, ...changes }) });
  for (const changes of [
    { seed: 8 },
    { maxTokens: 17 },
    { temperature: 0 },
    { tools: [] },
    { messages: [{ role: 'system' as const, content: 'What is a bank?' }] },
  ])
    assert.equal(
      failures(await ask({ request: body(changes) })),
      ['receipt.request'],
      JSON.stringify(changes),
    );
  for (const answer of [{ text: '' }, { text: `${ANSWER.text} ` }, { ...ANSWER, toolCalls: [] }])
    assert.equal(failures(await ask({ response: { ...response, body: answerBytes(answer) } })), [
      'receipt.response',
    ]);
});

test('text and calls of tools cannot be moved into each other', () => {
  const calls = [{ id: '1', function: { name: 'f', arguments: '{}' } }];
  const one = answerBytes({ text: 'a', toolCalls: calls });
  const other = answerBytes({ text: `a",${JSON.stringify(calls)}` });
  assert.not.equal(hex(one), hex(other));
});

test('a receipt of text is none of rows, nor the other way round', async () => {
  const { bundle, policy, ofRows } = await receipted();
  const report = await verifyReceipt(bundle, { policy, now: later(20), manifest: ofRows });
  assert.ok(failures(report).includes('receipt.answers'));
  const { text: _, ...claims } = (await receipted()).claims;
  const rows = await receipted({ ...claims, answers: 'decision', text: undefined as never });
  const asText = await verifyReceipt(rows.bundle, {
    policy: rows.policy,
    now: later(20),
    manifest: rows.manifest,
  });
  assert.ok(failures(asText).includes('receipt.answers'));
  // A signer cannot leave out what belongs to its version.
  await receipted({ text: undefined as never }).then(
    () => assert.unreachable('text without what computed it'),
    () => {},
  );
});

test('a changed byte is refused wherever it is', async () => {
  const { bundle, policy } = await receipted();
  for (let at = 0; at < bundle.length; at += 5) {
    const flipped = bundle.with(at, bundle[at]! ^ (1 << (at & 7)));
    assert.is((await verifyReceipt(flipped, { policy, now: later(20) })).verdict, 'reject', `byte ${at}`);
  }
});

test('a saved receipt still verifies', async () => {
  if (process.env.VOUCH_SAVE_VECTORS) {
    const made = await receipted();
    const vector = {
      version: 4,
      policy: made.policy,
      bundle: base64url(made.bundle),
      question: QUESTION,
      answer: ANSWER,
      salts: { request: hex(request.salt), response: hex(response.salt) },
    };
    writeFileSync(VECTOR, `${JSON.stringify(vector, null, 2)}\n`);
  }
  const saved = JSON.parse(readFileSync(VECTOR, 'utf8'));
  const bundle = fromBase64url(saved.bundle);
  const report = await verifyReceipt(bundle, {
    policy: parsePolicy(saved.policy),
    now: later(20),
    request: { salt: fromHex(saved.salts.request), body: questionBytes(saved.question) },
    response: { salt: fromHex(saved.salts.response), body: answerBytes(saved.answer) },
  });
  assert.equal([report.verdict, failures(report)], ['accept', []]);
  assert.equal(readReceipt(bundle)?.text, TEXT);
});

test.run();
