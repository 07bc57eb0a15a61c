/**
 * Obtaining a published model: its public manifest for anybody, and the model itself for a process whose evidence the
 * key-brokers accept. They release the key, or shares of it, sealed to the key in that evidence.
 */
import { parseArchitecture } from '../../circuits/model/architecture.ts';
import { type CommittedModel, commit, decodeSecret } from '../../circuits/model/commit.ts';
import {
  ModelManifest,
  ReleaseChallenge,
  ReleaseNonce,
  ReleaseReply,
  ReleaseRequest,
} from '../../protocols/enclave.ts';
import { fromBase64url } from '../../protocols/encoding.ts';
import { decodeMessage } from '../../protocols/envelope.ts';
import { VouchError } from '../../protocols/errors.ts';
import { combineKey, isCommitted, type KeyShares, type Piece } from '../../protocols/key-shares.ts';
import { decryptBlob, SEALING_INFO } from '../../protocols/sealing.ts';
import { STREAMS } from '../../protocols/streams.ts';
import { subjects } from '../../protocols/subjects.ts';
import type { Identity } from '../attest/identity.ts';
import { getBlob, type Place } from '../nats/blobs.ts';
import type { Bus } from '../nats/bus.ts';
import { ask } from '../nats/service.ts';
import { modelAad, releaseAad } from './broker-store.ts';

/** A sealed model is small: the parameters of a network that fits a circuit. */
const MAX_SEALED_MODEL_BYTES = 16 * 1024 * 1024;

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
  const place: Place = { shelf: 'sealedModels', writer: 'the vendor' };
  const sealed = await getBlob(bus, place, manifest.sealedModel, { maxBytes: MAX_SEALED_MODEL_BYTES });
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
  const { plaintext } = await identity.sealing.open(fromBase64url(release.body.sealedKey, 'sealed key'), {
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
