/**
 * Composite evidence by made-up vendors: a TD's quote (intel-platform.ts) over report data that binds GPUs
 * (gpu-maker.ts), keys and a model. Their roots are trusted by nobody who does not name them.
 */

import type { Collateral } from '../../protocols/attestation/collateral.ts';
import {
  bindGpu,
  type EvidenceDocument,
  evidenceDigest,
  evidenceDocument,
  type Signed,
} from '../../protocols/attestation/document.ts';
import { type NamedBytes, sortFiles } from '../../protocols/attestation/evidence-files.ts';
import type { VendorRoots } from '../../protocols/attestation/formats/format.ts';
import type { IntelCollateral } from '../../protocols/attestation/formats/intel-collateral.ts';
import { type Policy, parsePolicy, policyDigest } from '../../protocols/attestation/policy.ts';
import {
  type Binding,
  type GpuState,
  gpuNonce,
  reportData,
} from '../../protocols/attestation/report-data.ts';
import type { EvidenceQuestion } from '../../protocols/attestation/verify.ts';
import { generateSigner, type Signer } from '../../protocols/cose.ts';
import { hex, randomBytes, sha256Hex, utf8 } from '../../protocols/encoding.ts';
import { encodeReceiptBundle, requestDigest, responseDigest, signReceipt } from '../../protocols/receipt.ts';
import { generateSealingKeyPair, type SealingKeyPair } from '../../protocols/sealing.ts';
import { fingerprint } from './certificate-maker.ts';
import {
  type Gpu,
  gpu as makeGpu,
  measured,
  type ReportOptions,
  report,
  rim,
  rimSigner,
  VBIOS,
  vendor,
} from './gpu-maker.ts';
import { intelCase, NOW, type Options as TdOptions } from './intel-platform.ts';
import { arkCrl, arkDer, askDer, type Fields, snpReport, vcekDer } from './snp-maker.ts';

export { NOW } from './intel-platform.ts';
export const COMMITMENT = '12345678901234567890123456789012345678901234567890';
/** What the made-up TD measures. */
const MRTD = 'bb'.repeat(48);
const REPORT_DATA_AT = 520;

export const later = (seconds: number): Date => new Date(NOW.getTime() + seconds * 1000);

export const policyFor = (changes: Record<string, unknown> = {}): Policy =>
  parsePolicy({
    version: 1,
    platforms: ['tdx', 'nvidia-gpu'],
    measurements: [MRTD],
    maxAgeSeconds: 300,
    requiredBinding: ['nonce', 'hpkeKey', 'receiptKey', 'modelCommitment', 'enclave', 'gpuEvidence'],
    gpu: { count: 1 },
    ...changes,
  });

/** Every second index of what a GPU of gpu-maker.ts measures. */
const every = (first: number): Map<number, readonly Uint8Array[]> =>
  new Map(Array.from({ length: 20 }, (_, i) => [2 * i + first, [measured(2 * i + first)]]));

/** Of the GPUs that a maker says anything about. */
const SERIALS = [4, 5, 6, 7, 8, 9, 10, 11];

/** A maker of GPUs, with manifests for what they measure and what it publishes about them. */
async function gpuVendor() {
  const makers = await vendor();
  const signer = await rimSigner();
  return {
    makers,
    // As many measurements as a real GPU has, half of them of the driver, half of the vBIOS.
    manifests: [
      await rim(signer, { active: every(0) }),
      await rim(signer, { version: VBIOS, active: every(1) }),
    ],
    ocsp: [...makers.ocsp, ...(await Promise.all(SERIALS.map((serial) => makers.answer(serial))))],
    rimOcsp: signer.ocsp,
    roots: { device: [fingerprint(makers.rootDer)], rim: [signer.root] },
  };
}
const vendors = await gpuVendor();

/** What the maker's responder says of a device. */
export const answerAbout = vendors.makers.answer;

export const makeCard = (serial = 4): Promise<Gpu> => makeGpu(vendors.makers, { serial });

export interface Variation {
  /** default `tdx` */
  readonly cpu?: 'tdx' | 'sev-snp';
  readonly td?: TdOptions;
  readonly snp?: Fields;
  readonly cards?: readonly Gpu[];
  /** how the GPUs answer */
  readonly report?: ReportOptions;
  readonly state?: Partial<Pick<GpuState, 'ccMode' | 'ready'>>;
  readonly binding?: Partial<Binding>;
  /** whether the report data leaves the GPUs out */
  readonly unbound?: boolean;
  readonly collateral?: readonly string[];
  /** which of the vendor's answers the document brings along; default: none, they are collateral */
  readonly stapled?: (answers: readonly Uint8Array[]) => readonly Uint8Array[];
}

export interface Composite {
  readonly document: EvidenceDocument;
  readonly gpu: GpuState | undefined;
  readonly binding: Binding;
  readonly signer: Signer;
  readonly sealing: readonly SealingKeyPair[];
  readonly nonce: string;
  /** what a folder of collateral would hold */
  readonly files: readonly NamedBytes[];
  readonly collateral: Collateral;
  readonly roots: VendorRoots;
}

export async function composite(variation: Variation = {}): Promise<Composite> {
  const { cards = [await makeCard()], state, unbound = false } = variation;
  const [classic, hybrid, signer] = await Promise.all([
    generateSealingKeyPair(),
    generateSealingKeyPair('x-wing'),
    generateSigner(),
  ]);
  const nonce = randomBytes(32);
  const asked: Binding = {
    nonce,
    hpkeKey: classic.publicKey,
    xWingKey: hybrid.publicKey,
    receiptKey: signer.publicKey,
    modelCommitment: COMMITMENT,
    enclave: 'enclave-1',
    time: NOW,
    ...variation.binding,
  };
  const devices = await Promise.all(
    cards.map(async (card) => ({
      format: 'nvidia-gpu',
      evidence: await report(card, { nonce: gpuNonce(asked), ...variation.report }),
      certificates: card.chain,
    })),
  );
  const gpu = devices.length === 0 ? undefined : { ccMode: 'on' as const, ready: true, ...state, devices };
  const binding = bindGpu(asked, unbound ? undefined : gpu);
  const {
    cpu,
    files: others,
    roots,
  } = await (variation.cpu === 'sev-snp' ? signSnp : signTd)(reportData(binding), variation);
  // What NVIDIA says of the devices comes along with the document, or is collateral like the rest.
  const stapled = variation.stapled?.(vendors.ocsp);
  const files = [...others, ...(stapled === undefined ? named(vendors.ocsp) : [])];
  return {
    document: evidenceDocument({ cpu, gpu, collateral: variation.collateral, stapled }, binding),
    gpu,
    binding,
    signer,
    sealing: [classic, hybrid],
    nonce: hex(nonce),
    files,
    collateral: sortFiles(files),
    roots: { ...roots, gpu: vendors.roots },
  };
}

interface SignedCpu {
  readonly cpu: Signed;
  readonly files: readonly NamedBytes[];
  readonly roots: VendorRoots;
}

async function signTd(data: Uint8Array, { td }: Variation): Promise<SignedCpu> {
  const { quote, collateral, roots } = await intelCase({
    ...td,
    report: (body) => {
      body.set(data, REPORT_DATA_AT);
      td?.report?.(body);
    },
  });
  return {
    cpu: { format: 'tdx', evidence: quote, certificates: [] },
    files: filesOf(collateral),
    roots: { intel: roots },
  };
}

/** The chip's certificate travels with the report, its CA too; the list of what is revoked is collateral. */
const signSnp = async (data: Uint8Array, { snp }: Variation): Promise<SignedCpu> => ({
  cpu: {
    format: 'sev-snp',
    evidence: await snpReport({ reportData: data, ...snp }),
    certificates: [vcekDer, askDer, arkDer],
  },
  files: named([arkCrl, ...vendors.rimOcsp, ...vendors.manifests]),
  roots: { amd: new Map([[fingerprint(arkDer), 'Turin']]) },
});

function named(all: readonly Uint8Array[]): NamedBytes[] {
  return all.map((bytes, i) => ({ name: `collateral ${i}`, bytes }));
}

/** Collateral as files: Intel's in the one JSON that PCCS clients keep, lists and manifests as they are. */
function filesOf({ tcbInfos, qeIdentities, crls, crlChains }: IntelCollateral): NamedBytes[] {
  const [tcb, qe] = [tcbInfos[0]!, qeIdentities[0]!];
  const combined = {
    pck_crl_issuer_chain: crlChains[0],
    root_ca_crl: hex(crls[0]!().der),
    pck_crl: hex(crls[1]!().der),
    tcb_info_issuer_chain: tcb.chain,
    tcb_info: tcb.text,
    tcb_info_signature: tcb.signature,
    qe_identity_issuer_chain: qe.chain,
    qe_identity: qe.text,
    qe_identity_signature: qe.signature,
  };
  return named([utf8(JSON.stringify(combined)), ...vendors.rimOcsp, ...vendors.manifests]);
}

/** The question that accepts it. */
export const questionFor = (
  { document, nonce, collateral, roots }: Composite,
  changes: Partial<EvidenceQuestion> = {},
): EvidenceQuestion => ({
  document,
  nonce,
  collateral,
  roots,
  policy: policyFor(),
  modelCommitment: COMMITMENT,
  now: NOW,
  ...changes,
});

export const request = { salt: new Uint8Array(32).fill(1), body: utf8('["A11","6"]') };
export const response = { salt: new Uint8Array(32).fill(2), body: utf8('[1,"good",[-3,5]]') };

/** A receipt by the composite's key, signed ten seconds after its evidence. */
export async function receiptBy(
  { document, signer }: Composite,
  evidence: EvidenceDocument = document,
): Promise<{ bundle: Uint8Array; nonce: string }> {
  const nonce = hex(randomBytes(32));
  const { receipt } = await signReceipt(signer, {
    enclave: document.enclave,
    evidence: evidenceDigest(evidence),
    policy: policyDigest(policyFor()),
    modelCommitment: COMMITMENT,
    manifest: sha256Hex(utf8('a manifest')),
    answers: 'exact',
    request: requestDigest(request),
    response: responseDigest(response),
    nonce,
    sequence: 0,
    time: later(10),
  });
  return { bundle: encodeReceiptBundle({ receipt, evidence }), nonce };
}
