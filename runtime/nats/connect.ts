/** Connecting to NATS as somebody: whose credentials these are, whether they still hold, and how the user is called. */
import { VouchError } from '../../protocols/errors.ts';
import type { Log } from '../home/log.ts';
import { type Bus, openBus } from './bus.ts';
import { identityOf } from './creds-file.ts';
import { demandSound } from './server-version.ts';

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
  /** Hears that the server is one on which rights do not hold, where a person has allowed that. */
  readonly warn?: Log;
  /**
   * Newer credentials of the same user, asked for well before those in use end. The connection is then made anew with
   * them, in a moment when nothing waits for an answer.
   */
  readonly renewed?: () => Promise<string>;
}

/** Asked for when so much of their life is left; the rest is for trying again. */
const RENEWAL = 1 / 3;
/** A timer takes no more than 2^31 ms, and a clock may be set. */
const LONGEST_WAIT_MS = 6 * 3_600_000;
const SHORTEST_WAIT_MS = 500;
/** Between two attempts that fail, at least. */
const FAILED_WAIT_MS = 10_000;

/**
 * Connects once, then stays connected: a lost connection is made again for ever. Throws `nats-unreachable` or
 * `nats-credentials` when the first attempt fails, `nats-feature` for a server on which rights do not hold.
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
  const bus = await openBus({ url, name, user, connectTimeoutMs, onError });
  try {
    demandSound(bus.server.version, `NATS at ${url}`, options.warn ?? (() => {}));
  } catch (error) {
    await bus.close();
    throw error;
  }
  if (options.renewed && user?.expires) keepRenewed(bus, user.expires, options.renewed, onError);
  return bus;
}

/** Renews the credentials of a connection until it is closed. */
function keepRenewed(
  bus: Bus,
  expires: Date,
  renewed: () => Promise<string>,
  onError: (error: Error) => void,
): void {
  let end = expires.getTime();
  let due = Date.now() + (end - Date.now()) * (1 - RENEWAL);
  let timer: NodeJS.Timeout;
  const look = async () => {
    if (Date.now() < due) return;
    try {
      const creds = await renewed();
      const until = identityOf(creds).expires?.getTime() ?? 0;
      if (until <= end)
        throw new VouchError(
          'nats-credentials',
          `NATS credentials of ${bus.id} end at ${new Date(end).toISOString()}: put new ones into their file`,
        );
      await bus.renew(creds);
      end = until;
      due = Date.now() + (end - Date.now()) * (1 - RENEWAL);
    } catch (error) {
      due = Date.now() + Math.max((end - Date.now()) / 8, FAILED_WAIT_MS);
      onError(error instanceof Error ? error : new Error(String(error)));
    }
  };
  const wait = () => {
    const ms = Math.min(Math.max(due - Date.now(), SHORTEST_WAIT_MS), LONGEST_WAIT_MS);
    timer = setTimeout(() => void look().then(() => bus.state !== 'closed' && wait()), ms);
    timer.unref();
  };
  bus.onState((state) => {
    if (state === 'closed') clearTimeout(timer);
  });
  wait();
}
