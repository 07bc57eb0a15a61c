/**
 * Who makes evidence on this host: a platform signs 64 bytes of report data, its GPUs answer a nonce. What they return
 * is a verifier's to check.
 */
import type { Signed } from '../../protocols/attestation/document.ts';
import type { GpuState } from '../../protocols/attestation/report-data.ts';
import type { Role } from '../../protocols/subjects.ts';

export interface Provider {
  readonly name: ProviderName;
  readonly gpus: GpuProvider;
  /** What the platform measures of a process that plays `role`, lower-case hex. */
  measurement(role: Role): Promise<string>;
  /** Signs 64 bytes for a process that plays `role`. */
  sign(reportData: Uint8Array, role: Role): Promise<Signed>;
}

export interface GpuProvider {
  /** What the GPUs of this host answer to a nonce of 32 bytes, and the state that their driver reports. */
  answer(nonce: Uint8Array): Promise<GpuState>;
  /** What the vendor says of their certificates now, DER of OCSP responses, as far as it can be had. */
  staple?(state: GpuState): Promise<readonly Uint8Array[]>;
}

export type ProviderName = 'simulated' | 'configfs-tsm';
