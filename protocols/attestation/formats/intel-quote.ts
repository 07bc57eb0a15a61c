/**
 * Reads Intel's ECDSA quotes: SGX version 3, SGX and TDX version 4, and version 5 with its typed bodies (SGX,
 * TD 1.0, TD 1.5). Layouts: Intel SGX DCAP ECDSA Quote Library API, appendix A.4 (version 3); Intel TDX DCAP
 * Quote Generation Library, appendix A.3 and A.4 (versions 4 and 5).
 *
 * Every length that the quote declares must be met exactly; other versions, key types and certification data
 * are refused. Nothing is verified here. What follows the declared end is handed out as `padding`: drivers hand
 * out fixed-size buffers, and no signature covers their rest.
 */
import { equal, fromHex } from '../../encoding.ts';
import { VouchError } from '../../errors.ts';

/** What GetQuote's shared buffer holds at most on today's guests, with room to spare. */
export const MAX_QUOTE_BYTES = 32 * 1024;
const MAX_CERTIFICATES_BYTES = 16 * 1024;
const HEADER_BYTES = 48;
const SGX_REPORT_BYTES = 384;
const TD10_REPORT_BYTES = 584;
const TD15_REPORT_BYTES = 648;
const ECDSA_P256 = 2;
const TEE_SGX = 0;
const TEE_TDX = 0x81;
const PCK_CERTIFICATE_CHAIN = 5;
const QE_REPORT_CERTIFICATION = 6;
/** Bodies of version 5: type -> [TEE, bytes]. */
const BODIES: ReadonlyMap<number, readonly [number, number]> = new Map([
  [1, [TEE_SGX, SGX_REPORT_BYTES]],
  [2, [TEE_TDX, TD10_REPORT_BYTES]],
  [3, [TEE_TDX, TD15_REPORT_BYTES]],
]);
/** Intel's quoting enclaves. */
const INTEL_QE_VENDOR = fromHex('939a7233f79c4ca9940a0db3957f0607');

/** REPORT_BODY of an SGX enclave, 384 bytes. */
export interface SgxReport {
  readonly bytes: Uint8Array;
  /** 16 bytes */
  readonly cpuSvn: Uint8Array;
  /** 4 bytes */
  readonly miscSelect: Uint8Array;
  /** flags (8 bytes) and XFRM (8 bytes) */
  readonly attributes: Uint8Array;
  readonly mrEnclave: Uint8Array;
  readonly mrSigner: Uint8Array;
  readonly isvProdId: number;
  readonly isvSvn: number;
  /** 64 bytes */
  readonly reportData: Uint8Array;
  /** whether all reserved fields are zero */
  readonly reservedZero: boolean;
}

/** TDREPORT's fields as a quote carries them, 584 (TD 1.0) or 648 bytes (TD 1.5). */
export interface TdReport {
  readonly bytes: Uint8Array;
  readonly version: '1.0' | '1.5';
  /** 16 bytes: SVN of the TDX module, its major version, microcode, ... */
  readonly teeTcbSvn: Uint8Array;
  readonly mrSeam: Uint8Array;
  readonly mrSignerSeam: Uint8Array;
  readonly seamAttributes: Uint8Array;
  /** 8 bytes, little-endian bit field */
  readonly tdAttributes: Uint8Array;
  readonly xfam: Uint8Array;
  readonly mrTd: Uint8Array;
  readonly mrConfigId: Uint8Array;
  readonly mrOwner: Uint8Array;
  readonly mrOwnerConfig: Uint8Array;
  /** RTMR0 to RTMR3, 48 bytes each */
  readonly rtmrs: readonly Uint8Array[];
  /** 64 bytes */
  readonly reportData: Uint8Array;
  /** TD 1.5: the TCB of the module that runs now; `teeTcbSvn` is that of the TD's launch */
  readonly teeTcbSvn2?: Uint8Array;
  /** TD 1.5: hash over the service TDs bound to this one; zero when there are none */
  readonly mrServiceTd?: Uint8Array;
}

export type QuoteBody =
  | { readonly tee: 'sgx'; readonly report: SgxReport }
  | { readonly tee: 'tdx'; readonly report: TdReport };

export interface IntelQuote {
  readonly version: 3 | 4 | 5;
  readonly body: QuoteBody;
  readonly userData: Uint8Array;
  /** header and body: what the attestation key signed */
  readonly signed: Uint8Array;
  /** ECDSA P-256, r || s */
  readonly signature: Uint8Array;
  /** x || y of the attestation key */
  readonly attestationKey: Uint8Array;
  readonly qeReport: SgxReport;
  /** ECDSA P-256 by the PCK, r || s */
  readonly qeReportSignature: Uint8Array;
  readonly qeAuthData: Uint8Array;
  /** PEM: PCK certificate, its issuer, the root */
  readonly pckChain: string;
  /** what lies after the declared end */
  readonly padding: Uint8Array;
}

const malformed = (text: string): VouchError => new VouchError('evidence-rejected', `quote: ${text}`);

/** Takes fields off the front of `bytes`, each of the declared length. */
function fields(bytes: Uint8Array, what: string) {
  let at = 0;
  const take = (length: number, name: string): Uint8Array => {
    if (length > bytes.length - at) {
      throw malformed(`${what}.${name}: expected ${length} bytes, got ${bytes.length - at}`);
    }
    at += length;
    return bytes.subarray(at - length, at);
  };
  return {
    take,
    u16: (name: string) => littleEndian(take(2, name)),
    u32: (name: string) => littleEndian(take(4, name)),
    rest: () => bytes.subarray(at),
    end: () => {
      if (at !== bytes.length) throw malformed(`${what}: expected ${at} bytes, got ${bytes.length}`);
    },
  };
}

/** Up to 4 bytes. */
const littleEndian = (bytes: Uint8Array): number => bytes.reduceRight((value, byte) => value * 256 + byte, 0);

/** Little-endian, as attributes are written. */
export const bitField = (bytes: Uint8Array): bigint =>
  bytes.reduceRight((value, byte) => (value << 8n) | BigInt(byte), 0n);

/** The bits that are set, by name or number, for people. */
export function describeBits(field: bigint, names: Readonly<Record<number, string>> = {}): string {
  const set = Array.from({ length: 64 }, (_, bit) => bit).filter((bit) => (field >> BigInt(bit)) & 1n);
  return set.map((bit) => names[bit] ?? `bit ${bit}`).join(', ');
}

export const isZero = (bytes: Uint8Array): boolean => bytes.every((byte) => byte === 0);

/** Whether `bytes` begin like a quote; says nothing about the rest. */
export function looksLikeQuote(bytes: Uint8Array): boolean {
  if (bytes.length < HEADER_BYTES || bytes[1] !== 0 || bytes[0]! < 1 || bytes[0]! > 9) return false;
  return equal(bytes.subarray(12, 28), INTEL_QE_VENDOR);
}

/** Throws `evidence-rejected` that names the first field that is wrong. */
export function parseIntelQuote(bytes: Uint8Array): IntelQuote {
  if (bytes.length > MAX_QUOTE_BYTES) {
    throw malformed(`expected at most ${MAX_QUOTE_BYTES} bytes, got ${bytes.length}`);
  }
  const quote = fields(bytes, 'quote');
  const header = fields(quote.take(HEADER_BYTES, 'header'), 'header');
  const version = header.u16('version');
  if (version !== 3 && version !== 4 && version !== 5) {
    throw malformed(`header.version: expected 3, 4 or 5, got ${version}`);
  }
  const keyType = header.u16('attestationKeyType');
  if (keyType !== ECDSA_P256) {
    throw malformed(`header.attestationKeyType: expected ${ECDSA_P256} (ECDSA P-256), got ${keyType}`);
  }
  // Version 3 keeps these bytes reserved: it has SGX only.
  const tee = header.u32('teeType');
  if (tee !== TEE_SGX && (version === 3 || tee !== TEE_TDX)) {
    throw malformed(`header.teeType: expected ${version === 3 ? '0' : '0 or 129'}, got ${tee}`);
  }
  header.take(4, 'svns');
  if (!equal(header.take(16, 'qeVendorId'), INTEL_QE_VENDOR)) {
    throw malformed("header.qeVendorId: expected that of Intel's quoting enclave, got another");
  }
  const userData = header.take(20, 'userData');

  let bodyBytes: number;
  let signedBytes = HEADER_BYTES;
  if (version === 5) {
    const type = quote.u16('bodyType');
    const [bodyTee, size] = BODIES.get(type) ?? [];
    if (bodyTee !== tee || size === undefined) {
      throw malformed(`bodyType: expected one that fits TEE ${tee}, got ${type}`);
    }
    const declared = quote.u32('bodySize');
    if (declared !== size) throw malformed(`bodySize: expected ${size} for type ${type}, got ${declared}`);
    bodyBytes = size;
    signedBytes += 6;
  } else {
    bodyBytes = tee === TEE_SGX ? SGX_REPORT_BYTES : TD10_REPORT_BYTES;
  }
  const body = quote.take(bodyBytes, 'body');
  signedBytes += bodyBytes;

  const data = fields(quote.take(quote.u32('signatureDataSize'), 'signatureData'), 'signatureData');
  const signature = data.take(64, 'signature');
  const attestationKey = data.take(64, 'attestationKey');
  const qe = version === 3 ? data : certified(data, QE_REPORT_CERTIFICATION, MAX_QUOTE_BYTES);
  const qeReport = parseSgxReport(qe.take(SGX_REPORT_BYTES, 'qeReport'));
  const qeReportSignature = qe.take(64, 'qeReportSignature');
  const qeAuthData = qe.take(qe.u16('qeAuthDataSize'), 'qeAuthData');
  const pckChain = pemText(certified(qe, PCK_CERTIFICATE_CHAIN, MAX_CERTIFICATES_BYTES).rest());
  qe.end();
  data.end();

  return {
    version,
    body:
      tee === TEE_SGX
        ? { tee: 'sgx', report: parseSgxReport(body) }
        : { tee: 'tdx', report: parseTdReport(body) },
    userData,
    signed: bytes.subarray(0, signedBytes),
    signature,
    attestationKey,
    qeReport,
    qeReportSignature,
    qeAuthData,
    pckChain,
    padding: quote.rest(),
  };
}

/** Certification data of the one type expected here: u16 type, u32 size, data. */
function certified(source: ReturnType<typeof fields>, type: number, limit: number) {
  const got = source.u16('certificationDataType');
  if (got !== type) throw malformed(`certificationDataType: expected ${type}, got ${got}`);
  const size = source.u32('certificationDataSize');
  if (size > limit) throw malformed(`certificationDataSize: expected at most ${limit}, got ${size}`);
  return fields(source.take(size, 'certificationData'), 'certificationData');
}

/** PEM is ASCII; Intel's library ends it with one zero byte or none. */
function pemText(bytes: Uint8Array): string {
  const text = bytes.at(-1) === 0 ? bytes.subarray(0, -1) : bytes;
  if (!text.every((byte) => byte === 10 || byte === 13 || (byte >= 32 && byte < 127))) {
    throw malformed('certificationData: expected certificates as PEM, got other bytes');
  }
  return String.fromCharCode(...text);
}

function parseSgxReport(bytes: Uint8Array): SgxReport {
  const report = fields(bytes, 'enclaveReport');
  const cpuSvn = report.take(16, 'cpuSvn');
  const miscSelect = report.take(4, 'miscSelect');
  const reserved = [report.take(12, 'reserved1')];
  report.take(16, 'isvExtProdId');
  const attributes = report.take(16, 'attributes');
  const mrEnclave = report.take(32, 'mrEnclave');
  reserved.push(report.take(32, 'reserved2'));
  const mrSigner = report.take(32, 'mrSigner');
  reserved.push(report.take(32, 'reserved3'));
  report.take(64, 'configId');
  const isvProdId = report.u16('isvProdId');
  const isvSvn = report.u16('isvSvn');
  report.take(2, 'configSvn');
  reserved.push(report.take(42, 'reserved4'));
  report.take(16, 'isvFamilyId');
  const reportData = report.take(64, 'reportData');
  report.end();
  return {
    bytes,
    cpuSvn,
    miscSelect,
    attributes,
    mrEnclave,
    mrSigner,
    isvProdId,
    isvSvn,
    reportData,
    reservedZero: reserved.every(isZero),
  };
}

function parseTdReport(bytes: Uint8Array): TdReport {
  const report = fields(bytes, 'tdReport');
  const version = bytes.length === TD15_REPORT_BYTES ? '1.5' : '1.0';
  const parsed = {
    bytes,
    version,
    teeTcbSvn: report.take(16, 'teeTcbSvn'),
    mrSeam: report.take(48, 'mrSeam'),
    mrSignerSeam: report.take(48, 'mrSignerSeam'),
    seamAttributes: report.take(8, 'seamAttributes'),
    tdAttributes: report.take(8, 'tdAttributes'),
    xfam: report.take(8, 'xfam'),
    mrTd: report.take(48, 'mrTd'),
    mrConfigId: report.take(48, 'mrConfigId'),
    mrOwner: report.take(48, 'mrOwner'),
    mrOwnerConfig: report.take(48, 'mrOwnerConfig'),
    rtmrs: [0, 1, 2, 3].map((i) => report.take(48, `rtmr${i}`)),
    reportData: report.take(64, 'reportData'),
  } as const;
  const extended =
    version === '1.5'
      ? { teeTcbSvn2: report.take(16, 'teeTcbSvn2'), mrServiceTd: report.take(48, 'mrServiceTd') }
      : {};
  report.end();
  return { ...parsed, ...extended };
}
