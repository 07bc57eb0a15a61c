/** Evidence on request, and the release of a model key against evidence. */
import { z } from 'zod';
import { EvidenceDocument } from './attestation/verify.ts';
import { Digest, FieldElement, Id, messageType, Nonce } from './envelope.ts';

/** Public description of a served model; the parameters stay sealed. */
export const ModelManifest = messageType(
  'model.manifest',
  1,
  z.object({
    name: Id,
    commitment: FieldElement,
    /** canonical architecture (circuits/model/quantise.ts); its digest is part of the commitment */
    architecture: z.record(z.string(), z.unknown()),
    /** digest of the policy under which the broker releases the model's key */
    policy: Digest,
    /** blob of the encrypted parameters and salt */
    sealedModel: Digest,
  }),
);
export type ModelManifest = z.infer<typeof ModelManifest.schema>;

export const EvidenceRequest = messageType('evidence.request', 1, z.object({ nonce: Nonce }));
export const EvidenceReply = messageType('evidence.reply', 1, z.object({ document: EvidenceDocument }));

/** First step of a release: the broker's fresh nonce. */
export const ReleaseChallenge = messageType('release.challenge', 1, z.object({}));
export const ReleaseNonce = messageType('release.nonce', 1, z.object({ nonce: Nonce }));
/** Second step: evidence that binds that nonce. */
export const ReleaseRequest = messageType(
  'release.request',
  1,
  z.object({ nonce: Nonce, document: EvidenceDocument }),
);
export const ReleaseReply = messageType(
  'release.reply',
  1,
  z.object({
    policy: Digest,
    /** base64url of the model key, sealed to the HPKE key in the evidence */
    sealedKey: z.string().max(4096),
  }),
);

/** `ctl.<role>.<id>.<verb>` bodies that need none. */
export const ControlRequest = messageType('control.request', 1, z.object({}));
export const ControlReply = messageType(
  'control.reply',
  1,
  z.object({ state: z.string().max(80), accepted: z.boolean() }),
);
