/** One file of each kind that is known and not read, for tests only: outer forms, made up around what they are told by. */
import { concat, fromHex, hex } from '../../protocols/encoding.ts';
import { json } from './service-maker.ts';

const changed = (bytes: Uint8Array, at: number, ...values: readonly number[]): Uint8Array => {
  const copy = bytes.slice();
  copy.set(values, at);
  return copy;
};

/** CSV's fields are masked by a word of their own, at 188. */
function csvReport(): Uint8Array {
  const mask = [0x26, 0xd7, 0xc7, 0x5d];
  const report = Uint8Array.from({ length: 2548 }, (_, i) => mask[i % 4]!);
  report.set([0x02 ^ mask[0]!, 0x10 ^ mask[1]!], 180);
  report.set([0x04 ^ mask[0]!], 184);
  return report;
}

/** Where a TD 1.0 quote of version 4 says of which type its certification data is. */
const typeAt = (quote: Uint8Array): number => {
  const authentication = 48 + 584 + 4 + 128 + 6 + 384 + 64;
  return authentication + 2 + quote[authentication]! + 256 * quote[authentication + 1]!;
};

/** By name; `quote` is a TD 1.0 quote of version 4. */
export const unreadSamples = (quote: Uint8Array): readonly (readonly [name: string, bytes: Uint8Array])[] => {
  const token = concat(fromHex('d9018fa219acca41a019acd141a0'));
  const request = concat(fromHex('12e001ff'), new Uint8Array(33));
  const packed = concat(fromHex('83a776657273696f6e01'), new Uint8Array(200).fill(0x80));
  const tdReport = new Uint8Array(1024);
  tdReport[0] = 0x81;
  return [
    ['arm-cca-token', token],
    ['arm-cca-token', json({ token: [...token] })],
    ['hygon-csv-report', csvReport()],
    ['hygon-csv-report', json({ attestation_report: { data: [] }, cert_chain: { pek: {} } })],
    ['spdm-1.2', concat(request, fromHex('1260'), new Uint8Array(200))],
    ['spdm-1.2', concat(fromHex('13e001ff'), new Uint8Array(41), fromHex('1360'), new Uint8Array(200))],
    ['nvidia-rubin', json([{ arch: 'RUBIN', evidence: 'AAAA', certificate: 'AAAA' }])],
    ['nvidia-rubin', json({ evidences: [{ arch: 'Vera Rubin', evidence: 'AAAA', certificate: 'AAAA' }] })],
    ['intel-quote-6', changed(quote, 0, 6)],
    ['intel-quote-p384', changed(quote, 2, 3)],
    ...[1, 2, 3, 4, 7].map(
      (type) => ['intel-quote-without-pck-chain', changed(quote, typeAt(quote), type)] as const,
    ),
    ['td-report', tdReport],
    ['dstack-attestation-1', packed],
    ['dstack-attestation-1', json({ attestation: hex(packed) })],
    ['chutes-report', json({ attestation_type: 'chutes', all_attestations: [{ intel_quote: 'AA' }] })],
  ];
};
