/**
 * Points of BN254 in the form iden3's files have them: affine, x then y (in G2 each c0 then c1), coordinates
 * little-endian in Montgomery form; infinity is all zero. Group operations here are for the few points of a proof
 * and for checking points that come from outside; sums over sections belong to an engine (engine.ts).
 *
 * BigInt arithmetic of @noble/curves: no promise about timing.
 */
import { bn254 } from '@noble/curves/bn254.js';
import { POINT_BYTES } from '../../protocols/bn254.ts';
import { VouchError } from '../../protocols/errors.ts';
import { ELEMENT_BYTES, Q, readCoordinate, readElement, writeCoordinate } from './field.ts';

export { POINT_BYTES };
export type Group = keyof typeof POINT_BYTES;

export const G1 = bn254.G1.Point;
export const G2 = bn254.G2.Point;
export type G1Point = InstanceType<typeof G1>;
export type G2Point = InstanceType<typeof G2>;

/** A G1 point: 64 bytes, coordinates below q, on the curve (whose order is prime, so it needs no more). */
export function readG1(bytes: Uint8Array, what: string): G1Point {
  checkLength('G1', bytes, what);
  if (isInfinity(bytes)) return G1.ZERO;
  return checkedG1(readCoordinate(bytes, 0, what), readCoordinate(bytes, ELEMENT_BYTES, what), what);
}

/** A G2 point: 128 bytes, coordinates below q, on the twist and in the subgroup of order r. */
export function readG2(bytes: Uint8Array, what: string): G2Point {
  checkLength('G2', bytes, what);
  if (isInfinity(bytes)) return G2.ZERO;
  const { x, y } = readTwistCoordinates(bytes, what);
  return checkedG2(x, y, what);
}

function readTwistCoordinates(bytes: Uint8Array, what: string) {
  const coordinate = (index: number) => readCoordinate(bytes, index * ELEMENT_BYTES, what);
  return { x: { c0: coordinate(0), c1: coordinate(1) }, y: { c0: coordinate(2), c1: coordinate(3) } };
}

/** As `readG1` for bytes that have passed it before: only their length and coordinates are checked again. */
export function knownG1(bytes: Uint8Array, what: string): G1Point {
  checkLength('G1', bytes, what);
  if (isInfinity(bytes)) return G1.ZERO;
  return G1.fromAffine({ x: readCoordinate(bytes, 0, what), y: readCoordinate(bytes, ELEMENT_BYTES, what) });
}

/** As `readG2` for bytes that have passed it before, which spares the check of the subgroup. */
export function knownG2(bytes: Uint8Array, what: string): G2Point {
  checkLength('G2', bytes, what);
  if (isInfinity(bytes)) return G2.ZERO;
  return G2.fromAffine(readTwistCoordinates(bytes, what));
}

export function writeG1(point: G1Point): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(POINT_BYTES.G1);
  if (point.is0()) return bytes;
  const { x, y } = point.toAffine();
  writeCoordinate(x, bytes, 0);
  writeCoordinate(y, bytes, ELEMENT_BYTES);
  return bytes;
}

export function writeG2(point: G2Point): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(POINT_BYTES.G2);
  if (point.is0()) return bytes;
  const { x, y } = point.toAffine();
  for (const [index, value] of [x.c0, x.c1, y.c0, y.c1].entries()) {
    writeCoordinate(value, bytes, index * ELEMENT_BYTES);
  }
  return bytes;
}

/**
 * Throws `bad-file` unless `bytes` is a point of the group: the right length, coordinates below q, on the curve and,
 * in G2 (whose cofactor has small factors), in the subgroup. Infinity is a point. About 6 ms in G2.
 */
export function checkPoint(group: Group, bytes: Uint8Array, what = `${group} point`): void {
  if (group === 'G1') readG1(bytes, what);
  else readG2(bytes, what);
}

/** The sum of points that are each checked as in `checkPoint`; infinity for none. */
export function addPoints(group: Group, points: readonly Uint8Array[], what = `${group} point`): Uint8Array {
  if (group === 'G1') return writeG1(points.reduce((sum, bytes) => sum.add(readG1(bytes, what)), G1.ZERO));
  return writeG2(points.reduce((sum, bytes) => sum.add(readG2(bytes, what)), G2.ZERO));
}

/** `scalar` (0 .. r-1) times `point`; noble's `multiply` alone refuses zero. */
export function multiplyG1(point: G1Point, scalar: bigint): G1Point {
  return scalar === 0n || point.is0() ? G1.ZERO : point.multiply(scalar);
}

export function multiplyG2(point: G2Point, scalar: bigint): G2Point {
  return scalar === 0n || point.is0() ? G2.ZERO : point.multiply(scalar);
}

function checkLength(group: Group, bytes: Uint8Array, what: string): void {
  if (bytes.byteLength !== POINT_BYTES[group]) {
    throw new VouchError(
      'bad-file',
      `${what}: a ${group} point has ${POINT_BYTES[group]} bytes, got ${bytes.byteLength}`,
    );
  }
}

function isInfinity(bytes: Uint8Array): boolean {
  return bytes.every((byte) => byte === 0);
}

function checked<T>(read: () => T, what: string): T {
  try {
    return read();
  } catch (error) {
    if (error instanceof VouchError) throw error;
    throw new VouchError('bad-file', `${what}: not a point of the curve's group`);
  }
}

/** The decimal strings of snarkjs's JSON: projective, z = 1; infinity is (0, 1, 0). */
export function g1Strings(point: G1Point): string[] {
  if (point.is0()) return ['0', '1', '0'];
  const { x, y } = point.toAffine();
  return [String(x), String(y), '1'];
}

export function g2Strings(point: G2Point): string[][] {
  if (point.is0())
    return [
      ['0', '0'],
      ['1', '0'],
      ['0', '0'],
    ];
  const { x, y } = point.toAffine();
  return [
    [String(x.c0), String(x.c1)],
    [String(y.c0), String(y.c1)],
    ['1', '0'],
  ];
}

/** The inverse of `g1Strings`, with the checks of `readG1`; `bad-file` on anything else, whatever its type. */
export function parseG1(value: unknown, what: string): G1Point {
  const [x, y, z] = coordinates(value, 3, what);
  if (z === 0n) return G1.ZERO;
  if (z !== 1n) throw new VouchError('bad-file', `${what}: expected z to be "0" or "1"`);
  return checkedG1(x!, y!, what);
}

/** The inverse of `g2Strings`, with the checks of `readG2`. */
export function parseG2(value: unknown, what: string): G2Point {
  if (!Array.isArray(value) || value.length !== 3)
    throw new VouchError('bad-file', `${what}: expected three pairs`);
  const [x, y, z] = value.map((pair) => coordinates(pair, 2, what));
  if (z![1] !== 0n || z![0]! > 1n)
    throw new VouchError('bad-file', `${what}: expected z to be ["0","0"] or ["1","0"]`);
  if (z![0] === 0n) return G2.ZERO;
  return checkedG2({ c0: x![0]!, c1: x![1]! }, { c0: y![0]!, c1: y![1]! }, what);
}

function coordinates(value: unknown, count: number, what: string): bigint[] {
  if (!Array.isArray(value) || value.length !== count) {
    throw new VouchError('bad-file', `${what}: expected ${count} decimal strings`);
  }
  return value.map((text) => parseDecimal(text, Q, what));
}

/** A decimal string below `bound`, in its one shortest spelling. */
export function parseDecimal(text: unknown, bound: bigint, what: string): bigint {
  // 78 digits hold every 256-bit number, so a hostile string costs no long conversion.
  if (typeof text !== 'string' || !/^(0|[1-9][0-9]{0,77})$/.test(text)) {
    throw new VouchError('bad-file', `${what}: expected a decimal string`);
  }
  const value = BigInt(text);
  if (value >= bound) throw new VouchError('bad-file', `${what}: a number is not below the field's prime`);
  return value;
}

function checkedG1(x: bigint, y: bigint, what: string): G1Point {
  return checked(() => {
    const point = G1.fromAffine({ x, y });
    point.assertValidity();
    return point;
  }, what);
}

/** Points that were found in the subgroup, by their coordinates: a key's own are met with every proof. */
const inSubgroup = new Set<string>();
const MAX_REMEMBERED = 256;

function checkedG2(x: { c0: bigint; c1: bigint }, y: { c0: bigint; c1: bigint }, what: string): G2Point {
  return checked(() => {
    const point = G2.fromAffine({ x, y });
    const name = `${x.c0},${x.c1},${y.c0},${y.c1}`;
    if (inSubgroup.has(name)) return point;
    point.assertValidity();
    // G2's cofactor has small factors, so a point of the twist may lie outside of the subgroup.
    if (!point.isTorsionFree()) throw new Error('not in the subgroup');
    if (inSubgroup.size === MAX_REMEMBERED) inSubgroup.clear();
    inSubgroup.add(name);
    return point;
  }, what);
}

/** Montgomery's radix, and the curves' constants in the form in which `y^2 R = x^3 + b R^3` for coordinates times R. */
const RADIX = 2n ** 256n % Q;
const B1 = (3n * RADIX ** 3n) % Q;
const TWIST = G2.CURVE().b;
const B2 = [(TWIST.c0 * RADIX ** 3n) % Q, (TWIST.c1 * RADIX ** 3n) % Q] as const;

/** As an engine's `firstOffCurve`, by BigInt: some 20 microseconds a point. */
export function firstOffCurve(group: Group, points: Uint8Array): number {
  const size = POINT_BYTES[group];
  const isOnCurve = group === 'G1' ? isOnG1 : isOnTwist;
  for (let at = 0; at < points.byteLength; at += size) if (!isOnCurve(points, at)) return at / size;
  return -1;
}

function isOnG1(bytes: Uint8Array, at: number): boolean {
  const x = readElement(bytes, at);
  const y = readElement(bytes, at + ELEMENT_BYTES);
  if (x === 0n && y === 0n) return true;
  return x < Q && y < Q && (y * y * RADIX - x * x * x - B1) % Q === 0n;
}

function isOnTwist(bytes: Uint8Array, at: number): boolean {
  const [x0, x1, y0, y1] = [0, 1, 2, 3].map((index) => readElement(bytes, at + index * ELEMENT_BYTES)) as [
    bigint,
    bigint,
    bigint,
    bigint,
  ];
  if ((x0 | x1 | y0 | y1) === 0n) return true;
  if (x0 >= Q || x1 >= Q || y0 >= Q || y1 >= Q) return false;
  // In Fp2 = Fp[u] / (u^2 + 1): squares, then the cube, written out, because this runs for every point.
  const [s0, s1] = [(x0 + x1) * (x0 - x1), 2n * x0 * x1];
  const left0 = (y0 + y1) * (y0 - y1) * RADIX;
  const left1 = 2n * y0 * y1 * RADIX;
  return (left0 - (s0 * x0 - s1 * x1) - B2[0]) % Q === 0n && (left1 - (s0 * x1 + s1 * x0) - B2[1]) % Q === 0n;
}
