/** A made-up TPM and a made-up HyperEnclave platform, for tests only. */
import { createHash } from 'node:crypto';
import { sm2Digest, sm3 } from '../../protocols/attestation/sm2.ts';
import { concat, fromHex, hex, randomBytes, utf8 } from '../../protocols/encoding.ts';
import { certify, der, type Extension, keyUsage, type Maker, signRaw } from './certificate-maker.ts';
import { type Sm2Key, sm2Key, sm2Sign } from './sm2-maker.ts';

export const be = (value: number | bigint, bytes: number): Uint8Array =>
  fromHex(
    BigInt(value)
      .toString(16)
      .padStart(2 * bytes, '0'),
  );
const sized = (bytes: Uint8Array) => concat(be(bytes.length, 2), bytes);
export const NONCE = new Uint8Array(32).fill(5);

export interface AttestOptions {
  readonly magic?: number;
  readonly type?: number;
  readonly extraData?: Uint8Array;
  readonly safe?: number;
  /** algorithm and three bytes of PCRs each */
  readonly selections?: readonly (readonly [number, string])[];
  readonly digest?: Uint8Array;
  readonly signer?: Uint8Array;
}

export const SHA256_BANK = 0x0b;
export const SHA384_BANK = 0x0c;
export const SM3_BANK = 0x12;

export function attest(options: AttestOptions = {}): Uint8Array {
  const { magic = 0xff544347, type = 0x8018, extraData = NONCE, safe = 1 } = options;
  const { selections = [[SHA256_BANK, '030001']], digest = pcrDigest('sha384') } = options;
  return concat(
    be(magic, 4),
    be(type, 2),
    sized(options.signer ?? concat(be(SHA256_BANK, 2), new Uint8Array(32).fill(3))),
    sized(extraData),
    be(123_456, 8),
    be(2, 4),
    be(1, 4),
    be(safe, 1),
    be(0x20240101, 8),
    be(selections.length, 4),
    ...selections.flatMap(([bank, bits]) => [be(bank, 2), be(3, 1), fromHex(bits)]),
    sized(digest),
  );
}

/** Values of PCRs 0, 1 and 16. */
export const PCRS: Readonly<Record<number, Uint8Array>> = {
  0: new Uint8Array(32).fill(10),
  1: new Uint8Array(32).fill(11),
  16: new Uint8Array(32),
};
export const PCR_TEXT = `  sha1:\n    0 : 0x${'00'.repeat(20)}\n  sha256:\n${Object.entries(PCRS)
  .map(([index, value]) => `    ${index.padEnd(2)}: 0x${hex(value).toUpperCase()}\n`)
  .join('')}`;
export const PCR_JSON = JSON.stringify({
  sha256: Object.fromEntries(Object.entries(PCRS).map(([index, value]) => [index, hex(value)])),
});

export function pcrDigest(hash: string): Uint8Array {
  return new Uint8Array(
    createHash(hash)
      .update(concat(PCRS[0]!, PCRS[1]!, PCRS[16]!))
      .digest(),
  );
}

const trimmed = (bytes: Uint8Array): Uint8Array => {
  const start = bytes.findIndex((byte) => byte !== 0);
  return bytes.subarray(start < 0 ? bytes.length - 1 : start);
};

/** TPMT_SIGNATURE by a P-384 key. */
export async function ecdsaSignature(key: Maker, data: Uint8Array, hash = SHA384_BANK): Promise<Uint8Array> {
  const raw = await signRaw(key, data);
  const half = raw.length / 2;
  return concat(
    be(0x18, 2),
    be(hash, 2),
    sized(trimmed(raw.subarray(0, half))),
    sized(trimmed(raw.subarray(half))),
  );
}

/** TPMT_SIGNATURE by an RSA key. */
export async function rsaSignature(scheme: 'RSASSA' | 'RSAPSS', salt = 32) {
  const name = scheme === 'RSASSA' ? 'RSASSA-PKCS1-v1_5' : 'RSA-PSS';
  const keys = await crypto.subtle.generateKey(
    { name, hash: 'SHA-256', modulusLength: 2048, publicExponent: Uint8Array.of(1, 0, 1) },
    true,
    ['sign', 'verify'],
  );
  const spki = new Uint8Array(await crypto.subtle.exportKey('spki', keys.publicKey));
  const sign = async (data: Uint8Array): Promise<Uint8Array> => {
    const algorithm = scheme === 'RSASSA' ? { name } : { name, saltLength: salt };
    const value = await crypto.subtle.sign(algorithm, keys.privateKey, new Uint8Array(data));
    return concat(be(scheme === 'RSASSA' ? 0x14 : 0x16, 2), be(SHA256_BANK, 2), sized(new Uint8Array(value)));
  };
  return { spki, sign };
}

export const sm2Signature = (key: Sm2Key, data: Uint8Array): Uint8Array => {
  const raw = sm2Sign(key, sm2Digest(key.key, data, undefined));
  return concat(be(0x1b, 2), be(SM3_BANK, 2), sized(raw.subarray(0, 32)), sized(raw.subarray(32)));
};

export const SM2_SPKI = fromHex('3059301306072a8648ce3d020106082a811ccf5501822d034200');
export const sm2Spki = ({ key }: Sm2Key) => concat(SM2_SPKI, key);

export interface EnclaveOptions {
  readonly body?: (body: Uint8Array) => void;
  readonly header?: (header: Uint8Array) => void;
  readonly extraData?: Uint8Array;
  readonly selections?: readonly (readonly [number, string])[];
  /** values of the twelve PCRs */
  readonly pcrs?: readonly Uint8Array[];
  readonly digest?: Uint8Array;
  /** signs the report body instead of the key in PCR 13 */
  readonly impostor?: Sm2Key;
  /** byte between the TPM's signature and the certificate */
  readonly gap?: Uint8Array;
  readonly padding?: Uint8Array;
  /** without one the quote carries none */
  readonly issuer?: Maker;
  readonly certificate?: Uint8Array;
}

export const HYPER_PCRS = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 12, 13];

/** A quote by a simulated HyperEnclave; every part fits unless the options say otherwise. */
export async function hyperEnclave(options: EnclaveOptions = {}) {
  const hypervisor = sm2Key();
  const tpm = sm2Key();
  const body = new Uint8Array(384);
  body.fill(0xaa, 64, 96);
  body.fill(0xbb, 128, 160);
  body.set([7, 0, 3, 0], 256);
  body.set(utf8('report data'), 320);
  options.body?.(body);
  const signer = options.impostor ?? hypervisor;
  const enclave = sm2Sign(signer, sm2Digest(signer.key, body, fromHex('0102030405060708090a0b0c0d0e')));
  const pcrs =
    options.pcrs ??
    HYPER_PCRS.map((index) =>
      index === 13
        ? sm3(concat(new Uint8Array(32), sm3(hypervisor.key.subarray(1))))
        : sm3(Uint8Array.of(index)),
    );
  const statement = attest({
    signer: concat(be(SM3_BANK, 2), randomBytes(32)),
    extraData: options.extraData ?? concat(be(SM3_BANK, 2), sm3(body.subarray(320))),
    selections: options.selections ?? [[SM3_BANK, 'ff3300']],
    digest: options.digest ?? sm3(concat(...pcrs)),
  });
  const header = new Uint8Array(48);
  header.set([1, 0, 4, 0]);
  options.header?.(header);
  const certificate =
    options.certificate ??
    (options.issuer === undefined
      ? new Uint8Array(0)
      : await certify(
          options.issuer,
          { ...options.issuer, common: 'TPM AK', spki: sm2Spki(tpm) },
          {
            extensions: [keyUsage(0), pcrList(pcrs)],
          },
        ));
  const data = concat(
    enclave,
    signer.key.subarray(1),
    statement,
    sm2Sign(tpm, sm2Digest(tpm.key, statement, undefined)),
    options.gap ?? new Uint8Array(0),
    certificate,
  );
  const length = be(data.length, 4).toReversed();
  const quote = concat(header, body, length, data, options.padding ?? new Uint8Array(0));
  return { quote, tpm, hypervisor, pcrs };
}

/** The extension that lists the PCRs. */
export const pcrList = (pcrs: readonly Uint8Array[]): Extension => ({
  id: '1.2.86.1',
  value: der(0x0c, utf8(btoa(String.fromCharCode(...concat(...pcrs))))),
});
