/** Evidence on request, and the release of a model key against evidence. */
import { z } from 'zod';
import { EvidenceDocument } from './attestation/document.ts';
import { base64Text, Id, messageType, Nonce } from './envelope.ts';
import { ProofRequest } from './proof.ts';
import { MAX_RELEASE_BYTES } from './release.ts';

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
  2,
  z.object({
    nonce: Nonce.describe("the broker's"),
    document: EvidenceDocument.describe('evidence that binds that nonce and the model commitment'),
    proof: ProofRequest.schema
      .optional()
      .describe('of a coordinator: the signed request that it wants the key for; absent: a runner serves'),
  }),
);
export const ReleaseReply = messageType(
  'release.reply',
  2,
  z.object({
    release: base64Text(MAX_RELEASE_BYTES).describe(
      "signed statement by the broker's release key: what was released, to whom, under which policy",
    ),
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
