/**
 * What a single file is, of all that Vouch makes or reads: a receipt, an evidence document, evidence as hardware gave
 * it, or what belongs to evidence. By its outer form only: whatever is said here, the reader of that kind still checks
 * everything.
 */
import { kindOf } from './attestation/evidence-files.ts';
import { looksLikeIntelCollateral } from './attestation/formats/intel-collateral.ts';
import { looksLikeReceipt, type ParsedReceipt, parseReceipt } from './receipt.ts';
import { looksLikeSeveral } from './stored-receipts.ts';

export type AnyFile =
  | { readonly kind: 'receipt'; readonly receipt: ParsedReceipt }
  /** the value that `verifyEvidence` takes */
  | { readonly kind: 'document'; readonly json: unknown }
  /** raw evidence, or collateral, for `sortFiles`; `title` says in words what it is */
  | { readonly kind: 'evidence' | 'collateral'; readonly name: string; readonly title: string }
  /** any other JSON: what it is, its reader has to say */
  | { readonly kind: 'json'; readonly json: unknown }
  | { readonly kind: 'unknown'; readonly reason: string };

/** Never throws for what the file holds. */
export function recogniseFile(bytes: Uint8Array): AnyFile {
  if (bytes.length === 0) return { kind: 'unknown', reason: 'the file is empty' };
  if (looksLikeReceipt(bytes)) return { kind: 'receipt', receipt: parseReceipt(bytes) };
  if (looksLikeSeveral(bytes)) {
    const reason =
      'a message of several receipts, as the stream has them; `stored` of `vouch/client` takes one out by its nonce';
    return { kind: 'unknown', reason };
  }
  const known = kindOf(bytes);
  if (known === undefined) {
    const reason = 'neither a receipt, nor JSON, nor evidence or what belongs to it, as far as is known here';
    return { kind: 'unknown', reason };
  }
  if (known.name === 'json') return recogniseJson(bytes);
  const { name, title } = known;
  return { kind: known.evidence ? 'evidence' : 'collateral', name, title };
}

/** An evidence document says what a CPU signed. */
function recogniseJson(bytes: Uint8Array): AnyFile {
  let json: unknown;
  try {
    json = JSON.parse(new TextDecoder().decode(bytes));
  } catch {
    return { kind: 'unknown', reason: 'JSON that is truncated or damaged' };
  }
  if (typeof json === 'object' && json !== null && Object.hasOwn(json, 'cpu'))
    return { kind: 'document', json };
  if (!looksLikeIntelCollateral(json)) return { kind: 'json', json };
  return { kind: 'collateral', name: 'intel-collateral', title: "Intel's statements about platforms" };
}
