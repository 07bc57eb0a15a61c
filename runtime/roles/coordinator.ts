/**
 * The proof coordinator, an attested process: it holds the witness, which is the weights. It takes a request from the
 * queue, has one proof made of each by an actor of its own (proof-job.ts), knows the workers (fleet.ts), and publishes
 * nothing that does not verify.
 *
 * A request stays in the queue until its proof is published or can never be, so a crash at any moment only means
 * that somebody starts again: under a later epoch, with nothing kept but what is cached by digest. Every end of a
 * request is told to the requester as progress; a failure names its code.
 *
 * A request can be taken back by whoever shows the secret behind its digest `cancel`.
 */
import type { ActorRefFrom } from 'xstate';
import {
  jobActorId,
  proofCoordinatorCounts,
  proofCoordinatorMachine,
  type RequestOutcome,
} from '../../actors/proof-coordinator.ts';
import { proofJobCounts, type proofJobMachine } from '../../actors/proof-job.ts';
import { isHardware } from '../../protocols/attestation/document.ts';
import type { Policy } from '../../protocols/attestation/policy.ts';
import { demandAccepted, verifyEvidence } from '../../protocols/attestation/verify.ts';
import { EvidenceReply, EvidenceRequest } from '../../protocols/enclave.ts';
import { fromHex, sha256Hex } from '../../protocols/encoding.ts';
import { decodeMessage, encodeMessage, Id } from '../../protocols/envelope.ts';
import { messageOf, VouchError } from '../../protocols/errors.ts';
import {
  type Phase,
  ProofCancel,
  ProofCancelled,
  ProofProgress,
  ProofRequest,
  REFUSAL,
} from '../../protocols/proof.ts';
import { type RequesterAuthority, requesterOf } from '../../protocols/requester.ts';
import { PROOF_REQUEST_CONSUMER, STREAMS } from '../../protocols/streams.ts';
import { filters, lastToken, lastTokenButOne, subjects } from '../../protocols/subjects.ts';
import { collateralFor } from '../attest/collateral.ts';
import { createIdentity, freshNonce } from '../attest/identity.ts';
import type { Provider } from '../attest/provider.ts';
import { createPool } from '../msm/threads/pool.ts';
import type { PulledMessage } from '../nats/bus.ts';
import { provisionMemoryStreams } from '../nats/provision.ts';
import { answer, respondError } from '../nats/service.ts';
import { trimCaches } from '../prove/cache.ts';
import { type EngineName, engineBeside, ratesOf } from '../prove/host-engine.ts';
import { createBudget } from './client-budget.ts';
import { createDispatcher, type Distribution } from './dispatch.ts';
import { createFleet } from './fleet.ts';
import { type GpuSharing, gpuTurns } from './gpu-turns.ts';
import type { StartRole } from './host.ts';
import { keepCircuits } from './kept-circuits.ts';
import { createOwnNode } from './own-node.ts';
import { forget, type Job, proofJobLogic } from './proof-job.ts';
import { createShares } from './requester-share.ts';

/** A third of the request consumer's ack wait (runtime/nats/provision.ts); progress is told as often. */
const WORKING_MS = 4_000;
const RETRY_MS = 1_000;
/** Jobs at once: one computes while the shards of others are out. Each has a key and a witness in memory. */
const JOBS = 3;
/** A full store gets more time: somebody has to make room. */
const FULL_RETRY_MS = 30_000;
/** Ends that say nothing of the model, which the requester hears by name. */
const TOLD: ReadonlySet<string> = new Set(['cancelled', 'storage-full']);
const NO_SHARDS = { total: 0, done: 0, workers: [] };
/** Of one requester. */
const LIMITS = { jobs: 2, millis: 30 * 60_000 };
/** Evidence for one client, and for all; each costs a signature, or a quote, beside the proofs that are being made. */
const EVIDENCE = { burst: 8, perSecond: 1, together: { burst: 64, perSecond: 8 } };
/** Cancelled requests that are remembered until they are pulled. */
const MAX_WITHDRAWN = 65_536;

export interface CoordinatorOptions {
  /** whose clients may have proofs made */
  readonly requesters: RequesterAuthority;
  /** what a worker's evidence has to satisfy */
  readonly workerPolicy: Policy;
  /** threads for transforms and checks, default: the machine's cores */
  readonly threads?: number | undefined;
  /** who makes transforms and sums of its own; `wasm` by default, because a GPU would see the whole witness */
  readonly engine?: EngineName | undefined;
  /** that a key may take of a GPU; by default what its capability says */
  readonly gpuBytes?: number | undefined;
  /** where inferences run on the same GPU */
  readonly sharing?: GpuSharing | undefined;
  /** default: one of this installation's own */
  readonly provider?: Provider | undefined;
  /** jobs at once */
  readonly jobs?: number | undefined;
  /** Does it sum as well, beside its workers, while its threads are idle? By default it does not. */
  readonly ownSums?: boolean | undefined;
  /** scalars of a shard at most; by default as few shards as keep the workers evenly busy */
  readonly shardPoints?: number | undefined;
  /** Fixed r and s, for tests that compare proofs. A proof made with known r and s hides nothing. */
  readonly insecureBlinding?: { readonly r: bigint; readonly s: bigint } | undefined;
}

export const coordinatorRole =
  (options: CoordinatorOptions): StartRole =>
  async (context) => {
    const { id, bus, log, source, effect } = context;
    const pool = await createPool({ threads: options.threads });
    context.onStop(() => pool.close());
    const { engine: name = 'wasm', gpuBytes, sharing } = options;
    const turns = name === 'wasm' ? undefined : await gpuTurns(context, sharing);
    const host = await engineBeside(pool, { engine: name, gpuBytes, turns, log });
    context.onStop(() => host.close());
    const own = options.ownSums ? createOwnNode(id, () => ratesOf(host)) : undefined;
    const engine = keepCircuits(host, undefined, own ? 'held' : 'streamed');
    context.onStop(() => engine.close());
    const identity = await createIdentity('coordinator', id, { provider: options.provider });

    const fleet = createFleet({
      bus,
      taken: own?.name,
      source,
      log,
      effect,
      verify: async (document, nonce) => {
        const report = await verifyEvidence({
          document,
          policy: options.workerPolicy,
          nonce,
          now: new Date(),
          collateral: collateralFor(options.workerPolicy),
        });
        demandAccepted(report, 'worker evidence');
        return report.sealingKey!;
      },
    });
    context.onStop(() => fleet.close());
    const dispatcher = createDispatcher({ bus, source, log, fleet, own });
    context.onStop(() => dispatcher.close());

    const jobs = new Map<string, Job>();
    const shares = createShares(LIMITS);
    /** Digests of secrets that were shown for requests that are not worked on here: they may be next in the queue. */
    const withdrawn = new Set<string>();
    const actorOf = (job: string) =>
      actor.getSnapshot().children[jobActorId(job)] as ActorRefFrom<typeof proofJobMachine> | undefined;

    /** `epoch`: 0 before the job has its lease. */
    const publishProgress = (client: string, body: ProofProgress, epoch = 0) => {
      const subject = subjects.progress(client, body.job);
      const under = epoch > 0 ? { epoch } : {};
      bus.publishLossy(subject, encodeMessage(ProofProgress, { subject, source, ...under, body }));
    };
    const shardsOf = (job: Job | undefined) =>
      job && 'distribution' in job.work ? named(job.work.distribution.counts()) : NO_SHARDS;
    /** Under the name that people know, where it is this process. */
    const named = (counts: ReturnType<Distribution['counts']>) => ({
      ...counts,
      workers: counts.workers.map((row) => (row.id === own?.id ? { ...row, id } : row)),
    });
    /** Where a job is, by its own actor. */
    const report = (name: string) => {
      const now = actorOf(name)?.getSnapshot();
      const job = jobs.get(name);
      if (now?.status !== 'active' || !job) return;
      const { epoch, millis: phases } = now.context;
      publishProgress(job.client, { job: name, phase: now.value, phases, ...shardsOf(job) }, epoch);
    };
    /** How a run of a request ended, as the coordinator's actor says. */
    const reportEnd = ({ job: name, tries, epoch, millis = {}, code }: RequestOutcome, phase: Phase) => {
      const job = jobs.get(name);
      const why = job?.reason ?? `it was given up at try ${tries}: ${code}; the coordinator's log says more`;
      const told = (code: string) =>
        job?.closed && !TOLD.has(code)
          ? { code: 'proof-refused', message: REFUSAL }
          : { code, message: why.slice(0, 1000) };
      const error = code ? { [phase === 'failed' ? 'error' : 'waiting']: told(code) } : {};
      if (!job) return;
      publishProgress(job.client, { job: name, phase, phases: millis, ...shardsOf(job), ...error }, epoch);
    };
    const drop = (name: string) => {
      const job = jobs.get(name);
      jobs.delete(name);
      if (job) forget(job);
    };
    /** Ends a request that never becomes a job. */
    const turnDown = (request: PulledMessage, { code, message }: VouchError) => {
      request.term();
      const [job, client] = [lastToken(request.subject), lastTokenButOne(request.subject)];
      log(`${source}: request ${job.slice(0, 64)} turned down: ${message}`);
      // Whatever a client has put into the subject: nobody can listen for a job that has no legal id.
      if (!Id.safeParse(job).success) return;
      const error = { code, message: message.slice(0, 1000) };
      publishProgress(client, { job, phase: 'failed', done: 0, total: 0, workers: [], phases: {}, error });
    };
    /** Takes a request that was pulled, unless it cannot become a job. Throws why. */
    const admit = (request: PulledMessage): string | undefined => {
      const { body } = decodeMessage(ProofRequest, request.subject, request.data);
      const { job, statement, cancel } = body;
      const client = lastTokenButOne(request.subject);
      if (request.subject !== subjects.proofRequest(statement.statement, client, job)) {
        throw new VouchError('bad-message', 'proof.request: its job is not the one of its subject');
      }
      if (requesterOf(body, options.requesters, new Date()) !== client)
        throw new VouchError(
          'signature-rejected',
          'requester: expected the client of the subject, got another',
        );
      if (cancel !== undefined && withdrawn.delete(cancel))
        throw new VouchError('cancelled', `job ${job} was cancelled before it was begun`);
      const known = jobs.get(job);
      if (known && known.client !== client)
        throw new VouchError('conflict', `job ${job}: it exists already; choose a new id`);
      if (known) {
        request.working();
        return undefined;
      }
      const close = shares.open(client);
      const working = setInterval(() => {
        request.working();
        report(job);
      }, WORKING_MS);
      jobs.set(job, { request, asked: body, client, working, close, work: { stage: 'requested' } });
      return job;
    };
    // What is still here when the role stops is somebody else's at once.
    context.onStop(() => {
      for (const [job, { request }] of jobs) {
        request.nak();
        drop(job);
      }
    });

    const machine = proofCoordinatorMachine.provide({
      actors: {
        // Evidence is made once before anybody asks for it: a platform that cannot is found here.
        join: effect('join', async () => {
          await provisionMemoryStreams(bus);
          return { hardware: isHardware(await identity.evidence(freshNonce())) };
        }),
        pullRequest: effect('pullRequest', async ({ signal }) => {
          for (;;) {
            const request = await bus.next(STREAMS.proofRequests.name, PROOF_REQUEST_CONSUMER, {
              expiresMs: 5_000,
              signal,
            });
            if (!request) continue;
            if (signal.aborted) {
              // Nobody waits for it any more; it is somebody else's at once.
              request.nak();
              throw new VouchError('cancelled', 'no longer admitting requests');
            }
            try {
              const job = admit(request);
              if (job !== undefined) return { job, tries: request.deliveries };
            } catch (error) {
              const known = error instanceof VouchError;
              turnDown(request, known ? error : new VouchError('internal', messageOf(error)));
            }
          }
        }),
        proofJob: proofJobLogic({
          id,
          bus,
          log,
          source,
          effect,
          identity,
          requesters: options.requesters,
          pool,
          engine,
          fleet,
          dispatcher,
          own,
          shardPoints: options.shardPoints,
          insecureBlinding: options.insecureBlinding,
          jobNamed: (name) => {
            const job = jobs.get(name);
            if (!job) throw new VouchError('cancelled', `job ${name} is no longer here`);
            return job;
          },
          actorOf,
          report,
          millisOf: (name) => actorOf(name)?.getSnapshot().context.millis ?? {},
        }),
        fleetMember: fleet.member,
      },
      actions: {
        endRequest: (_, outcome) => {
          const { job: name, code, tries } = outcome;
          const job = jobs.get(name);
          if (code)
            log(`${source}: job ${name} failed for good, try ${tries}: ${code}: ${job?.reason ?? ''}`);
          void job?.request.ack().catch((error: unknown) => log(`${source}: ${messageOf(error)}`));
          reportEnd(outcome, code ? 'failed' : 'published');
          drop(name);
          void trimCaches();
        },
        nakRequest: (_, outcome) => {
          const { job: name, code, tries } = outcome;
          const job = jobs.get(name);
          log(`${source}: job ${name} will be tried again after try ${tries}: ${code}: ${job?.reason ?? ''}`);
          reportEnd(outcome, 'queued');
          job?.request.nak(code === 'storage-full' ? FULL_RETRY_MS : RETRY_MS);
          drop(name);
        },
        suspendWorker: (_, { id: worker }) => fleet.suspend(worker),
      },
    });

    const actor = context.run({
      kind: 'coordinator',
      id,
      machine,
      input: { id, maxJobs: options.jobs ?? JOBS },
      countsOf: proofCoordinatorCounts,
      child: (src, child) =>
        src === 'proofJob'
          ? { kind: 'proof-job', id: child.slice(jobActorId('').length), countsOf: proofJobCounts }
          : undefined,
    });
    fleet.follow(actor);
    const asking = createBudget(EVIDENCE);
    answer(
      bus,
      [EvidenceRequest, EvidenceReply],
      {
        subject: filters.evidenceOfCoordinator(id),
        source,
        log,
        // Not given back: an answer costs as much as a wrong question.
        admit: ({ subject }) => asking.take(lastToken(subject)),
      },
      async ({ body }) => ({ document: await identity.evidence(body.nonce) }),
    );

    bus.subscribe(filters.cancels, (received) => {
      let cause: string | undefined;
      try {
        const message = decodeMessage(ProofCancel, received.subject, received.data);
        cause = message.id;
        const { job: name, secret } = message.body;
        if (received.subject !== subjects.control('proof-job', name, 'cancel'))
          throw new VouchError('bad-message', 'proof.cancel: its job is not the one of its subject');
        const digest = sha256Hex(fromHex(secret, 'secret'));
        const job = jobs.get(name);
        if (!job) {
          // Another coordinator may work on it, and answers. Of what is only remembered the oldest goes first.
          withdrawn.add(digest);
          for (const oldest of withdrawn) if (withdrawn.size > MAX_WITHDRAWN) withdrawn.delete(oldest);
          return;
        }
        if (digest !== job.asked.cancel)
          throw new VouchError('bad-input', `job ${name}: expected the secret of its request, got another`);
        const { reason } = job;
        job.reason = 'it was cancelled by its requester';
        actor.send({ type: 'job.cancel', job: name });
        // The machine has ended the job, unless it is too late; nobody is told otherwise.
        if (jobs.get(name) === job) {
          if (reason === undefined) delete job.reason;
          else job.reason = reason;
          throw new VouchError(
            'conflict',
            `job ${name}: its proof is being published, which cannot be taken back`,
          );
        }
        const { subject } = received;
        received.respond(encodeMessage(ProofCancelled, { subject, source, cause, body: { job: name } }));
      } catch (error) {
        respondError(received, error, { source, cause, log });
      }
    });
    return { actor, drain: { type: 'coordinator.drain' } };
  };
