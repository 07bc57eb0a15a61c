/**
 * What a `.creds` file says and can do: a NATS user's JWT, the seed of the key that signs for him, and, below them, the
 * certificate of the authority that certifies his server. Other programs that read such files pass that over.
 */
import { fromSeed } from 'nkeys.js';
import { fromBase64url, fromUtf8, utf8 } from '../../protocols/encoding.ts';
import { VouchError } from '../../protocols/errors.ts';

/** Whose credentials these are; the text must be a `.creds` file. Throws `nats-credentials`. */
export function identityOf(creds: string): {
  id: string;
  role: string | undefined;
  expires: Date | undefined;
} {
  const jwt = /BEGIN NATS USER JWT-+\s+[\w-]+\.([\w-]+)\.[\w-]+\s/.exec(creds)?.[1];
  try {
    const claims = JSON.parse(fromUtf8(fromBase64url(jwt ?? '', 'JWT'), 'JWT')) as {
      name: string;
      exp?: number;
      nats: { tags?: string[] };
    };
    const role = claims.nats.tags?.find((tag) => tag.startsWith('role:'))?.slice('role:'.length);
    return {
      id: claims.name,
      role,
      expires: claims.exp === undefined ? undefined : new Date(claims.exp * 1000),
    };
  } catch {
    throw new VouchError(
      'nats-credentials',
      'NATS credentials: expected the text of a .creds file (a user JWT and its seed), got something else',
    );
  }
}

/** The certificates that come with credentials, PEM; undefined where there are none. */
export const pinIn = (creds: string): string | undefined =>
  creds.match(/-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/g)?.join('\n');

export interface User {
  readonly jwt: string;
  /** secret */
  readonly seed: string;
}

/** The user's JWT and seed. Throws `nats-credentials`. */
export function userIn(creds: string): User {
  const [, jwt] = /BEGIN NATS USER JWT-+\s+(\S+)\s/.exec(creds) ?? [];
  const [, seed] = /BEGIN USER NKEY SEED-+\s+(\S+)\s/.exec(creds) ?? [];
  if (jwt === undefined || seed === undefined)
    throw new VouchError('nats-credentials', 'NATS credentials: expected a user JWT and its seed');
  return { jwt, seed };
}

/** The text of a `.creds` file, secret. */
export const credsText = ({ jwt, seed, pin }: User & { readonly pin: string }): string =>
  [block('NATS USER JWT', jwt), block('USER NKEY SEED', seed), pin].join('\n');

const block = (name: string, text: string): string =>
  `-----BEGIN ${name}-----\n${text}\n------END ${name}------\n`;

/** The user's JWT, and his key's Ed25519 signature. Throws `nats-credentials`. */
export function signWith(creds: string, bytes: Uint8Array): { jwt: string; signature: Uint8Array } {
  const { jwt, seed } = userIn(creds);
  return { jwt, signature: fromSeed(utf8(seed)).sign(bytes) };
}
