/**
 * How large evidence and what belongs to it may be. Every parser checks its limit before it reads or allocates
 * anything. Each is some times what vendors send today; what a device's specification fixes exactly (the 1184 bytes
 * of an SNP report, the 584 of a TD's) stands with its format.
 */

/** One file of evidence or collateral, as it is read from disk. */
export const MAX_FILE_BYTES = 16 * 1024 * 1024;
/** Vendors' lists of revoked certificates, and Intel's statements as JSON (in characters). */
export const MAX_CRL_BYTES = 4 * 1024 * 1024;
export const MAX_COLLATERAL_BYTES = 4 * 1024 * 1024;
/** An OCSP response: some kilobytes with its responder's certificates. */
export const MAX_OCSP_BYTES = 64 * 1024;
/** Tokens of NVIDIA's attestation service, or its keys: some kilobytes a device. */
export const MAX_NRAS_CHARACTERS = 256 * 1024;
/** The buffer that firmware reserves for a TD's event log. */
export const MAX_EVENT_LOG_BYTES = 4 * 1024 * 1024;
/** One certificate, wherever it comes from; those that travel inside a document are smaller. */
export const MAX_CERTIFICATE_BYTES = 16 * 1024;
/** A reference integrity manifest: XML. */
export const MAX_XML_BYTES = 128 * 1024;

/** What one CPU or GPU signed, decoded, and the certificate table that a host hands out with it. */
export const MAX_EVIDENCE_BYTES = 64 * 1024;
/** What GetQuote's shared buffer holds at most on today's guests, with room to spare. */
export const MAX_QUOTE_BYTES = 32 * 1024;
/** The NV index of Azure's vTPM, whose report is padded to its size. */
export const MAX_HCL_BYTES = 16 * 1024;
export const MAX_HYPERENCLAVE_BYTES = 8 * 1024;
/** The Nitro Secure Module answers with at most 12 KiB. */
export const MAX_NITRO_BYTES = 16 * 1024;
/** TPMS_ATTEST, TPMT_SIGNATURE, and a list of PCR values as text. */
export const MAX_ATTEST_BYTES = 512;
export const MAX_TPM_SIGNATURE_BYTES = 1100;
export const MAX_PCR_TEXT = 64 * 1024;
/** A simulated device's evidence, and each statement in it. */
export const MAX_SIMULATED_BYTES = 2048;
export const MAX_SIMULATED_STATEMENT_BYTES = 1024;

/** GPUs, or switches, of one machine. */
export const MAX_DEVICES = 16;

/** In a document: certificates of one part, and the length of each in DER. */
export const MAX_PART_CERTIFICATES = 8;
export const MAX_PART_CERTIFICATE_BYTES = 4 * 1024;
/** OCSP responses that a document brings along, and the length of each: three a GPU, and what they share. */
export const MAX_STAPLED = 40;
export const MAX_STAPLED_BYTES = 4 * 1024;
/** Files of collateral that a document names. */
export const MAX_REFERENCES = 64;
/** A document's canonical CBOR: eight GPUs of 20 KiB fit, sixteen at the limits above do not. */
export const MAX_DOCUMENT_BYTES = 384 * 1024;
