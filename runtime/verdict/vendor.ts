/**
 * Whose model is it, as far as a manifest at hand, a pin and a memory say. What a memory is, whoever asks has to know: a
 * client's is a file (client/pins.ts), a page has none.
 */
import type { Policy } from '../../protocols/attestation/policy.ts';
import { messageOf, VouchError } from '../../protocols/errors.ts';
import { fingerprintOf, type VerifiedManifest } from '../../protocols/manifest.ts';
import type { PrintedCheck } from './checks.ts';

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

/** The fingerprint of the vendor that is remembered for a model's name. */
export type Remembered = (model: string) => string | undefined;

/**
 * Whether a manifest at hand is of the vendor that somebody named: by a pin, or by what is remembered. Only then may
 * anything be compared with it. A pin that cannot be compared fails.
 */
export function judgeVendor(
  published: VerifiedManifest | undefined,
  pins: Pins,
  remembered: Remembered = () => undefined,
): PrintedCheck {
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
  const known = remembered(manifest.name);
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
