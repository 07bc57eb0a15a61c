/**
 * Reads attestation documents of AWS Nitro Enclaves and of NitroTPM: COSE_Sign1 (RFC 9052) with ES384 around a CBOR
 * map (aws-nitro-enclaves-nsm-api, docs/attestation_process.md; Amazon EC2 user guide, "NitroTPM Attestation Document
 * contents"). Bare, with tag 18, or inside the response of the Nitro Secure Module. Nothing is verified here.
 *
 * The outer form has to be deterministic CBOR, because no signature covers it. The payload is signed as it came, and
 * AWS writes it as a map of definite or indefinite length. Fields that are not known here are named and left out.
 */
import { decode } from 'cborg';
import { encodeCbor } from '../../cbor.ts';
import { concat, equal, fromHex, utf8 } from '../../encoding.ts';
import { VouchError } from '../../errors.ts';
import { MAX_CERTIFICATE_BYTES, MAX_NITRO_BYTES } from '../limits.ts';

/** {1: -35}: ECDSA on P-384 with SHA-384. */
const PROTECTED = fromHex('a1013822');
/** An array of four, whose first is that header. */
const START = fromHex('8444a1013822a0');
const TAG_SIGN1 = 0xd2;
/** {"Attestation": {"document": ...}}, as the Nitro Secure Module answers. */
const RESPONSE = concat(fromHex('a16b'), utf8('Attestation'), fromHex('a168'), utf8('document'));
const SIGNATURE_BYTES = 96;
const DIGEST = 'SHA384';
/** SHA-384 fills a PCR of 48 bytes; the specification leaves room for SHA-256 and SHA-512. */
const PCR_BYTES = [32, 48, 64];
const MAX_PCRS = 32;
const MAX_BUNDLE = 8;
/** What the one who asks may have signed; 512 or 1024 by the specification. */
const MAX_FIELD_BYTES = 4096;
const MAX_ID = 256;
const FIELDS = [
  'module_id',
  'digest',
  'timestamp',
  'pcrs',
  'nitrotpm_pcrs',
  'certificate',
  'cabundle',
  'public_key',
  'user_data',
  'nonce',
];

export interface NitroDocument {
  /** an enclave, or an EC2 instance whose NitroTPM measured its boot */
  readonly of: 'enclave' | 'instance';
  readonly moduleId: string;
  readonly time: Date;
  /** by index, those that are not locked to zero included */
  readonly pcrs: ReadonlyMap<number, Uint8Array>;
  /** DER: that of the key that signed, then from the root down */
  readonly certificates: readonly [Uint8Array, ...Uint8Array[]];
  readonly publicKey?: Uint8Array;
  readonly userData?: Uint8Array;
  readonly nonce?: Uint8Array;
  /** names of fields that mean nothing here */
  readonly unknown: readonly string[];
  /** what the signature covers: Sig_structure of RFC 9052, section 4.4 */
  readonly signed: Uint8Array;
  /** r || s, big-endian */
  readonly signature: Uint8Array;
}

const startsWith = (bytes: Uint8Array, start: Uint8Array): boolean =>
  equal(bytes.subarray(0, start.length), start);

/** Where COSE_Sign1 begins, tag included. */
function envelopeAt(bytes: Uint8Array): number | undefined {
  let at = 0;
  if (startsWith(bytes, RESPONSE)) {
    // A byte string of 256 to 65535 bytes that fills the rest.
    at = RESPONSE.length + 3;
    const [type, high = 0, low = 0] = bytes.subarray(RESPONSE.length, at);
    if (type !== 0x59 || at + 256 * high + low !== bytes.length) return undefined;
  }
  const array = bytes[at] === TAG_SIGN1 ? at + 1 : at;
  return startsWith(bytes.subarray(array), START) ? at : undefined;
}

const MODULE_ID = 'module_id';

/** Whether bytes look like one: the header of ES384, and a first field that no other statement has. */
export function isNitroDocument(bytes: Uint8Array): boolean {
  const at = envelopeAt(bytes);
  if (at === undefined) return false;
  return new TextDecoder('latin1').decode(bytes.subarray(at, at + 48)).includes(MODULE_ID);
}

/** Whether such a document is about an EC2 instance and not about an enclave: by the name of its registers. */
export const isNitroTpm = (bytes: Uint8Array): boolean =>
  bytes.length <= MAX_NITRO_BYTES && new TextDecoder('latin1').decode(bytes).includes('mnitrotpm_pcrs');

/** Throws `bad-file`. */
export function parseNitroDocument(bytes: Uint8Array): NitroDocument {
  const what = 'Nitro document';
  const refuse = (reason: string): never => {
    throw new VouchError('bad-file', `${what}: ${reason}`);
  };
  if (bytes.length > MAX_NITRO_BYTES) {
    return refuse(`expected at most ${MAX_NITRO_BYTES} bytes, got ${bytes.length}`);
  }
  const at = envelopeAt(bytes);
  if (at === undefined) return refuse('expected COSE_Sign1 with the header {1: -35} (ES384)');
  const envelope = bytes.subarray(bytes[at] === TAG_SIGN1 ? at + 1 : at);
  const parts = decodeWith(envelope, false);
  if (!Array.isArray(parts) || parts.length !== 4 || !sameCbor(parts, envelope)) {
    return refuse('expected an array of four in deterministic CBOR, and nothing after it');
  }
  const [, , payload, signature] = parts as unknown[];
  if (!(payload instanceof Uint8Array)) return refuse('expected a payload');
  if (!(signature instanceof Uint8Array) || signature.length !== SIGNATURE_BYTES) {
    return refuse(`expected a signature of ${SIGNATURE_BYTES} bytes`);
  }
  const fields = decodeWith(payload, true);
  if (!(fields instanceof Map)) return refuse('expected a map as payload');

  const field = (name: string): unknown => fields.get(name) ?? undefined;
  const bytesOf = (name: string, value: unknown, least: number, most: number): Uint8Array =>
    value instanceof Uint8Array && value.length >= least && value.length <= most
      ? value
      : refuse(`${name}: expected ${least} to ${most} bytes`);
  const optional = (name: string): Uint8Array | undefined =>
    field(name) === undefined ? undefined : bytesOf(name, field(name), 0, MAX_FIELD_BYTES);

  const moduleId = field('module_id');
  if (typeof moduleId !== 'string' || !/^[\x21-\x7e]+$/.test(moduleId) || moduleId.length > MAX_ID) {
    return refuse('module_id: expected a name');
  }
  if (field('digest') !== DIGEST) return refuse(`digest: expected ${DIGEST}`);
  const timestamp = field('timestamp');
  if (typeof timestamp !== 'number' || !Number.isSafeInteger(timestamp) || timestamp <= 0) {
    return refuse('timestamp: expected milliseconds since 1970');
  }
  const time = new Date(timestamp);
  if (Number.isNaN(time.getTime())) return refuse('timestamp: expected a time that exists');
  const [enclave, instance] = [field('pcrs'), field('nitrotpm_pcrs')];
  const registers = enclave ?? instance;
  if (!(registers instanceof Map) || (enclave !== undefined && instance !== undefined)) {
    return refuse('expected either pcrs or nitrotpm_pcrs');
  }
  if (registers.size < 1 || registers.size > MAX_PCRS) return refuse(`pcrs: expected 1 to ${MAX_PCRS}`);
  const pcrs = new Map<number, Uint8Array>();
  for (const [index, value] of registers as Map<unknown, unknown>) {
    if (typeof index !== 'number' || !Number.isInteger(index) || index < 0 || index >= MAX_PCRS) {
      return refuse(`pcrs: expected indices from 0 to ${MAX_PCRS - 1}`);
    }
    const pcr = bytesOf(`PCR ${index}`, value, 32, 64);
    if (!PCR_BYTES.includes(pcr.length)) return refuse(`PCR ${index}: expected a digest`);
    pcrs.set(index, pcr);
  }
  const bundle = field('cabundle');
  if (!Array.isArray(bundle) || bundle.length < 1 || bundle.length > MAX_BUNDLE) {
    return refuse(`cabundle: expected 1 to ${MAX_BUNDLE} certificates`);
  }
  const certificate = (name: string, value: unknown) => bytesOf(name, value, 1, MAX_CERTIFICATE_BYTES);
  const publicKey = optional('public_key');
  const userData = optional('user_data');
  const nonce = optional('nonce');
  return {
    of: enclave === undefined ? 'instance' : 'enclave',
    moduleId,
    time,
    pcrs,
    certificates: [
      certificate('certificate', field('certificate')),
      ...bundle.map((der, i) => certificate(`cabundle ${i + 1}`, der)),
    ],
    ...(publicKey === undefined ? {} : { publicKey }),
    ...(userData === undefined ? {} : { userData }),
    ...(nonce === undefined ? {} : { nonce }),
    unknown: [...fields.keys()].map(String).filter((name) => !FIELDS.includes(name)),
    signed: encodeCbor(['Signature1', PROTECTED, new Uint8Array(0), payload]),
    signature,
  };
}

/** Undefined for what is no CBOR. */
function decodeWith(bytes: Uint8Array, allowIndefinite: boolean): unknown {
  try {
    return decode(bytes, {
      strict: true,
      allowIndefinite,
      allowUndefined: false,
      allowBigInt: false,
      useMaps: true,
      rejectDuplicateMapKeys: true,
      tags: {},
    });
  } catch {
    return undefined;
  }
}

function sameCbor(value: unknown, bytes: Uint8Array): boolean {
  try {
    return equal(encodeCbor(value), bytes);
  } catch {
    return false;
  }
}
