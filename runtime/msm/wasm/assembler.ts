/**
 * A small assembler for WebAssembly 3.0 modules (binary format: section 5 of the core specification): the part that
 * this folder's kernels need. Expressions are values that carry their type and their bytes; statements are written
 * into a `Body`. One imported memory and one imported constant, functions with at most one result, no tables.
 *
 * It does not validate: operand types are TypeScript's to check, everything else `WebAssembly.compile`'s.
 */

export type Type = 'i32' | 'i64' | 'f64' | 'v128';
const TYPE_CODE = { i32: 0x7f, i64: 0x7e, f64: 0x7c, v128: 0x7b } as const satisfies Record<Type, number>;

/** Bytes, in parts that are put together once, when their statement is: copying them at every step took most of the time. */
type Code = number | Uint8Array | readonly Code[];

/** An expression: the code that leaves one value of this type on the stack. */
export interface Value<T extends Type> {
  readonly type: T;
  readonly code: Code;
}
export interface Local<T extends Type> extends Value<T> {
  readonly index: number;
}
export type I32 = Value<'i32'>;
export type I64 = Value<'i64'>;
export type V128 = Value<'v128'>;

export interface Func<P extends readonly Type[] = readonly Type[], R extends Type | undefined = undefined> {
  readonly index: number;
  readonly params: P;
  readonly result: R;
}
type Arguments<P extends readonly Type[]> = { [K in keyof P]: Value<P[K]> };
type Params<P extends readonly Type[]> = { [K in keyof P]: Local<P[K]> };

/** Unsigned LEB128. */
function unsigned(value: number): readonly number[] {
  if (value < SHORT.length) return SHORT[value]!;
  const bytes: number[] = [];
  for (let rest = value; ; ) {
    const low = rest % 128;
    rest = Math.floor(rest / 128);
    if (rest === 0) return [...bytes, low];
    bytes.push(low | 0x80);
  }
}

/** Nearly all numbers are short, and none of them is changed. */
const SHORT: readonly (readonly number[])[] = Array.from({ length: 0x80 }, (_, value) => [value]);

/** Signed LEB128. */
function signed(value: bigint): readonly number[] {
  if (value >= 0n && value < 64n) return SHORT[Number(value)]!;
  const bytes: number[] = [];
  for (let rest = value; ; ) {
    const low = Number(rest & 0x7fn);
    rest >>= 7n;
    if ((rest === 0n && low < 64) || (rest === -1n && low >= 64)) return [...bytes, low];
    bytes.push(low | 0x80);
  }
}

function value<T extends Type>(type: T, code: readonly number[], ...operands: Value<Type>[]): Value<T> {
  return { type, code: [...operands.map((operand) => operand.code), code] };
}
const unary =
  <T extends Type, A extends Type>(type: T, _operand: A, ...code: number[]) =>
  (a: Value<A>): Value<T> =>
    value(type, code, a);
const binary =
  <T extends Type, A extends Type>(type: T, _operand: A, ...code: number[]) =>
  (a: Value<A>, b: Value<A>): Value<T> =>
    value(type, code, a, b);

const simd = (code: number) => [0xfd, ...unsigned(code)];
/** Alignment is a hint only; 0 is always valid. */
const loaded =
  <T extends Type>(type: T, ...code: number[]) =>
  (address: I32, offset = 0): Value<T> =>
    value(type, [...code, 0, ...unsigned(offset)], address);

export const i32 = {
  const: (n: number): I32 => value('i32', [0x41, ...signed(BigInt(n | 0))]),
  load: loaded('i32', 0x28),
  load16S: loaded('i32', 0x2e),
  eqz: unary('i32', 'i32', 0x45),
  eq: binary('i32', 'i32', 0x46),
  ne: binary('i32', 'i32', 0x47),
  ltS: binary('i32', 'i32', 0x48),
  ltU: binary('i32', 'i32', 0x49),
  geS: binary('i32', 'i32', 0x4e),
  geU: binary('i32', 'i32', 0x4f),
  ctz: unary('i32', 'i32', 0x68),
  add: binary('i32', 'i32', 0x6a),
  sub: binary('i32', 'i32', 0x6b),
  mul: binary('i32', 'i32', 0x6c),
  and: binary('i32', 'i32', 0x71),
  or: binary('i32', 'i32', 0x72),
  xor: binary('i32', 'i32', 0x73),
  shl: binary('i32', 'i32', 0x74),
  shrS: binary('i32', 'i32', 0x75),
  shrU: binary('i32', 'i32', 0x76),
  wrap: unary('i32', 'i64', 0xa7),
  /** a where the condition holds, else b; both are evaluated. */
  select: (a: I32, b: I32, condition: I32): I32 => value('i32', [0x1b], a, b, condition),
};

export const i64 = {
  const: (n: bigint): I64 => value('i64', [0x42, ...signed(BigInt.asIntN(64, n))]),
  load: loaded('i64', 0x29),
  eqz: unary('i32', 'i64', 0x50),
  eq: binary('i32', 'i64', 0x51),
  ltS: binary('i32', 'i64', 0x53),
  ltU: binary('i32', 'i64', 0x54),
  geU: binary('i32', 'i64', 0x5a),
  ctz: unary('i64', 'i64', 0x7a),
  add: binary('i64', 'i64', 0x7c),
  sub: binary('i64', 'i64', 0x7d),
  mul: binary('i64', 'i64', 0x7e),
  and: binary('i64', 'i64', 0x83),
  or: binary('i64', 'i64', 0x84),
  xor: binary('i64', 'i64', 0x85),
  shl: binary('i64', 'i64', 0x86),
  shrS: binary('i64', 'i64', 0x87),
  shrU: binary('i64', 'i64', 0x88),
  extendS: unary('i64', 'i32', 0xac),
  extend: unary('i64', 'i32', 0xad),
  /** The nearest f64. */
  toF64: unary('f64', 'i64', 0xb9),
  /** Rounds towards zero; traps where the result does not fit. */
  ofF64: unary('i64', 'f64', 0xb0),
};

export const f64 = { load: loaded('f64', 0x2b) };

export const v128 = {
  /** Two 64-bit lanes, lane 0 first. */
  const: (low: bigint, high: bigint = low): V128 => {
    const bytes = new Uint8Array(16);
    const view = new DataView(bytes.buffer);
    view.setBigUint64(0, BigInt.asUintN(64, low), true);
    view.setBigUint64(8, BigInt.asUintN(64, high), true);
    return value('v128', [...simd(12), ...bytes]);
  },
  load: loaded('v128', ...simd(0)),
  /** Two u32 as two i64 lanes. */
  load32x2U: loaded('v128', ...simd(6)),
  load64Splat: loaded('v128', ...simd(10)),
  and: binary('v128', 'v128', ...simd(78)),
  or: binary('v128', 'v128', ...simd(80)),
  xor: binary('v128', 'v128', ...simd(81)),
  /** Bits of a where the mask has ones, of b elsewhere. */
  select: (a: V128, b: V128, mask: V128): V128 => value('v128', simd(82), a, b, mask),
  anyTrue: unary('i32', 'v128', ...simd(83)),
  /** Lane 0 of a, lane 0 of b. */
  lows: (a: V128, b: V128): V128 => shuffle(a, b, 0, 2),
  /** Lane 1 of a, lane 1 of b. */
  highs: (a: V128, b: V128): V128 => shuffle(a, b, 1, 3),
  swap: (a: V128): V128 => shuffle(a, a, 1, 2),
  /** The lower 32 bits of both lanes, side by side in lane 0 (and again in lane 1). */
  evens: (a: V128): V128 => words(a, 0, 2, 0, 2),
};

/** Two of the four 64-bit lanes of a and b. */
const shuffle = (a: V128, b: V128, first: number, second: number): V128 =>
  value('v128', [...simd(13), ...bytesOf([first, second], 8)], a, b);
/** Four of the 32-bit words of a. */
const words = (a: V128, ...four: number[]): V128 => value('v128', [...simd(13), ...bytesOf(four, 4)], a, a);
const bytesOf = (lanes: readonly number[], size: number): number[] =>
  lanes.flatMap((lane) => Array.from({ length: size }, (_, byte) => lane * size + byte));

export const i64x2 = {
  splat: unary('v128', 'i64', ...simd(18)),
  extract: (a: V128, lane: 0 | 1): I64 => value('i64', [...simd(29), lane], a),
  shl: (a: V128, bits: number): V128 => value('v128', simd(203), a, i32.const(bits)),
  shrS: (a: V128, bits: number): V128 => value('v128', simd(204), a, i32.const(bits)),
  shrU: (a: V128, bits: number): V128 => value('v128', simd(205), a, i32.const(bits)),
  eq: binary('v128', 'v128', ...simd(214)),
  add: binary('v128', 'v128', ...simd(206)),
  sub: binary('v128', 'v128', ...simd(209)),
  mul: binary('v128', 'v128', ...simd(213)),
  /** Signed products of the two lowest 32-bit words of each. */
  extmulLow: binary('v128', 'v128', ...simd(220)),
};

export const i32x4 = {
  shl: (a: V128, bits: number): V128 => value('v128', simd(171), a, i32.const(bits)),
  shrS: (a: V128, bits: number): V128 => value('v128', simd(172), a, i32.const(bits)),
  mul: binary('v128', 'v128', ...simd(181)),
  /** Two f64 towards zero, into the two lowest words. */
  truncate: unary('v128', 'v128', ...simd(252)),
};

export const f64x2 = {
  extract: (a: V128, lane: 0 | 1): Value<'f64'> => value('f64', [...simd(33), lane], a),
  splat: unary('v128', 'f64', ...simd(20)),
  /** The two lowest 32-bit words as signed integers. */
  convertLow: unary('v128', 'v128', ...simd(254)),
  eq: binary('v128', 'v128', ...simd(71)),
  nearest: unary('v128', 'v128', ...simd(148)),
  add: binary('v128', 'v128', ...simd(240)),
  sub: binary('v128', 'v128', ...simd(241)),
  mul: binary('v128', 'v128', ...simd(242)),
  /** a * b + c, rounded once or twice as the engine likes: check before relying on it. */
  madd: (a: V128, b: V128, c: V128): V128 => value('v128', simd(0x107), a, b, c),
  /** c - a * b, likewise. */
  nmadd: (a: V128, b: V128, c: V128): V128 => value('v128', simd(0x108), a, b, c),
};

/** The imported constant `env.base`: where an instance's own data lies. */
export const base: I32 = value('i32', [0x23, 0]);

/** Calls a function that has a result; for the others see `Body.call`. */
export function call<P extends readonly Type[], T extends Type>(
  func: Func<P, T>,
  ...args: Arguments<P>
): Value<T> {
  return value(func.result, [0x10, ...unsigned(func.index)], ...(args as unknown as Value<Type>[]));
}

/** Where a function's statements go. */
export interface Body {
  /** A new local, zero at the function's start; with `initial`, set here. */
  local<T extends Type>(type: T, initial?: Value<T>): Local<T>;
  set<T extends Type>(local: Local<T>, to: Value<T>): void;
  store(what: Value<Type>, address: I32, offset?: number): void;
  /** The lower 16 bits. */
  store16(what: I32, address: I32, offset?: number): void;
  call<P extends readonly Type[]>(func: Func<P>, ...args: Arguments<P>): void;
  /** Sets `bytes` bytes from `address` on to zero. */
  clear(address: I32, bytes: I32): void;
  if(condition: I32, then: () => void, otherwise?: () => void): void;
  while(condition: I32, body: () => void): void;
  /** Leaves the function, which must have no result. */
  return(): void;
  /** Leaves `what` as the function's result; the last statement. */
  result(what: Value<Type>): void;
}

const STORE = { i32: [0x36], i64: [0x37], f64: [0x39], v128: simd(11) } as const satisfies Record<
  Type,
  readonly number[]
>;
const [BLOCK, LOOP, IF, ELSE, END, BR, BR_IF] = [0x02, 0x03, 0x04, 0x05, 0x0b, 0x0c, 0x0d];
const NO_RESULT = 0x40;

export interface ModuleBuilder {
  /**
   * A function; with a name, exported. Later functions may call it, earlier ones and itself may not: a kernel has
   * no recursion.
   */
  func<const P extends readonly Type[]>(
    name: string | undefined,
    params: P,
    build: (body: Body, ...params: Params<P>) => void,
  ): Func<P>;
  func<const P extends readonly Type[], R extends Type>(
    name: string | undefined,
    params: P,
    build: (body: Body, ...params: Params<P>) => void,
    result: R,
  ): Func<P, R>;
  /** These bytes lie at `address` when the module is instantiated. */
  data(address: number, bytes: Uint8Array): void;
  /** A function's locals and instructions (by `Func.index`), for another module's code section. */
  body(index: number): Uint8Array<ArrayBuffer>;
  /** The module. It imports `env.base` and its memory as `env.memory`, with at least `minPages` of 64 KiB. */
  bytes(minPages: number, options?: { readonly shared?: boolean }): Uint8Array<ArrayBuffer>;
}

export function createModule(): ModuleBuilder {
  const functions: { type: Code; code: Uint8Array<ArrayBuffer>; name: string | undefined }[] = [];

  function func<P extends readonly Type[], R extends Type | undefined>(
    name: string | undefined,
    params: P,
    build: (body: Body, ...params: Params<P>) => void,
    result?: R,
  ): Func<P, R> {
    const code = createWriter();
    const locals: Type[] = [];
    const local = <T extends Type>(type: T, index: number): Local<T> => ({
      type,
      index,
      code: [0x20, unsigned(index)],
    });
    const emit = (...parts: Code[]) => code.put(parts);
    const body: Body = {
      local(type, initial) {
        const made = local(type, params.length + locals.length);
        locals.push(type);
        if (initial) body.set(made, initial);
        return made;
      },
      set(target, to) {
        emit(to.code, 0x21, unsigned(target.index));
      },
      store(what, address, offset = 0) {
        emit(address.code, what.code, STORE[what.type], 0, unsigned(offset));
      },
      store16(what, address, offset = 0) {
        emit(address.code, what.code, 0x3b, 0, unsigned(offset));
      },
      call(target, ...args) {
        for (const arg of args as unknown as Value<Type>[]) emit(arg.code);
        emit(0x10, unsigned(target.index));
      },
      clear(address, bytes) {
        emit(address.code, i32.const(0).code, bytes.code, 0xfc, 11, 0);
      },
      if(condition, then, otherwise) {
        emit(condition.code, IF, NO_RESULT);
        then();
        if (otherwise) {
          emit(ELSE);
          otherwise();
        }
        emit(END);
      },
      while(condition, inner) {
        emit(BLOCK, NO_RESULT, LOOP, NO_RESULT, i32.eqz(condition).code, BR_IF, 1);
        inner();
        emit(BR, 0, END, END);
      },
      return: () => emit(0x0f),
      result: (what) => emit(what.code),
    };
    const parameters = params.map((type, index) => local(type, index)) as unknown as Params<P>;
    build(body, ...parameters);
    functions.push({
      name,
      type: [0x60, vector(params.map((type) => TYPE_CODE[type])), vector(result ? [TYPE_CODE[result]] : [])],
      code: assembled([vector(locals.map((type) => [1, TYPE_CODE[type]])), code.bytes(), END]),
    });
    return { index: functions.length - 1, params, result: result as R };
  }

  const data: Code[] = [];
  return {
    func,
    data(address, bytes) {
      data.push([0x00, i32.const(address).code, END, sized(bytes)]);
    },
    body: (index) => functions[index]!.code,
    bytes(minPages, { shared = false } = {}) {
      const env = text('env');
      // A shared memory has to name its maximum: all that 32 bits address.
      const limits = shared ? [0x03, unsigned(minPages), unsigned(65_536)] : [0x00, unsigned(minPages)];
      const memory = [env, text('memory'), 0x02, limits];
      const constant = [env, text('base'), 0x03, TYPE_CODE.i32, 0x00];
      const exported = functions.flatMap(({ name }, index) =>
        name === undefined ? [] : [[text(name), 0x00, unsigned(index)]],
      );
      return assembled([
        [0x00, 0x61, 0x73, 0x6d, 0x01, 0x00, 0x00, 0x00],
        section(1, vector(functions.map(({ type }) => type))),
        section(2, vector([memory, constant])),
        section(3, vector(functions.map((_, index) => unsigned(index)))),
        section(7, vector(exported)),
        section(10, vector(functions.map(({ code }) => sized(code)))),
        section(11, vector(data)),
      ]);
    },
  };
}

/** Bytes one after the other, in a buffer that grows. */
function createWriter() {
  let bytes = new Uint8Array(256);
  let at = 0;
  const room = (more: number) => {
    if (at + more > bytes.byteLength) {
      const larger = new Uint8Array(Math.max(2 * bytes.byteLength, at + more));
      larger.set(bytes);
      bytes = larger;
    }
    return bytes;
  };
  const put = (part: Code): void => {
    if (typeof part === 'number') room(1)[at++] = part;
    else if (part instanceof Uint8Array) {
      room(part.byteLength).set(part, at);
      at += part.byteLength;
      // A counted loop: this runs before anything is compiled well.
    } else for (let inner = 0; inner < part.length; inner++) put(part[inner]!);
  };
  return { put, bytes: () => bytes.slice(0, at) };
}

const assembled = (code: Code): Uint8Array<ArrayBuffer> => {
  const writer = createWriter();
  writer.put(code);
  return writer.bytes();
};
const vector = (items: readonly Code[]): Code => [unsigned(items.length), items];
const sized = (code: Code): Code => {
  const bytes = assembled(code);
  return [unsigned(bytes.byteLength), bytes];
};
const section = (id: number, content: Code): Code => [id, sized(content)];
const text = (name: string): Code => sized(new TextEncoder().encode(name));
