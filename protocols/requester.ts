/**
 * Who asks: a request that costs something is signed with the key of the asker's own NATS user, and carries that user's
 * JWT (nats-server, "JWT authentication"). NATS checks who connects; whoever serves a request checks again, from the
 * request itself, because the server, its operator and everybody who may write to the queue could name somebody else.
 *
 *   signed    = "vouch/v1/request-by" || 0x00 || SHA-256 of the canonical JSON of the request without its `requester`
 *   signature = Ed25519 by the user's key, which is the JWT's `sub`
 *   JWT       = header {"typ":"JWT","alg":"ed25519-nkey"}, signed by the account's signing key for clients (`iss`), of that
 *               account (`nats.issuer_account`); its `name` is who asks, whatever key he has this week
 *
 * Not guaranteed: that two names are two people. Whoever holds the signing key mints as many as he likes, which is why
 * terms bound all requesters together as well.
 */
import { fromPublic } from 'nkeys.js';
import { z } from 'zod';
import { PUBLIC_KEY_BYTES, verifyEd25519 } from './ed25519.ts';
import { canonicalJson, fromBase64url, fromUtf8, sha256, utf8 } from './encoding.ts';
import { base64Text, Id, parse } from './envelope.ts';
import { messageOf, VouchError } from './errors.ts';

const MAX_JWT_CHARACTERS = 4096;

export const Requester = z.strictObject({
  jwt: z.string().max(MAX_JWT_CHARACTERS).describe("the requester's NATS user JWT"),
  signature: base64Text(64).describe('Ed25519 by the key of that user over this request'),
});
export type Requester = z.infer<typeof Requester>;

/** Whose users may ask: an account, and the key with which it signs clients. NATS public keys. */
export const RequesterAuthority = z.strictObject({
  account: z.string().regex(/^A[A-Z2-7]{55}$/, 'expected the public key of a NATS account'),
  signer: z.string().regex(/^A[A-Z2-7]{55}$/, 'expected the public key of a NATS account'),
});
export type RequesterAuthority = z.infer<typeof RequesterAuthority>;

const Header = z.object({ typ: z.enum(['JWT', 'jwt']), alg: z.literal('ed25519-nkey') });
const Claims = z.object({
  iss: z.string(),
  sub: z.string().regex(/^U[A-Z2-7]{55}$/, 'expected the public key of a NATS user'),
  name: Id,
  exp: z.int().optional(),
  nats: z.object({ type: z.literal('user'), issuer_account: z.string() }),
});

/** The bytes that a requester signs; `request` without its `requester`. */
export const signedRequest = (request: object): Uint8Array =>
  // A member that is undefined does not travel, so it is not signed.
  Uint8Array.from([
    ...utf8('vouch/v1/request-by\0'),
    ...sha256(utf8(canonicalJson(JSON.parse(JSON.stringify(request))))),
  ]);

/**
 * The id of whoever signed a request. Throws `signature-rejected` with what is wrong: no user of this authority, a JWT
 * that has expired, another's signature, a request that was changed.
 */
export function requesterOf(
  { requester: { jwt, signature }, ...request }: { readonly requester: Requester },
  { account, signer }: RequesterAuthority,
  now: Date,
): string {
  const [head = '', body = '', mark = '', ...more] = jwt.split('.');
  const read = <T>(schema: z.ZodType<T>, part: string, what: string): T => {
    try {
      return parse(schema, JSON.parse(fromUtf8(fromBase64url(part, what), what)), what);
    } catch (error) {
      throw refused(`expected a NATS user JWT, got other text (${messageOf(error)})`);
    }
  };
  read(Header, head, 'JWT header');
  const claims = read(Claims, body, 'JWT claims');
  if (more.length > 0) throw refused('expected a NATS user JWT, got text of more than three parts');
  if (claims.iss !== signer || claims.nats.issuer_account !== account)
    throw refused(`${claims.name} is a user of another installation, or not a client`);
  if (!verified(signer, utf8(`${head}.${body}`), mark))
    throw refused('the JWT is not signed by the account that it names');
  if (claims.exp !== undefined && claims.exp * 1000 <= now.getTime())
    throw refused(`the credentials of ${claims.name} have expired; ask with new ones`);
  if (!verified(claims.sub, signedRequest(request), signature))
    throw refused(`${claims.name} has not signed this very request`);
  return claims.name;
}

function verified(key: string, bytes: Uint8Array, signature: string): boolean {
  try {
    return verifyEd25519(keyBytes(key), bytes, fromBase64url(signature, 'signature', 64));
  } catch {
    return false;
  }
}

const BASE32 = 'ABCDEFGHIJKLMNOPQRSTUVWXYZ234567';

/** The Ed25519 key in a NATS public key: base32 of its kind, the key, and a checksum, which is checked. Throws for other text. */
function keyBytes(text: string): Uint8Array {
  fromPublic(text);
  const bytes = new Uint8Array(1 + PUBLIC_KEY_BYTES);
  for (let bit = 0; bit < 8 * bytes.length; bit++) {
    const digit = BASE32.indexOf(text[Math.floor(bit / 5)]!);
    bytes[bit >> 3]! |= ((digit >> (4 - (bit % 5))) & 1) << (7 - (bit & 7));
  }
  return bytes.subarray(1);
}

const refused = (why: string): VouchError => new VouchError('signature-rejected', `requester: ${why}`);
