/**
 * A GPU of a Linux host on its way into a virtual machine, and back: IOMMU group check, vfio-pci, function-level
 * reset, CC mode, hand-over of the group; then the reverse. Everything it touches lies under one injected root.
 *
 * Linux Documentation/driver-api/vfio.rst (a group is the unit of ownership; bridges stay with the host),
 * Documentation/ABI/testing/sysfs-bus-pci (driver_override, drivers_probe, unbind, reset, reset_method).
 *
 *   bind     every function of the group goes to vfio-pci, or none; a function of another card only when it was named
 *   reset    by `flr` or `af_flr` alone: a reset through power states need not clear anything
 *   measure  all of it is still with vfio-pci, CC mode is `on`; then the group's node goes to the VM's user
 *   release  the node comes back, what a VM has had is reset first, and each function gets the driver it came from
 *
 * A step that fails gives back what was taken, and its error says what became of each function. What a VM has had
 * and cannot be reset stays with vfio-pci: the host's driver never sees it.
 *
 * Not guaranteed: that a function-level reset clears the device's memory (NVIDIA's CC mode promises it, others need
 * not), and that the host tells the truth about the mode: the guest has to check the GPU's own evidence.
 */
import { messageOf, VouchError } from '../../protocols/errors.ts';
import type { Log } from '../home/log.ts';
import type { HostFiles, Owner } from './host-files.ts';
import { at, pciAddress, readAttribute, scanGroup, VFIO } from './iommu-group.ts';
import type { Journal, Taken } from './journal.ts';

export interface PassthroughOptions {
  /** the GPU first; then functions of other cards in its group that may go with it */
  readonly addresses: readonly string[];
  readonly files: HostFiles;
  /** The CC mode of the GPU at this address, as `ccModeIn` reads it. Throws where nobody can tell. */
  readonly ccMode: (address: string) => Promise<string>;
  readonly journal: Journal;
  /** who runs the VM; default: the group's node stays as it is */
  readonly owner?: { readonly uid: number; readonly gid: number } | undefined;
  readonly log: Log;
  /** for one access to a file: a driver whose device is in use does not let go; default 60 s */
  readonly patienceMs?: number;
}

/** What is known of a device that is ready for a VM; nothing of it is secret. */
export interface PassthroughFacts {
  readonly addresses: readonly string[];
  /** `vendor:device` of the GPU */
  readonly hardware: string;
  readonly group: string;
  readonly reset: string;
  readonly ccMode: string;
}

/** One effect of the gpu-device actor each; every one may throw a coded error. */
export interface Passthrough {
  bind(): Promise<void>;
  reset(): Promise<void>;
  measure(): Promise<PassthroughFacts>;
  release(): Promise<void>;
  /** Throws `device-lost` when the device is not with vfio-pci, or does not answer on the bus. */
  check(): Promise<void>;
}

const DRIVERS = '/sys/bus/pci/drivers';
const FUNCTION_RESETS = ['flr', 'af_flr'];

export function passthrough(options: PassthroughOptions): Passthrough {
  const { files, ccMode, journal, log } = options;
  const addresses = options.addresses.map(pciAddress);
  const gpu = addresses[0];
  if (gpu === undefined) throw new TypeError('passthrough: expected an address');
  let group = '';
  /** functions that are, or are on their way, with vfio-pci because of us; last taken, last */
  let taken: readonly Taken[] = [];
  /** functions whose reset was narrowed to one method */
  const narrowed = new Set<string>();
  let handed = false;
  let nodeOwner: Owner | undefined;

  const node = () => `/dev/vfio/${group}`;
  const driverOf = (address: string) => files.link(at(address, 'driver'));
  const attribute = (address: string, name: string) => readAttribute(files, address, name);
  const scan = async (): Promise<readonly Taken[]> => {
    const found = await scanGroup(files, addresses);
    group = found.group;
    return found.functions;
  };

  /** A write, or an open, may hang in the kernel for as long as somebody uses the device. */
  async function patiently<T>(what: string, work: Promise<T>): Promise<T> {
    const ms = options.patienceMs ?? 60_000;
    const late = Promise.withResolvers<never>();
    const timer = setTimeout(
      () =>
        late.reject(
          new VouchError('timeout', `${what}: not done within ${ms / 1000} s; is the GPU still in use?`),
        ),
      ms,
    );
    try {
      return await Promise.race([work, late.promise]);
    } finally {
      clearTimeout(timer);
    }
  }
  const write = (path: string, text: string) => patiently(path, files.write(path, `${text}\n`));

  async function bind(): Promise<void> {
    const withVfio = (functions: readonly Taken[]) => functions.filter(({ driver }) => driver === VFIO);
    const partly = (functions: readonly Taken[]) =>
      withVfio(functions).length > 0 && withVfio(functions).length < functions.length;
    let functions = await scan();
    const members = functions.map(({ address }) => address);
    const before = (await journal.load()).filter(({ address }) => members.includes(address));
    if (partly(functions) && before.length > 0) {
      // We did not live to finish, one way or the other.
      taken = before;
      await release();
      functions = await scan();
    }
    if (partly(functions)) {
      const there = withVfio(functions).map(({ address }) => address);
      throw new VouchError(
        'busy',
        `IOMMU group ${group}: ${there.join(', ')} is with ${VFIO}, the rest is not; give all back, or bind all`,
      );
    }
    if (withVfio(functions).length > 0) {
      // Somebody bound them at boot, or we did, and did not live to give them back: then a VM may have had them.
      taken = before;
      handed = before.length > 0;
    } else {
      if ((await files.list(`${DRIVERS}/${VFIO}`)) === undefined)
        throw new VouchError('not-ready', `the kernel has no driver ${VFIO}; modprobe ${VFIO}`);
      await journal.save(functions);
      for (const each of functions) {
        taken = [...taken, each];
        await write(at(each.address, 'driver_override'), VFIO);
        if (each.driver !== null) await write(at(each.address, 'driver/unbind'), each.address);
        await write('/sys/bus/pci/drivers_probe', each.address);
      }
    }
    await wholeGroup();
    nodeOwner = await files.owner(node());
    if (nodeOwner === undefined) throw new VouchError('device-lost', `${node()}: the kernel did not make it`);
    await probe();
  }

  /** All of the group, now, and nothing that joined it meanwhile. */
  async function wholeGroup(): Promise<string[]> {
    const functions = await scan();
    for (const { address, driver } of functions) {
      if (driver !== VFIO)
        throw new VouchError(
          'device-lost',
          `${address}: expected ${VFIO} as its driver, got ${driver ?? 'none'}`,
        );
    }
    return functions.map(({ address }) => address);
  }

  async function probe(): Promise<void> {
    try {
      await patiently(node(), files.probe(node()));
    } catch (error) {
      throw new VouchError('busy', `${node()}: a VM has it open, or it does not open (${messageOf(error)})`);
    }
  }

  /** Resets every function that can be reset by itself; the GPU has to be one. Returns its method. */
  async function clear(functions: readonly string[]): Promise<string> {
    let used = '';
    for (const address of functions) {
      const methods = (await attribute(address, 'reset_method'))?.split(/\s+/) ?? [];
      const method = FUNCTION_RESETS.find((name) => methods.includes(name));
      if (method === undefined) {
        if (address === gpu) {
          throw new VouchError(
            'not-ready',
            `${address}: expected a function-level reset (reset_method flr; Linux 5.15), got ${methods.join(' ') || 'none'}`,
          );
        }
        log(`${address}: has no reset of its own`);
        continue;
      }
      narrowed.add(address);
      await write(at(address, 'reset_method'), method);
      await write(at(address, 'reset'), '1');
      await answers(address);
      if (address === gpu) used = method;
    }
    return used;
  }

  /** A device that fell off the bus reads as ones. */
  async function answers(address: string): Promise<void> {
    const config = await files.read(at(address, 'config'));
    if (config === undefined || config.startsWith('\xff\xff'))
      throw new VouchError('device-lost', `${address}: does not answer on the bus`);
  }

  async function measure(): Promise<PassthroughFacts> {
    const functions = await wholeGroup();
    const mode = await ccMode(gpu!);
    if (mode !== 'on') throw new VouchError('evidence-rejected', `${gpu}: expected CC mode on, got ${mode}`);
    const [vendor, device, method] = await Promise.all(
      ['vendor', 'device', 'reset_method'].map((name) => attribute(gpu!, name)),
    );
    handed = true;
    if (options.owner !== undefined) await giveNode({ ...options.owner, mode: 0o600 });
    log(`${functions.join(', ')}: ready for a VM as ${node()}`);
    return {
      addresses: functions,
      hardware: `${vendor}:${device}`,
      group,
      reset: method ?? '',
      ccMode: mode,
    };
  }

  async function giveNode(owner: Owner): Promise<void> {
    await files.give(node(), owner);
    const now = await files.owner(node());
    if (now?.uid !== owner.uid || now.gid !== owner.gid || now.mode !== owner.mode)
      throw new VouchError('device-lost', `${node()}: owner and mode are not what was set`);
  }

  /** Everything back, as far as it goes. Throws with what did not go; calling it again tries that again. */
  async function release(): Promise<void> {
    if (handed) {
      if (nodeOwner !== undefined && options.owner !== undefined) await giveNode(nodeOwner);
      // Nobody can be made to close it.
      await probe();
      await clear(await wholeGroup());
      handed = false;
    }
    const anyTaken = taken.length > 0;
    const failures: string[] = [];
    const attempt = async (address: string, work: () => Promise<void>) => {
      try {
        await work();
      } catch (error) {
        failures.push(`${address}: ${messageOf(error)}`);
      }
    };
    for (const address of [...narrowed]) {
      await attempt(address, async () => {
        await write(at(address, 'reset_method'), 'default');
        narrowed.delete(address);
      });
    }
    for (const each of taken.toReversed()) await attempt(each.address, () => giveBack(each));
    if (anyTaken && taken.length === 0) await attempt('the record of drivers', () => journal.save([]));
    if (failures.length > 0) throw new VouchError('device-lost', `not given back: ${failures.join('; ')}`);
  }

  async function giveBack(each: Taken): Promise<void> {
    const { address, driver, override } = each;
    await write(at(address, 'driver_override'), override);
    const now = await driverOf(address);
    if (now !== (driver ?? undefined)) {
      if (now !== undefined) await write(at(address, 'driver/unbind'), address);
      if (driver !== null) await write('/sys/bus/pci/drivers_probe', address);
      const then = await driverOf(address);
      if (then !== (driver ?? undefined))
        throw new VouchError(
          'device-lost',
          `expected ${driver ?? 'none'} as its driver again, got ${then ?? 'none'}`,
        );
    }
    taken = taken.filter((other) => other !== each);
  }

  /** A failed step gives back what was taken; its error says how that went. */
  const guarded =
    <T>(work: () => Promise<T>) =>
    async (): Promise<T> => {
      try {
        return await work();
      } catch (error) {
        const functions = taken.map(({ address, driver }) => `${address} to ${driver ?? 'no driver'}`);
        const outcome = await release().then(
          () => (functions.length > 0 ? `given back: ${functions.join(', ')}` : 'nothing was taken'),
          messageOf,
        );
        const code = error instanceof VouchError ? error.code : 'device-lost';
        throw new VouchError(code, `${messageOf(error)}; ${outcome}`, { cause: error });
      }
    };

  return {
    bind: guarded(bind),
    reset: guarded(async () => void (await clear(await wholeGroup()))),
    measure: guarded(measure),
    release,
    async check() {
      await wholeGroup();
      await answers(gpu!);
    },
  };
}

/** `UID:GID` of the process that runs the VM. Throws `bad-input`. */
export function vmOwner(text: string): { uid: number; gid: number } {
  const [, uid, gid] = /^(\d{1,10}):(\d{1,10})$/.exec(text) ?? [];
  if (uid === undefined || gid === undefined)
    throw new VouchError('bad-input', `--vm-owner: expected UID:GID in numbers, got ${text}`);
  return { uid: Number(uid), gid: Number(gid) };
}
