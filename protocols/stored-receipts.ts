/**
 * Where receipts lie in their stream, and how several lie in one message.
 *
 *   place     the last token of the subject of the message that holds a receipt, by its nonce:
 *             of 48 bytes: 16 of a group, 32 of its own. Receipts of a group lie together, in messages n = 0, 1, 2, ... without a gap, at
 *                hex(first 16 bytes of SHA-256("vouch/v1/receipt-group" || 0x00 || enclave || 0x00 || group)) || "-" || n in decimal
 *             of any other length: the receipt's id, n = 0
 *   message = a receipt bundle (receipt.ts), or of two and more receipts by the same evidence the deterministic CBOR map
 *             {"v": 1, "evidence": EvidenceDocument as a CBOR map, "receipts": [bstr, ...]}
 *
 * So whoever chose a nonce finds its receipt, also where the answer was lost, and a stream that has no message at a place has none of that
 * group's receipts: a nonce has one receipt, as before. A message holds receipts of one client, whose subject it has.
 *
 * Not guaranteed: that receipts cannot be linked. Whoever reads two sees by their nonces whether they are of one group.
 */

import { z } from 'zod';
import { EvidenceDocument } from './attestation/document.ts';
import { byteStringBetween, decodeCbor, encodeCbor } from './cbor.ts';
import { concat, fromHex, hex, randomBytes, sha256, utf8 } from './encoding.ts';
import { bundleOf, MAX_BUNDLE_BYTES, MAX_RECEIPT_BYTES, receiptId } from './receipt.ts';

export const GROUP_BYTES = 16;
const NONCE_BYTES = GROUP_BYTES + 32;
/** A group has at most so many receipts. */
export const MAX_GROUP_RECEIPTS = 64;

/** A nonce (lower-case hex) of a group of 16 bytes. */
export const nonceOfGroup = (group: Uint8Array): string => hex(group) + hex(randomBytes(32));

/** The group of a nonce, 32 hex digits; undefined where its receipt lies alone. */
export const groupOf = (nonce: string): string | undefined =>
  nonce.length === 2 * NONCE_BYTES ? nonce.slice(0, 2 * GROUP_BYTES) : undefined;

/** The last token of the subject of message `n` with receipts of this nonce's group, or of the message with its receipt. */
export function receiptPlace(enclave: string, nonce: string, n = 0): string {
  const group = groupOf(nonce);
  if (group === undefined) return receiptId(enclave, nonce);
  const digest = sha256(utf8(`vouch/v1/receipt-group\0${enclave}\0`), fromHex(group, 'group'));
  return `${hex(digest.subarray(0, 16))}-${n}`;
}

const Several = z.strictObject({
  v: z.literal(1),
  evidence: EvidenceDocument,
  receipts: z.array(byteStringBetween(1, MAX_RECEIPT_BYTES)).min(2).max(MAX_GROUP_RECEIPTS),
});

/** The first bytes of every message of several receipts: a map of three whose first member is `"v": 1`. */
const PREFIX = encodeCbor({ v: 1 }).with(0, 0xa3);
const EVIDENCE_NAME = encodeCbor('evidence');
const RECEIPTS_NAME = encodeCbor('receipts');

/** The message that holds these receipts by one evidence, whose encoding the caller has made before, of a checked document. */
export function encodeStored(receipts: readonly Uint8Array[], evidence: Uint8Array): Uint8Array {
  const [first, second] = receipts;
  if (first === undefined) throw new RangeError('receipts: expected at least one');
  if (second === undefined) return bundleOf(first, evidence);
  return concat(PREFIX, EVIDENCE_NAME, evidence, RECEIPTS_NAME, encodeCbor(receipts));
}

/** Whether a message with so many bytes of receipts and of evidence is one that `storedBundles` takes. */
export const fitsStored = (receipts: number, receiptBytes: number, evidenceBytes: number): boolean =>
  receipts <= MAX_GROUP_RECEIPTS && receiptBytes + evidenceBytes + 64 + 3 * receipts <= MAX_BUNDLE_BYTES;

/** The receipt bundles in a message of the stream. Throws `too-large`, `bad-message`. Proves nothing: see `verifyReceipt`. */
export function storedBundles(message: Uint8Array): Uint8Array[] {
  if (!looksLikeSeveral(message)) return [message];
  const { evidence, receipts } = decodeCbor(message, {
    schema: Several,
    what: 'stored receipts',
    maxBytes: MAX_BUNDLE_BYTES,
  });
  const encoded = encodeCbor(evidence);
  return receipts.map((receipt) => bundleOf(receipt, encoded));
}

/** Whether bytes begin like a message of several receipts; says nothing about the rest. */
export const looksLikeSeveral = (bytes: Uint8Array): boolean => PREFIX.every((byte, i) => byte === bytes[i]);
