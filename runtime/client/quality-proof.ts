/**
 * A proof of quality, or of one answer, from the client's side, in two steps: make what the statement names (circuit, key, test set)
 * and store it; ask for the proof, wait, and check what comes back. And the full check of a published proof,
 * which needs no network.
 */
import {
  type Architecture,
  modelDictionaryDigest,
  parseArchitecture,
} from '../../circuits/model/architecture.ts';
import type { Dictionary } from '../../circuits/model/dictionary.ts';
import { demandRows } from '../../circuits/model/size.ts';
import { encodeTestSet, rowCounts, type TestSet } from '../../circuits/model/test-set.ts';
import type { Policy } from '../../protocols/attestation/policy.ts';
import { canonicalJson } from '../../protocols/encoding.ts';
import { messageOf, VouchError } from '../../protocols/errors.ts';
import type { ModelManifest } from '../../protocols/manifest.ts';
import {
  askedOf,
  type Phase,
  type ProofProgress,
  type PublishedProof,
  type Statement,
} from '../../protocols/proof.ts';
import { judgeFixed, type Opening, type SignedEntry } from '../../protocols/vendor-log.ts';
import { openFile } from '../home/file-source.ts';
import { demandWritable, writeWhole } from '../home/files.ts';
import { folder } from '../home/home.ts';
import { compareDictionary } from '../models/test-sets.ts';
import { putBlob } from '../nats/blobs.ts';
import type { Bus } from '../nats/bus.ts';
import type { CompiledCircuit } from '../prove/circuit-compiler.ts';
import {
  CEREMONY,
  circuitDigestOf,
  type KeyLink,
  keyLink,
  type PreparedKey,
  prepareCircuit,
  prepareKey,
  verificationKeyDigest,
} from '../prove/setup.ts';
import { type ProofCheck, verifyProof } from './client.ts';
import type { Progress } from './progress.ts';
import { requestProof } from './proof-request.ts';
import { dropTicket, keepTicket } from './tickets.ts';

/** After this long without a word from a coordinator the client says so. */
const QUIET_MS = 10_000;

interface Watched {
  readonly progress: Progress;
  readonly signal?: AbortSignal;
}

export interface PreparedStatement {
  readonly statement: Statement;
  readonly circuit: CompiledCircuit;
  readonly key: PreparedKey;
  /** Stores key and test set, those that are not there already. */
  store(): Promise<unknown>;
}

/** What is asked: how many rows of a test set are right, or that the only row's label is the model's decision. */
export type Question = { readonly manifest: ModelManifest; readonly testSet: TestSet } & (
  | { readonly threshold: number; readonly opening?: Opening | undefined }
  | { readonly decision: number }
);

/**
 * Compiles the circuit, takes its key or makes one, and stores key and test set where the coordinator finds
 * them. Throws `bad-input` for a threshold above the number of rows, `too-large` for more rows than a
 * proof may have.
 */
export async function prepareStatement(
  bus: Bus,
  question: Question,
  { progress, ...cancellation }: Watched,
): Promise<PreparedStatement> {
  const { manifest, testSet } = question;
  const rows = testSet.labels.length;
  const threshold = 'threshold' in question ? question.threshold : 1;
  if (threshold > rows) {
    throw new VouchError(
      'bad-input',
      `threshold: expected at most ${rows}, the number of test rows, got ${threshold}`,
    );
  }
  const architecture = parseArchitecture(manifest.architecture);
  demandRows(architecture, rows);
  progress.set('compiling', 0, 1);
  const circuit = await prepareCircuit(architecture, testSet, cancellation);
  progress.set('compiling', 1, 1, circuit.cached ? 'cached' : '');
  const key = await prepareKey(circuit, {
    ...cancellation,
    onProgress: ({ done, total }) => total > 0 && progress.set('making the key', done, total, 'points'),
  });
  if (key.cached) progress.set('making the key', 1, 1, 'cached');
  const upload = async (path: string) => {
    await using file = await openFile(path, 'proving key');
    return await putBlob(bus, 'keys', file, {
      ...cancellation,
      onProgress: (done, total) =>
        progress.set('uploading', Math.ceil(done / 2 ** 20), Math.ceil(total / 2 ** 20), 'MiB'),
    });
  };
  const store = async () => ({
    testSet: (await putBlob(bus, 'testSets', encodeTestSet(testSet), cancellation)).digest,
    powers: (await upload(key.powers)).digest,
    // The last, so that the rest is there when this is.
    key: (await upload(key.zkey)).digest,
  });
  const dictionary = modelDictionaryDigest(architecture);
  const { testSet: rowsBlob, ...stored } = await store();
  const common = {
    model: manifest.name,
    commitment: manifest.commitment,
    circuit: circuit.digest,
    ...stored,
    ...(dictionary === undefined ? {} : { dictionary }),
  };
  const statement: Statement =
    'decision' in question
      ? { statement: 'inference', ...common, decision: question.decision, input: rowsBlob }
      : {
          statement: 'quality',
          ...common,
          threshold,
          rows,
          testSet: rowsBlob,
          ...(question.opening === undefined ? {} : { opening: question.opening }),
        };
  return { statement, circuit, key, store };
}

/** Asks for the proof of a statement and waits for it. Answers with the job that was asked for; nothing else is checked yet. */
export async function awaitStatement(
  bus: Bus,
  source: string,
  { statement, store }: PreparedStatement,
  { progress, ...cancellation }: Watched,
): Promise<{ readonly published: PublishedProof; readonly job: string }> {
  const show = showProof(progress);
  let job = '';
  const quiet = setTimeout(() => {
    progress.line(
      '    no coordinator has taken the request yet; it waits (vouch start coordinator starts one)',
    );
  }, QUIET_MS);
  try {
    const published = await requestProof(bus, source, statement, {
      ...cancellation,
      storeAgain: () => {
        progress.line('    NATS has come back without its data: key, test set and request are stored again');
        return store();
      },
      onTicket: async (ticket) => {
        job = ticket.job;
        await keepTicket(ticket);
      },
      onProgress: (news) => {
        clearTimeout(quiet);
        show(news);
      },
    });
    return { published, job };
  } finally {
    clearTimeout(quiet);
    if (job !== '') await dropTicket(job);
  }
}

/** Shows the phases as they end, with their times, and each worker's share of the shards. */
function showProof(progress: Progress): (news: ProofProgress) => void {
  let said = '';
  return ({ phase, done, total, workers, phases, waiting }) => {
    if (waiting && waiting.message !== said) {
      said = waiting.message;
      progress.line(`    it waits: ${said.slice(0, 300)} (so NATS says)`);
    }
    for (const [name, ms] of Object.entries(phases))
      if (name !== 'dispatching') progress.set(name, 1, 1, `${(ms / 1000).toFixed(2)} s`);
    if (!(phase in phases) && !ENDS.has(phase) && phase !== 'dispatching') progress.set(phase, 0, 1);
    if (total === 0) return;
    progress.set('dispatching', done, total, 'shards');
    for (const worker of workers)
      progress.set(
        worker.id,
        worker.done,
        total,
        worker.assigned > 0 ? `and ${worker.assigned} in work` : '',
      );
  };
}

const ENDS: ReadonlySet<Phase> = new Set(['published', 'failed']);

export interface ProofVerdict {
  readonly accepted: boolean;
  readonly checks: readonly ProofCheck[];
  readonly key: { readonly digest: string; readonly link: KeyLink; readonly mark: string | undefined };
  /** what the proof proves where it is accepted: about which model, rows and labels, by which key */
  readonly sentence: string;
}

export interface ProofQuestion {
  /** what the maker's evidence has to satisfy */
  readonly policy: Policy;
  readonly modelCommitment?: string | undefined;
  /** the job that was asked for */
  readonly job?: string | undefined;
  /** the rows that the proof is to be about, for the architecture that it names; without them the check fails */
  readonly testSet?: ((architecture: Architecture) => TestSet) | undefined;
  /** of whoever asks: the model's dictionary has to name the same classes in the same order */
  readonly dictionary?: Dictionary | undefined;
  /** whether a threshold that a constant answer reaches is accepted; it proves nothing of the model's quality */
  readonly allowTrivial?: boolean | undefined;
  /** the vendor's log, by which rows that a statement opens were fixed before the model */
  readonly log?: readonly SignedEntry[] | undefined;
  /** of the model, verified: which entry of the log it came with */
  readonly manifest?: Pick<ModelManifest, 'vendor' | 'log'> | undefined;
  /** digest of a verification key that is trusted although nobody here knows where it comes from */
  readonly trustKey?: string | undefined;
}

/** Everything that can be checked about a published proof, offline. */
export async function judgeProof(published: PublishedProof, question: ProofQuestion): Promise<ProofVerdict> {
  const { policy, modelCommitment, job, testSet, trustKey, dictionary, allowTrivial = false } = question;
  const { checks } = await verifyProof(published, { policy, modelCommitment, job });
  const { statement, verificationKey } = published.record;
  const all: ProofCheck[] = [...checks];
  const note = (id: string, passed: boolean, detail: string) =>
    all.push({ id, status: passed ? 'pass' : 'fail', detail });

  const { same: sameRows, why, rows } = await testSetBound(published, testSet);
  note('proof.test-set', sameRows, why);
  const labels = labelsOf(published, dictionary);
  all.push({ id: 'proof.labels', status: labels.status, detail: labels.detail });
  const constant = rows && rowCounts(rows).constant;
  const quality = statement.statement === 'quality' ? statement : undefined;
  const trivial = quality !== undefined && constant !== undefined && quality.threshold <= constant;
  // One answer is right or is not; there is nothing to compare it with.
  if (quality)
    all.push(
      constant === undefined
        ? { id: 'proof.not-trivial', status: 'skipped', detail: 'not compared: the rows are not known here' }
        : {
            id: 'proof.not-trivial',
            status: trivial ? (allowTrivial ? 'skipped' : 'fail') : 'pass',
            detail: trivial
              ? `TRIVIAL: a constant answer scores ${constant} of ${quality.rows}; --allow-trivial accepts it`
              : `a constant answer scores ${constant} of ${quality.rows}, the threshold is ${quality.threshold}`,
          },
    );

  // Whoever asks about one answer picked the row: nothing is claimed of others.
  const fixed =
    quality &&
    judgeFixed({
      opening: quality.opening,
      testSet: sameRows && rows ? encodeTestSet(rows) : undefined,
      commitment: statement.commitment,
      log: question.log,
      manifest: question.manifest,
    });
  if (fixed) all.push({ id: 'proof.rows-fixed', status: fixed.status, detail: fixed.detail });

  const digest = verificationKeyDigest(verificationKey);
  const { link, mark } = keyLink(statement.circuit, digest);
  const trusted = link === 'unproven' && trustKey === digest;
  note(
    'proof.key',
    link !== 'unproven' || trusted,
    link !== 'unproven'
      ? `key and circuit: ${link} (${mark})`
      : trusted
        ? 'key and circuit: unproven, trusted by --trust-key'
        : `key and circuit: unproven, whoever made the key could forge; --trust-key ${digest} accepts it`,
  );
  return {
    accepted: all.every(({ status }) => status !== 'fail'),
    checks: all,
    key: { digest, link, mark },
    sentence: sentenceOf(statement, published, {
      constant,
      trivial,
      labels: labels.names,
      fixed: fixed?.label,
      link,
      mark,
    }),
  };
}

/** Whose names the classes have: one's own, where the model's dictionary says the same, else the vendor's. */
function labelsOf(
  { record: { statement, architecture } }: PublishedProof,
  own: Dictionary | undefined,
): Pick<ProofCheck, 'status' | 'detail'> & { names: string } {
  try {
    const parsed = parseArchitecture(architecture);
    const names = parsed.classes.join(', ');
    const theirs = `classes as the vendor names them (${names}), which nobody compared`;
    if (statement.dictionary !== modelDictionaryDigest(parsed))
      return {
        status: 'fail',
        detail: "the statement's dictionary is not that of the architecture",
        names: theirs,
      };
    if (!own)
      return {
        status: 'skipped',
        detail: `not compared: what the classes ${names} mean is the vendor's word; expected --dictionary FILE`,
        names: theirs,
      };
    const { same, detail } = compareDictionary(own, parsed);
    return {
      status: same ? 'pass' : 'fail',
      detail,
      names: `classes as your own dictionary names them (${names})`,
    };
  } catch (error) {
    return { status: 'fail', detail: messageOf(error), names: 'classes that nobody compared' };
  }
}

function sentenceOf(
  statement: Statement,
  { record: { architecture } }: PublishedProof,
  found: {
    constant: number | undefined;
    trivial: boolean;
    labels: string;
    fixed: string | undefined;
    link: KeyLink;
    mark: string | undefined;
  },
): string {
  const { constant, trivial, labels, fixed, link, mark } = found;
  const beside = constant === undefined ? '' : ` (a constant answer scores ${constant})`;
  const key = link === 'unproven' ? 'a key whose maker could forge it' : `a key ${link} (${mark})`;
  const hidden = `proved: the hidden model with commitment ${statement.commitment}`;
  if (statement.statement === 'inference')
    return `${hidden} answers ${nameOf(architecture, statement.decision)} to the row of input ${statement.input.slice(0, 16)}…; ${labels}; by ${key}`;
  const { threshold, rows, testSet } = statement;
  return (
    `${trivial ? 'TRIVIAL: ' : ''}${hidden} classifies at least ${threshold} of the ${rows} rows ` +
    `of test set ${testSet.slice(0, 16)}… correctly${beside}; ${labels}; ${fixed === undefined ? '' : `${fixed}; `}by ${key}`
  );
}

/** What a model calls a class. */
function nameOf(architecture: unknown, decision: number): string {
  try {
    return JSON.stringify(parseArchitecture(architecture).classes[decision] ?? `class ${decision}`);
  } catch {
    return `class ${decision}`;
  }
}

/** A test set is constants of the circuit, so emitting that circuit again shows whether the proof is about it. */
async function testSetBound(
  { record: { statement, architecture } }: PublishedProof,
  testSet: ProofQuestion['testSet'],
): Promise<{ same: boolean; why: string; rows?: TestSet }> {
  if (!testSet)
    return {
      same: false,
      why: 'which rows the proof is about was not checked: expected --test-set FILE, or --input FILE for a proof of one answer',
    };
  try {
    const parsed = parseArchitecture(architecture);
    const rows = testSet(parsed);
    return rows.labels.length === askedOf(statement).rows &&
      (await circuitDigestOf(parsed, rows)) === statement.circuit
      ? { same: true, why: 'the circuit is that of this architecture and this test set', rows }
      : { same: false, why: 'the circuit is not that of this architecture and this test set' };
  } catch (error) {
    return { same: false, why: messageOf(error) };
  }
}

const proofFile = (job: string): string => folder('proofs', `${job}.json`);

/** Throws unless `saveProof` can write there: for before the work. */
export const demandProofSavable = (file = proofFile('job')): Promise<void> => demandWritable(file);

/** Keeps a published proof in `.vouch/proofs`, or where told. Returns the file's path. */
export async function saveProof(published: PublishedProof, file?: string): Promise<string> {
  const path = file ?? proofFile(published.record.job);
  await writeWhole(path, `${canonicalJson(published)}\n`, { mode: 0o644 });
  return path;
}

/** What a key's mark means for who may believe in a proof made with it. */
export const keyAudience = (mark: string): string =>
  mark === CEREMONY
    ? 'CEREMONY: it convinces whoever trusts the powers of tau and the contribution made here'
    : `${mark}: it convinces its maker only`;
