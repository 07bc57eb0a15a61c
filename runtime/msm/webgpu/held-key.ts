/**
 * A proving key on a device: its rows and roots, the vectors that a proof needs, which are zeroed after each use, and its
 * points from when they are first needed, because a coordinator transforms and leaves the sums to others. The scalars of
 * section H are made here and never leave, unless they are asked for.
 *
 * Secret values pass through WebGPU's own upload memory, which nobody can zero.
 */
import {
  SECTION_GROUP,
  SECTIONS,
  type Section,
  type Sums,
  type Tabulated,
} from '../../../circuits/groth16/engine.ts';
import { ELEMENT_BYTES, ENTRY_BYTES } from '../../../circuits/groth16/field.ts';
import type { ByteSource } from '../../../circuits/groth16/source.ts';
import { type KeyPart, type ProvingKey, sectionCounts } from '../../../circuits/groth16/zkey.ts';
import { concat, hex, utf8 } from '../../../protocols/encoding.ts';
import { VouchError } from '../../../protocols/errors.ts';
import type { FieldVariant } from './field.ts';
import type { GpuMsm, HeldPoints } from './msm.ts';
import { createTransforms, transformBytes } from './ntt.ts';
import type { Queue, RunOptions, Step } from './queue.ts';
import type { Resident } from './residency.ts';
import { createRows, rowsBytes } from './rows.ts';

type Bytes = Uint8Array<ArrayBuffer>;

/** The sections whose scalars are the witness, in the order in which they are held. */
const WIRES = ['A', 'B1', 'C', 'B2'] as const satisfies readonly Section[];
const PARTS = [...WIRES, 'H', 'entries'] as const satisfies readonly KeyPart[];
const DIGEST_BYTES = 16 * 2 ** 20;

/** `key` is one of the same content as that which is held: points that are not there yet are read from it. */
export interface HeldKey extends Resident {
  /** The five sums, or those asked for; `onTransformed` is called when only sums are left. */
  sums(
    key: ProvingKey,
    witness: Uint8Array,
    options?: RunOptions & {
      readonly sections?: ReadonlySet<Section> | undefined;
      readonly onTransformed?: (() => void) | undefined;
    },
  ): Promise<Partial<Sums>>;
  quotient(witness: Uint8Array, options?: RunOptions): Promise<Bytes>;
  msm(key: ProvingKey, section: Section, scalars: Uint8Array, options?: RunOptions): Promise<Bytes>;
  /** Loads the points, with the tables that it was held with the room for. */
  tabulated(key: ProvingKey, options?: RunOptions): Promise<Tabulated>;
}

export interface DeviceParts {
  readonly queue: Queue;
  readonly msm: GpuMsm;
  readonly variant: FieldVariant;
}

/** About what a key takes on a device, its points with tables of their multiples up to `tableBytes` included. */
export function heldKeyBytes(key: ProvingKey, tableBytes = 0): number {
  const { domainSize, variables } = key;
  const vectors = (3 * domainSize + variables) * ELEMENT_BYTES;
  return (
    Math.max(pointBytes(key, SECTIONS), tableBytes) +
    vectors +
    transformBytes(Math.log2(domainSize)) +
    rowsBytes(key.range('entries').length, domainSize)
  );
}

const pointBytes = (key: ProvingKey, sections: readonly Section[]): number =>
  sections.reduce((sum, section) => sum + key.range(section).length, 0);

/** SHA-256 over the digests of pieces of all that a device holds of a key. Read once per key object. */
export function keyDigest(key: ProvingKey): Promise<string> {
  const known = digests.get(key);
  if (known) return known;
  const made = digestOf(key);
  digests.set(key, made);
  made.catch(() => digests.delete(key));
  return made;
}
const digests = new WeakMap<ProvingKey, Promise<string>>();

async function digestOf(key: ProvingKey): Promise<string> {
  const shape = [key.variables, key.publics, key.domainSize, ...PARTS.map((part) => key.range(part).length)];
  const pieces: Uint8Array[] = [utf8(JSON.stringify(shape))];
  for (const part of PARTS) {
    const { length } = key.range(part);
    // A multiple of an entry's length, because entries are read whole.
    const step = part === 'entries' ? DIGEST_BYTES - (DIGEST_BYTES % ENTRY_BYTES) : DIGEST_BYTES;
    for (let at = 0; at < length; at += step) {
      const piece = new Uint8Array(Math.min(step, length - at));
      await key.read(part, piece, at);
      pieces.push(new Uint8Array(await crypto.subtle.digest('SHA-256', piece)));
    }
  }
  return hex(new Uint8Array(await crypto.subtle.digest('SHA-256', concat(...pieces))));
}

/**
 * Uploads a key; tables of its points are made where `tableBytes` has room for some. `too-large` when a vector of its
 * domain is larger than what a kernel of this device can see at once. Does not keep `key`, which may be a file that is
 * closed, or all of its bytes.
 */
export async function holdKey(
  { queue, msm, variant }: DeviceParts,
  key: ProvingKey,
  { tableBytes = 0, ...options }: RunOptions & { readonly tableBytes?: number | undefined } = {},
): Promise<HeldKey> {
  const { variables, publics, domainSize } = key;
  const largest = Math.max(domainSize, variables) * ELEMENT_BYTES;
  const limit = queue.device.limits.maxStorageBufferBindingSize;
  if (largest > limit) {
    throw new VouchError(
      'too-large',
      `the key's vectors have ${largest} bytes, a kernel of this GPU sees ${limit} at once`,
    );
  }
  const made: Array<() => void> = [];
  const release = () => {
    for (const each of made.splice(0)) each();
  };
  const vector = async (label: string, count: number) => {
    const buffer = await queue.buffer(label, count * ELEMENT_BYTES);
    made.push(() => buffer.destroy());
    return buffer;
  };
  const leadOf = (name: Section) => (name === 'C' ? publics + 1 : 0);
  /** What holds some sections' points when it is first called. */
  const points = (names: readonly Section[], bytes: number) => {
    let held: HeldPoints | undefined;
    return async (from: ProvingKey, { signal }: RunOptions): Promise<HeldPoints> => {
      if (held) return held;
      const sections = names.map((name) => ({
        group: SECTION_GROUP[name],
        points: partSource(from, name),
        lead: leadOf(name),
      }));
      held = await msm.hold(sections, { signal, tableBytes: bytes });
      made.push(held.release);
      return held;
    };
  };
  try {
    const entries = new Uint8Array(key.range('entries').length);
    await key.read('entries', entries);
    const rows = await createRows(queue, entries, domainSize, variant, options);
    made.push(rows.destroy);
    const transforms = await createTransforms(queue, Math.log2(domainSize), variant, options);
    made.push(transforms.destroy);
    // Of the room for tables each gets the share that its points have.
    const quotientBytes = Math.floor(tableBytes * (pointBytes(key, ['H']) / pointBytes(key, SECTIONS)));
    const wires = points(WIRES, tableBytes - quotientBytes);
    const quotients = points(['H'], quotientBytes);
    const bytes = heldKeyBytes(key, tableBytes);
    const values = await vector('witness', variables);
    const [a, b, c] = [
      await vector('a', domainSize),
      await vector('b', domainSize),
      await vector('quotient', domainSize),
    ];
    const counts = sectionCounts(key);

    const transform: Step[] = [
      ...rows.multiply(values, a, b),
      transforms.product(a, b, c),
      ...[a, b, c].flatMap(transforms.shift),
      transforms.join(a, b, c),
    ];
    const secrets = [values, a, b, c, rows.sums].map((clear) => ({ clear }));

    let turn: Promise<unknown> = Promise.resolve();
    /** One use of the vectors after another; they are zeroed whatever happens, if the device is still there. */
    const inTurn = <T>(work: () => Promise<T>): Promise<T> => {
      const mine = turn.then(async () => {
        try {
          return await work();
        } finally {
          await queue.run(secrets).catch(() => {});
        }
      });
      turn = mine.catch(() => {});
      return mine;
    };
    const upload = (
      target: GPUBuffer,
      offset: number,
      scalars: Uint8Array,
      count: number,
      run: RunOptions,
    ) => {
      if (scalars.byteLength !== count * ELEMENT_BYTES) {
        throw new RangeError(`expected ${count} scalars, got ${scalars.byteLength} bytes`);
      }
      return queue.write(target, offset * ELEMENT_BYTES, scalars, run);
    };
    const sumWires = async (from: ProvingKey, names: readonly (typeof WIRES)[number][], run: RunOptions) => {
      const only = names.map((name) => WIRES.indexOf(name));
      const sums = await (await wires(from, run)).sums(values, { ...run, only });
      return names.map((name, index) => [name, sums[index]!] as const);
    };

    return {
      bytes,
      release,
      sums: (from, witness, { sections, onTransformed, ...run } = {}) =>
        inTurn(async () => {
          const wants = (name: Section) => sections === undefined || sections.has(name);
          await upload(values, 0, witness, variables, run);
          if (wants('H')) await queue.run(transform, run);
          onTransformed?.();
          const names = WIRES.filter(wants);
          const sums = names.length > 0 ? await sumWires(from, names, run) : [];
          const h = wants('H') ? await (await quotients(from, run)).sums(c, run) : [];
          return Object.fromEntries([...sums, ...h.map((sum) => ['H', sum] as const)]);
        }),
      quotient: (witness, run = {}) =>
        inTurn(async () => {
          await upload(values, 0, witness, variables, run);
          await queue.run(transform, run);
          return queue.read(c, domainSize * ELEMENT_BYTES);
        }),
      msm: (from, name, scalars, run = {}) =>
        inTurn(async () => {
          if (name === 'H') {
            await upload(c, 0, scalars, domainSize, run);
            return (await (await quotients(from, run)).sums(c, run))[0]!;
          }
          await upload(values, leadOf(name), scalars, counts[name], run);
          return (await sumWires(from, [name], run))[0]![1];
        }),
      tabulated: (from, run = {}) =>
        inTurn(async () => {
          const [ofWires, ofQuotient] = [await wires(from, run), await quotients(from, run)];
          return { levels: ofWires.windows.levels, bytes: ofWires.bytes + ofQuotient.bytes };
        }),
    };
  } catch (error) {
    release();
    throw error;
  }
}

function partSource(key: ProvingKey, part: Section): ByteSource {
  return {
    byteLength: key.range(part).length,
    read: (offset, target) => key.read(part, target, offset),
  };
}
