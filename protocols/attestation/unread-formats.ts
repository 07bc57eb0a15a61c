/**
 * Evidence that is known and not read: each row names the format, says why it is refused and what to bring instead.
 * A file of one of these kinds is never taken for anything else.
 */
import { equal, fromHex, hex } from '../encoding.ts';
import { VouchError } from '../errors.ts';
import type { Content, FileKind } from './file-kinds.ts';
import { bytesOfJson } from './text-bytes.ts';

/** Keys of a JSON object; none for anything else. */
const keysOf = ({ json }: Content): string[] => {
  const value = json();
  return typeof value === 'object' && value !== null && !Array.isArray(value) ? Object.keys(value) : [];
};
const has = (content: Content, ...names: readonly string[]): boolean => {
  const keys = keysOf(content);
  return names.every((name) => keys.includes(name));
};
const inside = (content: Content, name: string): Record<string, unknown> =>
  Object(Object(content.json())[name]) as Record<string, unknown>;
const at = (bytes: Uint8Array, offset: number, size: number): number =>
  bytes.subarray(offset, offset + size).reduceRight((sum, byte) => sum * 256 + byte, 0);

/** CBOR tag 399, or a map that starts with the platform's token (44234). Arm: RMM specification, "Attestation token". */
const isCcaToken = (bytes: Uint8Array): boolean => /^(?:d9018fa2|a2)19acca/.test(hex(bytes.subarray(0, 7)));

/** Intel's quoting enclaves, at offset 12 of every quote. */
const QE_VENDOR = fromHex('939a7233f79c4ca9940a0db3957f0607');
const QUOTE_HEADER_BYTES = 48;
const isQuote = (bytes: Uint8Array): boolean =>
  bytes.length > QUOTE_HEADER_BYTES && bytes[1] === 0 && equal(bytes.subarray(12, 28), QE_VENDOR);
const MAX_READ_VERSION = 5;
const KNOWN_VERSIONS = 3;
const ECDSA_P384 = 3;

/** Where the body ends, for versions that are read. */
function signatureAt(bytes: Uint8Array): number | undefined {
  const version = at(bytes, 0, 2);
  if (version < KNOWN_VERSIONS || version > MAX_READ_VERSION) return undefined;
  if (version === 5) return QUOTE_HEADER_BYTES + 6 + at(bytes, QUOTE_HEADER_BYTES + 2, 4);
  return QUOTE_HEADER_BYTES + (at(bytes, 4, 4) === 0 ? 384 : 584);
}

/** The type of certification data in a quote by an ECDSA P-256 key (SGX ECDSA Quote Library API, appendix A.4). */
function certificationType(bytes: Uint8Array): number | undefined {
  const start = signatureAt(bytes);
  if (!isQuote(bytes) || start === undefined || at(bytes, 2, 2) !== 2) return undefined;
  // Signature, key; from version 4 on a type and a size in front of the report of the quoting enclave.
  const nested = at(bytes, 0, 2) === 3 ? 0 : 6;
  const authentication = start + 4 + 128 + nested + 384 + 64;
  const type = authentication + 2 + at(bytes, authentication, 2);
  return type + 6 > bytes.length ? undefined : at(bytes, type, 2);
}

/** Types 1 to 3 name the platform, plain or encrypted; 4 is a PCK certificate alone; 7 a platform manifest. */
const NOT_A_CHAIN = [1, 2, 3, 4, 7];

const REPORT_BYTES = 2548;
/** ATTESTATION_REPORT of CSV: its fields are masked by a word of its own; usage is 0x1000 and more, algorithm SM2. */
function isCsvReport(bytes: Uint8Array): boolean {
  if (bytes.length < REPORT_BYTES || bytes.length > 4096) return false;
  const masked = (offset: number): number => (at(bytes, offset, 4) ^ at(bytes, 188, 4)) >>> 0;
  return masked(180) >>> 4 === 0x100 && masked(184) === 4;
}

const GET_MEASUREMENTS = 0xe0;
const MEASUREMENTS = 0x60;
/** Request and response, or the response alone, of SPDM 1.2 to 1.x: the response states the same version. */
function isNewerSpdm(bytes: Uint8Array): boolean {
  const [version = 0, code] = bytes;
  if (version < 0x12 || version > 0x1f || bytes.length < 64) return false;
  // A request with a signature has 37 bytes; from 1.3 on it may carry 8 bytes of context.
  return code === GET_MEASUREMENTS
    ? [37, 45].some((size) => bytes[size] === version && bytes[size + 1] === MEASUREMENTS)
    : // Measurements, a nonce and a length follow the header. Two bytes alone are a number's often enough.
      code === MEASUREMENTS && 8 + at(bytes, 5, 3) + 32 + 2 <= bytes.length;
}

const TD_REPORT_BYTES = 1024;
/** REPORTMACSTRUCT: type 0x81, subtype 0, version 0 or 1. */
const isTdReport = (bytes: Uint8Array): boolean =>
  bytes.length === TD_REPORT_BYTES && bytes[0] === 0x81 && bytes[1] === 0 && bytes[2]! <= 1 && bytes[3] === 0;

const isRubin = (json: unknown): boolean => {
  const lists = [json, ...Object.values(Object(json))].filter(Array.isArray);
  return lists.some((list: unknown[]) =>
    list.some((entry) => /rubin/i.test(String((Object(entry) as { arch?: unknown }).arch ?? ''))),
  );
};

/** MessagePack of a map whose first field is the version, as dstack's VersionedAttestation writes it from 1 on. */
const isPackedDstack = (bytes: Uint8Array): boolean =>
  bytes[0]! >> 4 === 8 && hex(bytes.subarray(1, 9)) === 'a776657273696f6e';

interface Unread {
  readonly name: string;
  readonly title: string;
  /** what to do */
  readonly instead: string;
  readonly recognise: (content: Content) => boolean;
}

const ROWS: readonly Unread[] = [
  {
    name: 'arm-cca-token',
    title: 'an attestation token of Arm CCA (RMM specification)',
    instead: 'no realm can be verified here; ask its operator for evidence of another platform',
    recognise: (content) =>
      isCcaToken(content.bytes) ||
      (keysOf(content).length === 1 &&
        isCcaToken(bytesOfJson(Object(content.json()).token, 16_384) ?? new Uint8Array(0))),
  },
  {
    name: 'hygon-csv-report',
    title: 'an attestation report of Hygon CSV',
    instead: 'its keys end in the Hygon Root Key, which is not pinned here',
    recognise: (content) =>
      isCsvReport(content.bytes) ||
      (has(content, 'attestation_report', 'cert_chain') &&
        Object.hasOwn(inside(content, 'cert_chain'), 'pek')),
  },
  {
    name: 'spdm-1.2',
    title: 'measurements by SPDM 1.2 or later (DMTF DSP0274)',
    instead: 'only SPDM 1.1 is read, which GPUs of the Hopper and Blackwell generations speak',
    recognise: ({ bytes }) => isNewerSpdm(bytes),
  },
  {
    name: 'nvidia-rubin',
    title: 'evidence of GPUs of the Rubin generation',
    instead: 'Hopper and Blackwell are read; NVIDIA has to publish manifests and roots of newer ones first',
    recognise: ({ json }) => isRubin(json()),
  },
  {
    name: 'intel-quote-6',
    title: 'an Intel quote of version 6 or later',
    instead: 'versions 3 to 5 are read; ask the quote generation library for version 4 or 5',
    recognise: ({ bytes }) => isQuote(bytes) && bytes[0]! > MAX_READ_VERSION,
  },
  {
    name: 'intel-quote-p384',
    title: 'an Intel quote by an ECDSA P-384 attestation key (type 3)',
    instead: "keys of type 2 (P-256) are read, which Intel's quoting enclaves use by default",
    recognise: ({ bytes }) =>
      isQuote(bytes) && bytes[0]! <= MAX_READ_VERSION && at(bytes, 2, 2) === ECDSA_P384,
  },
  {
    name: 'intel-quote-without-pck-chain',
    title: 'an Intel quote that names its platform by a PPID instead of bringing the PCK certificate chain',
    instead:
      "have the platform's provisioning service (PCCS) configured so that quotes carry the chain (certification data type 5); it gets it for the PPID, CPU SVN, PCE SVN and PCE id from Intel's service, api.trustedservices.intel.com/sgx/certification/v4/pckcert",
    recognise: ({ bytes }) => NOT_A_CHAIN.includes(certificationType(bytes) ?? 0),
  },
  {
    name: 'td-report',
    title: 'a TDREPORT, which only the machine that made it can verify',
    instead: 'bring the quote that its quoting enclave made of it',
    recognise: ({ bytes }) => isTdReport(bytes),
  },
  {
    name: 'dstack-attestation-1',
    title: "dstack's own attestation of version 1 (MessagePack)",
    instead: "bring the quote and the event log of its guest agent's GetQuote",
    recognise: (content) =>
      isPackedDstack(content.bytes) ||
      isPackedDstack(bytesOfJson(Object(content.json()).attestation, 1 << 20) ?? new Uint8Array(0)),
  },
  {
    name: 'chutes-report',
    title: 'an attestation report of Chutes',
    instead:
      'its rule of what report data binds is not kept here; bring quote and GPU evidence in files of their own',
    recognise: ({ json }) => (Object(json()) as { attestation_type?: unknown }).attestation_type === 'chutes',
  },
];

/** In a JSON document these sit beside what is read; the row is asked first. */
export const UNREAD_FORMATS: readonly FileKind[] = ROWS.map(({ name, title, instead, recognise }) => ({
  name,
  evidence: true,
  title: `${title}: known here, and not read`,
  recognise,
  read: () => {
    throw new VouchError('bad-input', `this is ${title}; it is not read here: ${instead}`);
  },
}));

/** One answer a file, which every other row asks for. */
const unread = new WeakMap<Content, boolean>();

/** Whether a row of this table recognises it. */
export function isUnread(content: Content): boolean {
  const known = unread.get(content) ?? ROWS.some(({ recognise }) => recognise(content));
  unread.set(content, known);
  return known;
}
