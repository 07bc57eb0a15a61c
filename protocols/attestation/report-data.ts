/**
 * What evidence binds. A platform signs 64 bytes of report data that it does not understand; ours are a hash
 * of everything that the holder of the evidence claims as its own:
 *
 *   report data = SHA-512("vouch/v1/report-data" || 0x00 || slot_1 || ... || slot_7)
 *   slot_i      = i (1 byte) || length (2 bytes, big-endian) || bytes
 *
 *   1 nonce            16 to 64 bytes, the verifier's
 *   2 HPKE key         32 bytes, X25519 (protocols/sealing.ts)
 *   3 receipt key      32 bytes, Ed25519 (protocols/cose.ts), or absent
 *   4 model commitment 32 bytes, the field element little-endian, or absent
 *   5 enclave id       1 to 64 bytes ASCII
 *   6 TLS key          reserved for SHA-256 of its SubjectPublicKeyInfo; absent
 *   7 GPU evidence     reserved for SHA-256 of a GPU's evidence; absent
 *
 * All seven slots are hashed in this order; an absent one has length 0.
 */
import { type Bytes, concat, sha512, utf8 } from '../encoding.ts';
import { VouchError } from '../errors.ts';

export const REPORT_DATA_BYTES = 64;

export interface Binding {
  readonly nonce: Uint8Array;
  readonly hpkeKey: Uint8Array;
  readonly receiptKey?: Uint8Array | undefined;
  /** BN254 scalar, decimal */
  readonly modelCommitment?: string | undefined;
  readonly enclave: string;
  readonly tlsKey?: Uint8Array | undefined;
  readonly gpuEvidence?: Uint8Array | undefined;
}

/** 64 bytes. Throws `bad-message` for a slot of the wrong size. */
export function reportData(binding: Binding): Bytes {
  const { nonce, hpkeKey, receiptKey, modelCommitment, enclave, tlsKey, gpuEvidence } = binding;
  return sha512(
    utf8('vouch/v1/report-data\0'),
    slot(1, 'nonce', nonce, 16, 64),
    slot(2, 'HPKE key', hpkeKey, 32),
    slot(3, 'receipt key', receiptKey, 32),
    slot(4, 'model commitment', modelCommitment === undefined ? undefined : fieldBytes(modelCommitment), 32),
    slot(5, 'enclave id', utf8(enclave), 1, 64),
    slot(6, 'TLS key', tlsKey, 32),
    slot(7, 'GPU evidence', gpuEvidence, 32),
  );
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

/** Order of BN254's scalar field. */
const FIELD_ORDER = 21888242871839275222246405745257275088548364400416034343698204186575808495617n;

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
