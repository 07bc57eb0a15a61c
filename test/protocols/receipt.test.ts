import { evidenceDigest } from '../../protocols/attestation/document.ts';
import { policyDigest } from '../../protocols/attestation/policy.ts';
import { fieldBytes } from '../../protocols/attestation/report-data.ts';
import { encodeCbor } from '../../protocols/cbor.ts';
import { generateSigner, signStatement } from '../../protocols/cose.ts';
import { base64url, fromHex, hex, randomBytes, sha256Hex, utf8 } from '../../protocols/encoding.ts';
import { VouchError } from '../../protocols/errors.ts';
import { signManifest, verifyManifest } from '../../protocols/manifest.ts';
import {
  decodeReceiptBundle,
  encodeReceiptBundle,
  MAX_BUNDLE_BYTES,
  type ReceiptClaims,
  type ReceiptReport,
  receiptId,
  requestDigest,
  responseDigest,
  signReceipt,
  verifyReceipt,
} from '../../protocols/receipt.ts';
import { DEFAULT_TERMS } from '../../protocols/terms.ts';
import { assert, suite } from '../harness.ts';
import { attested, COMMITMENT, later, NOW, policyFor, type Variation } from './attested.ts';

const test = suite('receipt', { timeoutMs: 60_000 });

const request = { salt: new Uint8Array(32).fill(1), body: utf8('["A11","6"]') };
const response = { salt: new Uint8Array(32).fill(2), body: utf8('[1,"good",[-3,5]]') };

async function receipted(changes: Partial<ReceiptClaims> = {}, variation: Variation = {}) {
  const enclave = await attested(variation);
  const manifest = verifyManifest(
    await signManifest(await generateSigner(), {
      name: 'credit',
      commitment: COMMITMENT,
      architecture: {},
      terms: { ...DEFAULT_TERMS, answers: 'exact' },
      policy: policyDigest(enclave.policy),
      sealedModel: '00'.repeat(32),
      releaseKeys: [base64url(enclave.signer.publicKey)],
      serial: 1,
    }),
  );
  const claims: ReceiptClaims = {
    enclave: 'enclave-1',
    evidence: evidenceDigest(enclave.document),
    policy: policyDigest(enclave.policy),
    modelCommitment: COMMITMENT,
    manifest: manifest.digest,
    answers: 'exact',
    request: requestDigest(request),
    response: responseDigest(response),
    nonce: hex(randomBytes(32)),
    sequence: 7,
    time: later(10),
    ...changes,
  };
  const { id, receipt } = await signReceipt(enclave.signer, claims);
  const bundle = encodeReceiptBundle({ receipt, evidence: enclave.document });
  return { ...enclave, claims, id, receipt, bundle, evidenceNonce: enclave.nonce, manifest };
}

const failures = ({ checks }: ReceiptReport): string[] =>
  checks.filter(({ status }) => status === 'fail').map(({ id }) => id);
function assertRejected(report: ReceiptReport, ...expected: string[]) {
  assert.is(report.verdict, 'reject');
  assert.equal(failures(report), expected);
}

test('a good receipt verifies offline with everything compared', async () => {
  const { bundle, policy, claims, id, evidenceNonce, manifest } = await receipted();
  const report = await verifyReceipt(bundle, {
    policy,
    now: later(86_400),
    manifest,
    nonce: claims.nonce,
    evidenceNonce,
    request,
    response,
  });
  assert.equal(failures(report), []);
  assert.is(report.verdict, 'accept');
  assert.equal(
    report.checks.filter(({ status }) => status !== 'pass').map(({ id }) => id),
    ['gpu.bound'],
  );
  assert.ok(report.checks.every(({ detail }) => detail.startsWith('SIMULATED: ')));
  assert.equal(report.claims, { ...claims, id, label: 'SIMULATED' });
});

test('a stranger without salts verifies the rest', async () => {
  const { bundle, policy } = await receipted();
  const report = await verifyReceipt(bundle, { policy, now: later(20) });
  assert.is(report.verdict, 'accept');
  const skipped = report.checks.filter(({ status }) => status === 'skipped').map(({ id }) => id);
  assert.equal(skipped, [
    'receipt.policy',
    'receipt.manifest',
    'receipt.answers',
    'receipt.nonce',
    'receipt.request',
    'receipt.response',
    'binding.nonce',
    'binding.model-commitment',
    'gpu.bound',
  ]);
});

test('a changed byte is refused wherever it is', async () => {
  const { bundle, policy } = await receipted();
  for (let at = 0; at < bundle.length; at += 4) {
    const flipped = bundle.slice();
    flipped[at]! ^= 1 << ((at >> 2) & 7);
    assert.is((await verifyReceipt(flipped, { policy, now: later(20) })).verdict, 'reject', `byte ${at}`);
  }
  assertRejected(await verifyReceipt(bundle.subarray(1), { policy, now: later(20) }), 'receipt.bundle');
  assertRejected(await verifyReceipt(new Uint8Array(), { policy, now: later(20) }), 'receipt.bundle');
});

test('another body or salt is not what the receipt says', async () => {
  const { bundle, policy, claims, manifest } = await receipted();
  const ask = (question: object) => verifyReceipt(bundle, { policy, now: later(20), ...question });
  assertRejected(await ask({ request: { ...request, body: utf8('["A12","6"]') } }), 'receipt.request');
  assertRejected(await ask({ request: { ...request, salt: response.salt } }), 'receipt.request');
  assertRejected(
    await ask({ response: { ...response, body: utf8('[0,"bad",[5,-3]]') } }),
    'receipt.response',
  );
  assertRejected(await ask({ nonce: hex(randomBytes(32)) }), 'receipt.nonce');
  assertRejected(await ask({ releasePolicy: hex(randomBytes(32)) }), 'receipt.policy');
  assert.is((await ask({ releasePolicy: claims.policy })).verdict, 'accept');
  assertRejected(await ask({ evidenceNonce: hex(randomBytes(32)) }), 'binding.nonce');
  assertRejected(await ask({ modelCommitment: '1' }), 'receipt.model-commitment', 'binding.model-commitment');
  assert.is((await ask({ manifest })).verdict, 'accept');
  const { manifest: content } = manifest;
  const changed = (changes: object) => ({ ...manifest, manifest: { ...content, ...changes } });
  assertRejected(await ask({ manifest: { ...manifest, digest: '00'.repeat(32) } }), 'receipt.manifest');
  assertRejected(await ask({ manifest: changed({ policy: 'ff'.repeat(32) }) }), 'receipt.policy');
  assertRejected(await ask({ manifest: changed({ terms: DEFAULT_TERMS }) }), 'receipt.answers');
  assertRejected(
    await ask({ policy: { ...policy, commitment: '1' } }),
    'receipt.model-commitment',
    'binding.model-commitment',
  );
});

test('a receipt that disagrees with its evidence is refused, though properly signed', async () => {
  const ask = async (changes: Partial<ReceiptClaims>) => {
    const { bundle, policy, manifest } = await receipted(changes);
    return verifyReceipt(bundle, { policy, now: later(20), manifest });
  };
  assertRejected(await ask({ evidence: hex(randomBytes(32)) }), 'receipt.evidence');
  assertRejected(await ask({ enclave: 'enclave-2' }), 'receipt.enclave');
  assertRejected(await ask({ policy: hex(randomBytes(32)) }), 'receipt.policy');
  // The evidence is of the expected model; the receipt names another.
  assertRejected(await ask({ modelCommitment: '5' }), 'receipt.model-commitment');
});

test('a receipt by another key is refused', async () => {
  const { claims, document, policy, receipt } = await receipted();
  const forged = await signReceipt(await generateSigner(), claims);
  const bundle = encodeReceiptBundle({ receipt: forged.receipt, evidence: document });
  assertRejected(await verifyReceipt(bundle, { policy, now: later(20) }), 'receipt.signature');
  // The forger brings evidence of its own: its key signs, but its root is not pinned.
  const own = await attested();
  const genuine = await signReceipt(own.signer, { ...claims, evidence: evidenceDigest(own.document) });
  const other = encodeReceiptBundle({ receipt: genuine.receipt, evidence: own.document });
  assertRejected(await verifyReceipt(other, { policy, now: later(20) }), 'simulated.root-pinned');
  // Evidence without a receipt key signs nothing.
  const mute = encodeReceiptBundle({ receipt, evidence: { ...document, receiptKey: null } });
  assertRejected(await verifyReceipt(mute, { policy, now: later(20) }), 'receipt.signature');
});

test('the evidence has to satisfy the policy, and to be fresh when the receipt was signed', async () => {
  const { bundle, root } = await receipted();
  const ask = (changes: Record<string, unknown>, releasePolicy: string) =>
    verifyReceipt(bundle, { policy: policyFor(root, changes), now: later(20), releasePolicy });
  const released = policyDigest(policyFor(root));
  assert.is((await ask({}, released)).verdict, 'accept');
  assertRejected(await ask({ simulated: false }, released), 'policy.simulated-allowed');
  assertRejected(await ask({ measurements: ['00'.repeat(48)] }, released), 'policy.measurement');
  assertRejected(await ask({ maxAgeSeconds: 9 }, released), 'evidence.fresh');
  const debug = await receipted({}, { debug: true });
  assertRejected(await verifyReceipt(debug.bundle, { policy: debug.policy, now: later(20) }), 'policy.debug');
});

test('a receipt from the future is refused', async () => {
  const { bundle, policy } = await receipted();
  assert.is((await verifyReceipt(bundle, { policy, now: NOW })).verdict, 'accept');
  assertRejected(await verifyReceipt(bundle, { policy, now: later(-60) }), 'receipt.time');
  assertRejected(await verifyReceipt(bundle, { policy, now: new Date(Number.NaN) }), 'receipt.time');
});

test('a signed payload with an unknown field, version or id is refused', async () => {
  const { signer, document, policy, claims, id } = await receipted();
  const payload = {
    v: 3,
    id,
    enclave: claims.enclave,
    evidence: fromHex(evidenceDigest(document)),
    policy: fromHex(claims.policy),
    model: fieldBytes(COMMITMENT),
    manifest: fromHex(claims.manifest),
    answers: claims.answers,
    request: fromHex(claims.request),
    response: fromHex(claims.response),
    nonce: fromHex(claims.nonce),
    sequence: 7,
    time: claims.time.getTime() / 1000,
  };
  const ask = async (changed: object, type = 'application/vouch-receipt+cbor') => {
    const receipt = await signStatement(signer, type, encodeCbor(changed));
    return verifyReceipt(encodeReceiptBundle({ receipt, evidence: document }), { policy, now: later(20) });
  };
  assert.is((await ask(payload)).verdict, 'accept');
  assertRejected(await ask({ ...payload, v: 2 }), 'receipt.claims');
  assertRejected(await ask({ ...payload, note: '' }), 'receipt.claims');
  assertRejected(await ask({ ...payload, answers: 'logits' }), 'receipt.claims');
  assertRejected(await ask({ ...payload, sequence: -1 }), 'receipt.claims');
  assertRejected(await ask({ ...payload, model: new Uint8Array(32).fill(255) }), 'receipt.claims');
  assertRejected(await ask({ ...payload, id: 'x'.repeat(32) }), 'receipt.id');
  assertRejected(await ask(payload, 'application/vouch-proof+json'), 'receipt.signature');
});

test('the id follows from enclave and nonce alone', async () => {
  const { id, claims } = await receipted();
  assert.match(id, /^[0-9a-f]{32}$/);
  assert.is(id, receiptId('enclave-1', claims.nonce));
  const spelled = sha256Hex(utf8('vouch/v1/receipt-id\0enclave-1\0'), fromHex(claims.nonce));
  assert.is(id, spelled.slice(0, 32));
  assert.is.not(receiptId('enclave-2', claims.nonce), id);
});

test('salts hide what a digest is of, and separate the two sides', () => {
  const yes = utf8('yes');
  const digests = [1, 2, 3].map((n) => responseDigest({ salt: new Uint8Array(32).fill(n), body: yes }));
  assert.is(new Set(digests).size, 3);
  const salt = randomBytes(32);
  assert.is.not(requestDigest({ salt, body: yes }), responseDigest({ salt, body: yes }));
  assert.is.not(requestDigest({ salt, body: yes }), sha256Hex(yes));
  assert.throws(() => requestDigest({ salt: new Uint8Array(16), body: yes }), RangeError);
});

test('the digest is HMAC-SHA256 as documented', async () => {
  const key = await crypto.subtle.importKey('raw', request.salt, { name: 'HMAC', hash: 'SHA-256' }, false, [
    'sign',
  ]);
  const bytes = Uint8Array.of(...utf8('vouch/v1/request\0'), ...request.body);
  assert.is(requestDigest(request), hex(new Uint8Array(await crypto.subtle.sign('HMAC', key, bytes))));
});

test('a bundle is bounded and round-trips', async () => {
  const { bundle, receipt, document } = await receipted();
  const decoded = { receipt, evidence: document, evidenceDigest: evidenceDigest(document) };
  assert.equal(decodeReceiptBundle(bundle), decoded);
  // Evidence that was read before is not read again; what somebody does with it changes nothing.
  const { evidence } = decodeReceiptBundle(bundle);
  for (const part of [evidence, evidence.cpu])
    assert.not(Reflect.set(part, Object.keys(part)[0]!, 'another'));
  assert.equal(decodeReceiptBundle(bundle), decoded);
  for (let at = 0; at < bundle.length; at++) {
    const changed = bundle.slice();
    changed[at]! ^= 1;
    try {
      const other = decodeReceiptBundle(changed);
      assert.equal(encodeReceiptBundle(other), changed, `byte ${at}: one encoding`);
    } catch (error) {
      assert.is((error as VouchError).code, 'bad-message', `byte ${at}`);
    }
  }
  const tooLarge = (error: unknown) => error instanceof VouchError && error.code === 'too-large';
  assert.throws(() => decodeReceiptBundle(new Uint8Array(MAX_BUNDLE_BYTES + 1)), tooLarge);
});

test('no report shows a salt or a body', async () => {
  const { bundle, policy } = await receipted();
  const wrong = { salt: randomBytes(32), body: utf8('secret cell') };
  const report = await verifyReceipt(bundle, { policy, now: later(20), request: wrong, response: wrong });
  const text = JSON.stringify(report);
  assert.not.match(text, /secret cell/);
  assert.not.match(text, new RegExp(hex(wrong.salt)));
});

test.run();
