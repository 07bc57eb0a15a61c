/**
 * Lists of what GPUs and switches signed, in the spellings of NVIDIA's tools and of those who hand them on: nvattest and
 * the attestation SDK (`evidences`), the requests of NRAS (`evidence_list`), Confidential Containers
 * (`device_evidence_list`), nvtrust's Python (`attestationReportHexStr`). Reports are base64 or hex, or base64 of hex;
 * certificates PEM, or base64 of PEM. What else stands there, a nonce included, the report says better.
 */
import { fromHex } from '../../encoding.ts';
import { VouchError } from '../../errors.ts';
import { parseCertificates, readPem } from '../certificate.ts';
import { MAX_DEVICES, MAX_EVIDENCE_BYTES } from '../limits.ts';
import { parsedOnce } from '../parsed.ts';
import { bytesOfText } from '../text-bytes.ts';
import type { Evidence } from './format.ts';
import { isSwitchReport } from './nvidia-report.ts';

type Fields = Readonly<Record<string, unknown>>;
const LISTS = [
  'evidences',
  'evidence_list',
  'device_evidence_list',
  'gpu_evidence_list',
  'gpu_evidences',
  'evidenceList',
];
const REPORTS = ['evidence', 'attestationReportHexStr', 'attestation_report', 'attestationReport', 'report'];
const CHAINS = [
  'certificate',
  'certChainBase64Encoded',
  'certificate_chain',
  'cert_chain',
  'certChain',
  'attestation_cert_chain',
];

const fieldOf = (entry: unknown, names: readonly string[]): string | undefined => {
  const fields = Object(entry) as Fields;
  const found = names.find((name) => typeof fields[name] === 'string' && Object.hasOwn(fields, name));
  return found === undefined ? undefined : (fields[found] as string);
};

const isEntry = (value: unknown): boolean =>
  fieldOf(value, REPORTS) !== undefined && fieldOf(value, CHAINS) !== undefined;

/** The entries in a list, or in the object around it; a single entry is a list of one. */
function entriesIn(json: unknown): readonly unknown[] | undefined {
  if (Array.isArray(json)) return json;
  const fields = Object(json) as Fields;
  const name = LISTS.find((one) => Array.isArray(fields[one]));
  if (name !== undefined) return fields[name] as unknown[];
  return isEntry(json) ? [json] : undefined;
}

/** Whether JSON looks like such a list. */
export function isDeviceEvidence(json: unknown): boolean {
  const entries = entriesIn(json);
  return entries !== undefined && entries.length > 0 && entries.some(isEntry);
}

/** Reads a list; throws `bad-file`. */
export function deviceEvidenceIn(json: unknown, what = 'GPU evidence'): Evidence[] {
  const refuse = (reason: string): never => {
    throw new VouchError('bad-file', `${what}: ${reason}`);
  };
  const entries = entriesIn(json) ?? refuse('expected a list of devices');
  if (entries.length === 0 || entries.length > MAX_DEVICES) {
    return refuse(`expected an array of 1 to ${MAX_DEVICES} devices`);
  }
  return entries.map((entry) => {
    const [report, chain] = [fieldOf(entry, REPORTS), fieldOf(entry, CHAINS)];
    if (report === undefined || chain === undefined)
      return refuse('expected evidence and certificate in base64');
    const bytes = bytesOfText(report) ?? refuse('evidence: expected base64 or hex');
    const plain = hexInside(bytes) ?? bytes;
    if (plain.length > MAX_EVIDENCE_BYTES)
      return refuse(`evidence: expected at most ${MAX_EVIDENCE_BYTES} bytes`);
    const ders = chainIn(chain) ?? refuse('certificate: expected PEM, or base64 of it');
    return {
      format: isSwitchReport(plain) ? 'nvidia-switch' : 'nvidia-gpu',
      bytes: plain,
      certificates: parsedOnce(() => parseCertificates(ders)),
    };
  });
}

/** A report starts 0x11, which is no hex digit. */
function hexInside(bytes: Uint8Array): Uint8Array | undefined {
  if (bytes[0] !== 0x31 || bytes.length > 3 * MAX_EVIDENCE_BYTES) return undefined;
  const text = new TextDecoder('latin1').decode(bytes).replaceAll(/\s/g, '').toLowerCase();
  return text.length % 2 === 0 && /^[0-9a-f]*$/.test(text) ? fromHex(text) : undefined;
}

function chainIn(text: string): Uint8Array[] | undefined {
  const bytes = text.includes('-----BEGIN') ? undefined : bytesOfText(text);
  const pem = bytes === undefined ? text : new TextDecoder('latin1').decode(bytes);
  const ders = readPem(pem, 'CERTIFICATE', 'certificate');
  return ders.length === 0 ? undefined : ders;
}
