/**
 * A decision as a client keeps it, so that its receipt can be tied to an application later. Files of mode 0600:
 *
 *   <receipt id>.cose        the receipt bundle
 *   <receipt id>.json        the application, the answer, and the two nonces that were sent
 *   <receipt id>.salts       the salts of both digests in the receipt
 *   <digest>.manifest.json   the model's signed manifest, once for all decisions under it
 *
 * Whoever removes a salt from `.salts`, or the file, erases the link: the receipt stays valid, and nobody can test a guess
 * of the application, or of the answer, against it any more.
 *
 * Not guaranteed: that the files are one's own. Who gets a folder from somebody else gets his word for the nonces.
 */
import path from 'node:path';
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
import { createWhole, entriesIn, readText, readTextIfThere, writeWhole } from '../home/files.ts';
import type { Inference, VerifiedService } from './client.ts';

const MAX_BYTES = 4 * 1024 * 1024;
const { row, requestSalt: Salt } = InferencePlaintext.shape;
const { decision, label, scores } = AnswerPlaintext.shape;
const Answer = z.object({ decision, label, scores });
const Salts = z.strictObject({ request: Salt.optional(), response: Salt.optional() });
const Kept = z.strictObject({
  version: z.literal(1),
  model: Id,
  nonce: Nonce,
  evidenceNonce: Nonce,
  application: row,
  answer: Answer,
});

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

/** Keeps a decision. Returns the path of the receipt bundle, which is written last. */
export async function keepDecision(
  folder: string,
  { manifest, published }: VerifiedService,
  application: readonly string[],
  { answer, bundle, nonce, evidenceNonce, salts }: Inference,
): Promise<string> {
  const file = (end: string) => path.join(folder, `${answer.receiptId}.${end}`);
  const { manifest: signed, signature } = published;
  const kept = {
    version: 1,
    model: manifest.name,
    nonce,
    evidenceNonce,
    application,
    answer: Answer.parse(answer),
  };
  await createWhole(
    path.join(folder, `${published.digest}.manifest.json`),
    `${JSON.stringify({ manifest: signed, signature })}\n`,
  );
  await writeWhole(file('json'), `${JSON.stringify(kept)}\n`);
  await writeWhole(file('salts'), `${JSON.stringify(salts)}\n`);
  await writeWhole(file('cose'), bundle);
  return file('cose');
}

/** The ids of the receipts in a folder, those of which only other parts are left included. */
export function keptReceipts(folder: string): string[] {
  const names = entriesIn(folder, 'receipts').map(({ name }) => name);
  const ids = names.map((name) => /^([0-9a-f]{32})\.(?:cose|json|salts)$/.exec(name)?.[1]);
  return [...new Set(ids.filter((id) => id !== undefined))].sort();
}

/** What was kept beside a receipt; `manifest` is the digest that the receipt names. Throws `bad-file`. */
export function readKept(folder: string, id: string, manifest: string | undefined): Known {
  const file = path.join(folder, `${id}.json`);
  const text = readTextIfThere(file, 'kept decision', MAX_BYTES);
  const known = { manifest: manifestIfThere(folder, manifest) };
  if (text === undefined) return known;
  const { nonce, evidenceNonce, application, answer } = parsed(Kept, text, file);
  const salts = saltsIfThere(path.join(folder, `${id}.salts`));
  return { ...known, nonce, evidenceNonce, ...tied(application, answer, salts) };
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

const saltsIfThere = (file: string): z.infer<typeof Salts> => {
  const text = readTextIfThere(file, 'salts', MAX_BYTES);
  return text === undefined ? {} : parsed(Salts, text, file);
};

function manifestIfThere(folder: string, digest: string | undefined): VerifiedManifest | undefined {
  if (digest === undefined) return undefined;
  const file = path.join(folder, `${digest}.manifest.json`);
  const text = readTextIfThere(file, 'manifest', MAX_BYTES);
  return text === undefined ? undefined : verifyManifest(parsed(PublishedManifest.schema, text, file));
}

/** A manifest as `keepDecision` writes it. Throws `bad-file`, `signature-rejected`. */
export const readManifestFile = (file: string): VerifiedManifest =>
  verifyManifest(parsed(PublishedManifest.schema, readText(file, 'manifest', MAX_BYTES), file));

/**
 * What a person says of a receipt: the application and the answer as JSON, or files that hold it, as a kept decision does,
 * and the file of the salts. Throws `bad-input`, `bad-file`.
 */
export function tiedByHand(given: {
  readonly application?: string | undefined;
  readonly answer?: string | undefined;
  readonly salts?: string | undefined;
}): Pick<Known, 'request' | 'response' | 'erased'> {
  const { salts } = given;
  if (salts === undefined) {
    if ((given.application ?? given.answer) === undefined) return {};
    throw new VouchError(
      'bad-input',
      'verify: expected --salts FILE beside --application and --answer: the digests in a receipt are keyed with them',
    );
  }
  const application = memberOf(given.application, 'application', row);
  const answer = memberOf(given.answer, 'answer', Answer);
  return tied(application, answer, parsed(Salts, readText(salts, 'salts', MAX_BYTES), salts));
}

function memberOf<T>(text: string | undefined, name: string, schema: z.ZodType<T>): T | undefined {
  if (text === undefined) return undefined;
  const isJson = /^\s*[[{]/.test(text);
  const value = jsonOf(isJson ? text : readText(text, name, MAX_BYTES), `--${name}`);
  const inner = typeof value === 'object' && value !== null && Object.hasOwn(value, name);
  const result = schema.safeParse(inner ? (value as Record<string, unknown>)[name] : value);
  if (result.success) return result.data;
  const issue = result.error.issues[0];
  throw new VouchError(
    'bad-input',
    `--${name}${issue?.path.map((part) => `.${String(part)}`).join('') ?? ''}: ${issue?.message ?? 'not as expected'}; expected JSON as vouch infer keeps it`,
  );
}

function jsonOf(text: string, what: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    throw new VouchError('bad-file', `${what}: expected JSON`);
  }
}

/** The error names the file and the member, and quotes nothing. */
function parsed<T>(schema: z.ZodType<T>, text: string, file: string): T {
  const result = schema.safeParse(jsonOf(text, file));
  if (result.success) return result.data;
  const { path: at = [], message = '' } = result.error.issues[0] ?? {};
  throw new VouchError('bad-file', `${file}: ${at.map(String).join('.')}: ${message}`);
}
