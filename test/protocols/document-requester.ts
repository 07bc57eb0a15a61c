/** The example's NATS keys, derived from public strings like all others, and a request signed with them. */
import { fromSeed } from 'nkeys.js';
import { base64url, canonicalJson, concat, utf8 } from '../../protocols/encoding.ts';
import type { ProofRequest } from '../../protocols/proof.ts';
import { type RequesterAuthority, signedRequest } from '../../protocols/requester.ts';
import { CLIENT, fixed, NOW } from './document-scenario.ts';

const BASE32 = 'ABCDEFGHIJKLMNOPQRSTUVWXYZ234567';

/** CRC-16/XMODEM, as NATS' keys end with it. */
function crc16(bytes: Uint8Array): number {
  let crc = 0;
  for (const byte of bytes) {
    crc ^= byte << 8;
    for (let bit = 0; bit < 8; bit++) crc = ((crc << 1) ^ (crc & 0x8000 ? 0x1021 : 0)) & 0xffff;
  }
  return crc;
}

/** The key of a kind ('A' or 'U') with this private half. */
function natsKey(kind: 'A' | 'U', raw: Uint8Array) {
  const [seed, prefix] = [BASE32.indexOf('S'), BASE32.indexOf(kind)].map((letter) => letter << 3) as [
    number,
    number,
  ];
  const body = concat(Uint8Array.of(seed | (prefix >> 5), (prefix & 31) << 3), raw);
  const crc = crc16(body);
  const bits = [...concat(body, Uint8Array.of(crc & 255, crc >> 8))]
    .map((byte) => byte.toString(2).padStart(8, '0'))
    .join('');
  const digits = bits.match(/.{1,5}/g)!.map((five) => BASE32[Number.parseInt(five.padEnd(5, '0'), 2)]);
  return fromSeed(utf8(digits.join('')));
}

const account = natsKey('A', fixed('nats account'));
const signer = natsKey('A', fixed('nats signing key'));
const user = natsKey('U', fixed('nats user'));

export const EXAMPLE_REQUESTERS: RequesterAuthority = {
  account: account.getPublicKey(),
  signer: signer.getPublicKey(),
};

function exampleJwt(): string {
  const part = (value: object) => base64url(utf8(canonicalJson(value)));
  const claims = {
    iat: NOW.getTime() / 1000,
    exp: NOW.getTime() / 1000 + 86_400,
    iss: signer.getPublicKey(),
    sub: user.getPublicKey(),
    name: CLIENT,
    nats: { type: 'user', version: 2, issuer_account: account.getPublicKey(), tags: ['role:client'] },
  };
  const signed = `${part({ typ: 'JWT', alg: 'ed25519-nkey' })}.${part(claims)}`;
  return `${signed}.${base64url(signer.sign(utf8(signed)))}`;
}

export const signedExample = (request: Omit<ProofRequest, 'requester'>): ProofRequest => ({
  ...request,
  requester: { jwt: exampleJwt(), signature: base64url(user.sign(signedRequest(request))) },
});
