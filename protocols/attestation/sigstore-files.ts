/**
 * Files of Sigstore: bundles, alone, in the lists in which registries hand them out (GitHub, npm) or one a line (`gh
 * attestation download`), and what an instance publishes about whom to trust (trusted_root.json). Whether any of that is
 * pinned is decided for each bundle anew.
 */
import { z } from 'zod';
import { VouchError } from '../errors.ts';
import { type Certificate, parseCertificate, parsePublicKey } from './certificate.ts';
import type { Content, Contents } from './file-kinds.ts';
import { isSigstoreBundle, parseSigstoreBundle } from './formats/sigstore-bundle.ts';
import { MAX_COLLATERAL_BYTES } from './limits.ts';
import { parsedOnce } from './parsed.ts';
import type { PublicKey } from './signature.ts';
import { base64Bytes } from './text-bytes.ts';

const MAX_BUNDLES = 64;
const TRUSTED_ROOT = 'application/vnd.dev.sigstore.trustedroot';

/** The bundles in a file; none where it holds something else. */
export function bundlesIn({ json, text }: Content): readonly unknown[] {
  const whole = json();
  if (whole === undefined) return inLines(text());
  if (isSigstoreBundle(whole)) return [whole];
  const { attestations } = Object(whole) as { attestations?: unknown };
  const list: readonly unknown[] = Array.isArray(attestations)
    ? attestations
    : Array.isArray(whole)
      ? whole
      : [];
  const bundles = list.map((one) => (Object(one) as { bundle?: unknown }).bundle ?? one);
  return bundles.length > 0 && bundles.every(isSigstoreBundle) ? bundles : [];
}

function inLines(text: string | undefined): unknown[] {
  if (text === undefined || !text.startsWith('{') || !text.includes('\n{')) return [];
  try {
    const bundles = text
      .split('\n')
      .filter((line) => line.trim() !== '')
      .map((line) => JSON.parse(line) as unknown);
    return bundles.every(isSigstoreBundle) ? bundles : [];
  } catch {
    return [];
  }
}

/** Throws `bad-file` or `too-large`; what is wrong in a bundle is a failure of its own. */
export function readBundles(content: Content): Contents {
  const bundles = bundlesIn(content);
  if (content.bytes.length > MAX_COLLATERAL_BYTES || bundles.length > MAX_BUNDLES) {
    throw new VouchError(
      'too-large',
      `Sigstore bundles: expected at most ${MAX_BUNDLES} of ${MAX_COLLATERAL_BYTES} bytes together`,
    );
  }
  return { provenances: bundles.map((json) => parsedOnce(() => parseSigstoreBundle(json))) };
}

export const isTrustedRoot = (json: unknown): boolean => {
  const { mediaType } = Object(json) as { mediaType?: unknown };
  return typeof mediaType === 'string' && mediaType.startsWith(TRUSTED_ROOT);
};

const Key = z.object({ publicKey: z.object({ rawBytes: z.string() }) });
const Chain = z.object({
  certChain: z.object({ certificates: z.array(z.object({ rawBytes: z.string() })).max(10) }),
});
const TrustedRoot = z.object({
  tlogs: z.array(Key).max(64).default([]),
  ctlogs: z.array(Key).max(64).default([]),
  certificateAuthorities: z.array(Chain).max(64).default([]),
  timestampAuthorities: z.array(Chain).max(64).default([]),
});

/** Its certificates and keys; keys of kinds that are not read here are passed over. Throws `bad-file`. */
export function readTrustedRoot(json: unknown): Contents {
  const what = 'trusted root of Sigstore';
  const read = TrustedRoot.safeParse(json);
  if (!read.success) {
    const [issue] = read.error.issues;
    throw new VouchError('bad-file', `${what}: ${issue?.path.join('.') ?? ''}: ${issue?.message ?? ''}`);
  }
  const bytes = (text: string): Uint8Array => {
    const found = base64Bytes(text);
    if (found === undefined) throw new VouchError('bad-file', `${what}: expected base64`);
    return found;
  };
  const { tlogs, ctlogs, certificateAuthorities, timestampAuthorities } = read.data;
  const certificates: Certificate[] = [...certificateAuthorities, ...timestampAuthorities].flatMap(
    ({ certChain }) => certChain.certificates.map(({ rawBytes }) => parseCertificate(bytes(rawBytes), what)),
  );
  const keys: PublicKey[] = [...tlogs, ...ctlogs].flatMap(({ publicKey }) => {
    try {
      return [parsePublicKey(bytes(publicKey.rawBytes), what)];
    } catch (error) {
      if (!(error instanceof VouchError)) throw error;
      return [];
    }
  });
  return { certificates, keys };
}
