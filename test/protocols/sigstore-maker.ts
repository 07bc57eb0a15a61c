/**
 * Bundles of a made-up instance of Sigstore, as clients write them (protobuf-specs, sigstore_bundle.proto; rekor's types of
 * entries), with the trees of its logs. For tests only.
 */
import { canonicalJson, concat, sha256, sha256Hex, utf8 } from '../../protocols/encoding.ts';
import { type Maker, maker } from './certificate-maker.ts';
import { base64, pem } from './service-maker.ts';
import {
  certificateOf,
  type IdentityFields,
  type Instance,
  SIGNED_AT,
  signature,
  timestamp,
} from './sigstore-instance.ts';

/** RFC 9162: the root over leaves, and the path from one of them. */
export function tree(leaves: readonly Uint8Array[], index: number): { root: Uint8Array; path: Uint8Array[] } {
  if (leaves.length === 1) return { root: leaves[0]!, path: [] };
  let half = 1;
  while (half * 2 < leaves.length) half *= 2;
  const [left, right] = [leaves.slice(0, half), leaves.slice(half)];
  const [a, b] = [tree(left, Math.min(index, half - 1)), tree(right, Math.max(index - half, 0))];
  const root = sha256(Uint8Array.of(1), a.root, b.root);
  return { root, path: index < half ? [...a.path, b.root] : [...b.path, a.root] };
}
const leafOf = (body: Uint8Array): Uint8Array => sha256(Uint8Array.of(0), body);

export interface BundleFields extends IdentityFields {
  readonly version?: '0.1' | '0.2' | '0.3';
  /** how the log holds it */
  readonly entry?: 'dsse' | 'intoto' | 'hashedrekord' | 'dsse-2' | 'hashedrekord-2';
  readonly statement?: unknown;
  /** a file that was signed, instead of a statement */
  readonly file?: Uint8Array;
  /** what the log says of the time */
  readonly loggedAt?: Date;
  readonly stampedAt?: Date;
  readonly stampedBy?: Maker;
  readonly rekor?: Maker;
  readonly signer?: Maker;
  /** what the entry holds instead */
  readonly logged?: Readonly<Record<string, unknown>>;
  readonly chain?: boolean;
}

/** A statement that names registers in its predicate. */
export const statementOf = (
  predicate: unknown,
  { type = 'https://example.org/measurement/v1', subject = {} as Readonly<Record<string, string>> } = {},
) => ({
  _type: 'https://in-toto.io/Statement/v1',
  subject: [{ name: 'enclave', digest: { sha256: 'ab'.repeat(32), ...subject } }],
  predicateType: type,
  predicate,
});

const PAYLOAD_TYPE = 'application/vnd.in-toto+json';

/** As JSON; tests change it before they write it down. */
export async function bundle(own: Instance, fields: BundleFields = {}) {
  const { version = '0.3', loggedAt = SIGNED_AT, rekor = own.rekor } = fields;
  const { entry = fields.file === undefined ? 'dsse' : 'hashedrekord' } = fields;
  const key = await maker('', 'P-256');
  const certificate = await certificateOf(own, key, fields);
  const payload = utf8(JSON.stringify(fields.statement ?? statementOf({})));
  const signed =
    fields.file ?? concat(utf8(`DSSEv1 ${PAYLOAD_TYPE.length} ${PAYLOAD_TYPE} ${payload.length} `), payload);
  const made = await signature(fields.signer ?? key, signed);
  const hexHash = (bytes: Uint8Array) => ({ algorithm: 'sha256', value: sha256Hex(bytes) });
  const text = base64(utf8(pem(certificate)));
  const verifier = {
    keyDetails: 'PKIX_ECDSA_P256_SHA_256',
    x509Certificate: { rawBytes: base64(certificate) },
  };
  const bodies = {
    dsse: {
      apiVersion: '0.0.1',
      kind: 'dsse',
      spec: { payloadHash: hexHash(payload), signatures: [{ signature: base64(made), verifier: text }] },
    },
    intoto: {
      apiVersion: '0.0.2',
      kind: 'intoto',
      spec: {
        content: {
          envelope: {
            payloadType: PAYLOAD_TYPE,
            signatures: [{ sig: base64(utf8(base64(made))), publicKey: text }],
          },
          payloadHash: hexHash(payload),
        },
      },
    },
    hashedrekord: {
      apiVersion: '0.0.1',
      kind: 'hashedrekord',
      spec: {
        data: { hash: hexHash(signed) },
        signature: { content: base64(made), publicKey: { content: text } },
      },
    },
    'dsse-2': {
      apiVersion: '0.0.2',
      kind: 'dsse',
      spec: {
        dsseV002: {
          payloadHash: { algorithm: 'SHA2_256', digest: base64(sha256(payload)) },
          signatures: [{ content: base64(made), verifier }],
        },
      },
    },
    'hashedrekord-2': {
      apiVersion: '0.0.2',
      kind: 'hashedrekord',
      spec: {
        hashedRekordV002: {
          data: { algorithm: 'SHA2_256', digest: base64(sha256(signed)) },
          signature: { content: base64(made), verifier },
        },
      },
    },
  };
  const body = utf8(canonicalJson({ ...bodies[entry], ...fields.logged }));
  const second = entry.endsWith('-2');
  const others = [0, 1, 2, 3, 4, 5].map((i) => leafOf(Uint8Array.of(i)));
  const leaves = [...others.slice(0, 4), leafOf(body), ...others.slice(4)];
  const { root, path } = tree(leaves, 4);
  const origin = second ? 'log2.example.org' : 'rekor.example.org - 42';
  const note = `${origin}\n${leaves.length}\n${base64(root)}\n`;
  const logName = origin.split(' ')[0]!;
  const sign = async () =>
    second
      ? concat(
          sha256(utf8(`${logName}\n`), Uint8Array.of(1), own.rekor2.spki.subarray(12)).subarray(0, 4),
          new Uint8Array(await crypto.subtle.sign('Ed25519', own.rekor2.privateKey, utf8(note))),
        )
      : concat(sha256(rekor.spki).subarray(0, 4), await signature(rekor, utf8(note)));
  const logId = sha256(second ? own.rekor2.spki : rekor.spki);
  const seconds = loggedAt.getTime() / 1000;
  const promise = await signature(
    rekor,
    utf8(
      canonicalJson({
        body: base64(body),
        integratedTime: seconds,
        logID: Buffer.from(logId).toString('hex'),
        logIndex: 1004,
      }),
    ),
  );
  const raw = { rawBytes: base64(certificate) };
  const chained = version !== '0.3' || fields.chain === true;
  const stamped = second || fields.stampedAt !== undefined;
  return {
    mediaType:
      version === '0.3'
        ? 'application/vnd.dev.sigstore.bundle.v0.3+json'
        : `application/vnd.dev.sigstore.bundle+json;version=${version}`,
    verificationMaterial: {
      ...(chained
        ? { x509CertificateChain: { certificates: [raw, { rawBytes: base64(own.intermediateDer) }] } }
        : { certificate: raw }),
      tlogEntries: [
        {
          logIndex: '1004',
          logId: { keyId: base64(logId) },
          kindVersion: { kind: entry, version: '0.0.1' },
          ...(second
            ? {}
            : {
                integratedTime: String(seconds),
                inclusionPromise: { signedEntryTimestamp: base64(promise) },
              }),
          ...(version === '0.1'
            ? {}
            : {
                inclusionProof: {
                  logIndex: '4',
                  rootHash: base64(root),
                  treeSize: String(leaves.length),
                  hashes: path.map(base64),
                  checkpoint: { envelope: `${note}\n\u2014 ${logName} ${base64(await sign())}\n` },
                },
              }),
          canonicalizedBody: base64(body),
        },
      ],
      timestampVerificationData: stamped
        ? {
            rfc3161Timestamps: [
              {
                signedTimestamp: base64(
                  await timestamp(own, made, fields.stampedAt ?? SIGNED_AT, fields.stampedBy),
                ),
              },
            ],
          }
        : {},
    },
    ...(fields.file === undefined
      ? {
          dsseEnvelope: {
            payload: base64(payload),
            payloadType: PAYLOAD_TYPE,
            signatures: [{ sig: base64(made), keyid: '' }],
          },
        }
      : {
          messageSignature: {
            messageDigest: { algorithm: 'SHA2_256', digest: base64(sha256(fields.file)) },
            signature: base64(made),
          },
        }),
  };
}
