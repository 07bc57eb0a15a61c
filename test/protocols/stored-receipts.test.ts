/**
 * Where receipts lie and how several lie in one message. On the other side is whoever holds the stream: he may put together, cut or change
 * messages, and gets no receipt by it that would not have been one before.
 */
import { createHash } from 'node:crypto';
import { recogniseFile } from '../../protocols/any-file.ts';
import { encodeCbor } from '../../protocols/cbor.ts';
import { concat, fromHex, hex, randomBytes } from '../../protocols/encoding.ts';
import {
  decodeReceiptBundle,
  encodeReceiptBundle,
  MAX_BUNDLE_BYTES,
  MAX_RECEIPT_BYTES,
  readReceipt,
  receiptId,
} from '../../protocols/receipt.ts';
import {
  encodeStored,
  fitsStored,
  GROUP_BYTES,
  groupOf,
  MAX_GROUP_RECEIPTS,
  nonceOfGroup,
  receiptPlace,
  storedBundles,
} from '../../protocols/stored-receipts.ts';
import { subjects, token } from '../../protocols/subjects.ts';
import { assert, suite } from '../harness.ts';
import { attested } from './attested.ts';
import { flip } from './certificate-maker.ts';
import { receiptsOf } from './receipts.ts';

const test = suite('stored receipts', { timeoutMs: 60_000 });

test('a place follows from enclave and nonce alone: one of its own, or one of a group', () => {
  for (const bytes of [16, 32, 47, 49, 64]) {
    const nonce = hex(randomBytes(bytes));
    assert.is(groupOf(nonce), undefined);
    assert.is(receiptPlace('enclave-1', nonce), receiptId('enclave-1', nonce));
  }
  const group = randomBytes(GROUP_BYTES);
  const [one, other] = [nonceOfGroup(group), nonceOfGroup(group)];
  assert.is.not(one, other);
  assert.is(groupOf(one), hex(group));
  const digest = createHash('sha256')
    .update('vouch/v1/receipt-group\0enclave-1\0')
    .update(group)
    .digest('hex');
  for (const n of [0, 1, 63]) {
    assert.is(receiptPlace('enclave-1', one, n), `${digest.slice(0, 32)}-${n}`);
    assert.is(receiptPlace('enclave-1', other, n), receiptPlace('enclave-1', one, n));
  }
  assert.is.not(receiptPlace('enclave-2', one), receiptPlace('enclave-1', one));
  token(receiptPlace('enclave-1', one, 63));
  assert.match(subjects.receipt('m', 'c', receiptPlace('enclave-1', one)), /-0$/);
});

test('a message gives back the very bundles, whose receipts hold; one of them is a bundle', async () => {
  const enclave = await attested();
  const evidence = encodeCbor(enclave.document);
  const receipts = await receiptsOf(enclave, 5);
  const bundles = receipts.map((receipt) => encodeReceiptBundle({ receipt, evidence: enclave.document }));
  assert.equal(storedBundles(encodeStored(receipts, evidence)), bundles);
  assert.equal(encodeStored(receipts.slice(0, 1), evidence), bundles[0]);
  assert.equal(storedBundles(bundles[0]!), [bundles[0]!]);
  for (const bundle of bundles) assert.ok(readReceipt(bundle));
  const file = recogniseFile(encodeStored(receipts, evidence));
  assert.is(file.kind, 'unknown');
  assert.match(JSON.stringify(file), 'a message of several receipts');
  assert.is(recogniseFile(encodeStored(receipts.slice(0, 1), evidence)).kind, 'receipt');
  const size = encodeStored(receipts, evidence).length;
  assert.ok(size < evidence.length + 5 * 600, `${size} bytes: the evidence is there once`);
});

test('a message with a byte changed is refused, or has no receipt of before that is not exactly as before', async () => {
  const enclave = await attested();
  const receipts = await receiptsOf(enclave, 2);
  const evidence = encodeCbor(enclave.document);
  const before = new Set(storedBundles(encodeStored(receipts, evidence)).map(hex));
  const message = encodeStored(receipts, evidence);
  for (let at = 0; at < message.length; at++) {
    let bundles: Uint8Array[];
    try {
      bundles = storedBundles(flip(message, at, 1 << (at & 7)));
    } catch {
      continue;
    }
    for (const bundle of bundles) assert.ok(before.has(hex(bundle)) || !signedAsBefore(bundle), `byte ${at}`);
  }

  /** A changed document may keep the receipt key, but then the receipt names other evidence. */
  function signedAsBefore(bundle: Uint8Array): boolean {
    const claims = readReceipt(bundle);
    return claims !== undefined && claims.evidence === decodeReceiptBundle(bundle).evidenceDigest;
  }
});

test('what is no message is refused with a sentence', async () => {
  const { document } = await attested();
  const several = (receipts: readonly unknown[]) => encodeCbor({ v: 1, evidence: document, receipts });
  const receipt = randomBytes(300);
  const bad = {
    'one receipt': several([receipt]),
    none: several([]),
    'too many': several(Array.from({ length: MAX_GROUP_RECEIPTS + 1 }, () => receipt)),
    'an empty one': several([receipt, new Uint8Array()]),
    'one too long': several([receipt, new Uint8Array(MAX_RECEIPT_BYTES + 1)]),
    text: several([receipt, 'receipt']),
    'no evidence': encodeCbor({ v: 1, evidence: {}, receipts: [receipt, receipt] }),
    'bytes behind it': concat(several([receipt, receipt]), Uint8Array.of(0)),
    'a longer form': concat(fromHex('b80361760168', 'prefix'), several([receipt, receipt]).subarray(6)),
  };
  for (const [what, message] of Object.entries(bad)) {
    const refused = () => storedBundles(message).map(decodeReceiptBundle);
    assert.throws(refused, /^(VouchError: )?(stored receipts|receipt bundle)/, what);
  }
  const huge = several([receipt, new Uint8Array(MAX_BUNDLE_BYTES)]);
  assert.throws(() => storedBundles(huge), /stored receipts: expected at most/);
});

test('what is said to fit does', () => {
  const receipt = new Uint8Array(MAX_RECEIPT_BYTES);
  for (const count of [2, 23, 24, 64]) {
    let evidence = MAX_BUNDLE_BYTES;
    while (!fitsStored(count, count * receipt.length, evidence)) evidence--;
    const message = encodeStored(Array(count).fill(receipt), new Uint8Array(evidence));
    assert.ok(message.length <= MAX_BUNDLE_BYTES, `${count} receipts: ${message.length}`);
  }
  assert.not(fitsStored(MAX_GROUP_RECEIPTS + 1, 0, 0));
});

test.run();
