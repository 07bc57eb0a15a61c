/**
 * The gpu role of a host whose GPU belongs to a virtual machine: it takes the device from the host's driver, hands it
 * over, and gives it back when it is drained. Nothing in this process computes on it; a runner here does without.
 *
 * The digest that the actor shows is that of what the host measured (address, hardware, group, reset, CC mode). It is
 * no evidence of the GPU's: that is made inside the machine, and verified by whoever talks to it.
 */
import { gpuDeviceCounts, gpuDeviceMachine } from '../../actors/gpu-device.ts';
import { canonicalJson, sha256Hex, utf8 } from '../../protocols/encoding.ts';
import { VouchError } from '../../protocols/errors.ts';
import { CC_TOOL, queryCcMode } from '../passthrough/cc-mode.ts';
import { passthrough, vmOwner } from '../passthrough/device.ts';
import { hostFiles } from '../passthrough/host-files.ts';
import { pciAddress } from '../passthrough/iommu-group.ts';
import { journalOf } from '../passthrough/journal.ts';
import { hasTag, type StartRole } from './host.ts';
import type { Neighbours } from './neighbours.ts';

/** How often a device that a VM has is looked at. */
const WATCH_MS = 5_000;

export interface PassthroughRole {
  /** PCI addresses as typed: the GPU, then what may go with it */
  readonly pci: readonly string[];
  /** `uid:gid` of the VM's process */
  readonly vmOwner?: string | undefined;
  /** program that tells the CC mode */
  readonly ccTool?: string | undefined;
  /** for tests: another place for `/sys` and `/dev` */
  readonly files?: ReturnType<typeof hostFiles>;
}

export const passthroughRole =
  (neighbours: Neighbours, options: PassthroughRole): StartRole =>
  async (context) => {
    const { id, log, source, effect, fail } = context;
    const [gpu] = options.pci.map(pciAddress);
    if (gpu === undefined)
      throw new VouchError('bad-input', '--pci: expected the address of a GPU, got none');
    const device = passthrough({
      addresses: options.pci,
      files: options.files ?? hostFiles(),
      ccMode: (address) => queryCcMode(options.ccTool ?? CC_TOOL, address),
      journal: journalOf(gpu),
      owner: options.vmOwner === undefined ? undefined : vmOwner(options.vmOwner),
      log: (line) => log(`${source}: ${line}`),
    });
    const machine = gpuDeviceMachine.provide({
      actors: {
        bind: effect('bind', device.bind),
        reset: effect('reset', device.reset),
        measure: effect('measure', async () => ({
          evidence: sha256Hex(utf8(canonicalJson(await device.measure()))),
        })),
        release: effect('release', device.release),
      },
    });
    const actor = context.run({ kind: 'gpu', id, machine, input: { id }, countsOf: gpuDeviceCounts });
    const watch = setInterval(() => {
      if (!hasTag(actor, 'up')) return;
      device.check().catch((error: unknown) => {
        fail('the device that the VM has', error);
        actor.send({ type: 'device.lost' });
      });
    }, WATCH_MS);
    watch.unref();
    context.onStop(() => clearInterval(watch));
    neighbours.device = { actor, failure: context.failure };
    neighbours.runner?.actor.send({ type: 'device.absent' });
    actor.send({ type: 'device.bind' });
    return { actor, drain: { type: 'device.release' } };
  };
