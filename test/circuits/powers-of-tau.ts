import { writeBinFile } from '../../circuits/groth16/binfile.ts';
import { elementBytes, Q } from '../../circuits/groth16/field.ts';
import { G1, G2, writeG1, writeG2 } from '../../circuits/groth16/point.ts';

/** A `.ptau` file of the right form of which only the first powers are points; the others are zero. */
export function powersOfTau(power: number, { prepared = true } = {}): Uint8Array {
  const header = new Uint8Array(44);
  const view = new DataView(header.buffer);
  view.setUint32(0, 32, true);
  header.set(elementBytes(Q), 4);
  view.setUint32(36, power, true);
  view.setUint32(40, 28, true);
  const zeros = (points: number) => new Uint8Array(points * 64);
  const powers = 2 ** power;
  const [g1, g2] = [zeros(2 * powers - 1), zeros(2 * powers)];
  [1n, 7n].forEach((tau, index) => {
    g1.set(writeG1(G1.BASE.multiply(tau)), index * 64);
    g2.set(writeG2(G2.BASE.multiply(tau)), index * 128);
  });
  return writeBinFile('ptau', 1, [
    [1, header],
    [2, g1],
    [3, g2],
    [4, zeros(powers)],
    [5, zeros(powers)],
    [6, zeros(2)],
    [7, new Uint8Array(4)],
    ...(prepared
      ? ([
          [12, zeros(4 * powers - 1)],
          [13, zeros(2 * (2 * powers - 1))],
          [14, zeros(2 * powers - 1)],
          [15, zeros(2 * powers - 1)],
        ] as const)
      : []),
  ]);
}
