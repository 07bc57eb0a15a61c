/**
 * What a contract that `snarkjs zkey export solidityverifier` made is called with: its arguments as that command's
 * companion prints them, each number as 32 bytes in hexadecimal, G2's pairs in Ethereum's order (EIP-197: the
 * imaginary part first).
 */
import type { Proof } from './verify.ts';

const word = (decimal: string): string => `"0x${BigInt(decimal).toString(16).padStart(64, '0')}"`;
const list = (parts: readonly string[], separator = ', '): string => `[${parts.join(separator)}]`;

/** `a, b, c, signals` in their canonical spelling (spellings.ts). */
export function solidityCallData({ pi_a, pi_b, pi_c }: Proof, publicSignals: readonly string[]): string {
  const g1 = (point: readonly string[]) => list(point.slice(0, 2).map(word));
  const pairs = pi_b.slice(0, 2).map((pair) => list(pair.toReversed().map(word)));
  return [g1(pi_a), list(pairs, ','), g1(pi_c), list(publicSignals.map(word), ',')].join(',');
}
