/**
 * What a key-broker keeps of each model in `.vouch/broker`: its key, or one share of it, and the policy under which
 * that is released. It also says to what a sealed model and a released key are bound. The files hold secrets (mode
 * 0600) and are believed as the rest of that folder is.
 */
import { z } from 'zod';
import { type Policy, parsePolicy } from '../../protocols/attestation/policy.ts';
import { fromHex, hex, utf8 } from '../../protocols/encoding.ts';
import { FieldElement, Id } from '../../protocols/envelope.ts';
import { VouchError } from '../../protocols/errors.ts';
import { PIECE_BYTES, type Piece } from '../../protocols/key-shares.ts';
import { token } from '../../protocols/subjects.ts';
import { entriesIn, readTextIfThere, removeFile, writeWhole } from '../home/files.ts';
import { folder } from '../home/home.ts';

const KeyText = z.string().regex(/^[0-9a-f]{64}$/);
const PieceText = z.string().regex(new RegExp(`^[0-9a-f]{${2 * PIECE_BYTES}}$`));
const terms = { model: Id, commitment: FieldElement, policy: z.unknown() };
/** An entry as its file has it. `key` and `piece` are secret. */
const StoredEntry = z.union([
  z.strictObject({ version: z.literal(1), ...terms, key: KeyText }),
  z.strictObject({ version: z.literal(2), ...terms, share: z.int().min(1), piece: PieceText }),
]);

export interface BrokerEntry {
  readonly model: string;
  readonly commitment: string;
  readonly policy: Policy;
  /** number of the share; undefined: the whole key */
  readonly share?: number | undefined;
  /** key or piece, lower-case hex */
  readonly secret: string;
}

/** A whole key is any broker's of this installation; a share lies in the folder of the one that it is for. */
const wholeFile = (model: string): string => folder('broker', `${token(model, 'model')}.json`);
const shareFile = (model: string, broker: string): string =>
  folder('broker', token(broker, 'broker'), `${token(model, 'model')}.json`);

const keep = (file: string, entry: z.input<typeof StoredEntry>): Promise<void> =>
  writeWhole(file, JSON.stringify(entry));

/** What is released, and under which terms. */
export type Terms = Pick<BrokerEntry, 'model' | 'commitment' | 'policy'>;

/** Keeps a whole key for any broker of this host. */
export const keepKey = (terms: Terms, key: Uint8Array): Promise<void> =>
  keep(wholeFile(terms.model), { version: 1, ...terms, key: hex(key) });

/** Keeps a share for one broker. */
export const keepShare = (terms: Terms, broker: string, { number, bytes }: Piece): Promise<void> =>
  keep(shareFile(terms.model, broker), { version: 2, ...terms, share: number, piece: hex(bytes) });

/** Removes what brokers of this host hold of an earlier key of a model: a stale share would be released, and not fit. */
export async function forget(model: string): Promise<void> {
  const found = entriesIn(folder('broker'), 'broker entries');
  const brokers = found.filter((each) => each.isDirectory()).map(({ name }) => name);
  for (const file of [wholeFile(model), ...brokers.map((broker) => shareFile(model, broker))])
    await removeFile(file);
}

/** A broker's entry for a model. Throws `unknown-model`, or `bad-file` for a damaged one. */
export function readBrokerEntry(model: string, broker: string): BrokerEntry {
  const [own, whole] = [shareFile(model, broker), wholeFile(model)];
  const share = readTextIfThere(own, 'broker entry');
  const text = share ?? readTextIfThere(whole, 'broker entry');
  if (text === undefined)
    throw new VouchError('unknown-model', `model ${model}: key-broker ${broker} holds no key for it`);
  try {
    const entry = StoredEntry.parse(JSON.parse(text));
    const known = { model: entry.model, commitment: entry.commitment, policy: parsePolicy(entry.policy) };
    return entry.version === 1
      ? { ...known, secret: entry.key }
      : { ...known, secret: entry.piece, share: entry.share };
  } catch {
    // The cause could quote the key.
    const file = share === undefined ? whole : own;
    throw new VouchError('bad-file', `${file}: not a broker entry; publish the model again`);
  }
}

export const secretOf = ({ secret }: BrokerEntry): Uint8Array => fromHex(secret, 'model key');

/** What a sealed model is bound to. */
export const modelAad = (model: string, commitment: string): Uint8Array =>
  utf8(`vouch/v1/model/${model}/${commitment}`);

/** What a wrapped model key, or a share of it, is bound to. */
export const releaseAad = (model: string, commitment: string, share?: number): Uint8Array =>
  share === undefined ? modelAad(model, commitment) : utf8(`vouch/v1/share/${share}/${model}/${commitment}`);
