/**
 * The sums that every engine has to get right, as bytes, so that one in a thread, on a GPU or in a browser's page is
 * given the same: group laws, edge scalars, sizes around powers of two, bases that repeat, cancel or are infinite,
 * skewed scalars. What is expected is one multiple of the generator by noble, because all logarithms are known;
 * cases.prover.test.ts shows that ffjavascript agrees.
 */
import { normalizeZ } from '@noble/curves/abstract/curve.js';
import { R, writeElement } from '../../../circuits/groth16/field.ts';
import {
  G1,
  G2,
  type Group,
  multiplyG1,
  multiplyG2,
  POINT_BYTES,
  writeG1,
  writeG2,
} from '../../../circuits/groth16/point.ts';
import { generator, wide } from '../../circuits/groth16-circuit.ts';

export interface MsmCase {
  readonly name: string;
  readonly bases: Uint8Array<ArrayBuffer>;
  readonly scalars: Uint8Array<ArrayBuffer>;
  /** One affine point in zkey form. */
  readonly expected: Uint8Array<ArrayBuffer>;
}
export type Msm = (
  group: Group,
  bases: Uint8Array<ArrayBuffer>,
  scalars: Uint8Array<ArrayBuffer>,
) => Uint8Array | Promise<Uint8Array>;

export interface CaseOptions {
  /** Points of the largest case, a power of two from 8 on and one more; 2^11 by default. */
  readonly largest?: number;
  /** Whether scalars from r to 2^256 - 1 are among them; by default they are. */
  readonly unreduced?: boolean;
}

/** Throws the names of the cases that `msm` gets wrong. */
export async function checkMsm(msm: Msm, group: Group, options: CaseOptions = {}): Promise<void> {
  const wrong: string[] = [];
  for (const { name, bases, scalars, expected } of msmCases(group, options)) {
    const sum = await msm(group, bases, scalars);
    if (sum.byteLength !== expected.byteLength || sum.some((byte, at) => byte !== expected[at]))
      wrong.push(name);
  }
  if (wrong.length > 0) throw new Error(`${group}: wrong sums: ${wrong.join('; ')}`);
}

export function* msmCases(
  group: Group,
  { largest = 2 ** 11, unreduced = true }: CaseOptions = {},
): Generator<MsmCase> {
  const random = generator(group === 'G1' ? 17 : 19);
  const scalar = () => wide(random) % R;
  const many = (count: number) => Array.from({ length: count }, scalar);
  const same = (count: number, value: bigint) => new Array<bigint>(count).fill(value);
  const edges = edgeScalars().filter((edge) => unreduced || edge < R);
  const known = knownPoints(group, Math.max(largest + 1, edges.length), scalar);
  /** The first `count` of the known points. */
  const first = (count: number): Bases => ({
    logs: known.logs.slice(0, count),
    bytes: known.bytes.subarray(0, count * POINT_BYTES[group]),
  });
  const made = (name: string, { logs, bytes }: Bases, scalars: readonly bigint[]): MsmCase => ({
    name,
    bases: bytes.slice(),
    scalars: pack(scalars),
    expected: multiple(
      group,
      logs.reduce((sum, log, at) => (sum + log * scalars[at]!) % R, 0n),
    ),
  });

  for (const [name, logs, scalars] of laws(scalar)) yield made(name, points(group, logs), scalars);

  const sizes = new Set([0, 1, 2]);
  for (let size = 4; size <= largest; size *= 2) for (const near of [-1, 0, 1]) sizes.add(size + near);
  for (const size of sizes) yield made(`${size} points`, first(size), many(size));

  for (const edge of edges) yield made(`the scalar ${edge} alone`, first(1), [edge]);
  yield made('edge scalars together', first(edges.length), edges);
  const some = Math.min(300, largest);
  for (const edge of [0n, 1n, 3n, R - 1n, 2n ** 253n]) {
    yield made(`all scalars ${edge}`, first(some), same(some, edge));
  }
  yield made('all scalars the same', first(some), same(some, scalar()));

  const [one, two] = [points(group, [known.logs[0]!]), points(group, known.logs.slice(0, 2))];
  const opposite = points(group, [known.logs[0]!, R - known.logs[0]!]);
  const shapes: Record<string, Bases> = {
    'repeated bases': cycled(one, some),
    'opposite bases': cycled(opposite, some),
    'infinite bases': cycled(points(group, [0n]), some),
    'bases of which every third is infinite': cycled(
      points(group, [0n, known.logs[0]!, known.logs[1]!]),
      some,
    ),
    'bases that are doubles of each other': cycled(
      points(
        group,
        Array.from({ length: 8 }, (_, at) => (known.logs[0]! << BigInt(at)) % R),
      ),
      some,
    ),
    'consecutive multiples': points(
      group,
      Array.from({ length: 40 }, (_, at) => BigInt(at)),
    ),
    'a repeated pair of bases': cycled(two, some),
  };
  for (const [shape, bases] of Object.entries(shapes)) {
    const count = bases.logs.length;
    const scalars = many(count);
    const factors: Record<string, bigint[]> = {
      random: scalars,
      equal: same(count, 3n),
      'minus one': same(count, R - 1n),
      'the bases’ own logarithms': [...bases.logs],
      'zero and one': scalars.map((value) => value & 1n),
      'of which each second undoes the first': scalars.map((value, at) =>
        at % 2 ? (R - scalars[at - 1]!) % R : value,
      ),
    };
    for (const [kind, chosen] of Object.entries(factors))
      yield made(`${shape}, scalars ${kind}`, bases, chosen);
  }

  const all = first(largest);
  const skewed: Record<string, (value: bigint, at: number) => bigint> = {
    'one bit': (value) => value & 1n,
    'one byte': (value) => value & 0xffn,
    'a bit, one in ten larger': (value, at) => (at % 10 ? value & 1n : value),
    'zero, one in a hundred larger': (value, at) => (at % 100 ? 0n : value),
    'the highest window alone': (value) => (value >> 248n) << 248n,
  };
  for (const [kind, of] of Object.entries(skewed)) {
    yield made(`${largest} scalars of ${kind}`, all, many(largest).map(of));
  }
}

/** Points of known logarithms. */
interface Bases {
  readonly logs: readonly bigint[];
  readonly bytes: Uint8Array;
}

/** The laws of a group, as sums of few points: name, logarithms of the points, scalars. */
function laws(scalar: () => bigint): Array<[string, bigint[], bigint[]]> {
  const [p, q, s, t] = [scalar(), scalar(), scalar(), scalar()];
  const minus = (value: bigint) => R - value;
  return [
    ['P + Q', [p, q], [1n, 1n]],
    ['Q + P', [q, p], [1n, 1n]],
    ['P + P', [p, p], [1n, 1n]],
    ['2 P', [p], [2n]],
    ['P - P', [p, minus(p)], [1n, 1n]],
    ['P + (r - 1) P', [p, p], [1n, R - 1n]],
    ['P + 0', [p, 0n], [1n, 1n]],
    ['0 + P', [0n, p], [s, 1n]],
    ['0 + 0', [0n, 0n], [s, t]],
    ['0 P', [p], [0n]],
    ['(P + Q) + R', [p, q, (p + q) % R], [1n, 1n, 1n]],
    ['P + Q - (P + Q)', [p, q, minus((p + q) % R)], [1n, 1n, 1n]],
    ['s P + t P', [p, p], [s, t]],
    ['(s + t) P', [p], [(s + t) % R]],
    ['s P + s Q', [p, q], [s, s]],
    ['s (P + Q)', [(p + q) % R], [s]],
    ['s P - s P', [p, minus(p)], [s, s]],
    ['s P + t Q, in the other order', [q, p], [t, s]],
  ];
}

/** Windows of every width that are empty, full, or half full, where signed digits carry. */
function edgeScalars(): bigint[] {
  const edges = new Set([0n, 1n, 2n, 3n, R - 1n, R - 2n, (R - 1n) / 2n, (R + 1n) / 2n]);
  for (const bits of [...Array.from({ length: 20 }, (_, at) => at + 2), 31, 32, 63, 64, 127, 128, 252, 253]) {
    edges.add(2n ** BigInt(bits) - 1n).add(2n ** BigInt(bits));
  }
  for (const digit of ['8', '7', '800', '7ff', 'f'])
    edges.add(BigInt(`0x0${digit.repeat(63 / digit.length)}`) % R);
  return [...edges, R, R + 1n, 2n * R, 5n * R + 3n, 2n ** 256n - 1n];
}

/** `count` points, no two alike, by additions: noble takes milliseconds for a multiplication. */
function knownPoints(group: Group, count: number, scalar: () => bigint): Bases {
  const [start, step] = [scalar(), scalar()];
  const logs = Array.from({ length: count }, (_, at) => (start + BigInt(at) * step) % R);
  const bytes = new Uint8Array(count * POINT_BYTES[group]);
  // Divided all at once: a division each would take longer than all the additions.
  const encoded =
    group === 'G1'
      ? normalizeZ(G1, progression(G1.BASE.multiply(start), G1.BASE.multiply(step), count)).map(writeG1)
      : normalizeZ(G2, progression(G2.BASE.multiply(start), G2.BASE.multiply(step), count)).map(writeG2);
  encoded.forEach((point, at) => {
    bytes.set(point, at * POINT_BYTES[group]);
  });
  return { logs, bytes };
}

/** start, start + step, start + 2 step, ... */
function progression<P extends { add(other: P): P }>(start: P, step: P, count: number): P[] {
  const sums = [start];
  while (sums.length < count) sums.push(sums.at(-1)!.add(step));
  return sums;
}

function points(group: Group, logs: readonly bigint[]): Bases {
  const bytes = new Uint8Array(logs.length * POINT_BYTES[group]);
  const made = new Map<bigint, Uint8Array>();
  logs.forEach((log, at) => {
    if (!made.has(log)) made.set(log, multiple(group, log));
    bytes.set(made.get(log)!, at * POINT_BYTES[group]);
  });
  return { logs, bytes };
}

function cycled({ logs, bytes }: Bases, count: number): Bases {
  const all = new Uint8Array((bytes.byteLength / logs.length) * count);
  for (let at = 0; at < all.byteLength; at += bytes.byteLength)
    all.set(bytes.subarray(0, all.byteLength - at), at);
  return { logs: Array.from({ length: count }, (_, at) => logs[at % logs.length]!), bytes: all };
}

const multiple = (group: Group, scalar: bigint): Uint8Array<ArrayBuffer> =>
  group === 'G1' ? writeG1(multiplyG1(G1.BASE, scalar)) : writeG2(multiplyG2(G2.BASE, scalar));

function pack(scalars: readonly bigint[]): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(scalars.length * 32);
  scalars.forEach((value, at) => {
    writeElement(value, bytes, at * 32);
  });
  return bytes;
}
