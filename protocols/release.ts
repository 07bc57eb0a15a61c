/**
 * What a key-broker signs when it releases a model's key, or a share of it: that this key was released under that
 * policy, to the process of that evidence. The receiver checks it with the release key that the vendor's manifest names,
 * so nobody else's answer counts, and a receipt's policy is the one that was satisfied.
 *
 *   release = statement "application/vouch-release+cbor" (protocols/cose.ts) by a release key of the manifest, over the
 *             deterministic CBOR map
 *             {"v": 1, "broker": tstr, "model": tstr, "commitment": bstr 32, "manifest": bstr 32, "policy": bstr 32,
 *              "evidence": bstr 32, "holder": tstr, "sealedKey": bstr 32, "share": uint or null,
 *              "job": tstr or null}
 *     commitment  model commitment, the field element in 32 bytes little-endian
 *     manifest    digest of the manifest that the broker holds: its terms are those that the broker enforces
 *     policy      digest of the policy that the evidence satisfied
 *     evidence    digest of the evidence document, which binds the broker's nonce
 *     holder      the enclave id in that evidence
 *     job         of the signed request for a proof that the broker has judged and counted; null where a runner serves
 *     sealedKey   SHA-256 of the sealed key that goes with it
 *
 * Not guaranteed: that the broker judged well, nor that it released the key to nobody else; its audit records say that.
 */
import { z } from 'zod';
import { fieldBytes } from './attestation/report-data.ts';
import { byteString, decodeCbor, encodeCbor } from './cbor.ts';
import { type Signer, signStatement, verifyStatement } from './cose.ts';
import { equal, fromHex, hex, sha256 } from './encoding.ts';
import { Id } from './envelope.ts';
import { VouchError } from './errors.ts';
import { MAX_BROKERS } from './key-shares.ts';

const RELEASE_TYPE = 'application/vouch-release+cbor';
const MAX_PAYLOAD_BYTES = 1024;
/** No statement is longer. */
export const MAX_RELEASE_BYTES = 2048;

const Payload = z.strictObject({
  v: z.literal(1),
  broker: Id,
  model: Id,
  commitment: byteString(32),
  manifest: byteString(32),
  policy: byteString(32),
  evidence: byteString(32),
  holder: Id,
  sealedKey: byteString(32),
  share: z.int().min(1).max(MAX_BROKERS).nullable(),
  job: Id.nullable(),
});

/** Digests are lower-case hex, the commitment is decimal. */
export interface Release {
  readonly broker: string;
  readonly model: string;
  readonly commitment: string;
  readonly manifest: string;
  readonly policy: string;
  readonly evidence: string;
  readonly holder: string;
  /** undefined: the whole key */
  readonly share: number | undefined;
  /** undefined: for a runner, which serves */
  readonly job: string | undefined;
}

const payloadOf = (release: Release, sealedKey: Uint8Array): z.infer<typeof Payload> => ({
  v: 1,
  broker: release.broker,
  model: release.model,
  commitment: fieldBytes(release.commitment),
  manifest: fromHex(release.manifest, 'manifest digest', 32),
  policy: fromHex(release.policy, 'policy digest', 32),
  evidence: fromHex(release.evidence, 'evidence digest', 32),
  holder: release.holder,
  sealedKey: sha256(sealedKey),
  share: release.share ?? null,
  job: release.job ?? null,
});

export const signRelease = (signer: Signer, release: Release, sealedKey: Uint8Array): Promise<Uint8Array> =>
  signStatement(signer, RELEASE_TYPE, encodeCbor(Payload.parse(payloadOf(release, sealedKey))));

/**
 * Checks a release that the broker with this key says is `expected`. Throws `signature-rejected` for another signer, and
 * `key-rejected`, which names the first member that differs.
 */
export function verifyRelease(
  key: Uint8Array,
  statement: Uint8Array,
  expected: Release,
  sealedKey: Uint8Array,
): void {
  const signed = decodeCbor(signedPayload(key, statement, expected), {
    schema: Payload,
    what: 'release',
    maxBytes: MAX_PAYLOAD_BYTES,
  });
  const wanted = payloadOf(expected, sealedKey);
  for (const name of Object.keys(wanted) as (keyof typeof wanted)[]) {
    const [got, want] = [signed[name], wanted[name]];
    const same = got instanceof Uint8Array && want instanceof Uint8Array ? equal(got, want) : got === want;
    if (!same) {
      throw new VouchError(
        'key-rejected',
        `release of model ${expected.model} by broker ${expected.broker}: its ${name} is ${shown(got)}, expected ${shown(want)}${WHY[name] ?? ''}`,
      );
    }
  }
}

function signedPayload(key: Uint8Array, statement: Uint8Array, { model, broker }: Release): Uint8Array {
  try {
    return verifyStatement(key, RELEASE_TYPE, statement, { maxPayloadBytes: MAX_PAYLOAD_BYTES });
  } catch (error) {
    if (!(error instanceof VouchError && error.code === 'signature-rejected')) throw error;
    throw new VouchError(
      'signature-rejected',
      `release of model ${model} by broker ${broker}: not signed by the release key in the manifest: that broker is not the vendor's, or holds the key of another publication; publish the model again`,
      { cause: error },
    );
  }
}

const shown = (value: unknown): string => (value instanceof Uint8Array ? hex(value) : String(value));
/** What is behind the differences that happen without anybody's malice. */
const WHY: Readonly<Record<string, string>> = {
  manifest: ': the broker and the stream have different manifests; publish the model again',
  policy: ': the broker demands something else than the manifest says; publish the model again',
};
