/** Published manifests, as anybody reads them: also a client in a browser. */
import { decodeMessage } from '../../protocols/envelope.ts';
import { VouchError } from '../../protocols/errors.ts';
import { PublishedManifest, type VerifiedManifest, verifyManifest } from '../../protocols/manifest.ts';
import { STREAMS } from '../../protocols/streams.ts';
import { subjects } from '../../protocols/subjects.ts';
import type { Bus } from '../nats/bus.ts';

/**
 * The manifest of a served model, its signature verified: by the vendor that it names, whoever that is. Throws
 * `unknown-model`, `signature-rejected`.
 */
export async function readManifest(bus: Bus, model: string): Promise<VerifiedManifest> {
  const subject = subjects.model(model);
  const stored = await bus.getLast(STREAMS.models.name, subject);
  if (!stored)
    throw new VouchError('unknown-model', `model ${model}: nobody has published a model of that name`);
  const verified = verifyManifest(decodeMessage(PublishedManifest, subject, stored.data).body);
  if (verified.manifest.name !== model)
    throw new VouchError('bad-message', `model ${model}: the manifest names another model`);
  return verified;
}
