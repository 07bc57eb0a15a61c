/**
 * A made-up instance of Sigstore: who certifies identities, logs of certificates and of signatures, old and new, and a
 * timestamp authority. For tests only.
 */
import { concat, sha256, sha256Hex, unshared, utf8 } from '../../protocols/encoding.ts';
import {
  AUTHORITY,
  certify,
  der,
  derSignature,
  type Extension,
  fingerprint,
  integer,
  keyUsage,
  type Maker,
  maker,
  name,
  octets,
  oid,
  sequence,
  time,
} from './certificate-maker.ts';
import { base64 } from './service-maker.ts';

export const SIGNED_AT = new Date('2025-05-05T12:05:00Z');
const FULCIO = '1.3.6.1.4.1.57264.1';
export const GITHUB = 'https://token.actions.githubusercontent.com';
export const REPOSITORY = 'https://github.com/example/enclave';
export const WORKFLOW = `${REPOSITORY}/.github/workflows/release.yml@refs/tags/v1.2.3`;

/** ECDSA with SHA-256, as DER. */
export const signature = async ({ privateKey }: Maker, data: Uint8Array): Promise<Uint8Array> =>
  derSignature(
    new Uint8Array(await crypto.subtle.sign({ name: 'ECDSA', hash: 'SHA-256' }, privateKey, unshared(data))),
  );

const purpose = (id: string, critical = false): Extension => ({
  id: '2.5.29.37',
  critical,
  value: sequence(oid(id)),
});
const ed25519 = (await crypto.subtle.generateKey('Ed25519', true, ['sign', 'verify'])) as CryptoKeyPair;

export interface Instance {
  readonly root: Maker;
  readonly rootDer: Uint8Array;
  readonly intermediate: Maker;
  readonly intermediateDer: Uint8Array;
  readonly certificateLog: Maker;
  readonly rekor: Maker;
  /** the new log's key */
  readonly rekor2: { readonly privateKey: CryptoKey; readonly spki: Uint8Array };
  readonly tsa: Maker;
  readonly tsaRootDer: Uint8Array;
  readonly tsaDer: Uint8Array;
}

export async function instance(): Promise<Instance> {
  const root = await maker('sigstore');
  const intermediate = await maker('sigstore-intermediate');
  const tsaRoot = await maker('tsa-root');
  const tsa = await maker('tsa', 'P-256');
  return {
    root,
    rootDer: await certify(root, root, { extensions: AUTHORITY }),
    intermediate,
    intermediateDer: await certify(root, intermediate, {
      extensions: [...AUTHORITY, purpose('1.3.6.1.5.5.7.3.3')],
      serial: 2,
    }),
    certificateLog: await maker('ctfe', 'P-256'),
    rekor: await maker('rekor', 'P-256'),
    rekor2: {
      privateKey: ed25519.privateKey,
      spki: new Uint8Array(await crypto.subtle.exportKey('spki', ed25519.publicKey)),
    },
    tsa,
    tsaRootDer: await certify(tsaRoot, tsaRoot, { extensions: AUTHORITY }),
    tsaDer: await certify(tsaRoot, tsa, {
      extensions: [keyUsage(0), purpose('1.3.6.1.5.5.7.3.8', true)],
      serial: 7,
    }),
  };
}

/** The digests by which a policy, or a test, pins it. */
export const pinsOf = (own: Instance) => ({
  roots: [fingerprint(own.rootDer)],
  logs: [sha256Hex(own.rekor.spki), sha256Hex(own.rekor2.spki)],
  certificateLogs: [sha256Hex(own.certificateLog.spki)],
  timestampRoots: [fingerprint(own.tsaRootDer)],
});

/** Its trusted_root.json. */
export const trustedRoot = (own: Instance) => ({
  mediaType: 'application/vnd.dev.sigstore.trustedroot+json;version=0.1',
  tlogs: [own.rekor.spki, own.rekor2.spki].map((spki) => ({ publicKey: { rawBytes: base64(spki) } })),
  ctlogs: [{ publicKey: { rawBytes: base64(own.certificateLog.spki) } }],
  certificateAuthorities: [
    {
      certChain: {
        certificates: [own.intermediateDer, own.rootDer].map((one) => ({ rawBytes: base64(one) })),
      },
    },
  ],
  timestampAuthorities: [{ certChain: { certificates: [{ rawBytes: base64(own.tsaRootDer) }] } }],
});

export interface IdentityFields {
  readonly issuer?: string;
  /** a URI, or an address when it holds an @ and no colon */
  readonly subject?: string;
  readonly repository?: string;
  readonly purpose?: string;
  readonly notBefore?: Date;
  readonly notAfter?: Date;
  /** who promises to show the certificate */
  readonly shownBy?: Maker | undefined;
  readonly by?: Maker;
  readonly more?: readonly Extension[];
}

/** A certificate for ten minutes, with a log's promise in it (RFC 6962). */
export async function certificateOf(own: Instance, key: Maker, fields: IdentityFields): Promise<Uint8Array> {
  const { issuer = GITHUB, subject = WORKFLOW, repository = REPOSITORY, by = own.intermediate } = fields;
  const {
    notBefore = new Date(SIGNED_AT.getTime() - 300_000),
    notAfter = new Date(SIGNED_AT.getTime() + 300_000),
  } = fields;
  const text = (id: string, value: string): Extension => ({
    id: `${FULCIO}.${id}`,
    value: der(0x0c, utf8(value)),
  });
  const extensions: Extension[] = [
    keyUsage(0),
    purpose(fields.purpose ?? '1.3.6.1.5.5.7.3.3'),
    {
      id: '2.5.29.17',
      critical: true,
      value: sequence(der(/^[^:]+@[^:]+$/.test(subject) ? 0x81 : 0x86, utf8(subject))),
    },
    { id: `${FULCIO}.1`, value: utf8(issuer) },
    text('8', issuer),
    text('12', repository),
    text('13', 'c0ffee'),
    text('14', 'refs/tags/v1.2.3'),
    ...(fields.more ?? []),
  ];
  const options = { notBefore, notAfter, serial: 9 };
  const bare = await certify(by, key, { ...options, extensions });
  const log = 'shownBy' in fields ? fields.shownBy : own.certificateLog;
  if (log === undefined) return bare;
  // What is signed of the certificate without the promise: its first element.
  const [, size = 0] = bare.subarray(4, 6);
  const length = 4 + ((bare[6]! << 8) | bare[7]!);
  if (size !== 0x82) throw new Error('expected a body of more than 255 bytes');
  const body = bare.subarray(4, 4 + length);
  const u16 = (value: number) => Uint8Array.of(value >> 8, value);
  const at = new Uint8Array(8);
  new DataView(at.buffer).setBigUint64(0, BigInt(notBefore.getTime()));
  const signed = concat(
    Uint8Array.of(0, 0),
    at,
    u16(1),
    sha256(by.spki),
    Uint8Array.of(0, body.length >> 8, body.length),
    body,
    u16(0),
  );
  const promise = await signature(log, signed);
  const timestamp = concat(
    Uint8Array.of(0),
    sha256(log.spki),
    at,
    u16(0),
    Uint8Array.of(4, 3),
    u16(promise.length),
    promise,
  );
  const list = concat(u16(timestamp.length + 2), u16(timestamp.length), timestamp);
  return certify(by, key, {
    ...options,
    extensions: [...extensions, { id: '1.3.6.1.4.1.11129.2.4.2', value: octets(list) }],
  });
}

const SHA256 = sequence(oid('2.16.840.1.101.3.4.2.1'));

/** A TimeStampResp (RFC 3161). */
export async function timestamp(
  own: Instance,
  data: Uint8Array,
  at: Date,
  by = own.tsa,
): Promise<Uint8Array> {
  const info = sequence(
    integer(1),
    oid('1.3.6.1.4.1.57264.2'),
    sequence(SHA256, octets(sha256(data))),
    integer(5),
    time(at),
  );
  const attribute = (id: string, value: Uint8Array) => sequence(oid(id), der(0x31, value));
  const attributes = concat(
    attribute('1.2.840.113549.1.9.3', oid('1.2.840.113549.1.9.16.1.4')),
    attribute('1.2.840.113549.1.9.4', octets(sha256(info))),
  );
  const signer = sequence(
    integer(1),
    sequence(name('tsa-root'), integer(7)),
    SHA256,
    der(0xa0, attributes),
    sequence(oid('1.2.840.10045.4.3.2')),
    octets(await signature(by, der(0x31, attributes))),
  );
  const signedData = sequence(
    integer(3),
    der(0x31, SHA256),
    sequence(oid('1.2.840.113549.1.9.16.1.4'), der(0xa0, octets(info))),
    der(0xa0, own.tsaDer),
    der(0x31, signer),
  );
  return sequence(sequence(integer(0)), sequence(oid('1.2.840.113549.1.7.2'), der(0xa0, signedData)));
}
