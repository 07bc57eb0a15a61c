/** A proof from request to publication. */
import { z } from 'zod';
import { EvidenceDocument } from './attestation/document.ts';
import { canonicalJson, sha256Hex, utf8 } from './encoding.ts';
import { base64Text, Digest, FieldElement, Id, messageType, Nonce } from './envelope.ts';
import { Requester } from './requester.ts';
import type { Asked } from './terms.ts';
import { Opening } from './vendor-log.ts';

export const PHASES = [
  'queued',
  'witnessing',
  'planning',
  'transforming',
  'dispatching',
  'assembling',
  'verifying',
  'publishing',
  'published',
  'failed',
] as const;
export type Phase = (typeof PHASES)[number];

const MAX_WORKERS = 4096;
/** A circuit's rows are its constants, so their number is small. */
const MAX_ROWS = 65_536;

/** As many features as are sealed, their salt, and what sealing adds. */
const MAX_SEALED_ROW_BYTES = 20 * 1024;
const MAX_SEALED_ROWS = 16;

/** An answer that is a number, in steps of its label, is nearer to 0. */
export const MAX_NUMBER = 2 ** 24;

/** What every proof was made with. */
const MADE_WITH = {
  circuit: Digest.describe('circuit digest'),
  key: Digest.describe('blob: the proving key (`.zkey`)'),
  powers: Digest.describe("blob: the powers of the key's tau (`.ptau`, cut)"),
  dictionary: Digest.optional().describe(
    "digest of the model's data dictionary: which classes, in which order; absent: the model has none",
  ),
};
const Decision = z
  .int()
  .min(-MAX_NUMBER)
  .max(MAX_NUMBER)
  .optional()
  .describe(
    'the class, by its place among the classes of the model, or the number, in steps of its label; absent: its answers are tensors',
  );

/**
 * "The parameters with this commitment classify at least `threshold` of the `rows` test rows correctly", or answer so many with a
 * number that is at most `within` steps from the row's own. An unknown
 * field is an error: what a statement says and a prover does not understand would not be proved.
 */
export const QualityStatement = z.strictObject({
  statement: z.literal('quality'),
  model: Id.describe('name of the model'),
  commitment: FieldElement.describe('model commitment; the first public signal'),
  threshold: z.int().min(0).max(MAX_ROWS).describe('at least so many rows; the second public signal'),
  rows: z.int().min(1).max(MAX_ROWS).describe('rows of the test set; not less than `threshold`'),
  testSet: Digest.describe('blob: the test set'),
  ...MADE_WITH,
  within: z
    .int()
    .min(0)
    .max(MAX_NUMBER)
    .optional()
    .describe(
      "of a model that answers numbers: up to how many steps of its label from a row's label an answer counts as correct, a constant of the circuit; absent: classes, or the very number",
    ),
  opening: Opening.optional().describe(
    "opens the root of the test set that the vendor's log has; absent: the rows may have been trained on, or picked to fit",
  ),
});
export type QualityStatement = z.infer<typeof QualityStatement>;

/**
 * "The parameters with this commitment answer `decision` to this row." The row and its answer are constants of the
 * circuit, which is that of a test set of this one row and a threshold of 1. Of a model whose answers are tensors there is no
 * decision: their numbers are the circuit's constants, and are in the input's blob.
 */
export const InferenceStatement = z.strictObject({
  statement: z.literal('inference'),
  model: Id.describe('name of the model'),
  commitment: FieldElement.describe('model commitment; the first public signal; the second is 1'),
  decision: Decision,
  input: Digest.describe(
    'blob: a test set of the one row, whose label is the decision, or which has the numbers of the answer',
  ),
  ...MADE_WITH,
});
export type InferenceStatement = z.infer<typeof InferenceStatement>;

/**
 * "The parameters with this commitment answer `decision` to the row with the commitment `row`, which is one that the dictionary
 * allows." The answer is a constant of the circuit, and the row hidden: whoever has it and its salt can show which one it is. Of a
 * model whose answers are tensors the row is all of its inputs, none of which is shown, and the answer the numbers of a blob.
 */
export const HiddenInferenceStatement = z
  .strictObject({
    statement: z.literal('hidden-inference'),
    model: Id.describe('name of the model'),
    commitment: FieldElement.describe('model commitment; the first public signal'),
    decision: Decision,
    outputs: Digest.optional().describe(
      'blob: the numbers of the answer; there exactly where `decision` is not',
    ),
    row: FieldElement.describe('commitment to the row; the second public signal'),
    ...MADE_WITH,
  })
  .refine(({ decision, outputs }) => (decision === undefined) !== (outputs === undefined), {
    error: 'expected a decision or the blob of the outputs, and not both',
  });
export type HiddenInferenceStatement = z.infer<typeof HiddenInferenceStatement>;

/** What can be asked for. */
export const Statement = z.discriminatedUnion('statement', [
  QualityStatement,
  InferenceStatement,
  HiddenInferenceStatement,
]);
export type Statement = z.infer<typeof Statement>;

/** What a statement says in terms of a test set: an answer is one row of one, which is right. */
export function askedOf(statement: Statement): Asked {
  if (statement.statement === 'quality') return statement;
  return {
    rows: 1,
    threshold: 1,
    testSet: statement.statement === 'inference' ? statement.input : undefined,
  };
}

/** What a proof of a statement shows as its public signals. */
export const publicSignalsOf = (statement: Statement): [string, string] => [
  statement.commitment,
  statement.statement === 'hidden-inference' ? statement.row : String(askedOf(statement).threshold),
];

/** A row that a proof is to hide: 31 bytes of salt, and its features as 32-bit integers, little-endian. */
const SealedRow = z.strictObject({
  coordinator: Id.describe('whose key it is sealed to'),
  sealed: base64Text(MAX_SEALED_ROW_BYTES).describe("the sealed row; its `aad` is the request's subject"),
});
export type SealedRow = z.infer<typeof SealedRow>;

const JOB_DOMAIN = 'vouch/v1/proof-job';
/**
 * The id of a job is a digest of what is asked, under a nonce that only the asker could choose: whoever knows the job
 * can tell whether a record answers it. SHA-256, hex.
 */
export const jobOf = (nonce: string, statement: Statement): string =>
  sha256Hex(utf8(`${JOB_DOMAIN}\0`), utf8(canonicalJson({ nonce, statement })));

export const ProofRequest = messageType(
  'proof.request',
  2,
  z.strictObject({
    job: Digest.describe('the `<job>` of the subject: a digest of nonce and statement'),
    nonce: Nonce.describe('fresh, of the asker, 32 bytes; makes the job one that nobody else can name'),
    statement: Statement,
    sealedRows: z
      .array(SealedRow)
      .min(1)
      .max(MAX_SEALED_ROWS)
      .optional()
      .describe('with a statement that hides its row: the row, for each coordinator that may make the proof'),
    cancel: Digest.optional().describe('SHA-256 of the secret that cancels it; absent: nobody can'),
    requester: Requester.describe('who asks: he has signed all the rest'),
  }),
);
export type ProofRequest = z.infer<typeof ProofRequest.schema>;

/** All that a requester is told of a failure once the model is computed with: it may depend on the model. */
export const REFUSAL =
  "no proof was made, and why is the vendor's secret, a false statement included; its log has the reason under this job";

/** Whoever shows the secret behind a request's `cancel` takes the request back. */
export const ProofCancel = messageType(
  'proof.cancel',
  1,
  z.object({
    job: Id.describe('the `<job>` of the subject'),
    secret: Digest.describe('32 random bytes, lower-case hex; their digest is in the request'),
  }),
);
export type ProofCancel = z.infer<typeof ProofCancel.schema>;
/** The answer of the coordinator that works on it; where none does, the request is dropped when its turn comes. */
export const ProofCancelled = messageType('proof.cancelled', 1, z.object({ job: Id }));

/** Groth16 proof in snarkjs's JSON form: projective points with z = 1, as decimal strings. */
const Point = z.array(FieldElement).length(3);
export const Groth16Proof = z.strictObject({
  pi_a: Point.describe('point of G1: x, y, 1'),
  pi_b: z
    .array(z.array(FieldElement).length(2))
    .length(3)
    .describe('point of G2: x, y, 1, each as c0, c1 of c0 + c1 u'),
  pi_c: Point.describe('point of G1'),
  protocol: z.literal('groth16'),
  curve: z.literal('bn128'),
});

/** Content type of the signed statement. */
export const PROOF_CONTENT_TYPE = 'application/vouch-proof+json';

const WorkerShare = z.strictObject({ id: Id, shards: z.int().min(0), millis: z.int().min(0) });

/**
 * What the maker of a proof signs: COSE_Sign1 over the SHA-256 of the canonical JSON of this object, so unknown fields
 * are errors.
 */
export const ProofRecord = z.strictObject({
  job: Digest.describe('the `<job>` of the request'),
  nonce: Nonce.describe('of the request: with the statement it gives the job'),
  statement: Statement.describe('as requested'),
  proof: Groth16Proof.describe('Groth16 proof in the JSON form of snarkjs'),
  publicSignals: z
    .array(FieldElement)
    .length(2)
    .describe('commitment, and the threshold, which of an inference is 1; of a hidden row its commitment'),
  verificationKey: z.record(z.string(), z.unknown()).describe('in the JSON form of snarkjs'),
  architecture: z.record(z.string(), z.unknown()).describe('public half of the model'),
  constraints: z.int().min(1).describe('of the circuit'),
  domain: z.int().min(2).describe('size of the evaluation domain, a power of two'),
  phases: z.partialRecord(z.enum(PHASES), z.int().min(0)).describe('milliseconds by phase'),
  workers: z
    .array(WorkerShare)
    .max(MAX_WORKERS)
    .describe('whose results went in, by id; the maker itself, too, where it has summed'),
  convicted: z
    .array(Id)
    .max(MAX_WORKERS)
    .optional()
    .describe('workers whose sums were wrong; the maker has made all sums again itself'),
  time: z.iso.datetime().describe("by the coordinator's clock; not trusted"),
});
export type ProofRecord = z.infer<typeof ProofRecord>;

export const PublishedProof = messageType(
  'proof.published',
  2,
  z.object({
    record: ProofRecord.describe('what is signed'),
    signature: base64Text(768).describe("signed statement by the maker over the record's digest"),
    maker: EvidenceDocument.describe("evidence that binds the maker's key; its nonce is the record's digest"),
  }),
);
export type PublishedProof = z.infer<typeof PublishedProof.schema>;

/** How a shard left a worker's hands; `lost` as well where the worker is gone, `dropped` where nobody needs it any more. */
export const SHARD_ENDS = ['done', 'refused', 'lost', 'dropped'] as const;
export type ShardEnd = (typeof SHARD_ENDS)[number];
/** So many are told with one message at most: those that have changed last. */
export const MAX_SHARD_NEWS = 256;
/** Of any number in them. */
export const MAX_NEWS = 2 ** 40;
const Millis = z.int().min(0).max(MAX_NEWS);
const ShardNews = z.object({
  shard: Id.describe('name of the rectangle: part, first row, rows, and bits unless all'),
  worker: Id.describe('who has it, or had it'),
  points: Millis.describe('base points of all its sums'),
  bytes: Millis.describe('sealed'),
  copy: z.boolean().optional().describe('somebody else had it as well'),
  sentMs: Millis.describe('when it was given to the worker, from when the plan was opened; to 10 ms, as all'),
  predictedMs: Millis.describe('that the worker would compute, by its rates'),
  endMs: Millis.optional().describe('when it left its hands; absent while it has it'),
  end: z.enum(SHARD_ENDS).optional().describe('how'),
  computeMs: Millis.optional().describe('that the worker says it has computed; only of `done`'),
});
export type ShardNews = z.infer<typeof ShardNews>;

/** Lossy: where a proof is. The plan is `total`; no worker has a plan of its own. A failure names its code, once. */
export const ProofProgress = messageType(
  'proof.progress',
  1,
  z.object({
    job: Id,
    phase: z.enum(PHASES).describe('in which the job is now'),
    done: z.int().min(0).describe('shards with a checked result'),
    total: z.int().min(0).describe('shards of the plan; 0 until there is one'),
    workers: z
      .array(z.object({ id: Id, assigned: z.int().min(0), done: z.int().min(0) }))
      .max(MAX_WORKERS)
      .describe('by worker: shards that it holds now, and those whose result came from it'),
    phases: z.record(z.string().max(32), z.int().min(0)).describe('milliseconds by finished phase'),
    shards: z
      .array(ShardNews)
      .max(MAX_SHARD_NEWS)
      .optional()
      .describe('the shards that have changed last, oldest change first; absent where there is no plan'),
    error: z
      .object({ code: z.string().max(64), message: z.string().max(1000) })
      .optional()
      .describe('why it failed; only with phase `failed`'),
    waiting: z
      .object({ code: z.string().max(64), message: z.string().max(1000) })
      .optional()
      .describe('why it has to be tried again; only with phase `queued`'),
  }),
);
export type ProofProgress = z.infer<typeof ProofProgress.schema>;
