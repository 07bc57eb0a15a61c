/**
 * The effects of one proof's actor (actors/proof-job.ts), from the lease to the published proof. What is secret (model,
 * witness, r and s) lives in one `Job`, as its `work`, and is wiped by `forget`.
 *
 * `work` grows from stage to stage, and each phase names the stage that it starts from, so that what a phase can read is
 * what the phases before it have made.
 */
import type { AnyActorRef, PromiseActorLogic } from 'xstate';
import { type ProofJobEvent, proofJobMachine, type Timed } from '../../actors/proof-job.ts';
import { randomScalar } from '../../circuits/groth16/field.ts';
import { assemblePoints, proofOf, transform } from '../../circuits/groth16/prove.ts';
import {
  holdsBy,
  type ProofBytes,
  type VerificationKey,
  verificationKey,
} from '../../circuits/groth16/verify.ts';
import type { ProvingKey } from '../../circuits/groth16/zkey.ts';
import { architectureDocument } from '../../circuits/model/architecture.ts';
import { signStatement } from '../../protocols/cose.ts';
import { base64url, canonicalJson, sha256, sha256Hex, utf8 } from '../../protocols/encoding.ts';
import { encodeMessage } from '../../protocols/envelope.ts';
import { messageOf, VouchError } from '../../protocols/errors.ts';
import {
  type Phase,
  PROOF_CONTENT_TYPE,
  type ProofRecord,
  type ProofRequest,
  PublishedProof,
  REFUSAL,
} from '../../protocols/proof.ts';
import type { RequesterAuthority } from '../../protocols/requester.ts';
import { STREAMS } from '../../protocols/streams.ts';
import { subjects } from '../../protocols/subjects.ts';
import type { Identity } from '../attest/identity.ts';
import {
  blame,
  type PartialSum,
  pointRanges,
  type SectionScalars,
  scalarsOf,
  sectionSums,
  sharesOf,
} from '../msm/shards/sums.ts';
import type { Pool } from '../msm/threads/pool.ts';
import type { PulledMessage } from '../nats/bus.ts';
import { acquire, type Lease } from '../nats/lease.ts';
import type { DispatchedJob, Dispatcher, Distribution } from './dispatch.ts';
import type { Fleet } from './fleet.ts';
import type { RoleContext } from './host.ts';
import type { KeptCircuits } from './kept-circuits.ts';
import type { OwnNode } from './own-node.ts';
import { prepare, quotientOf, type Witnessed, witnessOf } from './witnessing.ts';

/** A shard's coming and going is told with what else happens so soon. */
const REPORT_MS = 50;

/** What there is of a proof, stage by stage; each stage has all that the one before it has. */
interface Stages {
  requested: object;
  /** secret */
  witnessed: Witnessed;
  /** secret */
  planned: Stages['witnessed'] & { readonly distribution: Distribution };
  /** secret */
  transformed: Stages['planned'] & {
    readonly scalars: SectionScalars;
    readonly publicSignals: readonly bigint[];
  };
  /** checked points by shard */
  summed: Stages['transformed'] & { readonly parts: readonly PartialSum[] };
  assembled: Stages['summed'] & {
    readonly proof: ProofBytes;
    /** of this very proof; undefined where nobody has looked yet */
    readonly verified: boolean | undefined;
    readonly convicted: readonly string[];
  };
}
type Stage = keyof Stages;
type Work = { [S in Stage]: { readonly stage: S } & Stages[S] }[Stage];
type WorkOf<S extends Stage> = Extract<Work, { stage: S }>;

/** One request and its proof, while it is made. */
export interface Job {
  readonly request: PulledMessage;
  readonly asked: ProofRequest;
  /** who has signed it; the same as its subject names */
  readonly client: string;
  readonly working: NodeJS.Timeout;
  /** Ends what it takes of its requester's share. */
  readonly close: () => void;
  work: Work;
  lease?: Lease;
  /** the model is computed with: why it fails from here on may depend on the model, and is for the log only */
  closed?: boolean;
  /** why it fails */
  reason?: string;
}

/** What may pass is tried again under its own code; all else is one and the same. */
function refusalOf(error: unknown): unknown {
  if (!(error instanceof VouchError) || error.retryable) return error;
  return new VouchError('proof-refused', REFUSAL, { cause: error });
}

/** Wipes what is secret of a job and gives its lease back. */
export function forget({ work, working, close, lease }: Job): void {
  clearInterval(working);
  close();
  // The other sections' scalars are views of the witness.
  if ('distribution' in work) work.distribution.stop();
  if ('witness' in work) work.witness.fill(0);
  if ('scalars' in work) work.scalars.H.fill(0);
  void lease?.release().catch(() => {});
}

export interface ProofJobOptions extends Pick<RoleContext, 'id' | 'bus' | 'log' | 'source' | 'effect'> {
  readonly identity: Identity;
  readonly requesters: RequesterAuthority;
  readonly pool: Pool;
  readonly engine: KeptCircuits;
  readonly fleet: Fleet;
  readonly dispatcher: Dispatcher;
  /** Who sums here; left out where nothing is. */
  readonly own?: OwnNode | undefined;
  /** scalars of a shard at most */
  readonly shardPoints?: number | undefined;
  readonly insecureBlinding?: { readonly r: bigint; readonly s: bigint } | undefined;
  /** Throws `cancelled` for a job that is no longer here. */
  jobNamed(name: string): Job;
  /** The job's own actor. */
  actorOf(name: string): AnyActorRef | undefined;
  /** Tells the requester where the job is. */
  report(name: string): void;
  /** milliseconds of the phases that are finished */
  millisOf(name: string): Partial<Record<Phase, number>>;
}

/** The logic of one proof's actor, with its effects. */
export function proofJobLogic(options: ProofJobOptions) {
  const { bus, log, source, effect, identity, requesters, pool, engine, fleet, dispatcher, own } = options;
  const { jobNamed, actorOf, report } = options;

  /** An effect of one phase, on work that has come as far as `stage`. Its output gets the time that it took. */
  const phase = <S extends Stage, Output extends object, Input extends { job: string }>(
    name: Phase,
    stage: S,
    run: (work: WorkOf<S>, args: { job: Job; input: Input; signal: AbortSignal }) => Promise<Output>,
  ): PromiseActorLogic<Output & Timed, Input> =>
    effect<Output & Timed, Input>(
      name,
      async ({ input, signal }) => {
        const job = jobNamed(input.job);
        report(input.job);
        const began = performance.now();
        try {
          if (job.work.stage !== stage)
            throw new VouchError(
              'internal',
              `${name}: expected work that is ${stage}, got ${job.work.stage}`,
            );
          const output = await run(job.work as WorkOf<S>, { job, input, signal });
          return { ...output, millis: performance.now() - began };
        } catch (error) {
          if (error instanceof VouchError) job.reason ??= error.message;
          throw job.closed ? refusalOf(error) : error;
        }
      },
      { ofRequest: true },
    );
  const isPublished = async (client: string, job: string) =>
    (await bus.getLast(STREAMS.proofs.name, subjects.proof(client, job))) !== undefined;
  /** A pairing each, so once for each key. */
  const verificationKeys = new WeakMap<ProvingKey, VerificationKey>();
  const verificationKeyOf = (zkey: ProvingKey): VerificationKey => {
    const key = verificationKeys.get(zkey) ?? verificationKey(zkey);
    verificationKeys.set(zkey, key);
    return key;
  };
  /** Whoever gets the proof verifies it with other arithmetic as well; this is for what workers answered. */
  const verifies = ({ zkey, publicSignals }: Stages['transformed'], proof: ProofBytes) =>
    holdsBy(engine, zkey, publicSignals, proof);

  /** How pieces are summed by this process's own engine; undefined where it cannot. */
  const sumsHere = async (zkey: ProvingKey, signal: AbortSignal): Promise<DispatchedJob['sumHere']> => {
    const ready = await engine.ready(zkey, { signal });
    ready.release();
    if (!ready.rangeSums) return undefined;
    return async (piece, vector) => {
      const scalars = scalarsOf(vector, piece);
      const holding = await engine.ready(zkey);
      try {
        return await holding.rangeSums!(pointRanges(zkey, piece), scalars);
      } finally {
        holding.release();
        if (scalars.buffer !== vector.buffer) scalars.fill(0);
      }
    };
  };

  /** What takes all threads is done by one job at a time. */
  let turn: Promise<unknown> = Promise.resolve();
  /** `kind` names things that take equally long. */
  const inTurn = <T>(kind: string, run: () => Promise<T>): Promise<T> => {
    const mine = own ? own.occupied(kind, () => turn.then(run)) : turn.then(run);
    turn = mine.catch(() => {});
    return mine;
  };

  return proofJobMachine.provide({
    actors: {
      acquireLease: phase('queued', 'requested', async (_, { job, input, signal }) => {
        if (await isPublished(job.client, input.job)) return { epoch: 0, published: true };
        const lease = await acquire(bus, { key: input.job, holder: source, signal });
        job.lease = lease;
        lease.lost.addEventListener('abort', () => {
          job.reason ??= messageOf(lease.lost.reason);
          actorOf(input.job)?.send({ type: 'lease.lost' } satisfies ProofJobEvent);
        });
        // Its last holder may have published while we waited.
        return { epoch: lease.epoch, published: await isPublished(job.client, input.job) };
      }),

      witness: phase('witnessing', 'requested', async (_, { job, signal }) => {
        const prepared = await prepare({ bus, source, identity, requesters, pool, engine }, job, signal);
        job.closed = true;
        const witnessed = await inTurn(`witness ${prepared.statement.circuit}`, () =>
          witnessOf({ engine }, prepared, signal),
        );
        job.work = { stage: 'witnessed', ...witnessed };
        return {};
      }),

      plan: phase('planning', 'witnessed', async (work, { job, input, signal }) => {
        await fleet.recheck();
        // A job that ended meanwhile is wiped: nobody would ever stop its shards.
        if (signal.aborted) throw new VouchError('cancelled', `job ${input.job} was stopped`);
        const { zkey, key, witness, bits } = work;
        let reporting: NodeJS.Timeout | undefined;
        let again = false;
        const distribution = dispatcher.open({
          job: input.job,
          client: job.client,
          epoch: input.epoch,
          key: zkey,
          manifest: key,
          isBit: (wire) => ((bits[wire >> 3]! >> (wire & 7)) & 1) === 1,
          maxRows: options.shardPoints,
          sumHere: own && (await sumsHere(zkey, signal)),
          onNews: (news) => {
            actorOf(input.job)?.send(news);
            if (reporting) {
              again = true;
              return;
            }
            report(input.job);
            reporting = setTimeout(() => {
              reporting = undefined;
              if (again) report(input.job);
              again = false;
            }, REPORT_MS);
          },
        });
        job.work = { ...work, stage: 'planned', distribution };
        distribution.add('wires', witness);
        return { shards: distribution.counts().total };
      }),

      transform: phase('transforming', 'planned', async (work, { job, signal }) => {
        const { scalars, publicSignals } = await inTurn(`transform ${work.zkey.domainSize}`, () =>
          transform(work.zkey, work.witness, {
            quotient: () => quotientOf({ engine, pool }, work, signal),
          }),
        );
        job.work = { ...work, stage: 'transformed', scalars, publicSignals };
        work.distribution.add('quotient', scalars.H);
        return {};
      }),

      dispatch: phase('dispatching', 'transformed', async (work, { job }) => {
        job.work = { ...work, stage: 'summed', parts: await work.distribution.finished };
        return {};
      }),

      assemble: phase('assembling', 'summed', async (work, { job, input, signal }) => {
        const { r, s } = options.insecureBlinding ?? { r: randomScalar(), s: randomScalar() };
        const { zkey, parts, scalars } = work;
        let convicted: readonly string[] = [];
        let proof = await assemblePoints(zkey, sectionSums(zkey, parts), r, s, engine).catch(() => undefined);
        let verified: boolean | undefined = proof && (await verifies(work, proof));
        if (!proof || !verified) {
          const { sums, liars: wrong } = await inTurn('blame', () =>
            blame(parts, zkey, scalars, engine, { signal }),
          );
          // Nobody is convicted for what this host computes wrongly.
          const liars = wrong.filter((id) => id !== own?.id);
          if (liars.length < wrong.length)
            log(`${source}: job ${input.job}: sums that were made here were wrong`);
          for (const worker of liars) {
            log(`${source}: job ${input.job}: ${worker} computed wrongly; it gets no more work`);
            fleet.ban(worker, input.job);
          }
          if (wrong.length === 0)
            job.reason = 'the proof does not verify, although every sum is right: see the key';
          convicted = liars;
          proof = await assemblePoints(zkey, sums, r, s, engine);
          verified = undefined;
        }
        job.work = { ...work, stage: 'assembled', proof, verified, convicted };
        return {};
      }),

      verify: phase('verifying', 'assembled', async (work, { job }) => {
        const verified = work.verified ?? (await verifies(work, work.proof));
        if (!verified) job.reason ??= 'the proof does not verify';
        return { verified };
      }),

      publish: phase('publishing', 'assembled', async (work, { job, input: { job: name, epoch } }) => {
        const { zkey, architecture, compiled, proof, publicSignals, parts, convicted } = work;
        const record: ProofRecord = {
          job: name,
          nonce: job.asked.nonce,
          statement: job.asked.statement,
          proof: proofOf(proof) as ProofRecord['proof'],
          publicSignals: publicSignals.map(String),
          verificationKey: { ...verificationKeyOf(zkey) },
          architecture: architectureDocument(architecture),
          constraints: compiled.constraints,
          domain: zkey.domainSize,
          phases: options.millisOf(name),
          workers: sharesOf(
            parts
              .filter(({ worker }) => !convicted.includes(worker))
              .map((part) => (part.worker === own?.id ? { ...part, worker: own.name } : part)),
          ),
          ...(convicted.length === 0 ? {} : { convicted: [...convicted] }),
          time: new Date().toISOString(),
        };
        const bytes = utf8(canonicalJson(record));
        const signature = await signStatement(identity.signer, PROOF_CONTENT_TYPE, sha256(bytes));
        const maker = await identity.evidence(sha256Hex(bytes), job.asked.statement.commitment);
        const subject = subjects.proof(job.client, name);
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
        return {};
      }),
    },
  });
}
