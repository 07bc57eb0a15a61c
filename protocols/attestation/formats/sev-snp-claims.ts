/** What a verified SNP report says: all that a policy may demand something of. */
import type { AmdProduct } from '../roots/amd.ts';
import type { SnpReport, SnpTcb } from './sev-snp-report.ts';

/** What a report says. Bytes are lower-case hex. */
export interface SnpClaims {
  readonly platform: 'sev-snp';
  readonly product: AmdProduct;
  readonly reportVersion: number;
  /** family, model and stepping; from version 3 */
  readonly cpuid?: NonNullable<SnpReport['cpuid']>;
  readonly measurement: string;
  readonly reportData: string;
  readonly hostData: string;
  readonly familyId: string;
  readonly imageId: string;
  readonly idKeyDigest: string;
  readonly authorKeyDigest: string;
  /** whether an author's key has signed the ID key */
  readonly authorKeyEnabled: boolean;
  readonly guestSvn: number;
  readonly vmpl: number;
  readonly debug: boolean;
  readonly guestPolicy: SnpReport['policy'];
  readonly platformInfo: string;
  readonly signingKey: 'VCEK' | 'VLEK' | 'none';
  /** absent where the signing key names no chip */
  readonly chipId?: string;
  /** the provider that a VLEK was made for */
  readonly provider?: string;
  readonly tcb: Readonly<Record<'reported' | 'committed' | 'launch' | 'current', SnpTcb>>;
  readonly firmware: string;
  readonly committedFirmware: string;
  /** vectors of mitigations at launch and now; from version 5 */
  readonly mitigations?: Readonly<Record<'launch' | 'current', string>>;
  readonly reportId: string;
  readonly reportIdMa: string;
}
