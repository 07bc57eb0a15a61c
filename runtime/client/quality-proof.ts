/**
 * A proof of quality, or of one answer, from the client's side, in two steps: make what the statement names (circuit, key, test set)
 * and store it; ask for the proof, wait, and check what comes back. And the full check of a published proof,
 * which needs no network.
 */
import { modelDictionaryDigest, parseArchitecture } from '../../circuits/model/architecture.ts';
import { demandHidden } from '../../circuits/model/cost-hidden.ts';
import { commitRow, type HiddenRow } from '../../circuits/model/row.ts';
import { demandRows } from '../../circuits/model/size.ts';
import { encodeOutputs, encodeTestSet, type OneAnswer, type TestSet } from '../../circuits/model/test-set.ts';
import { canonicalJson, hex } from '../../protocols/encoding.ts';
import { VouchError } from '../../protocols/errors.ts';
import { demandProvable, type ModelManifest } from '../../protocols/manifest.ts';
import type { Phase, ProofProgress, PublishedProof, SealedRow, Statement } from '../../protocols/proof.ts';
import type { Opening } from '../../protocols/vendor-log.ts';
import { collateralFor } from '../attest/collateral.ts';
import { openFile } from '../home/file-source.ts';
import { demandWritable, writeWhole } from '../home/files.ts';
import { folder } from '../home/home.ts';
import { putBlob } from '../nats/blobs.ts';
import type { Bus } from '../nats/bus.ts';
import type { CompiledCircuit } from '../prove/circuit-compiler.ts';
import {
  CEREMONY,
  circuitDigestOf,
  keyLink,
  type PreparedKey,
  prepareCircuit,
  prepareKey,
} from '../prove/setup.ts';
import { verifyWithSnarkjs } from '../prove/snarkjs.ts';
import {
  judgePublished,
  type Opinions,
  type ProofQuestion,
  type ProofVerdict,
} from '../verdict/published-proof.ts';
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
  readonly sealRows?: HiddenQuestion['sealRows'] | undefined;
}

/**
 * What is asked: how many rows of a test set are right, that the only row's label is the model's decision, or that an answer is
 * the model's for a row that is hidden; a decision that is undefined: that its outputs are the model's.
 */
export type Question = { readonly manifest: ModelManifest } & (
  | { readonly testSet: TestSet; readonly threshold: number; readonly opening?: Opening | undefined }
  | { readonly testSet: TestSet; readonly decision: number | undefined }
  | HiddenQuestion
);
interface HiddenQuestion {
  readonly answer: OneAnswer;
  readonly row: HiddenRow;
  readonly sealRows: (subject: string) => Promise<SealedRow[]>;
}

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
  const { manifest } = question;
  const testSet = 'testSet' in question ? question.testSet : undefined;
  const rows = testSet?.labels.length ?? 1;
  const threshold = 'threshold' in question ? question.threshold : 1;
  if (threshold > rows) {
    throw new VouchError(
      'bad-input',
      `threshold: expected at most ${rows}, the number of test rows, got ${threshold}`,
    );
  }
  demandProvable(manifest);
  const architecture = parseArchitecture(manifest.architecture);
  if ('row' in question) demandHidden(architecture);
  else demandRows(architecture, rows);
  progress.set('compiling', 0, 1);
  const subject = 'row' in question ? { hiddenAnswer: question.answer } : question.testSet;
  const circuit = await prepareCircuit(architecture, subject, cancellation);
  progress.set('compiling', 1, 1, circuit.cached ? 'cached' : '');
  const key = await prepareKey(circuit, {
    ...cancellation,
    onProgress: ({ done, total }) => total > 0 && progress.set('making the key', done, total, 'points'),
  });
  if (key.cached) progress.set('making the key', 1, 1, 'cached');
  const shown = shownOf(question);
  const upload = async (path: string) => {
    await using file = await openFile(path, 'proving key');
    return await putBlob(bus, 'keys', file, {
      ...cancellation,
      onProgress: (done, total) =>
        progress.set('uploading', Math.ceil(done / 2 ** 20), Math.ceil(total / 2 ** 20), 'MiB'),
    });
  };
  const store = async () => ({
    testSet: shown && (await putBlob(bus, 'testSets', shown, cancellation)).digest,
    powers: (await upload(key.powers)).digest,
    // The last, so that the rest is there when this is.
    key: (await upload(key.zkey)).digest,
  });
  const dictionary = modelDictionaryDigest(architecture);
  const { testSet: blob, ...stored } = await store();
  const common = {
    model: manifest.name,
    commitment: manifest.commitment,
    circuit: circuit.digest,
    ...stored,
    ...(dictionary === undefined ? {} : { dictionary }),
  };
  const statement = statementOf(question, common, blob);
  const sealRows = 'sealRows' in question ? question.sealRows : undefined;
  return { statement, circuit, key, store, sealRows };
}

/** What everybody may see of a question's rows and answers; a hidden row is stored nowhere. */
function shownOf(question: Question): Uint8Array | undefined {
  if (!('row' in question)) return encodeTestSet(question.testSet);
  return typeof question.answer === 'number' ? undefined : encodeOutputs(question.answer);
}

function statementOf(
  question: Question,
  common: Pick<Statement, 'model' | 'commitment' | 'circuit' | 'key' | 'powers' | 'dictionary'>,
  blob: string | undefined,
): Statement {
  if ('row' in question) {
    const { answer } = question;
    const row = commitRow(parseArchitecture(question.manifest.architecture), question.row).toString();
    const said = typeof answer === 'number' ? { decision: answer } : { outputs: blob! };
    return { statement: 'hidden-inference', ...common, ...said, row };
  }
  const { testSet } = question;
  if ('decision' in question)
    return {
      statement: 'inference',
      ...common,
      ...(question.decision === undefined ? {} : { decision: question.decision }),
      input: blob!,
    };
  return {
    statement: 'quality',
    ...common,
    threshold: question.threshold,
    rows: testSet.labels.length,
    testSet: blob!,
    ...(testSet.within === undefined ? {} : { within: testSet.within }),
    ...(question.opening === undefined ? {} : { opening: question.opening }),
  };
}

/** Asks for the proof of a statement and waits for it. Answers with the job that was asked for; nothing else is checked yet. */
export async function awaitStatement(
  bus: Bus,
  source: string,
  { statement, store, sealRows }: PreparedStatement,
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
      sealRows,
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

/** What this installation knows of keys and circuits, for whoever judges a proof. */
export const OWN_OPINIONS: Opinions = { circuitDigest: circuitDigestOf, keyLink, second: verifyWithSnarkjs };

/** Everything that can be checked about a published proof with what this installation knows, as of now. */
export const judgeProof = (
  published: PublishedProof,
  question: Omit<ProofQuestion, 'now' | 'collateral'>,
): Promise<ProofVerdict> =>
  judgePublished(
    published,
    { ...question, now: new Date(), collateral: collateralFor(question.policy) },
    OWN_OPINIONS,
  );

const proofFile = (job: string): string => folder('proofs', `${job}.json`);

/** Throws unless `saveProof` can write there: for before the work. */
export const demandProofSavable = (file = proofFile('job')): Promise<void> => demandWritable(file);

/** Keeps what opens the row that a proof hides, beside the proof. Returns the file's path. */
export async function saveRowSalt(proof: string, { salt }: HiddenRow): Promise<string> {
  const path = `${proof}.row-salt`;
  await writeWhole(path, `${hex(salt)}\n`);
  return path;
}

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
