/**
 * The root under which Google endorses the firmware of its confidential virtual machines: SHA-256 of
 * GCE-cc-tcb-root_1.crt, which Google publishes at pki.goog/cloud_integrity and which endorsements bring along. Its bytes
 * were not at hand here: the fingerprint is the one to which github.com/SeismicSystems/attested-tls
 * (crates/attestation/src/gcp/endorsement.rs) holds the copy that it verifies a production endorsement by, and which two
 * more verifiers pin. A policy may name another.
 */
export const GOOGLE_TCB_ROOTS: readonly string[] = [
  'e876bc6978bf4f3da445f98a0a82363c8c0bae5a1fc033c6df65846a6cb0f18c',
];

export const GOOGLE_TCB_ROOT_URL = 'https://pki.goog/cloud_integrity/GCE-cc-tcb-root_1.crt';
