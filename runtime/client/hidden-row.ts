/**
 * A row that a proof is to hide, from its owner's side: it is sealed to every coordinator that is there now and whose evidence
 * satisfies the policy for provers. Whoever runs NATS sees its commitment, and how many features it has, which the dictionary says.
 *
 * A coordinator that starts later cannot open it: the request then fails, and is asked anew.
 */
import type { HiddenRow } from '../../circuits/model/row.ts';
import type { Policy } from '../../protocols/attestation/policy.ts';
import { demandAccepted, verifyEvidence } from '../../protocols/attestation/verify.ts';
import { EvidenceReply, EvidenceRequest } from '../../protocols/enclave.ts';
import { base64url, utf8 } from '../../protocols/encoding.ts';
import { freshNonce } from '../../protocols/envelope.ts';
import { messageOf, VouchError } from '../../protocols/errors.ts';
import type { SealedRow } from '../../protocols/proof.ts';
import { encodeRow } from '../../protocols/sealed-row.ts';
import { SEALING_INFO, sealTo } from '../../protocols/sealing.ts';
import { filters, lastToken, subjects } from '../../protocols/subjects.ts';
import { collateralFor } from '../attest/collateral.ts';
import type { Bus } from '../nats/bus.ts';
import { ask } from '../nats/service.ts';

/** More than the time between two heartbeats. */
const LISTEN_MS = 3_500;
const MAX_COORDINATORS = 16;

/** Seals the row for the request on this subject. Throws `no-responder` where no coordinator is there, `evidence-rejected`. */
export async function sealRow(
  bus: Bus,
  source: string,
  policy: Policy,
  row: HiddenRow,
  subject: string,
): Promise<SealedRow[]> {
  const ids = await coordinatorsHeard(bus);
  if (ids.length === 0)
    throw new VouchError(
      'no-responder',
      'no coordinator was heard, to which a hidden row could be sealed; start one: vouch start coordinator',
    );
  // A coordinator holds no model before a request comes: that of the proof is bound by the proof's evidence.
  const requiredBinding = policy.requiredBinding.filter((name) => name !== 'modelCommitment');
  const asked: Policy = { ...policy, requiredBinding };
  const failed: VouchError[] = [];
  const sealed = await Promise.all(
    ids.slice(0, MAX_COORDINATORS).map(async (coordinator) => {
      try {
        const nonce = freshNonce();
        const { body } = await ask(bus, [EvidenceRequest, EvidenceReply], {
          subject: subjects.coordinatorEvidence(coordinator, bus.id),
          source,
          body: { nonce },
        });
        const collateral = collateralFor(policy);
        const { document } = body;
        const report = await verifyEvidence({ document, policy: asked, nonce, now: new Date(), collateral });
        demandAccepted(report, 'coordinator evidence');
        const context = { info: SEALING_INFO.row, aad: utf8(subject) };
        const made = await sealTo(report.sealingKey!, encodeRow(row), context);
        return { coordinator, sealed: base64url(made.sealed) };
      } catch (error) {
        failed.push(error instanceof VouchError ? error : new VouchError('internal', messageOf(error)));
        return undefined;
      }
    }),
  );
  const rows = sealed.filter((each) => each !== undefined);
  // A coordinator that is not to be trusted gets no row, and may still be the one that takes the request, and fails.
  if (rows.length === 0) throw failed[0]!;
  return rows;
}

async function coordinatorsHeard(bus: Bus): Promise<string[]> {
  const heard = new Set<string>();
  const listening = bus.subscribe(filters.beatsOf('coordinator'), ({ subject }) => {
    heard.add(lastToken(subject));
  });
  await new Promise((resolve) => setTimeout(resolve, LISTEN_MS));
  listening.unsubscribe();
  return [...heard].sort();
}
