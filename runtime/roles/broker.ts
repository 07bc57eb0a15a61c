/**
 * The key-broker: it holds model keys, or shares of them, and releases one only to evidence that satisfies that
 * model's policy and binds a nonce the broker has just issued. What it releases leaves sealed to the key in that
 * evidence and signed by the model's release key, after the audit record of the release is stored. A refusal is recorded
 * before it is answered; where that fails it is answered all the same, and the next record counts it.
 */

import type { PromiseActorLogic } from 'xstate';
import type { z } from 'zod';
import { keyBrokerCounts, keyBrokerMachine, type ReleaseRef } from '../../actors/key-broker.ts';
import { type EvidenceDocument, evidenceDigest, isHardware } from '../../protocols/attestation/document.ts';
import { policyDigest } from '../../protocols/attestation/policy.ts';
import { demandAccepted, type EvidenceReport, verifyEvidence } from '../../protocols/attestation/verify.ts';
import type { Decision } from '../../protocols/audit.ts';
import { ReleaseChallenge, ReleaseNonce, ReleaseReply, ReleaseRequest } from '../../protocols/enclave.ts';
import { base64url } from '../../protocols/encoding.ts';
import { decodeOneOf, encodeMessage } from '../../protocols/envelope.ts';
import { messageOf, VouchError } from '../../protocols/errors.ts';
import type { ProofRequest } from '../../protocols/proof.ts';
import { checkDemand } from '../../protocols/proof-demand.ts';
import { type Release, signRelease } from '../../protocols/release.ts';
import type { RequesterAuthority } from '../../protocols/requester.ts';
import { SEALING_INFO, sealTo } from '../../protocols/sealing.ts';
import { filters, lastToken } from '../../protocols/subjects.ts';
import { checkBudget } from '../../protocols/terms.ts';
import { collateralFor } from '../attest/collateral.ts';
import { freshNonce } from '../attest/identity.ts';
import {
  type BrokerEntry,
  readBrokerEntry,
  releaseAad,
  releaseSigner,
  secretOf,
} from '../models/broker-store.ts';
import type { Received } from '../nats/bus.ts';
import { answer, respondError } from '../nats/service.ts';
import { type AuditLog, openAuditLog } from './audit-log.ts';
import { type StartRole, until } from './host.ts';

/** A nonce is good once, for this long. */
const NONCE_MS = 60_000;
const MAX_NONCES = 10_000;
/** The audit log opens within this time, a long one that has to be published again included. */
const OPEN_MS = 60_000;

interface Pending {
  readonly received: Received;
  readonly cause: string;
  readonly nonce: string;
  readonly document: EvidenceDocument;
  /** what a coordinator wants the key for */
  readonly proof: ProofRequest | undefined;
  /** who has signed `proof`, once that is known */
  requester?: string;
  /** read once: what was verified is what is released */
  entry?: BrokerEntry;
  report?: EvidenceReport;
  /** what an effect said when it failed */
  why?: string;
}

/** `requesters`: whose clients may have proofs made. */
export const brokerRole =
  (requesters: RequesterAuthority): StartRole =>
  async (context) => {
    const { id, source, log, bus, effect } = context;
    const nonces = new Map<string, { model: string; expires: number }>();
    const pending = new Map<string, Pending>();
    let audit: AuditLog | undefined;

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
    const redeem = (nonce: string, model: string): boolean => {
      const known = nonces.get(nonce);
      nonces.delete(nonce);
      return known?.model === model && known.expires >= performance.now();
    };

    const record = async (request: string, model: string, waiting: Pending, error?: VouchError) => {
      if (audit === undefined) throw new VouchError('not-ready', 'key-broker: the audit log is not open');
      const { document, entry, report } = waiting;
      const decision: Decision = {
        model,
        request,
        decision: error === undefined ? 'released' : 'refused',
        code: error?.code ?? null,
        check: error === undefined ? null : (failedCheck(report)?.id ?? null),
        policy: entry === undefined ? null : policyDigest(entry.policy),
        evidence: evidenceDigest(document),
        holder: document.enclave,
        hardware: isHardware(document),
        share: entry?.share ?? null,
        requester: waiting.requester ?? null,
        job: waiting.requester === undefined ? null : (waiting.proof?.job ?? null),
      };
      await audit.record(decision);
    };
    /** Throws unless the vendor's terms allow one more proof, this one, by our own records. */
    const demandGranted = (
      waiting: Pending,
      proof: ProofRequest,
      { manifest: { manifest } }: BrokerEntry,
    ) => {
      if (audit === undefined) throw new VouchError('not-ready', 'key-broker: the audit log is not open');
      waiting.requester = checkDemand(proof, manifest, requesters, new Date());
      const granted = { job: proof.job, requester: waiting.requester, time: Date.now() };
      checkBudget(manifest.terms, audit.spent(manifest.name), granted);
    };
    const refuse = async (request: string, model: string, waiting: Pending, error: VouchError) => {
      await record(request, model, waiting, error).catch((failure: unknown) =>
        log(`${source}: the refusal ${request} is not recorded: ${messageOf(failure)}`),
      );
      respondError(waiting.received, error, { source, cause: waiting.cause, log });
    };
    /** An effect on a pending request; what it throws is kept for the answer. */
    const step = <T>(
      name: string,
      work: (request: Pending, id: string, model: string) => Promise<T>,
    ): PromiseActorLogic<T, ReleaseRef> =>
      effect(
        name,
        async ({ input }) => {
          const request = pending.get(input.request);
          if (!request) throw new VouchError('internal', 'key-broker: the request is gone');
          try {
            return await work(request, input.request, input.model);
          } catch (error) {
            if (error instanceof VouchError) request.why = error.message;
            throw error;
          }
        },
        { ofRequest: true },
      );

    const machine = keyBrokerMachine.provide({
      actors: {
        openStore: effect('openStore', async () => {
          audit = await openAuditLog(bus, id);
        }),
        verifyEvidence: step<{ accepted: boolean }>('verifyEvidence', async (request, _, model) => {
          const entry = readBrokerEntry(model, id);
          request.entry = entry;
          request.report = await verifyEvidence({
            document: request.document,
            policy: entry.policy,
            nonce: request.nonce,
            modelCommitment: entry.manifest.manifest.commitment,
            now: new Date(),
            collateral: collateralFor(entry.policy),
          });
          demandAccepted(request.report);
          if (request.proof !== undefined) demandGranted(request, request.proof, entry);
          return { accepted: true };
        }),
        record: step('record', (request, name, model) => record(name, model, request)),
        release: step('release', async (request, name) => {
          const { entry, report, received, cause, document } = request;
          const sealingKey = report?.sealingKey;
          if (!entry || !sealingKey) throw new VouchError('internal', 'key-broker: nothing to release to');
          const { manifest, digest } = entry.manifest;
          const { sealed } = await sealTo(sealingKey, secretOf(entry), {
            info: SEALING_INFO.release,
            aad: releaseAad(manifest.name, manifest.commitment, entry.share),
          });
          const release: Release = {
            broker: id,
            model: manifest.name,
            commitment: manifest.commitment,
            manifest: digest,
            policy: policyDigest(entry.policy),
            evidence: evidenceDigest(document),
            holder: document.enclave,
            share: entry.share,
            job: request.proof?.job,
          };
          const statement = await signRelease(await releaseSigner(entry), release, sealed);
          const body = { release: base64url(statement), sealedKey: base64url(sealed) };
          received.respond(encodeMessage(ReleaseReply, { subject: received.subject, source, cause, body }));
          log(
            `${source}: released ${entry.share === undefined ? 'the key' : `share ${entry.share} of the key`} of ${manifest.name} to ${report?.claims?.label} ${name}`,
          );
          pending.delete(name);
        }),
      },
      actions: {
        refuse: (_, { request, model, code }) => {
          const waiting = pending.get(request);
          pending.delete(request);
          if (!waiting) return;
          const failed = failedCheck(waiting.report);
          const why = failed
            ? `${failed.id}: ${failed.detail}`
            : (waiting.why ?? 'the request was not served');
          void refuse(request, model, waiting, new VouchError(code, `key of model ${model} refused: ${why}`));
        },
      },
    });
    const actor = context.run({ kind: 'broker', id, machine, input: { id }, countsOf: keyBrokerCounts });
    context.onStop(() => audit?.settled());
    await until(actor, ({ value }) => value !== 'opening', OPEN_MS);

    const challenged = (model: string) => {
      readBrokerEntry(model, id);
      return { nonce: issue(model), broker: id };
    };
    // The request goes to whoever answers here, so one of those who hold the key is enough.
    answer(
      bus,
      [ReleaseChallenge, ReleaseNonce],
      { subject: filters.releases, queue: 'brokers', source, log },
      ({ subject }) => challenged(lastToken(subject)),
    );
    bus.subscribe(filters.releasesFrom(id), async (received) => {
      const { subject } = received;
      let cause: string | undefined;
      try {
        const model = lastToken(subject.slice(0, subject.lastIndexOf('.')));
        const decoded = decodeOneOf([ReleaseChallenge, ReleaseRequest] as const, subject, received.data);
        cause = decoded.message.id;
        if (decoded.kind === ReleaseChallenge) {
          received.respond(encodeMessage(ReleaseNonce, { subject, source, cause, body: challenged(model) }));
          return;
        }
        const { nonce, document, proof } = decoded.message.body as z.infer<typeof ReleaseRequest.schema>;
        const request = crypto.randomUUID();
        const waiting: Pending = { received, cause, nonce, document, proof };
        if (!redeem(nonce, model)) return await refuse(request, model, waiting, replayed());
        pending.set(request, waiting);
        actor.send({ type: 'release.request', request, model });
      } catch (error) {
        respondError(received, error, { source, cause, log });
      }
    });
    return { actor, drain: { type: 'broker.drain' } };
  };

const replayed = () =>
  new VouchError(
    'replayed',
    'release.request: the nonce was not issued here, was used, or is too old; ask for a new one',
  );

const failedCheck = (report: EvidenceReport | undefined) =>
  report?.checks.find(({ status }) => status === 'fail');
