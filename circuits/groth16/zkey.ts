/**
 * snarkjs's Groth16 proving key, `.zkey` version 1 (layout: snarkjs `src/zkey_utils.js`), in memory (`readZkey`) or
 * read where it is needed (`openZkey`): only what is small is in memory then, the sections are read into the buffer
 * of whoever computes with them. A section can be cut into chunks and a chunk addressed by its byte range.
 *
 * Checks every count, length, prime and index, and that the header's points are points. It does NOT check the points
 * of sections 5 to 9, nor which circuit the key encodes, nor who made it: that is the business of whoever trusts it.
 */
import { concat, equal } from '../../protocols/encoding.ts';
import { VouchError } from '../../protocols/errors.ts';
import { parsePrime, parseSections, planBinFile, type Sections, uint32 } from './binfile.ts';
import {
  type Contributions,
  MAX_CONTRIBUTIONS_BYTES,
  readContributions,
  writeContributions,
} from './contribution.ts';
import { ELEMENT_BYTES, ENTRY_BYTES, elementBytes, Q, R, TWO_ADICITY } from './field.ts';
import { checkPoint, type Group, POINT_BYTES } from './point.ts';
import { SECTION_GROUP, SECTIONS, type Section } from './section.ts';
import {
  type ByteSource,
  bytesSource,
  demandWithin,
  type Parser,
  parseBytes,
  parseSource,
  type Range,
} from './source.ts';

const VERSION = 1;
const GROTH16 = 1;
/** By snarkjs's numbers (its `src/zkey_constants.js`). */
const OTHER_PROTOCOLS: Readonly<Record<number, string>> = { 2: 'PLONK', 10: 'FFLONK' };
/** Of coordinates. */
const BLS12381_Q =
  0x1a0111ea397fe69a4b1ba7b6434bacd764774b84f38512bf6730d2a0f6b0f6241eabfffeb153ffffb9feffffffffaaabn;
const SECTION_ID = { A: 5, B1: 6, B2: 7, C: 8, H: 9 } as const satisfies Record<Section, number>;
// One bit less than the field allows: the quotient needs a root of twice the domain's order.
const MAX_DOMAIN_BITS = TWO_ADICITY - 1;

/** The points of the header, in its order. */
const HEADER_POINTS = [
  ['alpha1', 'G1'],
  ['beta1', 'G1'],
  ['beta2', 'G2'],
  ['gamma2', 'G2'],
  ['delta1', 'G1'],
  ['delta2', 'G2'],
] as const satisfies ReadonlyArray<readonly [string, Group]>;
export type HeaderPoint = (typeof HEADER_POINTS)[number][0];
/** Two primes with their sizes, three counts, and the points. */
const HEADER_BYTES =
  2 * (4 + ELEMENT_BYTES) + 3 * 4 + HEADER_POINTS.reduce((sum, [, group]) => sum + POINT_BYTES[group], 0);

/** How large everything in a key is. */
export interface KeyShape {
  /** Number of wires, the constant 1 included. */
  readonly variables: number;
  /** Number of public signals, the constant 1 not included. */
  readonly publics: number;
  /** Size of the evaluation domain, a power of two. */
  readonly domainSize: number;
}

/** What is small in a key, always in memory. Points are affine in zkey form (point.ts). */
export interface KeyHead extends KeyShape {
  readonly header: Readonly<Record<HeaderPoint, Uint8Array>>;
  /** publics + 1 points of G1. */
  readonly ic: Uint8Array;
  readonly contributions: Contributions;
}

/** What is large in a key: points of the five sums, and the entries of the matrices. */
export type KeyPart = Section | 'entries';
const PARTS: readonly KeyPart[] = [...SECTIONS, 'entries'];

/** A key of which the large parts may be elsewhere. */
export interface ProvingKey extends KeyHead {
  /** Where the part's points or entries lie in the file, in bytes. */
  range(part: KeyPart): Range;
  /**
   * Fills `target`, also one in shared memory, with the bytes of `part` from its byte `offset` (default 0) on. Entries
   * are checked to be within the matrices, and read whole. RangeError when that is outside of the part.
   */
  read(part: KeyPart, target: Uint8Array, offset?: number): Promise<void>;
}

/** What a `.zkey` holds. */
export interface ZkeyContent extends KeyHead {
  /** Nonzero entries of A (0) and B (1), `ENTRY_BYTES` each; values times R^2. */
  readonly entries: Uint8Array;
  readonly points: Readonly<Record<Section, Uint8Array>>;
}

/** A key in memory; its members are views of the file. */
export interface Zkey extends ZkeyContent, ProvingKey {}

export interface ReadZkeyOptions {
  /**
   * Also accept a key with gamma = delta, as `snarkjs groth16 setup` leaves it: anyone can forge with one.
   * For comparing setups only.
   */
  readonly allowUncontributed?: boolean | undefined;
  /** All of the same file was checked before: its few points are not looked at again. */
  readonly checkedBefore?: boolean | undefined;
}

/** How many points each section has. */
export function sectionCounts({ variables, publics, domainSize }: KeyShape): Record<Section, number> {
  return { A: variables, B1: variables, B2: variables, C: variables - publics - 1, H: domainSize };
}

/** A key in memory. Throws `bad-file` with one sentence on anything that a prover could trip over. */
export function readZkey(file: Uint8Array, options: ReadZkeyOptions = {}): Zkey {
  const { head, ranges } = parseBytes(file, parseZkey(file.byteLength, options));
  const view = (part: KeyPart) =>
    file.subarray(ranges[part].offset, ranges[part].offset + ranges[part].length);
  const entries = view('entries');
  checkEntries(entries, head, 0);
  const points = Object.fromEntries(SECTIONS.map((name) => [name, view(name)])) as ZkeyContent['points'];
  return { ...provingKey(bytesSource(file), head, ranges), entries, points };
}

/**
 * A key whose sections are read where they are needed; of the source only what is small. Throws as `readZkey`, but
 * for entries outside of the matrices, which are found when they are read.
 */
export async function openZkey(source: ByteSource, options: ReadZkeyOptions = {}): Promise<ProvingKey> {
  const { head, ranges } = await parseSource(source, parseZkey(source.byteLength, options));
  return provingKey(source, head, ranges);
}

/** All of a key in memory. */
export async function loadZkey(key: ProvingKey): Promise<Zkey> {
  const load = async (part: KeyPart) => {
    const bytes = new Uint8Array(key.range(part).length);
    await key.read(part, bytes);
    return bytes;
  };
  const points: Partial<Record<Section, Uint8Array>> = {};
  for (const section of SECTIONS) points[section] = await load(section);
  return { ...key, entries: await load('entries'), points: points as ZkeyContent['points'] };
}

type Ranges = Readonly<Record<KeyPart, Range>>;

function provingKey(source: ByteSource, head: KeyHead, ranges: Ranges): ProvingKey {
  return {
    ...head,
    range: (part) => ranges[part],
    async read(part, target, offset = 0) {
      const range = ranges[part];
      demandWithin({ byteLength: range.length }, offset, target.byteLength);
      if (part === 'entries' && (offset % ENTRY_BYTES !== 0 || target.byteLength % ENTRY_BYTES !== 0)) {
        throw new RangeError(`entries are read whole, ${ENTRY_BYTES} bytes each`);
      }
      await source.read(range.offset + offset, target);
      if (part === 'entries') checkEntries(target, head, offset / ENTRY_BYTES);
    },
  };
}

function* parseZkey(
  byteLength: number,
  { allowUncontributed, checkedBefore }: ReadZkeyOptions,
): Parser<{ head: KeyHead; ranges: Ranges }> {
  const check: typeof checkPoint = checkedBefore ? () => {} : checkPoint;
  const sections = yield* parseSections(byteLength, 'zkey', VERSION);
  const protocol = yield exact(sections.range(1), 4, 'protocol section');
  const id = uint32(protocol, 0);
  if (id !== GROTH16) {
    const name = OTHER_PROTOCOLS[id];
    throw bad(
      `its protocol is not Groth16${name ? ` but ${name}; use snarkjs (${name.toLowerCase()} prove)` : ''}`,
    );
  }
  const { header, ...shape } = yield* parseHeader(sections, check);
  if (!allowUncontributed && equal(header.gamma2, header.delta2)) {
    throw bad(
      'gamma and delta are equal, so nobody has contributed to it and anyone can forge; contribute first',
    );
  }

  const ic = yield exact(sections.range(3), (shape.publics + 1) * POINT_BYTES.G1, 'IC section');
  for (let at = 0; at < ic.byteLength; at += POINT_BYTES.G1) {
    check('G1', ic.subarray(at, at + POINT_BYTES.G1), `.zkey file: IC[${at / POINT_BYTES.G1}]`);
  }
  const counts = sectionCounts(shape);
  const entries = yield* parseEntries(sections);
  const ranges = Object.fromEntries(
    PARTS.map((part) => {
      if (part === 'entries') return [part, entries];
      const length = counts[part] * POINT_BYTES[SECTION_GROUP[part]];
      return [part, exact(sections.range(SECTION_ID[part]), length, `section ${part}`)];
    }),
  ) as Record<KeyPart, Range>;
  const last = sections.range(10);
  if (last.length > MAX_CONTRIBUTIONS_BYTES) throw bad(`its contribution section has ${last.length} bytes`);
  const contributions = readContributions(yield last, check);
  return { head: { ...shape, header, ic, contributions }, ranges };
}

/** The file, sections in ascending order as snarkjs writes them after a contribution. */
export function writeZkey(key: ZkeyContent): Uint8Array<ArrayBuffer> {
  const plan = planZkey(key, key.entries.byteLength / ENTRY_BYTES);
  const rest = plan.rest(key);
  const file = new Uint8Array(Math.max(...rest.map(({ offset, bytes }) => offset + bytes.byteLength)));
  for (const { offset, bytes } of rest) file.set(bytes, offset);
  for (const part of PARTS)
    file.set(part === 'entries' ? key.entries : key.points[part], plan.range(part).offset);
  return file;
}

/** A key that is to be written piece by piece, its large parts before what is small is known. */
export interface ZkeyPlan {
  /** Where the part's points or entries go. */
  range(part: KeyPart): Range;
  /** All of the file but the large parts. The contributions come last in the file. */
  rest(key: KeyHead): ReadonlyArray<{ readonly offset: number; readonly bytes: Uint8Array }>;
}

/** The plan of a key with so many entries of its matrices. */
export function planZkey(shape: KeyShape, entries: number): ZkeyPlan {
  const counts = sectionCounts(shape);
  const planWith = (contributions: number) =>
    planBinFile('zkey', VERSION, [
      [1, 4],
      [2, HEADER_BYTES],
      [3, (shape.publics + 1) * POINT_BYTES.G1],
      [4, 4 + entries * ENTRY_BYTES],
      ...SECTIONS.map((name) => [SECTION_ID[name], counts[name] * POINT_BYTES[SECTION_GROUP[name]]] as const),
      [10, contributions],
    ]);
  const plan = planWith(0);
  return {
    range(part) {
      if (part !== 'entries') return plan.range(SECTION_ID[part]);
      const { offset, length } = plan.range(4);
      return { offset: offset + 4, length: length - 4 };
    },
    rest(key) {
      const contributions = writeContributions(key.contributions);
      const whole = planWith(contributions.byteLength);
      return [
        ...whole.heads,
        { offset: whole.range(1).offset, bytes: uint32Bytes(GROTH16) },
        { offset: whole.range(2).offset, bytes: headerSection(key) },
        { offset: whole.range(3).offset, bytes: key.ic },
        { offset: whole.range(4).offset, bytes: uint32Bytes(entries) },
        { offset: whole.range(10).offset, bytes: contributions },
      ];
    },
  };
}

function* parseHeader(
  sections: Sections,
  check: typeof checkPoint,
): Parser<KeyShape & Pick<KeyHead, 'header'>> {
  const { prime } = yield* parsePrime(sections.range(2), 'zkey');
  if (prime !== Q) {
    const whose = prime === BLS12381_Q ? "BLS12-381's" : "not BN254's";
    throw bad(
      `its prime q is ${whose}${prime === BLS12381_Q ? '; this prover knows BN254 only, use snarkjs' : ''}`,
    );
  }
  const bytes = yield exact(sections.range(2), HEADER_BYTES, 'header section');
  let at = 0;
  const take = (length: number) => {
    at += length;
    return bytes.subarray(at - length, at);
  };
  const u32 = () => uint32(take(4), 0);
  for (const [name, prime] of [
    ['q', Q],
    ['r', R],
  ] as const) {
    const size = u32();
    if (size !== ELEMENT_BYTES) throw bad(`n8${name} is ${size}, expected ${ELEMENT_BYTES}`);
    if (!equal(take(size), elementBytes(prime))) throw bad(`its prime ${name} is not BN254's`);
  }
  const variables = u32();
  const publics = u32();
  const domainSize = u32();
  if (publics >= variables) throw bad(`nPublic is ${publics}, expected less than nVars = ${variables}`);
  const bits = Math.log2(domainSize);
  if (!Number.isInteger(bits) || bits > MAX_DOMAIN_BITS) {
    throw bad(`domainSize is ${domainSize}, expected a power of two up to 2^${MAX_DOMAIN_BITS}`);
  }
  const header = Object.fromEntries(
    HEADER_POINTS.map(([name, group]) => {
      const point = take(POINT_BYTES[group]);
      check(group, point, `.zkey file: ${name}`);
      if (point.every((byte) => byte === 0)) throw bad(`${name} is the point at infinity`);
      return [name, point];
    }),
  ) as Record<HeaderPoint, Uint8Array>;
  return { variables, publics, domainSize, header };
}

/** Where the entries lie, after their count. */
function* parseEntries(sections: Sections): Parser<Range> {
  const range = sections.range(4);
  if (range.length < 4) throw bad('the coefficient section has no count');
  const count = uint32(yield { offset: range.offset, length: 4 }, 0);
  exact(range, 4 + count * ENTRY_BYTES, 'coefficient section');
  return { offset: range.offset + 4, length: count * ENTRY_BYTES };
}

/** `first`: the number of the first of these entries. */
function checkEntries(entries: Uint8Array, shape: KeyShape, first: number): void {
  const view = new DataView(entries.buffer, entries.byteOffset, entries.byteLength);
  for (let at = 0; at < entries.byteLength; at += ENTRY_BYTES) {
    const matrix = view.getUint32(at, true);
    const row = view.getUint32(at + 4, true);
    const column = view.getUint32(at + 8, true);
    if (matrix > 1 || row >= shape.domainSize || column >= shape.variables) {
      throw bad(
        `coefficient ${first + at / ENTRY_BYTES} is at (${matrix}, ${row}, ${column}), outside of the matrices`,
      );
    }
  }
}

function headerSection(key: KeyHead): Uint8Array {
  return concat(
    uint32Bytes(ELEMENT_BYTES),
    elementBytes(Q),
    uint32Bytes(ELEMENT_BYTES),
    elementBytes(R),
    uint32Bytes(key.variables),
    uint32Bytes(key.publics),
    uint32Bytes(key.domainSize),
    ...HEADER_POINTS.map(([name]) => key.header[name]),
  );
}

function exact(range: Range, length: number, what: string): Range {
  if (range.length !== length) throw bad(`its ${what} has ${range.length} bytes, expected ${length}`);
  return range;
}

function uint32Bytes(value: number): Uint8Array {
  const bytes = new Uint8Array(4);
  new DataView(bytes.buffer).setUint32(0, value, true);
  return bytes;
}

function bad(why: string): VouchError {
  return new VouchError('bad-file', `.zkey file: ${why}`);
}
