/**
 * An entry in a log of signatures (Rekor): that it is in the tree whose head the log has signed (RFC 9162, section 2.1.3;
 * the head is a checkpoint, C2SP tlog-checkpoint and signed-note), and the older promise of the log to put it there, which
 * also says when (github.com/sigstore/rekor, "signed entry timestamp").
 *
 * Not guaranteed: that the log shows everybody the same tree, which only those who watch it see.
 */
import { canonicalJson, equal, fromHex, fromUtf8, sha256, sha256Hex, utf8 } from '../encoding.ts';
import { VouchError } from '../errors.ts';
import { printable } from '../printable.ts';
import { type PublicKey, verifyEd25519, verifySignature } from './signature.ts';
import { base64Bytes } from './text-bytes.ts';

export interface LogEntry {
  /** what was logged, JSON */
  readonly body: Uint8Array;
  /** of the log, lower-case hex */
  readonly logId: string;
  /** among all trees of the log */
  readonly index: bigint;
  /** seconds since 1970; 0 where the log says no time */
  readonly time: bigint;
  readonly promise?: Uint8Array;
  readonly inclusion?: Inclusion;
}

export interface Inclusion {
  /** among the leaves of the tree */
  readonly index: bigint;
  readonly size: bigint;
  readonly root: Uint8Array;
  readonly hashes: readonly Uint8Array[];
  readonly checkpoint: string;
}

const MAX_HASHES = 64;
const MAX_CHECKPOINT = 16 * 1024;
const MAX_SIGNATURES = 16;

/** Over body, time, log and index, as canonical JSON; undefined when there is none. */
export async function promisedBy(
  { body, logId, index, time, promise }: LogEntry,
  keys: readonly PublicKey[],
): Promise<PublicKey | undefined> {
  const key = keys.find(({ spki }) => sha256Hex(spki) === logId);
  if (promise === undefined || key === undefined) return undefined;
  const signed = canonicalJson({
    body: toBase64(body),
    integratedTime: Number(time),
    logID: logId,
    logIndex: Number(index),
  });
  const holds = await verifySignature(key, { name: 'ECDSA', hash: 'SHA-256' }, promise, utf8(signed));
  return holds ? key : undefined;
}

const toBase64 = (bytes: Uint8Array): string =>
  btoa(Array.from(bytes, (byte) => String.fromCharCode(byte)).join(''));

/** Why the entry is not in a tree that one of the logs has signed; undefined when it is. */
export async function inclusionFault(
  body: Uint8Array,
  { index, size, root, hashes, checkpoint }: Inclusion,
  keys: readonly PublicKey[],
): Promise<string | undefined> {
  const computed = rootOf(sha256(Uint8Array.of(0), body), { index, size, hashes });
  if (computed === undefined) return 'the proof of inclusion does not fit the size of the tree';
  if (!equal(computed, root)) return 'the proof of inclusion leads to another root';
  const head = await checkpointBy(checkpoint, keys);
  if (head === undefined) return 'no log that is pinned has signed the checkpoint';
  return head.size === size && equal(head.root, root) ? undefined : 'the checkpoint is of another tree';
}

/** RFC 9162, section 2.1.3.2; undefined for a proof of the wrong length. */
function rootOf(
  leaf: Uint8Array,
  { index, size, hashes }: Pick<Inclusion, 'index' | 'size' | 'hashes'>,
): Uint8Array | undefined {
  if (index >= size || hashes.length > MAX_HASHES) return undefined;
  const node = (left: Uint8Array, right: Uint8Array) => sha256(Uint8Array.of(1), left, right);
  let [at, last] = [index, size - 1n];
  let hash = leaf;
  for (const sibling of hashes) {
    if (last === 0n) return undefined;
    if ((at & 1n) === 1n || at === last) {
      hash = node(sibling, hash);
      while ((at & 1n) === 0n && at !== 0n) [at, last] = [at >> 1n, last >> 1n];
    } else hash = node(hash, sibling);
    [at, last] = [at >> 1n, last >> 1n];
  }
  return last === 0n ? hash : undefined;
}

/** Origin, size and root, and whatever a log adds; then signatures, of which those of others mean nothing here. */
async function checkpointBy(
  text: string,
  keys: readonly PublicKey[],
): Promise<{ size: bigint; root: Uint8Array } | undefined> {
  const [, note, signatures] = /^([\s\S]*?\n)\n([\s\S]*)$/.exec(text) ?? [];
  if (note === undefined || signatures === undefined || text.length > MAX_CHECKPOINT) return undefined;
  const [origin = '', size = '', root = ''] = note.split('\n');
  const bytes = base64Bytes(root);
  if (!/^(?:0|[1-9][0-9]{0,18})$/.test(size) || bytes?.length !== 32) return undefined;
  const lines = [...signatures.matchAll(/^\u2014 (\S+) ([A-Za-z0-9+/]+=*)$/gm)].slice(0, MAX_SIGNATURES);
  for (const [, name = '', signature = ''] of lines) {
    const raw = base64Bytes(signature);
    if (raw === undefined || raw.length < 5 || name === '' || !origin.startsWith(name)) continue;
    for (const key of keys) {
      if (!equal(hintOf(key, name), raw.subarray(0, 4))) continue;
      if (await holds(key, raw.subarray(4), utf8(note))) return { size: BigInt(size), root: bytes };
    }
  }
  return undefined;
}

/** The first bytes of a key's id: of Rekor's older keys their digest, of Ed25519 keys one with the name (signed-note). */
function hintOf(key: PublicKey, name: string): Uint8Array {
  const id =
    key.type === 'Ed25519' ? sha256(utf8(`${name}\n`), Uint8Array.of(1), key.point) : sha256(key.spki);
  return id.subarray(0, 4);
}

const holds = (key: PublicKey, signature: Uint8Array, data: Uint8Array): Promise<boolean> =>
  key.type === 'Ed25519'
    ? verifyEd25519(key, signature, data)
    : verifySignature(key, { name: 'ECDSA', hash: 'SHA-256' }, signature, data);

/** What a signature, as logged, is over: its bytes, the certificate of its key, and the digest of what was signed. */
export interface LoggedSignature {
  readonly signature: Uint8Array;
  readonly certificate: Uint8Array;
  readonly digest: Uint8Array;
  /** of what it is the SHA-256: of what was signed, or of the statement inside of it */
  readonly of: 'signed' | 'payload';
}

type Json = Readonly<Record<string, unknown>>;
const inside = (value: unknown, ...path: readonly string[]): unknown =>
  path.reduce<unknown>((at, name) => {
    const fields = Object(at) as Json;
    return Object.hasOwn(fields, name) ? fields[name] : undefined;
  }, value);

/** What an entry of a kind that is known here says; throws `bad-file`. */
export function loggedSignature({ body }: LogEntry): LoggedSignature {
  const refuse = (reason: string): never => {
    throw new VouchError('bad-file', `log entry: ${reason}`);
  };
  let json: unknown;
  try {
    json = JSON.parse(fromUtf8(body));
  } catch {
    return refuse('expected JSON');
  }
  const name = `${String(inside(json, 'kind'))} ${String(inside(json, 'apiVersion'))}`;
  const spec = inside(json, 'spec');
  const bytes = (...path: string[]): Uint8Array => {
    const value = inside(spec, ...path);
    return (
      (typeof value === 'string' ? base64Bytes(value) : undefined) ??
      refuse(`${path.join('.')}: expected base64`)
    );
  };
  const hexDigest = (...path: string[]): Uint8Array => {
    const value = inside(spec, ...path, 'value');
    const digest = inside(spec, ...path, 'algorithm') === 'sha256' && typeof value === 'string' ? value : '';
    return /^[0-9a-f]{64}$/.test(digest)
      ? fromHex(digest)
      : refuse(`${path.join('.')}: expected a SHA-256 digest`);
  };
  const one = (...path: string[]): void => {
    const list = inside(spec, ...path);
    if (!Array.isArray(list) || list.length !== 1) refuse(`${path.join('.')}: expected one signature`);
  };
  /** PEM in base64, as older entries hold certificates. */
  const pem = (...path: string[]): Uint8Array => {
    const text = new TextDecoder('latin1').decode(bytes(...path));
    const [, inner] =
      /^-----BEGIN CERTIFICATE-----([^-]*)-----END CERTIFICATE-----\s*$/.exec(text.trim()) ?? [];
    return (
      base64Bytes((inner ?? '').replaceAll(/\s/g, '')) ?? refuse(`${path.join('.')}: expected a certificate`)
    );
  };
  switch (name) {
    case 'hashedrekord 0.0.1':
      return {
        signature: bytes('signature', 'content'),
        certificate: pem('signature', 'publicKey', 'content'),
        digest: hexDigest('data', 'hash'),
        of: 'signed',
      };
    case 'dsse 0.0.1':
      one('signatures');
      return {
        signature: bytes('signatures', '0', 'signature'),
        certificate: pem('signatures', '0', 'verifier'),
        digest: hexDigest('payloadHash'),
        of: 'payload',
      };
    case 'intoto 0.0.2': {
      one('content', 'envelope', 'signatures');
      // Base64 of the base64 that stands in the envelope.
      const text = new TextDecoder('latin1').decode(bytes('content', 'envelope', 'signatures', '0', 'sig'));
      return {
        signature: base64Bytes(text) ?? refuse('expected a signature as base64'),
        certificate: pem('content', 'envelope', 'signatures', '0', 'publicKey'),
        digest: hexDigest('content', 'payloadHash'),
        of: 'payload',
      };
    }
    case 'hashedrekord 0.0.2': {
      const at = ['hashedRekordV002'] as const;
      if (inside(spec, ...at, 'data', 'algorithm') !== 'SHA2_256') refuse('expected a SHA-256 digest');
      return {
        signature: bytes(...at, 'signature', 'content'),
        certificate: bytes(...at, 'signature', 'verifier', 'x509Certificate', 'rawBytes'),
        digest: bytes(...at, 'data', 'digest'),
        of: 'signed',
      };
    }
    case 'dsse 0.0.2': {
      const at = ['dsseV002'] as const;
      one(...at, 'signatures');
      if (inside(spec, ...at, 'payloadHash', 'algorithm') !== 'SHA2_256') refuse('expected a SHA-256 digest');
      return {
        signature: bytes(...at, 'signatures', '0', 'content'),
        certificate: bytes(...at, 'signatures', '0', 'verifier', 'x509Certificate', 'rawBytes'),
        digest: bytes(...at, 'payloadHash', 'digest'),
        of: 'payload',
      };
    }
    default:
      return refuse(`kind ${printable(name.slice(0, 48))} is not read here`);
  }
}
