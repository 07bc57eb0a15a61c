/** Files of powers of tau in memory, made piece by piece as they are on disk. */
import { cutPowers as cut, planPowers } from '../../circuits/groth16/ptau.ts';
import { type ByteSource, bytesSink } from '../../circuits/groth16/source.ts';

export async function cutPowers(source: ByteSource, power: number): Promise<Uint8Array<ArrayBuffer>> {
  const to = bytesSink();
  await cut(source, power, to);
  return to.bytes();
}

/** The file of these points of G1 and of [tau]_2. */
export function writePowers(power: number, g1: Uint8Array, tau2: Uint8Array): Uint8Array<ArrayBuffer> {
  const { g1At, rest } = planPowers(power, tau2);
  const parts = [...rest, { offset: g1At, bytes: g1 }];
  const file = new Uint8Array(Math.max(...parts.map(({ offset, bytes }) => offset + bytes.byteLength)));
  for (const { offset, bytes } of parts) file.set(bytes, offset);
  return file;
}
