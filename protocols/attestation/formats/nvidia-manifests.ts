/**
 * The manifests (rim.ts) that are about an NVIDIA device, and its measurements against them. NVIDIA names a driver's
 * manifest by chip and version, a vBIOS's by board, SKUs and version, of which the manifest itself states the chip and
 * the version only (NVIDIA/attestation-sdk, gpu/evidence.cpp).
 *
 * Which manifests count does not depend on the order in which they came. Of those given all that are for a device's chip
 * and version have to hold, so that none can hide behind another; of those in store, which serve many machines, one that
 * holds is enough.
 */
import { hex } from '../../encoding.ts';
import { messageOf, VouchError } from '../../errors.ts';
import { createChecklist, type Recorder } from '../checklist.ts';
import type { Parsed } from '../parsed.ts';
import type { DeviceKind, DeviceList, DeviceTrust } from './nvidia-device.ts';
import { checkRim, type Rim, type RimTrust, rimCheckIds } from './rim.ts';
import type { SpdmExchange } from './spdm.ts';

/** Manifests at hand, each once, in an order of their own. */
export interface Manifests {
  /** for these very devices */
  readonly given: readonly Rim[];
  readonly stored: readonly Rim[];
}

/** What a device runs: the prefix of a manifest's checks, which kind of manifest it is, and for which version. */
export interface Firmware {
  readonly id: string;
  readonly kind: Rim['kind'];
  readonly version: string;
}

/** A device as far as its manifests are concerned. */
export interface Measured {
  readonly kind: DeviceKind;
  readonly firmware: readonly Firmware[];
  /** the chip that its report names; '' where it names none */
  readonly reportedChip: string;
  /** the chip that its certificate names */
  readonly certifiedChip: string;
}

/** Undefined when one of those given cannot be read, which is recorded; one in store that cannot is passed over. */
export function readManifests(
  given: readonly Parsed<Rim>[],
  stored: readonly Parsed<Rim>[],
  record: Recorder,
): Manifests | undefined {
  const readable = stored.flatMap((parsed) => {
    try {
      return [parsed()];
    } catch (error) {
      if (!(error instanceof VouchError)) throw error;
      return [];
    }
  });
  try {
    return { given: inOrder(given.map((parsed) => parsed())), stored: inOrder(readable) };
  } catch (error) {
    if (!(error instanceof VouchError)) throw error;
    record('rim.document', false, 'evidence-rejected', messageOf(error));
    return undefined;
  }
}

const nameOf = ({ signature }: Rim): string => `${hex(signature.contentDigest)} ${hex(signature.value)}`;

const inOrder = (rims: readonly Rim[]): Rim[] =>
  [...rims].sort((a, b) => (nameOf(a) < nameOf(b) ? -1 : Number(nameOf(a) > nameOf(b))));

/** Whether a manifest is of this kind and version at all. */
const isOf = (rim: Rim, { kind }: Measured, { kind: wanted, version }: Firmware): boolean =>
  rim.kind === wanted && rim.ofSwitch === (kind === 'switch') && rim.version.toUpperCase() === version;

/**
 * Whether a manifest is for this chip. A report that names its chip means just that one; where it does not, as with older
 * drivers, the certificate's chip and those of its family (GB100 and GB102) share their manifests.
 */
function isForChip({ product }: Rim, { reportedChip, certifiedChip }: Measured): boolean {
  const chip = (reportedChip || certifiedChip).toUpperCase();
  const named = product.toUpperCase().replace('_', '');
  if (chip === '') return false;
  if (named.length === chip.length && [...named].every((letter, i) => isSame(letter, chip[i]!))) return true;
  return reportedChip === '' && named.slice(0, 4) === chip.slice(0, 4);
}

/** X stands for any digit. */
const isSame = (a: string, b: string): boolean =>
  a === b || (a === 'X' && /[0-9]/.test(b)) || (b === 'X' && /[0-9]/.test(a));

/** Which of the manifests given some device needs. */
export const claimedBy = (devices: readonly Measured[], { given }: Manifests): ReadonlySet<Rim> =>
  new Set(
    given.filter((rim) =>
      devices.some((device) =>
        device.firmware.some((one) => isOf(rim, device, one) && isForChip(rim, device)),
      ),
    ),
  );

/** Manifests given that no device needs: they may be of other machines, but not be forged. */
export async function checkUnclaimed(
  { given }: Manifests,
  claimed: ReadonlySet<Rim>,
  trust: DeviceTrust,
  { record }: Pick<DeviceList, 'record'>,
): Promise<void> {
  for (const rim of given) {
    if (claimed.has(rim)) continue;
    const list = createChecklist([]);
    await checkRim(rim, rimTrust(trust), 'rim.other', list.record);
    const { checks } = list.result('');
    // Dates and revocation are the matter of whoever relies on it.
    const wrong = checks.find(
      ({ id, status }) =>
        status === 'fail' && ['rim.other.digest', 'rim.other.signature', 'rim.other.chain'].includes(id),
    );
    if (wrong !== undefined) {
      const what = `manifest for ${rim.version} of ${rim.product.slice(0, 16)}: ${wrong.detail}`;
      record(wrong.id, false, 'evidence-rejected', what);
    }
  }
}

const rimTrust = ({ policy, crls, ocsp, now, roots, verify }: DeviceTrust): RimTrust => ({
  crls,
  ocsp,
  revocation: policy.revocation,
  now,
  roots: roots?.rim,
  verify,
});

type Reading = Pick<SpdmExchange, 'measurements'> & { readonly nvdec0?: boolean };

/** A manifest, and which firmware of the device it is for. */
interface Used {
  readonly id: string;
  readonly rim: Rim;
}

/** Checks the manifests of a device's firmware, and its measurements against them. */
export async function checkManifests(
  device: Measured,
  reading: Reading,
  manifests: Manifests,
  claimed: ReadonlySet<Rim>,
  trust: DeviceTrust,
  list: DeviceList,
): Promise<void> {
  const { kind, firmware, certifiedChip, reportedChip } = device;
  const { policy } = trust;
  const chip = reportedChip || certifiedChip;
  const used: Used[] = [];
  for (const one of firmware) {
    const { id, version } = one;
    const ofKind = manifests.given.filter(
      (rim) => rim.kind === one.kind && rim.ofSwitch === (kind === 'switch'),
    );
    const rims = await chosen(device, reading, one, manifests, claimed, trust);
    // Those that other devices need say nothing about this one.
    const others = ofKind.filter((rim) => !claimed.has(rim));
    if (rims.length === 0 && others.length === 0 && policy.rims === 'if-present') {
      list.omit(`${id}.version`, `no manifest for ${version} at hand, none demanded`);
      continue;
    }
    list.require([`${id}.version`, `${id}.product`, ...rimCheckIds(id)]);
    const found = [...new Set(ofKind.map((rim) => rim.version))].join(', ') || 'none';
    const detail = rims.length === 0 ? `expected a manifest for ${version}, got ${found}` : `for ${version}`;
    list.record(`${id}.version`, rims.length > 0, 'evidence-rejected', detail);
    for (const rim of rims) {
      const fits = isForChip(rim, device);
      list.record(`${id}.product`, fits, 'evidence-rejected', `for ${rim.product} on ${chip}`);
      await checkRim(rim, rimTrust(trust), id, list.record);
      used.push({ id, rim });
    }
  }
  if (used.length > 0) checkMeasurements(kind, reading, used, list);
  else if (policy.rims === 'if-present') {
    list.omit(`${kind}.measurements`, 'no manifest at hand, none demanded');
  } else list.require([`${kind}.measurements`]);
}

/** Those given for this firmware; else one in store that holds; else what comes nearest, to be refused by its checks. */
async function chosen(
  device: Measured,
  reading: Reading,
  firmware: Firmware,
  { given, stored }: Manifests,
  claimed: ReadonlySet<Rim>,
  trust: DeviceTrust,
): Promise<readonly Rim[]> {
  const ofVersion = given.filter((rim) => isOf(rim, device, firmware));
  const fitting = ofVersion.filter((rim) => isForChip(rim, device));
  if (fitting.length > 0) return fitting;
  const kept = stored.filter((rim) => isOf(rim, device, firmware) && isForChip(rim, device));
  for (const rim of kept) {
    const list = createChecklist(rimCheckIds('rim'));
    await checkRim(rim, rimTrust(trust), 'rim', list.record);
    checkMeasurements(device.kind, reading, [{ id: 'rim', rim }], list);
    if (list.result('').verdict === 'accept') return [rim];
  }
  return kept.length > 0 ? kept.slice(0, 1) : ofVersion.filter((rim) => !claimed.has(rim));
}

/** Index of the measurement that only counts while the first video decoder is in use. */
const NVDEC0_INDEX = 35;

/** Every active index of the manifests must be measured, with one of its values; none may be active in two kinds. */
function checkMeasurements(
  kind: DeviceKind,
  { measurements, nvdec0 }: Reading,
  used: readonly Used[],
  list: Pick<DeviceList, 'require' | 'record'>,
): void {
  list.require([`${kind}.measurement-indices`, `${kind}.measurements`]);
  const owners = new Map<number, string>();
  const twice = new Set<number>();
  const wrong = new Set<number>();
  for (const { id, rim } of used) {
    for (const [index, { active, values }] of rim.measurements) {
      if (!active) continue;
      const owner = owners.get(index);
      if (owner !== undefined && owner !== id) twice.add(index);
      owners.set(index, id);
      // A manifest counts from 0, SPDM from 1.
      const measured = measurements.get(index + 1);
      if (measured === undefined || !values.includes(hex(measured.value))) wrong.add(index);
    }
  }
  list.record(
    `${kind}.measurement-indices`,
    twice.size === 0 && owners.size > 0,
    'evidence-rejected',
    twice.size === 0 ? `${owners.size} active` : `${[...twice].join(', ')} active in both manifests`,
  );
  const skipped = kind === 'gpu' && nvdec0 === false && owners.delete(NVDEC0_INDEX);
  if (skipped) wrong.delete(NVDEC0_INDEX);
  const matching = `${owners.size - wrong.size} of ${owners.size} match`;
  const names = [...wrong].sort((a, b) => a - b).slice(0, 16);
  list.record(
    `${kind}.measurements`,
    wrong.size === 0 && owners.size > 0,
    'evidence-rejected',
    `${matching}${wrong.size === 0 ? '' : `, not ${names.join(', ')}`}${skipped ? ', NVDEC0 is off' : ''}`,
  );
}
