/**
 * Root of AWS, as data: the one that the certificates in attestation documents of Nitro Enclaves and NitroTPM end in
 * (AWS Nitro Enclaves user guide, "Verifying the root of trust"). Trusted by fingerprint: documents bring it along.
 */

/** SHA-256 of the DER of "aws.nitro-enclaves" (G1). */
export const AWS_NITRO_ROOTS: readonly string[] = [
  '641a0321a3e244efe456463195d606317ed7cdcc3c1756e09893f3c68f79bb5b',
];
