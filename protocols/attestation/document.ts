/**
 * The evidence document: what a CPU and its GPUs signed, and the inputs of the report data (report-data.ts) that ties
 * them to each other, to keys and to a model. All of it is unproven until `verifyEvidence` accepts. It travels as
 * JSON, and in a receipt's bundle as a CBOR map of the same names and values.
 */
import { z } from 'zod';
import { encodeCbor } from '../cbor.ts';
import { base64url, fromBase64url, fromHex, hex, sha256Hex } from '../encoding.ts';
import { Digest, FieldElement, Id, Nonce } from '../envelope.ts';
import { X_WING_PUBLIC_KEY_BYTES } from '../x-wing.ts';
import { formatNamed } from './formats/registry.ts';
import {
  MAX_DEVICES,
  MAX_EVIDENCE_BYTES,
  MAX_PART_CERTIFICATE_BYTES,
  MAX_PART_CERTIFICATES,
  MAX_REFERENCES,
  MAX_STAPLED,
  MAX_STAPLED_BYTES,
} from './limits.ts';
import { type OcspResponse, parseOcspResponse } from './ocsp.ts';
import { type Binding, CC_MODES, type GpuState, gpuEvidenceDigest } from './report-data.ts';

const base64Length = (bytes: number): number => Math.ceil((bytes * 4) / 3);
const base64Of = (most: number) =>
  z
    .string()
    .min(2)
    .regex(/^(?:[A-Za-z0-9_-]{4})*(?:[A-Za-z0-9_-]{2,3})?$/, 'expected unpadded base64url')
    .max(base64Length(most));
const KeyText = z.string().regex(/^[A-Za-z0-9_-]{43}$/, 'expected 32 bytes as unpadded base64url');
const Seconds = z
  .int()
  .min(0)
  .max(2 ** 40);

const SignedPart = z.strictObject({
  /** which format `evidence` has, such as `simulated`, `sev-snp` or `nvidia-gpu` */
  format: z.string().regex(/^[a-z][a-z0-9-]{0,31}$/, 'expected a format name such as simulated'),
  /** base64url of what the device signed */
  evidence: base64Of(MAX_EVIDENCE_BYTES),
  /** base64url of DER: the device's own certificates, where the evidence does not hold them */
  certificates: z.array(base64Of(MAX_PART_CERTIFICATE_BYTES)).max(MAX_PART_CERTIFICATES),
});

/** Unknown fields are errors. */
export const EvidenceDocument = z.strictObject({
  version: z.literal(2),
  /** false = SIMULATED, in whole or in part */
  hardware: z.boolean(),
  cpu: SignedPart,
  /** null where there is no GPU */
  gpu: z
    .strictObject({
      /** as the guest reads it from its driver; rejected unless `on` */
      ccMode: z.enum(CC_MODES),
      ready: z.boolean(),
      devices: z.array(SignedPart).min(1).max(MAX_DEVICES),
    })
    .nullable(),
  /**
   * base64url of OCSP responses about the certificates above; absent where there are none. Nothing binds them: the vendor
   * has signed them, and they run out
   */
  stapled: z.array(base64Of(MAX_STAPLED_BYTES)).min(1).max(MAX_STAPLED).optional(),
  /** digest of `gpu` that the report data binds; null where it binds none */
  gpuEvidence: Digest.nullable(),
  /** digests of files of collateral with which this evidence was last accepted by its holder: a help, not a claim */
  collateral: z.array(Digest).max(MAX_REFERENCES),
  /** seconds since 1970 by the host's clock when the evidence was made */
  time: Seconds,
  /** the verifier's nonce */
  nonce: Nonce,
  /** X25519 public key to seal to */
  hpkeKey: KeyText,
  /** X-Wing public key to seal to; null where the holder takes none */
  xWingKey: z
    .string()
    .regex(
      new RegExp(`^[A-Za-z0-9_-]{${base64Length(X_WING_PUBLIC_KEY_BYTES)}}$`),
      `expected ${X_WING_PUBLIC_KEY_BYTES} bytes as unpadded base64url`,
    )
    .nullable(),
  /** Ed25519 public key that signs receipts or proofs; null where the holder signs nothing */
  receiptKey: KeyText.nullable(),
  /** SHA-256 of the SubjectPublicKeyInfo of a TLS key; null where the holder serves no TLS */
  tlsKey: Digest.nullable(),
  /** null where the holder serves no model */
  modelCommitment: FieldElement.nullable(),
  enclave: Id,
});
export type EvidenceDocument = z.infer<typeof EvidenceDocument>;

/** What one device signed, decoded. */
export interface Signed {
  readonly format: string;
  readonly evidence: Uint8Array;
  /** DER */
  readonly certificates: readonly Uint8Array[];
}

const encodePart = ({ format, evidence, certificates }: Signed) => ({
  format,
  evidence: base64url(evidence),
  certificates: certificates.map(base64url),
});
const decodePart = ({ format, evidence, certificates }: z.infer<typeof SignedPart>): Signed => ({
  format,
  evidence: fromBase64url(evidence, 'evidence.evidence'),
  certificates: certificates.map((der) => fromBase64url(der, 'evidence.certificates')),
});

/** The CPU's part. Throws `bad-message`. */
export const cpuOf = ({ cpu }: EvidenceDocument): Signed => decodePart(cpu);
/** The GPUs' part, undefined without one. Throws `bad-message`. */
export const gpuOf = ({ gpu }: EvidenceDocument): GpuState | undefined =>
  gpu === null ? undefined : { ...gpu, devices: gpu.devices.map(decodePart) };

/** The OCSP responses that came along. Throws `bad-message`, and `bad-file` for one that cannot be read. */
export const stapledOf = ({ stapled = [] }: EvidenceDocument): OcspResponse[] =>
  stapled.map((text) => parseOcspResponse(fromBase64url(text, 'evidence.stapled'), 'evidence.stapled'));

/** Whether every part of a document comes from hardware; whatever is unknown counts as simulated. */
export const isHardware = ({ cpu, gpu }: Pick<EvidenceDocument, 'cpu' | 'gpu'>): boolean =>
  [cpu, ...(gpu?.devices ?? [])].every(({ format: name }) => {
    const format = formatNamed(name);
    return format?.inDocuments === true && format.hardware;
  });

/** What stands in front of the detail of every check about this document. */
export const labelOf = (document: Pick<EvidenceDocument, 'cpu' | 'gpu'>): string =>
  isHardware(document) ? '' : 'SIMULATED: ';

/** The document for evidence whose report data is `reportData(binding)`. */
export function evidenceDocument(
  {
    cpu,
    gpu,
    collateral = [],
    stapled = [],
  }: {
    cpu: Signed;
    gpu?: GpuState | undefined;
    collateral?: readonly string[] | undefined;
    /** DER of OCSP responses */
    stapled?: readonly Uint8Array[] | undefined;
  },
  binding: Binding,
): EvidenceDocument {
  const { nonce, hpkeKey, xWingKey, receiptKey, tlsKey, gpuEvidence, modelCommitment, enclave, time } =
    binding;
  const parts = {
    cpu: encodePart(cpu),
    gpu: gpu === undefined ? null : { ...gpu, devices: gpu.devices.map(encodePart) },
  };
  return {
    version: 2,
    hardware: isHardware(parts),
    ...parts,
    ...(stapled.length === 0 ? {} : { stapled: stapled.map(base64url) }),
    gpuEvidence: gpuEvidence === undefined ? null : hex(gpuEvidence),
    collateral: [...collateral],
    time: Math.floor(time.getTime() / 1000),
    nonce: hex(nonce),
    hpkeKey: base64url(hpkeKey),
    xWingKey: xWingKey === undefined ? null : base64url(xWingKey),
    receiptKey: receiptKey === undefined ? null : base64url(receiptKey),
    tlsKey: tlsKey === undefined ? null : hex(tlsKey),
    modelCommitment: modelCommitment ?? null,
    enclave,
  };
}

/** What a document says that it binds. Throws `bad-message`. */
export function bindingOf(document: EvidenceDocument): Binding {
  const key = (name: 'hpkeKey' | 'xWingKey' | 'receiptKey', length: number) => {
    const text = document[name];
    return text === null ? undefined : fromBase64url(text, `evidence.${name}`, length);
  };
  const digest = (name: 'tlsKey' | 'gpuEvidence') => {
    const text = document[name];
    return text === null ? undefined : fromHex(text, `evidence.${name}`, 32);
  };
  return {
    nonce: fromHex(document.nonce, 'evidence.nonce'),
    hpkeKey: key('hpkeKey', 32)!,
    xWingKey: key('xWingKey', X_WING_PUBLIC_KEY_BYTES),
    receiptKey: key('receiptKey', 32),
    tlsKey: digest('tlsKey'),
    gpuEvidence: digest('gpuEvidence'),
    modelCommitment: document.modelCommitment ?? undefined,
    enclave: document.enclave,
    time: new Date(document.time * 1000),
  };
}

/** The evidence digest: SHA-256 of the document as deterministic CBOR, lower-case hex. Covers every field. */
export const evidenceDigest = (document: EvidenceDocument): string => sha256Hex(encodeCbor(document));

/** Fills the GPU's slot of a binding. */
export const bindGpu = (binding: Binding, gpu: GpuState | undefined): Binding =>
  gpu === undefined ? binding : { ...binding, gpuEvidence: gpuEvidenceDigest(gpu) };
