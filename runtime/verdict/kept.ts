/**
 * What a client keeps of a decision beside its receipt, as texts: how they are read, and what they say to a verifier. The
 * files themselves, and their names, are client/decisions.ts.
 */
import { z } from 'zod';
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
export const Kept = z.strictObject({
  version: z.literal(1),
  model: Id,
  nonce: Nonce,
  evidenceNonce: Nonce,
  application: row,
  answer: Answer,
});

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
  const { nonce, evidenceNonce, application, answer } = parsed(Kept, decision);
  return { ...known, nonce, evidenceNonce, ...tied(application, answer, salts ? parsed(Salts, salts) : {}) };
}

/** Throws `bad-file`, `signature-rejected`. */
export const manifestFrom = (file: NamedText): VerifiedManifest =>
  verifyManifest(parsed(PublishedManifest.schema, file));

/** What is said of a receipt one by one: application and answer as JSON, or members of JSON, and the salts. */
export function knownByHand(given: {
  readonly application?: NamedText | undefined;
  readonly answer?: NamedText | undefined;
  readonly salts: NamedText;
}): Pick<Known, 'request' | 'response' | 'erased'> {
  return tied(
    given.application && memberOf(given.application, 'application', row),
    given.answer && memberOf(given.answer, 'answer', Answer),
    parsed(Salts, given.salts),
  );
}

/** The digests' other halves. A salt that is gone is an erasure. */
function tied(
  application: readonly string[] | undefined,
  answer: z.infer<typeof Answer> | undefined,
  salts: z.infer<typeof Salts>,
): Pick<Known, 'request' | 'response' | 'erased'> {
  const { request, response } = salts;
  return {
    ...(application && request
      ? { request: { salt: fromHex(request), body: requestBytes(application) } }
      : {}),
    ...(answer && response ? { response: { salt: fromHex(response), body: responseBytes(answer) } } : {}),
    erased: {
      ...(application && !request ? { 'receipt.request': true } : {}),
      ...(answer && !response ? { 'receipt.response': true } : {}),
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
