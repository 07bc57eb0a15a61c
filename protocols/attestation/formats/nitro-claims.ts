/** What a verified document of AWS says: all that a policy may demand something of. */

/** What a document says. Bytes are lower-case hex. */
export interface NitroClaims {
  readonly platform: 'nitro' | 'nitro-tpm';
  /** of an enclave PCR0, its image; of an instance '', because no single register is its measurement */
  readonly measurement: string;
  readonly pcrs: Readonly<Record<string, string>>;
  readonly debug: boolean;
  readonly moduleId: string;
  /** when AWS signed it */
  readonly time: string;
  readonly publicKey?: string;
  readonly userData?: string;
  readonly nonce?: string;
}
