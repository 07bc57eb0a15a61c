/**
 * The WebAssembly module of a proof's heavy parts and what runs it in one thread: a program, that is a list of calls of
 * the module's functions on addresses of a memory that all threads share. What to call is its callers' business
 * (runtime/msm/programs/).
 *
 * Not constant time. Nothing about the data is checked here.
 */
import { Q, R } from '../../../circuits/groth16/field.ts';
import { createModule, i32 } from './assembler.ts';
import { defineBuckets } from './buckets.ts';
import { defineCurve } from './curve.ts';
import { defineRecoding } from './digits.ts';
import {
  CONSTANT_BYTES,
  type Constants,
  createConstants,
  type Field,
  interleave,
  loadElement,
  storeElement,
} from './field.ts';
import { createFmaField } from './fma-field.ts';
import { createIntField } from './int-field.ts';
import { defineInversion } from './inversion.ts';
import { createLayout, type Layout } from './layout.ts';
import { defineMultiples } from './multiples.ts';
import { defineTransforms } from './ntt.ts';
import { defineConversion, defineCurveCheck, defineLeave } from './points.ts';
import { defineJoin, defineRows } from './quotient.ts';
import { defineHorner, defineRowSums } from './reduction.ts';

const PAGE_BYTES = 65_536;
/** What 32 bits address. */
const MAX_PAGES = 65_536;

export type FieldKind = Field['name'];
const FIELDS = { fma: createFmaField, int: createIntField } as const;

/** A call of one of the module's functions. */
export type Call = readonly [name: string, ...args: number[]];
export type Program = readonly Call[];

/** What threads share: compiled once, posted to each. */
export interface SharedKernel {
  readonly module: WebAssembly.Module;
  readonly memory: WebAssembly.Memory;
  readonly kind: FieldKind;
}
/** What the memory's contents mean. */
export interface KernelShape {
  readonly base: Field;
  readonly scalar: Field;
  readonly layout: Layout;
}

export function shapeOf(kind: FieldKind): KernelShape {
  const constants = createConstants();
  const base = FIELDS[kind](Q, constants);
  return { base, scalar: FIELDS[kind](R, constants), layout: createLayout(base.limbs) };
}

/**
 * The module over the faster of the fields that multiply rightly here, with a memory of its own to share; undefined
 * where no field does, or where memory cannot be shared. `kind` demands a field, for tests.
 */
export async function createSharedKernel(kind?: FieldKind): Promise<SharedKernel | undefined> {
  if (typeof SharedArrayBuffer === 'undefined') return undefined;
  fastest ??= kind === undefined ? fastestField() : undefined;
  const best = kind === undefined ? fastest! : multiplicationRate(kind) > 0 ? kind : 'none';
  if (best === 'none') return undefined;
  modules[best] ??= WebAssembly.compile(emitModule(best));
  const module = await modules[best];
  const initial = Math.ceil(CONSTANT_BYTES / PAGE_BYTES);
  const memory = new WebAssembly.Memory({ initial, maximum: MAX_PAGES, shared: true });
  return { module, kind: best, memory };
}
/** A process finds out and compiles once. */
let fastest: FieldKind | 'none' | undefined;
const modules: Partial<Record<FieldKind, Promise<WebAssembly.Module>>> = {};

function fastestField(): FieldKind | 'none' {
  const rates = (['fma', 'int'] as const).map((kind) => ({ kind, rate: multiplicationRate(kind) }));
  const best = rates.reduce((a, b) => (b.rate > a.rate ? b : a));
  return best.rate > 0 ? best.kind : 'none';
}

function emitModule(kind: FieldKind): Uint8Array<ArrayBuffer> {
  const module = createModule();
  const constants = createConstants();
  const base = FIELDS[kind](Q, constants);
  const scalar = FIELDS[kind](R, constants);
  const layout = createLayout(base.limbs);
  const inversion = defineInversion(module, constants, base);
  defineConversion(module, constants, base);
  defineRecoding(module, layout);
  for (const degree of [1, 2] as const) {
    const curve = defineCurve(module, constants, base, layout, inversion, degree);
    const parts = { module, constants, field: base, layout, curve, degree };
    defineBuckets(parts);
    defineRowSums(parts);
    defineMultiples(parts);
    defineLeave(parts);
    defineCurveCheck(parts);
    defineHorner(parts);
  }
  defineRows(module, constants, scalar);
  defineTransforms(module, scalar);
  defineJoin(module, constants, scalar);
  module.func('clear', ['i32', 'i32'], (body, at, bytes) => body.clear(at, bytes));
  return finish(module, constants, true);
}

function finish(module: ReturnType<typeof createModule>, constants: Constants, shared: boolean) {
  const patterns = BigUint64Array.from(constants.patterns.flatMap((bits) => [bits, bits]));
  module.data(0, new Uint8Array(patterns.buffer));
  return module.bytes(Math.ceil(CONSTANT_BYTES / PAGE_BYTES), { shared });
}

/** Multiplications a millisecond; 0 where one is wrong, or the engine does not know the instructions. */
function multiplicationRate(kind: FieldKind): number {
  let rate = 0;
  for (const modulus of [Q, R]) {
    const module = createModule();
    const constants = createConstants();
    const field = FIELDS[kind](modulus, constants);
    // to = a * b, `count` times over
    module.func('multiply', ['i32', 'i32', 'i32', 'i32'], (body, to, a, b, count) => {
      body.while(count, () => {
        const factors = [loadElement(body, field.limbs, a), loadElement(body, field.limbs, b)] as const;
        const [first, second] = interleave(field.dot(body, [factors]), field.dot(body, [factors]));
        storeElement(body, first, to);
        storeElement(body, second, to, 16 * field.limbs);
        body.set(count, i32.sub(count, i32.const(1)));
      });
    });
    const bytes = finish(module, constants, false);
    if (!WebAssembly.validate(bytes)) return 0;
    const memory = new WebAssembly.Memory({ initial: 1 });
    const { exports } = new WebAssembly.Instance(new WebAssembly.Module(bytes), { env: { memory, base: 0 } });
    const multiply = exports.multiply as (to: number, a: number, b: number, count: number) => void;
    const [a, b, to] = [0, 1, 2].map((index) => CONSTANT_BYTES + index * 32 * field.limbs) as [
      number,
      number,
      number,
    ];
    const view = new DataView(memory.buffer);
    const write = (at: number, value: bigint) =>
      field.patterns(value).forEach((pattern, i) => {
        view.setBigUint64(at + 16 * i, pattern, true);
      });
    let value = modulus - 1n;
    for (let round = 0; round < 64; round++) {
      const factors = [value, -value / 3n, (value * 7n) % modulus, modulus - value] as const;
      factors.forEach((factor, index) => {
        write((index < 2 ? a : b) + 8 * (index % 2), factor);
      });
      multiply(to, a, b, 1);
      for (const lane of [0, 1] as const) {
        const product = field.read(view, to + 8 * lane, 16);
        if ((product * field.radix - factors[lane] * factors[2 + lane]!) % modulus !== 0n) return 0;
      }
      value = (value * value + BigInt(round)) % modulus;
    }
    const began = performance.now();
    let done = 0;
    do {
      multiply(to, a, b, 64);
      done += 4 * 64;
    } while (performance.now() - began < RATE_MS);
    rate = done / (performance.now() - began);
  }
  return rate;
}
const RATE_MS = 4;

/** Where the data that no thread's region holds begins. */
export const heapStart = (layout: Layout, threads: number): number =>
  CONSTANT_BYTES + threads * layout.threadBytes;

/** One thread's instance; `index` counts threads. */
export function instantiateKernel(
  { module, memory, kind }: SharedKernel,
  index: number,
): (program: Program) => void {
  const base = heapStart(shapeOf(kind).layout, index);
  const wasm = new WebAssembly.Instance(module, { env: { memory, base } }).exports as Record<
    string,
    (...args: number[]) => void
  >;
  return (program) => {
    for (const [name, ...args] of program) wasm[name]!(...args);
  };
}
