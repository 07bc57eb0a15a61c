/**
 * Publishing a model: the secret (salt and parameters) goes as ciphertext to the blob store, its key, or a share of it
 * each, to the key-brokers' stores on this host, and the public manifest to the stream of models.
 */
import { type CommittedModel, commit, encodeSecret } from '../../circuits/model/commit.ts';
import { type Policy, policyDigest } from '../../protocols/attestation/policy.ts';
import { ModelManifest } from '../../protocols/enclave.ts';
import { encodeMessage } from '../../protocols/envelope.ts';
import { VouchError } from '../../protocols/errors.ts';
import { commitmentTo, type KeyShares, MAX_BROKERS, splitKey } from '../../protocols/key-shares.ts';
import { encryptBlob, generateBlobKey } from '../../protocols/sealing.ts';
import { subjects, token } from '../../protocols/subjects.ts';
import { putBlob } from '../nats/blobs.ts';
import type { Bus } from '../nats/bus.ts';
import { forget, keepKey, keepShare, modelAad } from './broker-store.ts';

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
  const { digest } = await putBlob(bus, 'sealedModels', sealed);
  const terms = { model: name, commitment, policy };
  await forget(name);
  let shares: KeyShares | undefined;
  if (split === undefined) await keepKey(terms, key);
  else {
    const { threshold, brokers } = split;
    const pieces = splitKey(key, threshold, brokers.length);
    for (const [i, piece] of pieces.entries()) await keepShare(terms, brokers[i]!, piece);
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
