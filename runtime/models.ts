/**
 * Models on the wire: a public manifest, the secret (salt and parameters) as ciphertext in the blob store, and
 * the model key with the key-broker. Only a process whose evidence the broker accepts can open one.
 */
import { existsSync, readFileSync } from 'node:fs';
import { z } from 'zod';
import { parseArchitecture } from '../circuits/model/architecture.ts';
import { type CommittedModel, commit, decodeSecret, encodeSecret } from '../circuits/model/commit.ts';
import { type Policy, parsePolicy, policyDigest } from '../protocols/attestation/policy.ts';
import {
  ModelManifest,
  ReleaseChallenge,
  ReleaseNonce,
  ReleaseReply,
  ReleaseRequest,
} from '../protocols/enclave.ts';
import { fromBase64url, fromHex, hex, utf8 } from '../protocols/encoding.ts';
import { decodeMessage, encodeMessage, FieldElement, Id } from '../protocols/envelope.ts';
import { VouchError } from '../protocols/errors.ts';
import { decryptBlob, encryptBlob, generateBlobKey, open, SEALING_INFO } from '../protocols/sealing.ts';
import { STREAMS } from '../protocols/streams.ts';
import { subjects, token } from '../protocols/subjects.ts';
import type { Identity } from './attest/identity.ts';
import { getBlob, putBlob } from './blobs.ts';
import type { Bus } from './bus.ts';
import { folder, writeWhole } from './context.ts';
import { ask } from './service.ts';

/** A sealed model is small: the parameters of a network that fits a circuit. */
const MAX_SEALED_MODEL_BYTES = 16 * 1024 * 1024;

/** What the key-broker keeps per model. `key` is secret. */
export const BrokerEntry = z.strictObject({
  version: z.literal(1),
  model: Id,
  commitment: FieldElement,
  key: z.string().regex(/^[0-9a-f]{64}$/),
  policy: z.unknown(),
});
export type BrokerEntry = Omit<z.infer<typeof BrokerEntry>, 'policy'> & { policy: Policy };

const brokerFile = (model: string): string => folder('broker', `${token(model, 'model')}.json`);
const modelAad = (model: string, commitment: string): Uint8Array =>
  utf8(`vouch/v1/model/${model}/${commitment}`);

/**
 * Seals a model, stores it, hands its key to the broker's store on this host and publishes the manifest.
 * Needs the provisioner's rights. A model of the same name is replaced.
 */
export async function publishModel(
  bus: Bus,
  source: string,
  { name, model, policy }: { name: string; model: CommittedModel; policy: Policy },
): Promise<ModelManifest> {
  const commitment = commit(model).toString();
  const key = generateBlobKey();
  const sealed = await encryptBlob(key, encodeSecret(model), modelAad(name, commitment));
  const { digest } = await putBlob(bus, sealed);
  const entry: BrokerEntry = { version: 1, model: name, commitment, key: hex(key), policy };
  await writeWhole(brokerFile(name), JSON.stringify(entry));
  const manifest: ModelManifest = {
    name,
    commitment,
    architecture: model.architecture,
    policy: policyDigest(policy),
    sealedModel: digest,
  };
  const subject = subjects.model(name);
  await bus.append(subject, encodeMessage(ModelManifest, { subject, source, body: manifest }));
  return manifest;
}

/** The broker's entry for a model. Throws `unknown-model`, or `bad-file` for a damaged one. */
export function readBrokerEntry(model: string): BrokerEntry {
  const file = brokerFile(model);
  if (!existsSync(file))
    throw new VouchError('unknown-model', `model ${model}: the key-broker holds no key for it`);
  try {
    const entry = BrokerEntry.parse(JSON.parse(readFileSync(file, 'utf8')));
    return { ...entry, policy: parsePolicy(entry.policy) };
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
 * Asks the broker for the model's key with fresh evidence, opens the model, and checks that it is the one the
 * commitment names. Throws `evidence-rejected`, `policy-rejected`, `commitment-mismatch` and what the bus throws.
 */
export async function obtainModel(
  bus: Bus,
  source: string,
  identity: Identity,
  name: string,
): Promise<ObtainedModel> {
  const manifest = await readManifest(bus, name);
  const subject = subjects.release(name);
  const challenge = await ask(bus, [ReleaseChallenge, ReleaseNonce], { subject, source, body: {} });
  const { nonce } = challenge.body;
  const document = await identity.evidence(nonce, manifest.commitment);
  const release = await ask(bus, [ReleaseRequest, ReleaseReply], {
    subject,
    source,
    body: { nonce, document },
  });
  const { plaintext: key } = await open(
    identity.sealing,
    fromBase64url(release.body.sealedKey, 'sealed key'),
    {
      info: SEALING_INFO.release,
      aad: modelAad(name, manifest.commitment),
    },
  );
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

/** What a wrapped model key is bound to. */
export const releaseAad = modelAad;
export const brokerKey = (entry: BrokerEntry): Uint8Array => fromHex(entry.key, 'model key', 32);
