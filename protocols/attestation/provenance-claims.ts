/** What a verified statement about measured software says: all that a policy may demand something of. */
import { printable } from '../printable.ts';

/** Who signed, as his certificate names him. */
export interface SignerIdentity {
  readonly issuer: string;
  readonly subject: string;
  readonly repository?: string;
  readonly commit?: string;
  readonly ref?: string;
}

export interface ProvenanceClaims extends SignerIdentity {
  /** '' for the signature of a measurement itself */
  readonly predicateType: string;
  /** registers of the evidence that it names */
  readonly registers: readonly string[];
}

/** For people. */
export const describeSigner = ({ issuer, subject }: SignerIdentity): string =>
  printable(`${subject.slice(0, 256)}, as ${issuer.slice(0, 128)} says`);
