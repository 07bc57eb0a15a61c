/**
 * The envelope around every message, and the codec that checks it.
 *
 * A structured message is one JSON object: the envelope with its `body`. A bulk message (scalars, points,
 * sealed bytes) carries the very same object in the header `Vouch-Envelope` and its payload raw, never
 * base64. Readers ignore unknown fields. The envelope names the subject it was published on; a receiver
 * refuses a message that arrives on any other, so a stored message cannot be replayed onto a foreign subject.
 *
 * The envelope is not authenticated by itself: NATS rights say who may publish where, seals and signatures
 * protect what matters.
 */
import { z } from 'zod';
import { ERROR_CODES, VouchError, WireError } from './errors.ts';

export const ENVELOPE_HEADER = 'Vouch-Envelope';
/** Bytes; a header or a structured message above these is refused before it is parsed. */
export const MAX_HEADER_BYTES = 64 * 1024;
export const MAX_MESSAGE_BYTES = 1024 * 1024;

export const Id = z.string().regex(/^[A-Za-z0-9_-]{1,64}$/, 'expected 1 to 64 of A-Z a-z 0-9 _ -');
/** Lower-case hex SHA-256. */
export const Digest = z.string().regex(/^[0-9a-f]{64}$/, 'expected a lower-case hex SHA-256');
/** Hex of 16 to 64 random bytes. */
export const Nonce = z
  .string()
  .regex(/^(?:[0-9a-f]{2}){16,64}$/, 'expected 16 to 64 bytes as lower-case hex');
/** A BN254 scalar in decimal. */
export const FieldElement = z
  .string()
  .regex(/^(?:0|[1-9][0-9]{0,76})$/, 'expected a field element in decimal');

const Envelope = z.object({
  id: Id,
  type: z.string().max(64),
  version: z.int().min(1),
  /** `<role>.<id>` of the sender */
  source: z.string().max(130),
  /** ISO 8601, the sender's clock; not trusted */
  time: z.iso.datetime(),
  subject: z.string().max(400),
  /** id of the message that caused this one */
  cause: Id.optional(),
  /** the job's lease revision; work of an older epoch is ignored */
  epoch: z.int().min(0).optional(),
  body: z.unknown(),
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

/** The envelope as the payload of a structured message. */
export function encodeMessage<Body>(kind: MessageType<Body>, message: Outgoing<Body>): Uint8Array {
  return new TextEncoder().encode(encodeHeader(kind, message));
}

/**
 * Parses a structured message that arrived on `subject`. Pass `subject: null` for a reply, which arrives on a
 * private inbox. Throws `bad-message`, `bad-version`, `too-large`, or the sender's own error for an error reply.
 */
export function decodeMessage<Body>(
  kind: MessageType<Body>,
  subject: string | null,
  data: Uint8Array,
): Message<Body> {
  if (data.byteLength > MAX_MESSAGE_BYTES) {
    throw new VouchError(
      'too-large',
      `${kind.type}: expected at most ${MAX_MESSAGE_BYTES} bytes, got ${data.byteLength}`,
    );
  }
  return decodeText(kind, subject, new TextDecoder().decode(data));
}

/** Parses the header of a bulk message that arrived on `subject`. */
export function decodeHeader<Body>(
  kind: MessageType<Body>,
  subject: string | null,
  header: string | undefined,
): Message<Body> {
  if (header === undefined || header === '') {
    throw new VouchError('bad-message', `${kind.type}: expected a ${ENVELOPE_HEADER} header, got none`);
  }
  if (header.length > MAX_HEADER_BYTES) {
    throw new VouchError('too-large', `${kind.type}: expected a header of at most ${MAX_HEADER_BYTES} bytes`);
  }
  return decodeText(kind, subject, header);
}

/**
 * Parses a structured message that is one of several types: the one whose name it bears decides. Throws as
 * `decodeMessage` does; the last of `kinds` names what was expected when none fits.
 */
export function decodeOneOf<Kinds extends readonly MessageType<unknown>[]>(
  kinds: Kinds,
  subject: string | null,
  data: Uint8Array,
): {
  [K in keyof Kinds]: Kinds[K] extends MessageType<infer Body>
    ? { kind: Kinds[K]; message: Message<Body> }
    : never;
}[number] {
  const type =
    data.byteLength > MAX_MESSAGE_BYTES
      ? undefined
      : /"type":"([a-z.]{1,64})"/.exec(new TextDecoder().decode(data))?.[1];
  const kind = kinds.find((candidate) => candidate.type === type) ?? kinds[kinds.length - 1]!;
  return { kind, message: decodeMessage(kind, subject, data) } as never;
}

function decodeText<Body>(kind: MessageType<Body>, subject: string | null, text: string): Message<Body> {
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch {
    throw new VouchError('bad-message', `${kind.type}: expected a JSON envelope, got text that is not JSON`);
  }
  const envelope = parse(Envelope, json, 'envelope');
  if (envelope.type === ErrorReply.type && kind.type !== ErrorReply.type) {
    const body = parse(WireError, envelope.body, 'error');
    throw new RemoteError(body);
  }
  if (envelope.type !== kind.type) {
    throw new VouchError(
      'bad-message',
      `expected a message of type ${kind.type}, got ${envelope.type.slice(0, 64)}`,
    );
  }
  if (envelope.version !== kind.version) {
    throw new VouchError(
      'bad-version',
      `${kind.type}: this side speaks version ${kind.version}, the message is version ${envelope.version}`,
    );
  }
  if (subject !== null && envelope.subject !== subject) {
    throw new VouchError(
      'bad-message',
      `${kind.type}: the message arrived on a subject other than the one it names`,
    );
  }
  return { ...envelope, body: parse(kind.schema, envelope.body, kind.type) };
}

/** An error that the other side replied with; `errorId` finds it in that side's log. */
export class RemoteError extends VouchError {
  readonly errorId: string;
  constructor(body: WireError) {
    super(knownCode(body.code), body.message);
    this.errorId = body.errorId;
  }
}

function knownCode(code: string): VouchError['code'] {
  return (Object.hasOwn(ERROR_CODES, code) ? code : 'internal') as VouchError['code'];
}

/** Checks `value` against `schema`; throws `bad-message` that names the field and what was expected. */
export function parse<T>(schema: z.ZodType<T>, value: unknown, what: string): T {
  const result = schema.safeParse(value);
  if (result.success) return result.data;
  const issue = result.error.issues[0];
  const path = issue?.path.length ? `${what}.${issue.path.join('.')}` : what;
  throw new VouchError('bad-message', `${path}: ${issue?.message ?? 'not of the expected shape'}`);
}
