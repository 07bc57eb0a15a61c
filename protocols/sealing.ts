/**
 * Sealing: encryption to a key that evidence binds, and of the reply to whoever sealed the request.
 *
 * HPKE base mode (RFC 9180) with HKDF-SHA256 0x0001 and AES-256-GCM 0x0002; one message per context. The KEM is
 * DHKEM(X25519, HKDF-SHA256) 0x0020, with an enc of 32 bytes, or X-Wing 0x647a (x-wing.ts), with one of 1120. The
 * recipient's public key says which; the message names it. The reply follows RFC 9458 section 4.4 with our own
 * export label.
 *
 *   sealed  = KEM id (2, big-endian) || enc (32 or 1120) || ciphertext (n) || tag (16)
 *             HPKE `info` = the UTF-8 purpose string, one of SEALING_INFO; `aad` = chosen by the protocol
 *   reply   = response_nonce (32) || ciphertext (n) || tag (16)
 *             secret = context.Export("vouch/v2/reply", 32); salt = enc || response_nonce;
 *             prk = HKDF-Extract(salt, secret); key = Expand(prk, "key", 32); nonce = Expand(prk, "nonce", 12);
 *             AES-256-GCM with empty aad
 *   stream  = sealed-stream.ts, with key and nonce derived as a reply's from context.Export("vouch/v2/stream", 32)
 *   blob    = nonce (12) || ciphertext (n) || tag (16), AES-256-GCM
 *
 * Not guaranteed: who sent a request (base mode authenticates nobody), forward secrecy against a later theft of
 * the recipient's private key (hence one key per boot, never stored), the order or number of replies, and
 * hidden lengths. Replays are caught only by a ReplayGuard. Needs X25519 in WebCrypto (Node 20, Chrome 133,
 * Firefox 130, Safari 17 and later).
 */
import { CipherSuite, type KemInterface } from '@hpke/core';
import { concat, randomBytes, sha256, unshared, utf8 } from './encoding.ts';
import { VouchError } from './errors.ts';
import { hkdfExpand, hkdfExtract } from './hkdf.ts';
import { generateX25519Pair, InlineAesGcm, InlineDhkem, InlineHkdf } from './inline-hpke.ts';
import { createXWing, X_WING_ENC_BYTES, X_WING_PUBLIC_KEY_BYTES } from './x-wing.ts';

/** What a sealed message is for: a message sealed for one purpose does not open for another. */
export const SEALING_INFO = {
  /** an inference request, sealed to a runner */
  infer: 'vouch/v2/infer',
  /** a request for text, sealed to a runner; the answer is a sealed stream (sealed-stream.ts) */
  chat: 'vouch/v2/chat',
  /** a shard's scalars, sealed to a worker; its point comes back as the reply */
  shard: 'vouch/v2/shard',
  /** a model key, sealed by the key-broker to the party whose evidence it accepted */
  release: 'vouch/v2/release',
  /** a row that a proof is to hide, sealed to a coordinator */
  row: 'vouch/v2/row',
} as const;
export type SealingInfo = (typeof SEALING_INFO)[keyof typeof SEALING_INFO];

/** Ways to seal; a policy may demand `x-wing`, which holds against quantum computers as well. */
export const SEALING_SUITES = ['x25519', 'x-wing'] as const;
export type SealingSuite = (typeof SEALING_SUITES)[number];

const KEM_ID_BYTES = 2;
const TAG_BYTES = 16;
const REPLY_NONCE_BYTES = 32;
const BLOB_NONCE_BYTES = 12;
const BLOB_KEY_BYTES = 32;

/** Plaintexts are at most 64 MiB. */
export const MAX_PLAINTEXT_BYTES = 64 * 1024 * 1024;
/** What sealing adds to a request at most: KEM id, enc and tag. */
export const SEAL_OVERHEAD_BYTES = KEM_ID_BYTES + X_WING_ENC_BYTES + TAG_BYTES;

const REPLY_LABEL = utf8('vouch/v2/reply');
const STREAM_LABEL = utf8('vouch/v2/stream');
/** What the sender of a stream chooses at random, so that its key is its own. */
export const STREAM_NONCE_BYTES = 32;

const hpke = (kem: KemInterface) => new CipherSuite({ kem, kdf: new InlineHkdf(), aead: new InlineAesGcm() });
const SUITES: Readonly<Record<SealingSuite, { hpke: CipherSuite; keyBytes: number; encBytes: number }>> = {
  x25519: { hpke: hpke(new InlineDhkem()), keyBytes: 32, encBytes: 32 },
  'x-wing': { hpke: hpke(createXWing()), keyBytes: X_WING_PUBLIC_KEY_BYTES, encBytes: X_WING_ENC_BYTES },
};
const kemId = (suite: SealingSuite): Uint8Array => {
  const { id } = SUITES[suite].hpke.kem;
  return Uint8Array.of(id >> 8, id & 0xff);
};

/** The length of a suite's public keys. */
export const sealingKeyBytes = (suite: SealingSuite): number => SUITES[suite].keyBytes;

/** The recipient's side of sealing: a public key, and a private one that is not given out. */
export interface SealingKeyPair {
  readonly suite: SealingSuite;
  readonly publicKey: Uint8Array;
  readonly handle: CryptoKeyPair;
}

export interface SealContext {
  readonly info: SealingInfo;
  /** Authenticated with the message but not sent in it, for instance the subject; empty by default. */
  readonly aad?: Uint8Array;
}

export interface SealedRequest {
  readonly sealed: Uint8Array;
  /** Opens the reply that the recipient sealed; throws `seal-rejected`. */
  openReply(reply: Uint8Array): Promise<Uint8Array>;
  /** The key of the answer that is a stream with this nonce; protocols/sealed-stream.ts alone uses it. */
  streamKey(nonce: Uint8Array): Promise<StreamKey>;
}

/** What the frames of one stream are sealed with. */
export interface StreamKey {
  readonly key: Uint8Array;
  /** 12 bytes, from which each frame's nonce is made */
  readonly nonce: Uint8Array;
}

export interface OpenedRequest {
  readonly plaintext: Uint8Array;
  /** The request's encapsulated key: unique per request. */
  readonly enc: Uint8Array;
  /** Seals a reply that only the sender of this request can open. */
  sealReply(plaintext: Uint8Array): Promise<Uint8Array>;
  /** As that of `SealedRequest`. */
  streamKey(nonce: Uint8Array): Promise<StreamKey>;
}

/** Whether sealed bytes can hold a plaintext of this length: to be looked at before they are opened. */
export const canHold = (sealed: Uint8Array, plaintextBytes: number): boolean =>
  SEALING_SUITES.some(
    (suite) => sealed.length === KEM_ID_BYTES + SUITES[suite].encBytes + plaintextBytes + TAG_BYTES,
  );

/** A fresh key pair whose private half cannot be exported. */
export async function generateSealingKeyPair(suite: SealingSuite = 'x25519'): Promise<SealingKeyPair> {
  const { kem } = SUITES[suite].hpke;
  if (suite === 'x-wing') {
    const handle = await kem.generateKeyPair();
    return { suite, publicKey: new Uint8Array(await kem.serializePublicKey(handle.publicKey)), handle };
  }
  return { suite, ...(await generateX25519Pair()) };
}

/** All of sealing that does not depend on the message; for one message. */
export interface PreparedSeal {
  /** As `sealTo`. RangeError the second time. */
  seal(plaintext: Uint8Array, aad: Uint8Array): Promise<SealedRequest>;
}

/** Throws `seal-rejected` for a public key that is malformed or of small order. */
export async function prepareSeal(publicKey: Uint8Array, info: SealingInfo): Promise<PreparedSeal> {
  const suite = SEALING_SUITES.find((name) => sealingKeyBytes(name) === publicKey.length);
  if (suite === undefined) throw rejected();
  const context = await rejecting(async () => {
    const { hpke } = SUITES[suite];
    const recipientPublicKey = await hpke.kem.deserializePublicKey(publicKey);
    return hpke.createSenderContext({ recipientPublicKey, info: utf8(info) });
  });
  const enc = new Uint8Array(context.enc);
  let used = false;
  return {
    async seal(plaintext, aad) {
      if (used) throw new RangeError('prepared seal: it has been used, prepare another');
      used = true;
      checkPlaintext(plaintext);
      const sealed = await rejecting(async () =>
        concat(kemId(suite), enc, new Uint8Array(await context.seal(plaintext, aad))),
      );
      return {
        sealed,
        openReply: (reply) =>
          rejecting(async () => {
            checkSealed(reply, REPLY_NONCE_BYTES);
            const nonce = reply.subarray(0, REPLY_NONCE_BYTES);
            const { aead, iv } = replyKey(await context.export(REPLY_LABEL, 32), enc, nonce);
            return new Uint8Array(await aead.open(iv, reply.subarray(REPLY_NONCE_BYTES), NO_AAD));
          }),
        streamKey: async (nonce) => exportedKey(await context.export(STREAM_LABEL, 32), enc, nonce),
      };
    },
  };
}

/**
 * Seals `plaintext` to the holder of `publicKey`, whose length says by which suite. Throws `too-large` above
 * MAX_PLAINTEXT_BYTES and `seal-rejected` for a public key that is malformed or of small order.
 */
export async function sealTo(
  publicKey: Uint8Array,
  plaintext: Uint8Array,
  { info, aad = new Uint8Array() }: SealContext,
): Promise<SealedRequest> {
  // Before any work.
  checkPlaintext(plaintext);
  return (await prepareSeal(publicKey, info)).seal(plaintext, aad);
}

/**
 * Opens what `sealTo` made for one of these keys, this purpose and aad. Whatever is wrong with it, the error is the
 * same `seal-rejected`. With `replays`, a second arrival of the same message is `replayed`, and `busy` when the
 * guard is full; a message counts as seen only once it has opened, so that forgeries cannot fill the guard.
 */
export async function open(
  keys: SealingKeyPair | readonly SealingKeyPair[],
  sealed: Uint8Array,
  { info, aad = new Uint8Array(), replays }: SealContext & { readonly replays?: ReplayGuard },
): Promise<OpenedRequest> {
  const pair = [keys].flat().find(({ suite }) => kemId(suite).every((byte, i) => sealed[i] === byte));
  if (pair === undefined) throw rejected();
  const { hpke, encBytes } = SUITES[pair.suite];
  const bodyAt = KEM_ID_BYTES + encBytes;
  checkSealed(sealed, bodyAt);
  const enc = sealed.slice(KEM_ID_BYTES, bodyAt);
  replays?.check(enc);
  const opened = await rejecting(async () => {
    const context = await hpke.createRecipientContext({ recipientKey: pair.handle, enc, info: utf8(info) });
    const plaintext = new Uint8Array(await context.open(sealed.subarray(bodyAt), aad));
    return { context, plaintext };
  });
  // Again, in one step with recording it: the same message may have been opened meanwhile.
  replays?.admit(enc);
  return {
    plaintext: opened.plaintext,
    enc,
    sealReply: async (reply) => {
      checkPlaintext(reply);
      const nonce = randomBytes(REPLY_NONCE_BYTES);
      const { aead, iv } = replyKey(await opened.context.export(REPLY_LABEL, 32), enc, nonce);
      return concat(nonce, new Uint8Array(await aead.seal(iv, reply, NO_AAD)));
    },
    streamKey: async (nonce) => exportedKey(await opened.context.export(STREAM_LABEL, 32), enc, nonce),
  };
}

const NO_AAD = new Uint8Array();

function replyKey(secret: ArrayBuffer, enc: Uint8Array, replyNonce: Uint8Array) {
  const { key, nonce } = exportedKey(secret, enc, replyNonce);
  return { aead: new InlineAesGcm().createEncryptionContext(key), iv: nonce };
}

/** RFC 9458 section 4.4, from the exported secret on. */
export function exportedKey(secret: ArrayBuffer, enc: Uint8Array, nonce: Uint8Array): StreamKey {
  const prk = hkdfExtract(concat(enc, nonce), new Uint8Array(secret));
  return { key: hkdfExpand(prk, utf8('key'), 32), nonce: hkdfExpand(prk, utf8('nonce'), 12) };
}

export interface ReplayGuard {
  /** Throws `replayed` for an `enc` seen before, `busy` when no more can be remembered. */
  check(enc: Uint8Array): void;
  /** Checks and remembers, in one step. */
  admit(enc: Uint8Array): void;
  readonly size: number;
}

/**
 * Remembers the `enc` of every request that one key has opened, for as long as that key lives: one guard per
 * sealing key pair. Nothing is ever forgotten, so at `limit` (default 2^20, about 100 MB) it refuses everything
 * with `busy`; the owner then has to take a new key and new evidence. It does not survive a restart; neither
 * does the key.
 */
export function createReplayGuard({ limit = 2 ** 20 }: { limit?: number } = {}): ReplayGuard {
  const seen = new Set<string>();
  // A digest, so that a long enc takes no more room than a short one.
  const nameOf = (enc: Uint8Array) => String.fromCharCode(...(enc.length > 32 ? sha256(enc) : enc));
  const check = (name: string) => {
    if (seen.has(name)) {
      throw new VouchError(
        'replayed',
        'sealed request: this very message was received before; seal a new one',
      );
    }
    if (seen.size >= limit) {
      throw new VouchError(
        'busy',
        'sealed request: this key has served its last request; ask for new evidence',
      );
    }
  };
  return {
    check: (enc) => check(nameOf(enc)),
    admit: (enc) => {
      const name = nameOf(enc);
      check(name);
      seen.add(name);
    },
    get size() {
      return seen.size;
    },
  };
}

/** 32 random bytes for `encryptBlob`. */
export const generateBlobKey = (): Uint8Array => randomBytes(BLOB_KEY_BYTES);

/**
 * AES-256-GCM with a random 96-bit nonce in front: for a model at rest. `key` is 32 bytes and encrypts at most
 * 2^32 blobs (NIST SP 800-38D section 8.3); Vouch takes a new key per blob.
 */
export async function encryptBlob(
  key: Uint8Array,
  plaintext: Uint8Array,
  aad: Uint8Array,
): Promise<Uint8Array> {
  checkPlaintext(plaintext);
  const iv = randomBytes(BLOB_NONCE_BYTES);
  const algorithm = { name: 'AES-GCM', iv, additionalData: unshared(aad) };
  return concat(
    iv,
    new Uint8Array(await crypto.subtle.encrypt(algorithm, await importBlobKey(key), unshared(plaintext))),
  );
}

/** Opens what `encryptBlob` made with the same key and aad; throws `seal-rejected`. */
export async function decryptBlob(key: Uint8Array, blob: Uint8Array, aad: Uint8Array): Promise<Uint8Array> {
  checkSealed(blob, BLOB_NONCE_BYTES);
  const blobKey = await importBlobKey(key);
  return rejecting(async () => {
    const iv = unshared(blob.subarray(0, BLOB_NONCE_BYTES));
    const algorithm = { name: 'AES-GCM', iv, additionalData: unshared(aad) };
    return new Uint8Array(
      await crypto.subtle.decrypt(algorithm, blobKey, unshared(blob.subarray(BLOB_NONCE_BYTES))),
    );
  });
}

function importBlobKey(key: Uint8Array): Promise<CryptoKey> {
  if (key.length !== BLOB_KEY_BYTES) throw new RangeError(`blob key: expected ${BLOB_KEY_BYTES} bytes`);
  return crypto.subtle.importKey('raw', unshared(key), 'AES-GCM', false, ['encrypt', 'decrypt']);
}

function checkPlaintext(plaintext: Uint8Array): void {
  if (plaintext.length > MAX_PLAINTEXT_BYTES) {
    throw new VouchError(
      'too-large',
      `plaintext: expected at most ${MAX_PLAINTEXT_BYTES} bytes to seal, got ${plaintext.length}`,
    );
  }
}

function checkSealed(sealed: Uint8Array, prefix: number): void {
  const least = prefix + TAG_BYTES;
  if (sealed.length < least || sealed.length > least + MAX_PLAINTEXT_BYTES) throw rejected();
}

// One error for every cause, and no `cause`: what differs would be an oracle.
const rejected = () =>
  new VouchError('seal-rejected', 'sealed message: it does not open with this key and purpose; seal it anew');

async function rejecting<T>(work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch {
    throw rejected();
  }
}
