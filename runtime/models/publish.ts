/**
 * Publishing a model: the secret (salt and parameters) goes as ciphertext to the blob store, its key, or a share of it
 * each, to the key-brokers' stores on this host, and the public manifest to the stream of models.
 */
import { architectureDocument } from '../../circuits/model/architecture.ts';
import { type CommittedModel, commit, encodeSecret } from '../../circuits/model/commit.ts';
import { type Policy, policyDigest } from '../../protocols/attestation/policy.ts';
import { type Signer, signerFromSeed } from '../../protocols/cose.ts';
import { base64url, randomBytes } from '../../protocols/encoding.ts';
import { encodeMessage } from '../../protocols/envelope.ts';
import { VouchError } from '../../protocols/errors.ts';
import { commitmentTo, type KeyShares, MAX_BROKERS, splitKey } from '../../protocols/key-shares.ts';
import { type ModelManifest, PublishedManifest, signManifest } from '../../protocols/manifest.ts';
import { encryptBlob, generateBlobKey } from '../../protocols/sealing.ts';
import { STREAMS } from '../../protocols/streams.ts';
import { subjects, token } from '../../protocols/subjects.ts';
import { DEFAULT_TERMS, type Terms } from '../../protocols/terms.ts';
import { putBlob } from '../nats/blobs.ts';
import type { Bus } from '../nats/bus.ts';
import { forget, keepKey, keepShare, modelAad } from './broker-store.ts';
import { readManifest, readSealed } from './obtain.ts';
import { vendorSigner } from './vendor-key.ts';

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

/** What every publication says, whatever the model is. */
export interface Offer {
  readonly name: string;
  readonly policy: Policy;
  readonly split?: Split | undefined;
  /** default: this installation's vendor key */
  readonly vendor?: Signer | undefined;
  /** digest of the entry of the vendor's log that has the commitment, where there is a log */
  readonly log?: string | undefined;
}

export interface Publication extends Offer {
  readonly model: CommittedModel;
  /** default: DEFAULT_TERMS */
  readonly terms?: Terms | undefined;
}

/** What was sealed, and under which key. */
export interface SealedContent
  extends Pick<ModelManifest, 'commitment' | 'commitmentKind' | 'architecture' | 'terms' | 'sealedModel'> {
  /** 32 bytes, secret; overwritten once the brokers' stores have it */
  readonly key: Uint8Array;
}

/**
 * Seals a model, stores it, hands its key, or its shares, to the brokers' stores on this host and publishes the
 * manifest, signed. Needs the provisioner's rights. A model of the same name is replaced. The share of a broker on
 * another host has to be carried there: `.vouch/broker/<id>`.
 */
export async function publishModel(
  bus: Bus,
  source: string,
  { model, terms = DEFAULT_TERMS, ...offer }: Publication,
): Promise<ModelManifest> {
  const commitment = commit(model).toString();
  const key = generateBlobKey();
  const sealed = await encryptBlob(key, encodeSecret(model), modelAad(offer.name, commitment));
  const { digest } = await putBlob(bus, 'sealedModels', sealed);
  return publishSealed(bus, source, offer, {
    commitment,
    architecture: architectureDocument(model.architecture),
    terms,
    sealedModel: digest,
    key,
  });
}

/** Hands the key of what was sealed to the brokers' stores, and publishes the manifest. */
export async function publishSealed(
  bus: Bus,
  source: string,
  { name, policy, split, vendor, log }: Offer,
  { key, ...content }: SealedContent,
): Promise<ModelManifest> {
  const pieces = split && splitKey(key, split.threshold, split.brokers.length);
  const shares: KeyShares | undefined = pieces && {
    threshold: split!.threshold,
    brokers: pieces.map((piece, i) => ({ id: split!.brokers[i]!, commitment: commitmentTo(piece) })),
  };
  const releaseKeys = Array.from({ length: pieces?.length ?? 1 }, () => randomBytes(32));
  const signers = await Promise.all(releaseKeys.map(signerFromSeed));
  const signer = vendor ?? (await vendorSigner());
  const published = await signManifest(signer, {
    name,
    ...content,
    policy: policyDigest(policy),
    ...(shares ? { shares } : {}),
    ...(log === undefined ? {} : { log }),
    releaseKeys: signers.map(({ publicKey }) => base64url(publicKey)),
    serial: Math.max(Date.now(), (await lastSerial(bus, name, signer)) + 1),
  });
  await forget(name);
  const what = (i: number) => ({ published, policy, releaseKey: releaseKeys[i]! });
  if (pieces === undefined) await keepKey(what(0), key);
  else for (const [i, piece] of pieces.entries()) await keepShare(what(i), split!.brokers[i]!, piece);
  key.fill(0);
  const subject = subjects.model(name);
  await bus.append(subject, encodeMessage(PublishedManifest, { subject, source, body: published }));
  return published.manifest;
}

/**
 * Keeps what was published under a name, ciphertext and signed manifest, and returns what publishes just that again, on a
 * server that has lost it: the commitment stays, and so does what runners and brokers know.
 */
export async function keepPublished(bus: Bus, name: string): Promise<() => Promise<void>> {
  const { manifest } = await readManifest(bus, name);
  const sealed = await readSealed(bus, manifest);
  const stored = await bus.getLast(STREAMS.models.name, subjects.model(name));
  return async () => {
    await putBlob(bus, 'sealedModels', sealed);
    if (stored) await bus.append(subjects.model(name), stored.data);
  };
}

/** Of this vendor's manifest that is replaced; 0 where there is none that can be read. */
async function lastSerial(bus: Bus, name: string, vendor: Signer): Promise<number> {
  try {
    const { manifest } = await readManifest(bus, name);
    return manifest.vendor === base64url(vendor.publicKey) ? manifest.serial : 0;
  } catch (error) {
    if (error instanceof VouchError && !error.retryable) return 0;
    throw error;
  }
}
