/** What a GPU's evidence claims once its signatures hold. */
import type { GpuArchitecture } from '../demands.ts';
import type { GpuMode } from './nvidia-report.ts';

/** What a GPU's report says. Bytes are lower-case hex. */
export interface GpuClaims {
  readonly platform: 'nvidia-gpu';
  readonly architecture: GpuArchitecture;
  /** such as GH100 */
  readonly chip: string;
  /** SHA-256 fingerprint of the device's own certificate, the same under every firmware */
  readonly device: string;
  /** serial number of the attestation key's certificate */
  readonly serial: string;
  readonly driverVersion: string;
  readonly vbiosVersion: string;
  readonly project: string;
  readonly projectSku: string;
  readonly chipSku: string;
  readonly mode: GpuMode;
  readonly switches: readonly string[];
  readonly nonce: string;
  readonly fwid?: string;
}

/** Whether some format's claims are a GPU's. */
export const isGpuClaims = (claims: unknown): claims is GpuClaims => Object(claims).platform === 'nvidia-gpu';
