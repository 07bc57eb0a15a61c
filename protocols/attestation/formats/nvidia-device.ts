/**
 * What NVIDIA's GPUs and NVSwitches have in common as devices that attest: a chain of five certificates up to NVIDIA's
 * root, a signature over request and response, the nonce, the firmware id, and measurements that signed manifests list.
 */
import { equal, hex } from '../../encoding.ts';
import { messageOf, VouchError } from '../../errors.ts';
import type { Certificate, RevocationList } from '../certificate.ts';
import { chainCheckIds, recordChain, verifyChain } from '../chain.ts';
import { attempting, type Recorder } from '../checklist.ts';
import type { GpuPolicy } from '../demands.ts';
import type { Parsed } from '../parsed.ts';
import { NVIDIA_DEVICE_ROOTS } from '../roots/nvidia.ts';
import { type SignatureVerifier, verifyEcdsa } from '../signature.ts';
import { certificateFwid } from './nvidia-report.ts';
import { checkRim, type Rim, rimCheckIds } from './rim.ts';
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

/** Undefined when the certificates are not a chain of one device. */
export async function checkDevice(
  kind: DeviceKind,
  report: SpdmExchange & { readonly fwid?: Uint8Array },
  certificates: Parsed<readonly Certificate[]>,
  trust: DeviceTrust,
  list: DeviceList,
): Promise<Device | undefined> {
  const { policy, now, crls, nonce, roots, verify } = trust;
  const { record } = list;
  const ordered = attempting(record)(
    `${kind}.certificates`,
    () => orderChain(certificates()),
    ({ leaf }) => leaf.subjectName,
  );
  if (ordered === undefined) return undefined;
  const { leaf, others } = ordered;
  const chain = await verifyChain({
    certificates: [leaf, ...others],
    exact: true,
    rootFingerprints: roots?.device ?? NVIDIA_DEVICE_ROOTS,
    crls,
    revocation: policy.revocation,
    now,
    verify,
  });
  recordChain(chain, `${kind}.chain`, record);
  const signed = await verifyEcdsa(leaf.key, 'SHA-384', report.signature, report.signed);
  record(`${kind}.signature`, signed, 'signature-rejected', `${signed ? '' : 'not '}by ${leaf.subjectName}`);
  if (nonce !== undefined) {
    const fresh = equal(nonce, report.requestNonce);
    const found = hex(report.requestNonce).slice(0, 16);
    const detail = fresh ? found : `expected ${hex(nonce).slice(0, 16)}, got ${found}`;
    record(`${kind}.nonce`, fresh, 'evidence-rejected', detail);
  }
  checkFwid(kind, report.fwid, leaf, policy, list);
  const device = chain.path[1];
  return {
    leaf,
    chip: chipOf(leaf.subjectName) ?? chipOf(device?.subjectName ?? '') ?? '',
    fingerprint: device?.fingerprint ?? '',
    held: signed && chain.checks.every(({ name, status }) => name !== 'path' || status === 'pass'),
  };
}

/** Five certificates of which one is no authority; throws `bad-file` or `evidence-rejected`. */
function orderChain(certificates: readonly Certificate[]): { leaf: Certificate; others: Certificate[] } {
  const refuse = (reason: string): never => {
    throw new VouchError('evidence-rejected', reason);
  };
  if (certificates.length !== CHAIN_LENGTH) {
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
    const found =
      certified === undefined ? 'the certificate states none' : `certified ${hex(certified).slice(0, 16)}`;
    record(id, matches, 'evidence-rejected', `reported ${hex(reported).slice(0, 16)}, ${found}`);
  } catch (error) {
    if (!(error instanceof VouchError)) throw error;
    record(id, false, 'evidence-rejected', messageOf(error));
  }
}

/** What a device runs: the prefix of a manifest's checks, which kind of manifest it is, and for which version. */
export interface Firmware {
  readonly id: string;
  readonly kind: Rim['kind'];
  readonly version: string;
}

/** Checks the manifests of a device's firmware, and its measurements against them. */
export async function checkManifests(
  kind: DeviceKind,
  { measurements, nvdec0 }: Pick<SpdmExchange, 'measurements'> & { readonly nvdec0?: boolean },
  firmware: readonly Firmware[],
  chip: string,
  rims: readonly Rim[],
  { policy, crls, now, roots, verify }: DeviceTrust,
  list: DeviceList,
): Promise<void> {
  const used: Rim[] = [];
  for (const { id, kind: wanted, version } of firmware) {
    const candidates = rims.filter(
      (rim) => rim.kind === wanted && (kind === 'gpu' || sameFamily(rim.product, chip)),
    );
    if (candidates.length === 0 && policy.rims === 'if-present') {
      list.omit(`${id}.version`, `no manifest for ${version} at hand, none demanded`);
      continue;
    }
    list.require([`${id}.version`, `${id}.product`, ...rimCheckIds(id)]);
    const fitting = candidates.filter((rim) => rim.version.toUpperCase() === version);
    const rim = fitting.find(({ product }) => sameFamily(product, chip)) ?? fitting[0];
    const others = candidates.map((candidate) => candidate.version).join(', ') || 'none';
    const detail = rim === undefined ? `expected a manifest for ${version}, got ${others}` : `for ${version}`;
    list.record(`${id}.version`, rim !== undefined, 'evidence-rejected', detail);
    if (rim === undefined) continue;
    list.record(
      `${id}.product`,
      sameFamily(rim.product, chip),
      'evidence-rejected',
      `for ${rim.product} on ${chip}`,
    );
    const trust = { crls, revocation: policy.revocation, now, roots: roots?.rim, verify };
    await checkRim(rim, trust, id, list.record);
    used.push(rim);
  }
  const without = kind === 'gpu' && nvdec0 === false ? NVDEC0_INDEX : undefined;
  if (used.length > 0) checkMeasurements(kind, measurements, used, without, list);
  else if (policy.rims === 'if-present')
    list.omit(`${kind}.measurements`, 'no manifest at hand, none demanded');
  else list.require([`${kind}.measurements`]);
}

/** GH100 and GH100; GB202 and GB20X: manifests name a family by its first digit. */
const sameFamily = (product: string, chip: string): boolean =>
  chip !== '' && product.slice(0, 3).toUpperCase() === chip.slice(0, 3);

/** Index of the measurement that only counts while the first video decoder is in use. */
const NVDEC0_INDEX = 35;

/** Every active index of the manifests must be measured, with one of its values; none may be active in two. */
function checkMeasurements(
  kind: DeviceKind,
  measurements: SpdmExchange['measurements'],
  rims: readonly Rim[],
  without: number | undefined,
  list: DeviceList,
): void {
  list.require([`${kind}.measurement-indices`, `${kind}.measurements`]);
  const expected = new Map<number, readonly string[]>();
  const twice: number[] = [];
  for (const rim of rims) {
    for (const [index, { active, values }] of rim.measurements) {
      if (!active) continue;
      if (expected.has(index)) twice.push(index);
      expected.set(index, values);
    }
  }
  list.record(
    `${kind}.measurement-indices`,
    twice.length === 0 && expected.size > 0,
    'evidence-rejected',
    twice.length === 0 ? `${expected.size} active` : `${twice.join(', ')} active in both manifests`,
  );
  const skipped = without !== undefined && expected.delete(without);
  const wrong = [...expected].filter(([index, values]) => {
    // A manifest counts from 0, SPDM from 1.
    const measured = measurements.get(index + 1);
    return measured === undefined || !values.includes(hex(measured.value));
  });
  const matching = `${expected.size - wrong.length} of ${expected.size} match`;
  const names = wrong.slice(0, 16).map(([index]) => index);
  list.record(
    `${kind}.measurements`,
    wrong.length === 0 && expected.size > 0,
    'evidence-rejected',
    `${matching}${wrong.length === 0 ? '' : `, not ${names.join(', ')}`}${skipped ? ', NVDEC0 is off' : ''}`,
  );
}
