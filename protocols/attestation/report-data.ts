/**
 * What evidence binds. A platform signs 64 bytes of report data that it does not understand; ours are a hash
 * of everything that the holder of the evidence claims as its own:
 *
 *   report data = SHA-512("vouch/v2/report-data" || 0x00 || slot_1 || ... || slot_9)
 *   slot_i      = i (1 byte) || length (2 bytes, big-endian) || bytes
 *
 *   1 nonce            16 to 64 bytes, the verifier's
 *   2 HPKE key         32 bytes, X25519 (protocols/sealing.ts)
 *   3 receipt key      32 bytes, Ed25519 (protocols/cose.ts), or absent
 *   4 model commitment 32 bytes, the field element little-endian, or absent
 *   5 enclave id       1 to 64 bytes ASCII
 *   6 TLS key          32 bytes, SHA-256 of its SubjectPublicKeyInfo, or absent
 *   7 GPU evidence     32 bytes, see below, or absent
 *   8 X-Wing key       1216 bytes (protocols/x-wing.ts), or absent
 *   9 time             8 bytes, seconds since 1970 by the host's clock, big-endian
 *
 * All nine slots are hashed in this order; an absent one has length 0. CPU and GPU are bound in both directions:
 * the GPUs are asked with a nonce that commits to all the other slots, and slot 7 commits to what they answered.
 *
 *   GPU nonce    = SHA-256("vouch/v2/gpu-nonce" || 0x00 || slot_1 || ... || slot_9), slot 7 absent
 *   GPU evidence = SHA-256("vouch/v2/gpu-evidence" || 0x00 || CC mode (1 byte: 0 off, 1 on, 2 devtools)
 *                          || ready (1 byte: 0 or 1) || number of GPUs (1 byte) || gpu_1 || ... )
 *   gpu          = part(format, ASCII) || part(evidence) || number of certificates (1 byte) || part(DER) || ...
 *   part(bytes)  = length (4 bytes, big-endian) || bytes
 */

import { FIELD_ORDER } from '../bn254.ts';
import { type Bytes, concat, sha256, sha512, utf8 } from '../encoding.ts';
import { VouchError } from '../errors.ts';
import { X_WING_PUBLIC_KEY_BYTES } from '../x-wing.ts';

export const REPORT_DATA_BYTES = 64;

export interface Binding {
  readonly nonce: Uint8Array;
  readonly hpkeKey: Uint8Array;
  readonly receiptKey?: Uint8Array | undefined;
  /** BN254 scalar, decimal */
  readonly modelCommitment?: string | undefined;
  readonly enclave: string;
  readonly tlsKey?: Uint8Array | undefined;
  /** digest: `gpuEvidenceDigest` */
  readonly gpuEvidence?: Uint8Array | undefined;
  readonly xWingKey?: Uint8Array | undefined;
  /** cut to seconds */
  readonly time: Date;
}

/** 64 bytes. Throws `bad-message` for a slot of the wrong size. */
export const reportData = (binding: Binding): Bytes =>
  sha512(utf8('vouch/v2/report-data\0'), ...slots(binding));

/** What the GPUs are asked with: 32 bytes. */
export const gpuNonce = (binding: Binding): Bytes =>
  sha256(utf8('vouch/v2/gpu-nonce\0'), ...slots({ ...binding, gpuEvidence: undefined }));

function slots(binding: Binding): Bytes[] {
  const { nonce, hpkeKey, receiptKey, modelCommitment, enclave, tlsKey, gpuEvidence, xWingKey } = binding;
  return [
    slot(1, 'nonce', nonce, 16, 64),
    slot(2, 'HPKE key', hpkeKey, 32),
    slot(3, 'receipt key', receiptKey, 32),
    slot(4, 'model commitment', modelCommitment === undefined ? undefined : fieldBytes(modelCommitment), 32),
    slot(5, 'enclave id', utf8(enclave), 1, 64),
    slot(6, 'TLS key', tlsKey, 32),
    slot(7, 'GPU evidence', gpuEvidence, 32),
    slot(8, 'X-Wing key', xWingKey, X_WING_PUBLIC_KEY_BYTES),
    slot(9, 'time', bigEndian(Math.floor(binding.time.getTime() / 1000), 8), 8),
  ];
}

/** What one GPU signed. */
export interface GpuPart {
  readonly format: string;
  readonly evidence: Uint8Array;
  /** DER */
  readonly certificates: readonly Uint8Array[];
}

export const CC_MODES = ['off', 'on', 'devtools'] as const;
export type CcMode = (typeof CC_MODES)[number];

/** What a guest says of its GPUs, and what they signed. */
export interface GpuState {
  readonly ccMode: CcMode;
  readonly ready: boolean;
  readonly devices: readonly GpuPart[];
}

/** 32 bytes that stand for all of it in the report data. */
export function gpuEvidenceDigest({ ccMode, ready, devices }: GpuState): Bytes {
  const part = (bytes: Uint8Array) => concat(bigEndian(bytes.length, 4), bytes);
  return sha256(
    utf8('vouch/v2/gpu-evidence\0'),
    Uint8Array.of(CC_MODES.indexOf(ccMode), ready ? 1 : 0, devices.length),
    ...devices.flatMap(({ format, evidence, certificates }) => [
      part(utf8(format)),
      part(evidence),
      Uint8Array.of(certificates.length),
      ...certificates.map(part),
    ]),
  );
}

/** Throws `bad-message` for what is no whole number below 2^48. */
function bigEndian(value: number, length: number): Bytes {
  if (!Number.isInteger(value) || value < 0 || value >= 2 ** 48) {
    throw new VouchError('bad-message', 'binding: time: expected seconds since 1970');
  }
  const bytes = new Uint8Array(length);
  for (let i = length - 1, rest = value; i >= 0; i--, rest = Math.floor(rest / 256)) bytes[i] = rest % 256;
  return bytes;
}

function slot(
  index: number,
  name: string,
  bytes: Uint8Array | undefined,
  least: number,
  most = least,
): Bytes {
  if (bytes === undefined) return Uint8Array.of(index, 0, 0);
  if (bytes.length < least || bytes.length > most) {
    const expected = least === most ? `${least}` : `${least} to ${most}`;
    throw new VouchError('bad-message', `binding: ${name}: expected ${expected} bytes, got ${bytes.length}`);
  }
  return concat(Uint8Array.of(index, bytes.length >> 8, bytes.length & 0xff), bytes);
}

/** A field element in decimal as 32 bytes, little-endian. Throws `bad-message` unless it is below the field's order. */
export function fieldBytes(decimal: string): Bytes {
  const value = /^(?:0|[1-9][0-9]{0,76})$/.test(decimal) ? BigInt(decimal) : FIELD_ORDER;
  if (value >= FIELD_ORDER) {
    throw new VouchError('bad-message', 'model commitment: expected a BN254 scalar in decimal');
  }
  const bytes = new Uint8Array(32);
  for (let i = 0, rest = value; i < 32; i++, rest >>= 8n) bytes[i] = Number(rest & 0xffn);
  return bytes;
}

/** The inverse of `fieldBytes`; throws `bad-message`. */
export function fieldFromBytes(bytes: Uint8Array): string {
  const value = bytes.reduceRight((sum, byte) => (sum << 8n) | BigInt(byte), 0n);
  if (bytes.length !== 32 || value >= FIELD_ORDER) {
    throw new VouchError('bad-message', 'model commitment: expected a BN254 scalar in 32 bytes');
  }
  return value.toString();
}
