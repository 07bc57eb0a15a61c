/**
 * What a client keeps of a decision beside its receipt, as texts: how they are read, and what they say to a verifier. The
 * files themselves, and their names, are client/decisions.ts.
 */
import { z } from 'zod';
import { answerBytes, ChatEnd, ChatPlaintext, questionBytes } from '../../protocols/chat.ts';
import { fromHex } from '../../protocols/encoding.ts';
import { Id, Nonce } from '../../protocols/envelope.ts';
import { VouchError } from '../../protocols/errors.ts';
import {
  AnswerPlaintext,
  InferencePlaintext,
  requestBytes,
  responseBytes,
} from '../../protocols/inference.ts';
import { PublishedManifest, type VerifiedManifest, verifyManifest } from '../../protocols/manifest.ts';
import type { Salted } from '../../protocols/receipt.ts';

const { row, requestSalt: Salt } = InferencePlaintext.shape;
const { decision, label, scores } = AnswerPlaintext.shape;
export const Answer = z.object({ decision, label, scores });
export const Salts = z.strictObject({ request: Salt.optional(), response: Salt.optional() });
const { question } = ChatPlaintext.shape;
const { toolCalls } = ChatEnd.shape;
/** An answer in text. */
export const AnsweredText = z.strictObject({ text: z.string(), toolCalls });
const Common = z.strictObject({ model: Id, nonce: Nonce, evidenceNonce: Nonce });
export const KeptText = Common.extend({ version: z.literal(2), question, answer: AnsweredText });
export type KeptText = z.infer<typeof KeptText>;
export const Kept = z.discriminatedUnion('version', [
  Common.extend({ version: z.literal(1), application: row, answer: Answer }),
  KeptText,
]);

export type Kept = z.infer<typeof Kept>;

/** What a verifier of a receipt knows besides it. */
export interface Known {
  readonly nonce?: string | undefined;
  readonly evidenceNonce?: string | undefined;
  readonly request?: Salted | undefined;
  readonly response?: Salted | undefined;
  readonly manifest?: VerifiedManifest | undefined;
  /** the check whose salt was kept and is gone -> that it is */
  readonly erased?: Readonly<Partial<Record<'receipt.request' | 'receipt.response', true>>>;
}

/** The texts that were kept beside a receipt, each with the name that an error calls it by. */
export interface KeptTexts {
  readonly decision?: NamedText | undefined;
  readonly salts?: NamedText | undefined;
  readonly manifest?: NamedText | undefined;
}
export interface NamedText {
  readonly name: string;
  readonly text: string;
}

/** What kept texts say to a verifier. Without the decision the salts say nothing. Throws `bad-file`. */
export function knownFrom({ decision, salts, manifest }: KeptTexts): Known {
  const known = { manifest: manifest && manifestFrom(manifest) };
  if (decision === undefined) return known;
  const kept = parsed(Kept, decision);
  const { nonce, evidenceNonce } = kept;
  const own = salts ? parsed(Salts, salts) : {};
  const bodies =
    kept.version === 1
      ? { request: requestBytes(kept.application), response: responseBytes(kept.answer) }
      : { request: questionBytes(kept.question), response: answerBytes(kept.answer) };
  return { ...known, nonce, evidenceNonce, ...tied(bodies, own) };
}

/** A kept answer in text. Throws `bad-file`, `bad-input` for one of a row. */
export function keptTextFrom(file: NamedText): KeptText {
  const kept = parsed(Kept, file);
  if (kept.version === 2) return kept;
  throw new VouchError(
    'bad-input',
    `${file.name}: it is of a decision about a row, expected one of an answer in text`,
  );
}

/** Throws `bad-file`, `signature-rejected`. */
export const manifestFrom = (file: NamedText): VerifiedManifest =>
  verifyManifest(parsed(PublishedManifest.schema, file));

/** What is said of a receipt one by one: application and answer as JSON, or members of JSON, and the salts. */
export function knownByHand(given: {
  readonly application?: NamedText | undefined;
  readonly answer?: NamedText | undefined;
  /** of an answer in text: what was asked, as JSON, and the very text, or what was kept of both */
  readonly request?: NamedText | undefined;
  readonly response?: NamedText | undefined;
  readonly salts: NamedText;
}): Pick<Known, 'request' | 'response' | 'erased'> {
  const { application, answer, request, response } = given;
  return tied(
    {
      request:
        (application && requestBytes(memberOf(application, 'application', row))) ??
        (request && questionBytes(memberOf(request, 'question', question))),
      response:
        (answer && responseBytes(memberOf(answer, 'answer', Answer))) ?? (response && responseIn(response)),
    },
    parsed(Salts, given.salts),
  );
}

/** A file that holds a kept answer, or nothing but its text. */
function responseIn({ text }: NamedText): Uint8Array {
  try {
    return answerBytes(KeptText.parse(JSON.parse(text)).answer);
  } catch {
    return answerBytes({ text });
  }
}

/** The digests' other halves. A salt that is gone is an erasure. */
function tied(
  bodies: { readonly request?: Uint8Array | undefined; readonly response?: Uint8Array | undefined },
  salts: z.infer<typeof Salts>,
): Pick<Known, 'request' | 'response' | 'erased'> {
  const side = (name: 'request' | 'response'): Salted | undefined => {
    const [body, salt] = [bodies[name], salts[name]];
    return body && salt ? { salt: fromHex(salt), body } : undefined;
  };
  const [request, response] = [side('request'), side('response')];
  return {
    ...(request ? { request } : {}),
    ...(response ? { response } : {}),
    erased: {
      ...(bodies.request && !salts.request ? { 'receipt.request': true } : {}),
      ...(bodies.response && !salts.response ? { 'receipt.response': true } : {}),
    },
  };
}

function memberOf<T>(file: NamedText, name: string, schema: z.ZodType<T>): T {
  const value = jsonOf(file);
  const inner = typeof value === 'object' && value !== null && Object.hasOwn(value, name);
  const result = schema.safeParse(inner ? (value as Record<string, unknown>)[name] : value);
  if (result.success) return result.data;
  const issue = result.error.issues[0];
  throw new VouchError(
    'bad-input',
    `${file.name}${issue?.path.map((part) => `.${String(part)}`).join('') ?? ''}: ${issue?.message ?? 'not as expected'}; expected JSON as vouch infer keeps it`,
  );
}

function jsonOf({ name, text }: NamedText): unknown {
  try {
    return JSON.parse(text);
  } catch {
    throw new VouchError('bad-file', `${name}: expected JSON`);
  }
}

/** The error names the file and the member, and quotes nothing. */
function parsed<T>(schema: z.ZodType<T>, file: NamedText): T {
  const result = schema.safeParse(jsonOf(file));
  if (result.success) return result.data;
  const { path: at = [], message = '' } = result.error.issues[0] ?? {};
  throw new VouchError('bad-file', `${file.name}: ${at.map(String).join('.')}: ${message}`);
}
