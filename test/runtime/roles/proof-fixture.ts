import { readFile } from 'node:fs/promises';
import { type Proof, prove } from '../../../circuits/groth16/prove.ts';
import { readZkey } from '../../../circuits/groth16/zkey.ts';
import { modelDictionaryDigest } from '../../../circuits/model/architecture.ts';
import { type CommittedModel, randomSalt } from '../../../circuits/model/commit.ts';
import { classNames, preprocessingOf } from '../../../circuits/model/dictionary.ts';
import { witnessInput } from '../../../circuits/model/emit.ts';
import { preprocess } from '../../../circuits/model/preprocessing.ts';
import { decideMany, quantise } from '../../../circuits/model/quantise.ts';
import { encodeTestSet, rowCounts, type TestSet } from '../../../circuits/model/test-set.ts';
import type { Policy } from '../../../protocols/attestation/policy.ts';
import { decodeMessage, encodeMessage, type Message } from '../../../protocols/envelope.ts';
import type { VouchError } from '../../../protocols/errors.ts';
import {
  ProofProgress,
  ProofRequest,
  PublishedProof,
  type QualityStatement,
} from '../../../protocols/proof.ts';
import { STREAMS } from '../../../protocols/streams.ts';
import { filters, lastToken, type Role, subjects } from '../../../protocols/subjects.ts';
import { DEFAULT_TERMS, type Terms } from '../../../protocols/terms.ts';
import { verifyProof } from '../../../runtime/client/client.ts';
import { awaitProof, questionOf, signedBy } from '../../../runtime/client/proof-request.ts';
import { sampleData } from '../../../runtime/demo/sample.ts';
import { train } from '../../../runtime/demo/trainer.ts';
import { CREDIT, readCreditData } from '../../../runtime/models/credit-data.ts';
import { split } from '../../../runtime/models/labelled-rows.ts';
import { publishModel } from '../../../runtime/models/publish.ts';
import { createPool } from '../../../runtime/msm/threads/pool.ts';
import { putBlob } from '../../../runtime/nats/blobs.ts';
import type { Bus } from '../../../runtime/nats/bus.ts';
import type { NatsServer } from '../../../runtime/nats/server.ts';
import { prepareCircuit, prepareKey } from '../../../runtime/prove/setup.ts';
import { closeSnarkjs } from '../../../runtime/prove/snarkjs.ts';
import { calculateWitness } from '../../../runtime/prove/witness-calculator.ts';
import type { RoleProcess } from '../../../runtime/roles/child.ts';
import type { RunningRole, StartRole } from '../../../runtime/roles/host.ts';
import { rowsFor, smallModel } from '../../circuits/model-fixture.ts';
import { assert, type TestContext } from '../../harness.ts';
import { startBroker, startHome, until, useHome } from '../home/home-fixture.ts';

/** r and s of every proof made here: a secret of nobody. */
const BLINDING = { r: 1_234_567_890_123_456_789n, s: 9_876_543_210_987_654_321n };

/** What is to be proved, and the proof that must come out. */
export interface Subject {
  readonly model: CommittedModel;
  readonly testSet: TestSet;
  readonly threshold: number;
  readonly circuit: string;
  readonly zkey: Uint8Array;
  readonly powers: Uint8Array;
  /** made here, with the same r and s, by nobody's help */
  readonly proof: Proof;
  /** given to coordinators, so that a small proof has many shards, too */
  readonly shardPoints?: number;
}

/** Gives coordinators of this test process the blinding above. */
function useBlinding(): void {
  useHome();
  process.env.VOUCH_TEST_BLINDING = `${BLINDING.r},${BLINDING.s}`;
}

/** Compiles, makes the key, and proves locally. */
export async function subjectOf(
  model: CommittedModel,
  testSet: TestSet,
  threshold: number,
): Promise<Subject> {
  useBlinding();
  const circuit = await prepareCircuit(model.architecture, testSet);
  const files = await prepareKey(circuit);
  // Copies: `slice` of what readFile gives would be a view, and a test that changes its copy would change the key of all.
  const [zkey, powers] = (await Promise.all([readFile(files.zkey), readFile(files.powers)])).map(
    (file) => new Uint8Array(file),
  ) as [Uint8Array, Uint8Array];
  const witness = await calculateWitness(await readFile(circuit.wasmPath), witnessInput(model, threshold));
  await using pool = await createPool();
  const key = readZkey(zkey);
  const { proof } = await prove(key, witness, pool, BLINDING);
  return { model, testSet, threshold, circuit: circuit.digest, zkey, powers, proof };
}

/** The demonstration's sample data: 300 rows of 20 columns, a circuit of the domain 2^16. */
export async function fullSubject(): Promise<Subject> {
  const { train: seen, test: held } = split(readCreditData(sampleData(1)), CREDIT);
  const preprocessing = preprocessingOf(CREDIT);
  const featuresOf = (rows: typeof seen) => rows.map(({ cells }) => preprocess(preprocessing, cells));
  const calibration = featuresOf(seen);
  const labels = seen.map(({ label }) => label);
  const network = train({ features: calibration, labels }, classNames(CREDIT).length);
  const model = {
    ...quantise(network, { dictionary: CREDIT, calibration }),
    salt: randomSalt(),
  };
  const features = featuresOf(held);
  const testSet: TestSet = { features, labels: held.map(({ label }) => label) };
  const correct = decideMany(model, features).filter((got, row) => got === testSet.labels[row]).length;
  return subjectOf(model, testSet, correct);
}

let small: Promise<Subject> | undefined;
/** For test sets of a few rows. */
export const SMALL_TERMS: Terms = { ...DEFAULT_TERMS, minimumRows: 8 };

/** 8 different rows of 3 features; the model gets 7 right, and a constant answer 5 at most. */
export function smallSubject(): Promise<Subject> {
  small ??= (async () => {
    const model = smallModel({ units: [3, 4, 2] });
    let testSet: TestSet;
    do {
      const features = rowsFor(model, 8);
      const decisions = decideMany(model, features);
      testSet = { features, labels: decisions.with(0, 1 - decisions[0]!) };
    } while (rowCounts(testSet).distinct < 8 || rowCounts(testSet).constant > 5);
    return { ...(await subjectOf(model, testSet, 7)), shardPoints: 384 };
  })();
  return small;
}

export interface Request {
  readonly job: string;
  readonly done: Promise<PublishedProof>;
  /** every progress message so far, oldest first */
  readonly heard: Message<ProofProgress>[];
  /** Resolves with the first progress, heard or to come, that passes. */
  when(test: (progress: ProofProgress) => boolean): Promise<ProofProgress>;
}

export interface ProofFixture {
  readonly server: NatsServer;
  readonly client: Bus;
  /** with the provisioner's rights */
  readonly observer: Bus;
  readonly policies: Record<'worker' | 'prover', Policy>;
  readonly statement: QualityStatement;
  /** what the server and the roles of this process said */
  readonly log: readonly string[];
  bus(role: Role, id: string): Promise<Bus>;
  /** A process that runs one role; killed when the test ends. */
  process(
    role: 'worker' | 'coordinator',
    id: string,
    options?: { url?: string; args?: string[] },
  ): Promise<RoleProcess>;
  /** A role in this process. */
  role(role: Role, id: string, start: StartRole): Promise<RunningRole>;
  ask(changes?: Partial<QualityStatement>): Promise<Request>;
  /** Messages stored in the proof stream on a job's subject. */
  proofsOf(job: string): Promise<number>;
  /** Requests that are still in the queue. */
  openRequests(): Promise<number>;
  /** Fails unless the job's only proof verifies and is the very one that was made without anybody's help. */
  check(request: Request): Promise<PublishedProof>;
}

let fixtures = 1;
export async function startProving(
  t: TestContext,
  subject?: Subject,
  { broker = true, terms = SMALL_TERMS }: { broker?: boolean; terms?: Terms } = {},
): Promise<ProofFixture> {
  useBlinding();
  const what = subject ?? (await smallSubject());
  const home = await startHome(t);
  const { server, log, policies, observer, bus, role } = home;
  t.defer(() => closeSnarkjs());
  // The key-brokers of one home share a folder: each fixture's has an id, and its model a name, of its own.
  const number = fixtures++;
  const manifest = await publishModel(observer, 'provisioner.test', {
    name: `model-${number}`,
    model: what.model,
    policy: policies.release,
    terms,
  });
  const client = await bus('client', 'test');
  const dictionary = modelDictionaryDigest(what.model.architecture);
  const statement: QualityStatement = {
    statement: 'quality',
    model: manifest.name,
    commitment: manifest.commitment,
    threshold: what.threshold,
    rows: what.testSet.labels.length,
    testSet: (await putBlob(client, 'testSets', encodeTestSet(what.testSet))).digest,
    circuit: what.circuit,
    key: (await putBlob(client, 'keys', what.zkey)).digest,
    powers: (await putBlob(client, 'keys', what.powers)).digest,
    ...(dictionary === undefined ? {} : { dictionary }),
  };
  if (broker) await role('broker', `broker-${number}`, startBroker);

  const proofsOf = async (job: string) => {
    const found = await observer.subjectsOf(STREAMS.proofs.name, subjects.proof(client.id, job));
    return found.get(subjects.proof(client.id, job)) ?? 0;
  };
  const requestsOf = async () => {
    const open = await observer.subjectsOf(STREAMS.proofRequests.name, filters.proofRequests);
    return new Set([...open.keys()].map(lastToken));
  };
  return {
    server,
    client,
    observer,
    policies,
    statement,
    log,
    bus,
    role,
    proofsOf,
    process(name, id, { url = server.url, args = [] } = {}) {
      const shards =
        name === 'coordinator' && what.shardPoints ? ['--shard-points', String(what.shardPoints)] : [];
      return home.process(name, id, { url, args: [...shards, ...args] });
    },
    async ask(changes = {}) {
      const asked = questionOf({ ...statement, ...changes });
      const { job } = asked;
      const heard: Message<ProofProgress>[] = [];
      const waiting = new Set<() => void>();
      const listening = client.subscribe(subjects.progress(client.id, job), ({ subject: from, data }) => {
        heard.push(decodeMessage(ProofProgress, from, data));
        for (const look of waiting) look();
      });
      t.defer(() => listening.unsubscribe());
      const done = awaitProof(client, asked, { signal: t.signal });
      done.catch(() => {});
      const place = subjects.proofRequest('quality', client.id, job);
      await client.append(
        place,
        encodeMessage(ProofRequest, { subject: place, source: 'client.test', body: signedBy(client, asked) }),
        {
          msgId: job,
        },
      );
      return {
        job,
        done,
        heard,
        when(test) {
          const { promise, resolve, reject } = Promise.withResolvers<ProofProgress>();
          const look = () => {
            const found = heard.find(({ body: progress }) => test(progress));
            if (!found) return;
            waiting.delete(look);
            resolve(found.body);
          };
          waiting.add(look);
          look();
          // Progress and the proof come on two subjects: what was said before the end may be heard a little after it.
          const tooLate = () => reject(new Error('the job ended, and nothing that was heard is as expected'));
          done.then(() => setTimeout(tooLate, 2_000).unref(), reject);
          promise.catch(() => {});
          return promise;
        },
      };
    },
    openRequests: async () => (await requestsOf()).size,
    async check({ job, done }) {
      const published = await done;
      const report = await verifyProof(published, {
        policy: policies.prover,
        modelCommitment: manifest.commitment,
      });
      assert.ok(report.verified, JSON.stringify(report.checks));
      assert.equal(published.record.proof, what.proof, 'the very proof that r and s give');
      // The request goes once the proof is out; then nobody will publish another.
      await until(async () => !(await requestsOf()).has(job));
      assert.is(await proofsOf(job), 1);
      const stored = await observer.getLast(STREAMS.proofs.name, subjects.proof(client.id, job));
      assert.equal(
        decodeMessage(PublishedProof, subjects.proof(client.id, job), stored!.data).body,
        published,
      );
      return published;
    },
  };
}

/** Why no proof was made: code and sentence; `proved` where one was. */
export async function refusalOf(proof: Promise<unknown>): Promise<string> {
  try {
    await proof;
  } catch (error) {
    return `${(error as VouchError).code}: ${(error as VouchError).message}`;
  }
  return 'proved';
}
