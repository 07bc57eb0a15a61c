/** A made-up AMD: its root, a Turin with a VCEK and a VLEK, and whatever reports these sign. */
import { SNP_REPORT_BYTES } from '../../protocols/attestation/formats/sev-snp-report.ts';
import { fromHex, utf8 } from '../../protocols/encoding.ts';
import {
  AUTHORITY,
  basicConstraints,
  certify,
  der,
  type Extension,
  integer,
  keyUsage,
  maker,
  revoke,
  signRaw,
} from './certificate-maker.ts';

export const ARC = '1.3.6.1.4.1.3704.1';
export const CHIP = fromHex('0102030405060708');
export const ark = await maker('ARK-Turin', 'RSA-PSS');
export const ask = await maker('SEV-Turin', 'RSA-PSS');
export const asvk = await maker('SEV-VLEK-Turin', 'RSA-PSS');
export const vcek = await maker('SEV-VCEK');
export const vlek = await maker('SEV-VLEK');
export const arkDer = await certify(ark, ark, { extensions: AUTHORITY });
// An ASK may not sign CRLs: only the ARK revokes.
export const askDer = await certify(ark, ask, {
  extensions: [basicConstraints(true, 0), keyUsage(5)],
  serial: 5,
});

/** Turin's TCB_VERSION: FMC, boot loader, TEE, SNP, three reserved bytes, microcode. */
export const TCB = Uint8Array.of(1, 2, 3, 4, 0, 0, 0, 205);
export const spl = (number: number, level: number): Extension => ({
  id: `${ARC}.3.${number}`,
  value: integer(level),
});
export const turinExtensions = (tcb = TCB): Extension[] => [
  { id: `${ARC}.1`, value: integer(1) },
  { id: `${ARC}.2`, value: der(0x16, utf8('Turin-C1')) },
  spl(9, tcb[0]!),
  spl(1, tcb[1]!),
  spl(2, tcb[2]!),
  spl(3, tcb[3]!),
  spl(8, tcb[7]!),
];
export const hwId = (value: Uint8Array): Extension => ({ id: `${ARC}.4`, value });
export const vcekDer = await certify(ask, vcek, { extensions: [...turinExtensions(), hwId(CHIP)] });
/** The root's list of nothing revoked. */
export const arkCrl = await revoke(ark, []);

export interface Fields {
  readonly version?: number;
  readonly policy?: bigint;
  readonly vmpl?: number;
  readonly flags?: number;
  readonly reported?: Uint8Array;
  readonly committed?: Uint8Array;
  readonly launch?: Uint8Array;
  readonly current?: Uint8Array;
  readonly cpuid?: readonly number[];
  readonly chip?: Uint8Array;
  readonly reportData?: Uint8Array;
  readonly change?: (report: Uint8Array) => void;
}

/** A report of version 5 by a Turin, signed by `vcek` or another key. */
export async function snpReport(fields: Fields = {}, key = vcek): Promise<Uint8Array> {
  const { version = 5, policy = (1n << 17n) | (1n << 16n), vmpl = 0, flags = 0 } = fields;
  const { reported = TCB, committed = TCB, launch = TCB, current = TCB, cpuid = [0x1a, 0x02, 0x01] } = fields;
  const report = new Uint8Array(SNP_REPORT_BYTES);
  const view = new DataView(report.buffer);
  view.setUint32(0, version, true);
  view.setBigUint64(0x08, policy, true);
  view.setUint32(0x30, vmpl, true);
  view.setUint32(0x34, 1, true);
  report.set(current, 0x38);
  // PLATFORM_INFO: memory was looked through for aliases.
  view.setBigUint64(0x40, 1n << 5n, true);
  view.setUint32(0x48, flags, true);
  report.set(fields.reportData ?? utf8('report data'), 0x50);
  report.set(utf8('measurement'), 0x90);
  report.set(reported, 0x180);
  report.set(cpuid, 0x188);
  report.set(fields.chip ?? CHIP, 0x1a0);
  report.set(committed, 0x1e0);
  report.set([9, 58, 1, 0, 9, 58, 1, 0], 0x1e8);
  report.set(launch, 0x1f0);
  if (version === 5) report.set([7], 0x1f8);
  fields.change?.(report);
  const signature = await signRaw(key, report.subarray(0, 0x2a0));
  report.set(signature.subarray(0, 48).toReversed(), 0x2a0);
  report.set(signature.subarray(48).toReversed(), 0x2a0 + 72);
  return report;
}
