/** What a verified quote of HyperEnclave says: all that a policy may demand something of. */
import type { enclaveClaims } from './sgx.ts';

export type HyperEnclaveClaims = ReturnType<typeof enclaveClaims> & {
  readonly platform: 'hyperenclave';
  /** what this verdict is worth */
  readonly label: string;
  /** SHA-256 of the attestation key's SubjectPublicKeyInfo */
  readonly key: string;
  /** SM3, by index */
  readonly pcrs: Readonly<Record<string, readonly string[]>>;
};
