/**
 * The prover's engine on a GPU (circuits/groth16/engine.ts), in Node and in a browser. Keys stay on the device between
 * proofs, up to a budget (residency.ts). A device that is lost or has no room left is given up with all that is on it,
 * opened again, filled again, and the call made once more; a second failure is the caller's.
 *
 * Not constant time. What a driver or a WebGPU implementation leaves of a witness in its own memory is not known here.
 */
import {
  type CurveEngine,
  type EngineOptions,
  type Group,
  type ProverEngine,
  type ReadyKey,
  SECTIONS,
  type Section,
  type Sums,
  type SumsOptions,
  type Tabulated,
  type TabulateOptions,
} from '../../../circuits/groth16/engine.ts';
import { ELEMENT_BYTES } from '../../../circuits/groth16/field.ts';
import { POINT_BYTES } from '../../../circuits/groth16/point.ts';
import { bytesSource } from '../../../circuits/groth16/source.ts';
import type { ProvingKey } from '../../../circuits/groth16/zkey.ts';
import { hex } from '../../../protocols/encoding.ts';
import { VouchError } from '../../../protocols/errors.ts';
import type { FieldVariant } from './field.ts';
import { type HeldKey, heldKeyBytes, holdKey, keyDigest } from './held-key.ts';
import { createGpuMsm, type GpuMsm, type HeldPoints } from './msm.ts';
import { createQueue, type Queue, type RunOptions } from './queue.ts';
import { createResidency, type DeviceMemory, type Pin, type Residency } from './residency.ts';
import type { SharedTurns } from './turns.ts';

type Bytes = Uint8Array<ArrayBuffer>;

export interface OpenDevice {
  readonly device: GPUDevice;
  /** that keys and points may take, where it is known */
  readonly memoryBytes?: number | undefined;
  /** the same while somebody else computes on it, where that is less */
  readonly sharedBytes?: number | undefined;
  close(): void;
}

export interface WebGpuEngineOptions {
  /** Opens the device; again after it was lost. */
  readonly open: () => Promise<OpenDevice>;
  /** Which of the field's multiplications the device does fastest, and how many threads keep it busy. */
  readonly tune: (queue: Queue) => Promise<{ readonly variant: FieldVariant; readonly threads: number }>;
  /** Who adds up a few points and pairs them; a GPU is slow at that. Its caller closes it. */
  readonly curve: CurveEngine;
  /** Bytes of the device that keys and points may take; by default what `open` says, or else 4 GiB. */
  readonly cacheBytes?: number | undefined;
  /** Where the device is shared with inferences. */
  readonly turns?: SharedTurns | undefined;
}

export interface WebGpuSumsOptions extends SumsOptions, RunOptions {
  /** Leaves the others to somebody else. */
  readonly sections?: ReadonlySet<Section> | undefined;
}
export interface WebGpuKey extends ReadyKey {
  partialSums(witness: Uint8Array, options?: WebGpuSumsOptions): Promise<Partial<Sums>>;
  /** Made anew on each device; not kept beyond it. `too-large` where the budget has no room. */
  tabulate(options: TabulateOptions): Promise<Tabulated>;
}

export interface WebGpuEngine extends ProverEngine {
  ready(key: ProvingKey, options?: EngineOptions): Promise<WebGpuKey>;
  /** The bases stay on the device for the next time, unless they are few. */
  msm(group: Group, bases: Uint8Array, scalars: Uint8Array, options?: RunOptions): Promise<Uint8Array>;
  /** undefined while no device is open */
  memory(): DeviceMemory | undefined;
  /** Gives everything back; calls under way reject. */
  close(): Promise<void>;
  [Symbol.asyncDispose](): Promise<void>;
}

/** A device and what is on it, until one of them is given up. */
interface Session {
  readonly device: OpenDevice;
  readonly queue: Queue;
  readonly variant: FieldVariant;
  readonly msm: GpuMsm;
  readonly residency: Residency;
}

const CACHE_BYTES = 4 * 2 ** 30;
/** Fewer points are added up before a GPU has begun. */
const MIN_POINTS = 1024;
/** Failures after which a new device may help. */
const RECOVERABLE = new Set<string>(['device-lost', 'out-of-memory']);

/** Opens the device, so that a host without one is told at once. */
export async function createWebGpuEngine(options: WebGpuEngineOptions): Promise<WebGpuEngine> {
  const { curve, turns } = options;
  let current: Promise<Session> | undefined;
  /** the current one, once it is there */
  let here: Session | undefined;
  let closed = false;

  async function begin(): Promise<Session> {
    const device = await options.open();
    try {
      const queue = createQueue(device.device, turns);
      const tuning = await options.tune(queue);
      const own = options.cacheBytes ?? device.memoryBytes ?? CACHE_BYTES;
      const residency = createResidency(() =>
        turns?.present ? Math.min(own, device.sharedBytes ?? own) : own,
      );
      return { device, queue, variant: tuning.variant, msm: createGpuMsm(queue, tuning), residency };
    } catch (error) {
      device.close();
      throw error;
    }
  }
  function session(): Promise<Session> {
    if (closed) return Promise.reject(new VouchError('not-ready', 'the GPU engine is closed'));
    if (current) return current;
    const opened = begin();
    current = opened;
    here = undefined;
    const forget = () => {
      if (current !== opened) return;
      current = undefined;
      here = undefined;
    };
    opened.then((session) => {
      if (current === opened) here = session;
      void session.device.device.lost.then(forget);
    }, forget);
    return opened;
  }
  turns?.onPresent(() => here?.residency.shrink());
  /** Ends a session: its device gives all memory back, and whatever runs there rejects with `device-lost`. */
  function giveUp({ device, msm, residency }: Session): void {
    residency.clear();
    msm.close();
    device.close();
  }

  /** Runs `work` on a device, on another one if that is what it takes. */
  async function attempt<T>(work: (on: Session) => Promise<T>): Promise<T> {
    const first = await session();
    try {
      return await work(first);
    } catch (error) {
      if (closed || !(error instanceof VouchError) || !RECOVERABLE.has(error.code)) throw error;
      if (current && (await current.catch(() => undefined)) === first) current = undefined;
      giveUp(first);
    }
    return work(await session());
  }

  async function take(
    on: Session,
    { key, digest, tableBytes }: { key: ProvingKey; digest: string; tableBytes: number },
    run: RunOptions,
  ): Promise<Pin<HeldKey>> {
    const name = `key ${digest}, tables of ${tableBytes} bytes`;
    for (;;) {
      try {
        return await on.residency.take(name, heldKeyBytes(key, tableBytes), () =>
          holdKey(on, key, { ...run, tableBytes }),
        );
      } catch (error) {
        // Whoever else asked for the key first may have been cancelled, and we were not.
        const theirs = error instanceof VouchError && error.code === 'cancelled' && !run.signal?.aborted;
        if (!theirs) throw error;
      }
    }
  }

  const engine: WebGpuEngine = {
    async ready(key, { signal } = {}) {
      let what = { key, digest: await keyDigest(key), tableBytes: 0 };
      let released = false;
      let kept: { readonly on: Session; readonly pin: Pin<HeldKey> } | undefined;
      const keep = async (on: Session, run: RunOptions): Promise<void> => {
        const pin = await take(on, what, run);
        if (released || kept?.on === on) return pin.unpin();
        kept?.pin.unpin();
        kept = { on, pin };
      };
      await attempt((on) => keep(on, { signal }));

      const demandHeld = () => {
        if (released) throw new VouchError('not-ready', 'the proving key was released');
      };
      /** Runs with the key pinned on whatever device there is. */
      const use = async <T>(work: (held: HeldKey) => Promise<T>, run: RunOptions = {}): Promise<T> => {
        demandHeld();
        return attempt(async (on) => {
          const pin = await take(on, what, run);
          try {
            if (kept?.on !== on) await keep(on, run);
            return await work(pin.held);
          } finally {
            pin.unpin();
          }
        });
      };
      const partialSums: WebGpuKey['partialSums'] = (witness, { onPhase, sections, ...run } = {}) =>
        use((held) => {
          onPhase?.('transforming');
          return held.sums(key, witness, { ...run, sections, onTransformed: () => onPhase?.('dispatching') });
        }, run);
      return {
        partialSums,
        async sums(witness, given) {
          const sums = await partialSums(witness, given);
          const missing = SECTIONS.find((section) => sums[section] === undefined);
          if (missing) throw new VouchError('internal', `the sum of section ${missing} was not made`);
          return sums as Sums;
        },
        quotient: (witness, run) => use((held) => held.quotient(witness, run), run),
        msm: (section, scalars, run) => use((held) => held.msm(key, section, scalars, run), run),
        async tabulate({ bytes, signal: until, onProgress }) {
          demandHeld();
          const run = { signal: until };
          const larger = { ...what, tableBytes: bytes };
          const tabulated = await attempt(async (on) => {
            const pin = await take(on, larger, run);
            try {
              const made = await pin.held.tabulated(key, run);
              // The points as they were may go once there is no room for both.
              if (!released && made.levels > 1) {
                kept?.pin.unpin();
                [kept, what] = [{ on, pin }, larger];
              } else pin.unpin();
              return made;
            } catch (error) {
              pin.unpin();
              throw error;
            }
          });
          onProgress?.(1);
          return tabulated;
        },
        release() {
          released = true;
          kept?.pin.unpin();
          kept = undefined;
        },
      };
    },

    async msm(group, bases, scalars, run = {}) {
      const count = scalars.byteLength / ELEMENT_BYTES;
      if (!Number.isInteger(count) || bases.byteLength !== count * POINT_BYTES[group]) {
        throw new RangeError(
          `msm: ${scalars.byteLength} bytes of scalars do not fit ${bases.byteLength} bytes of ${group} bases`,
        );
      }
      if (count < MIN_POINTS) return curve.msm(group, bases, scalars, { signal: run.signal });
      const digest = hex(new Uint8Array(await crypto.subtle.digest('SHA-256', bases as Bytes)));
      return attempt(async ({ residency, msm, queue }) => {
        const { held, unpin } = await residency.take<HeldPoints>(`${group} ${digest}`, bases.byteLength, () =>
          msm.hold([{ group, points: bytesSource(bases) }], run),
        );
        let buffer: GPUBuffer | undefined;
        try {
          buffer = await queue.buffer('scalars', scalars.byteLength);
          await queue.write(buffer, 0, scalars, run);
          return (await held.sums(buffer, run))[0]!;
        } finally {
          if (buffer) await queue.run([{ clear: buffer }]).catch(() => {});
          buffer?.destroy();
          unpin();
        }
      });
    },

    pairingsCancel: curve.pairingsCancel,
    firstOffCurve: curve.firstOffCurve,
    memory: () => here?.residency.memory,

    async close() {
      if (closed) return;
      closed = true;
      const last = await current?.catch(() => undefined);
      if (last) giveUp(last);
    },
    [Symbol.asyncDispose]: () => engine.close(),
  };
  await session();
  return engine;
}
