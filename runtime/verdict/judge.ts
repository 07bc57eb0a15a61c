/**
 * The verdict on anything that Vouch makes or reads, from bytes that somebody else has read: `vouch verify` and the page
 * that needs no installation ask the same function, so they say the same in the same words. No clock, no file, no network:
 * what whoever asks knows, his policies and his memory, is part of the question.
 */
import type { Architecture } from '../../circuits/model/architecture.ts';
import type { Dictionary } from '../../circuits/model/dictionary.ts';
import type { TestSet } from '../../circuits/model/test-set.ts';
import type { BoundFacts } from '../../protocols/attestation/binding-recipes.ts';
import type { SortedFiles } from '../../protocols/attestation/evidence-files.ts';
import { type EvidenceQuestion, judgeEvidence } from '../../protocols/attestation/evidence-verdict.ts';
import type { VendorRoots } from '../../protocols/attestation/formats/format.ts';
import { completePolicy, type Policy } from '../../protocols/attestation/policy.ts';
import { verifyEvidence } from '../../protocols/attestation/verify.ts';
import { parse } from '../../protocols/envelope.ts';
import { messageOf, VouchError } from '../../protocols/errors.ts';
import type { VerifiedManifest } from '../../protocols/manifest.ts';
import { PublishedProof } from '../../protocols/proof.ts';
import { type ParsedReceipt, type TextClaims, verifyReceipt } from '../../protocols/receipt.ts';
import type { SignedEntry } from '../../protocols/vendor-log.ts';
import type { Judgement } from './checks.ts';
import type { Known } from './kept.ts';
import { judgePublished, type Opinions, type ProofQuestion } from './published-proof.ts';
import { judgeVendor, type Remembered } from './vendor.ts';

/** What is judged, by what it is. */
export type Subject =
  | { readonly kind: 'receipt'; readonly receipt: ParsedReceipt; readonly known: Known }
  | { readonly kind: 'document'; readonly json: unknown }
  | {
      readonly kind: 'proof';
      readonly published: PublishedProof;
      readonly manifest?: VerifiedManifest | undefined;
    }
  | { readonly kind: 'evidence'; readonly given: SortedFiles };

/** What whoever asks knows, and demands. */
export interface Question {
  readonly policy: Policy;
  /** his clock */
  readonly now: Date;
  /** what evidence was asked for with, lower-case hex */
  readonly nonce?: string | undefined;
  readonly collateral: EvidenceQuestion['store'];
  readonly roots?: VendorRoots | undefined;
  /** public key or fingerprint of the model's vendor */
  readonly vendor?: string | undefined;
  readonly remembered?: Remembered | undefined;
  /** of a receipt: digest of the policy for the model's key */
  readonly releasePolicy?: string | undefined;
  /** of raw evidence */
  readonly binding?: BoundFacts | undefined;
  readonly guest?: EvidenceQuestion['guest'];
  /** of a proof */
  readonly job?: string | undefined;
  readonly testSet?: ((architecture: Architecture) => TestSet) | undefined;
  readonly row?: ProofQuestion['row'];
  readonly outputs?: ProofQuestion['outputs'];
  readonly dictionary?: Dictionary | undefined;
  readonly allowTrivial?: boolean | undefined;
  /** the vendor's log */
  readonly log?: readonly SignedEntry[] | undefined;
  readonly trustKey?: string | undefined;
}

/** Never throws for what the subject holds, only for what the question does: `bad-input` for a vendor that is no key. */
export async function judge(subject: Subject, question: Question, opinions: Opinions): Promise<Judgement> {
  switch (subject.kind) {
    case 'receipt':
      return judgeReceipt(subject.receipt, subject.known, question);
    case 'document': {
      const report = await verifyEvidence({
        ...question,
        nonce: question.nonce,
        document: subject.json,
      });
      return { accepted: report.verdict === 'accept', checks: report.checks, claims: report.claims ?? null };
    }
    case 'proof':
      return judgeProof(subject, question, opinions);
    case 'evidence': {
      const { collateral: store, policy, ...rest } = question;
      const { verdict, checks, claims } = await judgeEvidence({
        ...rest,
        store,
        policy: completePolicy(policy),
        given: subject.given,
      });
      return { accepted: verdict === 'accept', checks, claims };
    }
  }
}

async function judgeReceipt(
  receipt: ParsedReceipt,
  { erased, manifest, ...known }: Known,
  { policy, now, collateral, roots, vendor: named, remembered, releasePolicy }: Question,
): Promise<Judgement> {
  const vendor = judgeVendor(manifest, { vendor: named, policy }, remembered);
  const report = await verifyReceipt(receipt, {
    ...known,
    policy,
    now,
    collateral,
    roots,
    releasePolicy,
    manifest: vendor.status === 'pass' ? manifest : undefined,
  });
  const claims = report.claims && {
    ...report.claims,
    time: report.claims.time.toISOString(),
    evidenceClaims: report.evidence?.claims,
  };
  const gone = (id: string): boolean => erased?.[id as keyof typeof erased] === true;
  const checks = [vendor, ...report.checks].map((check) =>
    gone(check.id) ? { ...check, detail: 'erased: its salt is gone' } : check,
  );
  const accepted = report.verdict === 'accept' && vendor.status !== 'fail';
  const text = report.claims?.text;
  if (!text || !claims) return { accepted, checks, claims };
  return {
    accepted,
    checks,
    claims: { ...claims, commitmentKind: 'hash' },
    proved: accepted ? whatFollows(text) : undefined,
  };
}

/** What a receipt says of an answer in text, and what its kind of commitment is good for. */
function whatFollows({ finish, completionTokens, engine }: TextClaims): string {
  const ended = {
    stop: 'whole',
    tool_calls: 'whole, ending in calls of tools',
    length: 'cut at the length that was asked for or allowed',
    cancelled: 'cancelled: it covers what was sent until then',
  }[finish];
  return `an answer of ${completionTokens} tokens, ${ended}; the model commitment is a hash: it says which weights, template and defaults the enclave was given, and neither that ${engine.name} computed with them rightly nor anything of their quality can be proved`;
}

async function judgeProof(
  { published, manifest }: Extract<Subject, { kind: 'proof' }>,
  { vendor: named, remembered, ...question }: Question,
  opinions: Opinions,
): Promise<Judgement> {
  const { policy } = question;
  const vendor = judgeVendor(manifest, { vendor: named, policy }, remembered);
  const { accepted, checks, key, claim, sentence } = await judgePublished(
    published,
    {
      ...question,
      modelCommitment: vendor.status === 'pass' ? manifest?.manifest.commitment : policy.commitment,
      manifest: vendor.status === 'pass' ? manifest?.manifest : undefined,
    },
    opinions,
  );
  const claims = {
    statement: published.record.statement,
    key: key.link,
    verificationKey: key.digest,
    hardware: published.maker.hardware,
  };
  const passed = accepted && vendor.status !== 'fail';
  const said = passed ? { proved: sentence } : { claimed: claim };
  return { accepted: passed, checks: [vendor, ...checks], claims, ...said };
}

/** A published proof out of JSON; the error names the file. Throws `bad-file`. */
export function readPublished(name: string, json: unknown): PublishedProof {
  try {
    return parse(PublishedProof.schema, json, 'proof');
  } catch (error) {
    throw new VouchError(
      'bad-file',
      `${name}: not a published proof: ${messageOf(error)}; expected a receipt (.cose), a published proof, an evidence document, or raw evidence`,
    );
  }
}
