/**
 * Models on the wire: a public manifest, the secret (salt and parameters) as ciphertext in the blob store, and
 * the model key with the key-broker, or a share of it with each of several. Only a process whose evidence the brokers
 * accept can open one.
 */
import { existsSync, readFileSync } from 'node:fs';
import { readdir, rm } from 'node:fs/promises';
import { z } from 'zod';
import { parseArchitecture } from '../../circuits/model/architecture.ts';
import { type CommittedModel, commit, decodeSecret, encodeSecret } from '../../circuits/model/commit.ts';
import { type Policy, parsePolicy, policyDigest } from '../../protocols/attestation/policy.ts';
import {
  ModelManifest,
  ReleaseChallenge,
  ReleaseNonce,
  ReleaseReply,
  ReleaseRequest,
} from '../../protocols/enclave.ts';
import { fromBase64url, fromHex, hex, utf8 } from '../../protocols/encoding.ts';
import { decodeMessage, encodeMessage, FieldElement, Id } from '../../protocols/envelope.ts';
import { VouchError } from '../../protocols/errors.ts';
import {
  combineKey,
  commitmentTo,
  isCommitted,
  type KeyShares,
  MAX_BROKERS,
  PIECE_BYTES,
  type Piece,
  splitKey,
} from '../../protocols/key-shares.ts';
import { decryptBlob, encryptBlob, generateBlobKey, open, SEALING_INFO } from '../../protocols/sealing.ts';
import { STREAMS } from '../../protocols/streams.ts';
import { subjects, token } from '../../protocols/subjects.ts';
import type { Identity } from '../attest/identity.ts';
import { folder, writeWhole } from '../home/home.ts';
import { getBlob, putBlob } from '../nats/blobs.ts';
import type { Bus } from '../nats/bus.ts';
import { ask } from '../nats/service.ts';

/** A sealed model is small: the parameters of a network that fits a circuit. */
const MAX_SEALED_MODEL_BYTES = 16 * 1024 * 1024;

const KeyText = z.string().regex(/^[0-9a-f]{64}$/);
const PieceText = z.string().regex(new RegExp(`^[0-9a-f]{${2 * PIECE_BYTES}}$`));
const common = { model: Id, commitment: FieldElement, policy: z.unknown() };
/** What a key-broker keeps per model: its key, or one share. `key` and `piece` are secret. */
export const BrokerEntry = z.union([
  z.strictObject({ version: z.literal(1), ...common, key: KeyText }),
  z.strictObject({ version: z.literal(2), ...common, share: z.int().min(1), piece: PieceText }),
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
const modelAad = (model: string, commitment: string): Uint8Array =>
  utf8(`vouch/v1/model/${model}/${commitment}`);

/** Over which brokers a key is split, and how many of them are needed. */
export interface Split {
  readonly threshold: number;
  readonly brokers: readonly string[];
}

/** `k/n` (brokers broker-1 to broker-n) or `k/id,id,…`; undefined for 1/1: no split. Throws `bad-input`. */
export function parseSplit(text: string): Split | undefined {
  const [, k, rest] = /^(\d{1,2})\/([A-Za-z0-9_,-]+)$/.exec(text) ?? [];
  const count = /^\d{1,2}$/.test(rest ?? '') ? Number(rest) : undefined;
  const brokers =
    count === undefined
      ? (rest ?? '').split(',')
      : Array.from({ length: count }, (_, i) => `broker-${i + 1}`);
  const threshold = Number(k);
  const distinct = new Set(brokers).size === brokers.length;
  if (
    k === undefined ||
    !distinct ||
    threshold < 1 ||
    threshold > brokers.length ||
    brokers.length > MAX_BROKERS
  ) {
    throw new VouchError(
      'bad-input',
      `--brokers: expected K/N with 1 <= K <= N <= ${MAX_BROKERS}, or K/ID,ID,… with different ids, got ${text}`,
    );
  }
  if (count === 1) return undefined;
  return { threshold, brokers: brokers.map((id) => token(id, '--brokers')) };
}

/**
 * Seals a model, stores it, hands its key, or its shares, to the brokers' stores on this host and publishes the
 * manifest. Needs the provisioner's rights. A model of the same name is replaced. The share of a broker on another
 * host has to be carried there: `.vouch/broker/<id>`.
 */
export async function publishModel(
  bus: Bus,
  source: string,
  {
    name,
    model,
    policy,
    split,
  }: { name: string; model: CommittedModel; policy: Policy; split?: Split | undefined },
): Promise<ModelManifest> {
  const commitment = commit(model).toString();
  const key = generateBlobKey();
  const sealed = await encryptBlob(key, encodeSecret(model), modelAad(name, commitment));
  const { digest } = await putBlob(bus, sealed);
  const known = { model: name, commitment, policy };
  const keep = (file: string, entry: z.input<typeof BrokerEntry>) => writeWhole(file, JSON.stringify(entry));
  await forget(name);
  let shares: KeyShares | undefined;
  if (split === undefined) await keep(wholeFile(name), { version: 1, ...known, key: hex(key) });
  else {
    const { threshold, brokers } = split;
    const pieces = splitKey(key, threshold, brokers.length);
    for (const [i, piece] of pieces.entries()) {
      const entry = { version: 2 as const, ...known, share: piece.number, piece: hex(piece.bytes) };
      await keep(shareFile(name, brokers[i]!), entry);
    }
    shares = {
      threshold,
      brokers: pieces.map((piece, i) => ({ id: brokers[i]!, commitment: commitmentTo(piece) })),
    };
  }
  key.fill(0);
  const manifest: ModelManifest = {
    name,
    commitment,
    architecture: model.architecture,
    policy: policyDigest(policy),
    sealedModel: digest,
    ...(shares ? { shares } : {}),
  };
  const subject = subjects.model(name);
  await bus.append(subject, encodeMessage(ModelManifest, { subject, source, body: manifest }));
  return manifest;
}

/** Takes what brokers of this host hold of an earlier key of a model: a stale share would be released, and not fit. */
async function forget(model: string): Promise<void> {
  const found = existsSync(folder('broker')) ? await readdir(folder('broker'), { withFileTypes: true }) : [];
  const brokers = found.filter((each) => each.isDirectory()).map(({ name }) => name);
  for (const file of [wholeFile(model), ...brokers.map((broker) => shareFile(model, broker))])
    await rm(file, { force: true });
}

/** A broker's entry for a model. Throws `unknown-model`, or `bad-file` for a damaged one. */
export function readBrokerEntry(model: string, broker: string): BrokerEntry {
  const own = shareFile(model, broker);
  const file = existsSync(own) ? own : wholeFile(model);
  if (!existsSync(file))
    throw new VouchError('unknown-model', `model ${model}: key-broker ${broker} holds no key for it`);
  try {
    const entry = BrokerEntry.parse(JSON.parse(readFileSync(file, 'utf8')));
    const known = { model: entry.model, commitment: entry.commitment, policy: parsePolicy(entry.policy) };
    return entry.version === 1
      ? { ...known, secret: entry.key }
      : { ...known, secret: entry.piece, share: entry.share };
  } catch {
    // The cause could quote the key.
    throw new VouchError('bad-file', `${file}: not a broker entry; publish the model again`);
  }
}

/** The manifest of a served model. Throws `unknown-model`. */
export async function readManifest(bus: Bus, model: string): Promise<ModelManifest> {
  const subject = subjects.model(model);
  const stored = await bus.getLast(STREAMS.models.name, subject);
  if (!stored)
    throw new VouchError('unknown-model', `model ${model}: nobody has published a model of that name`);
  const { body } = decodeMessage(ModelManifest, subject, stored.data);
  if (body.name !== model)
    throw new VouchError('bad-message', `model ${model}: the manifest names another model`);
  return body;
}

export interface ObtainedModel {
  readonly manifest: ModelManifest;
  readonly model: CommittedModel;
}

/**
 * Asks the broker, or as many brokers as it takes, for the model's key with fresh evidence, opens the model, and checks
 * that it is the one the commitment names. Throws `evidence-rejected`, `policy-rejected`, `key-rejected`,
 * `commitment-mismatch`, `not-ready` (too few brokers, each with its reason) and what the bus throws.
 */
export async function obtainModel(
  bus: Bus,
  source: string,
  identity: Identity,
  name: string,
): Promise<ObtainedModel> {
  const manifest = await readManifest(bus, name);
  const asker: Asker = { bus, source, identity, manifest };
  const key = manifest.shares ? await keyFromShares(asker, manifest.shares) : await released(asker);
  const sealed = await getBlob(bus, manifest.sealedModel, { maxBytes: MAX_SEALED_MODEL_BYTES });
  const secret = await decryptBlob(key, sealed, modelAad(name, manifest.commitment));
  key.fill(0);
  const model = decodeSecret(parseArchitecture(manifest.architecture), secret);
  secret.fill(0);
  if (commit(model).toString() !== manifest.commitment) {
    throw new VouchError(
      'commitment-mismatch',
      `model ${name}: the parameters are not those that the commitment names`,
    );
  }
  return { manifest, model };
}

interface Asker {
  readonly bus: Bus;
  readonly source: string;
  readonly identity: Identity;
  readonly manifest: ModelManifest;
}

/** What a broker releases to evidence over its own nonce: the one that holds a share, or any for the whole key. */
async function released(
  { bus, source, identity, manifest: { name, commitment } }: Asker,
  holder?: { readonly id: string; readonly number: number },
): Promise<Uint8Array> {
  const subject = holder ? subjects.releaseFrom(name, holder.id) : subjects.release(name);
  const challenge = await ask(bus, [ReleaseChallenge, ReleaseNonce], { subject, source, body: {} });
  const { nonce, broker } = challenge.body;
  if (holder && broker !== holder.id)
    throw new VouchError('bad-message', `release.nonce: expected that of broker ${holder.id}, got another's`);
  const document = await identity.evidence(nonce, commitment);
  const release = await ask(bus, [ReleaseRequest, ReleaseReply], {
    subject: subjects.releaseFrom(name, broker),
    source,
    body: { nonce, document },
  });
  const { plaintext } = await open(identity.sealing, fromBase64url(release.body.sealedKey, 'sealed key'), {
    info: SEALING_INFO.release,
    aad: releaseAad(name, commitment, holder?.number),
  });
  return plaintext;
}

/**
 * The key from k brokers. k are asked at once, and another one for each that fails; a share that is not the one
 * committed to is as good as none.
 */
async function keyFromShares(asker: Asker, shares: KeyShares): Promise<Uint8Array> {
  const { name } = asker.manifest;
  const waiting = shares.brokers.map(({ id }, i) => ({ id, number: i + 1 }));
  const pieces: Piece[] = [];
  const missing: Array<{ id: string; error: VouchError }> = [];
  const obtainOne = async () => {
    for (let next = waiting.shift(); next !== undefined; next = waiting.shift()) {
      const { id, number } = next;
      try {
        const piece = { number, bytes: await released(asker, next) };
        if (!isCommitted(piece, shares))
          throw new VouchError('key-rejected', `share ${number} is not the one that the manifest commits to`);
        pieces.push(piece);
        return;
      } catch (error) {
        if (!(error instanceof VouchError)) throw error;
        missing.push({ id, error });
      }
    }
  };
  await Promise.all(Array.from({ length: shares.threshold }, obtainOne));
  if (pieces.length < shares.threshold) {
    const final = missing.filter(({ error }) => !error.retryable);
    const hopeless = final.length > shares.brokers.length - shares.threshold;
    const why = missing.map(({ id, error }) => `${id}: ${error.message} (${error.code})`).join('; ');
    throw new VouchError(
      hopeless ? final[0]!.error.code : 'not-ready',
      `model ${name}: ${shares.threshold} of ${shares.brokers.length} key shares are needed, got ${pieces.length}; ${why}`,
    );
  }
  const key = combineKey(pieces, shares);
  for (const { bytes } of pieces) bytes.fill(0);
  return key;
}

/** What a wrapped model key, or a share of it, is bound to. */
export const releaseAad = (model: string, commitment: string, share?: number): Uint8Array =>
  share === undefined ? modelAad(model, commitment) : utf8(`vouch/v1/share/${share}/${model}/${commitment}`);
export const secretOf = ({ secret }: BrokerEntry): Uint8Array => fromHex(secret, 'model key');
