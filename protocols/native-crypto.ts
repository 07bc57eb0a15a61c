/**
 * Node's own cryptography, called where it is needed: a small message then takes no trips to another thread, which
 * WebCrypto makes for every step and which are most of what sealing one costs. Undefined in a browser, where
 * WebCrypto and JavaScript do the same work; tests judge all of them by the same vectors.
 *
 * Texts of bytes are made here as well: an answer holds kilobytes of them.
 *
 * Private keys stay in closures; what is handed around is WebCrypto's twin of a key, which does not give it out.
 *
 * Not guaranteed: any check of keys and encodings beyond OpenSSL's. Callers make their own.
 */

/** What is used of `node:crypto`; written down here because this folder knows nothing of Node. */
interface NodeCrypto {
  createHash(name: 'sha256'): Sha256;
  hash(name: 'sha256', data: Uint8Array, encoding: 'latin1'): string;
  createPublicKey(pem: string): unknown;
  verify(algorithm: null, data: Uint8Array, key: unknown, signature: Uint8Array): boolean;
  generateKeyPairSync(type: 'x25519' | 'ed25519'): {
    publicKey: { export(format: { format: 'jwk' }): { x?: string } };
    privateKey: { export(format: { format: 'der'; type: 'pkcs8' }): Uint8Array };
  };
  createPrivateKey(key: { key: Uint8Array; format: 'der'; type: 'pkcs8' }): unknown;
  sign(algorithm: null, data: Uint8Array, key: unknown): Uint8Array;
  diffieHellman(keys: { privateKey: unknown; publicKey: unknown }): Uint8Array<ArrayBuffer>;
  createSecretKey(key: Uint8Array): unknown;
  createCipheriv(name: string, key: unknown, iv: Uint8Array): GcmCipher & { getAuthTag(): Uint8Array };
  createDecipheriv(
    name: string,
    key: unknown,
    iv: Uint8Array,
    options: { authTagLength: number },
  ): GcmCipher & { setAuthTag(tag: Uint8Array): void };
}
interface Sha256 {
  update(data: Uint8Array): unknown;
  digest(): Uint8Array<ArrayBuffer>;
}
interface GcmCipher {
  setAAD(aad: Uint8Array): void;
  update(data: Uint8Array): Uint8Array;
  final(): Uint8Array;
}

/** Lower-case hex, and unpadded base64url. */
export type TextEncoding = 'hex' | 'base64url';
/** What is used of `node:buffer`. */
interface NodeBuffer {
  Buffer: {
    from(
      bytes: ArrayBufferLike,
      at: number,
      length: number,
    ): { toString(encoding: TextEncoding | 'base64'): string };
    from(text: string, encoding: TextEncoding): Uint8Array;
  };
}

/** An X25519 key, whose private half is used and not given out. */
export interface AgreementKey {
  readonly publicKey: Uint8Array<ArrayBuffer>;
  /** Throws for a public key of small order. */
  agree(publicKey: Uint8Array): Uint8Array<ArrayBuffer>;
}

/** Signs by Ed25519, with a key that is not given out: 64 bytes. */
export type SignEd25519 = (message: Uint8Array) => Uint8Array<ArrayBuffer>;

export interface TextCoder {
  encode(bytes: Uint8Array, encoding: TextEncoding): string;
  /** Undefined for a text that is not what `encode` makes of any bytes. */
  decode(text: string, encoding: TextEncoding): Uint8Array<ArrayBuffer> | undefined;
}

export interface NativeCrypto extends TextCoder {
  sha256(parts: readonly Uint8Array[]): Uint8Array<ArrayBuffer>;
  hmacSha256(key: Uint8Array, message: Uint8Array): Uint8Array<ArrayBuffer>;
  generateEd25519(): { readonly publicKey: Uint8Array<ArrayBuffer>; readonly sign: SignEd25519 };
  /** Of a PrivateKeyInfo (RFC 8410 section 7). */
  signerEd25519(pkcs8: Uint8Array): SignEd25519;
  /** The bare equation of RFC 8032 section 5.1.7 without cofactor: see ed25519.ts for what has to be checked before. */
  verifyEd25519(publicKey: Uint8Array, message: Uint8Array, signature: Uint8Array): boolean;
  generateX25519(): AgreementKey & { pkcs8(): Uint8Array };
  /** AES-256-GCM; the tag of 16 bytes follows the ciphertext. */
  sealAesGcm(
    key: Uint8Array,
    iv: Uint8Array,
    plaintext: Uint8Array,
    aad: Uint8Array,
  ): Uint8Array<ArrayBuffer>;
  /** Throws when the tag does not fit. */
  openAesGcm(key: Uint8Array, iv: Uint8Array, sealed: Uint8Array, aad: Uint8Array): Uint8Array<ArrayBuffer>;
  /**
   * The same into `target`, which has the plaintext's length; returns SHA-256 of `prefix` and plaintext. Both take what lies in
   * the core's cache, and nothing large is allocated. What is in `target` counts for nothing when it throws.
   */
  openAesGcmInto(
    key: Uint8Array,
    iv: Uint8Array,
    sealed: Uint8Array,
    aad: Uint8Array,
    target: Uint8Array,
    prefix: Uint8Array,
  ): Uint8Array<ArrayBuffer>;
}

const AES = 'aes-256-gcm';
const TAG_BYTES = 16;
const HASH_BYTES = 32;
/** of SHA-256 */
const BLOCK_BYTES = 64;
const SCRATCH_BYTES = 4096;
/** Less than a core's second cache. */
const PIECE_BYTES = 256 * 1024;
const MAX_KEYS = 64;
const PEM_BEGIN = '-----BEGIN PUBLIC KEY-----\n';
const PEM_END = '\n-----END PUBLIC KEY-----';
/** SubjectPublicKeyInfo of Ed25519 and X25519 up to the 32 bytes of the key (RFC 8410 section 4); the last of the OID differs. */
const spki = (oidEnd: number) => Uint8Array.of(0x30, 42, 0x30, 5, 6, 3, 0x2b, 0x65, oidEnd, 3, 33, 0);
const ED25519_SPKI = spki(0x70);
const X25519_SPKI = spki(0x6e);

function joined(...parts: readonly Uint8Array[]): Uint8Array<ArrayBuffer> {
  const out = new Uint8Array(parts.reduce((sum, { length }) => sum + length, 0));
  let at = 0;
  for (const part of parts) {
    out.set(part, at);
    at += part.length;
  }
  return out;
}

/** Parts lie here one after the other for one call, because asking for memory takes longer than hashing it. Nothing stays. */
const scratch = new Uint8Array(SCRATCH_BYTES);
function inScratch<T>(parts: readonly Uint8Array[], use: (joined: Uint8Array) => T): T {
  let end = 0;
  for (const part of parts) {
    scratch.set(part, end);
    end += part.length;
  }
  const result = use(scratch.subarray(0, end));
  scratch.fill(0, 0, end);
  return result;
}

/** What a cipher makes of all these bytes, in pieces, so that large memory is asked for once. */
function updateInto(
  target: Uint8Array,
  cipher: { update(bytes: Uint8Array): Uint8Array },
  bytes: Uint8Array,
  onPiece?: (piece: Uint8Array) => void,
): void {
  for (let at = 0; at < bytes.length; at += PIECE_BYTES) {
    const piece = cipher.update(bytes.subarray(at, at + PIECE_BYTES));
    onPiece?.(piece);
    target.set(piece, at);
  }
}

function over(node: NodeCrypto, { Buffer: octets }: NodeBuffer): NativeCrypto {
  const encode = (bytes: Uint8Array, encoding: TextEncoding | 'base64') =>
    octets.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString(encoding);
  const keys = new Map<string, unknown>();
  // Reading a key takes as long as using it, and a session uses the same few.
  const publicKeyOf = (prefix: Uint8Array, raw: Uint8Array): unknown => {
    const name = encode(joined(prefix, raw), 'base64');
    // Of anything but a text Node first finds out, by an exception, that it is no key of its own: most of the time that this takes.
    const key = keys.get(name) ?? node.createPublicKey(`${PEM_BEGIN}${name}${PEM_END}`);
    // The newest last: keys of one message pass by, those of a session stay.
    keys.delete(name);
    keys.set(name, key);
    if (keys.size > MAX_KEYS) keys.delete(keys.keys().next().value!);
    return key;
  };
  const decipherOf = (key: Uint8Array, iv: Uint8Array, sealed: Uint8Array, aad: Uint8Array) => {
    // Of raw bytes Node first finds out, by an exception, that they are no key of its own: half of the time for a small message.
    const decipher = node.createDecipheriv(AES, node.createSecretKey(key), iv, { authTagLength: TAG_BYTES });
    decipher.setAAD(aad);
    decipher.setAuthTag(sealed.subarray(sealed.length - TAG_BYTES));
    return decipher;
  };
  const sha256 = (parts: readonly Uint8Array[]): Uint8Array<ArrayBuffer> => {
    if (parts.length === 1) return atOnce(parts[0]!);
    if (parts.reduce((sum, { length }) => sum + length, 0) <= SCRATCH_BYTES) return inScratch(parts, atOnce);
    const hash = node.createHash('sha256');
    for (const part of parts) hash.update(part);
    return joined(hash.digest());
  };
  // An object for every hash, which has to be collected, takes several times as long; and of all forms that Node gives one in, a text is made the quickest.
  const atOnce = (bytes: Uint8Array): Uint8Array<ArrayBuffer> => {
    const text = node.hash('sha256', bytes, 'latin1');
    const digest = new Uint8Array(HASH_BYTES);
    for (let i = 0; i < HASH_BYTES; i++) digest[i] = text.charCodeAt(i);
    return digest;
  };
  const signerOf =
    (key: unknown): SignEd25519 =>
    (message) =>
      joined(node.sign(null, message, key));
  const rawPublic = (key: ReturnType<NodeCrypto['generateKeyPairSync']>['publicKey']) =>
    joined(octets.from(key.export({ format: 'jwk' }).x ?? '', 'base64url'));
  return {
    encode,
    // Node reads leniently, and ends at the first character that it does not know.
    decode(text, encoding) {
      const bytes = joined(octets.from(text, encoding));
      return encode(bytes, encoding) === text ? bytes : undefined;
    },
    sha256,
    // RFC 2104.
    hmacSha256(key, message) {
      const inner = new Uint8Array(BLOCK_BYTES).fill(0x36);
      const outer = new Uint8Array(BLOCK_BYTES).fill(0x5c);
      const short = key.length > BLOCK_BYTES ? sha256([key]) : key;
      for (let i = 0; i < short.length; i++) {
        inner[i]! ^= short[i]!;
        outer[i]! ^= short[i]!;
      }
      return sha256([outer, sha256([inner, message])]);
    },
    generateEd25519() {
      const { publicKey, privateKey } = node.generateKeyPairSync('ed25519');
      return { publicKey: rawPublic(publicKey), sign: signerOf(privateKey) };
    },
    signerEd25519: (pkcs8) => signerOf(node.createPrivateKey({ key: pkcs8, format: 'der', type: 'pkcs8' })),
    verifyEd25519: (publicKey, message, signature) =>
      node.verify(null, message, publicKeyOf(ED25519_SPKI, publicKey), signature),
    generateX25519() {
      const { publicKey, privateKey } = node.generateKeyPairSync('x25519');
      return {
        publicKey: rawPublic(publicKey),
        agree: (other) =>
          joined(node.diffieHellman({ privateKey, publicKey: publicKeyOf(X25519_SPKI, other) })),
        pkcs8: () => privateKey.export({ format: 'der', type: 'pkcs8' }),
      };
    },
    sealAesGcm(key, iv, plaintext, aad) {
      const cipher = node.createCipheriv(AES, node.createSecretKey(key), iv);
      cipher.setAAD(aad);
      const sealed = new Uint8Array(plaintext.length + TAG_BYTES);
      updateInto(sealed, cipher, plaintext);
      cipher.final();
      sealed.set(cipher.getAuthTag(), plaintext.length);
      return sealed;
    },
    openAesGcm(key, iv, sealed, aad) {
      const decipher = decipherOf(key, iv, sealed, aad);
      const plaintext = new Uint8Array(sealed.length - TAG_BYTES);
      updateInto(plaintext, decipher, sealed.subarray(0, plaintext.length));
      decipher.final();
      return plaintext;
    },
    openAesGcmInto(key, iv, sealed, aad, target, prefix) {
      const decipher = decipherOf(key, iv, sealed, aad);
      const hash = node.createHash('sha256');
      hash.update(prefix);
      updateInto(target, decipher, sealed.subarray(0, sealed.length - TAG_BYTES), (piece) =>
        hash.update(piece),
      );
      decipher.final();
      return joined(hash.digest());
    },
  };
}

const { process: host } = globalThis as {
  process?: {
    getBuiltinModule?(name: 'node:crypto'): NodeCrypto | undefined;
    getBuiltinModule?(name: 'node:buffer'): NodeBuffer | undefined;
  };
};
const node = host?.getBuiltinModule?.('node:crypto');
const buffer = host?.getBuiltinModule?.('node:buffer');

export const native: NativeCrypto | undefined = node && buffer && over(node, buffer);
