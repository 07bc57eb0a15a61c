/** Evidence on request, and the release of a model key against evidence. */
import { z } from 'zod';
import { EvidenceDocument } from './attestation/document.ts';
import { base64Text, Digest, FieldElement, Id, messageType, Nonce } from './envelope.ts';
import { KeyShares } from './key-shares.ts';

/** Public description of a served model; the parameters stay sealed. */
export const ModelManifest = messageType(
  'model.manifest',
  1,
  z.object({
    name: Id.describe('the `<model>` of subjects'),
    commitment: FieldElement.describe('model commitment'),
    architecture: z
      .record(z.string(), z.unknown())
      .describe('public half of the model; its digest is part of the commitment'),
    policy: Digest.describe("digest of the policy under which the key-broker releases the model's key"),
    sealedModel: Digest.describe('blob of the encrypted parameters and salt'),
    shares: KeyShares.optional().describe('how the key is split; absent: any key-broker may hold all of it'),
  }),
);
export type ModelManifest = z.infer<typeof ModelManifest.schema>;

export const EvidenceRequest = messageType(
  'evidence.request',
  1,
  z.object({ nonce: Nonce.describe('fresh, of the asker; the evidence binds it') }),
);
export const EvidenceReply = messageType(
  'evidence.reply',
  1,
  z.object({ document: EvidenceDocument.describe('evidence that binds the nonce') }),
);

/** First step of a release: a broker's fresh nonce. The second goes to that broker. */
export const ReleaseChallenge = messageType('release.challenge', 1, z.object({}));
export const ReleaseNonce = messageType(
  'release.nonce',
  1,
  z.object({
    nonce: Nonce.describe('good once, for a minute, for this model'),
    broker: Id.describe('whose nonce it is: the `<broker>` of the request'),
  }),
);
/** Second step: evidence that binds that nonce. */
export const ReleaseRequest = messageType(
  'release.request',
  1,
  z.object({
    nonce: Nonce.describe("the broker's"),
    document: EvidenceDocument.describe('evidence that binds that nonce and the model commitment'),
  }),
);
export const ReleaseReply = messageType(
  'release.reply',
  1,
  z.object({
    policy: Digest.describe('digest of the policy that was satisfied'),
    sealedKey: base64Text(2048).describe(
      'the model key, or salt and share of it, sealed to the HPKE key in the evidence',
    ),
  }),
);

/** Body of `ctl.<role>.<id>.drain` and `ctl.worker.<id>.suspend`. */
export const ControlRequest = messageType('control.request', 1, z.object({}));
export const ControlReply = messageType(
  'control.reply',
  1,
  z.object({ state: z.string().max(80).describe('of the actor when it has taken the request') }),
);
