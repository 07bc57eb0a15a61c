/**
 * The powers-of-tau file of snarkjs, `.ptau` version 1 (layout: snarkjs `src/powersoftau_utils.js`, and
 * `src/powersoftau_preparephase2.js` for sections 12 to 15): what has to be right before a ceremony is made from it.
 *
 * Checks primes, powers, the lengths of all sections and that the powers begin at the generators. That they are the
 * powers of one secret which nobody knows is `snarkjs powersoftau verify`'s to say, and their publisher's.
 */
import { equal } from '../../protocols/encoding.ts';
import { VouchError } from '../../protocols/errors.ts';
import { parseSections, uint32 } from './binfile.ts';
import { ELEMENT_BYTES, elementBytes, Q, TWO_ADICITY } from './field.ts';
import { checkPoint, G1, G2, type Group, POINT_BYTES, writeG1, writeG2 } from './point.ts';
import { type ByteSource, type Parser, parseSource } from './source.ts';

const VERSION = 1;
const HEADER_BYTES = 4 + ELEMENT_BYTES + 8;

export interface PowersOfTau {
  /** Circuits of up to 2^power rows. */
  readonly power: number;
  /** Of the ceremony from which the file was cut. */
  readonly ceremonyPower: number;
  /** Whether a setup can be made from it: it holds the Lagrange bases. */
  readonly prepared: boolean;
}

/** Opens and checks the file; reads its headers and four points. `bad-file` with one sentence otherwise. */
export function openPowersOfTau(source: ByteSource): Promise<PowersOfTau> {
  return parseSource(source, parsePowersOfTau(source.byteLength));
}

function* parsePowersOfTau(byteLength: number): Parser<PowersOfTau> {
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

  const demand = (id: number, group: Group, count: number) => {
    const { length } = sections.range(id);
    const expected = count * POINT_BYTES[group];
    if (length !== expected) throw bad(`its section ${id} has ${length} bytes, expected ${expected}`);
  };
  const powers = 2 ** power;
  demand(2, 'G1', 2 * powers - 1);
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

  for (const [id, group, generator] of [
    [2, 'G1', writeG1(G1.BASE)],
    [3, 'G2', writeG2(G2.BASE)],
  ] as const) {
    const first = yield { offset: sections.range(id).offset, length: POINT_BYTES[group] };
    if (!equal(first, generator)) throw bad(`its powers in ${group} do not begin at the generator`);
    const second = yield {
      offset: sections.range(id).offset + POINT_BYTES[group],
      length: POINT_BYTES[group],
    };
    checkPoint(group, second, `.ptau file: tau in ${group}`);
  }
  return { power, ceremonyPower, prepared };
}

const bad = (why: string) => new VouchError('bad-file', `.ptau file: ${why}`);
