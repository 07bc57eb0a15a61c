/**
 * The kernel that inverts one coordinate per thread: Bernstein and Yang, "Fast constant-time gcd computation and modular
 * inversion" (CHES 2019), with P. Wuille's variant that starts at delta = 1/2 (libsecp256k1, doc/safegcd_implementation.md):
 * 590 division steps suffice for any modulus below 2^256. About twenty multiplications' time, an exponentiation takes 300.
 *
 * Numbers are 19 signed limbs of 14 bits. Fourteen steps look only at the lowest limbs and give a matrix whose rows'
 * absolute values add up to 2^14 at most; so |u d + v e| per limb is at most 2^28, a multiple of the modulus adds less than
 * 2^29, a carry less than 2^16: everything fits an i32. Zero gives zero.
 */
import type { Group } from '../../../circuits/groth16/point.ts';
import { emitCoordinate, emitCoordinates } from './coordinate.ts';
import { FIELDS, type FieldVariant } from './field.ts';
import { emitInterface, emitMain } from './interface.ts';

const LIMBS = 19;
const BITS = 14;
const BATCHES = Math.ceil(590 / BITS);
const MASK = 2 ** BITS - 1;
/** Multiplications that one inversion takes as long as, for the queue. */
export const INVERSION_WORK = { G1: 25, G2: 32 } as const satisfies Record<Group, number>;

const range = (count: number, from = 0): number[] => Array.from({ length: count }, (_, i) => from + i);
const limbs = (value: bigint): number[] =>
  range(LIMBS).map((i) => Number((value >> BigInt(BITS * i)) & BigInt(MASK)));

/** 1/p modulo 2^14. */
function inverseOf(modulus: bigint): bigint {
  let inverse = 1n;
  for (let known = 1; known < BITS; known *= 2)
    inverse = BigInt.asUintN(BITS, inverse * (2n - modulus * inverse));
  return inverse;
}

/** The limb that begins at bit 14 i of `value: Fe`. */
function unpacked(i: number): string {
  const word = (at: number) => `value.${at < 4 ? 'lo' : 'hi'}.${'xyzw'[at % 4]}`;
  const [at, offset] = [(BITS * i) >> 5, (BITS * i) & 31];
  const low = `(${word(at)} >> ${offset}u)`;
  const all = offset + BITS > 32 && at + 1 < 8 ? `(${low} | (${word(at + 1)} << ${32 - offset}u))` : low;
  return `i32(${all} & ${MASK}u)`;
}

/** Word `at` of the number whose limbs d0 .. d18 are all in [0, 2^14). */
const packed = (at: number): string =>
  range(LIMBS)
    .map((i) => ({ i, shift: BITS * i - 32 * at }))
    .filter(({ shift }) => shift > -BITS && shift < 32)
    .map(({ i, shift }) => (shift < 0 ? `(u32(d${i}) >> ${-shift}u)` : `(u32(d${i}) << ${shift}u)`))
    .join(' | ');

function emitInverse(modulus: bigint): string {
  const p = limbs(modulus);
  // Started with R^2 instead of 1, the coefficient of x R ends at R^2 / (x R), which is Montgomery's form of 1/x.
  const start = limbs(2n ** 512n % modulus);
  const declare = (name: string, values: (i: number) => string | number) =>
    range(LIMBS)
      .map((i) => `  var ${name}${i}: i32 = ${values(i)};`)
      .join('\n');
  /** d and e += the modulus or their own negation, carried into limbs of 14 bits; the highest keeps the sign. */
  const carried = (sum: (i: number) => string) =>
    range(LIMBS)
      .map((i) =>
        i < LIMBS - 1
          ? `    carry += ${sum(i)};\n    d${i} = carry & ${MASK};\n    carry >>= ${BITS}u;`
          : `    carry += ${sum(i)};\n    d${i} = carry;`,
      )
      .join('\n');
  const addModulus = `  {
    let sign = d${LIMBS - 1} >> 31u;
    var carry = 0;
${carried((i) => `d${i} + (${p[i]} & sign)`)}
  }`;
  return `fn fe_invert(value: Fe) -> Fe {
  // f and g: the gcd's numbers; d and e: what they are, times R^2 / value, modulo p
${declare('f', (i) => p[i]!)}
${declare('g', unpacked)}
${declare('d', () => 0)}
${declare('e', (i) => start[i]!)}
  var zeta = -1; // -(delta + 1/2)
  for (var batch = 0u; batch < ${BATCHES}u; batch++) {
    var u = 1;
    var v = 0;
    var q = 0;
    var r = 1;
    var x = f0;
    var y = g0;
    for (var step = 0u; step < ${BITS}u; step++) {
      var swap = zeta >> 31u;
      let odd = -(y & 1);
      y += ((x ^ swap) - swap) & odd;
      q += ((u ^ swap) - swap) & odd;
      r += ((v ^ swap) - swap) & odd;
      swap &= odd;
      zeta = (zeta ^ swap) - 1;
      x += y & swap;
      u += q & swap;
      v += r & swap;
      y >>= 1u;
      u <<= 1u;
      v <<= 1u;
    }
    // d and e stay in (-2p, p): p is added where they are negative, and a multiple that makes them divisible by 2^14
    let d_sign = d${LIMBS - 1} >> 31u;
    let e_sign = e${LIMBS - 1} >> 31u;
    var d_multiple = (u & d_sign) + (v & e_sign);
    var e_multiple = (q & d_sign) + (r & e_sign);
    var d_carry = u * d0 + v * e0;
    var e_carry = q * d0 + r * e0;
    d_multiple -= (${inverseOf(modulus)} * d_carry + d_multiple) & ${MASK};
    e_multiple -= (${inverseOf(modulus)} * e_carry + e_multiple) & ${MASK};
    d_carry = (d_carry + ${p[0]} * d_multiple) >> ${BITS}u;
    e_carry = (e_carry + ${p[0]} * e_multiple) >> ${BITS}u;
    var f_carry = (u * f0 + v * g0) >> ${BITS}u;
    var g_carry = (q * f0 + r * g0) >> ${BITS}u;
${range(LIMBS - 1, 1)
  .map(
    (i) => `    d_carry += u * d${i} + v * e${i} + ${p[i]} * d_multiple;
    e_carry += q * d${i} + r * e${i} + ${p[i]} * e_multiple;
    f_carry += u * f${i} + v * g${i};
    g_carry += q * f${i} + r * g${i};
    d${i - 1} = d_carry & ${MASK};
    e${i - 1} = e_carry & ${MASK};
    f${i - 1} = f_carry & ${MASK};
    g${i - 1} = g_carry & ${MASK};
    d_carry >>= ${BITS}u;
    e_carry >>= ${BITS}u;
    f_carry >>= ${BITS}u;
    g_carry >>= ${BITS}u;`,
  )
  .join('\n')}
    d${LIMBS - 1} = d_carry;
    e${LIMBS - 1} = e_carry;
    f${LIMBS - 1} = f_carry;
    g${LIMBS - 1} = g_carry;
  }
  // f is now 1 or -1 (or p for zero), and d is f's multiple: into (-p, p), with f's sign taken out, then into [0, p)
${addModulus}
  {
    let sign = f${LIMBS - 1} >> 31u;
    var carry = 0;
${carried((i) => `((d${i} ^ sign) - sign)`)}
  }
${addModulus}
  return Fe(
    vec4u(${range(4).map(packed).join(', ')}),
    vec4u(${range(4, 4).map(packed).join(', ')}));
}
`;
}

const BODY = {
  G1: `  el_store_products(thread, fe_invert(el_load_products(thread)));`,
  // 1 / (a + b u) = (a - b u) / (a^2 + b^2)
  G2: `  let value = el_load_products(thread);
  var norm = FE_ZERO;
  var inverse = FE_ZERO;
  var result = EL_ZERO;
  for (var step = 0u; step < 4u; step++) {
    if (step == 2u) { inverse = fe_invert(norm); }
    let a = fe_select(value.re, value.im, (step & 1u) == 1u);
    let b = fe_select(a, inverse, step >= 2u);
    let product = fe_mul(a, b);
    switch step {
      case 0: { norm = product; }
      case 1: { norm = fe_add(norm, product); }
      case 2: { result.re = product; }
      default: { result.im = fe_neg(product); }
    }
  }
  el_store_products(thread, result);`,
} as const satisfies Record<Group, string>;

/** Inverts `products` in place. */
export function emitInversion(group: Group, variant: FieldVariant): string {
  return `// The inverses of ${group} coordinates
${emitInterface({ params: ['threads'], buffers: { products: 'rw vec4u' } })}
${emitCoordinate(group, variant)}
${emitCoordinates(group, 'products', 'read_write')}
${emitInverse(FIELDS.Fq)}
${emitMain(`  if (thread >= params.threads) { return; }
${BODY[group]}`)}`;
}
