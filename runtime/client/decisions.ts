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
import { VouchError } from '../../protocols/errors.ts';
import type { VerifiedManifest } from '../../protocols/manifest.ts';
import { createWhole, entriesIn, readText, readTextIfThere, writeWhole } from '../home/files.ts';
import {
  Answer,
  type KeptText,
  type Known,
  keptTextFrom,
  knownByHand,
  knownFrom,
  manifestFrom,
  type NamedText,
} from '../verdict/kept.ts';
import type { ChatReceipt } from './chat.ts';
import type { Inference, VerifiedService } from './client.ts';

const MAX_BYTES = 16 * 1024 * 1024;

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

/** Keeps an answer in text in the same form. Returns the path of the receipt bundle, which is written last. */
export async function keepText(
  folder: string,
  { service, question, text, toolCalls, bundle, nonce, evidenceNonce, salts, end }: ChatReceipt,
): Promise<string> {
  const { manifest, signature, digest } = service.published;
  const file = (name: string) => path.join(folder, `${end.receiptId}.${name}`);
  const kept: KeptText = {
    version: 2,
    model: manifest.name,
    nonce,
    evidenceNonce,
    question,
    answer: {
      text,
      ...(toolCalls === undefined ? {} : { toolCalls: toolCalls as KeptText['answer']['toolCalls'] }),
    },
  };
  await createWhole(
    path.join(folder, `${digest}.manifest.json`),
    `${JSON.stringify({ manifest, signature })}\n`,
  );
  await writeWhole(file('json'), `${JSON.stringify(kept)}\n`);
  await writeWhole(file('salts'), `${JSON.stringify(salts)}\n`);
  await writeWhole(file('cose'), bundle);
  return file('cose');
}

/** What was kept of the answer in text whose receipt this is. Throws `bad-file`. */
export function readKeptText(receipt: string, id: string): KeptText {
  const name = path.join(path.dirname(receipt), `${id}.json`);
  return keptTextFrom({ name, text: readText(name, 'kept answer', MAX_BYTES) });
}

/** The ids of the receipts in a folder, those of which only other parts are left included. */
export function keptReceipts(folder: string): string[] {
  const names = entriesIn(folder, 'receipts').map(({ name }) => name);
  const ids = names.map((name) => /^([0-9a-f]{32})\.(?:cose|json|salts)$/.exec(name)?.[1]);
  return [...new Set(ids.filter((id) => id !== undefined))].sort();
}

/** What was kept beside a receipt; `manifest` is the digest that the receipt names. Throws `bad-file`. */
export function readKept(folder: string, id: string, manifest: string | undefined): Known {
  const kept = (end: string, what: string): NamedText | undefined => {
    const name = path.join(folder, end);
    const text = readTextIfThere(name, what, MAX_BYTES);
    return text === undefined ? undefined : { name, text };
  };
  return knownFrom({
    decision: kept(`${id}.json`, 'kept decision'),
    salts: kept(`${id}.salts`, 'salts'),
    manifest: manifest === undefined ? undefined : kept(`${manifest}.manifest.json`, 'manifest'),
  });
}

/** A manifest as `keepDecision` writes it. Throws `bad-file`, `signature-rejected`. */
export const readManifestFile = (name: string): VerifiedManifest =>
  manifestFrom({ name, text: readText(name, 'manifest', MAX_BYTES) });

/**
 * What a person says of a receipt: the application and the answer as JSON, or files that hold it, as a kept decision does,
 * and the file of the salts. Throws `bad-input`, `bad-file`.
 */
export function tiedByHand(given: {
  readonly application?: string | undefined;
  readonly answer?: string | undefined;
  readonly request?: string | undefined;
  readonly response?: string | undefined;
  readonly salts?: string | undefined;
}): Pick<Known, 'request' | 'response' | 'erased'> {
  const { application, answer, request, response, salts } = given;
  if (salts === undefined) {
    if ((application ?? answer ?? request ?? response) === undefined) return {};
    throw new VouchError(
      'bad-input',
      'verify: expected --salts FILE beside --application and --answer, or --request and --response: the digests in a receipt are keyed with them',
    );
  }
  const file = (name: string | undefined, what: string): NamedText | undefined =>
    name === undefined ? undefined : { name, text: readText(name, what, MAX_BYTES) };
  return knownByHand({
    application: typed(application, 'application'),
    answer: typed(answer, 'answer'),
    request: file(request, 'request'),
    response: file(response, 'response'),
    salts: { name: salts, text: readText(salts, 'salts', MAX_BYTES) },
  });
}

function typed(text: string | undefined, name: string): NamedText | undefined {
  if (text === undefined) return undefined;
  return { name: `--${name}`, text: /^\s*[[{]/.test(text) ? text : readText(text, name, MAX_BYTES) };
}
