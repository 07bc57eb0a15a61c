/**
 * The key-broker's audit records: one for each release of a key and each refusal, chained and signed.
 *
 *   record = statement "application/vouch-audit+cbor" (protocols/cose.ts) by the broker's audit key, over the
 *            deterministic CBOR map
 *            {"v": 2, "broker": tstr, "key": bstr 32, "sequence": uint from 1, "previous": bstr 32 or null,
 *             "time": uint, "model": tstr, "request": tstr, "decision": "released" or "refused",
 *             "code": tstr or null, "check": tstr or null, "policy": bstr 32 or null, "evidence": bstr 32 or null,
 *             "holder": tstr or null, "hardware": bool or null, "share": uint or null,
 *             "requester": tstr or null, "job": tstr or null, "unrecorded": uint}
 *     key         the audit key itself, so that a reader knows which one to look for; it proves nothing
 *     previous    SHA-256 of the whole record before; null in the first
 *     time        seconds since 1970 by the broker's clock
 *     request     the broker's own random id of the request
 *     code, check why it was refused: an error code, and the first failed check of the evidence, where there was one
 *     policy      digest of the policy that was asked for; null where the broker has none for the model
 *     evidence    digest of the evidence document; null where none was read
 *     holder      id that the evidence gives itself, unproven in a refusal; `hardware` false = SIMULATED
 *     share       number of the key's share, from 1; null for a whole key
 *     requester   whose signed request for a proof the key is released for, and its job; null where a runner serves, and
 *     and job     in a refusal of a request that was not found to be anybody's
 *     unrecorded  refusals since the record before that could not be recorded
 *
 * Records of version 1, which have neither requester nor job, are read as well: a chain goes on across versions.
 *
 * A release is recorded before the key leaves; when it fails afterwards a refusal with the same `request` follows.
 *
 * Not guaranteed: that the chain is all there is. Its newest records can be cut off without a trace, unless somebody
 * keeps the digest of a later one (the head); and whoever has the audit key can write another history.
 */
import { z } from 'zod';
import { byteString, decodeCbor, encodeCbor } from './cbor.ts';
import { type Signer, signStatement, unverifiedPayload, verifyStatement } from './cose.ts';
import { fromHex, hex, sha256Hex } from './encoding.ts';
import { Id } from './envelope.ts';
import { messageOf, VouchError } from './errors.ts';

const AUDIT_TYPE = 'application/vouch-audit+cbor';
const MAX_PAYLOAD_BYTES = 1024;
/** No record is longer. */
export const MAX_RECORD_BYTES = 2048;

const Version1 = z.strictObject({
  v: z.literal(1),
  broker: Id,
  key: byteString(32),
  sequence: z.int().min(1),
  previous: byteString(32).nullable(),
  time: z
    .int()
    .min(0)
    .max(2 ** 40),
  model: Id,
  request: Id,
  decision: z.enum(['released', 'refused']),
  code: z.string().max(64).nullable(),
  check: z.string().max(64).nullable(),
  policy: byteString(32).nullable(),
  evidence: byteString(32).nullable(),
  holder: Id.nullable(),
  hardware: z.boolean().nullable(),
  share: z.int().min(1).max(255).nullable(),
  unrecorded: z.int().min(0),
});
const Payload = Version1.extend({ v: z.literal(2), requester: Id.nullable(), job: Id.nullable() });

/** What a broker has decided. Digests are lower-case hex. */
export interface Decision {
  readonly model: string;
  readonly request: string;
  readonly decision: 'released' | 'refused';
  readonly code: string | null;
  readonly check: string | null;
  readonly policy: string | null;
  readonly evidence: string | null;
  readonly holder: string | null;
  readonly hardware: boolean | null;
  readonly share: number | null;
  /** who has signed the request for a proof that this is for */
  readonly requester: string | null;
  readonly job: string | null;
}

/** A record as it can be read. `key` and digests are lower-case hex. */
export interface AuditRecord extends Decision {
  readonly broker: string;
  readonly key: string;
  readonly sequence: number;
  readonly previous: string | null;
  readonly time: Date;
  readonly unrecorded: number;
}

const orNull = <A, B>(value: A | null, of: (value: A) => B): B | null => (value === null ? null : of(value));
const digestBytes = (field: string) => (text: string) => fromHex(text, field, 32);

/** What names a record in the one after it: lower-case hex. */
export const recordDigest = (record: Uint8Array): string => sha256Hex(record);

/** Signs the record that follows `previous`. The caller counts `sequence` and `unrecorded`. */
export function signRecord(
  signer: Signer,
  { decision, ...place }: Omit<AuditRecord, keyof Decision | 'key'> & { readonly decision: Decision },
): Promise<Uint8Array> {
  const payload: z.infer<typeof Payload> = {
    v: 2,
    ...decision,
    ...place,
    decision: decision.decision,
    key: signer.publicKey,
    previous: orNull(place.previous, digestBytes('previous')),
    time: Math.floor(place.time.getTime() / 1000),
    policy: orNull(decision.policy, digestBytes('policy')),
    evidence: orNull(decision.evidence, digestBytes('evidence')),
  };
  return signStatement(signer, AUDIT_TYPE, encodeCbor(Payload.parse(payload)));
}

/** Reads a record signed by `key`. Throws `too-large`, `bad-message`, `signature-rejected`. */
export function readRecord(key: Uint8Array, record: Uint8Array): AuditRecord {
  const claimed = recordOf(verifyStatement(key, AUDIT_TYPE, record, { maxPayloadBytes: MAX_PAYLOAD_BYTES }));
  if (claimed.key !== hex(key))
    throw new VouchError('bad-message', 'audit record: it names another key than the one that signed it');
  return claimed;
}

/** What a record says, whoever signed it: to find out whose it says it is. Throws `bad-message`. */
export const unprovenRecord = (record: Uint8Array): AuditRecord =>
  recordOf(unverifiedPayload(AUDIT_TYPE, record, { maxPayloadBytes: MAX_PAYLOAD_BYTES }));

function recordOf(bytes: Uint8Array): AuditRecord {
  const { v: _, ...payload } = decodeCbor(bytes, {
    schema: z.discriminatedUnion('v', [Version1, Payload]),
    what: 'audit record',
    maxBytes: MAX_PAYLOAD_BYTES,
  });
  return {
    requester: null,
    job: null,
    ...payload,
    key: hex(payload.key),
    previous: orNull(payload.previous, hex),
    policy: orNull(payload.policy, hex),
    evidence: orNull(payload.evidence, hex),
    time: new Date(payload.time * 1000),
  };
}

export interface Chain {
  readonly records: readonly AuditRecord[];
  /** digest of the last record that holds */
  readonly head: string | null;
  /** the first link that does not hold: which record, counted from 1, and why */
  readonly broken?: { readonly record: number; readonly why: string };
}

/**
 * Follows a chain from its first record, under one broker's key, up to the first link that does not hold. `head` is
 * the digest of a record that has to be among them: what was seen before must still be there.
 */
export function verifyChain(
  key: Uint8Array,
  records: readonly Uint8Array[],
  { broker, head }: { readonly broker?: string; readonly head?: string | undefined } = {},
): Chain {
  const read: AuditRecord[] = [];
  let last: string | null = null;
  let found = head === undefined;
  for (const bytes of records) {
    try {
      const record = readRecord(key, bytes);
      follow(read.at(-1), last, record, broker ?? read[0]?.broker);
      read.push(record);
      last = recordDigest(bytes);
      found ||= last === head;
    } catch (error) {
      return { records: read, head: last, broken: { record: read.length + 1, why: messageOf(error) } };
    }
  }
  if (!found) {
    const why = `the record ${head} is not among the ${read.length} that are here: newer ones were cut off`;
    return { records: read, head: last, broken: { record: read.length + 1, why } };
  }
  return { records: read, head: last };
}

function follow(
  before: AuditRecord | undefined,
  digest: string | null,
  record: AuditRecord,
  broker: string | undefined,
): void {
  const expected = (before?.sequence ?? 0) + 1;
  const wrong =
    record.sequence !== expected
      ? `sequence: expected ${expected}, got ${record.sequence}`
      : record.previous !== digest
        ? 'previous: it does not name the record before it'
        : broker !== undefined && record.broker !== broker
          ? `broker: expected ${broker}, got ${record.broker}`
          : undefined;
  if (wrong !== undefined) throw new VouchError('bad-message', wrong);
}
