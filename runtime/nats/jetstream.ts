/**
 * JetStream's JSON API over plain requests (nats-server, "JetStream wire API", ADR-8 key-value, ADR-31 direct get).
 * Written against `Requester` rather than a client library, so that any connection can carry it and so that
 * each call needs exactly the one right that its subject names: nothing here creates a consumer in passing.
 *
 * One file, although it is long: all of it is one protocol.
 *
 * A message is delivered at least once; what may happen once only is guarded by `expectLastSubjectSequence`.
 */
import { VouchError } from '../../protocols/errors.ts';
import { catches } from '../../protocols/subjects.ts';
import { retry } from './retry.ts';

export type Headers = Readonly<Record<string, string>>;

export interface Message {
  readonly subject: string;
  readonly data: Uint8Array;
  /** one value per name; names as sent */
  readonly headers: Headers;
  readonly reply: string | undefined;
}

export interface RequestOptions {
  readonly headers?: Headers;
  /** default 5,000 */
  readonly timeoutMs?: number;
  readonly signal?: AbortSignal;
  /** Listen on an inbox of this request's own: the answer may carry a foreign subject (pull consumers). */
  readonly ownInbox?: boolean;
}

export interface Requester {
  request(subject: string, data: Uint8Array, options?: RequestOptions): Promise<Message>;
  publish(subject: string, data: Uint8Array, options?: { headers?: Headers }): void;
}

export interface StoredMessage {
  readonly subject: string;
  readonly data: Uint8Array;
  readonly headers: Headers;
  /** position in the stream, from 1 */
  readonly sequence: number;
  /** when the server stored it; its clock */
  readonly time: Date;
}

/** A message on loan from a pull consumer: it comes again after the consumer's ack wait unless settled. */
export interface PulledMessage extends StoredMessage {
  /** 1 for the first delivery */
  readonly deliveries: number;
  /** Removes it; resolves when the server has confirmed. */
  ack(): Promise<void>;
  /** Gives it back, to be delivered again after `delayMs`. */
  nak(delayMs?: number): void;
  /** Asks for another ack wait. */
  working(): void;
  /** Gives it up for good. */
  term(): void;
}

export interface AppendOptions {
  /**
   * The same id within the stream's duplicate window is stored once. The window is shared by all writers of the
   * stream: use a random id, or somebody who guesses it can have this message taken for a duplicate.
   */
  readonly msgId?: string;
  /** Stored only if the subject's last message has this sequence; 0 = the subject must be empty. */
  readonly expectLastSubjectSequence?: number;
  readonly headers?: Headers;
  readonly timeoutMs?: number;
  /**
   * Keep trying this long through a lost connection or a restarting server. Needs `msgId`, or
   * `expectLastSubjectSequence` (then `conflict` may mean that an earlier attempt was stored).
   */
  readonly retryMs?: number;
  readonly signal?: AbortSignal;
}

export interface Appended {
  readonly stream: string;
  readonly sequence: number;
  /** true when the same `msgId` had been stored before */
  readonly duplicate: boolean;
}

export interface BucketEntry {
  readonly value: Uint8Array;
  /** changes with every write to the bucket; only ever grows */
  readonly revision: number;
}

export interface Bucket {
  get(key: string): Promise<BucketEntry | undefined>;
  /** Writes a key that does not exist or was deleted. Throws `conflict` otherwise. Returns the revision. */
  create(key: string, value: Uint8Array): Promise<number>;
  /** Writes if the key's revision still is `revision`. Throws `conflict` otherwise. Returns the new revision. */
  update(key: string, value: Uint8Array, revision: number): Promise<number>;
  put(key: string, value: Uint8Array): Promise<number>;
  /** Deletes, only at `revision` where given. */
  delete(key: string, revision?: number): Promise<void>;
}

export interface StreamFill {
  readonly messages: number;
  readonly bytes: number;
  /** -1 = unlimited */
  readonly maxBytes: number;
  /** undefined of a server that does not say it */
  readonly time: Date | undefined;
}

export interface JetStream {
  /**
   * Stores a message and waits for the acknowledgement. Throws `conflict` (expected sequence, or one message per
   * subject), `storage-full`, `not-ready` (no stream takes this subject), `timeout`, `nats-unreachable`.
   */
  append(subject: string, data: Uint8Array, options?: AppendOptions): Promise<Appended>;
  /**
   * Stores the one message that a subject may ever have. When the same `msgId` lies there already, that is a
   * duplicate; anything else is a `conflict`. Needs the right to read the stream.
   */
  appendFirst(
    stream: string,
    subject: string,
    data: Uint8Array,
    options: Omit<AppendOptions, 'expectLastSubjectSequence'> & { msgId: string },
  ): Promise<Appended>;
  /**
   * The next message of a pull consumer, or undefined after `expiresMs`. On abort it rejects with `cancelled`
   * and gives a message that still arrives back at once.
   */
  next(
    stream: string,
    consumer: string,
    options?: { expiresMs?: number; signal?: AbortSignal },
  ): Promise<PulledMessage | undefined>;
  /** The last message stored on a subject. */
  getLast(stream: string, subject: string): Promise<StoredMessage | undefined>;
  /** The message at a sequence; with `subject` (wildcards allowed) the first such one from there on. */
  getFrom(stream: string, sequence: number, subject?: string): Promise<StoredMessage | undefined>;
  /** Subjects of a stream that match a filter, with their number of messages (first 100,000). */
  subjectsOf(stream: string, filter: string): Promise<ReadonlyMap<string, number>>;
  /** How full a stream is, and what time it is by the server's clock. Needs the right to ask about it. */
  fillOf(stream: string): Promise<StreamFill>;
  bucket(name: string): Bucket;
  /** One call of `$JS.API.<path>`; throws a coded error for an error answer. For provisioning. */
  api<T>(path: string, body?: object): Promise<T>;
}

const API = '$JS.API';
const EMPTY = new Uint8Array(0);
const encode = (value: unknown): Uint8Array => new TextEncoder().encode(JSON.stringify(value));
const text = (data: Uint8Array): string => new TextDecoder().decode(data);

interface ApiError {
  code: number;
  err_code?: number;
  description?: string;
}

// err_code values of nats-server (server/errors.json).
const WRONG_LAST_SEQUENCE = new Set([10070, 10071]);
const STORAGE = new Set([10023, 10028, 10047]);
const STORE_FAILED = 10077;
const TOO_LARGE = 10054;
const NOT_ENABLED = new Set([10039, 10076]);
export const STREAM_NOT_FOUND = 10059;
export const CONSUMER_NOT_FOUND = 10014;

/** An error answer of the server; `apiCode` is nats-server's own `err_code`. */
export class JetStreamError extends VouchError {
  readonly apiCode: number;
  constructor(error: ApiError, where: string) {
    const description = error.description ?? `code ${error.code}`;
    const code = codeOf(error, description);
    const full = 'the server has no room for it; what it has acknowledged before is kept';
    super(code, `${where}: ${code === 'storage-full' ? `${full} (${description})` : description}`);
    this.apiCode = error.err_code ?? 0;
  }
}

function codeOf(error: ApiError, description: string) {
  const code = error.err_code ?? 0;
  if (WRONG_LAST_SEQUENCE.has(code) || (code === STORE_FAILED && /per subject/.test(description)))
    return 'conflict';
  if (STORAGE.has(code) || (code === STORE_FAILED && /maximum (bytes|messages)|no space/.test(description))) {
    return 'storage-full';
  }
  if (code === TOO_LARGE) return 'too-large';
  if (NOT_ENABLED.has(code)) return 'nats-feature';
  return error.code === 503 || error.code === 404 ? 'not-ready' : 'internal';
}

/** `infoPrefix` is what comes before a stream's name in a request about it. */
export function jetStream(connection: Requester, infoPrefix = `${API}.STREAM.INFO`): JetStream {
  async function call<T>(subject: string, body?: object): Promise<T> {
    const payload = body === undefined ? EMPTY : encode(body);
    const reply = await connection.request(subject, payload, { timeoutMs: 10_000 });
    const answer = JSON.parse(text(reply.data)) as T & { error?: ApiError };
    if (answer.error !== undefined) throw new JetStreamError(answer.error, subject);
    return answer;
  }
  const api = <T>(path: string, body?: object): Promise<T> => call(`${API}.${path}`, body);

  async function attempt(subject: string, data: Uint8Array, options: AppendOptions): Promise<Appended> {
    const headers: Record<string, string> = { ...options.headers };
    if (options.msgId !== undefined) headers['Nats-Msg-Id'] = options.msgId;
    if (options.expectLastSubjectSequence !== undefined) {
      headers['Nats-Expected-Last-Subject-Sequence'] = String(options.expectLastSubjectSequence);
    }
    let reply: Message;
    try {
      reply = await connection.request(subject, data, {
        headers,
        timeoutMs: options.timeoutMs ?? 10_000,
        ...(options.signal ? { signal: options.signal } : {}),
      });
    } catch (error) {
      if (error instanceof VouchError && error.code === 'no-responder') {
        throw new VouchError(
          'not-ready',
          `${subject}: no stream stores it; has the server been provisioned?`,
        );
      }
      throw error;
    }
    const ack = JSON.parse(text(reply.data)) as {
      stream: string;
      seq: number;
      duplicate?: boolean;
      error?: ApiError;
    };
    if (ack.error !== undefined) throw new JetStreamError(ack.error, subject);
    // Somebody else who listens there and answers is no stream.
    if (typeof ack.stream !== 'string' || !Number.isSafeInteger(ack.seq) || ack.seq < 1)
      throw new VouchError(
        'bad-message',
        `${subject}: expected a stream's acknowledgement, got another answer`,
      );
    return { stream: ack.stream, sequence: ack.seq, duplicate: ack.duplicate === true };
  }

  async function append(subject: string, data: Uint8Array, options: AppendOptions = {}): Promise<Appended> {
    const { retryMs, signal } = options;
    if (retryMs === undefined) return attempt(subject, data, options);
    if (options.msgId === undefined && options.expectLastSubjectSequence === undefined) {
      throw new TypeError(
        'retryMs: needs msgId or expectLastSubjectSequence, or a retry could store the message twice',
      );
    }
    return retry(() => attempt(subject, data, options), { forMs: retryMs, signal });
  }

  /** `fits` says whether a message is one that was asked for: an answer to another question is none. */
  async function direct(
    stream: string,
    path: string,
    fits: (found: StoredMessage) => boolean,
    body?: object,
  ): Promise<StoredMessage | undefined> {
    const reply = await connection.request(
      `${API}.DIRECT.GET.${path}`,
      body === undefined ? EMPTY : encode(body),
      {
        timeoutMs: 10_000,
      },
    );
    const status = reply.headers.Status;
    if (status === '404') return undefined;
    const subject = reply.headers['Nats-Subject'];
    if (status !== undefined || subject === undefined) {
      throw new VouchError('internal', `${stream}: direct get answered ${status ?? 'without a subject'}`);
    }
    const {
      'Nats-Stream': from,
      'Nats-Subject': _,
      'Nats-Sequence': sequence,
      'Nats-Time-Stamp': time,
      ...headers
    } = reply.headers;
    const found = {
      subject,
      data: reply.data,
      headers,
      sequence: Number(sequence),
      time: new Date(time ?? 0),
    };
    if (from !== stream || !fits(found))
      throw new VouchError('bad-message', `${stream}: direct get answered with another message`);
    return found;
  }

  const getLast = (stream: string, subject: string) =>
    direct(stream, `${stream}.${subject}`, (found) => found.subject === subject);

  return {
    api,
    append,
    async appendFirst(stream, subject, data, options) {
      try {
        return await append(subject, data, { ...options, expectLastSubjectSequence: 0 });
      } catch (error) {
        if (!(error instanceof VouchError && error.code === 'conflict')) throw error;
        // Servers differ in whether they look at the id or at the sequence first.
        const first = await getLast(stream, subject);
        if (first?.headers['Nats-Msg-Id'] !== options.msgId) throw error;
        return { stream, sequence: first.sequence, duplicate: true };
      }
    },
    getLast,
    getFrom: (stream, sequence, subject) =>
      subject === undefined
        ? direct(stream, stream, (found) => found.sequence === sequence, { seq: sequence })
        : direct(stream, stream, (found) => found.sequence >= sequence && catches(subject, found.subject), {
            seq: sequence,
            next_by_subj: subject,
          }),

    async next(stream, consumer, { expiresMs = 5_000, signal } = {}) {
      signal?.throwIfAborted();
      const pulled = connection
        .request(
          `${API}.CONSUMER.MSG.NEXT.${stream}.${consumer}`,
          encode({ batch: 1, expires: Math.round(expiresMs * 1e6) }),
          { timeoutMs: expiresMs + 2_000, ownInbox: true },
        )
        .then((message) => pulledMessage(connection, message, `${stream}.${consumer}`));
      if (signal === undefined) return pulled;
      const aborted = Promise.withResolvers<never>();
      const onAbort = () => {
        pulled.then((message) => message?.nak()).catch(() => {});
        aborted.reject(
          new VouchError('cancelled', `${stream}.${consumer}: cancelled while waiting for a message`),
        );
      };
      signal.addEventListener('abort', onAbort, { once: true });
      try {
        return await Promise.race([pulled, aborted.promise]);
      } finally {
        signal.removeEventListener('abort', onAbort);
      }
    },

    async subjectsOf(stream, filter) {
      const info = await call<{ state: { subjects?: Record<string, number> | null } }>(
        `${infoPrefix}.${stream}`,
        {
          subjects_filter: filter,
        },
      );
      return new Map(Object.entries(info.state.subjects ?? {}));
    },

    async fillOf(stream) {
      const { state, config, ts } = await call<{
        state: { messages: number; bytes: number };
        config: { max_bytes: number };
        ts?: string;
      }>(`${infoPrefix}.${stream}`, {});
      const { messages, bytes } = state;
      return {
        messages,
        bytes,
        maxBytes: config.max_bytes,
        time: ts === undefined ? undefined : new Date(ts),
      };
    },

    bucket(name) {
      const subject = (key: string) => `$KV.${name}.${key}`;
      const gone = (headers: Headers) =>
        headers['KV-Operation'] === 'DEL' || headers['KV-Operation'] === 'PURGE';
      const put = async (key: string, value: Uint8Array, options: AppendOptions = {}) =>
        (await append(subject(key), value, options)).sequence;
      const stored = (key: string) => getLast(`KV_${name}`, subject(key));
      return {
        async get(key) {
          const message = await stored(key);
          return message === undefined || gone(message.headers)
            ? undefined
            : { value: message.data, revision: message.sequence };
        },
        async create(key, value) {
          const message = await stored(key);
          if (message !== undefined && !gone(message.headers)) {
            throw new VouchError(
              'conflict',
              `${name}.${key}: exists already, at revision ${message.sequence}`,
            );
          }
          return put(key, value, { expectLastSubjectSequence: message?.sequence ?? 0 });
        },
        update: (key, value, revision) => put(key, value, { expectLastSubjectSequence: revision }),
        put: (key, value) => put(key, value),
        async delete(key, revision) {
          await put(key, EMPTY, {
            headers: { 'KV-Operation': 'DEL' },
            ...(revision === undefined ? {} : { expectLastSubjectSequence: revision }),
          });
        },
      };
    },
  };
}

/**
 * Reads a pull consumer's answer. The reply subject carries the position:
 * `$JS.ACK.<stream>.<consumer>.<deliveries>.<stream sequence>.<consumer sequence>.<nanoseconds>.<pending>`,
 * with a domain and an account hash before the stream where they exist.
 */
function pulledMessage(connection: Requester, message: Message, where: string): PulledMessage | undefined {
  const { reply } = message;
  const status = message.headers.Status;
  if (status !== undefined && (reply === undefined || reply === '')) {
    // 404 no messages, 408 expired; 409 says that the consumer is gone or busy.
    if (status === '404' || status === '408') return undefined;
    throw new VouchError('not-ready', `${where}: ${status} ${message.headers.Description ?? ''}`.trim());
  }
  const parts = reply?.split('.') ?? [];
  const at = parts.length >= 11 ? 4 : 2;
  if (reply === undefined || !reply.startsWith('$JS.ACK.') || parts.length < 9) {
    throw new VouchError(
      'internal',
      `${where}: expected a message of a pull consumer, got one with another reply subject`,
    );
  }
  const settle = (body: string) => connection.publish(reply, new TextEncoder().encode(body));
  return {
    subject: message.subject,
    data: message.data,
    headers: message.headers,
    deliveries: Number(parts[at + 2]),
    sequence: Number(parts[at + 3]),
    time: new Date(Number(parts[at + 5]) / 1e6),
    ack: async () => {
      await connection.request(reply, new TextEncoder().encode('+ACK'), { timeoutMs: 5_000 });
    },
    nak: (delayMs) =>
      settle(delayMs === undefined ? '-NAK' : `-NAK ${JSON.stringify({ delay: Math.round(delayMs * 1e6) })}`),
    working: () => settle('+WPI'),
    term: () => settle('+TERM'),
  };
}
