/**
 * Patch levels below which AMD's own bulletins call a platform open to a host: what stands in for a vendor's word on
 * what is up to date, which AMD signs none of. A table ages: it knows what was published up to its date, and no more.
 *
 * SNP firmware: Milan 0x17 (AMD-SB-3015), 0x18 (-3019), 0x1B (-3016, -3020, -3023), 0x1D (-3030); Genoa 0x16 (-3015),
 * 0x17 (-3019), 0x1B (-3016, -3020); Turin 0x04 (-3020). Microcode, by stepping, because the numbers of two steppings are
 * not comparable: -3019, and -3027 where it names one. The values that AMD-SB-3034 once named for Genoa were withdrawn
 * by AMD on 2026-09-24.
 *
 * Not guaranteed: that a platform at these levels has no known flaw. Some mitigations have no level (AMD-SB-3034), some
 * need the host's system software too and show in mitigation vectors, which a policy may demand, and a memory module that
 * lies (AMD-SB-3015) shows in ALIAS_CHECK_COMPLETE, which is a demand of its own.
 */
import type { SnpReport, SnpTcb } from '../formats/sev-snp-report.ts';
import type { AmdProduct } from '../roots/amd.ts';

/** The day up to which bulletins were looked at. */
export const SNP_FLOORS_DATE = '2026-10-05';

const SNP: Readonly<Record<AmdProduct, number>> = { Milan: 0x1d, Genoa: 0x1b, Turin: 0x04 };

/** Low byte of the microcode's number, which is its patch level: [model, stepping] -> level. */
const MICROCODE: Readonly<Record<AmdProduct, readonly (readonly [number, number, number])[]>> = {
  // B1, and B2 of Milan-X
  Milan: [
    [0x01, 1, 0xde],
    [0x01, 2, 0x47],
  ],
  // B1, B2 of Genoa-X, and A2 of Bergamo and Siena
  Genoa: [
    [0x11, 1, 0x56],
    [0x11, 2, 0x51],
    [0xa0, 2, 0x19],
  ],
  // C1
  Turin: [[0x02, 1, 0x51]],
};

/**
 * The least levels for what a report says of its CPU. Reports of version 2 do not say the stepping: the lowest level of
 * the product's is taken. A stepping that no bulletin names has no level for its microcode.
 */
export function floorsOf(product: AmdProduct, { cpuid }: Pick<SnpReport, 'cpuid'>): SnpTcb {
  const rows = MICROCODE[product];
  const microcode =
    cpuid === undefined
      ? Math.min(...rows.map(([, , level]) => level))
      : rows.find(([model, stepping]) => model === cpuid.model && stepping === cpuid.stepping)?.[2];
  return { snp: SNP[product], ...(microcode === undefined ? {} : { microcode }) };
}
