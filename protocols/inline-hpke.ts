/**
 * The parts of HPKE (RFC 9180) as @hpke/core has them, computed where they are called: HKDF, and on Node X25519 and
 * AES-256-GCM by its own cryptography. A browser keeps the library's of these.
 *
 * Not guaranteed: anything of HPKE itself, which is the library's; sealing.ts says what is built of it.
 */
import { Aes256Gcm, DhkemX25519HkdfSha256, HkdfSha256 } from '@hpke/core';
import { type Bytes, concat, unshared, utf8 } from './encoding.ts';
import { hkdfExpand, hkdfExtract } from './hkdf.ts';
import { type AgreementKey, native } from './native-crypto.ts';

/**
 * HKDF-SHA256 (RFC 5869) where it is called. WebCrypto's takes a trip to another thread per step, together about
 * half of the time that sealing a small message takes.
 */
export class InlineHkdf extends HkdfSha256 {
  override async extract(salt: Input, ikm: Input): Promise<ArrayBuffer> {
    return hkdfExtract(bytesOf(salt), bytesOf(ikm)).buffer;
  }
  override async expand(prk: Input, info: Input, length: number): Promise<ArrayBuffer> {
    return hkdfExpand(bytesOf(prk), bytesOf(info), length).buffer;
  }
  override async extractAndExpand(
    salt: Input,
    ikm: Input,
    info: Input,
    length: number,
  ): Promise<ArrayBuffer> {
    return this.expand(await this.extract(salt, ikm), info, length);
  }
}
type Input = ArrayBufferLike | ArrayBufferView;
const bytesOf = (input: Input): Uint8Array =>
  ArrayBuffer.isView(input)
    ? new Uint8Array(input.buffer, input.byteOffset, input.byteLength)
    : new Uint8Array(input);

/** AES-256-GCM where it is called, on Node. */
export class InlineAesGcm extends Aes256Gcm {
  override createEncryptionContext(key: Input): ReturnType<Aes256Gcm['createEncryptionContext']> {
    if (native === undefined) return super.createEncryptionContext(key);
    const { sealAesGcm, openAesGcm } = native;
    const raw = bytesOf(key);
    return {
      seal: async (iv, data, aad) => sealAesGcm(raw, bytesOf(iv), bytesOf(data), bytesOf(aad)).buffer,
      open: async (iv, data, aad) => openAesGcm(raw, bytesOf(iv), bytesOf(data), bytesOf(aad)).buffer,
    };
  }
}

/** The library's DHKEM with HKDF and, on Node, X25519 where they are called. */
export class InlineDhkem extends DhkemX25519HkdfSha256 {
  constructor() {
    super();
    this._kdf = new InlineHkdf();
    this._kdf.init(concat(utf8('KEM'), Uint8Array.of(this.id >> 8, this.id & 0xff)));
    if (native === undefined) return;
    const { generateX25519 } = native;
    const library = this._prim;
    // Shells stand where the library wants a CryptoKey; nobody else sees them.
    const shell = (publicKey: Bytes): CryptoKey => {
      const key = {} as CryptoKey;
      publicKeys.set(key, publicKey);
      return key;
    };
    this._prim = Object.assign(Object.create(library) as typeof library, {
      async generateKeyPair() {
        const own = generateX25519();
        const key = shell(own.publicKey);
        twins.set(key, own);
        return { publicKey: key, privateKey: key };
      },
      async deserializePublicKey(bytes: Input) {
        const raw = bytesOf(bytes).slice();
        if (raw.length !== 32) throw new RangeError('X25519 public key: expected 32 bytes');
        return shell(raw);
      },
      async serializePublicKey(key: CryptoKey) {
        return publicKeys.get(key)?.buffer ?? library.serializePublicKey(key);
      },
      async dh(privateKey: CryptoKey, publicKey: CryptoKey) {
        const other =
          publicKeys.get(publicKey) ?? new Uint8Array(await library.serializePublicKey(publicKey));
        return (
          twins.get(privateKey)?.agree(other).buffer ?? library.dh(privateKey, await importX25519(other))
        );
      },
    });
  }
}

/** Native twins of private keys, and the bytes of public ones, by what stands for them. */
const twins = new WeakMap<CryptoKey, AgreementKey>();
const publicKeys = new WeakMap<CryptoKey, Bytes>();

const importX25519 = (raw: Uint8Array): Promise<CryptoKey> =>
  crypto.subtle.importKey('raw', unshared(raw), 'X25519', true, []);

/** A pair of WebCrypto's, whose private half is not given out; on Node with a twin that is quicker to use. */
export async function generateX25519Pair(): Promise<{ publicKey: Bytes; handle: CryptoKeyPair }> {
  if (native === undefined) {
    const handle = (await crypto.subtle.generateKey('X25519', false, ['deriveBits'])) as CryptoKeyPair;
    return { publicKey: new Uint8Array(await crypto.subtle.exportKey('raw', handle.publicKey)), handle };
  }
  const own = native.generateX25519();
  const der = unshared(own.pkcs8());
  const privateKey = await crypto.subtle.importKey('pkcs8', der, 'X25519', false, ['deriveBits']);
  der.fill(0);
  twins.set(privateKey, own);
  const publicKey = await importX25519(own.publicKey);
  publicKeys.set(publicKey, own.publicKey);
  return { publicKey: own.publicKey, handle: { privateKey, publicKey } };
}
