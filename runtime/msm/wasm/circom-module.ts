/**
 * The module of a circom 2 witness calculator with faster field functions (circom-field.ts) in place of its own, and copies of
 * constants joined (circom-copies.ts): only where its own functions are, byte for byte, those that the faster ones were written
 * for, and where old and new agree here on values that both are tried with. Any other module stays as it is.
 *
 * Reads as much of the binary format (WebAssembly core specification, section 5) as finding the functions takes. Whether the
 * whole is a module is for `WebAssembly.compile` to say.
 */
import {
  ELEMENT_BYTES,
  MONTGOMERY_R,
  power,
  R,
  readElement,
  writeElement,
} from '../../../circuits/groth16/field.ts';
import { joinCopies } from './circom-copies.ts';
import { type CircomFunction, FIELD_FUNCTIONS, fasterBodies, REPLACED } from './circom-field.ts';

type Bytes = Uint8Array<ArrayBuffer>;

/** SHA-256 of the field functions over BN254 in a module that imports as many functions as circom's have since 2.0.7. */
const KNOWN_FIELD = '0a27d6c381678f36bb8eb5f48a2170a62fc0dd8c1c66898c7b496e98cb39676a';
const IMPORTS = 4;
/** The number of Fr_copy, which has five loads and stores, among them. */
const COPY = 33;

/** Two for each template; a module of more stays as it is. */
const MAX_FUNCTIONS = 2 ** 17;

const HEADER_BYTES = 8;
const SECTION = { types: 1, imports: 2, functions: 3, memory: 5, exports: 7, code: 10 } as const;
const FUNCTION = 0;
const MEMORY = 2;

/** The same bytes where the module's field is not the known one, or the faster one is not right here. */
export async function withFasterField(wasm: Bytes): Promise<Bytes> {
  const found = findField(wasm);
  if (!found || (await digestOf(found.known)) !== KNOWN_FIELD) return wasm;
  bodies ??= fasterBodies(IMPORTS);
  try {
    isRight ??= agree(fieldAlone(wasm, found), fieldAlone(wasm, found, bodies));
  } catch {
    // Its types are not those of its functions: no module, as compiling it will say.
    return wasm;
  }
  if (!isRight) return wasm;
  const { code, count } = found;
  return concat(
    wasm.subarray(0, code.at),
    section(SECTION.code, unsigned(count), ...fieldBodies(wasm, found, bodies), ...templates(wasm, found)),
    wasm.subarray(code.end),
  );
}
let bodies: ReturnType<typeof fasterBodies> | undefined;
/** Of this thread: the functions are the same in all modules that come this far. */
let isRight: boolean | undefined;

interface Range {
  readonly at: number;
  readonly end: number;
}
interface FoundField {
  /** All of the field functions. */
  readonly known: Bytes;
  readonly types: Range;
  readonly imports: Range;
  readonly code: Range;
  /** How many functions the module defines. */
  readonly count: number;
  /** Of the field functions: their bodies with the lengths in front, and the types' numbers. */
  readonly functions: readonly Range[];
  /** The other functions' bodies; from `content` on without the length. */
  readonly rest: readonly (Range & { readonly content: number })[];
  readonly typesOf: readonly number[];
}

/** Undefined where it is not a module, or has less. */
function findField(wasm: Bytes): FoundField | undefined {
  let at = HEADER_BYTES;
  /** Unsigned LEB128 of at most 32 bits. */
  const number = (): number => {
    let value = 0;
    for (let shift = 0; shift < 35; shift += 7) {
      const byte = wasm[at++];
      if (byte === undefined) return Number.NaN;
      value += (byte & 0x7f) * 2 ** shift;
      if (byte < 0x80) return value;
    }
    return Number.NaN;
  };
  const sections = new Map<number, Range & { readonly content: number }>();
  while (at < wasm.byteLength) {
    const begin = at;
    const id = wasm[at++]!;
    const length = number();
    const content = at;
    at += length;
    // Also where a length is no number.
    if (!(at <= wasm.byteLength)) return undefined;
    sections.set(id, { at: begin, end: at, content });
    if (id === SECTION.code) break;
  }
  const [types, imports, kinds, code] = [SECTION.types, SECTION.imports, SECTION.functions, SECTION.code].map(
    (id) => sections.get(id),
  );
  if (!types || !imports || !kinds || !code) return undefined;

  at = imports.content;
  if (number() !== IMPORTS) return undefined;
  at = kinds.content;
  if (!(number() > FIELD_FUNCTIONS)) return undefined;
  const typesOf = Array.from({ length: FIELD_FUNCTIONS }, number);
  at = code.content;
  const count = number();
  const first = at;
  const next = () => {
    const from = at;
    const length = number();
    const content = at;
    at += length;
    return { at: from, content, end: at };
  };
  const functions = Array.from({ length: FIELD_FUNCTIONS }, next);
  if (!(count > FIELD_FUNCTIONS && count <= MAX_FUNCTIONS && at <= code.end)) return undefined;
  const known = wasm.subarray(first, at);
  const rest: ReturnType<typeof next>[] = [];
  while (at < code.end && rest.length < MAX_FUNCTIONS) rest.push(next());
  // Also where a length is no number.
  if (at !== code.end || functions.length + rest.length !== count) return undefined;
  return { known, types, imports, code, count, functions, rest, typesOf };
}

/** The field functions one after the other, those that have new bodies with these. */
function fieldBodies(wasm: Bytes, { functions }: FoundField, replaced?: typeof bodies): Uint8Array[] {
  const own = functions.map(({ at, end }) => wasm.subarray(at, end));
  for (const [name, index] of Object.entries(replaced ? REPLACED : {}))
    own[index] = sized(replaced![name as CircomFunction]);
  return own;
}

/** All other functions, with their copies joined. */
function templates(wasm: Bytes, { rest }: FoundField): Uint8Array[] {
  return rest.map(({ at, content, end }) => {
    const body = wasm.subarray(content, end);
    const shorter = joinCopies(body, IMPORTS + COPY);
    return shorter === body ? wasm.subarray(at, end) : sized(shorter);
  });
}

type Field = Readonly<Record<CircomFunction, (...addresses: number[]) => void>> & {
  readonly memory: WebAssembly.Memory;
};

/** A module of the field functions alone, to try them. */
function fieldAlone(wasm: Bytes, found: FoundField, replaced?: typeof bodies): Field {
  const names = Object.entries(REPLACED);
  const exported = names.map(([name, index]) => [...text(name), FUNCTION, ...unsigned(IMPORTS + index)]);
  const bytes = concat(
    wasm.subarray(0, HEADER_BYTES),
    wasm.subarray(found.types.at, found.types.end),
    wasm.subarray(found.imports.at, found.imports.end),
    section(SECTION.functions, unsigned(FIELD_FUNCTIONS), ...found.typesOf.map(unsigned)),
    section(SECTION.memory, Uint8Array.of(1, 0, 1)),
    section(
      SECTION.exports,
      unsigned(names.length + 1),
      Uint8Array.from([...exported.flat(), ...text('memory'), MEMORY, 0]),
    ),
    section(SECTION.code, unsigned(FIELD_FUNCTIONS), ...fieldBodies(wasm, found, replaced)),
  );
  const module = new WebAssembly.Module(bytes);
  const imports: Record<string, Record<string, () => void>> = {};
  for (const { module: from, name } of WebAssembly.Module.imports(module))
    imports[from] = { ...imports[from], [name]: () => {} };
  const field = new WebAssembly.Instance(module, imports).exports as unknown as Field;
  // What circom's data section has there.
  const memory = new Uint8Array(field.memory.buffer);
  for (const [value, place] of [
    [R, 608],
    [MONTGOMERY_R ** 2n % R, 672],
    [MONTGOMERY_R ** 3n % R, 704],
  ] as const)
    writeElement(value, memory, place);
  return field;
}

/** Where elements are tried, in the only page. */
const PLACES = { to: 4096, a: 4160, b: 4224 } as const;
const NUMBER_BYTES = 8 + ELEMENT_BYTES;
const LONG = 0x80000000;
const MONTGOMERY = 0x40000000;
const RANDOM_PAIRS = 64;
const STRIDE = 7;

/** Do both compute the same of numbers in every form, places that are one and the same included? */
function agree(one: Field, other: Field): boolean {
  const numbers = samples();
  const pairs = [
    // Each beside some of the others: all of them would take longer than a proof's witness.
    ...numbers.flatMap((a, i) =>
      numbers.flatMap((b, j) => ((i + j) % STRIDE === 0 ? [[a, b] as const] : [])),
    ),
    ...Array.from({ length: RANDOM_PAIRS }, () => [randomNumber(), randomNumber()] as const),
  ];
  const { to, a, b } = PLACES;
  const calls: ReadonlyArray<readonly [CircomFunction, ...number[]]> = [
    ['mul', to, a, b],
    ['mul', a, a, b],
    ['mul', b, a, b],
    ['mul', a, a, a],
    ['toMontgomery', a],
    ['F1m_mul', a + 8, b + 8, to + 8],
    ['F1m_fromMontgomery', a + 8, a + 8],
  ];
  const resultOf = (field: Field, [name, ...places]: (typeof calls)[number], pair: readonly Uint8Array[]) => {
    const memory = new Uint8Array(field.memory.buffer);
    // What multiplies in Montgomery's form reads the long part alone; it is below r in all of them.
    memory.set(pair[0]!, a);
    memory.set(pair[1]!, b);
    memory.set(pair[0]!, to);
    field[name](...places);
    return name.startsWith('F1m')
      ? readElement(memory, (name === 'F1m_mul' ? to : a) + 8)
      : valueAt(memory, places[0]!);
  };
  return calls.every((call) =>
    pairs.every((pair) => resultOf(one, call, pair) === resultOf(other, call, pair)),
  );
}

/** A number as circom keeps it: {i32 short value, u32 flags, limbs}. */
function numberOf(value: bigint, flags: number): Uint8Array {
  const bytes = new Uint8Array(NUMBER_BYTES);
  const view = new DataView(bytes.buffer);
  view.setUint32(4, flags, true);
  const residue = ((value % R) + R) % R;
  if (!(flags & LONG)) view.setInt32(0, Number(value), true);
  writeElement(flags & MONTGOMERY ? (residue * MONTGOMERY_R) % R : residue, bytes, 8);
  return bytes;
}

function valueAt(memory: Uint8Array, at: number): bigint {
  const view = new DataView(memory.buffer, at, NUMBER_BYTES);
  const flags = view.getUint32(4, true);
  if (!(flags & LONG)) return (BigInt(view.getInt32(0, true)) + R) % R;
  const value = readElement(memory, at + 8);
  return flags & MONTGOMERY ? (value * UNSCALE) % R : value;
}
const UNSCALE = power(MONTGOMERY_R, R - 2n);

const SHORT = [0n, 1n, -1n, 2n, 2n ** 31n - 1n, -(2n ** 31n)];
const LONGER = [
  2n ** 31n,
  2n ** 32n - 1n,
  2n ** 32n,
  2n ** 64n - 1n,
  2n ** 64n,
  R - 2n,
  R / 2n,
  MONTGOMERY_R,
];
function samples(): Uint8Array[] {
  const short = SHORT.flatMap((value) => [numberOf(value, 0), numberOf(value, MONTGOMERY)]);
  const long = [...SHORT, ...LONGER].flatMap((value) => [
    numberOf(value, LONG),
    numberOf(value, LONG | MONTGOMERY),
  ]);
  return [...short, ...long];
}
function randomNumber(): Uint8Array {
  const bytes = crypto.getRandomValues(new Uint8Array(ELEMENT_BYTES));
  return numberOf(readElement(bytes), LONG | (bytes[0]! & 1 ? MONTGOMERY : 0));
}

/** Undefined where there is no hash: in a page whose context is not secure. */
async function digestOf(bytes: Bytes): Promise<string | undefined> {
  const digest = await globalThis.crypto?.subtle?.digest('SHA-256', bytes);
  return digest && Array.from(new Uint8Array(digest), (byte) => byte.toString(16).padStart(2, '0')).join('');
}

function unsigned(value: number): Uint8Array {
  const bytes: number[] = [];
  for (let rest = value; ; rest = Math.floor(rest / 128)) {
    if (rest < 128) return Uint8Array.from([...bytes, rest]);
    bytes.push((rest % 128) | 0x80);
  }
}
/** Not protocols/encoding.ts: a thread's code has no dependencies. */
function concat(...parts: readonly Uint8Array[]): Bytes {
  const all = new Uint8Array(parts.reduce((sum, { byteLength }) => sum + byteLength, 0));
  let at = 0;
  for (const part of parts) {
    all.set(part, at);
    at += part.byteLength;
  }
  return all;
}
const sized = (bytes: Uint8Array): Bytes => concat(unsigned(bytes.byteLength), bytes);
const section = (id: number, ...content: readonly Uint8Array[]): Bytes =>
  concat(Uint8Array.of(id), sized(concat(...content)));
const text = (name: string): Bytes => sized(new TextEncoder().encode(name));
