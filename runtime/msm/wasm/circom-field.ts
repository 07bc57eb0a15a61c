/**
 * Faster bodies for the field functions of the modules that circom 2 emits (code_producers/src/wasm_elements/bn128/fr-code.wat
 * in github.com/iden3/circom, the same since 2022): same names, arguments, memory and values. circom-module.ts puts them in
 * place of a module's own.
 *
 * An element has 40 bytes: a short value (i32), flags (u32) and 32 bytes, little-endian and below r, which count when LONG is
 * set and are in Montgomery form of radix 2^256 when MONTGOMERY is. Which of its forms a value gets may differ from what the
 * replaced code would give; the value never does. Not constant time, as they were not.
 */
import { MONTGOMERY_R, R } from '../../../circuits/groth16/field.ts';
import { type Body, createModule, type Func, type I32, type I64, i32, i64, type Local } from './assembler.ts';

/** Numbers of circom's functions, imports not counted, of those that are replaced. */
export const REPLACED = { F1m_mul: 20, F1m_fromMontgomery: 24, toMontgomery: 37, mul: 54 } as const;
export type CircomFunction = keyof typeof REPLACED;
/** Its field functions are the first so many. */
export const FIELD_FUNCTIONS = 81;

const FLAGS_AT = 4;
const LONG_AT = 8;
const ELEMENT_BYTES = 40;
const LONG = 0x80000000;
const MONTGOMERY = 0x40000000;
/** Where circom keeps 2^512 mod r. */
const R2_AT = 672;
/** And 2^768 mod r: a product of two in standard form enters Montgomery's with it. */
const R3_AT = 704;

/** Products of two limbs have 58 bits, so that a whole column is added up before anything is carried. */
const LIMBS = 9;
const LIMB_BITS = 29;
const LIMB_MASK = (1n << BigInt(LIMB_BITS)) - 1n;
/** What the limbs' radix 2^261 has more than circom's 2^256. */
const EXTRA_BITS = LIMB_BITS * LIMBS - 256;
const WORDS = 4;

const wordsOf = (value: bigint): bigint[] =>
  Array.from({ length: WORDS }, (_, i) => BigInt.asUintN(64, value >> BigInt(64 * i)));
const MODULUS = wordsOf(R);
const MODULUS_LIMBS = Array.from({ length: LIMBS }, (_, i) => (R >> BigInt(LIMB_BITS * i)) & LIMB_MASK);
/** -1 / r modulo a limb's power, by Newton's iteration. */
const INVERSE = (() => {
  let inverse = 1n;
  for (let bits = 1; bits < LIMB_BITS; bits *= 2) inverse = (inverse * (2n - R * inverse)) & LIMB_MASK;
  return (LIMB_MASK + 1n - inverse) & LIMB_MASK;
})();

const load = (body: Body, at: I32, offset = 0): Local<'i64'>[] =>
  Array.from({ length: WORDS }, (_, i) => body.local('i64', i64.load(at, offset + 8 * i)));
const storeWords = (body: Body, words: readonly I64[], at: I32, offset = 0): void => {
  words.forEach((word, i) => {
    body.store(word, at, offset + 8 * i);
  });
};
const constants = (value: bigint): I64[] => wordsOf(value).map(i64.const);
const isZero = (words: readonly I64[]): I32 => i64.eqz(words.reduce((a, b) => i64.or(a, b)));
const equals = (words: readonly I64[], value: bigint): I32 =>
  isZero(words.map((word, i) => i64.xor(word, i64.const(wordsOf(value)[i]!))));

/** The limbs of `words` times 2^shift. */
function limbsOf(body: Body, words: readonly Local<'i64'>[], shift: number): Local<'i64'>[] {
  return Array.from({ length: LIMBS }, (_, limb) => {
    const from = limb * LIMB_BITS - shift;
    const word = Math.max(0, Math.floor(from / 64));
    const bit = from - 64 * word;
    let value: I64 =
      bit < 0
        ? i64.shl(words[word]!, i64.const(BigInt(-bit)))
        : i64.shrU(words[word]!, i64.const(BigInt(bit)));
    const over = words[word + 1];
    if (bit + LIMB_BITS > 64 && over) value = i64.or(value, i64.shl(over, i64.const(BigInt(64 - bit))));
    return body.local('i64', i64.and(value, i64.const(LIMB_MASK)));
  });
}

/** Takes r off where it is contained, once. */
function reduceOnce(body: Body, words: readonly Local<'i64'>[]): void {
  const less = body.local('i32');
  const rest = words.map(() => body.local('i64'));
  // Most are decided by their highest word.
  body.if(i64.geU(words[WORDS - 1]!, i64.const(MODULUS[WORDS - 1]!)), () => {
    subtract(body, words, MODULUS.map(i64.const), rest, less);
    body.if(i32.eqz(less), () => {
      words.forEach((word, i) => {
        body.set(word, rest[i]!);
      });
    });
  });
}

/** to = a - b; `borrow` says whether it is below zero. */
function subtract(
  body: Body,
  a: readonly I64[],
  b: readonly I64[],
  to: readonly Local<'i64'>[],
  borrow: Local<'i32'>,
): void {
  const difference = body.local('i64');
  const next = body.local('i32');
  body.set(borrow, i32.const(0));
  a.forEach((word, i) => {
    body.set(difference, i64.sub(word, b[i]!));
    body.set(next, i32.or(i64.ltU(word, b[i]!), i64.ltU(difference, i64.extend(borrow))));
    body.set(to[i]!, i64.sub(difference, i64.extend(borrow)));
    body.set(borrow, next);
  });
}

/** x y / 2^256, or x / 2^256 where there is no y, below r: Montgomery's reduction, digit by digit. */
function reduced(body: Body, x: readonly Local<'i64'>[], y?: readonly Local<'i64'>[]): Local<'i64'>[] {
  const sums = Array.from({ length: 2 * LIMBS }, () => body.local('i64'));
  const a = limbsOf(body, x, y ? 0 : EXTRA_BITS);
  const b = y && limbsOf(body, y, EXTRA_BITS);
  const digit = body.local('i64');
  if (!b)
    a.forEach((limb, i) => {
      body.set(sums[i]!, limb);
    });
  for (let i = 0; i < LIMBS; i++) {
    b?.forEach((limb, j) => {
      body.set(sums[i + j]!, i64.add(sums[i + j]!, i64.mul(a[i]!, limb)));
    });
    body.set(digit, i64.and(i64.mul(sums[i]!, i64.const(INVERSE)), i64.const(LIMB_MASK)));
    MODULUS_LIMBS.forEach((limb, j) => {
      body.set(sums[i + j]!, i64.add(sums[i + j]!, i64.mul(digit, i64.const(limb))));
    });
    body.set(sums[i + 1]!, i64.add(sums[i + 1]!, i64.shrU(sums[i]!, i64.const(BigInt(LIMB_BITS)))));
  }
  const limbs = sums.slice(LIMBS);
  for (let i = 0; i < LIMBS - 1; i++) {
    body.set(limbs[i + 1]!, i64.add(limbs[i + 1]!, i64.shrU(limbs[i]!, i64.const(BigInt(LIMB_BITS)))));
    body.set(limbs[i]!, i64.and(limbs[i]!, i64.const(LIMB_MASK)));
  }
  const words = Array.from({ length: WORDS }, (_, word) => {
    const parts = limbs.flatMap((limb, i) => {
      const at = i * LIMB_BITS - 64 * word;
      if (at <= -LIMB_BITS || at >= 64) return [];
      return [at >= 0 ? i64.shl(limb, i64.const(BigInt(at))) : i64.shrU(limb, i64.const(BigInt(-at)))];
    });
    return body.local(
      'i64',
      parts.reduce((one, other) => i64.or(one, other)),
    );
  });
  reduceOnce(body, words);
  return words;
}

/** The functions' bodies, as a code section has them, of a module that imports so many functions. */
export function fasterBodies(imports: number): Readonly<Record<CircomFunction, Uint8Array<ArrayBuffer>>> {
  const module = createModule();
  const names: CircomFunction[] = [];
  const define = <const P extends readonly 'i32'[]>(
    name: CircomFunction,
    params: P,
    build: (body: Body, ...params: { [K in keyof P]: Local<'i32'> }) => void,
  ) => {
    names.push(name);
    module.func(undefined, params, build as Parameters<typeof module.func>[2]);
  };
  const own = <const P extends readonly 'i32'[]>(name: CircomFunction, params: P): Func<P> => ({
    index: imports + REPLACED[name],
    params,
    result: undefined,
  });
  const multiply = own('F1m_mul', ['i32', 'i32', 'i32']);
  const toMontgomery = own('toMontgomery', ['i32']);
  const long = (element: I32) => i32.add(element, i32.const(LONG_AT));

  define('F1m_mul', ['i32', 'i32', 'i32'], (body, x, y, to) => {
    const [a, b] = [load(body, x), load(body, y)];
    body.if(i32.or(isZero(a), isZero(b)), () => {
      storeWords(body, constants(0n), to);
      body.return();
    });
    storeWords(body, reduced(body, a, b), to);
  });

  define('F1m_fromMontgomery', ['i32', 'i32'], (body, x, to) => {
    const a = load(body, x);
    body.if(isZero(a), () => {
      storeWords(body, constants(0n), to);
      body.return();
    });
    body.if(equals(a, MONTGOMERY_R), () => {
      storeWords(body, constants(1n), to);
      body.return();
    });
    storeWords(body, reduced(body, a), to);
  });

  /** All 40 bytes, whatever form it has. */
  const copy = (body: Body, to: I32, from: I32) => {
    const words = Array.from({ length: ELEMENT_BYTES / 8 }, (_, i) =>
      body.local('i64', i64.load(from, 8 * i)),
    );
    storeWords(body, words, to);
  };
  const setFlags = (body: Body, element: I32, flags: number) =>
    body.store(i32.const(flags), element, FLAGS_AT);
  const isSet = (flags: I32, bits: number) => i32.and(flags, i32.const(bits));
  /** The long words of a short value that may be negative. */
  const storeShort = (body: Body, value: Local<'i64'>, at: I32) => {
    body.if(
      i64.ltS(value, i64.const(0n)),
      () => {
        const rest = MODULUS.map(() => body.local('i64'));
        const negated = body.local('i64', i64.sub(i64.const(0n), value));
        subtract(body, MODULUS.map(i64.const), [negated, ...constants(0n).slice(1)], rest, body.local('i32'));
        storeWords(body, rest, at, LONG_AT);
      },
      () => storeWords(body, [value, ...constants(0n).slice(1)], at, LONG_AT),
    );
  };

  define('toMontgomery', ['i32'], (body, element) => {
    const flags = body.local('i32', i32.load(element, FLAGS_AT));
    body.if(isSet(flags, MONTGOMERY), () => body.return());
    body.if(i32.eqz(isSet(flags, LONG)), () =>
      storeShort(body, body.local('i64', i64.extendS(i32.load(element))), element),
    );
    // It stays what it is: long, or short with its long form beside it.
    body.store(i32.or(isSet(flags, LONG), i32.const(MONTGOMERY)), element, FLAGS_AT);
    const words = load(body, element, LONG_AT);
    body.if(equals(words, 1n), () => {
      storeWords(body, constants(MONTGOMERY_R), element, LONG_AT);
      body.return();
    });
    body.call(multiply, long(element), i32.const(R2_AT), long(element));
  });

  define('mul', ['i32', 'i32', 'i32'], (body, to, a, b) => {
    const [flagsA, flagsB] = [a, b].map((element) => body.local('i32', i32.load(element, FLAGS_AT))) as [
      Local<'i32'>,
      Local<'i32'>,
    ];
    const longs = i32.or(flagsA, flagsB);
    body.if(i32.eqz(isSet(longs, LONG)), () => {
      const product = body.local('i64', i64.mul(i64.extendS(i32.load(a)), i64.extendS(i32.load(b))));
      body.if(
        i64.eq(product, i64.extendS(i32.wrap(product))),
        () => {
          body.store(i32.wrap(product), to);
          setFlags(body, to, 0);
        },
        () => {
          setFlags(body, to, LONG);
          storeShort(body, product, to);
        },
      );
      body.return();
    });
    // Bits and other small numbers, which most values of most circuits are.
    const value = [body.local('i64'), body.local('i64')] as const;
    const isSmall = [body.local('i32'), body.local('i32')] as const;
    for (const [index, element, flags] of [
      [0, a, flagsA],
      [1, b, flagsB],
    ] as const) {
      body.if(
        isSet(flags, LONG),
        () => {
          const [low, ...high] = load(body, element, LONG_AT);
          body.set(value[index], low!);
          // Zero is zero in Montgomery form, too.
          body.set(
            isSmall[index],
            i32.and(
              isZero(high),
              i32.or(
                i64.eqz(low!),
                i32.and(i32.eqz(isSet(flags, MONTGOMERY)), i64.ltU(low!, i64.const(2n ** 32n))),
              ),
            ),
          );
        },
        () => {
          body.set(value[index], i64.extendS(i32.load(element)));
          body.set(isSmall[index], i64.ltU(value[index], i64.const(2n ** 32n)));
        },
      );
    }
    const settle = (words: readonly I64[]) => {
      setFlags(body, to, LONG);
      storeWords(body, words, to, LONG_AT);
      body.return();
    };
    body.if(i32.and(isSmall[0], isSmall[1]), () =>
      settle([i64.mul(value[0], value[1]), ...constants(0n).slice(1)]),
    );
    for (const [index, other] of [
      [0, b],
      [1, a],
    ] as const) {
      body.if(isSmall[index], () => {
        body.if(i64.eqz(value[index]), () => settle(constants(0n)));
        body.if(i64.eq(value[index], i64.const(1n)), () => {
          copy(body, to, other);
          body.return();
        });
      });
    }
    // A short one becomes Montgomery's, and so the product has the other's form.
    const form = body.local('i32', i32.const(LONG | MONTGOMERY));
    const both = body.local('i32', i32.const(0));
    body.if(i32.eqz(isSet(flagsA, LONG)), () => {
      body.call(toMontgomery, a);
      body.set(form, flagsB);
    });
    body.if(i32.eqz(isSet(flagsB, LONG)), () => {
      body.call(toMontgomery, b);
      body.set(form, flagsA);
    });
    body.if(isSet(i32.and(flagsA, flagsB), LONG), () => {
      // Of two in standard form the product is divided by the radix: it enters twice.
      body.set(both, i32.eqz(isSet(longs, MONTGOMERY)));
      body.set(
        form,
        i32.or(
          i32.const(LONG),
          isSet(i32.or(i32.and(flagsA, flagsB), i32.sub(i32.const(0), both)), MONTGOMERY),
        ),
      );
    });
    body.store(form, to, FLAGS_AT);
    body.call(multiply, long(a), long(b), long(to));
    body.if(both, () => body.call(multiply, i32.const(R3_AT), long(to), long(to)));
  });

  const bodies = names.map((name, index) => [name, module.body(index)]);
  return Object.fromEntries(bodies) as Record<CircomFunction, Uint8Array<ArrayBuffer>>;
}
