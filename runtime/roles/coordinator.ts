/**
 * The proof coordinator, an attested process: it holds the witness, which is the weights. It takes a request from the
 * queue and its lease, makes the witness (witnessing.ts), has the sums computed by attested workers (dispatch.ts),
 * and publishes nothing that does not verify.
 *
 * A request stays in the queue until its proof is published or can never be, so a crash at any moment only means
 * that somebody starts again: under a later epoch, with nothing kept but what is cached by digest. Every end of a
 * request is told to the requester as progress; a failure names its code.
 *
 * Secrets (model, witness, r and s) live in one `Job` per proof in this file's closures and are gone with it.
 */
import { type AnyActorRef, fromPromise, type PromiseActorLogic } from 'xstate';
import { proofCoordinatorCounts, proofCoordinatorMachine } from '../../actors/proof-coordinator.ts';
import { type ProofJobEvent, proofJobCounts, proofJobMachine } from '../../actors/proof-job.ts';
import { SECTIONS } from '../../circuits/groth16/engine.ts';
import { randomScalar } from '../../circuits/groth16/field.ts';
import { assemble, type Proof, transform } from '../../circuits/groth16/prove.ts';
import { verificationKey } from '../../circuits/groth16/verify.ts';
import { sectionCounts } from '../../circuits/groth16/zkey.ts';
import type { Policy } from '../../protocols/attestation/policy.ts';
import { demandAccepted, verifyEvidence } from '../../protocols/attestation/verify.ts';
import { SCALAR_BYTES } from '../../protocols/bn254.ts';
import { signStatement } from '../../protocols/cose.ts';
import { base64url, canonicalJson, sha256, sha256Hex, utf8 } from '../../protocols/encoding.ts';
import { decodeMessage, encodeMessage, Id } from '../../protocols/envelope.ts';
import { messageOf, VouchError } from '../../protocols/errors.ts';
import {
  type Phase,
  PROOF_CONTENT_TYPE,
  ProofProgress,
  type ProofRecord,
  ProofRequest,
  PublishedProof,
  type QualityStatement,
} from '../../protocols/proof.ts';
import { SEAL_OVERHEAD_BYTES } from '../../protocols/sealing.ts';
import { PROOF_REQUEST_CONSUMER, STREAMS } from '../../protocols/streams.ts';
import { lastToken, subjects } from '../../protocols/subjects.ts';
import { collateralFor } from '../attest/collateral.ts';
import { createIdentity } from '../attest/identity.ts';
import type { Provider } from '../attest/provider.ts';
import { createLedger, type Ledger, planShards, workOf } from '../msm/shards/plan.ts';
import {
  type PartialSum,
  type SectionScalars,
  sectionSums,
  sharesOf,
  wrongSums,
} from '../msm/shards/sums.ts';
import { createPool } from '../msm/threads/pool.ts';
import type { PulledMessage } from '../nats/bus.ts';
import { acquire, type Lease } from '../nats/lease.ts';
import { provisionMemoryStreams } from '../nats/provision.ts';
import { type EngineName, engineBeside } from '../prove/host-engine.ts';
import { verifyWithSnarkjs } from '../prove/snarkjs.ts';
import { dispatch } from './dispatch.ts';
import { createFleet } from './fleet.ts';
import type { StartRole } from './host.ts';
import { type Witnessed, witnessOf } from './witnessing.ts';

/** A third of the request consumer's ack wait (runtime/nats/provision.ts); progress is told as often. */
const WORKING_MS = 4_000;
/** Deliveries of one request: a coordinator that dies over it, or a fault that looks passing, ends somewhere. */
const MAX_TRIES = 8;
const RETRY_MS = 1_000;
/** Shards per worker: enough to even out, few enough that each is worth a trip. Their size is in points of A (plan.ts). */
const SHARDS_PER_WORKER = 8;
const MIN_SHARD_POINTS = 2048;
const MAX_SHARD_POINTS = 131_072;
/** Room in a message for headers. */
const HEADER_BYTES = 64 * 1024;

export interface CoordinatorOptions {
  /** what a worker's evidence has to satisfy */
  readonly workerPolicy: Policy;
  /** threads for transforms and checks, default 1 */
  readonly threads?: number | undefined;
  /** who makes transforms and sums of its own; `wasm` by default, because a GPU would see the whole witness */
  readonly engine?: EngineName | undefined;
  /** that a key may take of a GPU; by default what its capability says */
  readonly gpuBytes?: number | undefined;
  /** default: one of this installation's own */
  readonly provider?: Provider | undefined;
  /** points of a shard at most; by default as few shards as keep the workers evenly busy */
  readonly shardPoints?: number | undefined;
  /** Fixed r and s, for tests that compare proofs. A proof made with known r and s hides nothing. */
  readonly insecureBlinding?: { readonly r: bigint; readonly s: bigint } | undefined;
}

/** One proof while it is made; at most `maxJobs` of the machine at a time. */
interface Job {
  readonly request: PulledMessage;
  readonly statement: QualityStatement;
  readonly working: NodeJS.Timeout;
  phase: Phase;
  /** milliseconds per finished phase */
  readonly phases: Partial<Record<Phase, number>>;
  /** what the requester is told when it fails */
  reason?: string;
  lease?: Lease;
  /** what it is made from, as far as it is there; everything but the ledger is secret or derived from secrets */
  witnessed?: Witnessed;
  scalars?: SectionScalars;
  publicSignals?: readonly string[];
  ledger?: Ledger;
  /** checked points by shard */
  parts?: Map<string, PartialSum>;
  proof?: Proof;
}

export const coordinatorRole =
  (options: CoordinatorOptions): StartRole =>
  async (context) => {
    const { id, bus, log, source } = context;
    const pool = await createPool({ threads: options.threads ?? 1 });
    context.onStop(() => pool.close());
    const { engine: name = 'wasm', gpuBytes } = options;
    const engine = await engineBeside(pool, { engine: name, gpuBytes, log });
    context.onStop(() => engine.close());
    const identity = await createIdentity('coordinator', id, { provider: options.provider });
    const jobs = new Map<string, Job>();

    const fleet = createFleet({
      bus,
      source,
      log,
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
      onBeat: (worker, state, credit) => actor.send({ type: 'worker.beat', id: worker, state, credit }),
      onGone: (worker) => actor.send({ type: 'worker.gone', id: worker }),
    });
    context.onStop(() => fleet.close());

    const jobOf = (name: string): Job => {
      const job = jobs.get(name);
      if (!job) throw new VouchError('cancelled', `job ${name} is no longer here`);
      return job;
    };
    /** What an earlier phase left behind. */
    const had = <T>(value: T | undefined): T => {
      if (value === undefined) throw new VouchError('internal', 'a phase ran before the one it builds on');
      return value;
    };
    const open = (name: string, request: PulledMessage, statement: QualityStatement) => {
      const working = setInterval(() => {
        request.working();
        report(name);
      }, WORKING_MS);
      jobs.set(name, { request, statement, working, phase: 'queued', phases: {} });
    };
    const forget = (name: string) => {
      const job = jobs.get(name);
      if (!job) return;
      jobs.delete(name);
      clearInterval(job.working);
      // The other sections' scalars are views of the witness.
      job.witnessed?.witness.fill(0);
      job.scalars?.H.fill(0);
      void job.lease?.release().catch(() => {});
    };

    const tell = (body: ProofProgress, epoch?: number) => {
      const subject = subjects.progress(body.job);
      bus.publishLossy(subject, encodeMessage(ProofProgress, { subject, source, epoch, body }));
    };
    const report = (name: string, end: Partial<Pick<ProofProgress, 'phase' | 'error'>> = {}) => {
      const job = jobs.get(name);
      if (!job) return;
      const { total, done, workers } = job.ledger?.counts() ?? { total: 0, done: 0, workers: [] };
      const { phase, phases, lease } = job;
      tell({ job: name, phase, done, total, workers, phases: { ...phases }, ...end }, lease?.epoch);
    };
    const failure = (name: string, code: string) => {
      const message = (jobs.get(name)?.reason ?? `the proof failed: ${code}`).slice(0, 1000);
      report(name, { phase: 'failed', error: { code, message } });
    };
    /** Ends a request that never became a job. */
    const turnDown = (request: PulledMessage, { code, message }: VouchError) => {
      request.term();
      const job = lastToken(request.subject);
      log(`${source}: request ${job.slice(0, 64)} turned down: ${message}`);
      // Whatever a client has put into the subject: nobody can listen for a job that has no legal id.
      if (!Id.safeParse(job).success) return;
      const error = { code, message: message.slice(0, 1000) };
      tell({ job, phase: 'failed', done: 0, total: 0, workers: [], phases: {}, error });
    };
    // What is still here when the role stops is somebody else's at once.
    context.onStop(() => {
      for (const [name, { request }] of jobs) {
        request.nak();
        forget(name);
      }
    });

    /** An effect of a proof job: reports its phase, times it, and keeps the reason when it fails. */
    const phase = <Input extends { job: string }, Output>(
      name: Phase,
      run: (job: Job, args: { input: Input; signal: AbortSignal; self: AnyActorRef }) => Promise<Output>,
    ): PromiseActorLogic<Output, Input> =>
      fromPromise<Output, Input>(async ({ input, signal, self }) => {
        const job = jobOf(input.job);
        job.phase = name;
        report(input.job);
        const began = performance.now();
        try {
          return await run(job, { input, signal, self });
        } catch (error) {
          if (error instanceof VouchError) job.reason ??= error.message;
          else log(`${source}: job ${input.job}, ${name}: ${(error as Error)?.stack ?? messageOf(error)}`);
          throw error;
        } finally {
          job.phases[name] = (job.phases[name] ?? 0) + Math.round(performance.now() - began);
        }
      });
    const isPublished = async (job: string) =>
      (await bus.getLast(STREAMS.proofs.name, subjects.proof(job))) !== undefined;
    const verifies = async ({ witnessed, publicSignals, proof }: Job) =>
      verifyWithSnarkjs(verificationKey(had(witnessed).zkey), had(publicSignals), had(proof));

    const jobMachine = proofJobMachine.provide({
      actors: {
        acquireLease: phase('queued', async (job, { input, signal, self }) => {
          if (await isPublished(input.job)) return { epoch: 0, published: true };
          const lease = await acquire(bus, { key: `proof_${input.job}`, holder: source, signal });
          job.lease = lease;
          lease.lost.addEventListener('abort', () => {
            if (jobs.get(input.job) !== job) return;
            job.reason = messageOf(lease.lost.reason);
            self._parent?.send({ type: 'lease.lost' } satisfies ProofJobEvent);
          });
          // Its last holder may have published while we waited.
          return { epoch: lease.epoch, published: await isPublished(input.job) };
        }),
        witness: phase('witnessing', async (job, { signal }) => {
          job.witnessed = await witnessOf({ bus, source, identity, pool, engine }, job.statement, signal);
        }),
        transform: phase('transforming', async (job, { signal }) => {
          const { zkey, witness } = had(job.witnessed);
          const ready = await engine.ready(zkey, { signal });
          try {
            const { scalars, publicSignals } = await transform(zkey, witness, ready, { signal });
            job.scalars = scalars;
            job.publicSignals = publicSignals.map(String);
          } finally {
            ready.release();
          }
        }),
        plan: phase('planning', async (job) => {
          const { zkey, key } = had(job.witnessed);
          const counts = sectionCounts(zkey);
          const layout = SECTIONS.map((section) => ({
            section,
            offset: zkey.range(section).offset,
            count: counts[section],
          }));
          const blob = {
            chunks: key.chunks.map(({ sha256: digest }) => digest),
            chunkBytes: key.chunks[0]?.size ?? 1,
          };
          const share = Math.ceil(workOf(layout) / (SHARDS_PER_WORKER * Math.max(2, fleet.ready().length)));
          const size = Math.min(
            Math.max(share, MIN_SHARD_POINTS),
            options.shardPoints ?? MAX_SHARD_POINTS,
            Math.floor((bus.server.maxPayload - HEADER_BYTES - SEAL_OVERHEAD_BYTES) / SCALAR_BYTES),
          );
          job.ledger = createLedger(planShards(layout, blob, size));
          return { shards: job.ledger.counts().total };
        }),
        dispatch: phase('dispatching', async (job, { input, signal, self }) => {
          job.parts = await dispatch(
            { bus, source, log, fleet },
            {
              job: input.job,
              epoch: input.epoch,
              ledger: had(job.ledger),
              scalars: had(job.scalars),
              signal,
              onNews: (news) => {
                self._parent?.send(news);
                report(input.job);
              },
            },
          );
        }),
        assemble: phase('assembling', async (job, { input, signal }) => {
          const { r, s } = options.insecureBlinding ?? { r: randomScalar(), s: randomScalar() };
          const { zkey } = had(job.witnessed);
          const parts = had(job.parts);
          job.proof = await assemble(zkey, sectionSums(parts.values()), r, s, engine);
          if (await verifies(job)) return;
          let wrong = 0;
          const truth = { zkey, scalars: had(job.scalars) };
          for await (const { part, right } of wrongSums(parts.values(), truth, engine, signal)) {
            const { shard, worker } = part;
            log(`${source}: job ${input.job}: ${worker} computed ${shard.id} wrongly; it gets no more work`);
            fleet.ban(worker);
            parts.set(shard.id, { shard, point: right, worker: id, millis: 0 });
            wrong += 1;
          }
          if (wrong === 0) job.reason = 'the proof does not verify, although every sum is right: see the key';
          job.proof = await assemble(zkey, sectionSums(parts.values()), r, s, engine);
        }),
        verify: phase('verifying', async (job) => ({ verified: await verifies(job) })),
        publish: phase('publishing', async (job, { input: { job: name, epoch } }) => {
          const { zkey, architecture, constraints } = had(job.witnessed);
          const record: ProofRecord = {
            job: name,
            statement: job.statement,
            proof: structuredClone(had(job.proof)) as ProofRecord['proof'],
            publicSignals: [...had(job.publicSignals)],
            verificationKey: { ...verificationKey(zkey) },
            architecture,
            constraints,
            domain: zkey.domainSize,
            phases: { ...job.phases },
            workers: sharesOf(had(job.parts).values()),
            time: new Date().toISOString(),
          };
          const bytes = utf8(canonicalJson(record));
          const signature = await signStatement(identity.signer, PROOF_CONTENT_TYPE, sha256(bytes));
          const maker = await identity.evidence(sha256Hex(bytes), job.statement.commitment);
          const subject = subjects.proof(name);
          const body = { record, signature: base64url(signature), maker };
          const message = encodeMessage(PublishedProof, { subject, source, epoch, body });
          try {
            await bus.append(subject, message, {
              expectLastSubjectSequence: 0,
              msgId: name,
              retryMs: 30_000,
            });
          } catch (error) {
            // Another coordinator was first, or we were and never heard of it; one proof is what was asked for.
            if (!(error instanceof VouchError && error.code === 'conflict')) throw error;
          }
        }),
      },
    });

    const machine = proofCoordinatorMachine.provide({
      actors: {
        join: fromPromise(async () => {
          await provisionMemoryStreams(bus);
        }),
        pullRequest: fromPromise(async ({ signal }) => {
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
              const { body } = decodeMessage(ProofRequest, request.subject, request.data);
              const { job, statement } = body;
              if (request.subject !== subjects.proofRequest(statement.statement, job)) {
                throw new VouchError('bad-message', 'proof.request: its job is not the one of its subject');
              }
              if (request.deliveries > MAX_TRIES) {
                throw new VouchError(
                  'internal',
                  `the proof was given up after ${MAX_TRIES} tries; see the coordinator's log`,
                );
              }
              if (jobs.has(job)) {
                request.working();
                continue;
              }
              open(job, request, statement);
              return { job };
            } catch (error) {
              const known = error instanceof VouchError;
              turnDown(request, known ? error : new VouchError('internal', messageOf(error)));
            }
          }
        }),
        proofJob: jobMachine,
      },
      actions: {
        ackRequest: (_, { job: name, code }) => {
          void jobs
            .get(name)
            ?.request.ack()
            .catch((error: unknown) => log(`${source}: ${messageOf(error)}`));
          if (code) failure(name, code);
          else report(name, { phase: 'published' });
          forget(name);
        },
        nakRequest: (_, { job: name, code = 'internal' }) => {
          const job = jobs.get(name);
          if (!job) return;
          if (job.request.deliveries >= MAX_TRIES) {
            log(`${source}: job ${name} is given up after ${MAX_TRIES} tries: ${code}`);
            failure(name, code);
            job.request.term();
          } else {
            log(`${source}: job ${name} will be tried again: ${code}: ${job.reason ?? 'see above'}`);
            report(name, { phase: 'queued' });
            job.request.nak(RETRY_MS);
          }
          forget(name);
        },
      },
    });

    const actor = context.run({
      kind: 'coordinator',
      id,
      machine,
      input: { id },
      countsOf: proofCoordinatorCounts,
      child: (src, child) =>
        src === 'proofJob'
          ? { kind: 'proof-job', id: child.slice('job.'.length), countsOf: proofJobCounts }
          : undefined,
    });
    return { actor, drain: { type: 'coordinator.drain' } };
  };
