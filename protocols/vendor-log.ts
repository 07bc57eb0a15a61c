/**
 * A vendor's log: roots of test sets, and the commitments of models, in the order in which they came to be. So a test set
 * that was fixed before a model was committed to can be told from one that was picked afterwards because the model does
 * well on it, and whoever logs many sets to open the best of them has shown how many there were.
 *
 *   entry     = a map as below, in JSON; `digest` = SHA-256 of its canonical JSON (RFC 8785), lower-case hex
 *   signature = statement "application/vouch-log+json" (protocols/cose.ts) over the digest, by the vendor key it names
 *   root      = SHA-256("vouch/v1/test-set-root" 0x00, salt (32 bytes), SHA-256 of the test set's canonical bytes)
 *   previous  = the digest of the entry before; null in the first
 *
 * A model's manifest names the entry of its commitment. So whoever has kept a manifest knows the log up to there, and
 * another history does not fit it.
 *
 * What is shown is that the rows were fixed before the manifest went out. Log and manifest that are made together, after many
 * sets were tried in secret, look the same.
 *
 * Not guaranteed: that the log is the only one of its vendor, for those who have no manifest; when an entry was made (`time`
 * is the vendor's word); and that a model was not trained, or not tried, on rows that its vendor knew, logged or not.
 * Only rows that somebody else kept until they were opened are new to a model.
 */
import { z } from 'zod';
import { SIGNATURE_KEY_BYTES, type Signer, signStatement, verifyStatement } from './cose.ts';
import { base64url, canonicalJson, equal, fromBase64url, fromHex, hex, sha256, utf8 } from './encoding.ts';
import { base64Text, Digest, FieldElement, Id } from './envelope.ts';
import { VouchError } from './errors.ts';

const LOG_TYPE = 'application/vouch-log+json';
const ROOT_DOMAIN = 'vouch/v1/test-set-root';
export const SALT_BYTES = 32;
const MAX_ENTRIES = 10_000;

const place = {
  version: z.literal(1),
  number: z.int().min(1).max(MAX_ENTRIES).describe('from 1'),
  previous: Digest.nullable().describe('digest of the entry before'),
  vendor: z.string().length(43).describe("the vendor's key, base64url"),
  time: z.iso.datetime().describe("by the vendor's clock; not trusted"),
};
export const LogEntry = z.discriminatedUnion('kind', [
  z.strictObject({
    ...place,
    kind: z.literal('test-set'),
    root: Digest.describe('salted root of the test set'),
    public: z.boolean().describe('the rows were public before: any model may have been trained on them'),
  }),
  z.strictObject({ ...place, kind: z.literal('model'), name: Id, commitment: FieldElement }),
]);
export type LogEntry = z.infer<typeof LogEntry>;
/** What an entry says, less its place. */
export type Logged =
  | { readonly kind: 'test-set'; readonly root: string; readonly public: boolean }
  | { readonly kind: 'model'; readonly name: string; readonly commitment: string };

export const SignedEntry = z.strictObject({ entry: LogEntry, signature: base64Text(768) });
export type SignedEntry = z.infer<typeof SignedEntry>;
export const VendorLog = z.array(SignedEntry).max(MAX_ENTRIES);

/** What opens a root: part of a statement. */
export const Opening = z.strictObject({
  entry: Digest.describe("digest of the entry of the vendor's log that has the root"),
  salt: Digest.describe('32 bytes, lower-case hex'),
});
export type Opening = z.infer<typeof Opening>;

export const entryDigest = (entry: LogEntry): string => hex(sha256(utf8(canonicalJson(entry))));

/** `salt`: 32 random bytes as hex; `bytes`: the test set's canonical ones. */
export const testSetRoot = (salt: string, bytes: Uint8Array): string =>
  hex(sha256(utf8(`${ROOT_DOMAIN}\0`), fromHex(salt, 'salt', SALT_BYTES), sha256(bytes)));

/** Signs the entry that follows the last one of a log. */
export async function signEntry(
  vendor: Signer,
  log: readonly SignedEntry[],
  logged: Logged,
  time: Date,
): Promise<SignedEntry> {
  const last = log.at(-1)?.entry;
  const entry = LogEntry.parse({
    version: 1,
    number: log.length + 1,
    previous: last ? entryDigest(last) : null,
    vendor: base64url(vendor.publicKey),
    time: time.toISOString(),
    ...logged,
  });
  const digest = fromHex(entryDigest(entry), 'digest');
  return { entry, signature: base64url(await signStatement(vendor, LOG_TYPE, digest)) };
}

/** Follows a log from its first entry. Throws `signature-rejected`, and `bad-message` for a link that does not hold. */
export function readLog(log: readonly SignedEntry[]): LogEntry[] {
  let previous: string | null = null;
  return log.map(({ entry, signature }, i) => {
    const at = `vendor log, entry ${i + 1}`;
    if (entry.number !== i + 1 || entry.previous !== previous)
      throw new VouchError('bad-message', `${at}: it does not follow the entry before; the log was changed`);
    if (entry.vendor !== log[0]!.entry.vendor)
      throw new VouchError('bad-message', `${at}: it is of another vendor than the first`);
    const digest = entryDigest(entry);
    const key = fromBase64url(entry.vendor, `${at}: vendor`, SIGNATURE_KEY_BYTES);
    const signed = verifyStatement(key, LOG_TYPE, fromBase64url(signature, `${at}: signature`), {
      maxPayloadBytes: 32,
    });
    if (!equal(signed, fromHex(digest, 'digest')))
      throw new VouchError('signature-rejected', `${at}: its vendor signed another one`);
    previous = digest;
    return entry;
  });
}

/** What is known of when the rows of a proof were fixed. */
export interface FixedWhen {
  /** `pass`: before the model's commitment, by a log that the manifest names */
  readonly status: 'pass' | 'fail' | 'skipped';
  readonly detail: string;
  /** what a report says of the rows, in a few words */
  readonly label: string;
}

export interface FixedQuestion {
  readonly opening: Opening | undefined;
  /** canonical bytes of the rows that the proof is about; undefined: not known here */
  readonly testSet: Uint8Array | undefined;
  readonly commitment: string;
  readonly log: readonly SignedEntry[] | undefined;
  /** of a manifest that whoever asks has verified: its vendor, and the log entry that it names */
  readonly manifest: { readonly vendor: string; readonly log?: string | undefined } | undefined;
}

const PICKED = 'the rows may have been trained on, or picked to fit the model';

/** Whether the rows were fixed before the model was committed to. */
export function judgeFixed({ opening, testSet, commitment, log, manifest }: FixedQuestion): FixedWhen {
  const skipped = (detail: string): FixedWhen => ({ status: 'skipped', detail, label: PICKED });
  const failed = (detail: string): FixedWhen => ({ status: 'fail', detail, label: PICKED });
  if (!opening) return skipped(`no root of them was logged before the model: ${PICKED}`);
  if (!log) return skipped("not compared: expected --log FILE, the vendor's log");
  if (!testSet) return skipped('not compared: the rows are not known here');
  let entries: LogEntry[];
  try {
    entries = readLog(log);
  } catch (error) {
    if (error instanceof VouchError) return failed(error.message);
    throw error;
  }
  const set = entries.find((entry) => entryDigest(entry) === opening.entry);
  if (set?.kind !== 'test-set')
    return failed("the statement names an entry that the vendor's log does not have");
  if (set.root !== testSetRoot(opening.salt, testSet))
    return failed(`entry ${set.number} of the vendor's log is the root of other rows`);
  const model = entries.find((entry) => entry.kind === 'model' && entry.commitment === commitment);
  if (!model) return failed("the vendor's log does not have the model's commitment");
  if (model.number < set.number)
    return failed(
      `the rows were logged as entry ${set.number}, after the model's commitment, which is entry ${model.number}`,
    );
  if (!manifest)
    return skipped(
      "the order is the vendor's word alone: expected --manifest FILE, which names the log as it was when the model came",
    );
  if (manifest.vendor !== model.vendor) return failed("the log is not that of the model's vendor");
  if (manifest.log === undefined) return failed("the model's manifest names no entry of a log");
  if (manifest.log !== entryDigest(model))
    return failed(
      "the model's manifest names another entry: the log is not the one from which the model came",
    );
  const before = entries.filter((entry) => entry.kind === 'test-set' && entry.number < model.number).length;
  const many = `one of ${before} test set${before === 1 ? '' : 's'} that this vendor logged until then`;
  return {
    status: 'pass',
    detail: `logged as entry ${set.number}, before the model's commitment, which is entry ${model.number}; ${many}`,
    label: `the rows were fixed before the model, ${many}; that is before it was published, and what its vendor tried in secret until then nobody sees; ${
      set.public
        ? 'they were public, and may have been trained on'
        : 'whoever knew them, the vendor perhaps, may have trained on them'
    }`,
  };
}
