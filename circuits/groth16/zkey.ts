/**
 * snarkjs's Groth16 proving key, `.zkey` version 1 (layout: snarkjs `src/zkey_utils.js`). Sections are views of the
 * file, nothing is copied, so a section can be cut into chunks and a chunk addressed by its byte range.
 *
 * Checks every count, length, prime and index, and that the header's points are points. It does NOT check the points
 * of sections 5 to 9, nor which circuit the key encodes, nor who made it: that is the business of whoever trusts it.
 */
import { concat, equal } from '../../protocols/encoding.ts';
import { VouchError } from '../../protocols/errors.ts';
import { type BinFile, type Range, readBinFile, writeBinFile } from './binfile.ts';
import { type Contributions, readContributions, writeContributions } from './contribution.ts';
import { SECTION_GROUP, SECTIONS, type Section } from './engine.ts';
import { ELEMENT_BYTES, elementBytes, Q, R, TWO_ADICITY } from './field.ts';
import { checkPoint, type Group, POINT_BYTES } from './point.ts';

const VERSION = 1;
const GROTH16 = 1;
/** matrix u32, row u32, column u32, value */
export const ENTRY_BYTES = 12 + ELEMENT_BYTES;
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

/** What a `.zkey` holds. Points are affine in zkey form (point.ts). */
export interface ZkeyContent {
  /** Number of wires, the constant 1 included. */
  readonly variables: number;
  /** Number of public signals, the constant 1 not included. */
  readonly publics: number;
  /** Size of the evaluation domain, a power of two. */
  readonly domainSize: number;
  readonly header: Readonly<Record<HeaderPoint, Uint8Array>>;
  /** publics + 1 points of G1. */
  readonly ic: Uint8Array;
  /** Nonzero entries of A (0) and B (1), `ENTRY_BYTES` each; values times R^2. */
  readonly entries: Uint8Array;
  readonly points: Readonly<Record<Section, Uint8Array>>;
  readonly contributions: Contributions;
}

export interface Zkey extends ZkeyContent {
  /** Where the section's points lie in the file, in bytes. */
  range(section: Section): Range;
}

export interface ReadZkeyOptions {
  /**
   * Also accept a key with gamma = delta, as `snarkjs groth16 setup` leaves it: anyone can forge with one.
   * For comparing setups only.
   */
  readonly allowUncontributed?: boolean | undefined;
}

/** How many points each section has. */
export function sectionCounts(
  shape: Pick<Zkey, 'variables' | 'publics' | 'domainSize'>,
): Record<Section, number> {
  const { variables, publics, domainSize } = shape;
  return { A: variables, B1: variables, B2: variables, C: variables - publics - 1, H: domainSize };
}

/** Throws `bad-file` with one sentence on anything that a prover could trip over. */
export function readZkey(file: Uint8Array, options: ReadZkeyOptions = {}): Zkey {
  const sections = readBinFile(file, 'zkey', VERSION);
  const protocol = sections.section(1);
  if (protocol.byteLength !== 4 || uint32(protocol, 0) !== GROTH16) throw bad('its protocol is not Groth16');
  const shape = readShape(sections);
  const { header } = shape;
  if (!options.allowUncontributed && equal(header.gamma2, header.delta2)) {
    throw bad(
      'gamma and delta are equal, so nobody has contributed to it and anyone can forge; contribute first',
    );
  }

  const ic = exact(sections.section(3), (shape.publics + 1) * POINT_BYTES.G1, 'IC section');
  for (let at = 0; at < ic.byteLength; at += POINT_BYTES.G1) {
    checkPoint('G1', ic.subarray(at, at + POINT_BYTES.G1), `.zkey file: IC[${at / POINT_BYTES.G1}]`);
  }
  const counts = sectionCounts(shape);
  const points = Object.fromEntries(
    SECTIONS.map((name) => {
      const length = counts[name] * POINT_BYTES[SECTION_GROUP[name]];
      return [name, exact(sections.section(SECTION_ID[name]), length, `section ${name}`)];
    }),
  ) as Record<Section, Uint8Array>;
  return {
    ...shape,
    ic,
    entries: readEntries(sections, shape),
    points,
    contributions: readContributions(sections.section(10)),
    range: (section) => sections.range(SECTION_ID[section]),
  };
}

/** The file, sections in ascending order as snarkjs writes them after a contribution. */
export function writeZkey(key: ZkeyContent): Uint8Array<ArrayBuffer> {
  return writeBinFile('zkey', VERSION, [
    [1, uint32Bytes(GROTH16)],
    [2, headerSection(key)],
    [3, key.ic],
    [4, uint32Bytes(key.entries.byteLength / ENTRY_BYTES), key.entries],
    ...SECTIONS.map((name) => [SECTION_ID[name], key.points[name]] as const),
    [10, writeContributions(key.contributions)],
  ]);
}

function readShape(sections: BinFile): Pick<Zkey, 'variables' | 'publics' | 'domainSize' | 'header'> {
  const bytes = sections.section(2);
  const pointBytes = HEADER_POINTS.reduce((sum, [, group]) => sum + POINT_BYTES[group], 0);
  exact(bytes, 2 * (4 + ELEMENT_BYTES) + 12 + pointBytes, 'header section');
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
      checkPoint(group, point, `.zkey file: ${name}`);
      if (point.every((byte) => byte === 0)) throw bad(`${name} is the point at infinity`);
      return [name, point];
    }),
  ) as Record<HeaderPoint, Uint8Array>;
  return { variables, publics, domainSize, header };
}

function readEntries(sections: BinFile, shape: Pick<Zkey, 'variables' | 'domainSize'>): Uint8Array {
  const bytes = sections.section(4);
  if (bytes.byteLength < 4) throw bad('the coefficient section has no count');
  const count = uint32(bytes, 0);
  const entries = exact(bytes, 4 + count * ENTRY_BYTES, 'coefficient section').subarray(4);
  const view = new DataView(entries.buffer, entries.byteOffset, entries.byteLength);
  for (let at = 0; at < entries.byteLength; at += ENTRY_BYTES) {
    const matrix = view.getUint32(at, true);
    const row = view.getUint32(at + 4, true);
    const column = view.getUint32(at + 8, true);
    if (matrix > 1 || row >= shape.domainSize || column >= shape.variables) {
      throw bad(
        `coefficient ${at / ENTRY_BYTES} is at (${matrix}, ${row}, ${column}), outside of the matrices`,
      );
    }
  }
  return entries;
}

function headerSection(key: ZkeyContent): Uint8Array {
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

function exact(bytes: Uint8Array, length: number, what: string): Uint8Array {
  if (bytes.byteLength !== length) throw bad(`its ${what} has ${bytes.byteLength} bytes, expected ${length}`);
  return bytes;
}

function uint32(bytes: Uint8Array, offset: number): number {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength).getUint32(offset, true);
}

function uint32Bytes(value: number): Uint8Array {
  const bytes = new Uint8Array(4);
  new DataView(bytes.buffer).setUint32(0, value, true);
  return bytes;
}

function bad(why: string): VouchError {
  return new VouchError('bad-file', `.zkey file: ${why}`);
}
