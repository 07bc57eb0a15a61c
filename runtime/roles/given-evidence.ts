/** Evidence that a runner gave out lately, by its digest, encoded as receipts carry it: a receipt carries its client's own. */
import { EvidenceDocument } from '../../protocols/attestation/document.ts';
import { encodeCbor } from '../../protocols/cbor.ts';
import { sha256Hex } from '../../protocols/encoding.ts';
import { VouchError } from '../../protocols/errors.ts';

/** Bytes of documents that are remembered; of more, the oldest are forgotten. */
const MAX_BYTES = 64 * 1024 * 1024;

export interface GivenEvidence {
  remember(document: EvidenceDocument): void;
  /** Throws `evidence-rejected` for a digest that is not remembered. */
  of(digest: string): Uint8Array;
}

export function createGivenEvidence(): GivenEvidence {
  const documents = new Map<string, Uint8Array>();
  let bytes = 0;
  return {
    remember(document) {
      const encoded = encodeCbor(EvidenceDocument.parse(document));
      documents.set(sha256Hex(encoded), encoded);
      bytes += encoded.length;
      for (const [digest, oldest] of documents) {
        if (bytes <= MAX_BYTES) break;
        documents.delete(digest);
        bytes -= oldest.length;
      }
    },
    of(digest) {
      const document = documents.get(digest);
      if (document) return document;
      throw new VouchError(
        'evidence-rejected',
        'request.evidence: not evidence that this runner gave out lately; ask for new evidence',
      );
    },
  };
}
