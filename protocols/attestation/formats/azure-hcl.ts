/**
 * Reads the HCL report of an Azure confidential VM, as its vTPM keeps it in the NV index 0x01400001: a header, the CPU's
 * own report, and JSON that the paravisor had bound by it: the vTPM's attestation key among others (Microsoft: "Guest
 * attestation design" and openvmm, openhcl_attestation_protocol). Nothing is verified here.
 *
 * For SEV-SNP the report is signed and judged as always. For TDX it is a TDREPORT, which only the same machine can
 * verify: the quote that was made of it has to come beside.
 */

import { sha384 } from '@noble/hashes/sha2.js';
import { concat, equal, fromBase64url, sha256, sha512, utf8 } from '../../encoding.ts';
import { VouchError } from '../../errors.ts';
import { parsePublicKey } from '../certificate.ts';
import { MAX_HCL_BYTES } from '../limits.ts';
import { createReader } from '../reader.ts';
import { REPORT_DATA_BYTES } from '../report-data.ts';
import type { PublicKey } from '../signature.ts';
import { isSnpReport, SNP_REPORT_BYTES } from './sev-snp-report.ts';

const MAGIC = utf8('HCLA');
const HEADER_BYTES = 32;
const TYPE = { snp: 2, tdx: 4 } as const;
/** By the number in the report. */
const HASHES: ReadonlyMap<number, (bytes: Uint8Array) => Uint8Array> = new Map([
  [1, sha256],
  [2, sha384],
  [3, sha512],
]);
/** The kid of the vTPM's attestation key. */
const ATTESTATION_KEY = 'HCLAkPub';

/** JSON that a CPU's report data binds. */
export interface RuntimeData {
  readonly bytes: Uint8Array;
  /** what the report data has to be */
  readonly reportData: Uint8Array;
  /** the vTPM's, where it is named */
  readonly key?: PublicKey;
  /** what the paravisor says of the VM, as it stands */
  readonly claims: unknown;
  /** what the guest had bound, 64 bytes */
  readonly userData?: Uint8Array;
}

export interface HclReport {
  readonly tee: 'sev-snp' | 'tdx';
  readonly snpReport?: Uint8Array;
  readonly runtime: RuntimeData;
}

export const isHclReport = (bytes: Uint8Array): boolean =>
  bytes.length > HEADER_BYTES && equal(bytes.subarray(0, MAGIC.length), MAGIC);

/** Throws `bad-file` and `bad-version`. */
export function parseHclReport(bytes: Uint8Array): HclReport {
  const what = 'HCL report';
  const refuse = (reason: string): never => {
    throw new VouchError('bad-file', `${what}: ${reason}`);
  };
  if (bytes.length > MAX_HCL_BYTES) refuse(`expected at most ${MAX_HCL_BYTES} bytes, got ${bytes.length}`);
  if (!isHclReport(bytes)) refuse('expected HCLA at its start');
  const { take, uint } = createReader(bytes, what);
  take(MAGIC.length);
  const version = uint(4);
  if (version < 1 || version > 2) {
    throw new VouchError('bad-version', `${what}: expected version 1 or 2, got ${version}`);
  }
  // Sizes and a status that the rest says better, and reserved bytes.
  take(HEADER_BYTES - 8);
  const report = take(SNP_REPORT_BYTES);
  uint(4);
  uint(4);
  const type = uint(4);
  const tee =
    type === TYPE.snp
      ? 'sev-snp'
      : type === TYPE.tdx
        ? 'tdx'
        : refuse(`report type ${type}: expected one of SEV-SNP (2) or TDX (4), others no hardware signs`);
  const hash = HASHES.get(uint(4)) ?? refuse('expected SHA-256, SHA-384 or SHA-512 over the runtime data');
  const runtime = runtimeDataOf(take(uint(4)), hash);
  if (tee === 'sev-snp' && !isSnpReport(report)) refuse('expected an SEV-SNP report inside');
  return { tee, runtime, ...(tee === 'sev-snp' ? { snpReport: report } : {}) };
}

/** Runtime data as it is bound: by its hash, then zeros. Throws `bad-file` for a key that cannot be read. */
export function runtimeDataOf(
  bytes: Uint8Array,
  hash: (bytes: Uint8Array) => Uint8Array = sha256,
): RuntimeData {
  const digest = hash(bytes);
  let claims: unknown;
  try {
    claims = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(bytes));
  } catch {
    // Whoever asks for evidence may have anything bound.
    claims = undefined;
  }
  const { keys, 'user-data': userData } = Object(claims) as { keys?: unknown; 'user-data'?: unknown };
  const jwk = (Array.isArray(keys) ? keys : []).find(
    (one: unknown) => (Object(one) as { kid?: unknown }).kid === ATTESTATION_KEY,
  );
  const text = typeof userData === 'string' && /^([0-9A-Fa-f]{2})*$/.test(userData) ? userData : undefined;
  return {
    bytes,
    reportData: concat(digest, new Uint8Array(REPORT_DATA_BYTES - digest.length)),
    claims,
    ...(jwk === undefined ? {} : { key: keyOfJwk(jwk) }),
    ...(text === undefined
      ? {}
      : { userData: Uint8Array.from(text.match(/../g) ?? [], (byte) => Number.parseInt(byte, 16)) }),
  };
}

const der = (tag: number, ...parts: readonly Uint8Array[]): Uint8Array => {
  const value = concat(...parts);
  const { length } = value;
  const size =
    length < 0x80 ? [length] : length < 0x100 ? [0x81, length] : [0x82, length >> 8, length & 0xff];
  return concat(Uint8Array.of(tag, ...size), value);
};
/** A number in its shortest form. */
const integer = (bytes: Uint8Array): Uint8Array => {
  const start = bytes.findIndex((byte) => byte !== 0);
  const digits = bytes.subarray(start < 0 ? bytes.length - 1 : start);
  return der(0x02, ...(digits[0]! >= 0x80 ? [Uint8Array.of(0)] : []), digits);
};
/** AlgorithmIdentifier of rsaEncryption: 1.2.840.113549.1.1.1, NULL. */
const RSA = Uint8Array.of(
  0x30,
  0x0d,
  0x06,
  0x09,
  0x2a,
  0x86,
  0x48,
  0x86,
  0xf7,
  0x0d,
  0x01,
  0x01,
  0x01,
  0x05,
  0x00,
);

/** An RSA key as a JSON Web Key (RFC 7518, section 6.3.1); throws `bad-file`. */
function keyOfJwk(jwk: unknown): PublicKey {
  const what = `HCL report: key ${ATTESTATION_KEY}`;
  const { kty, n, e } = Object(jwk) as { kty?: unknown; n?: unknown; e?: unknown };
  if (kty !== 'RSA' || typeof n !== 'string' || typeof e !== 'string') {
    throw new VouchError('bad-file', `${what}: expected an RSA key`);
  }
  const [modulus, exponent] = [n, e].map((text) => fromBase64url(text, what)) as [Uint8Array, Uint8Array];
  if (modulus.length < 128 || modulus.length > 1024 || exponent.length < 1 || exponent.length > 8) {
    throw new VouchError('bad-file', `${what}: expected a modulus and an exponent`);
  }
  const key = der(0x30, integer(modulus), integer(exponent));
  return parsePublicKey(der(0x30, RSA, der(0x03, Uint8Array.of(0), key)), what);
}
