/**
 * The key-broker: it holds model keys and releases one only to evidence that satisfies that model's policy and
 * binds a nonce the broker has just issued. The key leaves sealed to the key in that evidence. Every release
 * and refusal is a transition; the audit log of its own is to come.
 */
import { fromPromise } from 'xstate';
import type { z } from 'zod';
import { keyBrokerCounts, keyBrokerMachine } from '../../actors/key-broker.ts';
import { policyDigest } from '../../protocols/attestation/policy.ts';
import { demandAccepted, type EvidenceReport, verifyEvidence } from '../../protocols/attestation/verify.ts';
import { ReleaseChallenge, ReleaseNonce, ReleaseReply, ReleaseRequest } from '../../protocols/enclave.ts';
import { base64url } from '../../protocols/encoding.ts';
import { decodeOneOf, encodeMessage } from '../../protocols/envelope.ts';
import { VouchError } from '../../protocols/errors.ts';
import { SEALING_INFO, sealTo } from '../../protocols/sealing.ts';
import { filters, lastToken } from '../../protocols/subjects.ts';
import { collateralFor } from '../attest/collateral.ts';
import { freshNonce } from '../attest/identity.ts';
import type { Received } from '../bus.ts';
import type { StartRole } from '../host.ts';
import { type BrokerEntry, brokerKey, readBrokerEntry, releaseAad } from '../models.ts';
import { respondError } from '../service.ts';

/** A nonce is good once, for this long. */
const NONCE_MS = 60_000;
const MAX_NONCES = 10_000;

interface Pending {
  readonly received: Received;
  readonly cause: string;
  readonly entry: () => BrokerEntry;
  readonly nonce: string;
  readonly document: unknown;
  report?: EvidenceReport;
}

export const startBroker: StartRole = async (context) => {
  const { id, source, log, bus } = context;
  const nonces = new Map<string, { model: string; expires: number }>();
  const pending = new Map<string, Pending>();

  const issue = (model: string): string => {
    const now = performance.now();
    for (const [nonce, { expires }] of nonces) if (expires < now) nonces.delete(nonce);
    if (nonces.size >= MAX_NONCES)
      throw new VouchError('busy', 'key-broker: too many open challenges; try again in a minute');
    const nonce = freshNonce();
    nonces.set(nonce, { model, expires: now + NONCE_MS });
    return nonce;
  };
  /** A nonce is used up by the first request that names it, whatever comes of that request. */
  const redeem = (nonce: string, model: string): void => {
    const known = nonces.get(nonce);
    nonces.delete(nonce);
    if (known?.model !== model || known.expires < performance.now()) {
      throw new VouchError(
        'replayed',
        'release.request: the nonce was not issued here, was used, or is too old; ask for a new one',
      );
    }
  };

  const machine = keyBrokerMachine.provide({
    actors: {
      openStore: fromPromise(async () => {}),
      verifyEvidence: fromPromise(async ({ input }) => {
        const request = pending.get(input.request);
        if (!request) return { accepted: false };
        const entry = request.entry();
        request.report = await verifyEvidence({
          document: request.document,
          policy: entry.policy,
          nonce: request.nonce,
          modelCommitment: entry.commitment,
          now: new Date(),
          collateral: collateralFor(entry.policy),
        });
        demandAccepted(request.report);
        return { accepted: true };
      }),
      release: fromPromise(async ({ input }) => {
        const request = pending.get(input.request);
        const sealingKey = request?.report?.sealingKey;
        if (!request || !sealingKey) throw new VouchError('internal', 'key-broker: nothing to release to');
        const entry = request.entry();
        const { sealed } = await sealTo(sealingKey, brokerKey(entry), {
          info: SEALING_INFO.release,
          aad: releaseAad(entry.model, entry.commitment),
        });
        const body = { policy: policyDigest(entry.policy), sealedKey: base64url(sealed) };
        const { subject } = request.received;
        request.received.respond(
          encodeMessage(ReleaseReply, { subject, source, cause: request.cause, body }),
        );
        log(
          `${source}: released the key of ${entry.model} to ${request.report?.claims?.label} ${input.request}`,
        );
        pending.delete(input.request);
      }),
    },
    actions: {
      refuse: (_, { request, model, code }) => {
        const waiting = pending.get(request);
        pending.delete(request);
        if (!waiting) return;
        const detail = waiting.report?.checks.find(({ status }) => status === 'fail');
        const why = detail ? `${detail.id}: ${detail.detail}` : 'the request was not served';
        const error = new VouchError(code, `key of model ${model} refused: ${why}`);
        respondError(waiting.received, error, { source, cause: waiting.cause, log });
      },
    },
  });
  const actor = context.run({ kind: 'broker', id, machine, input: { id }, countsOf: keyBrokerCounts });

  bus.subscribe(filters.releases, (received) => {
    let cause: string | undefined;
    try {
      const model = lastToken(received.subject);
      const decoded = decodeOneOf(
        [ReleaseChallenge, ReleaseRequest] as const,
        received.subject,
        received.data,
      );
      cause = decoded.message.id;
      if (decoded.kind === ReleaseChallenge) {
        readBrokerEntry(model);
        const body = { nonce: issue(model) };
        received.respond(encodeMessage(ReleaseNonce, { subject: received.subject, source, cause, body }));
        return;
      }
      const { nonce, document } = decoded.message.body as z.infer<typeof ReleaseRequest.schema>;
      redeem(nonce, model);
      const request = crypto.randomUUID();
      pending.set(request, { received, cause, nonce, document, entry: () => readBrokerEntry(model) });
      actor.send({ type: 'release.request', request, model });
    } catch (error) {
      respondError(received, error, { source, cause, log });
    }
  });
  return { actor, drain: { type: 'broker.drain' } };
};
