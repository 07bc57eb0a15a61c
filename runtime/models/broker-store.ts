/**
 * What a key-broker keeps of each model in `.vouch/broker`: its key, or one share of it, the policy under which that is
 * released, the vendor's signed manifest, and the release key by which the broker signs what it releases. It also says
 * to what a sealed model and a released key are bound. The files hold secrets (mode 0600) and are believed as the rest of
 * that folder is.
 *
 * The release key is made with the entry and lies in it: whoever has the entry could release the model's key anyway, and
 * an entry that is carried to another host brings the key along by which its broker is known there.
 */
import { z } from 'zod';
import { type Policy, parsePolicy } from '../../protocols/attestation/policy.ts';
import { type Signer, signerFromSeed } from '../../protocols/cose.ts';
import { fromHex, hex, utf8 } from '../../protocols/encoding.ts';
import { VouchError } from '../../protocols/errors.ts';
import { PIECE_BYTES, type Piece } from '../../protocols/key-shares.ts';
import { PublishedManifest, type VerifiedManifest, verifyManifest } from '../../protocols/manifest.ts';
import { token } from '../../protocols/subjects.ts';
import { entriesIn, readTextIfThere, removeFile, writeWhole } from '../home/files.ts';
import { folder } from '../home/home.ts';

const SecretText = z.string().regex(/^[0-9a-f]{64}$/);
const PieceText = z.string().regex(new RegExp(`^[0-9a-f]{${2 * PIECE_BYTES}}$`));
/** An entry as its file has it. `releaseKey`, `key` and `piece` are secret. */
const StoredEntry = z
  .strictObject({
    version: z.literal(3),
    published: PublishedManifest.schema as unknown as z.ZodType<PublishedManifest>,
    policy: z.unknown(),
    releaseKey: SecretText,
    key: SecretText.optional(),
    share: z.int().min(1).optional(),
    piece: PieceText.optional(),
  })
  .refine(({ key, share, piece }) => (key === undefined) === (share !== undefined && piece !== undefined));

export interface BrokerEntry {
  readonly manifest: VerifiedManifest;
  readonly policy: Policy;
  /** number of the share; undefined: the whole key */
  readonly share?: number | undefined;
  /** key or piece, lower-case hex */
  readonly secret: string;
  /** 32-byte seed of the release key, lower-case hex, secret */
  readonly releaseKey: string;
}

/** A whole key is any broker's of this installation; a share lies in the folder of the one that it is for. */
const wholeFile = (model: string): string => folder('broker', `${token(model, 'model')}.json`);
const shareFile = (model: string, broker: string): string =>
  folder('broker', token(broker, 'broker'), `${token(model, 'model')}.json`);

const keep = (file: string, entry: z.input<typeof StoredEntry>): Promise<void> =>
  writeWhole(file, JSON.stringify(entry));

/** What is released, under what, and who signs it. */
export interface Releasable {
  readonly published: PublishedManifest;
  readonly policy: Policy;
  /** 32-byte seed, secret */
  readonly releaseKey: Uint8Array;
}
const stored = ({ published, policy, releaseKey }: Releasable) =>
  ({ version: 3, published, policy, releaseKey: hex(releaseKey) }) as const;

/** Keeps a whole key for any broker of this host. */
export const keepKey = (what: Releasable, key: Uint8Array): Promise<void> =>
  keep(wholeFile(what.published.manifest.name), { ...stored(what), key: hex(key) });

/** Keeps a share for one broker. */
export const keepShare = (what: Releasable, broker: string, { number, bytes }: Piece): Promise<void> =>
  keep(shareFile(what.published.manifest.name, broker), {
    ...stored(what),
    share: number,
    piece: hex(bytes),
  });

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
    const manifest = verifyManifest(entry.published);
    if (manifest.manifest.name !== model) throw new TypeError('an entry of another model');
    return {
      manifest,
      policy: parsePolicy(entry.policy),
      share: entry.share,
      secret: (entry.key ?? entry.piece)!,
      releaseKey: entry.releaseKey,
    };
  } catch {
    // The cause could quote the key.
    const file = share === undefined ? whole : own;
    throw new VouchError('bad-file', `${file}: not a broker entry; publish the model again`);
  }
}

export const secretOf = ({ secret }: BrokerEntry): Uint8Array => fromHex(secret, 'model key');
export const releaseSigner = ({ releaseKey }: BrokerEntry): Promise<Signer> =>
  signerFromSeed(fromHex(releaseKey, 'release key', 32));

/** What a sealed model is bound to. */
export const modelAad = (model: string, commitment: string): Uint8Array =>
  utf8(`vouch/v1/model/${model}/${commitment}`);

/** What a wrapped model key, or a share of it, is bound to. */
export const releaseAad = (model: string, commitment: string, share?: number): Uint8Array =>
  share === undefined ? modelAad(model, commitment) : utf8(`vouch/v1/share/${share}/${model}/${commitment}`);
