/** A field tried out alone: does it multiply rightly here, and how fast in a short window of time? */
import { createModule, i32 } from './assembler.ts';
import {
  CONSTANT_BYTES,
  createConstants,
  interleave,
  loadElement,
  moduleBytes,
  storeElement,
} from './field.ts';
import type { FieldKind, Window } from './field-race.ts';
import { createFmaField } from './fma-field.ts';
import { createIntField } from './int-field.ts';

/** The usual winner first. */
export const FIELDS = { fma: createFmaField, int: createIntField } as const;

const WINDOW_MS = 2;
const CHECKS = 64;
/** Multiplications of one call, some 50 microseconds: engines exchange code between calls. */
const LINKS = 512;
/** What a browser's clock tells apart in a page that is cross-origin isolated. */
const CLOCK_MS = 0.005;

/** Undefined where a product is wrong, or the engine does not know the instructions. */
export function openTrial(kind: FieldKind, modulus: bigint): Window | undefined {
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
  const bytes = moduleBytes(module, constants, { shared: false });
  if (!WebAssembly.validate(bytes)) return undefined;
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
  for (let check = 0; check < CHECKS; check++) {
    const factors = [value, -value / 3n, (value * 7n) % modulus, modulus - value] as const;
    factors.forEach((factor, index) => {
      write((index < 2 ? a : b) + 8 * (index % 2), factor);
    });
    multiply(to, a, b, 1);
    for (const lane of [0, 1] as const) {
      const product = field.read(view, to + 8 * lane, 16);
      if ((product * field.radix - factors[lane] * factors[2 + lane]!) % modulus !== 0n) return undefined;
    }
    value = (value * value + BigInt(check)) % modulus;
  }
  return () => {
    const rates: number[] = [];
    const began = performance.now();
    for (let now = began; now - began < WINDOW_MS; ) {
      multiply(to, a, b, LINKS);
      const ended = performance.now();
      // Two products of two lanes each. A clock may stand still for a while.
      rates.push((4 * LINKS) / Math.max(ended - now, CLOCK_MS));
      now = ended;
    }
    return rates;
  };
}
