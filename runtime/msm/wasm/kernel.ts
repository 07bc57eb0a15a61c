/**
 * The WebAssembly module of a proof's heavy parts. What runs it in one thread is instance.ts, what it is to do its callers'
 * business (runtime/msm/programs/).
 *
 * Not constant time. Nothing about the data is checked here.
 */
import { Q, R } from '../../../circuits/groth16/field.ts';
import { createModule } from './assembler.ts';
import { defineBuckets } from './buckets.ts';
import { defineCurve } from './curve.ts';
import { defineRecoding } from './digits.ts';
import { CONSTANT_BYTES, createConstants, type Field, moduleBytes } from './field.ts';
import { createFieldRace, type FieldKind, type FieldRace } from './field-race.ts';
import type { SharedKernel } from './instance.ts';
import { defineInversion } from './inversion.ts';
import { createLayout, type Layout } from './layout.ts';
import { defineMultiples } from './multiples.ts';
import { defineTransforms } from './ntt.ts';
import { defineConversion, defineCurveCheck, defineLeave } from './points.ts';
import { defineComparison, defineJoin, defineRows } from './quotient.ts';
import { defineHorner, defineRowSums } from './reduction.ts';
import { FIELDS, openTrial } from './trial.ts';

const PAGE_BYTES = 65_536;
/** What 32 bits address. */
const MAX_PAGES = 65_536;

export type { FieldKind } from './field-race.ts';

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
  const best = kind === undefined ? (adopted ?? fastestField()) : isRight(kind) ? kind : undefined;
  if (best === undefined) return undefined;
  modules[best] ??= WebAssembly.compile(emitKernel(best));
  const module = await modules[best];
  const initial = Math.ceil(CONSTANT_BYTES / PAGE_BYTES);
  const memory = new WebAssembly.Memory({ initial, maximum: MAX_PAGES, shared: true });
  const regions = { at: CONSTANT_BYTES, bytes: shapeOf(best).layout.threadBytes };
  return { module, kind: best, memory, regions };
}
/** A process compiles once. */
const modules: Partial<Record<FieldKind, Promise<WebAssembly.Module>>> = {};

/** From now on the field is this one and its module that, which another process has emitted, tried and compiled. */
export function adoptKernel(kind: FieldKind, module: WebAssembly.Module): void {
  adopted = kind;
  modules[kind] = Promise.resolve(module);
}
let adopted: FieldKind | undefined;

/** Of those that are right modulo both primes. Every kernel adds to the race that the first one began. */
function fastestField(): FieldKind | undefined {
  race ??= openRace();
  return race === 'none' ? undefined : race.run();
}
let race: FieldRace | 'none' | undefined;

/** The best calls of the fields, multiplications a millisecond: for logs. Empty before the first kernel. */
export const fieldRates = (): FieldRace['rates'] => (race && race !== 'none' ? race.rates : {});

function openRace(): FieldRace | 'none' {
  const contenders = (Object.keys(FIELDS) as FieldKind[]).flatMap((kind) => {
    // They take as long modulo either prime.
    const window = openTrial(kind, Q);
    return window && openTrial(kind, R) ? [{ kind, window }] : [];
  });
  return contenders.length > 0 ? createFieldRace(contenders) : 'none';
}

const isRight = (kind: FieldKind): boolean => [Q, R].every((modulus) => openTrial(kind, modulus));

/** The module over a field: the same bytes each time. */
export function emitKernel(kind: FieldKind): Uint8Array<ArrayBuffer> {
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
  defineComparison(module, constants, scalar);
  defineTransforms(module, scalar);
  defineJoin(module, constants, scalar);
  module.func('clear', ['i32', 'i32'], (body, at, bytes) => body.clear(at, bytes));
  return moduleBytes(module, constants, { shared: true });
}
