/**
 * Everything that can be checked about a published proof, offline and wherever this runs: the pairing equation by two
 * verifiers, what the proof says against its statement, rows and labels, its maker's evidence, and who made its key.
 *
 * Whether a key encodes a circuit nobody sees from the key: only who made it, or trusts its maker, can say so (`keyLink`).
 */
import { type VerificationKey, verify } from '../../circuits/groth16/verify.ts';
import { type Architecture, parseArchitecture } from '../../circuits/model/architecture.ts';
import type { CircuitSubject } from '../../circuits/model/circuit.ts';
import type { Dictionary } from '../../circuits/model/dictionary.ts';
import { commitRow, type HiddenRow } from '../../circuits/model/row.ts';
import { encodeTestSet, rowCounts, type TestSet } from '../../circuits/model/test-set.ts';
import type { Collateral } from '../../protocols/attestation/collateral.ts';
import type { Policy } from '../../protocols/attestation/policy.ts';
import { verifyEvidence } from '../../protocols/attestation/verify.ts';
import { verifyStatement } from '../../protocols/cose.ts';
import { canonicalJson, equal, fromBase64url, sha256, sha256Hex, utf8 } from '../../protocols/encoding.ts';
import { messageOf } from '../../protocols/errors.ts';
import type { ModelManifest } from '../../protocols/manifest.ts';
import {
  askedOf,
  type HiddenInferenceStatement,
  jobOf,
  PROOF_CONTENT_TYPE,
  type PublishedProof,
  publicSignalsOf,
} from '../../protocols/proof.ts';
import { judgeFixed, type SignedEntry } from '../../protocols/vendor-log.ts';
import type { PrintedCheck } from './checks.ts';
import { labelsOf } from './labels.ts';
import { claimOf } from './proof-sentence.ts';

/** How a key and a circuit are linked, as far as whoever judges knows. */
export type KeyLink = 'made by me' | 'ceremony checked' | 'unproven';
export interface LinkedKey {
  readonly link: KeyLink;
  readonly mark?: string;
}

export const verificationKeyDigest = (key: unknown): string => sha256Hex(utf8(canonicalJson(key)));

/** What the judge of a proof cannot know by himself. */
export interface Opinions {
  /** digest of the circuit that architecture and rows, or the answer to a hidden row, give */
  readonly circuitDigest: (architecture: Architecture, subject: CircuitSubject) => Promise<string>;
  /** default: nobody knows where the key comes from */
  readonly keyLink?: (circuit: string, verificationKey: string) => LinkedKey;
  /** a verifier by other hands: snarkjs */
  readonly second?: Second | undefined;
}
type Second = (
  key: VerificationKey,
  publicSignals: readonly string[],
  proof: PublishedProof['record']['proof'],
) => Promise<boolean>;

export interface ProofReport {
  readonly verified: boolean;
  readonly checks: readonly PrintedCheck[];
}

/**
 * Checks a published proof offline: the pairing equation (by our verifier and by a second one), the public signals against the
 * statement, the maker's signature and evidence. Whether the key encodes the circuit is `keyLink`'s question, not this one's.
 */
export async function verifyPublished(
  { record, signature, maker }: PublishedProof,
  {
    policy,
    modelCommitment,
    job: asked,
    now,
    collateral,
    second,
  }: Omit<ProofQuestion, 'testSet'> & Pick<Opinions, 'second'>,
): Promise<ProofReport> {
  const checks: PrintedCheck[] = [];
  const note = (id: string, passed: boolean | undefined, detail: string) =>
    checks.push({ id, status: passed === undefined ? 'skipped' : passed ? 'pass' : 'fail', detail });
  const attempt = async (id: string, detail: string, check: () => boolean | Promise<boolean>) => {
    try {
      note(id, await check(), detail);
    } catch (error) {
      note(id, false, `${detail}: ${(error as Error).message}`);
    }
  };
  const { job, nonce, statement } = record;
  const { rows, threshold } = askedOf(statement);
  const bytes = utf8(canonicalJson(record));
  const ofItself = job === jobOf(nonce, statement);
  note(
    'proof.job',
    ofItself && asked === undefined ? undefined : ofItself && job === asked,
    !ofItself
      ? 'the job is not the digest of nonce and statement'
      : asked === undefined
        ? 'not compared: which job was asked for is not known here'
        : `the job that was asked for, ${asked}, is the digest of nonce and statement`,
  );
  const key = record.verificationKey as unknown as VerificationKey;
  // Two verifiers, because each has faults of its own: ours looks at every point's curve and subgroup, snarkjs is old.
  await attempt('proof.groth16', 'the points are of their groups and the pairing equation holds', () =>
    verify(key, record.publicSignals, record.proof),
  );
  if (second === undefined) note('proof.groth16-snarkjs', undefined, 'not compared: snarkjs is not at hand');
  else
    await attempt('proof.groth16-snarkjs', 'snarkjs says the same', () =>
      second(key, record.publicSignals, record.proof),
    );
  note(
    'proof.public-signals',
    canonicalJson(record.publicSignals) === canonicalJson(publicSignalsOf(statement)),
    statement.statement === 'hidden-inference'
      ? "the commitments of the model and of the row are the proof's public signals"
      : `commitment and threshold ${threshold} are the proof's public signals`,
  );
  note('proof.threshold', threshold <= rows, `${threshold} of ${rows} rows`);
  note(
    'proof.model-commitment',
    modelCommitment === undefined ? undefined : statement.commitment === modelCommitment,
    modelCommitment === undefined
      ? 'not compared: which model it should be about is not known here'
      : 'the commitment is the one that was expected',
  );
  const evidence = await verifyEvidence({
    document: maker,
    policy,
    nonce: sha256Hex(bytes),
    modelCommitment: statement.commitment,
    now,
    usedAt: new Date(record.time),
    collateral,
  });
  note(
    'proof.maker-evidence',
    evidence.verdict === 'accept',
    evidence.checks.find(({ status }) => status === 'fail')?.detail ??
      `${evidence.claims?.label}: the maker's evidence satisfies the policy`,
  );
  await attempt('proof.maker-signature', 'the maker signed this very record', () =>
    equal(
      verifyStatement(
        fromBase64url(maker.receiptKey ?? '', 'maker key', 32),
        PROOF_CONTENT_TYPE,
        fromBase64url(signature, 'signature'),
        { maxPayloadBytes: 32 },
      ),
      sha256(bytes),
    ),
  );
  return { verified: checks.every(({ status }) => status !== 'fail'), checks };
}

export interface ProofVerdict {
  readonly accepted: boolean;
  readonly checks: readonly PrintedCheck[];
  readonly key: { readonly digest: string; readonly link: KeyLink; readonly mark: string | undefined };
  /** what the proof says: about which model, rows and labels, by which key */
  readonly claim: string;
  /** the same where it is accepted */
  readonly sentence: string;
}

export interface ProofQuestion {
  /** what the maker's evidence has to satisfy */
  readonly policy: Policy;
  /** the clock of whoever judges: chains and collateral are judged by it */
  readonly now: Date;
  /** for a maker on hardware */
  readonly collateral?: Collateral | undefined;
  readonly modelCommitment?: string | undefined;
  /** the job that was asked for */
  readonly job?: string | undefined;
  /** the rows that the proof is to be about, for the architecture that it names; without them the check fails */
  readonly testSet?: ((architecture: Architecture) => TestSet) | undefined;
  /** of a proof that hides input tensors: the numbers that are to be the answer, for the architecture that it names */
  readonly outputs?: ((architecture: Architecture) => ArrayLike<number>) | undefined;
  /** the row that a proof hides, for the architecture that it names, and the salt of its commitment */
  readonly row?: ((architecture: Architecture) => HiddenRow) | undefined;
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
export async function judgePublished(
  published: PublishedProof,
  { testSet, outputs, row, trustKey, dictionary, allowTrivial = false, ...question }: ProofQuestion,
  { circuitDigest, keyLink = () => ({ link: 'unproven' }), second }: Opinions,
): Promise<ProofVerdict> {
  const { checks } = await verifyPublished(published, { ...question, second });
  const { statement, verificationKey } = published.record;
  const all: PrintedCheck[] = [...checks];
  const note = (id: string, passed: boolean, detail: string) =>
    all.push({ id, status: passed ? 'pass' : 'fail', detail });

  const { same: sameRows, why, rows } = await subjectBound(published, { testSet, outputs }, circuitDigest);
  note('proof.test-set', sameRows, why);
  const opened =
    statement.statement === 'hidden-inference' ? openedRow(published, statement, row) : undefined;
  if (opened) all.push({ id: 'proof.row', ...opened });
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
  const claim = claimOf(statement, published, {
    constant,
    labels: labels.names,
    fixed: fixed?.label,
    opened: opened?.status === 'pass',
    link,
    mark,
  });
  return {
    accepted: all.every(({ status }) => status !== 'fail'),
    checks: all,
    key: { digest, link, mark },
    claim,
    sentence: `${trivial ? 'TRIVIAL: ' : ''}proved: ${claim}`,
  };
}

/** Whether the row that somebody has is the one that a proof hides. Without it, nothing is known of it but the answer. */
function openedRow(
  { record: { architecture } }: PublishedProof,
  { row: committed }: HiddenInferenceStatement,
  row: ProofQuestion['row'],
): Pick<PrintedCheck, 'status' | 'detail'> {
  try {
    const parsed = parseArchitecture(architecture);
    if (!row)
      return {
        status: 'skipped',
        detail: `the row is hidden: it is ${parsed.named ? 'all input tensors, each number in its range' : 'one that the dictionary allows'}, and the prover may have chosen it; expected --input FILE and --row-salt SALT to compare it`,
      };
    const same = commitRow(parsed, row(parsed)).toString() === committed;
    return same
      ? { status: 'pass', detail: 'the row and its salt open the commitment' }
      : { status: 'fail', detail: 'the row, or its salt, is not the one of the commitment' };
  } catch (error) {
    return { status: 'fail', detail: messageOf(error) };
  }
}

/** Rows, or an answer to a hidden one, are constants of the circuit, so emitting it again shows whether the proof is about them. */
async function subjectBound(
  { record: { statement, architecture } }: PublishedProof,
  { testSet, outputs }: Pick<ProofQuestion, 'testSet' | 'outputs'>,
  circuitDigest: Opinions['circuitDigest'],
): Promise<{ same: boolean; why: string; rows?: TestSet }> {
  if (statement.statement === 'hidden-inference')
    try {
      const parsed = parseArchitecture(architecture);
      const hiddenAnswer = statement.decision ?? outputs?.(parsed);
      if (hiddenAnswer === undefined)
        return {
          same: false,
          why: 'which numbers the proof is about was not checked: expected --output FILE',
        };
      const same = (await circuitDigest(parsed, { hiddenAnswer })) === statement.circuit;
      return {
        same,
        why: `the circuit is ${same ? '' : 'not '}that of this architecture and this answer to a hidden row`,
      };
    } catch (error) {
      return { same: false, why: messageOf(error) };
    }
  if (!testSet)
    return {
      same: false,
      why: 'which rows the proof is about was not checked: expected --test-set FILE, or --input FILE for a proof of one answer',
    };
  try {
    const parsed = parseArchitecture(architecture);
    const rows = { ...testSet(parsed), within: askedOf(statement).within };
    return rows.labels.length === askedOf(statement).rows &&
      (await circuitDigest(parsed, rows)) === statement.circuit
      ? { same: true, why: 'the circuit is that of this architecture and this test set', rows }
      : { same: false, why: 'the circuit is not that of this architecture and this test set' };
  } catch (error) {
    return { same: false, why: messageOf(error) };
  }
}
