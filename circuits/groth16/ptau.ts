/**
 * The powers of tau file of snarkjs, `.ptau` version 1 (layout: snarkjs `src/powersoftau_utils.js`, and
 * `src/powersoftau_preparephase2.js` for sections 12 to 15): what has to be right before a ceremony is made from it, and
 * the powers with which a key is checked (check-key.ts).
 *
 * A key's powers are such a file cut to what that check needs: header, tau's powers in G1 up to degree 2N - 2, and tau
 * itself in G2. The rest would quadruple what travels with a key.
 *
 * Checks primes, powers, the lengths of sections and that the powers begin at the generators. That they are the
 * powers of one secret is check-key.ts's to say; that nobody knows it, their publisher's.
 */
import { concat, equal } from '../../protocols/encoding.ts';
import { VouchError } from '../../protocols/errors.ts';
import { parseSections, planBinFile, type Sections, uint32 } from './binfile.ts';
import { ELEMENT_BYTES, elementBytes, Q, TWO_ADICITY } from './field.ts';
import { checkPoint, G1, G2, type Group, POINT_BYTES, writeG1, writeG2 } from './point.ts';
import { type ByteSink, type ByteSource, demandWithin, type Parser, parseSource } from './source.ts';

const VERSION = 1;
const HEADER_BYTES = 4 + ELEMENT_BYTES + 8;
/** Points in memory at a time. */
const BATCH = 2 ** 16;

export interface PowersOfTau {
  /** Circuits of up to 2^power rows. */
  readonly power: number;
  /** Of the ceremony from which the file was cut. */
  readonly ceremonyPower: number;
  /** Whether a setup can be made from it: it holds the Lagrange bases. */
  readonly prepared: boolean;
}

/** The powers of one tau, as far as a key's check needs them. Points in zkey form. */
export interface Powers {
  /** For keys of domains of up to 2^power rows. */
  readonly power: number;
  /** [tau]_2, checked to be a point of the subgroup. */
  readonly tau2: Uint8Array;
  /** Fills `target` with [tau^k]_1 from k = `first` (default 0) on, of 2 * 2^power - 1. They are not checked to be points. */
  readG1(target: Uint8Array, first?: number): Promise<void>;
}

/** How many powers in G1 a key of that domain is checked with. */
export const powersCount = (domainSize: number): number => 2 * domainSize - 1;

/** Bytes of the file that `writePowers` makes. */
export const powersBytes = (domainSize: number): number =>
  12 + 3 * 12 + HEADER_BYTES + powersCount(domainSize) * POINT_BYTES.G1 + 2 * POINT_BYTES.G2;

/** A key's powers, out of such a file or of a whole `.ptau`. `bad-file` with one sentence otherwise. */
export async function openPowers(source: ByteSource): Promise<Powers> {
  const { sections, power, tau2 } = await parseSource(source, parseHead(source.byteLength));
  const { offset, length } = sections.range(2);
  return {
    power,
    tau2,
    readG1: async (target, first = 0) => {
      demandWithin({ byteLength: length }, first * POINT_BYTES.G1, target.byteLength);
      await source.read(offset + first * POINT_BYTES.G1, target);
    },
  };
}

/** A file of powers that is to be written: where [tau^0]_1 goes, and all but the points of G1. */
export function planPowers(
  power: number,
  tau2: Uint8Array,
): { readonly g1At: number; readonly rest: ReadonlyArray<{ offset: number; bytes: Uint8Array }> } {
  const header = new Uint8Array(HEADER_BYTES);
  const view = new DataView(header.buffer);
  view.setUint32(0, ELEMENT_BYTES, true);
  header.set(elementBytes(Q), 4);
  for (const at of [0, 4]) view.setUint32(4 + ELEMENT_BYTES + at, power, true);
  const g2 = concat(writeG2(G2.BASE), tau2);
  const plan = planBinFile('ptau', VERSION, [
    [1, HEADER_BYTES],
    [2, powersCount(2 ** power) * POINT_BYTES.G1],
    [3, g2.byteLength],
  ]);
  return {
    g1At: plan.range(2).offset,
    rest: [
      ...plan.heads,
      { offset: plan.range(1).offset, bytes: header },
      { offset: plan.range(3).offset, bytes: g2 },
    ],
  };
}

/** Writes the powers of a key with a domain of 2^power rows, cut from a file that has at least those; `bad-file` otherwise. */
export async function cutPowers(source: ByteSource, power: number, to: ByteSink): Promise<void> {
  const powers = await openPowers(source);
  if (powers.power < power)
    throw bad(`it is for domains of up to 2^${powers.power} rows, expected 2^${power}`);
  const { g1At, rest } = planPowers(power, powers.tau2);
  for (const { offset, bytes } of rest) await to.write(offset, bytes);
  const count = powersCount(2 ** power);
  for (let first = 0; first < count; first += BATCH) {
    const points = new Uint8Array(Math.min(BATCH, count - first) * POINT_BYTES.G1);
    await powers.readG1(points, first);
    await to.write(g1At + first * POINT_BYTES.G1, points);
  }
}

/** Opens and checks the whole file of a ceremony; reads its headers and four points. `bad-file` with one sentence otherwise. */
export function openPowersOfTau(source: ByteSource): Promise<PowersOfTau> {
  return parseSource(source, parsePowersOfTau(source.byteLength));
}

interface Head {
  readonly sections: Sections;
  readonly power: number;
  readonly ceremonyPower: number;
  readonly tau2: Uint8Array;
}

/** Header and the first powers, which every such file has. */
function* parseHead(byteLength: number): Parser<Head> {
  const sections = yield* parseSections(byteLength, 'ptau', VERSION);
  const range = sections.range(1);
  if (range.length !== HEADER_BYTES)
    throw bad(`its header has ${range.length} bytes, expected ${HEADER_BYTES}`);
  const header = yield range;
  const size = uint32(header, 0);
  if (size !== ELEMENT_BYTES) throw bad(`its prime has ${size} bytes, expected ${ELEMENT_BYTES}`);
  if (!equal(header.subarray(4, 4 + ELEMENT_BYTES), elementBytes(Q))) throw bad("its prime is not BN254's");
  const [power, ceremonyPower] = [0, 4].map((at) => uint32(header, 4 + ELEMENT_BYTES + at)) as [
    number,
    number,
  ];
  if (power < 1 || power > TWO_ADICITY || ceremonyPower < power) {
    throw bad(`its power is ${power} of ${ceremonyPower}, expected 1 to ${TWO_ADICITY} of at least as many`);
  }
  demandPoints(sections, 2, 'G1', powersCount(2 ** power));
  if (sections.range(3).length < 2 * POINT_BYTES.G2) throw bad('its section 3 has less than two points');
  /** The second of a section's powers, the first being the generator. */
  const tau = function* (id: number, group: Group, generator: Uint8Array): Parser<Uint8Array> {
    const { offset } = sections.range(id);
    const first = yield { offset, length: POINT_BYTES[group] };
    if (!equal(first, generator)) throw bad(`its powers in ${group} do not begin at the generator`);
    const second = yield { offset: offset + POINT_BYTES[group], length: POINT_BYTES[group] };
    checkPoint(group, second, `.ptau file: tau in ${group}`);
    return second;
  };
  yield* tau(2, 'G1', writeG1(G1.BASE));
  const tau2 = yield* tau(3, 'G2', writeG2(G2.BASE));
  return { sections, power, ceremonyPower, tau2 };
}

function* parsePowersOfTau(byteLength: number): Parser<PowersOfTau> {
  const { sections, power, ceremonyPower } = yield* parseHead(byteLength);
  const demand = (id: number, group: Group, count: number) => demandPoints(sections, id, group, count);
  const powers = 2 ** power;
  demand(3, 'G2', powers);
  demand(4, 'G1', powers);
  demand(5, 'G1', powers);
  demand(6, 'G2', 1);
  const prepared = [12, 13, 14, 15].every((id) => sections.has(id));
  if (prepared) {
    // One basis for each size up to 2^power; tau's powers in G1 reach one size further.
    demand(12, 'G1', 4 * powers - 1);
    demand(13, 'G2', 2 * powers - 1);
    demand(14, 'G1', 2 * powers - 1);
    demand(15, 'G1', 2 * powers - 1);
  }
  return { power, ceremonyPower, prepared };
}

function demandPoints(sections: Sections, id: number, group: Group, count: number): void {
  const { length } = sections.range(id);
  const expected = count * POINT_BYTES[group];
  if (length !== expected) throw bad(`its section ${id} has ${length} bytes, expected ${expected}`);
}

const bad = (why: string) => new VouchError('bad-file', `.ptau file: ${why}`);
