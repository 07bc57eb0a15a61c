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
import type { Policy } from '../../protocols/attestation/policy.ts';
import { Digest, FieldElement, Id } from '../../protocols/envelope.ts';
import { messageOf, VouchError } from '../../protocols/errors.ts';
import { fingerprintOf, type VerifiedManifest } from '../../protocols/manifest.ts';
import { readTextIfThere, writeWhole } from '../home/files.ts';
import { folder } from '../home/home.ts';
import type { Log } from '../home/log.ts';
import type { PrintedCheck } from './checks.ts';

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

/** What a client demands of a manifest beforehand. */
export interface Pins {
  /** `--vendor`: public key or fingerprint */
  readonly vendor?: string | undefined;
  readonly policy?: Pick<Policy, 'vendor' | 'commitment'> | undefined;
}

/** Throws `bad-input` for what is no key, `signature-rejected` or `commitment-mismatch` for another's manifest. */
export function demandPinned({ manifest, vendor }: VerifiedManifest, { vendor: named, policy }: Pins): void {
  for (const [text, where] of [
    [named, '--vendor'],
    [policy?.vendor, 'policy.vendor'],
  ] as const) {
    if (text === undefined) continue;
    const expected = fingerprintOf(text, where);
    if (vendor === expected) continue;
    throw new VouchError(
      'signature-rejected',
      `model ${manifest.name}: it is published by vendor ${vendor}, expected ${expected} (${where}); ask the vendor, or correct ${where}`,
    );
  }
  const expected = policy?.commitment;
  if (expected !== undefined && manifest.commitment !== expected) {
    throw new VouchError(
      'commitment-mismatch',
      `model ${manifest.name}: its commitment is ${manifest.commitment}, expected ${expected} (policy.commitment): the vendor has published another model`,
    );
  }
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

/**
 * Whether a manifest at hand is of the vendor that somebody named: by a pin, or by what is remembered. Only then may
 * anything be compared with it. A pin that cannot be compared fails.
 */
export function judgeVendor(published: VerifiedManifest | undefined, pins: Pins): PrintedCheck {
  const id = 'manifest.vendor';
  const pinned = [pins.vendor, pins.policy?.vendor].some((pin) => pin !== undefined);
  if (published === undefined) {
    const detail = 'no manifest is at hand, so nothing says whose model it is: --manifest FILE';
    return { id, status: pinned ? 'fail' : 'skipped', detail };
  }
  try {
    demandPinned(published, pins);
  } catch (error) {
    return { id, status: 'fail', detail: messageOf(error) };
  }
  const { vendor, manifest } = published;
  const { models } = readKnown();
  const known = Object.hasOwn(models, manifest.name) ? models[manifest.name]!.vendor : undefined;
  if (pinned)
    return { id, status: 'pass', detail: `the manifest is signed by the vendor that was named, ${vendor}` };
  if (known === undefined)
    return {
      id,
      status: 'skipped',
      detail: `the manifest is signed by ${vendor}, and nobody named its vendor: --vendor KEY`,
    };
  return known === vendor
    ? { id, status: 'pass', detail: `the manifest is signed by the vendor that is remembered, ${vendor}` }
    : { id, status: 'fail', detail: `the manifest is signed by ${vendor}, remembered is ${known}` };
}
