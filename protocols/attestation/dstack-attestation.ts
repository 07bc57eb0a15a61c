/**
 * Reads dstack's own attestation of version 0 (github.com/Dstack-TEE/dstack, dstack-attest: VersionedAttestation, in
 * SCALE): a byte 0, which platform, what that platform signed, then the runtime events, 64 bytes of report data and a
 * text of configuration. The last is no evidence and is left out; report data counts once the platform's is the same. On
 * Google's machines the vTPM signs the hash of the TD's quote; its own event log is passed over.
 */
import { hex, utf8 } from '../encoding.ts';
import { VouchError } from '../errors.ts';
import { MAX_EVENT_LOG_BYTES } from './limits.ts';
import { createReader, type Reader } from './reader.ts';
import { REPORT_DATA_BYTES } from './report-data.ts';

const MAX_ITEMS = 4096;
const SHORTEST = 128;

export interface DstackAttestation {
  /** a quote, an SNP report or a Nitro document */
  readonly evidence: Uint8Array;
  /** PEM or DER, of SNP */
  readonly certificates: readonly Uint8Array[];
  /** JSON in dstack's form, of a TD */
  readonly eventLog?: Uint8Array;
  readonly reportData: Uint8Array;
  /** of a TD on Google's machines */
  readonly vtpm?: DstackVtpm;
}

/** What a vTPM signed, by a key with a certificate of Google's. */
export interface DstackVtpm {
  readonly attest: Uint8Array;
  readonly signature: Uint8Array;
  readonly pcrs: readonly { readonly index: number; readonly bank: string; readonly value: Uint8Array }[];
  readonly certificate: Uint8Array;
}

const PLATFORM = { tdx: 0, gcpTdx: 1, nitro: 2, snp: 3, nitroTpm: 4 } as const;
/** Bytes of evidence, at least, that a length behind version and platform has to announce. */
const MAX_PLATFORM = 4;

/** Whether bytes look like one: version, platform, and the length of some evidence that lies inside. */
export function isDstackAttestation(bytes: Uint8Array): boolean {
  if (bytes.length < SHORTEST || bytes[0] !== 0 || bytes[1]! > MAX_PLATFORM) return false;
  // SCALE's compact form for numbers from 64 to 16383.
  const length = (bytes[2]! + 256 * bytes[3]!) >> 2;
  if ((bytes[2]! & 3) !== 1 || length < SHORTEST || 4 + length + REPORT_DATA_BYTES > bytes.length)
    return false;
  // In front of what the three kinds of evidence begin with.
  return ['0400', '0500', '02000000', '03000000', '04000000', '05000000', '8444a101', 'd28444a1'].some(
    (start) => hex(bytes.subarray(4, 8)).startsWith(start),
  );
}

/** SCALE: numbers in one, two or four bytes by their lowest bits. */
function compact({ uint }: Reader, most: number): number {
  const first = uint(1);
  const mode = first & 3;
  if (mode === 3) throw new VouchError('bad-file', 'dstack attestation: expected smaller lengths');
  const value = mode === 0 ? first >> 2 : (first + 256 * uint(mode === 1 ? 1 : 3)) / 4;
  const whole = Math.floor(value);
  if (whole > most)
    throw new VouchError('bad-file', `dstack attestation: expected at most ${most}, got ${whole}`);
  return whole;
}

/** Throws `bad-file`. */
export function parseDstackAttestation(bytes: Uint8Array): DstackAttestation {
  const what = 'dstack attestation';
  if (!isDstackAttestation(bytes)) throw new VouchError('bad-file', `${what}: expected one of version 0`);
  const reader = createReader(bytes, what);
  const blob = (): Uint8Array => reader.take(compact(reader, MAX_EVENT_LOG_BYTES));
  const text = (): string => new TextDecoder().decode(blob());
  const list = <T>(item: () => T): T[] => Array.from({ length: compact(reader, MAX_ITEMS) }, item);
  /** TpmQuote: message, signature, PCRs, certificate, a byte for the cloud, and the boot's event log. */
  const readVtpm = (): DstackVtpm => {
    const [attest, signature] = [blob(), blob()];
    const pcrs = list(() => ({ index: reader.uint(4), bank: text(), value: blob() }));
    const certificate = blob();
    reader.uint(1);
    list(() => [reader.uint(4), blob()]);
    return { attest, signature, pcrs, certificate };
  };
  reader.uint(1);
  const platform = reader.uint(1);
  const evidence = blob();
  let eventLog: Uint8Array | undefined;
  let certificates: Uint8Array[] = [];
  let vtpm: DstackVtpm | undefined;
  if (platform === PLATFORM.tdx || platform === PLATFORM.gcpTdx) {
    const events = list(() => ({
      imr: reader.uint(4),
      event_type: reader.uint(4),
      digest: hex(blob()),
      event: text(),
      event_payload: hex(blob()),
    }));
    if (events.length > 0) eventLog = utf8(JSON.stringify(events));
    if (platform === PLATFORM.gcpTdx) vtpm = readVtpm();
  } else if (platform === PLATFORM.snp) {
    certificates = list(blob);
    // A document of configuration that HOST_DATA binds.
    blob();
  }
  list(() => [text(), blob()]);
  const reportData = reader.take(REPORT_DATA_BYTES);
  blob();
  reader.end();
  return {
    evidence,
    certificates,
    reportData,
    ...(eventLog === undefined ? {} : { eventLog }),
    ...(vtpm === undefined ? {} : { vtpm }),
  };
}
