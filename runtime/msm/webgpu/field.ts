/**
 * WGSL for arithmetic modulo one of BN254's primes: the text that every kernel of this folder begins with.
 *
 * An element is `Fe`, the eight 32-bit words of a zkey or a Montgomery witness as they lie in the file: little-endian,
 * Montgomery form with R = 2^256, always reduced (in [0, p)), so uploading is copying and equal elements have equal
 * words. All variants share that form and everything but `fe_mul`; they may be exchanged freely.
 *
 *   struct Fe { lo: vec4u, hi: vec4u }                words 0-3 and 4-7
 *   FE_ZERO, FE_ONE                                   0 and R mod p
 *   fe_add(a, b)  fe_sub(a, b)  fe_neg(a)             a + b, a - b, -a
 *   fe_mul(a, b)                                      a * b / R: ONE call site per kernel, see below
 *   fe_is_zero(a)  fe_equal(a, b)  fe_select(f, t, condition)
 *
 * `emitAccess('x')` adds fe_load_x(i) and fe_store_x(i, value) for a module-scope `x: array<vec4u>`, two per element.
 *
 * A product is straight-line code of a thousand operations with the modulus as immediates. Drivers inline every call:
 * a second call site of `fe_mul` doubles a kernel's code and costs registers and minutes of compilation. Put the one
 * call into a loop and choose its operands with a `switch` on the step.
 *
 * WGSL has neither 64-bit integers nor the high half of a product. Variants:
 *   words      8 words of 32 bits; each product by the ladder of four 16-bit products, which some drivers turn back
 *              into one wide multiplication (LLVM PR 168396). Interleaved reduction as in Koc, Acar and Kaliski,
 *              "Analyzing and comparing Montgomery multiplication algorithms" (IEEE Micro 1996), CIOS.
 *   limbs      20 limbs of 13 bits, so that a column of up to 41 products of 26 bits is summed without any carry; the
 *              radix is 2^260, and one operand is taken times 16 to make it 2^256. FIPS of the same paper.
 *   karatsuba  the same limbs, the product of the operands by one level of Karatsuba: 300 products for 400.
 *   bytes      32 bytes, four products and their sum at a time by dot4U8Packed, for GPUs that are slow at 32-bit products
 *              but not at these; 704 of them, the multiple of p as one product with -1/p modulo 2^256. It is the only
 *              variant that a browser may refuse to compile.
 *
 * Pairs of f32 were tried and left out: WGSL does not promise that fma rounds once, and where it rounds twice no product
 * comes apart exactly (docs/BENCHMARKS.md).
 *
 * Not constant time: compilers are free to branch.
 */
import { Q, R } from '../../../circuits/groth16/field.ts';

export const FIELD_VARIANTS = ['words', 'limbs', 'karatsuba', 'bytes'] as const;
export type FieldVariant = (typeof FIELD_VARIANTS)[number];

export interface FieldOptions {
  /** Q (coordinates) or R (scalars): any odd prime between 2^252 and 2^254. */
  readonly modulus: bigint;
  readonly variant: FieldVariant;
}

const WORDS = 8;
const LIMBS = 20;
const LIMB_BITS = 13;
/** What brings 2^-(13 * 20) to 2^-256. */
const LIMB_SHIFT = LIMBS * LIMB_BITS - 32 * WORDS;

const range = (count: number, from = 0): number[] => Array.from({ length: count }, (_, i) => from + i);
const hex = (value: bigint): string => `0x${value.toString(16)}u`;
const wordsOf = (value: bigint): bigint[] => range(WORDS).map((i) => (value >> BigInt(32 * i)) & 0xffffffffn);
const limbsOf = (value: bigint): bigint[] =>
  range(LIMBS).map((i) => (value >> BigInt(LIMB_BITS * i)) & BigInt(2 ** LIMB_BITS - 1));
const literal = (value: bigint): string => {
  const words = wordsOf(value).map(hex);
  return `Fe(vec4u(${words.slice(0, 4).join(', ')}), vec4u(${words.slice(4).join(', ')}))`;
};
/** The expression for word i of the element called `name`. */
const word = (name: string, i: number): string => `${name}.${i < 4 ? 'lo' : 'hi'}.${'xyzw'[i % 4]}`;
const fromWords = (name: string): string =>
  `Fe(vec4u(${range(4).map((i) => `${name}${i}`)}), vec4u(${range(4, 4).map((i) => `${name}${i}`)}))`;

/** -1/p modulo 2^bits. */
function negativeInverse(modulus: bigint, bits: number): bigint {
  let inverse = 1n;
  for (let known = 1; known < bits; known *= 2)
    inverse = BigInt.asUintN(bits, inverse * (2n - modulus * inverse));
  return BigInt.asUintN(bits, -inverse);
}

/** The WGSL of one field. */
export function emitField({ modulus, variant }: FieldOptions): string {
  if (modulus % 2n === 0n || modulus >= 2n ** 254n || modulus < 2n ** 252n) {
    throw new RangeError('emitField: expected an odd modulus between 2^252 and 2^254');
  }
  const multiply = { words: emitWords, limbs: emitLimbs, karatsuba: emitKaratsuba, bytes: emitBytes }[
    variant
  ];
  return `// The field of ${modulus}, Montgomery form with R = 2^256; products by "${variant}".
${emitCommon(modulus)}
${multiply(modulus)}`;
}

/** Access to elements of a module-scope `array<vec4u>`; element i is at 2i and 2i + 1. */
export function emitAccess(array: string, access: 'read' | 'read_write' = 'read'): string {
  const load = `fn fe_load_${array}(i: u32) -> Fe {
  return Fe(${array}[2u * i], ${array}[2u * i + 1u]);
}
`;
  if (access === 'read') return load;
  return `${load}fn fe_store_${array}(i: u32, value: Fe) {
  ${array}[2u * i] = value.lo;
  ${array}[2u * i + 1u] = value.hi;
}
`;
}

/** name_i = a_i + b_i with carries; the sum is below 2^256. */
const addition = (name: string, a: (i: number) => string, b: (i: number) => string): string =>
  range(WORDS)
    .map((i) => {
      if (i === 0) return `  let ${name}0 = ${a(0)} + ${b(0)};\n  let ${name}c0 = u32(${name}0 < ${a(0)});`;
      const part = `  let ${name}p${i} = ${a(i)} + ${b(i)};\n  let ${name}${i} = ${name}p${i} + ${name}c${i - 1};`;
      // At most one of the two additions carries.
      return i === WORDS - 1
        ? part
        : `${part}\n  let ${name}c${i} = u32(${name}p${i} < ${a(i)}) + u32(${name}${i} < ${name}p${i});`;
    })
    .join('\n');

/** name_i = a_i - b_i with borrows; nameb7 is 1 when a < b. */
const subtraction = (name: string, a: (i: number) => string, b: (i: number) => string): string =>
  range(WORDS)
    .map((i) => {
      if (i === 0) return `  let ${name}0 = ${a(0)} - ${b(0)};\n  let ${name}b0 = u32(${a(0)} < ${b(0)});`;
      return `  let ${name}p${i} = ${a(i)} - ${b(i)};
  let ${name}${i} = ${name}p${i} - ${name}b${i - 1};
  let ${name}b${i} = u32(${a(i)} < ${b(i)}) + u32(${name}p${i} < ${name}b${i - 1});`;
    })
    .join('\n');

function emitCommon(modulus: bigint): string {
  const p = wordsOf(modulus).map(hex);
  return `struct Fe { lo: vec4u, hi: vec4u }
const FE_ZERO = ${literal(0n)};
const FE_ONE = ${literal(2n ** 256n % modulus)};

fn fe_is_zero(a: Fe) -> bool {
  let any = a.lo | a.hi;
  return (any.x | any.y | any.z | any.w) == 0u;
}
fn fe_equal(a: Fe, b: Fe) -> bool {
  return all(a.lo == b.lo) && all(a.hi == b.hi);
}
fn fe_select(no: Fe, yes: Fe, condition: bool) -> Fe {
  return Fe(select(no.lo, yes.lo, condition), select(no.hi, yes.hi, condition));
}

// a below 2p, reduced
fn fe_reduce(a: Fe) -> Fe {
${subtraction(
  'd',
  (i) => word('a', i),
  (i) => p[i]!,
)}
  return fe_select(${fromWords('d')}, a, db7 == 1u);
}
fn fe_add(a: Fe, b: Fe) -> Fe {
${addition(
  's',
  (i) => word('a', i),
  (i) => word('b', i),
)}
  return fe_reduce(${fromWords('s')});
}
fn fe_sub(a: Fe, b: Fe) -> Fe {
${subtraction(
  'd',
  (i) => word('a', i),
  (i) => word('b', i),
)}
  // p again where it borrowed
  let mask = 0u - db7;
${range(WORDS)
  .map((i) => `  let m${i} = mask & ${p[i]};`)
  .join('\n')}
${addition(
  's',
  (i) => `d${i}`,
  (i) => `m${i}`,
)}
  return ${fromWords('s')};
}
fn fe_neg(a: Fe) -> Fe {
  return fe_sub(FE_ZERO, a);
}
`;
}

function emitWords(modulus: bigint): string {
  const p = wordsOf(modulus).map(hex);
  const lines: string[] = [];
  // t is 8 words: as p < 2^254 the ninth of CIOS is always zero (t < 2p, and both carries add up to its top word).
  for (const i of range(WORDS)) {
    lines.push(`  // + a * b${i}, then the multiple of p that makes it divisible by 2^32`);
    const t = (j: number) => (i === 0 ? '0u' : `t${i - 1}_${j}`);
    const b = word('b', i);
    lines.push(`  let x${i}_0 = mac(${word('a', 0)}, ${b}, ${t(0)}, 0u);`);
    lines.push(`  let m${i} = x${i}_0.x * ${hex(negativeInverse(modulus, 32))};`);
    lines.push(`  let y${i}_0 = mac(m${i}, ${p[0]}, x${i}_0.x, 0u);`);
    for (const j of range(WORDS - 1, 1)) {
      lines.push(`  let x${i}_${j} = mac(${word('a', j)}, ${b}, ${t(j)}, x${i}_${j - 1}.y);`);
      lines.push(`  let y${i}_${j} = mac(m${i}, ${p[j]}, x${i}_${j}.x, y${i}_${j - 1}.y);`);
      lines.push(`  let t${i}_${j - 1} = y${i}_${j}.x;`);
    }
    lines.push(`  let t${i}_7 = x${i}_7.y + y${i}_7.y;`);
  }
  return `// a * b + c + d as (low, high): it cannot pass 2^64
fn mac(a: u32, b: u32, c: u32, d: u32) -> vec2u {
  let a_low = a & 0xffffu;
  let a_high = a >> 16u;
  let b_low = b & 0xffffu;
  let b_high = b >> 16u;
  let low_low = a_low * b_low;
  let middle = a_high * b_low + (low_low >> 16u);
  let other = a_low * b_high + (middle & 0xffffu);
  let high = a_high * b_high + (middle >> 16u) + (other >> 16u);
  let low = a * b;
  let with_c = low + c;
  let with_d = with_c + d;
  return vec2u(with_d, high + u32(with_c < c) + u32(with_d < d));
}
fn fe_mul(a: Fe, b: Fe) -> Fe {
${lines.join('\n')}
  return fe_reduce(${fromWords('t7_')});
}
`;
}

/** Lets name_0 .. name_19: the limbs of element `from` times 2^shift. */
function unpacked(name: string, from: string, shift = 0): string {
  return range(LIMBS)
    .map((i) => {
      const bit = LIMB_BITS * i - shift;
      const mask = hex(BigInt(2 ** LIMB_BITS - 1));
      if (bit < 0) return `  let ${name}${i} = (${word(from, 0)} << ${-bit}u) & ${mask};`;
      const [at, offset] = [bit >> 5, bit & 31];
      const low = `${word(from, at)} >> ${offset}u`;
      const crosses = offset + LIMB_BITS > 32 && at + 1 < WORDS;
      return crosses
        ? `  let ${name}${i} = ((${low}) | (${word(from, at + 1)} << ${32 - offset}u)) & ${mask};`
        : `  let ${name}${i} = (${low}) & ${mask};`;
    })
    .join('\n');
}

/** The element whose limbs are name_0 .. name_19, the last of which ends below bit 256. */
function packed(name: string): string {
  const words = range(WORDS).map((at) =>
    range(LIMBS)
      .map((i) => ({ i, shift: LIMB_BITS * i - 32 * at }))
      .filter(({ shift }) => shift > -LIMB_BITS && shift < 32)
      .map(({ i, shift }) => (shift < 0 ? `(${name}${i} >> ${-shift}u)` : `(${name}${i} << ${shift}u)`))
      .join(' | '),
  );
  return `Fe(
    vec4u(${words.slice(0, 4).join(', ')}),
    vec4u(${words.slice(4).join(', ')}))`;
}

/**
 * Columns 0 .. 39 of 16 a * b + m * p, where `product(k)` is the first part's column k; m is chosen to make the low
 * 20 vanish. A column has at most 20 + 20 products below 2^26 and a carry below 2^19: no sum passes 2^32.
 */
function reducedColumns(modulus: bigint, product: (k: number) => string | undefined): string {
  const p = limbsOf(modulus);
  const mask = hex(BigInt(2 ** LIMB_BITS - 1));
  const inverse = hex(negativeInverse(modulus, LIMB_BITS));
  const lines: string[] = [];
  for (const k of range(2 * LIMBS)) {
    const multiples = range(LIMBS)
      .filter((i) => i < k && k - i < LIMBS)
      .map((i) => `m${i} * ${p[k - i]}u`);
    const carry = k === 0 ? [] : [`(c${k - 1} >> ${LIMB_BITS}u)`];
    const sum = [...carry, ...[product(k) ?? []].flat(), ...multiples].join(' + ');
    if (k < LIMBS) {
      lines.push(`  let s${k} = ${sum};`);
      lines.push(`  let m${k} = (s${k} * ${inverse}) & ${mask};`);
      lines.push(`  let c${k} = s${k} + m${k} * ${p[0]}u;`);
    } else {
      lines.push(`  let c${k} = ${sum};`);
      lines.push(`  let r${k - LIMBS} = c${k} & ${mask};`);
    }
  }
  return lines.join('\n');
}

/** The products a_i * b_j with i + j = k, i and j in [from, from + count). */
const column = (a: string, b: string, k: number, count: number, from = 0): string =>
  range(count, from)
    .filter((i) => k - i >= from && k - i < from + count)
    .map((i) => `${a}${i} * ${b}${k - i}`)
    .join(' + ');

function emitLimbs(modulus: bigint): string {
  return `fn fe_mul(a: Fe, b: Fe) -> Fe {
${unpacked('a', 'a', LIMB_SHIFT)}
${unpacked('b', 'b')}
${reducedColumns(modulus, (k) => column('a', 'b', k, LIMBS) || undefined)}
  return fe_reduce(${packed('r')});
}
`;
}

function emitKaratsuba(modulus: bigint): string {
  const half = LIMBS / 2;
  const lines: string[] = [];
  for (const i of range(half)) {
    lines.push(`  let a_sum${i} = a${i} + a${i + half};`);
    lines.push(`  let b_sum${i} = b${i} + b${i + half};`);
  }
  for (const k of range(LIMBS - 1)) {
    lines.push(`  let low${k} = ${column('a', 'b', k, half)};`);
    lines.push(`  let high${k} = ${column('a', 'b', k + LIMBS, half, half)};`);
    // Ten products below 2^28, and no less than what is taken off.
    lines.push(`  let cross${k} = ${column('a_sum', 'b_sum', k, half)} - low${k} - high${k};`);
  }
  const part = (name: string, k: number) => (k >= 0 && k < LIMBS - 1 ? [`${name}${k}`] : []);
  return `fn fe_mul(a: Fe, b: Fe) -> Fe {
${unpacked('a', 'a', LIMB_SHIFT)}
${unpacked('b', 'b')}
${lines.join('\n')}
${reducedColumns(
  modulus,
  (k) => [...part('low', k), ...part('cross', k - half), ...part('high', k - LIMBS)].join(' + ') || undefined,
)}
  return fe_reduce(${packed('r')});
}
`;
}

const BYTES = 32;
const bytesOf = (value: bigint): number[] =>
  range(BYTES).map((i) => Number((value >> BigInt(8 * i)) & 0xffn));
/** Bytes i, i - 1, i - 2 and i - 3, the first lowest: what meets a word of the other factor in column i of its first byte. */
const WINDOWS = BYTES + 3;
const windowOf = (bytes: readonly number[], i: number): string =>
  hex(range(4).reduce((word, back) => word | (BigInt(bytes[i - back] ?? 0) << BigInt(8 * back)), 0n));

function emitBytes(modulus: bigint): string {
  // Column k of the product of eight words and what windows were made of: at most 32 products below 2^16.
  const column = (words: (i: number) => string, windows: (i: number) => string, k: number): string =>
    range(WORDS)
      .filter((i) => k - 4 * i >= 0 && k - 4 * i < WINDOWS)
      .map((i) => `dot4U8Packed(${words(i)}, ${windows(k - 4 * i)})`)
      .join(' + ');
  const packedBytes = (name: string, i: number): string =>
    range(4)
      .map((byte) => `((${name}${4 * i + byte} & 0xffu) << ${8 * byte}u)`)
      .join(' | ');
  const [inverse, p] = [bytesOf(negativeInverse(modulus, 256)), bytesOf(modulus)];
  const lines: string[] = range(WORDS).map((i) => `  let back${i} = reversed(${word('b', i)});`);
  for (const i of range(WINDOWS)) {
    const [at, byte] = [i >> 2, i & 3];
    const parts = at < WORDS ? [byte === 3 ? `back${at}` : `(back${at} >> ${8 * (3 - byte)}u)`] : [];
    if (at > 0 && byte < 3) parts.push(`(back${at - 1} << ${8 * (byte + 1)}u)`);
    lines.push(`  let b${i} = ${parts.join(' | ')};`);
  }
  const carry = (name: string, k: number): string => (k === 0 ? '' : ` + (${name}${k - 1} >> 8u)`);
  for (const k of range(2 * BYTES - 1)) {
    lines.push(
      `  let t${k} = ${column(
        (i) => word('a', i),
        (i) => `b${i}`,
        k,
      )};`,
    );
  }
  lines.push('  // the low half as bytes, times -1/p: the multiple of p that makes it vanish');
  for (const k of range(BYTES)) lines.push(`  let l${k} = t${k}${carry('l', k)};`);
  for (const i of range(WORDS)) lines.push(`  let low${i} = ${packedBytes('l', i)};`);
  for (const k of range(BYTES)) {
    const sum = column(
      (i) => `low${i}`,
      (i) => windowOf(inverse, i),
      k,
    );
    lines.push(`  let m${k} = ${sum}${carry('m', k)};`);
  }
  for (const i of range(WORDS)) lines.push(`  let multiple${i} = ${packedBytes('m', i)};`);
  for (const k of range(2 * BYTES - 1)) {
    const sum = column(
      (i) => `multiple${i}`,
      (i) => windowOf(p, i),
      k,
    );
    lines.push(`  let s${k} = t${k} + ${sum}${carry('s', k)};`);
  }
  lines.push(`  let s${2 * BYTES - 1} = s${2 * BYTES - 2} >> 8u;`);
  for (const i of range(WORDS)) lines.push(`  let r${i} = ${packedBytes('s', i + WORDS)};`);
  return `fn reversed(a: u32) -> u32 {
  return (a >> 24u) | ((a >> 8u) & 0xff00u) | ((a << 8u) & 0xff0000u) | (a << 24u);
}
fn fe_mul(a: Fe, b: Fe) -> Fe {
${lines.join('\n')}
  return fe_reduce(${fromWords('r')});
}
`;
}

/** Both primes by name. */
export const FIELDS = { Fq: Q, Fr: R } as const;
