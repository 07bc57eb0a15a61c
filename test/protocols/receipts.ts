/** Receipts of one enclave, for tests of where they go. */
import { evidenceDigest } from '../../protocols/attestation/document.ts';
import { hex, randomBytes } from '../../protocols/encoding.ts';
import { signReceipt } from '../../protocols/receipt.ts';
import { type attested, COMMITMENT, later } from './attested.ts';

type Enclave = Pick<Awaited<ReturnType<typeof attested>>, 'signer' | 'document'>;

export const receiptOf = async (
  { signer, document }: Enclave,
  { enclave = 'enclave-1', nonce = hex(randomBytes(32)), sequence = 0 },
): Promise<Uint8Array> => {
  const digest = '11'.repeat(32);
  const { receipt } = await signReceipt(signer, {
    enclave,
    evidence: evidenceDigest(document),
    policy: digest,
    modelCommitment: COMMITMENT,
    manifest: digest,
    answers: 'decision',
    request: digest,
    response: digest,
    nonce,
    sequence,
    time: later(10),
  });
  return receipt;
};

export const receiptsOf = (enclave: Enclave, count: number): Promise<Uint8Array[]> =>
  Promise.all(Array.from({ length: count }, (_, sequence) => receiptOf(enclave, { sequence })));
