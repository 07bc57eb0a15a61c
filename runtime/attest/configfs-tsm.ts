/**
 * Evidence of a confidential VM through Linux's common interface for SEV-SNP and TDX: configfs-tsm, since Linux 6.7
 * (Documentation/ABI/testing/configfs-tsm-report). One folder per report: 64 bytes go into `inblob`, the evidence comes
 * out of `outblob`, `provider` names the format, `auxblob` holds a host's certificates where it has any, and
 * `generation` counts the writes, so that a report over somebody else's bytes is noticed.
 *
 * Needs write access to the folder, which is root's by default. What comes out is not judged here.
 */
import { mkdir, readFile, rmdir, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { splitCertificates } from '../../protocols/attestation/certificate.ts';
import type { Signed } from '../../protocols/attestation/document.ts';
import { parseIntelQuote } from '../../protocols/attestation/formats/intel-quote.ts';
import { parseCertificateTable, parseSnpReport } from '../../protocols/attestation/formats/sev-snp-report.ts';
import { MAX_EVIDENCE_BYTES, MAX_PART_CERTIFICATES } from '../../protocols/attestation/limits.ts';
import { REPORT_DATA_BYTES } from '../../protocols/attestation/report-data.ts';
import { hex } from '../../protocols/encoding.ts';
import { VouchError } from '../../protocols/errors.ts';
import { nvidiaGpus } from './nvidia.ts';
import type { Provider } from './provider.ts';

export const TSM_ROOT = '/sys/kernel/config/tsm/report';
/** The kernel's names -> our formats. */
const FORMATS: Readonly<Record<string, 'sev-snp' | 'tdx'>> = { sev_guest: 'sev-snp', tdx_guest: 'tdx' };
const ATTEMPTS = 3;

/** The calls that the interface takes; tests make each of them fail. */
export interface TsmFiles {
  mkdir(name: string): Promise<unknown>;
  write(name: string, bytes: Uint8Array): Promise<unknown>;
  read(name: string): Promise<Uint8Array>;
  rmdir(name: string): Promise<unknown>;
}
const FILES: TsmFiles = {
  mkdir: (name) => mkdir(name),
  write: (name, bytes) => writeFile(name, bytes, { flag: 'r+' }),
  read: (name) => readFile(name),
  rmdir: (name) => rmdir(name),
};

/** What each failure of a step means, and what to do. */
const REASONS: Readonly<Record<string, string>> = {
  EACCES: 'this user may not; run as root, or give this user the folder',
  EPERM: 'this user may not; run as root, or give this user the folder',
  ENOENT: 'there is no such interface; it needs Linux 6.7 or newer with configfs mounted',
  ENXIO: 'no TEE driver is loaded; load sev-guest or tdx_guest',
  ENODEV: 'no TEE driver is loaded; load sev-guest or tdx_guest',
  EBUSY: 'the TEE is busy; try again',
  EAGAIN: 'the TEE is busy; try again',
  ETIMEDOUT: 'the TEE or its quoting service does not answer; is a quoting service running on the host?',
  EIO: 'the TEE or its quoting service failed; see the kernel log',
};

/** One report over 64 bytes. Throws `not-ready`, with the step that failed, and `busy` when others keep interfering. */
export async function readTsmReport(
  reportData: Uint8Array,
  root: string = TSM_ROOT,
  files: TsmFiles = FILES,
): Promise<Signed> {
  if (reportData.length !== REPORT_DATA_BYTES) {
    throw new RangeError(`report data: expected ${REPORT_DATA_BYTES} bytes`);
  }
  const folder = path.join(root, `vouch-${crypto.randomUUID()}`);
  const step = async <T>(name: string, work: () => Promise<T>): Promise<T> => {
    try {
      return await work();
    } catch (error) {
      const { code = 'unknown' } = error as NodeJS.ErrnoException;
      throw new VouchError(
        'not-ready',
        `configfs-tsm ${folder}: ${name} failed (${code}): ${REASONS[code] ?? 'see the kernel log'}`,
        { cause: error },
      );
    }
  };
  const file = (name: string) => path.join(folder, name);
  const text = async (name: string): Promise<string> =>
    new TextDecoder('latin1').decode(await step(`reading ${name}`, () => files.read(file(name)))).trim();
  const generation = async (): Promise<number> => {
    const value = Number(await text('generation'));
    if (Number.isSafeInteger(value)) return value;
    throw new VouchError('not-ready', `configfs-tsm ${folder}: generation is no number`);
  };

  await step('making the folder', () => files.mkdir(folder));
  try {
    for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
      const before = await generation();
      await step('writing inblob', () => files.write(file('inblob'), reportData));
      const evidence = await step('reading outblob', () => files.read(file('outblob')));
      const provider = await text('provider');
      const auxiliary = await files.read(file('auxblob')).catch(ignoreAbsent(file('auxblob')));
      // One write is ours; any other means that the report may be over other bytes.
      if ((await generation()) !== before + 1) continue;
      return signedOf(provider, evidence, auxiliary);
    }
    throw new VouchError(
      'busy',
      `configfs-tsm ${folder}: somebody else writes to it, ${ATTEMPTS} times in a row; try again`,
    );
  } finally {
    // Only the report's folder is left behind when this fails.
    await files.rmdir(folder).catch(() => {});
  }
}

/** Hosts without certificates show no `auxblob`, or an empty one. */
const ignoreAbsent =
  (name: string) =>
  (error: unknown): Uint8Array => {
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'ENOENT') return new Uint8Array();
    throw new VouchError('not-ready', `configfs-tsm ${name}: reading auxblob failed (${code})`, {
      cause: error,
    });
  };

function signedOf(provider: string, evidence: Uint8Array, auxiliary: Uint8Array): Signed {
  const format = FORMATS[provider];
  if (format === undefined) {
    throw new VouchError(
      'not-ready',
      `configfs-tsm: expected the provider sev_guest or tdx_guest, got ${provider.slice(0, 40)}`,
    );
  }
  if (evidence.length === 0 || evidence.length > MAX_EVIDENCE_BYTES) {
    throw new VouchError(
      'not-ready',
      `configfs-tsm: outblob has ${evidence.length} bytes, no ${format} evidence`,
    );
  }
  const table =
    format === 'sev-snp' && auxiliary.length > 0
      ? parseCertificateTable(Uint8Array.from(auxiliary)).certificates
      : [];
  const certificates = table.flatMap((der) => splitCertificates(der)).slice(0, MAX_PART_CERTIFICATES);
  return { format, evidence: Uint8Array.from(evidence), certificates };
}

/** What the evidence says was measured, lower-case hex: unproven. */
const measurementOf = ({ format, evidence }: Signed): string => {
  if (format === 'sev-snp') return hex(parseSnpReport(evidence).measurement);
  const { body } = parseIntelQuote(evidence);
  return hex(body.tee === 'tdx' ? body.report.mrTd : body.report.mrEnclave);
};

/** This VM, as its TEE sees it: the measurement is of the whole VM, whatever role a process in it plays. */
export function configfsTsm(root: string = TSM_ROOT, files: TsmFiles = FILES): Provider {
  return {
    name: 'configfs-tsm',
    gpus: nvidiaGpus(),
    measurement: async () =>
      measurementOf(await readTsmReport(new Uint8Array(REPORT_DATA_BYTES), root, files)),
    sign: (reportData) => readTsmReport(reportData, root, files),
  };
}
