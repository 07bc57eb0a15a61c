/**
 * A connection to NATS in use, and the only importer of the `nats` library. Shaped like @nats-io v3 (functions over a
 * connection, requests that reject on "no responders"), so that the library can be replaced here alone.
 *
 * It moves bytes: what they mean, and whether a message may be believed, is the business of the envelope codec.
 * A publish is not acknowledged by anybody; what must arrive is appended to a stream.
 *
 * One file, although it is long: nothing outside of it knows the library.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import {
  type ConnectionOptions,
  connect as connectNats,
  createInbox,
  credsAuthenticator,
  ErrorCode,
  type Msg,
  type MsgHdrs,
  type NatsConnection,
  NatsError,
  headers as newHeaders,
  type TlsOptions,
} from 'nats';
import { messageOf, VouchError } from '../../protocols/errors.ts';
import { pinIn, signWith } from './creds-file.ts';
import { headerBytes } from './headers.ts';
import { type Headers, type JetStream, jetStream, type Message, type RequestOptions } from './jetstream.ts';
import { createPause } from './pause.ts';
import { inboxPrefix, streamInfoPrefix } from './rights.ts';
import { createWaiting } from './waiting.ts';

export type {
  Appended,
  AppendOptions,
  Bucket,
  BucketEntry,
  Headers,
  JetStream,
  Message,
  PulledMessage,
  RequestOptions,
  StoredMessage,
} from './jetstream.ts';

const PATIENCE_MS = 30_000;

export type BusState = 'connected' | 'disconnected' | 'closed';

/** How one user's connection is made and kept; connect.ts says who may. */
export interface Link {
  /** as in `BusOptions`: with one `tls://` nothing is said without TLS */
  readonly url: string;
  /** shown by the server's monitoring */
  readonly name: string;
  /** whose connection it is; undefined where the server is to ask nobody who they are */
  readonly user:
    | { readonly creds: string; readonly id: string; readonly role: string | undefined }
    | undefined;
  readonly connectTimeoutMs: number;
  readonly onError: (error: Error) => void;
}

export interface ServerInfo {
  readonly version: string;
  /** bytes of headers and payload together that one message may have */
  readonly maxPayload: number;
  readonly jetstream: boolean;
  /** whether it checks who connects; if not, the rights of rights.ts do not hold there */
  readonly authenticated: boolean;
}

export interface Traffic {
  readonly inBytes: number;
  readonly outBytes: number;
  readonly inMsgs: number;
  readonly outMsgs: number;
}

export interface Subscription {
  /** Stops; messages already received are dropped. */
  unsubscribe(): void;
  /** Stops after the messages already received have been handled. */
  drain(): Promise<void>;
}

/** A received message; `respond` answers it, if it is a request. */
export interface Received extends Message {
  respond(data: Uint8Array, headers?: Headers): void;
}

export interface Bus extends JetStream {
  /** Whose connection it is: the id in the credentials and in this user's own subjects; `nobody` without any. */
  readonly id: string;
  /** of the server last connected to */
  readonly server: ServerInfo;
  readonly state: BusState;
  /** Bytes and messages so far, as the connection counts them. */
  readonly traffic: Traffic;
  /** Called at every change; returns a function that ends it. */
  onState(listener: (state: BusState, error?: Error) => void): () => void;
  /** Publishes; while disconnected it waits for the connection. Throws `too-large`, `nats-unreachable` (closed). */
  publish(subject: string, data: Uint8Array, options?: { headers?: Headers }): void;
  /** Publishes unless disconnected; returns whether it did. For heartbeats: late ones would lie. */
  publishLossy(subject: string, data: Uint8Array, headers?: Headers): boolean;
  /** Calls `handler` for every message; members of a `queue` share them. */
  subscribe(
    subject: string,
    handler: (message: Received) => void | Promise<void>,
    options?: { queue?: string },
  ): Subscription;
  /**
   * One answer. Throws `no-responder`, `timeout` (default 5 s), `too-large`, `nats-credentials` (not allowed),
   * `nats-unreachable` (the connection was lost meanwhile), `cancelled`.
   */
  request(subject: string, data: Uint8Array, options?: RequestOptions): Promise<Message>;
  /**
   * A request that may be answered by many messages, until whoever asked stops listening. `onAnswer` gets each, in order;
   * `onLoss` hears once why no more may come: nobody answers there, or the connection was lost.
   */
  converse(
    subject: string,
    data: Uint8Array,
    options: {
      headers?: Headers;
      onAnswer: (answer: Message) => void;
      onLoss: (error: Error) => void;
    },
  ): Pick<Subscription, 'unsubscribe'>;
  /** Signs as the user of this connection: his JWT and his key's signature. Throws `nats-credentials` where there is none. */
  sign(bytes: Uint8Array): { readonly jwt: string; readonly signature: Uint8Array };
  /** Resolves when the server has seen everything published and subscribed so far. */
  flush(): Promise<void>;
  /**
   * Goes on with newer credentials of the same user: the connection is made anew when no request waits for its answer
   * any more, pulls from a queue aside, which start again; or after 30 s.
   */
  renew(creds: string): Promise<void>;
  /** Handles what has been received, sends what has been published, then disconnects. */
  close(): Promise<void>;
}

/**
 * Connects, then stays connected: a lost connection is made again for ever. Throws `nats-unreachable` or
 * `nats-credentials` when the first attempt fails.
 */
export async function openBus(link: Link): Promise<Bus> {
  const current = { creds: link.user?.creds ?? '' };
  return busOver(await open(link, current), link, current);
}

const REFUSED =
  /^(AUTHORIZATION_VIOLATION|BAD_AUTHENTICATION|BAD_CREDS|AUTHENTICATION_EXPIRED|ACCOUNT_EXPIRED)$/;

async function open(
  { url, name, user, connectTimeoutMs }: Link,
  /** looked at whenever the connection is made */
  current: { readonly creds: string },
): Promise<NatsConnection> {
  const settings: ConnectionOptions = {
    servers: url.split(',').map((part) => part.trim()),
    name,
    timeout: connectTimeoutMs,
    maxReconnectAttempts: -1,
    reconnectTimeWait: 250,
    reconnectJitter: 100,
    pingInterval: 10_000,
    noAsyncTraces: true,
  };
  if (user !== undefined)
    settings.authenticator = credsAuthenticator(() => new TextEncoder().encode(current.creds));
  if (user?.role !== undefined) settings.inboxPrefix = inboxPrefix(user.role, user.id);
  // The library does not look at the scheme.
  if (/\btls:\/\//.test(url)) settings.tls = tlsOptions(current.creds);
  try {
    return await connectNats(settings);
  } catch (error) {
    const code = error instanceof NatsError ? error.code : '';
    const reason = messageOf(error).replaceAll("'", '');
    if (REFUSED.test(code)) {
      const what =
        user === undefined
          ? 'it wants credentials and none were given'
          : `it refused the credentials of ${user.id}`;
      throw new VouchError(
        'nats-credentials',
        `NATS at ${url}: ${what} (${reason}); use --creds with a file made for this server`,
      );
    }
    if (/CERT|SIGNATURE|ISSUER/.test((error as NodeJS.ErrnoException).code ?? ''))
      throw new VouchError(
        'nats-credentials',
        `NATS at ${url}: its certificate is not of the authority that these credentials name (${reason}); expected a tls:// URL and credentials of the installation that runs this server`,
      );
    if (code === ErrorCode.ServerOptionNotAvailable)
      throw new VouchError(
        'nats-feature',
        `NATS at ${url}: expected TLS, and whoever answers there has none; somebody in between may have taken it away`,
      );
    throw new VouchError(
      'nats-unreachable',
      `NATS at ${url}: cannot connect (${reason}); is a server running there?`,
    );
  }
}

/**
 * Credentials with a certificate trust servers of that authority and no others, by whichever name or address they are
 * reached (port forwarding, say): the authority certifies nothing but servers of one installation. Without one the
 * system's authorities and the server's name count.
 */
function tlsOptions(creds: string): TlsOptions {
  const ca = pinIn(creds);
  return ca === undefined ? {} : ({ ca, checkServerIdentity: () => undefined } as TlsOptions);
}

function busOver(nc: NatsConnection, { url, user, onError }: Link, current: { creds: string }): Bus {
  const prefix = user?.role === undefined ? undefined : inboxPrefix(user.role, user.id);
  const requests = createWaiting<Msg>(createInbox(prefix));
  nc.subscribe(requests.filter, {
    callback: (error, msg) => {
      if (error === null) requests.settle(msg.subject, msg);
    },
  });
  // Pulls from a queue always wait, so they hold up nothing.
  const pause = createPause();
  const listeners = new Set<(state: BusState, error?: Error) => void>();
  let state: BusState = 'connected';
  /** Why there is no connection, while there is none. */
  let down: Error | undefined;
  /**
   * Who is told when it is lost. One promise for all would be simpler, and whoever raced with it would leave his answer there:
   * its reactions go when it settles, and a connection stays for days.
   */
  const waiting = new Set<(error: Error) => void>();
  /** `work`, as long as there is a connection. */
  async function whileUp<T>(work: () => Promise<T>, stop = Promise.withResolvers<never>()): Promise<T> {
    if (down) throw down;
    waiting.add(stop.reject);
    try {
      return await Promise.race([work(), stop.promise]);
    } finally {
      waiting.delete(stop.reject);
    }
  }

  const lost = (why: string) => new VouchError('nats-unreachable', `NATS at ${url}: ${why}`);
  const change = (next: BusState, error?: Error) => {
    if (state === next || state === 'closed') return;
    state = next;
    down =
      next === 'connected'
        ? undefined
        : (error ?? lost(next === 'closed' ? 'the connection is closed' : 'the connection was lost'));
    if (down) {
      for (const tell of [...waiting]) tell(down);
      requests.refuse(requests.filter, down);
    }
    for (const listener of listeners) listener(next, error);
  };
  void (async () => {
    for await (const status of nc.status()) {
      if (status.type === 'disconnect') change('disconnected');
      else if (status.type === 'reconnect') change('connected');
      else if (status.type === 'error') {
        const { operation, subject = '' } = status.permissionContext ?? {};
        const error =
          operation === undefined
            ? lost(String(status.data))
            : new VouchError(
                'nats-credentials',
                `${subject}: these credentials may not ${operation === 'publish' ? 'publish' : 'subscribe'} there`,
              );
        requests.refuse(subject, error);
        onError(error);
      }
    }
  })();
  void nc.closed().then((error) => change('closed', error ? natsError(error, url) : undefined));

  const server = (): ServerInfo => ({
    version: nc.info?.version ?? '0.0.0',
    maxPayload: nc.info?.max_payload ?? 1024 * 1024,
    jetstream: nc.info?.jetstream === true,
    authenticated: nc.info?.auth_required === true,
  });

  /** Throws before anything is sent; returns the headers in the library's form. */
  function checked(subject: string, data: Uint8Array, headers: Headers | undefined): { headers?: MsgHdrs } {
    const size = data.length + headerBytes(headers);
    const { maxPayload } = server();
    if (size > maxPayload) {
      throw new VouchError(
        'too-large',
        `${subject}: the message has ${size} bytes with its headers, this NATS server takes at most ${maxPayload} (max_payload)`,
      );
    }
    if (headers === undefined) return {};
    const built = newHeaders();
    for (const [name, value] of Object.entries(headers)) built.set(name, value);
    return { headers: built };
  }

  function publish(subject: string, data: Uint8Array, { headers }: { headers?: Headers } = {}): void {
    const checkedHeaders = checked(subject, data, headers);
    try {
      nc.publish(subject, data, checkedHeaders);
    } catch (error) {
      throw natsError(error, subject);
    }
  }

  async function request(
    subject: string,
    data: Uint8Array,
    requestOptions: RequestOptions = {},
  ): Promise<Message> {
    const { timeoutMs = 5_000, signal, ownInbox = false } = requestOptions;
    const extra = checked(subject, data, requestOptions.headers);
    const pausing = ownInbox ? undefined : pause.entered();
    if (pausing) await pausing;
    const cancelled = (when: string) => new VouchError('cancelled', `${subject}: cancelled ${when}`);
    try {
      if (signal?.aborted) throw cancelled('before it was sent');
      if (down) throw down;
      const ended = (why: 'timeout' | 'cancelled') =>
        why === 'timeout' ? late(subject, timeoutMs) : cancelled('while waiting for the answer');
      const answer = ownInbox
        ? await onOwnInbox(subject, data, { timeout: timeoutMs, ...extra }, signal, ended)
        : await requests.ask(subject, (reply) => nc.publish(subject, data, { ...extra, reply }), {
            timeoutMs,
            signal,
            ended,
          });
      if (fromNobody(answer)) throw noResponder(subject);
      return plain(answer);
    } catch (error) {
      throw natsError(error, subject, timeoutMs);
    } finally {
      if (!ownInbox) pause.left();
    }
  }

  async function onOwnInbox(
    subject: string,
    data: Uint8Array,
    options: { timeout: number; headers?: MsgHdrs },
    signal: AbortSignal | undefined,
    ended: (why: 'cancelled') => Error,
  ): Promise<Msg> {
    const abort = Promise.withResolvers<never>();
    abort.promise.catch(() => {});
    const onAbort = () => abort.reject(ended('cancelled'));
    signal?.addEventListener('abort', onAbort, { once: true });
    try {
      return await whileUp(() => nc.request(subject, data, { noMux: true, ...options }), abort);
    } finally {
      signal?.removeEventListener('abort', onAbort);
    }
  }

  const onState: Bus['onState'] = (listener) => {
    listeners.add(listener);
    return () => void listeners.delete(listener);
  };

  return {
    // A server that asks nobody who they are has one account, in which streams go by their own names.
    ...jetStream({ request, publish }, streamInfoPrefix(nc.info?.auth_required ? user?.role : undefined)),
    id: user?.id ?? 'nobody',
    get server() {
      return server();
    },
    get state() {
      return state;
    },
    get traffic() {
      return nc.stats();
    },
    onState,
    publish,
    publishLossy(subject, data, headers) {
      if (state !== 'connected') return false;
      publish(subject, data, headers === undefined ? {} : { headers });
      return true;
    },
    subscribe(subject, handler, { queue } = {}) {
      const running = new Set<Promise<void>>();
      const subscription = nc.subscribe(subject, {
        ...(queue === undefined ? {} : { queue }),
        callback: (error, msg) => {
          if (error !== null) return; // told by status() as well
          if (relayed(msg))
            return onError(
              new VouchError(
                'bad-message',
                `${msg.subject}: dropped a message that was sent there by way of a stream`,
              ),
            );
          const done = (async () => handler(received(msg, checked)))()
            .catch((failure) => onError(failure instanceof Error ? failure : new Error(String(failure))))
            .finally(() => running.delete(done));
          running.add(done);
        },
      });
      return {
        unsubscribe: () => subscription.unsubscribe(),
        async drain() {
          if (!nc.isClosed()) await subscription.drain();
          await Promise.all(running);
        },
      };
    },
    request,
    converse(subject, data, { headers, onAnswer, onLoss }) {
      const extra = checked(subject, data, headers);
      const inbox = createInbox(prefix);
      const over = (error: Error) => {
        stop();
        onLoss(error);
      };
      const subscription = nc.subscribe(inbox, {
        callback: (error, msg) => {
          if (error !== null) over(natsError(error, subject));
          else if (fromNobody(msg)) over(noResponder(subject));
          else onAnswer(plain(msg));
        },
      });
      const ended = onState((now, error) => {
        if (now !== 'connected') over(error ?? lost('the connection was lost'));
      });
      const stop = () => {
        ended();
        if (!nc.isClosed()) subscription.unsubscribe();
      };
      try {
        nc.publish(subject, data, { ...extra, reply: inbox });
      } catch (error) {
        stop();
        throw natsError(error, subject);
      }
      return { unsubscribe: stop };
    },
    sign(bytes) {
      if (user === undefined)
        throw new VouchError('nats-credentials', 'expected to be connected as somebody; use --creds');
      return signWith(current.creds, bytes);
    },
    async flush() {
      await whileUp(() => nc.flush());
    },
    renew(creds) {
      current.creds = creds;
      return pause.during(async () => {
        // Without a connection the next one has the credentials.
        if (state !== 'connected') return;
        const { promise: again, resolve } = Promise.withResolvers<void>();
        const stop = onState((now) => now !== 'disconnected' && resolve());
        // What was published has to be with the server first.
        await whileUp(() => nc.flush()).catch(() => {});
        await nc.reconnect();
        await Promise.race([again, sleep(PATIENCE_MS, undefined, { ref: false })]);
        stop();
      }, PATIENCE_MS);
    },
    async close() {
      if (nc.isClosed()) return;
      // A drain needs the server; without one there is nothing to hand over.
      if (state === 'connected') await whileUp(() => nc.drain()).catch(() => {});
      await nc.close();
      change('closed');
    },
  };
}

/**
 * True for a message that JetStream delivered here because somebody named this subject as the place for an
 * answer: a stored message (direct get, pull) or a status. Nobody publishes such a thing.
 */
function relayed(msg: Msg): boolean {
  const { headers } = msg;
  return (
    msg.reply?.startsWith('$JS.ACK.') === true ||
    (headers !== undefined && (headers.has('Nats-Stream') || headers.code > 0))
  );
}

function received(
  msg: Msg,
  checked: (subject: string, data: Uint8Array, headers?: Headers) => { headers?: MsgHdrs },
): Received {
  return {
    ...plain(msg),
    respond(data, headers) {
      if (msg.reply === undefined || msg.reply === '') return;
      msg.respond(data, checked(msg.reply, data, headers));
    },
  };
}

function plain(msg: Msg): Message {
  const headers: Record<string, string> = {};
  if (msg.headers !== undefined) {
    for (const [name, values] of msg.headers) headers[name] = values[0] ?? '';
    if (msg.headers.code > 0) {
      headers.Status = String(msg.headers.code);
      headers.Description = msg.headers.description;
    }
  }
  return { subject: msg.subject, data: msg.data, headers, reply: msg.reply };
}

/** The server's answer where nobody listens. */
const fromNobody = ({ headers, data }: Msg): boolean => headers?.code === 503 && data.length === 0;
const noResponder = (subject: string) =>
  new VouchError('no-responder', `${subject}: nobody answers there now`);
const late = (subject: string, timeoutMs: number | undefined) =>
  new VouchError('timeout', `${subject}: no answer within ${timeoutMs ?? '?'} ms`);

function natsError(error: unknown, subject: string, timeoutMs?: number): Error {
  if (!(error instanceof NatsError)) return error instanceof Error ? error : new Error(String(error));
  switch (error.code) {
    case '503':
      return noResponder(subject);
    case 'TIMEOUT':
      return late(subject, timeoutMs);
    case 'PERMISSIONS_VIOLATION':
      return new VouchError('nats-credentials', `${subject}: these credentials may not publish there`);
    case 'AUTHORIZATION_VIOLATION':
    case 'AUTHENTICATION_EXPIRED':
    case 'ACCOUNT_EXPIRED':
      return new VouchError(
        'nats-credentials',
        `NATS at ${subject}: the credentials were refused or have expired`,
      );
    case 'CONNECTION_CLOSED':
    case 'CONNECTION_DRAINING':
    case 'DISCONNECT':
      return new VouchError('nats-unreachable', `${subject}: the NATS connection is closed`);
    default:
      return new VouchError('internal', `${subject}: NATS says ${error.message} (${error.code})`, {
        cause: error,
      });
  }
}
