/**
 * Reads Intel's ECDSA quotes: SGX version 3, SGX and TDX version 4, and version 5 with its typed bodies (SGX,
 * TD 1.0, TD 1.5 and its extended form). Layouts: Intel SGX DCAP ECDSA Quote Library API, appendix A.4 (version 3);
 * Intel TDX DCAP Quote Generation Library, appendix A.3 and A.4 (versions 4 and 5), and sgx_quote_5.h (type 4).
 *
 * Every length that the quote declares must be met exactly; other versions, key types and certification data
 * are refused. Nothing is verified here. What follows the declared end is handed out as `padding`: drivers hand
 * out fixed-size buffers, and no signature covers their rest.
 */
import { equal, fromHex } from '../../encoding.ts';
import { VouchError } from '../../errors.ts';
import { type Certificate, readChain } from '../certificate.ts';
import { MAX_QUOTE_BYTES } from '../limits.ts';
import { type Parsed, parsedOnce } from '../parsed.ts';
import { createReader, type Reader } from '../reader.ts';

const HEADER_BYTES = 48;
const SGX_BYTES = 384;
const TD10_BYTES = 584;
const TD15_BYTES = 648;
const TD15EX_BYTES = 885;
const ECDSA_P256 = 2;
const TEE_SGX = 0;
const TEE_TDX = 0x81;
const PCK_CERTIFICATE_CHAIN = 5;
const QE_REPORT_CERTIFICATION = 6;
/** Bodies of version 5: type -> [TEE, bytes]. */
const BODIES: ReadonlyMap<number, readonly [number, number]> = new Map([
  [1, [TEE_SGX, SGX_BYTES]],
  [2, [TEE_TDX, TD10_BYTES]],
  [3, [TEE_TDX, TD15_BYTES]],
  [4, [TEE_TDX, TD15EX_BYTES]],
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
  readonly isvExtProdId: Uint8Array;
  /** flags (8 bytes) and XFRM (8 bytes) */
  readonly attributes: Uint8Array;
  readonly mrEnclave: Uint8Array;
  readonly mrSigner: Uint8Array;
  readonly configId: Uint8Array;
  readonly isvProdId: number;
  readonly isvSvn: number;
  readonly configSvn: number;
  readonly isvFamilyId: Uint8Array;
  /** 64 bytes */
  readonly reportData: Uint8Array;
  /** whether all reserved fields are zero */
  readonly reservedZero: boolean;
}

/** TDREPORT's fields as a quote carries them, 584 (TD 1.0), 648 (TD 1.5) or 885 bytes (its extended form). */
export interface TdReport {
  readonly bytes: Uint8Array;
  readonly version: '1.0' | '1.5' | '1.5ex';
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
  readonly extended?: TdExtension;
}

/** What the extended form adds. */
export interface TdExtension {
  /** of the virtual machine inside a partitioned TD that asked; 0 = the TD itself */
  readonly vmid: number;
  readonly tdId: Uint8Array;
  /** hash over the devices that are part of the TD */
  readonly devInfo: Uint8Array;
  /** of the service TDs bound when the TD was made, and now; zero when there are none */
  readonly initServiceTd: Uint8Array;
  readonly currentServiceTd: Uint8Array;
  /** SERVTD_ATTR of both, 8 bytes: which of a service TD's fields may differ */
  readonly initServiceTdAttributes: Uint8Array;
  readonly currentServiceTdAttributes: Uint8Array;
  /** the TCB of the platform that the TD was made on: CPU SVN and TEE_TCB_SVN, 16 bytes each */
  readonly initCpuSvn: Uint8Array;
  readonly initTeeTcbSvn: Uint8Array;
  /** that platform's FMSPC, 12 bytes as the module writes it: not the 6 bytes of a PCK certificate */
  readonly initFmspc: Uint8Array;
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
  /** PCK certificate, its issuer, the root */
  readonly pckChain: Parsed<readonly Certificate[]>;
  /** what lies after the declared end */
  readonly padding: Uint8Array;
}

const malformed = (text: string): VouchError => new VouchError('evidence-rejected', `quote: ${text}`);

/** Little-endian, as attributes are written. */
export const bitField = (bytes: Uint8Array): bigint =>
  bytes.reduceRight((value, byte) => (value << 8n) | BigInt(byte), 0n);

/** The bits that are set, by name or number, for people. */
export function describeBits(field: bigint, names: Readonly<Record<number, string>> = {}): string {
  const set = Array.from({ length: 64 }, (_, bit) => bit).filter((bit) => (field >> BigInt(bit)) & 1n);
  return set.map((bit) => names[bit] ?? `bit ${bit}`).join(', ');
}

export const isZero = (bytes: Uint8Array): boolean => bytes.every((byte) => byte === 0);

/** What a quote is about, by the one byte that says so, even where the rest is damaged. */
export const teeOf = (bytes: Uint8Array): 'sgx' | 'tdx' => (bytes[4] === TEE_TDX ? 'tdx' : 'sgx');

/** Whether `bytes` begin like a quote about this; says nothing about the rest. */
export function looksLikeQuote(bytes: Uint8Array, tee: 'sgx' | 'tdx' = teeOf(bytes)): boolean {
  if (bytes.length < HEADER_BYTES || bytes[1] !== 0 || bytes[0]! < 1 || bytes[0]! > 9) return false;
  return equal(bytes.subarray(12, 28), INTEL_QE_VENDOR) && teeOf(bytes) === tee;
}

/** Throws `bad-file` or `evidence-rejected` that says what was expected where. */
export function parseIntelQuote(bytes: Uint8Array): IntelQuote {
  if (bytes.length > MAX_QUOTE_BYTES) {
    throw malformed(`expected at most ${MAX_QUOTE_BYTES} bytes, got ${bytes.length}`);
  }
  const quote = createReader(bytes, 'quote');
  const version = quote.uint(2);
  if (version !== 3 && version !== 4 && version !== 5) {
    const newer = version > 5 ? ', which is newer than those read here' : '';
    throw malformed(`version: expected 3, 4 or 5, got ${version}${newer}`);
  }
  const keyType = quote.uint(2);
  if (keyType !== ECDSA_P256) {
    throw malformed(`attestation key type: expected ${ECDSA_P256} (ECDSA P-256), got ${keyType}`);
  }
  // Version 3 keeps these bytes reserved: it has SGX only.
  const tee = quote.uint(4);
  if (tee !== TEE_SGX && (version === 3 || tee !== TEE_TDX)) {
    throw malformed(`TEE type: expected ${version === 3 ? '0' : '0 or 129'}, got ${tee}`);
  }
  quote.take(4);
  if (!equal(quote.take(16), INTEL_QE_VENDOR)) {
    throw malformed("vendor id: expected that of Intel's quoting enclave, got another");
  }
  const userData = quote.take(20);
  const body = quote.take(
    version === 5 ? typedBodySize(quote, tee) : tee === TEE_SGX ? SGX_BYTES : TD10_BYTES,
  );
  const signed = bytes.subarray(0, quote.at());

  const data = createReader(quote.take(quote.uint(4)), 'quote signature data');
  const signature = data.take(64);
  const attestationKey = data.take(64);
  const qe = version === 3 ? data : certification(data, QE_REPORT_CERTIFICATION);
  const qeReport = parseSgxReport(qe.take(SGX_BYTES));
  const qeReportSignature = qe.take(64);
  const qeAuthData = qe.take(qe.uint(2));
  const chain = certification(qe, PCK_CERTIFICATE_CHAIN);
  const pckChain = pemText(chain.take(chain.left()));
  qe.end();
  data.end();

  return {
    version,
    body:
      tee === TEE_SGX
        ? { tee: 'sgx', report: parseSgxReport(body) }
        : { tee: 'tdx', report: parseTdReport(body) },
    userData,
    signed,
    signature,
    attestationKey,
    qeReport,
    qeReportSignature,
    qeAuthData,
    pckChain: parsedOnce(() => readChain(pckChain, 'PCK chain')),
    padding: quote.take(quote.left()),
  };
}

/** Version 5 says which body follows: u16 type, u32 size. */
function typedBodySize(quote: Reader, tee: number): number {
  const type = quote.uint(2);
  const declared = quote.uint(4);
  const [bodyTee, size] = BODIES.get(type) ?? [];
  if (type > BODIES.size) {
    throw malformed(
      `body type: expected 1 to ${BODIES.size}, got ${type}, which is newer than those read here`,
    );
  }
  if (bodyTee !== tee || size === undefined) {
    throw malformed(`body type: expected one that fits TEE type ${tee}, got ${type}`);
  }
  if (declared !== size) throw malformed(`body size: expected ${size} for type ${type}, got ${declared}`);
  return size;
}

/** Certification data of the one type that is taken here: u16 type, u32 size, data. */
function certification(source: Reader, type: number): Reader {
  const got = source.uint(2);
  if (got !== type) throw malformed(`certification data type: expected ${type}, got ${got}`);
  return createReader(source.take(source.uint(4)), `quote certification data ${type}`);
}

/** PEM is ASCII; Intel's library ends it with one zero byte or none. */
function pemText(bytes: Uint8Array): string {
  const text = bytes.at(-1) === 0 ? bytes.subarray(0, -1) : bytes;
  if (!text.every((byte) => byte === 10 || byte === 13 || (byte >= 32 && byte < 127))) {
    throw malformed('certification data: expected certificates as PEM, got other bytes');
  }
  return new TextDecoder().decode(text);
}

/** REPORT_BODY, exactly 384 bytes; throws `bad-file`. */
export function parseSgxReport(bytes: Uint8Array): SgxReport {
  const report = createReader(bytes, 'enclave report');
  const cpuSvn = report.take(16);
  const miscSelect = report.take(4);
  const reserved = [report.take(12)];
  const isvExtProdId = report.take(16);
  const attributes = report.take(16);
  const mrEnclave = report.take(32);
  reserved.push(report.take(32));
  const mrSigner = report.take(32);
  reserved.push(report.take(32));
  const configId = report.take(64);
  const isvProdId = report.uint(2);
  const isvSvn = report.uint(2);
  const configSvn = report.uint(2);
  reserved.push(report.take(42));
  const isvFamilyId = report.take(16);
  const reportData = report.take(64);
  report.end();
  return {
    bytes,
    cpuSvn,
    miscSelect,
    isvExtProdId,
    attributes,
    mrEnclave,
    mrSigner,
    configId,
    isvProdId,
    isvSvn,
    configSvn,
    isvFamilyId,
    reportData,
    reservedZero: reserved.every(isZero),
  };
}

function parseTdReport(bytes: Uint8Array): TdReport {
  const report = createReader(bytes, 'TD report');
  const version = bytes.length === TD10_BYTES ? '1.0' : bytes.length === TD15_BYTES ? '1.5' : '1.5ex';
  const parsed = {
    bytes,
    version,
    teeTcbSvn: report.take(16),
    mrSeam: report.take(48),
    mrSignerSeam: report.take(48),
    seamAttributes: report.take(8),
    tdAttributes: report.take(8),
    xfam: report.take(8),
    mrTd: report.take(48),
    mrConfigId: report.take(48),
    mrOwner: report.take(48),
    mrOwnerConfig: report.take(48),
    rtmrs: [report.take(48), report.take(48), report.take(48), report.take(48)],
    reportData: report.take(64),
  } as const;
  const later = version === '1.0' ? {} : { teeTcbSvn2: report.take(16), mrServiceTd: report.take(48) };
  const more = version === '1.5ex' ? { extended: parseExtension(report) } : {};
  report.end();
  return { ...parsed, ...later, ...more };
}

function parseExtension({ take, uint }: Reader): TdExtension {
  const vmid = uint(1);
  const tdId = take(32);
  const devInfo = take(48);
  const initServiceTd = take(48);
  const initServiceTdAttributes = take(8);
  const initCpuSvn = take(16);
  const initTeeTcbSvn = take(16);
  const initFmspc = take(12);
  const currentServiceTd = take(48);
  const currentServiceTdAttributes = take(8);
  return {
    vmid,
    tdId,
    devInfo,
    initServiceTd,
    currentServiceTd,
    initServiceTdAttributes,
    currentServiceTdAttributes,
    initCpuSvn,
    initTeeTcbSvn,
    initFmspc,
  };
}
