/**
 * What a verifier and his policy demand of an evidence document beside its signatures: which platform and build, how
 * old it is, and that it binds what it should, the GPUs included.
 */
import { equal, hex } from '../encoding.ts';
import type { Certificate } from './certificate.ts';
import type { Checklist, Recorder } from './checklist.ts';
import type { Collateral } from './collateral.ts';
import { measurementAccepted } from './demands.ts';
import type { EvidenceDocument, Signed } from './document.ts';
import type { CpuClaims, VendorRoots } from './formats/format.ts';
import type { OcspResponse } from './ocsp.ts';
import type { Parsed } from './parsed.ts';
import type { Policy } from './policy.ts';
import { type Binding, type GpuState, gpuEvidenceDigest } from './report-data.ts';

/** Seconds by which a signer's clock may be ahead of the verifier's. */
export const CLOCK_SKEW_SECONDS = 60;

/** What a verifier asks of a document. */
export interface DocumentQuestion {
  readonly policy: Policy;
  /** the nonce that the verifier sent, lower-case hex; undefined where he does not know it, which proves no freshness */
  readonly nonce: string | undefined;
  /** the commitment that the evidence must bind, where the verifier knows one */
  readonly modelCommitment?: string | undefined;
  /** the verifier's clock */
  readonly now: Date;
  /** when the evidence was relied upon, for its age; default `now` */
  readonly usedAt?: Date | undefined;
  /** for evidence of hardware */
  readonly collateral?: Collateral | undefined;
  /** the vendors' own unless others are to be trusted, which tests alone do */
  readonly roots?: VendorRoots | undefined;
}

/** A document, and what its fields decode to. */
export interface ParsedDocument {
  readonly document: EvidenceDocument;
  readonly cpu: Signed;
  /** the CPU's */
  readonly certificates: readonly Certificate[];
  readonly gpu: GpuState | undefined;
  /** OCSP responses that came along */
  readonly ocsp: readonly Parsed<OcspResponse>[];
  readonly binding: Binding;
  /** what the CPU must have signed */
  readonly reportData: Uint8Array;
}

/** Whether the GPU evidence that came is the one that the CPU's report data commits to. */
export function checkGpuBound(
  { document, gpu, reportData }: ParsedDocument,
  claims: CpuClaims | undefined,
  policy: Policy,
  { record, omit }: Checklist,
): void {
  const demanded = policy.requiredBinding.includes('gpuEvidence') || policy.gpu?.count !== undefined;
  const { gpuEvidence } = document;
  const fail = (why: string) => record('gpu.bound', false, 'evidence-rejected', why);
  if (gpu === undefined) {
    if (gpuEvidence !== null) fail('the evidence binds GPUs whose evidence is missing');
    else if (demanded) fail('no GPU evidence came, and the policy demands it');
    else omit('gpu.bound', 'no GPU evidence, and none demanded');
  } else if (gpuEvidence === null) fail('GPU evidence came that nothing binds to the CPU');
  else if (gpuEvidence !== hex(gpuEvidenceDigest(gpu))) fail('the evidence binds other GPU evidence');
  else if (claims !== undefined) {
    const bound = equal(claims.reportData, reportData);
    record(
      'gpu.bound',
      bound,
      'evidence-rejected',
      `the CPU's report data ${bound ? 'binds' : 'does not bind'} it`,
    );
  }
}

export function checkBinding(
  { document, binding }: ParsedDocument,
  { policy, nonce, modelCommitment }: DocumentQuestion,
  { record, omit }: Checklist,
): void {
  if (nonce === undefined)
    omit('binding.nonce', 'not compared: what the evidence was asked for with is not known here');
  else {
    record(
      'binding.nonce',
      document.nonce === nonce,
      'replayed',
      'the nonce in the evidence is compared with the one asked for',
    );
  }
  const expected = [modelCommitment, policy.commitment].filter((one) => one !== undefined);
  if (expected.length === 0) omit('binding.model-commitment', 'no commitment was expected');
  else {
    record(
      'binding.model-commitment',
      expected.every((one) => document.modelCommitment === one),
      'commitment-mismatch',
      `expected model commitment ${[...new Set(expected)].join(' and ')}, got ${document.modelCommitment ?? 'none'}`,
    );
  }
  const missing = policy.requiredBinding.filter((name) => binding[name] === undefined);
  record(
    'binding.required',
    missing.length === 0,
    'policy-rejected',
    missing.length === 0 ? 'all that the policy asks for is bound' : `not bound: ${missing.join(', ')}`,
  );
  const sealing = policy.sealing ?? 'x25519';
  const has = sealing === 'x25519' || binding.xWingKey !== undefined;
  record('policy.sealing', has, 'policy-rejected', `${has ? 'a' : 'no'} key for ${sealing} is bound`);
}

export function checkPolicy(claims: CpuClaims, policy: Policy, record: Recorder): void {
  const { platform, measurement, registers, debug } = claims;
  const accepted = (policy.platforms as readonly string[]).includes(platform);
  record('policy.platform', accepted, 'policy-rejected', `platform ${platform}`);
  // A conversation accepts no build that its policy does not name.
  const { measurements = [] } = policy;
  const known =
    registers === undefined ? measurements.length > 0 : measurementAccepted(measurements, registers);
  record('policy.measurement', known, 'policy-rejected', `measurement ${measurement}`);
  record('policy.debug', !debug || policy.debug, 'policy-rejected', `debug mode is ${debug ? 'on' : 'off'}`);
}

export function checkFreshness(
  issuedAt: Date,
  usedAt: Date,
  { maxAgeSeconds }: Pick<Policy, 'maxAgeSeconds'>,
  record: Recorder,
): void {
  const age = (usedAt.getTime() - issuedAt.getTime()) / 1000;
  // Written so that an invalid date (NaN) fails.
  const fresh = age <= maxAgeSeconds && age >= -CLOCK_SKEW_SECONDS;
  const behind =
    age < -CLOCK_SKEW_SECONDS ? `; your clock is ${Math.round(-age)} s behind the enclave's` : '';
  const detail = `age ${Math.round(age)} s, at most ${maxAgeSeconds} s${behind}`;
  record('evidence.fresh', fresh, 'evidence-rejected', detail);
}

/** Which of the files that the document names are at hand: a help to find what is missing, never a failure. */
export function checkCollateral(
  { collateral: named }: EvidenceDocument,
  collateral: Collateral | undefined,
  { record, omit }: Checklist,
): void {
  if (named.length === 0) return;
  const missing = named.filter((digest) => collateral?.digests?.has(digest) !== true);
  const id = 'evidence.collateral';
  if (missing.length === 0)
    record(id, true, 'evidence-rejected', `all ${named.length} files named are at hand`);
  else
    omit(id, `not at hand, of ${named.length} files named: ${missing.map((d) => d.slice(0, 16)).join(', ')}`);
}
