/**
 * Obtaining a published model: its public manifest for anybody, and the model itself for a process whose evidence the
 * key-brokers accept. They release the key, or shares of it, sealed to the key in that evidence.
 */
import { parseArchitecture } from '../../circuits/model/architecture.ts';
import { type CommittedModel, commit, decodeSecret } from '../../circuits/model/commit.ts';
import { evidenceDigest } from '../../protocols/attestation/document.ts';
import { ReleaseChallenge, ReleaseNonce, ReleaseReply, ReleaseRequest } from '../../protocols/enclave.ts';
import { fromBase64url, sha256Hex } from '../../protocols/encoding.ts';
import { VouchError } from '../../protocols/errors.ts';
import { combineKey, isCommitted, type KeyShares, type Piece } from '../../protocols/key-shares.ts';
import { demandTabular, type ModelManifest, type VerifiedManifest } from '../../protocols/manifest.ts';
import type { ProofRequest } from '../../protocols/proof.ts';
import { verifyRelease } from '../../protocols/release.ts';
import { decryptBlob, SEALING_INFO } from '../../protocols/sealing.ts';
import { subjects } from '../../protocols/subjects.ts';
import type { Identity } from '../attest/identity.ts';
import { getBlob, type Place } from '../nats/blobs.ts';
import type { Bus } from '../nats/bus.ts';
import { ask } from '../nats/service.ts';
import { modelAad, releaseAad } from './broker-store.ts';
import { readManifest } from './manifests.ts';

export { readManifest };

/** A sealed model is small: the parameters of a network that fits a circuit. */
const MAX_SEALED_MODEL_BYTES = 16 * 1024 * 1024;

/** The model's ciphertext. */
export function readSealed(bus: Bus, { sealedModel }: ModelManifest): Promise<Uint8Array> {
  const place: Place = { shelf: 'sealedModels', writer: 'the vendor' };
  return getBlob(bus, place, sealedModel, { maxBytes: MAX_SEALED_MODEL_BYTES });
}

/**
 * Which secrets were found to be those of their manifests, by digests of both, the latest last: the same bytes need not be
 * hashed to the same commitment again. A secret has a salt of 31 random bytes, so that its digest says nothing.
 */
const committed = new Map<string, string>();
const MAX_COMMITTED = 64;

export interface ObtainedModel {
  readonly manifest: ModelManifest;
  /** of the manifest */
  readonly digest: string;
  /** digest of the policy under which the key was released, as the brokers signed */
  readonly releasePolicy: string;
  readonly model: CommittedModel;
}

/**
 * Asks the broker, or as many brokers as it takes, for the model's key with fresh evidence, opens the model, and checks
 * that it is the one the commitment names. What a broker releases counts only under a release key of the manifest, for
 * this very manifest and its policy. Throws `evidence-rejected`, `policy-rejected`, `signature-rejected`,
 * `key-rejected`, `commitment-mismatch`, `not-ready` (too few brokers, each with its reason) and what the bus throws.
 */
export async function obtainModel(
  bus: Bus,
  source: string,
  identity: Identity,
  name: string,
  proof?: ProofRequest,
): Promise<ObtainedModel> {
  const published = await readManifest(bus, name);
  const { manifest, digest } = published;
  demandTabular(manifest);
  // What is sealed is no secret, and is on its way while brokers decide; what they say comes first.
  const reading = readSealed(bus, manifest);
  reading.catch(() => {});
  const key = await obtainKey(bus, source, identity, published, proof);
  const secret = await reading
    .then((sealed) => decryptBlob(key, sealed, modelAad(name, manifest.commitment)))
    .finally(() => key.fill(0));
  const model = decodeSecret(parseArchitecture(manifest.architecture), secret);
  const secretDigest = sha256Hex(secret);
  secret.fill(0);
  if (committed.get(digest) !== secretDigest && commit(model).toString() !== manifest.commitment) {
    throw new VouchError(
      'commitment-mismatch',
      `model ${name}: the parameters are not those that the commitment names`,
    );
  }
  committed.delete(digest);
  committed.set(digest, secretDigest);
  for (const oldest of committed.keys()) if (committed.size > MAX_COMMITTED) committed.delete(oldest);
  // Each release was signed for this policy, else it did not count.
  return { manifest, digest, releasePolicy: manifest.policy, model };
}

/** The key of a published model, from as many brokers as it takes. Throws as `obtainModel` does. */
export function obtainKey(
  bus: Bus,
  source: string,
  identity: Identity,
  { manifest, digest }: VerifiedManifest,
  proof?: ProofRequest,
): Promise<Uint8Array> {
  const asker: Asker = { bus, source, identity, manifest, digest, proof };
  return manifest.shares ? keyFromShares(asker, manifest.shares) : released(asker);
}

interface Asker {
  readonly bus: Bus;
  readonly source: string;
  readonly identity: Identity;
  readonly manifest: ModelManifest;
  readonly digest: string;
  readonly proof: ProofRequest | undefined;
}

/** What a broker releases to evidence over its own nonce: the one that holds a share, or any for the whole key. */
async function released(
  { bus, source, identity, manifest, digest, proof }: Asker,
  holder?: { readonly id: string; readonly number: number },
): Promise<Uint8Array> {
  const { name, commitment, policy, releaseKeys } = manifest;
  const subject = holder ? subjects.releaseFrom(name, holder.id) : subjects.release(name);
  const challenge = await ask(bus, [ReleaseChallenge, ReleaseNonce], { subject, source, body: {} });
  const { nonce, broker } = challenge.body;
  if (holder && broker !== holder.id)
    throw new VouchError('bad-message', `release.nonce: expected that of broker ${holder.id}, got another's`);
  const document = await identity.evidence(nonce, commitment);
  const release = await ask(bus, [ReleaseRequest, ReleaseReply], {
    subject: subjects.releaseFrom(name, broker),
    source,
    body: { nonce, document, ...(proof ? { proof } : {}) },
  });
  const sealedKey = fromBase64url(release.body.sealedKey, 'sealed key');
  verifyRelease(
    fromBase64url(releaseKeys[(holder?.number ?? 1) - 1]!, 'release key'),
    fromBase64url(release.body.release, 'release'),
    {
      broker,
      model: name,
      commitment,
      manifest: digest,
      policy,
      evidence: evidenceDigest(document),
      holder: document.enclave,
      share: holder?.number,
      job: proof?.job,
    },
    sealedKey,
  );
  const { plaintext } = await identity.sealing.open(sealedKey, {
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
