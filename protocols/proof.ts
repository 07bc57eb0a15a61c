/** A proof from request to publication. */
import { z } from 'zod';
import { EvidenceDocument } from './attestation/verify.ts';
import { Digest, FieldElement, Id, messageType } from './envelope.ts';

export const PHASES = [
  'queued',
  'witnessing',
  'transforming',
  'planning',
  'dispatching',
  'assembling',
  'verifying',
  'published',
  'failed',
] as const;
export type Phase = (typeof PHASES)[number];

/** "The parameters with this commitment classify at least `threshold` of the `rows` test rows correctly." */
export const QualityStatement = z.object({
  statement: z.literal('quality'),
  model: Id,
  commitment: FieldElement,
  threshold: z.int().min(0),
  rows: z.int().min(1),
  /** blob: the test set, canonical JSON (circuits/model/emit.ts) */
  testSet: Digest,
  /** digest of the emitted circuit, templates and compiler options */
  circuit: Digest,
  /** blob: the proving key (.zkey) */
  key: Digest,
});
export type QualityStatement = z.infer<typeof QualityStatement>;

export const ProofRequest = messageType(
  'proof.request',
  1,
  z.object({ job: Id, statement: QualityStatement }),
);
export type ProofRequest = z.infer<typeof ProofRequest.schema>;

/** Groth16 proof in snarkjs's JSON form: decimal strings. */
const Point = z.array(FieldElement).length(3);
export const Groth16Proof = z.object({
  pi_a: Point,
  pi_b: z.array(z.array(FieldElement).length(2)).length(3),
  pi_c: Point,
  protocol: z.literal('groth16'),
  curve: z.literal('bn128'),
});

/** Content type of the signed statement. */
export const PROOF_CONTENT_TYPE = 'application/vouch-proof+json';

const WorkerShare = z.object({ id: Id, shards: z.int().min(0), millis: z.int().min(0) });

/** What the maker of a proof signs: COSE_Sign1 over the SHA-256 of the canonical JSON of this object. */
export const ProofRecord = z.object({
  job: Id,
  statement: QualityStatement,
  proof: Groth16Proof,
  publicSignals: z.array(FieldElement),
  verificationKey: z.record(z.string(), z.unknown()),
  architecture: z.record(z.string(), z.unknown()),
  constraints: z.int(),
  domain: z.int(),
  /** milliseconds per phase */
  phases: z.record(z.string(), z.int().min(0)),
  workers: z.array(WorkerShare),
  /** the coordinator's untrusted clock */
  time: z.iso.datetime(),
});
export type ProofRecord = z.infer<typeof ProofRecord>;

export const PublishedProof = messageType(
  'proof.published',
  1,
  z.object({
    record: ProofRecord,
    /** base64url COSE_Sign1 by the coordinator's key; its payload is the SHA-256 of the record's canonical JSON */
    signature: z.string().max(1024),
    /** evidence that binds the coordinator's key; its nonce is that SHA-256 */
    maker: EvidenceDocument,
  }),
);
export type PublishedProof = z.infer<typeof PublishedProof.schema>;

/** Lossy: where a proof is. `workers` counts shards assigned and done. A failure names its code, once. */
export const ProofProgress = messageType(
  'proof.progress',
  1,
  z.object({
    job: Id,
    phase: z.enum(PHASES),
    done: z.int().min(0),
    total: z.int().min(0),
    workers: z.array(z.object({ id: Id, assigned: z.int().min(0), done: z.int().min(0) })).max(4096),
    /** milliseconds per finished phase */
    phases: z.record(z.string(), z.int().min(0)),
    error: z.object({ code: z.string().max(64), message: z.string().max(1000) }).optional(),
  }),
);
export type ProofProgress = z.infer<typeof ProofProgress.schema>;
