/**
 * The gpu role of a host whose GPU belongs to a virtual machine: it takes the device from the host's driver, hands it
 * over, and gives it back when it is drained. Nothing in this process computes on it; a runner here does without.
 *
 * The digest that the actor shows is that of what the host measured (address, hardware, group, reset, CC mode). It is
 * no evidence of the GPU's: that is made inside the machine, and verified by whoever talks to it.
 */
import { existsSync, readFileSync } from 'node:fs';
import { fromPromise } from 'xstate';
import { z } from 'zod';
import { type GpuDeviceEffectInput, gpuDeviceCounts, gpuDeviceMachine } from '../../actors/gpu-device.ts';
import { canonicalJson, sha256Hex, utf8 } from '../../protocols/encoding.ts';
import { messageOf, VouchError } from '../../protocols/errors.ts';
import { folder, writeWhole } from '../home/home.ts';
import { type Journal, passthrough, pciAddress } from '../passthrough/device.ts';
import { CC_TOOL, hostFiles, queryCcMode } from '../passthrough/host-files.ts';
import { inState, type StartRole } from './host.ts';
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
    const { id, log, source } = context;
    const [gpu] = options.pci.map(pciAddress);
    if (gpu === undefined)
      throw new VouchError('bad-input', '--pci: expected the address of a GPU, got none');
    const device = passthrough({
      addresses: options.pci,
      files: options.files ?? hostFiles(),
      ccMode: (address) => queryCcMode(options.ccTool ?? CC_TOOL, address),
      journal: journalOf(gpu),
      owner: ownerOf(options.vmOwner),
      log: (line) => log(`${source}: ${line}`),
    });
    const said = <T>(work: () => Promise<T>) =>
      fromPromise<T, GpuDeviceEffectInput>(async () => {
        try {
          return await work();
        } catch (error) {
          log(`${source}: ${messageOf(error)}`);
          throw error;
        }
      });
    const machine = gpuDeviceMachine.provide({
      actors: {
        bind: said(device.bind),
        reset: said(device.reset),
        measure: said(async () => ({ evidence: sha256Hex(utf8(canonicalJson(await device.measure()))) })),
        release: said(device.release),
      },
    });
    const actor = context.run({ kind: 'gpu', id, machine, input: { id }, countsOf: gpuDeviceCounts });
    const watch = setInterval(() => {
      if (!inState(actor, 'ready')) return;
      device.check().catch((error: unknown) => {
        log(`${source}: ${messageOf(error)}`);
        actor.send({ type: 'device.lost' });
      });
    }, WATCH_MS);
    watch.unref();
    context.onStop(() => clearInterval(watch));
    neighbours.device = actor;
    neighbours.runner?.send({ type: 'device.absent' });
    actor.send({ type: 'device.bind' });
    return { actor, drain: { type: 'device.release' } };
  };

const Record = z.array(
  z.strictObject({ address: z.string(), driver: z.string().nullable(), override: z.string() }),
);

/** Which driver each function came from, so that it gets back there after a crash, too. */
function journalOf(gpu: string): Journal {
  const file = folder('gpu', `${gpu}.json`);
  return {
    async load() {
      if (!existsSync(file)) return [];
      try {
        return Record.parse(JSON.parse(readFileSync(file, 'utf8')));
      } catch {
        throw new VouchError(
          'bad-file',
          `${file}: damaged; bind the GPU to its driver by hand and delete it`,
        );
      }
    },
    save: (taken) => writeWhole(file, `${JSON.stringify(taken)}\n`),
  };
}

function ownerOf(text: string | undefined): { uid: number; gid: number } | undefined {
  if (text === undefined) return undefined;
  const [, uid, gid] = /^(\d{1,10}):(\d{1,10})$/.exec(text) ?? [];
  if (uid === undefined || gid === undefined)
    throw new VouchError('bad-input', `--vm-owner: expected UID:GID in numbers, got ${text}`);
  return { uid: Number(uid), gid: Number(gid) };
}
