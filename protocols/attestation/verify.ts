/**
 * Verification of evidence against a policy: pure, offline, with every check named. A format (formats/*.ts)
 * checks its own signatures and reads the claims; what a policy demands, freshness and the binding of keys
 * are checked here, the same for all. Every check must pass; one that could not run counts as failed.
 *
 * Not guaranteed: that the measured code is good. A measurement says which code, the policy's author says
 * whether to trust it.
 */
import { z } from 'zod';
import { base64url, equal, fromBase64url, fromHex, hex, sha256Hex } from '../encoding.ts';
import { FieldElement, Id, Nonce, parse } from '../envelope.ts';
import { messageOf, VouchError } from '../errors.ts';
import { type Check, createChecklist, type Recorder, type Verdict } from './checklist.ts';
import { simulated } from './formats/simulated.ts';
import { measurementAccepted, type Policy } from './policy.ts';
import { type Binding, reportData } from './report-data.ts';

/** Evidence is at most this long, decoded. */
export const MAX_EVIDENCE_BYTES = 64 * 1024;
/** Seconds by which a signer's clock may be ahead of the verifier's. */
export const CLOCK_SKEW_SECONDS = 60;

const KeyText = z.string().regex(/^[A-Za-z0-9_-]{43}$/, 'expected 32 bytes as unpadded base64url');

/**
 * Evidence as it travels, with the inputs of its report data (report-data.ts), all of which are unproven until
 * `verifyEvidence` accepts. Unknown fields are errors.
 */
export const EvidenceDocument = z.strictObject({
  version: z.literal(1),
  /** which format `evidence` has: `simulated` */
  format: z.string().regex(/^[a-z][a-z0-9-]{0,31}$/, 'expected a format name such as simulated'),
  /** false = SIMULATED */
  hardware: z.boolean(),
  /** base64url of what the platform signed */
  evidence: z
    .string()
    .regex(/^[A-Za-z0-9_-]+$/, 'expected unpadded base64url')
    .max(Math.ceil((MAX_EVIDENCE_BYTES * 4) / 3)),
  /** the verifier's nonce */
  nonce: Nonce,
  /** X25519 public key to seal to */
  hpkeKey: KeyText,
  /** Ed25519 public key that signs receipts or proofs; null where the holder signs nothing */
  receiptKey: KeyText.nullable(),
  /** null where the holder serves no model */
  modelCommitment: FieldElement.nullable(),
  enclave: Id,
});
export type EvidenceDocument = z.infer<typeof EvidenceDocument>;

/** What evidence says, once its signatures hold. */
export interface Claims {
  readonly platform: string;
  readonly hardware: boolean;
  readonly label: 'SIMULATED' | 'HARDWARE';
  /** lower-case hex */
  readonly measurement: string;
  readonly debug: boolean;
  readonly tcb: readonly number[];
  /** by the platform's clock */
  readonly issuedAt: Date;
  /** 64 bytes */
  readonly reportData: Uint8Array;
}

export interface EvidenceFormat {
  readonly name: string;
  readonly hardware: boolean;
  /** the checks that `verify` records, each of which must pass */
  readonly checks: readonly string[];
  /** Records its checks and returns the claims when the signatures hold. Does not throw for bad evidence. */
  verify(evidence: Uint8Array, policy: Policy, record: Recorder): Claims | undefined;
}

const FORMATS: ReadonlyMap<string, EvidenceFormat> = new Map(
  [simulated].map((format) => [format.name, format]),
);

/** Whether a document's format comes from hardware at all; whatever is unknown counts as simulated. */
export const isHardware = ({ format }: Pick<EvidenceDocument, 'format'>): boolean =>
  FORMATS.get(format)?.hardware === true;

export interface EvidenceQuestion {
  /** an EvidenceDocument, not yet checked */
  readonly document: unknown;
  readonly policy: Policy;
  /** the nonce that the verifier sent, lower-case hex */
  readonly nonce: string;
  /** the commitment that the evidence must bind, where the verifier knows one */
  readonly modelCommitment?: string | undefined;
  readonly now: Date;
}

export interface EvidenceReport {
  readonly verdict: Verdict;
  readonly checks: readonly Check[];
  /** present when the evidence's own signatures hold, whatever the verdict */
  readonly claims?: Claims;
  /** what the evidence binds; present only when the verdict is `accept` */
  readonly binding?: Binding;
  /** SHA-256 of the evidence, lower-case hex */
  readonly digest?: string;
}

const REQUIRED = [
  'evidence.document',
  'evidence.format',
  'evidence.hardware',
  'policy.platform',
  'policy.measurement',
  'policy.debug',
  'policy.tcb',
  'evidence.fresh',
  'binding.nonce',
  'binding.model-commitment',
  'binding.required',
  'binding.report-data',
] as const;

/** Verifies evidence. Never throws for what the document holds: that is a failed check. */
export async function verifyEvidence(question: EvidenceQuestion): Promise<EvidenceReport> {
  const { policy, now } = question;
  const list = createChecklist(REQUIRED);
  const { record } = list;

  let document: EvidenceDocument;
  let evidence: Uint8Array;
  let binding: Binding;
  let expected: Uint8Array;
  try {
    document = parse(EvidenceDocument, question.document, 'evidence');
    evidence = fromBase64url(document.evidence, 'evidence.evidence');
    binding = bindingOf(document);
    expected = reportData(binding);
    record('evidence.document', true, 'evidence-rejected', 'a document of version 1');
  } catch (error) {
    record('evidence.document', false, 'evidence-rejected', messageOf(error));
    return list.result('');
  }

  const digest = sha256Hex(evidence);
  const format = FORMATS.get(document.format);
  const known = format === undefined ? 'is not known here' : 'is known';
  record('evidence.format', format !== undefined, 'evidence-rejected', `format ${document.format} ${known}`);
  if (format === undefined) return { ...list.result(labelOf(document)), digest };

  list.require(format.checks);
  const claims = format.verify(evidence, policy, record);
  if (claims !== undefined) {
    record(
      'evidence.hardware',
      document.hardware === claims.hardware && claims.hardware === format.hardware,
      'evidence-rejected',
      `the document says hardware: ${document.hardware}, the evidence hardware: ${claims.hardware}`,
    );
    checkPolicy(claims, policy, record);
    checkFreshness(claims, policy, now, record);
    record(
      'binding.report-data',
      equal(claims.reportData, expected),
      'evidence-rejected',
      'the report data is compared with the hash of nonce, keys, commitment and enclave id',
    );
  }
  record(
    'binding.nonce',
    document.nonce === question.nonce,
    'replayed',
    'the nonce in the evidence is compared with the one asked for',
  );
  if (question.modelCommitment === undefined) {
    list.omit('binding.model-commitment', 'no commitment was expected');
  } else {
    record(
      'binding.model-commitment',
      document.modelCommitment === question.modelCommitment,
      'commitment-mismatch',
      `expected model commitment ${question.modelCommitment}, got ${document.modelCommitment ?? 'none'}`,
    );
  }
  const missing = policy.requiredBinding.filter((name) => binding[name] === undefined);
  record(
    'binding.required',
    missing.length === 0,
    'policy-rejected',
    missing.length === 0 ? 'all that the policy asks for is bound' : `not bound: ${missing.join(', ')}`,
  );

  const result = list.result(labelOf(document));
  return {
    ...result,
    digest,
    ...(claims === undefined ? {} : { claims }),
    ...(result.verdict === 'accept' ? { binding } : {}),
  };
}

/** What stands in front of the detail of every check about this document. */
export const labelOf = (document: EvidenceDocument): string => (isHardware(document) ? '' : 'SIMULATED: ');

function checkPolicy(claims: Claims, policy: Policy, record: Recorder): void {
  const { platform, measurement, debug, tcb } = claims;
  const accepted = (policy.platforms as readonly string[]).includes(platform);
  record('policy.platform', accepted, 'policy-rejected', `platform ${platform}`);
  record(
    'policy.measurement',
    measurementAccepted(policy.measurements ?? [], { measurement }),
    'policy-rejected',
    `measurement ${measurement}`,
  );
  record('policy.debug', !debug || policy.debug, 'policy-rejected', `debug mode is ${debug ? 'on' : 'off'}`);
  const least = platform === 'simulated' ? policy.minimumTcb.simulated : undefined;
  record(
    'policy.tcb',
    least !== undefined && least.length === tcb.length && least.every((version, i) => tcb[i]! >= version),
    'policy-rejected',
    `TCB ${tcb.join('.')}, at least ${least?.join('.') ?? '(none stated)'} demanded`,
  );
}

function checkFreshness({ issuedAt }: Claims, { maxAgeSeconds }: Policy, now: Date, record: Recorder): void {
  const age = (now.getTime() - issuedAt.getTime()) / 1000;
  // Written so that an invalid date (NaN) fails.
  const fresh = age <= maxAgeSeconds && age >= -CLOCK_SKEW_SECONDS;
  record(
    'evidence.fresh',
    fresh,
    'evidence-rejected',
    `age ${Math.round(age)} s, at most ${maxAgeSeconds} s`,
  );
}

function bindingOf(document: EvidenceDocument): Binding {
  const { nonce, hpkeKey, receiptKey, modelCommitment, enclave } = document;
  return {
    nonce: fromHex(nonce, 'evidence.nonce'),
    hpkeKey: fromBase64url(hpkeKey, 'evidence.hpkeKey', 32),
    receiptKey: receiptKey === null ? undefined : fromBase64url(receiptKey, 'evidence.receiptKey', 32),
    modelCommitment: modelCommitment ?? undefined,
    enclave,
  };
}

/** The document for evidence whose report data is `reportData(binding)`. */
export function evidenceDocument(
  format: { name: string; hardware: boolean },
  evidence: Uint8Array,
  binding: Binding,
): EvidenceDocument {
  const { nonce, hpkeKey, receiptKey, modelCommitment, enclave } = binding;
  return {
    version: 1,
    format: format.name,
    hardware: format.hardware,
    evidence: base64url(evidence),
    nonce: hex(nonce),
    hpkeKey: base64url(hpkeKey),
    receiptKey: receiptKey === undefined ? null : base64url(receiptKey),
    modelCommitment: modelCommitment ?? null,
    enclave,
  };
}

/** Throws the first failed check of a report as a VouchError with that check's code; returns when it accepts. */
export function demandAccepted(
  { verdict, checks }: { verdict: Verdict; checks: readonly Check[] },
  what = 'evidence',
): void {
  if (verdict === 'accept') return;
  const failed = checks.find(({ status }) => status === 'fail');
  throw new VouchError(
    failed?.code ?? 'evidence-rejected',
    `${what} rejected: ${failed?.id ?? 'a required check'}: ${failed?.detail ?? 'was not made'}`,
  );
}
