/**
 * What whoever holds a model checks of a request for a proof before he does anything for it: that its requester has signed
 * it, that it is about this model, and that the vendor's terms allow it. The coordinator and each key-broker do it on their
 * own, and nobody has to believe the other.
 */
import { VouchError } from './errors.ts';
import { demandProvable, type ModelManifest } from './manifest.ts';
import { jobOf, type ProofRequest } from './proof.ts';
import { type RequesterAuthority, requesterOf } from './requester.ts';
import { checkInference, checkStatement } from './terms.ts';

/**
 * Returns the id of the requester. Throws `signature-rejected`, `bad-message` (the job is not that of the statement),
 * `commitment-mismatch` (another model), `terms-refused`.
 */
export function checkDemand(
  request: ProofRequest,
  manifest: Pick<ModelManifest, 'name' | 'commitment' | 'commitmentKind' | 'terms'>,
  authority: RequesterAuthority,
  now: Date,
): string {
  const requester = requesterOf(request, authority, now);
  const { job, nonce, statement } = request;
  const { name, commitment, terms } = manifest;
  if (job !== jobOf(nonce, statement)) {
    throw new VouchError(
      'bad-message',
      'proof.request: its job is not the digest of its nonce and statement',
    );
  }
  if (statement.model !== name || statement.commitment !== commitment) {
    throw new VouchError(
      'commitment-mismatch',
      `statement.commitment: expected that of model ${name} as it is served now, got another`,
    );
  }
  demandProvable(manifest);
  if (statement.statement === 'quality') checkStatement(terms, statement);
  else checkInference(terms, statement.decision === undefined);
  return requester;
}
