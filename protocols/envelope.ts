/**
 * The envelope around every message, and the codec that checks it.
 *
 * A structured message is one JSON object: the envelope with its `body`. A bulk message (scalars, points,
 * sealed bytes) carries the very same object in the header `Vouch-Envelope` and its payload raw, never
 * base64. Readers ignore unknown fields, except in what is signed. The envelope names the subject it was
 * published on (a reply: that of its request); a receiver refuses a message that arrives on any other, so a
 * stored message cannot be replayed onto a foreign subject.
 *
 * The envelope is not authenticated by itself: NATS rights say who may publish where, seals and signatures
 * protect what matters.
 */
import { z } from 'zod';
import { fromUtf8, hex, randomBytes } from './encoding.ts';
import { VouchError } from './errors.ts';
import { RemoteError } from './remote-error.ts';
import { WireError } from './wire-error.ts';

export { RemoteError };

export const ENVELOPE_HEADER = 'Vouch-Envelope';
/** Bytes; a header or a structured message above these is refused before it is parsed. */
export const MAX_HEADER_BYTES = 64 * 1024;
export const MAX_MESSAGE_BYTES = 1024 * 1024;

/** Subject tokens and ids. The titles name these types in docs/PROTOCOL.md. */
export const Id = z
  .string()
  .regex(/^[A-Za-z0-9_-]{1,64}$/, 'expected 1 to 64 of A-Z a-z 0-9 _ -')
  .meta({ title: 'id' });
/** Lower-case hex SHA-256. */
export const Digest = z
  .string()
  .regex(/^[0-9a-f]{64}$/, 'expected a lower-case hex SHA-256')
  .meta({ title: 'digest' });
/** Hex of 16 to 64 random bytes. */
export const Nonce = z
  .string()
  .regex(/^(?:[0-9a-f]{2}){16,64}$/, 'expected 16 to 64 bytes as lower-case hex')
  .meta({ title: 'nonce' });
/** 32 random bytes as hex. */
export const freshNonce = (): string => hex(randomBytes(32));
/** Decimal digits of an integer below 10^77, without leading zeros; whoever computes with it checks its field. */
export const FieldElement = z
  .string()
  .regex(/^(?:0|[1-9][0-9]{0,76})$/, 'expected a field element in decimal')
  .meta({ title: 'field element' });
/** 1 to `maxBytes` bytes as unpadded base64url. */
export const base64Text = (maxBytes: number) =>
  z
    .string()
    .max(Math.ceil((maxBytes * 4) / 3))
    .regex(/^[A-Za-z0-9_-]+$/, 'expected unpadded base64url')
    .meta({ title: 'base64url' });

export const Envelope = z.object({
  id: Id.describe('random, of this message'),
  type: z.string().max(64).describe('name of the message type'),
  version: z.int().min(1).describe('version of the message type'),
  source: z
    .string()
    .regex(/^[A-Za-z0-9_-]{1,64}\.[A-Za-z0-9_-]{1,64}$/, 'expected <role>.<id>')
    .describe('`<role>.<id>` of the sender; not authenticated'),
  time: z.iso.datetime().describe("by the sender's clock, in UTC; not trusted"),
  subject: z.string().max(400).describe('where the message was published; in a reply, where its request was'),
  cause: Id.optional().describe('id of the message that this one answers or follows from'),
  epoch: z.int().min(0).optional().describe("the job's lease revision; work of an older epoch is ignored"),
  body: z.unknown().describe('as the message type says'),
});

export interface Message<Body> {
  readonly id: string;
  readonly type: string;
  readonly version: number;
  readonly source: string;
  readonly time: string;
  readonly subject: string;
  readonly cause?: string | undefined;
  readonly epoch?: number | undefined;
  readonly body: Body;
}

export interface MessageType<Body> {
  readonly type: string;
  readonly version: number;
  readonly schema: z.ZodType<Body>;
}

/** Declares a message type. Its `version` rises when a reader of the old one could misread the new one. */
export function messageType<Schema extends z.ZodType>(
  type: string,
  version: number,
  schema: Schema,
): MessageType<z.infer<Schema>> {
  return { type, version, schema: schema as unknown as z.ZodType<z.infer<Schema>> };
}

/** What a reply has to answer: the request's id, and the subject that it went to. */
export interface Asked {
  readonly id: string;
  readonly subject: string;
}
/**
 * Where a message was met: on a subject, or as the reply to a request. `null` for a reply whose request is not known, as in
 * a file.
 */
export type Place = string | Asked | null;

export const ErrorReply = messageType('error', 1, WireError);

export interface Outgoing<Body> {
  readonly subject: string;
  readonly source: string;
  readonly body: Body;
  readonly cause?: string | undefined;
  readonly epoch?: number | undefined;
  readonly id?: string;
  readonly time?: string;
}

/** The envelope as JSON text, for the header of a bulk message. Throws `bad-message` if `body` is not of the type. */
export function encodeHeader<Body>(kind: MessageType<Body>, message: Outgoing<Body>): string {
  const { subject, source, cause, epoch } = message;
  return JSON.stringify({
    id: message.id ?? crypto.randomUUID(),
    type: kind.type,
    version: kind.version,
    source,
    time: message.time ?? new Date().toISOString(),
    subject,
    ...(cause === undefined ? {} : { cause }),
    ...(epoch === undefined ? {} : { epoch }),
    body: parse(kind.schema, message.body, kind.type),
  });
}

/** The envelope as the payload of a structured message. Throws `bad-message`, and `too-large` for what no reader takes. */
export function encodeMessage<Body>(kind: MessageType<Body>, message: Outgoing<Body>): Uint8Array {
  const data = new TextEncoder().encode(encodeHeader(kind, message));
  checkSize(kind, data);
  return data;
}

/**
 * Parses a structured message. Throws `bad-message`, also for a reply to another request, `bad-version`, `too-large`, or
 * the sender's own error for an error reply.
 */
export function decodeMessage<Body>(kind: MessageType<Body>, place: Place, data: Uint8Array): Message<Body> {
  checkSize(kind, data);
  return read(kind, place, envelopeOf(kind, fromUtf8(data, kind.type)));
}

/** Parses the header of a bulk message. */
export function decodeHeader<Body>(
  kind: MessageType<Body>,
  place: Place,
  header: string | undefined,
): Message<Body> {
  return read(kind, place, envelopeOf(kind, checkHeader(kind, header)));
}

/**
 * Parses a message that is one of several types: the one whose name it bears decides. `data` is a payload, or the
 * text of a bulk message's header. Throws as `decodeMessage` and `decodeHeader` do; the last of `kinds` names what
 * was expected when none fits.
 */
export function decodeOneOf<Kinds extends readonly MessageType<unknown>[]>(
  kinds: Kinds,
  place: Place,
  data: Uint8Array | string | undefined,
): {
  [K in keyof Kinds]: Kinds[K] extends MessageType<infer Body>
    ? { kind: Kinds[K]; message: Message<Body> }
    : never;
}[number] {
  const last = kinds[kinds.length - 1]!;
  if (data instanceof Uint8Array) checkSize(last, data);
  const text = data instanceof Uint8Array ? fromUtf8(data, last.type) : checkHeader(last, data);
  const envelope = envelopeOf(last, text);
  const kind = kinds.find(({ type }) => type === envelope.type) ?? last;
  return { kind, message: read(kind, place, envelope) } as never;
}

function checkSize({ type }: MessageType<unknown>, { byteLength }: Uint8Array): void {
  if (byteLength <= MAX_MESSAGE_BYTES) return;
  throw new VouchError(
    'too-large',
    `${type}: expected at most ${MAX_MESSAGE_BYTES} bytes, got ${byteLength}`,
  );
}

function checkHeader({ type }: MessageType<unknown>, header: string | undefined): string {
  if (header === undefined || header === '') {
    throw new VouchError('bad-message', `${type}: expected a ${ENVELOPE_HEADER} header, got none`);
  }
  if (header.length > MAX_HEADER_BYTES) {
    throw new VouchError('too-large', `${type}: expected a header of at most ${MAX_HEADER_BYTES} bytes`);
  }
  return header;
}

function envelopeOf({ type }: MessageType<unknown>, text: string): z.infer<typeof Envelope> {
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch {
    throw new VouchError('bad-message', `${type}: expected a JSON envelope, got text that is not JSON`);
  }
  return parse(Envelope, json, 'envelope');
}

function read<Body>(
  kind: MessageType<Body>,
  place: Place,
  envelope: z.infer<typeof Envelope>,
): Message<Body> {
  // Errors are replies: on a subject of its own, a message that says it is one is of the wrong type.
  const isError = typeof place !== 'string' && envelope.type === ErrorReply.type;
  if (envelope.type !== kind.type && !isError) {
    throw new VouchError(
      'bad-message',
      `expected a message of type ${kind.type}, got ${envelope.type.slice(0, 64)}`,
    );
  }
  const expected = isError ? ErrorReply : kind;
  if (envelope.version !== expected.version) {
    throw new VouchError(
      'bad-version',
      `${expected.type}: this side speaks version ${expected.version}, the message is version ${envelope.version}`,
    );
  }
  const asked = place !== null && typeof place !== 'string' ? place : undefined;
  // Whoever could not read a request does not know its id, and can only refuse.
  if (asked && envelope.cause !== asked.id && !(isError && envelope.cause === undefined))
    throw new VouchError('bad-message', `${expected.type}: the reply answers another request`);
  if (isError && kind.type !== ErrorReply.type) {
    throw new RemoteError(parse(WireError, envelope.body, ErrorReply.type));
  }
  if (place !== null && envelope.subject !== (asked?.subject ?? place)) {
    throw new VouchError(
      'bad-message',
      `${kind.type}: the message arrived on a subject other than the one it names`,
    );
  }
  return { ...envelope, body: parse(kind.schema, envelope.body, kind.type) };
}

/** Checks `value` against `schema`; throws `bad-message` that names the field and what was expected. */
export function parse<T>(schema: z.ZodType<T>, value: unknown, what: string): T {
  const result = schema.safeParse(value);
  if (result.success) return result.data;
  const issue = result.error.issues[0];
  const path = issue?.path.length ? `${what}.${issue.path.join('.')}` : what;
  throw new VouchError('bad-message', `${path}: ${issue?.message ?? 'not of the expected shape'}`);
}
