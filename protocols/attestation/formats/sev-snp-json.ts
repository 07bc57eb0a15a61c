/**
 * Puts an SEV-SNP report together again that came taken apart into fields of JSON, as the attester of Confidential
 * Containers hands it on (the Rust crate `sev`, serialised). Nothing here has to be believed: the report's own signature
 * holds over the 1184 bytes as the firmware wrote them, or it does not.
 */
import { VouchError } from '../../errors.ts';
import { bytesOfJson } from '../text-bytes.ts';
import { SNP_REPORT_BYTES } from './sev-snp-report.ts';

type Fields = Readonly<Record<string, unknown>>;
const what = 'SNP report in JSON';

const fieldsOf = (value: unknown): Fields => Object(value) as Fields;

/** Name of a field -> where its bytes stand (AMD 56860, ATTESTATION_REPORT), and how many. */
const BYTES: Readonly<Record<string, readonly [at: number, length: number]>> = {
  family_id: [0x10, 16],
  image_id: [0x20, 16],
  report_data: [0x50, 64],
  measurement: [0x90, 48],
  host_data: [0xc0, 32],
  id_key_digest: [0xe0, 48],
  author_key_digest: [0x110, 48],
  report_id: [0x140, 32],
  report_id_ma: [0x160, 32],
  chip_id: [0x1a0, 64],
};
const NUMBERS: Readonly<Record<string, readonly [at: number, length: number]>> = {
  version: [0, 4],
  guest_svn: [4, 4],
  policy: [8, 8],
  vmpl: [0x30, 4],
  sig_algo: [0x34, 4],
  plat_info: [0x40, 8],
  key_info: [0x48, 4],
};
/** From version 3, and from version 5. */
const LATER: typeof NUMBERS = {
  cpuid_fam_id: [0x188, 1],
  cpuid_mod_id: [0x189, 1],
  cpuid_step: [0x18a, 1],
  launch_mit_vector: [0x1f8, 8],
  current_mit_vector: [0x200, 8],
};
const TCBS = { current_tcb: 0x38, reported_tcb: 0x180, committed_tcb: 0x1e0, launch_tcb: 0x1f0 } as const;
const VERSIONS = { current: 0x1e8, committed: 0x1ec } as const;
const SIGNATURE = { r: 0x2a0, s: 0x2a0 + 72 } as const;

/** Whether JSON has the form of such a report. */
export const isSnpJson = (json: unknown): boolean =>
  ['reported_tcb', 'chip_id', 'signature'].every((name) => Object.hasOwn(fieldsOf(json), name));

/** The report's bytes; throws `bad-file`. */
export function snpReportOf(json: unknown): Uint8Array {
  const report = new Uint8Array(SNP_REPORT_BYTES);
  const fields = fieldsOf(json);
  for (const [name, place] of Object.entries(BYTES)) put(report, fields[name], name, place);
  for (const [name, place] of Object.entries(NUMBERS)) putNumber(report, fields[name], name, place);
  for (const [name, place] of Object.entries(LATER)) {
    const value = fields[name];
    if (value !== undefined && value !== null) putNumber(report, value, name, place);
  }
  for (const [name, at] of Object.entries(TCBS)) {
    const { fmc, bootloader, tee, snp, microcode } = fieldsOf(fields[name]);
    // From Turin on the first component is the FMC.
    const order =
      fmc === null || fmc === undefined
        ? [bootloader, tee, 0, 0, 0, 0, snp, microcode]
        : [fmc, bootloader, tee, snp, 0, 0, 0, microcode];
    for (const [i, value] of order.entries()) putNumber(report, value, name, [at + i, 1]);
  }
  for (const [name, at] of Object.entries(VERSIONS)) {
    const { build, minor, major } = fieldsOf(fields[name]);
    for (const [i, value] of [build, minor, major].entries()) putNumber(report, value, name, [at + i, 1]);
  }
  const signature = fieldsOf(fields.signature);
  for (const [name, at] of Object.entries(SIGNATURE))
    put(report, signature[name], `signature.${name}`, [at, 72]);
  return report;
}

type Place = readonly [at: number, length: number];

function put(report: Uint8Array, value: unknown, name: string, [at, length]: Place): void {
  const bytes = bytesOfJson(value, length);
  if (bytes?.length !== length)
    throw new VouchError('bad-file', `${what}: ${name}: expected ${length} bytes`);
  report.set(bytes, at);
}

/** Little-endian; numbers of JSON are exact below 2^53. */
function putNumber(report: Uint8Array, value: unknown, name: string, [at, length]: Place): void {
  if (typeof value !== 'number' || !Number.isSafeInteger(value) || value < 0 || value >= 256 ** length) {
    throw new VouchError('bad-file', `${what}: ${name}: expected a number of ${length} bytes`);
  }
  for (let i = 0, rest = value; i < length; i++, rest = Math.floor(rest / 256)) report[at + i] = rest % 256;
}
