/**
 * Reads Sigstore bundles of versions 0.1 to 0.3 (github.com/sigstore/protobuf-specs, sigstore_bundle.proto, as JSON), and
 * what an in-toto statement in one says (in-toto attestation framework; DSSE, github.com/secure-systems-lab/dsse). Nothing
 * is verified here.
 */
import { z } from 'zod';
import { concat, fromUtf8, hex, utf8 } from '../../encoding.ts';
import { VouchError } from '../../errors.ts';
import { printable } from '../../printable.ts';
import { type Certificate, parseCertificate } from '../certificate.ts';
import { base64Bytes } from '../text-bytes.ts';
import { parseTimestamp, type TimestampToken } from '../timestamp-token.ts';
import type { LogEntry } from '../transparency-log.ts';

const MAX_CERTIFICATES = 10;
const MAX_TIMESTAMPS = 8;
const MEDIA_TYPE = 'application/vnd.dev.sigstore.bundle';
const VERSIONS = [
  `${MEDIA_TYPE}+json;version=0.1`,
  `${MEDIA_TYPE}+json;version=0.2`,
  `${MEDIA_TYPE}+json;version=0.3`,
  `${MEDIA_TYPE}.v0.3+json`,
];
const IN_TOTO = 'application/vnd.in-toto+json';

/** Fields that are not read mean nothing here; what is read has to be there. */
const Base64 = z.string().transform((text, context) => {
  const bytes = text === '' ? new Uint8Array(0) : base64Bytes(text);
  if (bytes !== undefined) return bytes as Uint8Array;
  context.addIssue({ code: 'custom', message: 'expected base64' });
  return z.NEVER;
});
/** 64 bits: as text, or as a number where it is exact. */
const Integer = z
  .union([z.string().regex(/^(?:0|[1-9][0-9]{0,18})$/), z.int().min(0)])
  .transform((value) => BigInt(value));
const Raw = z.object({ rawBytes: Base64 });
const Entry = z.object({
  logIndex: Integer.default(0n),
  logId: z.object({ keyId: Base64 }),
  integratedTime: Integer.default(0n),
  inclusionPromise: z.object({ signedEntryTimestamp: Base64 }).nullish(),
  inclusionProof: z
    .object({
      logIndex: Integer.default(0n),
      rootHash: Base64,
      treeSize: Integer,
      hashes: z.array(Base64).max(64).default([]),
      checkpoint: z.object({ envelope: z.string() }).nullish(),
    })
    .nullish(),
  canonicalizedBody: Base64,
});
const Bundle = z.object({
  mediaType: z.string(),
  verificationMaterial: z.object({
    x509CertificateChain: z.object({ certificates: z.array(Raw).min(1).max(MAX_CERTIFICATES) }).nullish(),
    certificate: Raw.nullish(),
    publicKey: z.unknown().optional(),
    tlogEntries: z.array(Entry).length(1, 'expected one entry of a log'),
    timestampVerificationData: z
      .object({
        rfc3161Timestamps: z
          .array(z.object({ signedTimestamp: Base64 }))
          .max(MAX_TIMESTAMPS)
          .nullish(),
      })
      .nullish(),
  }),
  dsseEnvelope: z
    .object({
      payload: Base64,
      payloadType: z.string(),
      signatures: z.array(z.object({ sig: Base64 })).length(1, 'expected one signature'),
    })
    .nullish(),
  messageSignature: z
    .object({
      messageDigest: z.object({ algorithm: z.literal('SHA2_256'), digest: Base64 }),
      signature: Base64,
    })
    .nullish(),
});

const Statement = z.object({
  _type: z.enum(['https://in-toto.io/Statement/v0.1', 'https://in-toto.io/Statement/v1']),
  subject: z
    .array(z.object({ name: z.string().optional(), digest: z.record(z.string(), z.string()).default({}) }))
    .max(1024),
  predicateType: z.string().max(512),
  predicate: z.unknown().optional(),
});
export type Statement = z.infer<typeof Statement>;

export interface SigstoreBundle {
  /** of the key that signed, and then of its issuers where they came along */
  readonly certificates: readonly [Certificate, ...Certificate[]];
  readonly entry: LogEntry;
  /** of an authority, about the signature */
  readonly timestamps: readonly TimestampToken[];
  readonly signature: Uint8Array;
  readonly content:
    | {
        readonly kind: 'statement';
        readonly statement: Statement;
        /** what was signed, and what of it was logged */
        readonly signed: Uint8Array;
        readonly payload: Uint8Array;
      }
    | { readonly kind: 'artifact'; readonly digest: Uint8Array };
}

const what = 'Sigstore bundle';
const refuse = (reason: string): never => {
  throw new VouchError('bad-file', `${what}: ${reason}`);
};

function read<T>(schema: z.ZodType<T>, value: unknown): T {
  const result = schema.safeParse(value);
  if (result.success) return result.data;
  const [issue] = result.error.issues;
  return refuse(`${issue?.path.join('.') ?? ''}: ${issue?.message ?? ''}`);
}

export const isSigstoreBundle = (json: unknown): boolean => {
  const { mediaType } = Object(json) as { mediaType?: unknown };
  return typeof mediaType === 'string' && mediaType.startsWith(MEDIA_TYPE);
};

/** Throws `bad-file`, and `bad-version` for a version that is not known. */
export function parseSigstoreBundle(json: unknown): SigstoreBundle {
  const { mediaType } = Object(json) as { mediaType?: unknown };
  if (!VERSIONS.includes(String(mediaType))) {
    throw new VouchError(
      'bad-version',
      `${what}: expected version 0.1 to 0.3, got ${printable(String(mediaType).slice(0, 80))}`,
    );
  }
  const { verificationMaterial: material, dsseEnvelope, messageSignature } = read(Bundle, json);
  const chain =
    material.x509CertificateChain?.certificates ?? (material.certificate ? [material.certificate] : []);
  const [leaf, ...others] = chain.map(({ rawBytes }, i) =>
    parseCertificate(rawBytes, `${what}: certificate ${i + 1}`),
  );
  if (leaf === undefined) {
    return refuse(
      'signed by a key without a certificate, which does not say whose it is; only certificates are read',
    );
  }
  const [entry] = material.tlogEntries;
  const timestamps = (material.timestampVerificationData?.rfc3161Timestamps ?? []).map(
    ({ signedTimestamp }) => parseTimestamp(signedTimestamp),
  );
  // From version 0.2 on the proof has to be there; before, the log's promise.
  const { inclusion, promise } = entryOf(entry!);
  if (mediaType !== VERSIONS[0] && inclusion === undefined) {
    return refuse('expected a proof of inclusion with a checkpoint');
  }
  if (mediaType === VERSIONS[0] && promise === undefined) return refuse("expected the log's promise");
  const common = { certificates: [leaf, ...others] as const, entry: entryOf(entry!), timestamps };
  if (dsseEnvelope && !messageSignature) {
    const { payload, payloadType, signatures } = dsseEnvelope;
    if (payloadType !== IN_TOTO) return refuse(`expected a payload of type ${IN_TOTO}`);
    let statement: unknown;
    try {
      statement = JSON.parse(fromUtf8(payload));
    } catch {
      return refuse('payload: expected JSON');
    }
    const signed = concat(
      utf8(`DSSEv1 ${utf8(payloadType).length} ${payloadType} ${payload.length} `),
      payload,
    );
    return {
      ...common,
      signature: signatures[0]!.sig,
      content: { kind: 'statement', statement: read(Statement, statement), signed, payload },
    };
  }
  if (messageSignature && !dsseEnvelope) {
    const { messageDigest, signature } = messageSignature;
    return { ...common, signature, content: { kind: 'artifact', digest: messageDigest.digest } };
  }
  return refuse('expected an envelope or the signature of a message, one of them');
}

function entryOf(entry: z.infer<typeof Entry>): LogEntry {
  const { inclusionPromise, inclusionProof } = entry;
  return {
    body: entry.canonicalizedBody,
    logId: hex(entry.logId.keyId),
    index: entry.logIndex,
    time: entry.integratedTime,
    ...(inclusionPromise ? { promise: inclusionPromise.signedEntryTimestamp } : {}),
    // Logs signed no checkpoints when the first version was made: such a proof proves nothing.
    ...(inclusionProof?.checkpoint
      ? {
          inclusion: {
            index: inclusionProof.logIndex,
            size: inclusionProof.treeSize,
            root: inclusionProof.rootHash,
            hashes: inclusionProof.hashes,
            checkpoint: inclusionProof.checkpoint.envelope,
          },
        }
      : {}),
  };
}
