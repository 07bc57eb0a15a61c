/**
 * What NVIDIA's GPUs and NVSwitches have in common as devices that attest: a chain of five certificates up to NVIDIA's
 * root, a signature over request and response, the nonce and the firmware id. What signed manifests say of a device's
 * measurements is nvidia-manifests.ts's matter.
 */
import { equal, hex } from '../../encoding.ts';
import { messageOf, VouchError } from '../../errors.ts';
import { type Certificate, fromBase64, parseCertificate, type RevocationList } from '../certificate.ts';
import { chainCheckIds, recordChain, verifyChain } from '../chain.ts';
import { attempting, type Recorder } from '../checklist.ts';
import type { GpuPolicy } from '../demands.ts';
import type { OcspResponse } from '../ocsp.ts';
import type { Parsed } from '../parsed.ts';
import { NVIDIA_DEVICE_ROOT_CERTIFICATE, NVIDIA_DEVICE_ROOTS } from '../roots/nvidia.ts';
import { type SignatureVerifier, verifyEcdsa } from '../signature.ts';
import { certificateFwid } from './nvidia-report.ts';
import type { SpdmExchange } from './spdm.ts';

/** The device's chain: attestation key, device, provisioner, product, root. */
const CHAIN_LENGTH = 5;

export type DeviceKind = 'gpu' | 'switch';

/** A checklist whose ids name one of several devices. */
export interface DeviceList {
  readonly record: Recorder;
  readonly require: (ids: readonly string[]) => void;
  readonly omit: (id: string, why: string) => void;
}

export interface DeviceTrust {
  readonly policy: GpuPolicy;
  readonly now: Date;
  readonly crls?: readonly Parsed<RevocationList>[] | undefined;
  readonly ocsp?: readonly Parsed<OcspResponse>[] | undefined;
  /** the 32 bytes that the verifier asked with; without it nothing is accepted */
  readonly nonce?: Uint8Array | undefined;
  /** fingerprints; NVIDIA's own unless others are to be trusted */
  readonly roots?: { readonly device: readonly string[]; readonly rim: readonly string[] } | undefined;
  readonly verify: SignatureVerifier;
}

/** The checks that `checkDevice` records. */
export const deviceCheckIds = (kind: DeviceKind): readonly string[] => [
  `${kind}.certificates`,
  ...chainCheckIds(`${kind}.chain`),
  `${kind}.signature`,
  `${kind}.nonce`,
  `${kind}.fwid`,
];

export interface Device {
  readonly leaf: Certificate;
  /** such as GH100 or LS10; '' when no name says it */
  readonly chip: string;
  /** SHA-256 fingerprint of the device's own certificate, the same under every firmware; '' without a path */
  readonly fingerprint: string;
  /** whether the report is signed by a key that the root certified */
  readonly held: boolean;
}

/** The certificates of a device. */
export interface DeviceCertificates {
  /** those that came with its report, in any order: every one has to be part of its chain, the root may be left out */
  readonly certificates: Parsed<readonly Certificate[]>;
  /** others at hand that may complete the chain */
  readonly pool?: readonly Certificate[] | undefined;
}

/** Undefined when the certificates are not a chain of one device. */
export async function checkDevice(
  kind: DeviceKind,
  report: SpdmExchange & { readonly fwid?: Uint8Array },
  { certificates, pool = [] }: DeviceCertificates,
  trust: DeviceTrust,
  list: DeviceList,
): Promise<Device | undefined> {
  const { policy, now, crls, ocsp, nonce, roots, verify } = trust;
  const { record } = list;
  const ordered = attempting(record)(
    `${kind}.certificates`,
    () => leafOf(certificates()),
    ({ leaf }) => leaf.subjectName,
  );
  if (ordered === undefined) return undefined;
  const { leaf, others } = ordered;
  const chain = await verifyChain({
    certificates: [leaf, ...others],
    own: [...pool, parseCertificate(fromBase64(NVIDIA_DEVICE_ROOT_CERTIFICATE, 'device root'))],
    exact: true,
    rootFingerprints: roots?.device ?? NVIDIA_DEVICE_ROOTS,
    crls,
    ocsp,
    revocation: policy.revocation,
    now,
    verify,
  });
  recordChain(chain, `${kind}.chain`, record);
  const complete = chain.checks.every(({ name, status }) => name !== 'path' || status === 'pass');
  if (complete && chain.path.length !== CHAIN_LENGTH) {
    const found = `expected a chain of ${CHAIN_LENGTH} certificates, got ${chain.path.length}`;
    record(`${kind}.certificates`, false, 'evidence-rejected', found);
  }
  const signed = await verifyEcdsa(leaf.key, 'SHA-384', report.signature, report.signed);
  record(`${kind}.signature`, signed, 'signature-rejected', `${signed ? '' : 'not '}by ${leaf.subjectName}`);
  if (nonce !== undefined) {
    const fresh = equal(nonce, report.requestNonce);
    const found = hex(report.requestNonce);
    const detail = fresh ? found.slice(0, 16) : `expected ${hex(nonce)}, got ${found}`;
    record(`${kind}.nonce`, fresh, 'evidence-rejected', detail);
  }
  checkFwid(kind, report.fwid, leaf, policy, list);
  const device = chain.path[1];
  return {
    leaf,
    chip: chipOf(leaf.subjectName) ?? chipOf(device?.subjectName ?? '') ?? '',
    fingerprint: device?.fingerprint ?? '',
    held: signed && complete,
  };
}

/** One certificate that is no authority, and the others; throws `evidence-rejected`. */
function leafOf(certificates: readonly Certificate[]): { leaf: Certificate; others: Certificate[] } {
  const refuse = (reason: string): never => {
    throw new VouchError('evidence-rejected', reason);
  };
  if (certificates.length > CHAIN_LENGTH) {
    return refuse(`expected a chain of ${CHAIN_LENGTH} certificates, got ${certificates.length}`);
  }
  const leaves = certificates.filter(({ authority }) => !authority);
  const [leaf] = leaves;
  if (leaf === undefined || leaves.length > 1) {
    return refuse(`expected one certificate of an attestation key, got ${leaves.length}`);
  }
  if (leaf.key.type !== 'EC' || leaf.key.curve !== 'P-384') return refuse('expected a P-384 attestation key');
  if (leaf.usage?.has('digitalSignature') === false) return refuse('the attestation key may not sign');
  return { leaf, others: certificates.filter((certificate) => certificate !== leaf) };
}

/** Names start with the chip: GH100 A01 GSP FMC LF, LS_10 A01 FSP FMC LF. */
const chipOf = (name: string): string | undefined =>
  /^[A-Z]{2}_?[0-9]{2,3}(?= |$)/.exec(name)?.[0].replace('_', '');

function checkFwid(
  kind: DeviceKind,
  reported: Uint8Array | undefined,
  leaf: Certificate,
  policy: GpuPolicy,
  { record, omit }: DeviceList,
): void {
  const id = `${kind}.fwid`;
  if (reported === undefined) {
    // Switches do not report it.
    if (policy.fwid === 'if-present' || kind === 'switch') omit(id, 'not reported, not demanded');
    else record(id, false, 'evidence-rejected', 'the report states no firmware id');
    return;
  }
  try {
    const certified = certificateFwid(leaf);
    const matches = certified !== undefined && equal(certified, reported);
    // Whole where they differ: two that begin alike would print alike.
    const shown = (value: Uint8Array) => hex(value).slice(0, matches ? 16 : undefined);
    const found = certified === undefined ? 'the certificate states none' : `certified ${shown(certified)}`;
    record(id, matches, 'evidence-rejected', `reported ${shown(reported)}, ${found}`);
  } catch (error) {
    if (!(error instanceof VouchError)) throw error;
    record(id, false, 'evidence-rejected', messageOf(error));
  }
}
