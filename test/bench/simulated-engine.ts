/**
 * SIMULATED: what fleets compute that exist for a measurement only. Sums are right without being computed: the key's base
 * points are known multiples of the generator, wire n and row n of the quotient n + 1 times it, so that a sum is a dot
 * product in the field and one multiplication. Never part of the product: with known logarithms a key proves anything.
 */
import { SECTION_GROUP, SECTIONS, type Section } from '../../circuits/groth16/engine.ts';
import { R } from '../../circuits/groth16/field.ts';
import { G1, G2, type Group, POINT_BYTES, writeG1, writeG2 } from '../../circuits/groth16/point.ts';
import { sectionCounts } from '../../circuits/groth16/zkey.ts';
import { SCALAR_BYTES } from '../../protocols/bn254.ts';
import { MAX_CHUNK_BYTES } from '../../protocols/streams.ts';

/** Of the key's circuit: the constant 1 and so many signals have no base in C. */
const PUBLICS = 1;

/** A key that exists as a shape and names of chunks: who needs a chunk's bytes has the wrong key. */
export function simulatedKey(domainSize: number) {
  const shape = { variables: domainSize, publics: PUBLICS, domainSize };
  const counts = sectionCounts(shape);
  const offsets = new Map<Section, number>();
  let bytes = 0;
  for (const section of SECTIONS) {
    offsets.set(section, bytes);
    bytes += counts[section] * POINT_BYTES[SECTION_GROUP[section]];
  }
  const range = (section: Section) => ({
    offset: offsets.get(section)!,
    length: counts[section] * POINT_BYTES[SECTION_GROUP[section]],
  });
  const chunks = Array.from({ length: Math.ceil(bytes / MAX_CHUNK_BYTES) }, (_, i) => ({
    sha256: i.toString(16).padStart(16, '0').padEnd(64, '0'),
    size: MAX_CHUNK_BYTES,
  }));
  /** The first wire, or row of the quotient, whose base begins at these bytes of this chunk. */
  const rowAt = (section: Section, chunk: string, offset: number): number => {
    const at = Number.parseInt(chunk.slice(0, 16), 16) * MAX_CHUNK_BYTES + offset - offsets.get(section)!;
    return at / POINT_BYTES[SECTION_GROUP[section]] + (section === 'C' ? PUBLICS + 1 : 0);
  };
  return {
    shape: { ...shape, range },
    manifest: { type: 'vouch.blob', version: 1, size: bytes, chunks } as const,
    rowAt,
  };
}

/** sum of scalar n times (first + n + 1), exact: 2048 products of 16 and 26 bits at a time; and how many scalars are no bits. */
export function dotProduct(scalars: Uint8Array, first: number): { product: bigint; wide: number } {
  const limbs = new Uint16Array(scalars.buffer, scalars.byteOffset, scalars.byteLength / 2);
  const count = scalars.byteLength / SCALAR_BYTES;
  let [product, wide] = [0n, 0];
  for (let from = 0; from < count; from += 2048) {
    const sums = new Float64Array(16);
    for (let i = from; i < Math.min(count, from + 2048); i++) {
      const at = i * 16;
      let top = 0;
      for (let limb = 0; limb < 16; limb++) {
        const value = limbs[at + limb]!;
        if (value === 0) continue;
        sums[limb]! += value * (first + i + 1);
        top = limb;
      }
      if (top > 0 || limbs[at]! > 1) wide += 1;
    }
    let part = 0n;
    for (let limb = 15; limb >= 0; limb--) part = (part << 16n) + BigInt(sums[limb]!);
    product += part;
  }
  return { product: product % R, wide };
}

// Tables: the only thing that takes these workers' time should be the clock.
G1.BASE.precompute(8);
G2.BASE.precompute(8);

export const multipleOf = (group: Group, scalar: bigint): Uint8Array =>
  group === 'G1'
    ? writeG1(scalar === 0n ? G1.ZERO : G1.BASE.multiply(scalar))
    : writeG2(scalar === 0n ? G2.ZERO : G2.BASE.multiply(scalar));
