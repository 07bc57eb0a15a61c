/** Connecting to NATS as somebody: whose credentials these are, whether they still hold, and how the user is called. */
import { VouchError } from '../../protocols/errors.ts';
import { type Bus, openBus } from './bus.ts';

export interface BusOptions {
  /** `nats://host:port`, several separated by commas; `tls://` where the server has a certificate */
  readonly url: string;
  /** text of a `.creds` file */
  readonly creds?: string;
  /** shown by the server's monitoring */
  readonly name?: string;
  /** A refused subscription, a failed handler: what no caller is waiting for. */
  readonly onError?: (error: Error) => void;
  readonly connectTimeoutMs?: number;
}

/** Whose credentials these are; the text must be a `.creds` file. Throws `nats-credentials`. */
export function identityOf(creds: string): {
  id: string;
  role: string | undefined;
  expires: Date | undefined;
} {
  const jwt = /BEGIN NATS USER JWT-+\s+[\w-]+\.([\w-]+)\.[\w-]+\s/.exec(creds)?.[1];
  try {
    const claims = JSON.parse(Buffer.from(jwt ?? '', 'base64url').toString()) as {
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

/**
 * Connects once, then stays connected: a lost connection is made again for ever. Throws `nats-unreachable` or
 * `nats-credentials` when the first attempt fails.
 */
export async function connect(options: BusOptions): Promise<Bus> {
  const { url, creds, connectTimeoutMs = 5_000, onError = () => {} } = options;
  const user = creds === undefined ? undefined : { creds, ...identityOf(creds) };
  if (user?.expires !== undefined && user.expires.getTime() < Date.now()) {
    throw new VouchError(
      'nats-credentials',
      `NATS credentials of ${user.id} expired at ${user.expires.toISOString()}: mint new ones`,
    );
  }
  const name = options.name ?? (user === undefined ? 'vouch' : `${user.role ?? 'user'}.${user.id}`);
  return openBus({ url, name, user, connectTimeoutMs, onError });
}
