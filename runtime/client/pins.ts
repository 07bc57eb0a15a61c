/**
 * Whose model is it? A manifest's signature says only that one key stands behind it. A client names that key (`--vendor`,
 * `vendor` in a policy) or trusts the one it sees first, and remembers it in `.vouch/vendors.json`.
 *
 * Another vendor under a known name is refused, and so is a manifest older than the newest one seen: a stream's operator
 * could otherwise put an old model, or terms that the vendor has withdrawn, under a name. A new model of the same vendor
 * is taken, because publishing is the vendor's right; it is said, and `commitment` in a policy pins one model for good.
 *
 * Not guaranteed: that the first one seen was the right one. Compare its fingerprint with what the vendor says elsewhere.
 */
import { z } from 'zod';
import { Digest, FieldElement, Id } from '../../protocols/envelope.ts';
import { VouchError } from '../../protocols/errors.ts';
import type { VerifiedManifest } from '../../protocols/manifest.ts';
import { readTextIfThere, writeWhole } from '../home/files.ts';
import { folder } from '../home/home.ts';
import type { Log } from '../home/log.ts';
import { demandPinned, type Pins } from '../verdict/vendor.ts';

export type { Pins } from '../verdict/vendor.ts';

const MAX_BYTES = 16 * 1024 * 1024;
const Known = z.strictObject({
  version: z.literal(1),
  models: z.record(
    Id,
    z.strictObject({ vendor: Digest, commitment: FieldElement, serial: z.int().min(1), manifest: Digest }),
  ),
});
type Known = z.infer<typeof Known>;

const knownFile = (): string => folder('vendors.json');

function readKnown(): Known {
  const file = knownFile();
  const text = readTextIfThere(file, 'known vendors', MAX_BYTES);
  if (text === undefined) return { version: 1, models: {} };
  try {
    return Known.parse(JSON.parse(text));
  } catch {
    throw new VouchError(
      'bad-file',
      `${file}: expected the vendors that Vouch remembers; restore it, or delete it and compare every fingerprint anew`,
    );
  }
}

/** The vendor that is remembered for a model. */
export function rememberedVendor(model: string): string | undefined {
  const { models } = readKnown();
  return Object.hasOwn(models, model) ? models[model]!.vendor : undefined;
}

/** How a client knows the vendor: a pin, an earlier time, or not at all. */
export type Acquaintance = 'pinned' | 'remembered' | 'first-use';

/**
 * Compares a manifest with the pins and with what is remembered, and remembers it. `say` is told of what is new. Throws as
 * `demandPinned`, and `signature-rejected` for another vendor than before, or an older manifest, with what to do.
 */
export async function acquaint(
  published: VerifiedManifest,
  { say, ...pins }: Pins & { readonly say: Log },
): Promise<Acquaintance> {
  demandPinned(published, pins);
  const { manifest, digest, vendor } = published;
  const { name, commitment, serial } = manifest;
  const known = readKnown();
  const before = Object.hasOwn(known.models, name) ? known.models[name] : undefined;
  const pinned = pins.vendor !== undefined || pins.policy?.vendor !== undefined;
  if (before !== undefined && before.vendor !== vendor && !pinned) {
    throw new VouchError(
      'signature-rejected',
      `model ${name}: its vendor was ${before.vendor}, now it is ${vendor}: somebody else publishes under this name; if the vendor told you of the new key elsewhere, pass --vendor ${vendor}`,
    );
  }
  if (
    before?.vendor === vendor &&
    (serial < before.serial || (serial === before.serial && digest !== before.manifest))
  ) {
    throw new VouchError(
      'signature-rejected',
      `model ${name}: its manifest (serial ${serial}) is not the newest that was seen here (serial ${before.serial}); an old one may have been put back: let the vendor publish the model again`,
    );
  }
  if (before === undefined && !pinned)
    say(
      `model ${name}: vendor ${vendor}, seen for the first time and remembered; compare it with what the vendor says, or pass --vendor`,
    );
  else if (before !== undefined && before.vendor !== vendor)
    say(`model ${name}: vendor ${vendor} takes the place of ${before.vendor}, as you said`);
  else if (before !== undefined && before.commitment !== commitment)
    say(`model ${name}: its vendor has published a new model, commitment ${commitment}`);
  if (before?.manifest !== digest || before.vendor !== vendor) {
    known.models[name] = { vendor, commitment, serial, manifest: digest };
    await writeWhole(knownFile(), `${JSON.stringify(known, null, 2)}\n`);
  }
  return pinned ? 'pinned' : before === undefined ? 'first-use' : 'remembered';
}
