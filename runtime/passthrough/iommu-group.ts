/**
 * Which PCI functions have to go into a virtual machine together: those of one IOMMU group, less its bridges. Linux
 * Documentation/driver-api/vfio.rst (a group is the unit of ownership). Reads `/sys`, changes nothing.
 */
import { VouchError } from '../../protocols/errors.ts';
import type { HostFiles } from './host-files.ts';
import type { Taken } from './journal.ts';

const DEVICES = '/sys/bus/pci/devices';
const GROUPS = '/sys/kernel/iommu_groups';
export const VFIO = 'vfio-pci';
/** The kernel's own drivers for bridges; vfio.rst lets both stay in a group that is passed through. */
const BRIDGE_DRIVERS: readonly (string | undefined)[] = [undefined, 'pcieport', 'pci-stub', VFIO];
const ADDRESS = /^[0-9a-f]{4,8}:[0-9a-f]{2}:[01][0-9a-f]\.[0-7]$/;

/** A PCI address as sysfs spells it. Throws `bad-input`. */
export function pciAddress(text: string): string {
  const address = text.toLowerCase();
  if (ADDRESS.test(address)) return address;
  throw new VouchError('bad-input', `--pci: expected an address like 0000:65:00.0 (lspci -D), got ${text}`);
}

/** Where an attribute of a function lies. */
export const at = (address: string, attribute: string): string => `${DEVICES}/${address}/${attribute}`;

export const readAttribute = async (
  files: HostFiles,
  address: string,
  name: string,
): Promise<string | undefined> => (await files.read(at(address, name)))?.trim();

/** `domain:bus:device`: the functions of one card in one slot share it. */
const slotOf = (address: string): string => address.slice(0, address.lastIndexOf('.'));

/**
 * The group of the first address and its functions as they are now, each of a card that is named. Throws `bad-input` or
 * `not-ready` when they may not go.
 */
export async function scanGroup(
  files: HostFiles,
  addresses: readonly string[],
): Promise<{ group: string; functions: Taken[] }> {
  const gpu = addresses[0]!;
  const slots = new Set(addresses.map(slotOf));
  const found = await files.link(at(gpu, 'iommu_group'));
  if (found === undefined) {
    const there = (await files.list(`${DEVICES}/${gpu}`)) !== undefined;
    throw there
      ? new VouchError('not-ready', `${gpu}: in no IOMMU group; turn the IOMMU on in firmware and kernel`)
      : new VouchError('bad-input', `${gpu}: there is no such PCI device here (lspci -D)`);
  }
  if ((await files.read(`${GROUPS}/${found}/name`))?.trim() === 'vfio-noiommu')
    throw new VouchError(
      'not-ready',
      `IOMMU group ${found}: without an IOMMU; the GPU could read all memory`,
    );
  const members = (await files.list(`${GROUPS}/${found}/devices`)) ?? [];
  for (const address of addresses) {
    if (!members.includes(address))
      throw new VouchError(
        'bad-input',
        `${address}: expected a function of IOMMU group ${found}, that of ${gpu}`,
      );
  }
  const functions: Taken[] = [];
  for (const address of members) {
    const driver = await files.link(at(address, 'driver'));
    const kind = (await readAttribute(files, address, 'class')) ?? 'an unknown class';
    if (/^0x06/.test(kind)) {
      if (BRIDGE_DRIVERS.includes(driver)) continue;
      throw new VouchError('not-ready', `IOMMU group ${found}: the bridge ${address} belongs to ${driver}`);
    }
    if (!slots.has(slotOf(address))) {
      throw new VouchError(
        'not-ready',
        `IOMMU group ${found}: ${address} (${kind}, ${driver ?? 'no driver'}) would have to go too; move a card, or name it with --pci as well`,
      );
    }
    const override = (await readAttribute(files, address, 'driver_override')) ?? '';
    functions.push({ address, driver: driver ?? null, override: override === '(null)' ? '' : override });
  }
  return { group: found, functions };
}
