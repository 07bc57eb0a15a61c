/** A host with a GPU: a tree of real files with a kernel behind it that moves drivers' links, and can fail any access. */
import { chmod, mkdir, readlink, rm, symlink, writeFile } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { type PassthroughOptions, passthrough } from '../../../runtime/passthrough/device.ts';
import { type HostFiles, hostFiles } from '../../../runtime/passthrough/host-files.ts';
import type { Taken } from '../../../runtime/passthrough/journal.ts';
import type { TestContext } from '../../harness.ts';
import { temporaryFolder } from '../nats/nats-fixture.ts';

export const GPU = '0000:65:00.0';
export const AUDIO = '0000:65:00.1';
export const BRIDGE = '0000:64:00.0';
export const DISK = '0000:66:00.0';
const VENDOR = '0x10de';

export interface PciFunction {
  readonly class: string;
  readonly driver?: string;
  readonly resets?: string;
  readonly override?: string;
}
export const CARD: Record<string, PciFunction> = {
  [BRIDGE]: { class: '0x060400', driver: 'pcieport' },
  [GPU]: { class: '0x030200', driver: 'nvidia', resets: 'flr bus' },
  [AUDIO]: { class: '0x040300', driver: 'snd_hda_intel', resets: 'bus' },
};

/** The host's files, with a kernel behind them, and a list of what was done. */
export async function machine(t: TestContext, card: Record<string, PciFunction> = CARD, group = '12') {
  const root = await temporaryFolder(t);
  const at = (...parts: string[]) => join(root, ...parts);
  const sys = (address: string, ...rest: string[]) => at('sys/bus/pci/devices', address, ...rest);
  const put = async (file: string, text: string) => {
    await mkdir(join(file, '..'), { recursive: true });
    await writeFile(file, text);
  };
  const attach = async (address: string, driver: string | undefined) => {
    await rm(sys(address, 'driver'), { force: true });
    if (driver) await symlink(`../../drivers/${driver}`, sys(address, 'driver'));
  };
  for (const driver of ['vfio-pci', 'nvidia', 'snd_hda_intel', 'pcieport', 'nvme', 'nouveau'])
    await put(at('sys/bus/pci/drivers', driver, 'unbind'), '');
  await put(at('sys/bus/pci/drivers_probe'), '');
  await put(at('dev/vfio', group), '');
  await chmod(at('dev/vfio', group), 0o600);
  for (const [address, each] of Object.entries(card)) {
    await put(sys(address, 'class'), `${each.class}\n`);
    await put(sys(address, 'vendor'), `${VENDOR}\n`);
    await put(sys(address, 'device'), '0x2331\n');
    await put(sys(address, 'config'), '\xde\x10\x31\x23');
    await put(sys(address, 'reset'), '');
    await put(sys(address, 'driver_override'), `${each.override ?? '(null)'}\n`);
    if (each.resets !== undefined) await put(sys(address, 'reset_method'), `${each.resets}\n`);
    await symlink(`../../../../kernel/iommu_groups/${group}`, sys(address, 'iommu_group'));
    await put(at('sys/kernel/iommu_groups', group, 'devices', address), '');
    await attach(address, each.driver);
  }
  const plain = hostFiles(root);
  const driverOf = async (address: string) =>
    basename(await readlink(sys(address, 'driver')).catch(() => '')) || undefined;
  const did: string[] = [];
  /** The access with this number fails, or all from there on that are alike. */
  const fault: { at?: number; every?: boolean; what?: string } = {};
  let accesses = 0;
  const access = async <T>(what: string, work: () => Promise<T>): Promise<T> => {
    accesses += 1;
    if (accesses === fault.at) fault.what = what;
    if (accesses === fault.at || (fault.every && what === fault.what)) throw new Error(`EIO: ${what}`);
    return work();
  };
  const kernel = async (path: string, text: string): Promise<void> => {
    did.push(`${path.replace('/sys/bus/pci/', '')} ${text.trim()}`);
    if (path.endsWith('/reset_method') && text.trim() === 'default')
      await plain.write(path, `${card[path.split('/').at(-2)!]?.resets}\n`);
    if (path.endsWith('/driver/unbind')) await attach(text.trim(), undefined);
    if (path.endsWith('/drivers_probe')) {
      const address = text.trim();
      const override = ((await plain.read(`/sys/bus/pci/devices/${address}/driver_override`)) ?? '').trim();
      if (await driverOf(address)) return;
      await attach(address, override && override !== '(null)' ? override : card[address]?.driver);
    }
  };
  const files: HostFiles = {
    read: (path) => access(`read ${path}`, () => plain.read(path)),
    list: (path) => access(`list ${path}`, () => plain.list(path)),
    link: (path) => access(`link ${path}`, () => plain.link(path)),
    owner: (path) => access(`owner ${path}`, () => plain.owner(path)),
    give: (path, owner) => access(`give ${path}`, () => plain.give(path, owner)),
    probe: (path) => access(`probe ${path}`, () => plain.probe(path)),
    write: (path, text) =>
      access(`write ${path}`, async () => {
        await plain.write(path, text);
        await kernel(path, text);
      }),
  };
  const log: string[] = [];
  let kept: readonly Taken[] = [];
  const journal = {
    load: () => access('load', async () => kept),
    save: (taken: readonly Taken[]) =>
      access('save', async () => {
        kept = taken;
      }),
  };
  const open = (options: Partial<PassthroughOptions> = {}) =>
    passthrough({
      addresses: [GPU],
      files,
      ccMode: () => access('ccMode', async () => 'on'),
      journal,
      owner: { uid: process.getuid!(), gid: process.getgid!() },
      log: (line) => void log.push(line),
      ...options,
    });
  /** The drivers of all functions but the bridge's, in order. */
  const drivers = async () => {
    const all = Object.keys(card).filter((address) => address !== BRIDGE);
    return Promise.all(all.map(driverOf));
  };
  return {
    root,
    sys,
    at,
    files,
    did,
    log,
    fault,
    open,
    drivers,
    driverOf,
    attach,
    put,
    plain,
    accesses: () => accesses,
    /** From now on, the access with this number fails, or all like it. */
    breakAt(at: number, every = false) {
      accesses = 0;
      Object.assign(fault, { at, every, what: undefined });
    },
    kept: () => kept,
  };
}

export const HOME = ['nvidia', 'snd_hda_intel'];
export const AWAY = ['vfio-pci', 'vfio-pci'];

export async function through(device: ReturnType<typeof passthrough>) {
  await device.bind();
  await device.reset();
  return device.measure();
}
