/**
 * The proof coordinator, an attested process: it holds the witness, which is the weights. It checks the key
 * against the circuit that it compiled itself, cuts the five sums into shards, seals each to a worker whose
 * evidence it has verified, checks and adds up what comes back, and publishes nothing that does not verify.
 *
 * Secrets (model, witness, r and s) live in one `Job` per proof in this file's closures and are gone with it.
 */
import { readFile } from 'node:fs/promises';
import { type AnyActorRef, fromPromise, type PromiseActorLogic } from 'xstate';
import { proofCoordinatorCounts, proofCoordinatorMachine } from '../../actors/proof-coordinator.ts';
import { type ProofJobEvent, proofJobCounts, proofJobMachine } from '../../actors/proof-job.ts';
import { SECTION_GROUP, SECTIONS, type Section } from '../../circuits/groth16/engine.ts';
import { randomScalar } from '../../circuits/groth16/field.ts';
import { addPoints, checkPoint, POINT_BYTES } from '../../circuits/groth16/point.ts';
import { assemble, type Proof, transform } from '../../circuits/groth16/prove.ts';
import { checkCircuit } from '../../circuits/groth16/qap.ts';
import { readR1cs } from '../../circuits/groth16/r1cs.ts';
import { verificationKey } from '../../circuits/groth16/verify.ts';
import { readZkey, sectionCounts, type Zkey } from '../../circuits/groth16/zkey.ts';
import { parseArchitecture } from '../../circuits/model/architecture.ts';
import { emitQualityCircuit, witnessInput } from '../../circuits/model/emit.ts';
import { decideMany } from '../../circuits/model/quantise.ts';
import { decodeTestSet } from '../../circuits/model/test-set.ts';
import type { Policy } from '../../protocols/attestation/policy.ts';
import { demandAccepted, verifyEvidence } from '../../protocols/attestation/verify.ts';
import { signStatement } from '../../protocols/cose.ts';
import { EvidenceReply, EvidenceRequest } from '../../protocols/enclave.ts';
import { base64url, canonicalJson, equal, sha256, sha256Hex, utf8 } from '../../protocols/encoding.ts';
import {
  decodeHeader,
  decodeMessage,
  ENVELOPE_HEADER,
  encodeHeader,
  encodeMessage,
} from '../../protocols/envelope.ts';
import { messageOf, VouchError } from '../../protocols/errors.ts';
import { SCALAR_BYTES, Shard, ShardRefused, ShardResult, shardContext } from '../../protocols/msm.ts';
import {
  type Phase,
  PROOF_CONTENT_TYPE,
  ProofProgress,
  type ProofRecord,
  ProofRequest,
  PublishedProof,
  type QualityStatement,
} from '../../protocols/proof.ts';
import { SEAL_OVERHEAD_BYTES, SEALING_INFO, sealTo } from '../../protocols/sealing.ts';
import { PROOF_REQUEST_CONSUMER, STREAMS } from '../../protocols/streams.ts';
import { filters, subjects } from '../../protocols/subjects.ts';
import { createIdentity } from '../attest/identity.ts';
import { getBlob, getManifest, type Manifest } from '../blobs.ts';
import type { PulledMessage, Received } from '../bus.ts';
import { calculateWitness, circuitToolchain, compileCircuit } from '../circuit-compiler.ts';
import { folder } from '../context.ts';
import type { StartRole } from '../host.ts';
import { acquire, type Lease } from '../lease.ts';
import { type ObtainedModel, obtainModel } from '../models.ts';
import { createLedger, type Ledger, type PlannedShard, planShards } from '../msm/plan.ts';
import { createPool } from '../msm/pool.ts';
import { ensureShardConsumer, provisionMemoryStreams } from '../provision.ts';
import { verifyWithSnarkjs } from '../snarkjs.ts';
import { createFleet } from './fleet.ts';

const MAX_TEST_SET_BYTES = 64 * 1024 * 1024;
const MAX_KEY_BYTES = 2 ** 31 - 1;
/** A third of the request consumer's ack wait (runtime/provision.ts). */
const WORKING_MS = 4_000;
/** Deliveries of one request: a coordinator that dies over it, or a fault that looks passing, ends somewhere. */
const MAX_TRIES = 8;
/** How often the ledger is looked at when nothing happens. */
const TICK_MS = 500;
/** An idle worker gets a second copy of a shard that has been out for this long. */
const STRAGGLER_MS = 15_000;
/** Shards per worker: enough to even out, few enough that each is worth a trip. */
const SHARDS_PER_WORKER = 8;
const MIN_SHARD_POINTS = 2048;
const MAX_SHARD_POINTS = 65_536;

export interface CoordinatorOptions {
  /** what a worker's evidence has to satisfy */
  readonly workerPolicy: Policy;
  /** threads for transforms and checks, default 1 */
  readonly threads?: number;
  /**
   * Fixed r and s, for tests that compare proofs. A proof made with known r and s hides nothing.
   */
  readonly insecureBlinding?: { readonly r: bigint; readonly s: bigint } | undefined;
}

/** What one proof needs while it is made. Everything but the request is secret or derived from secrets. */
interface Job {
  readonly request: PulledMessage;
  readonly statement: QualityStatement;
  readonly working: NodeJS.Timeout;
  phase: Phase;
  /** milliseconds per finished phase */
  readonly phases: Partial<Record<Phase, number>>;
  /** what the client is told when it fails */
  reason?: string;
  lease?: Lease;
  made?: Made;
}
interface Made {
  readonly obtained: ObtainedModel;
  readonly zkey: Zkey;
  readonly key: Manifest;
  readonly constraints: number;
  witness: Uint8Array;
  scalars?: Readonly<Record<Section, Uint8Array>>;
  publicSignals: readonly bigint[];
  ledger?: Ledger;
  /** checked result per shard */
  readonly points: Map<
    string,
    { readonly point: Uint8Array; readonly worker: string; readonly millis: number }
  >;
  proof?: Proof;
}

export const coordinatorRole =
  (options: CoordinatorOptions): StartRole =>
  async (context) => {
    const { id, bus, log, source } = context;
    const pool = await createPool({ threads: options.threads ?? 1 });
    context.onStop(() => pool.close());
    const identity = await createIdentity('coordinator', id);
    const jobs = new Map<string, Job>();
    const keysChecked = new Set<string>();

    const fleet = createFleet({
      bus,
      source,
      log,
      verify: (document, nonce) => {
        const report = verifyEvidence({ document, policy: options.workerPolicy, nonce, now: new Date() });
        demandAccepted(report, 'worker evidence');
        return report.binding!.hpkeKey;
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
    const madeOf = (name: string): Made => {
      const { made } = jobOf(name);
      if (!made) throw new VouchError('internal', `job ${name} has no witness`);
      return made;
    };
    const forget = (name: string) => {
      const job = jobs.get(name);
      if (!job) return;
      jobs.delete(name);
      clearInterval(job.working);
      job.made?.witness.fill(0);
      job.made?.scalars?.H.fill(0);
      void job.lease?.release().catch(() => {});
    };

    /** The proving key, checked once against the circuit compiled here. */
    const openKey = async (statement: QualityStatement, r1cs: Uint8Array, signal: AbortSignal) => {
      const limits = { maxBytes: MAX_KEY_BYTES, cacheDir: folder('cache', 'blobs'), signal };
      const key = await getManifest(bus, statement.key, limits);
      const zkey = readZkey(await getBlob(bus, statement.key, limits));
      const checked = `${statement.circuit}/${statement.key}`;
      if (!keysChecked.has(checked)) {
        await checkCircuit(zkey, readR1cs(r1cs), pool, { signal });
        keysChecked.add(checked);
      }
      return { zkey, key };
    };

    /** An effect of a proof job: reports its phase, times it, and keeps the reason when it fails. */
    const phase = <Input extends { job: string }, Output>(
      name: Phase,
      run: (args: { input: Input; signal: AbortSignal; self: AnyActorRef }) => Promise<Output>,
    ): PromiseActorLogic<Output, Input> =>
      fromPromise<Output, Input>(async ({ input, signal, self }) => {
        const job = jobOf(input.job);
        job.phase = name;
        report(input.job);
        const began = performance.now();
        try {
          return await run({ input, signal, self });
        } catch (error) {
          if (error instanceof VouchError) job.reason = error.message;
          else if (!signal.aborted)
            log(`${source}: job ${input.job}, ${name}: ${(error as Error)?.stack ?? messageOf(error)}`);
          throw error;
        } finally {
          job.phases[name] = (job.phases[name] ?? 0) + Math.round(performance.now() - began);
        }
      });
    const tellJob = (effect: AnyActorRef, event: ProofJobEvent) => effect._parent?.send(event);

    const jobMachine = proofJobMachine.provide({
      actors: {
        acquireLease: phase('queued', async ({ input, signal, self }) => {
          const job = jobOf(input.job);
          const stored = await bus.getLast(STREAMS.proofs.name, subjects.proof(input.job));
          if (stored) return { epoch: 0, published: true };
          const lease = await acquire(bus, { key: `proof_${input.job}`, holder: source, signal });
          job.lease = lease;
          lease.lost.addEventListener('abort', () => {
            if (jobs.get(input.job) === job) tellJob(self, { type: 'lease.lost' });
          });
          return { epoch: lease.epoch, published: false };
        }),
        witness: phase('witnessing', async ({ input, signal }) => {
          const job = jobOf(input.job);
          const { statement } = job;
          const obtained = await obtainModel(bus, source, identity, statement.model);
          if (obtained.manifest.commitment !== statement.commitment) {
            throw new VouchError(
              'commitment-mismatch',
              `model ${statement.model} has another commitment than the request names`,
            );
          }
          const stored = await getBlob(bus, statement.testSet, {
            maxBytes: MAX_TEST_SET_BYTES,
            cacheDir: folder('cache', 'blobs'),
          });
          const testSet = decodeTestSet(obtained.model.architecture, stored);
          const toolchain = await circuitToolchain();
          const circuit = emitQualityCircuit(obtained.model.architecture, testSet, toolchain);
          if (circuit.digest !== statement.circuit || circuit.rows !== statement.rows) {
            throw new VouchError(
              'bad-input',
              'proof.request: its circuit is not the one that model and test set give here',
            );
          }
          const correct = decideMany(obtained.model, testSet.features).filter(
            (got, i) => got === testSet.labels[i],
          ).length;
          if (correct < statement.threshold || statement.threshold > statement.rows) {
            throw new VouchError(
              'statement-false',
              `the model does not reach ${statement.threshold} of ${statement.rows} rows`,
            );
          }
          const compiled = await compileCircuit(circuit, toolchain, {
            cacheDir: folder('cache', 'circuits'),
            signal,
          });
          const { zkey, key } = await openKey(statement, await readFile(compiled.r1csPath), signal);
          const witness = await calculateWitness(
            await readFile(compiled.wasmPath),
            witnessInput(obtained.model, statement.threshold),
            { signal },
          );
          job.made = {
            obtained,
            zkey,
            key,
            constraints: compiled.constraints,
            witness,
            publicSignals: [],
            points: new Map(),
          };
        }),
        transform: phase('transforming', async ({ input, signal }) => {
          const made = madeOf(input.job);
          const { scalars, publicSignals } = await transform(made.zkey, made.witness, pool, { signal });
          made.scalars = scalars;
          made.publicSignals = publicSignals;
        }),
        plan: phase('planning', async ({ input }) => {
          const made = madeOf(input.job);
          const counts = sectionCounts(made.zkey);
          const layout = SECTIONS.map((section) => ({
            section,
            offset: made.zkey.range(section).offset,
            count: counts[section],
          }));
          const chunks = {
            chunks: made.key.chunks.map(({ sha256 }) => sha256),
            chunkBytes: made.key.chunks[0]?.size ?? 1,
          };
          const work = counts.A + counts.B1 + 3 * counts.B2 + counts.C + counts.H;
          const fits = Math.floor((bus.server.maxPayload - 64 * 1024 - SEAL_OVERHEAD_BYTES) / SCALAR_BYTES);
          const share = Math.ceil(work / (SHARDS_PER_WORKER * Math.max(2, fleet.ready().length)));
          const size = Math.min(Math.max(share, MIN_SHARD_POINTS), MAX_SHARD_POINTS, fits);
          made.ledger = createLedger(planShards(layout, chunks, size));
          return { shards: made.ledger.counts().total };
        }),
        dispatch: phase('dispatching', async ({ input, signal, self }) => {
          await dispatch(input.job, input.epoch, signal, (event) => tellJob(self, event));
        }),
        assemble: phase('assembling', async ({ input }) => {
          const made = madeOf(input.job);
          const { r, s } = options.insecureBlinding ?? { r: randomScalar(), s: randomScalar() };
          made.proof = assemble(made.zkey, sums(made), r, s);
          const verified = await verifyWithSnarkjs(
            verificationKey(made.zkey),
            made.publicSignals.map(String),
            made.proof,
          );
          if (verified) return;
          await convict(input.job, made);
          made.proof = assemble(made.zkey, sums(made), r, s);
        }),
        verify: phase('verifying', async ({ input }) => {
          const { zkey, publicSignals, proof } = madeOf(input.job);
          return {
            verified:
              proof !== undefined &&
              (await verifyWithSnarkjs(verificationKey(zkey), publicSignals.map(String), proof)),
          };
        }),
        publish: phase('verifying', async ({ input }) => {
          const { statement } = jobOf(input.job);
          const made = madeOf(input.job);
          const record: ProofRecord = {
            job: input.job,
            statement,
            proof: structuredClone(made.proof!) as ProofRecord['proof'],
            publicSignals: made.publicSignals.map(String),
            verificationKey: { ...verificationKey(made.zkey) },
            architecture: parseArchitecture(made.obtained.manifest.architecture),
            constraints: made.constraints,
            domain: made.zkey.domainSize,
            phases: { ...jobOf(input.job).phases } as Record<string, number>,
            workers: shares(made),
            time: new Date().toISOString(),
          };
          const bytes = utf8(canonicalJson(record));
          const signature = await signStatement(identity.signer, PROOF_CONTENT_TYPE, sha256(bytes));
          const maker = await identity.evidence(sha256Hex(bytes), statement.commitment);
          const subject = subjects.proof(input.job);
          const body = { record, signature: base64url(signature), maker };
          try {
            await bus.append(
              subject,
              encodeMessage(PublishedProof, { subject, source, epoch: input.epoch, body }),
              {
                expectLastSubjectSequence: 0,
                msgId: input.job,
                retryMs: 30_000,
              },
            );
          } catch (error) {
            // Another coordinator was first; one proof is what was asked for.
            if (!(error instanceof VouchError && error.code === 'conflict')) throw error;
          }
        }),
      },
    });
    /** Runs the ledger until every shard has a checked result. */
    const dispatch = async (
      name: string,
      epoch: number,
      signal: AbortSignal,
      tell: (news: Extract<ProofJobEvent, { worker: string }>) => void,
    ) => {
      const made = madeOf(name);
      const ledger = made.ledger!;
      const scalars = made.scalars!;
      /** by the envelope id of the shard's message, which its result names as its cause */
      const out = new Map<
        string,
        { shard: PlannedShard; worker: string; openReply(reply: Uint8Array): Promise<Uint8Array> }
      >();
      const { promise: finished, resolve, reject } = Promise.withResolvers<void>();

      const send = async (shard: PlannedShard, worker: string) => {
        const { id: shardId, section, from, count, chunks, offset } = shard;
        const subject = subjects.shard(worker, name, shardId);
        const piece = scalars[section].subarray(from * SCALAR_BYTES, (from + count) * SCALAR_BYTES);
        const { sealed, openReply } = await sealTo(fleet.sealingKey(worker), piece, {
          info: SEALING_INFO.shard,
          aad: shardContext(name, shardId, worker, epoch),
        });
        const message = crypto.randomUUID();
        out.set(message, { shard, worker, openReply });
        const body: Shard = {
          job: name,
          shard: shardId,
          worker,
          section,
          count,
          chunks: [...chunks],
          offset,
        };
        const header = encodeHeader(Shard, { subject, source, epoch, body, id: message });
        await bus.append(subject, sealed, {
          headers: { [ENVELOPE_HEADER]: header },
          msgId: message,
          timeoutMs: 10_000,
          signal,
        });
        tell({ type: 'shard.assigned', worker, section });
      };
      const step = () => {
        if (ledger.isDone()) return resolve();
        for (const { shard, worker } of ledger.assign(fleet.ready(), performance.now(), STRAGGLER_MS)) {
          send(shard, worker).catch((error: unknown) => {
            ledger.gone(worker);
            if (!signal.aborted)
              log(`${source}: shard ${shard.id} did not reach ${worker}: ${messageOf(error)}`);
          });
        }
      };
      const receive = async (received: Received) => {
        const text = received.headers[ENVELOPE_HEADER];
        const refused = text?.includes(`"type":"${ShardRefused.type}"`) ?? false;
        const result = refused
          ? decodeHeader(ShardRefused, received.subject, text)
          : decodeHeader(ShardResult, received.subject, text);
        const { job, shard: shardId, worker } = result.body;
        const sent = out.get(result.cause ?? '');
        // The subject says who sent it (NATS rights); the cause says which of our messages it answers.
        if (job !== name || result.epoch !== epoch || sent?.worker !== worker || sent.shard.id !== shardId)
          return;
        if (
          received.subject !== subjects.shardResult(worker, job, shardId) ||
          !ledger.expects(shardId, worker)
        )
          return;
        out.delete(result.cause ?? '');
        const { section } = sent.shard;
        if (refused) {
          ledger.refuse(shardId, worker);
          tell({ type: 'shard.refused', worker, section });
          return step();
        }
        try {
          const point = await sent.openReply(received.data);
          const group = SECTION_GROUP[section];
          if (point.byteLength !== POINT_BYTES[group])
            throw new VouchError('shard-rejected', `shard ${shardId}: not one point`);
          checkPoint(group, point, `shard ${shardId} of ${worker}`);
          if (!ledger.complete(shardId, worker)) return;
          made.points.set(shardId, { point, worker, millis: (result.body as ShardResult).millis });
          tell({ type: 'shard.done', worker, section });
          report(name);
        } catch (error) {
          log(`${source}: a result of ${worker} was refused: ${messageOf(error)}`);
          ledger.refuse(shardId, worker);
          tell({ type: 'shard.refused', worker, section });
        }
        step();
      };
      const results = bus.subscribe(filters.shardResultsOf(name), (received) =>
        receive(received).catch((error: unknown) =>
          log(`${source}: a result was not understood: ${messageOf(error)}`),
        ),
      );
      const gone = fleet.onGone((worker) => {
        ledger.gone(worker);
        step();
      });
      const reconnected = bus.onState((state) => {
        if (state !== 'connected') return;
        // The server may have restarted, and the shards' stream lives in its memory.
        out.clear();
        ledger.reset();
        restore().then(step, (error: unknown) => log(`${source}: ${messageOf(error)}`));
      });
      const abort = () => reject(new VouchError('cancelled', `job ${name} was stopped`));
      signal.addEventListener('abort', abort, { once: true });
      const timer = setInterval(step, TICK_MS);
      try {
        step();
        await finished;
      } finally {
        clearInterval(timer);
        signal.removeEventListener('abort', abort);
        reconnected();
        gone();
        results.unsubscribe();
      }
    };

    /** Makes again what a restart of the server forgot. */
    const restore = async () => {
      await provisionMemoryStreams(bus);
      for (const { id: worker } of fleet.ready()) await ensureShardConsumer(bus, worker);
    };

    const sums = (made: Made): Record<Section, Uint8Array> =>
      Object.fromEntries(
        SECTIONS.map((section) => {
          const points = [...made.points]
            .filter(([shard]) => shard.startsWith(`${section}-`))
            .map(([, { point }]) => point);
          return [section, addPoints(SECTION_GROUP[section], points, `section ${section}`)];
        }),
      ) as Record<Section, Uint8Array>;

    /** A proof that does not verify: every shard is computed again here until the wrong ones are found. */
    const convict = async (name: string, made: Made) => {
      for (const [shardId, { point, worker }] of made.points) {
        const shard = made.ledger!.shard(shardId)!;
        const { section, from, count } = shard;
        const size = POINT_BYTES[SECTION_GROUP[section]];
        const right = await pool.msm(
          SECTION_GROUP[section],
          made.zkey.points[section].subarray(from * size, (from + count) * size),
          made.scalars![section].subarray(from * SCALAR_BYTES, (from + count) * SCALAR_BYTES),
        );
        if (equal(right, point)) continue;
        log(`${source}: job ${name}: ${worker} computed shard ${shardId} wrongly; it gets no more work`);
        fleet.ban(worker);
        made.points.set(shardId, { point: right, worker: id, millis: 0 });
      }
    };

    const shares = ({ points }: Made) => {
      const byWorker = new Map<string, { id: string; shards: number; millis: number }>();
      for (const { worker, millis } of points.values()) {
        const share = byWorker.get(worker) ?? { id: worker, shards: 0, millis: 0 };
        byWorker.set(worker, { id: worker, shards: share.shards + 1, millis: share.millis + millis });
      }
      return [...byWorker.values()].sort((a, b) => (a.id < b.id ? -1 : 1));
    };

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
            try {
              const { body } = decodeMessage(ProofRequest, request.subject, request.data);
              if (request.subject !== subjects.proofRequest(body.statement.statement, body.job)) {
                throw new VouchError('bad-message', 'proof.request: its job is not the one of its subject');
              }
              if (request.deliveries > MAX_TRIES) {
                log(`${source}: job ${body.job} failed ${MAX_TRIES} times; it is given up`);
                const error = {
                  code: 'internal',
                  message: `the proof failed ${MAX_TRIES} times; see the coordinator's log`,
                };
                publishProgress({
                  job: body.job,
                  phase: 'failed',
                  done: 0,
                  total: 0,
                  workers: [],
                  phases: {},
                  error,
                });
                request.term();
                continue;
              }
              if (jobs.has(body.job)) {
                request.working();
                continue;
              }
              const working = setInterval(() => request.working(), WORKING_MS);
              jobs.set(body.job, {
                request,
                statement: body.statement,
                working,
                phase: 'queued',
                phases: {},
              });
              return { job: body.job };
            } catch (error) {
              log(`${source}: dropped a proof request: ${messageOf(error)}`);
              request.term();
            }
          }
        }),
        proofJob: jobMachine,
      },
      actions: {
        ackRequest: (_, { job, code }) => {
          void jobs
            .get(job)
            ?.request.ack()
            .catch((error: unknown) => log(`${source}: ${messageOf(error)}`));
          report(job, { phase: code ? 'failed' : 'published', code });
          forget(job);
        },
        nakRequest: (_, { job, code }) => {
          jobs.get(job)?.request.nak(1_000);
          log(`${source}: job ${job} will be tried again: ${code}`);
          forget(job);
        },
      },
    });

    const publishProgress = (body: ProofProgress) => {
      const subject = subjects.progress(body.job);
      bus.publishLossy(subject, encodeMessage(ProofProgress, { subject, source, body }));
    };
    const report = (name: string, end?: { phase: 'published' | 'failed'; code?: string | undefined }) => {
      const job = jobs.get(name);
      if (!job) return;
      const { total, done, workers } = job.made?.ledger?.counts() ?? { total: 0, done: 0, workers: [] };
      publishProgress({
        job: name,
        phase: end?.phase ?? job.phase,
        done,
        total,
        workers,
        phases: { ...job.phases } as Record<string, number>,
        ...(end?.code
          ? { error: { code: end.code, message: job.reason ?? `the proof failed: ${end.code}` } }
          : {}),
      });
    };

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
