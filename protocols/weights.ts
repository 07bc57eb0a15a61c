/**
 * The commitment of a model whose files no circuit holds, a language model for instance. Its kind is `hash`: whoever has the
 * files and the salt can check it, it stands where the Poseidon commitment of other models stands (evidence, manifest,
 * receipt), and no statement about it can be proved in zero knowledge.
 *
 *   parts      = named byte strings: `weights` (the model's file), `defaults` (canonical JSON of what the manifest's
 *                architecture says of them), and where they are no part of the weights' file, `tokenizer` and `template`
 *   leaf i     = SHA-256("vouch/v1/weights-leaf" || 0x00 || chunk i), chunks of 4 MiB, the last of a part shorter
 *   root       = of a binary tree over a part's leaves, in the shape of RFC 9162 (section 2.1): the left half of n leaves has
 *                the largest power of two below n; node = SHA-256("vouch/v1/weights-node" || 0x00 || left || right)
 *   commitment = SHA-256("vouch/v1/weights" || 0x00 || salt (32) || CBOR of [[name, bytes, root], ...] in PARTS' order), its
 *                upper three bits cleared (byte 31 & 0x1f), read as a little-endian number: a field element by size alone
 *
 * The salt is random and travels with the model's key, because files of known models could otherwise be tried. What is
 * encrypted, under keys derived from the model's key (32 bytes, one publication):
 *
 *   index      = blob (sealing.ts) under the model's key, aad "vouch/v1/model/<name>/<commitment>", of the deterministic CBOR map
 *                {"v": 1, "salt": bstr 32, "parts": [{"name": tstr, "bytes": uint, "leaves": bstr 32 n, "blobs": [bstr 32]}]}
 *   chunk i    = AES-256-GCM under HKDF-SHA256(key, info "vouch/v1/weights-part/<part>") of part's chunk i, nonce = i (96 bits,
 *                big-endian), aad "vouch/v1/weights/<name>/<commitment>/<part>/<i>/<chunks>": ciphertext || tag (16)
 *   blobs      = the part's encrypted chunks in order, BLOB_CHUNKS to a blob, by the blobs' digests
 *
 * Not guaranteed: that weights are what their vendor says they are, that an engine computes what others compute of them, and
 * 128 bits against a vendor who looks for two models with one commitment (126.5). Sizes of parts are public.
 */
import { z } from 'zod';
import { fieldFromBytes } from './attestation/report-data.ts';
import { byteString, byteStringBetween, decodeCbor, encodeCbor } from './cbor.ts';
import { canonicalJson, concat, equal, fromHex, hex, sha256, utf8 } from './encoding.ts';
import { parse } from './envelope.ts';
import { VouchError } from './errors.ts';
import type { ModelManifest } from './manifest.ts';
import { leafOf, PARTS, type PartName, WEIGHTS_CHUNK_BYTES } from './weights-chunks.ts';

/** Encrypted chunks of a blob: 4 GiB. */
export const BLOB_CHUNKS = 1024;
/** Of one part: 1 TiB. */
const MAX_CHUNKS = 2 ** 18;
const MAX_PART_BYTES = MAX_CHUNKS * WEIGHTS_CHUNK_BYTES;
const HASH_BYTES = 32;
/** A part's leaves, and what is around them. */
export const MAX_INDEX_BYTES = 2 * MAX_CHUNKS * HASH_BYTES;

/** What a part is, as the commitment has it. */
export interface Part {
  readonly name: PartName;
  readonly bytes: number;
  /** of its chunks, in order */
  readonly leaves: readonly Uint8Array[];
}

/** What the manifest's `architecture` says of a model that answers in text. */
export const TextArchitecture = z.strictObject({
  type: z.literal('text-model'),
  version: z.literal(1),
  /** file format of the weights */
  format: z.enum(['gguf', 'files']),
  parts: z
    .array(z.strictObject({ name: z.enum(PARTS), bytes: z.int().min(0).max(MAX_PART_BYTES) }))
    .min(2)
    .max(PARTS.length),
  defaults: z.strictObject({
    context: z
      .int()
      .min(16)
      .max(2 ** 24)
      .describe('tokens of prompt and answer together'),
    maxTokens: z
      .int()
      .min(1)
      .max(2 ** 24)
      .describe('of an answer, where a request says nothing'),
    temperature: z.number().min(0).max(2),
    topP: z.number().gt(0).max(1),
  }),
});
export type TextArchitecture = z.infer<typeof TextArchitecture>;

/** The public half of a model that answers in text. Throws `bad-input` for a model of rows, `bad-message` for no such half. */
export function textArchitecture({ name, commitmentKind, architecture }: ModelManifest): TextArchitecture {
  if (commitmentKind !== 'hash')
    throw new VouchError(
      'bad-input',
      `model ${name}: it answers to rows, not in text; ask it with: vouch infer ${name}`,
    );
  return parse(TextArchitecture, architecture, 'manifest.architecture');
}

/** The part `defaults`. */
export const defaultsBytes = ({ defaults }: Pick<TextArchitecture, 'defaults'>): Uint8Array =>
  utf8(canonicalJson(defaults));

const NODE = utf8('vouch/v1/weights-node\0');
const ROOT = utf8('vouch/v1/weights\0');

/** The root over at least one leaf. */
export function rootOf(leaves: readonly Uint8Array[]): Uint8Array {
  if (leaves.length === 0) throw new RangeError('root: expected at least one leaf');
  if (leaves.length === 1) return leaves[0]!;
  let half = 1;
  while (2 * half < leaves.length) half *= 2;
  return sha256(NODE, rootOf(leaves.slice(0, half)), rootOf(leaves.slice(half)));
}

/** How many chunks so many bytes are; an empty part has one, which is empty. */
export const chunksOf = (bytes: number): number => Math.max(1, Math.ceil(bytes / WEIGHTS_CHUNK_BYTES));

/** The commitment, decimal. Throws RangeError for parts in another order, twice, or whose leaves do not fit their sizes. */
export function weightsCommitment(salt: Uint8Array, parts: readonly Part[]): string {
  const places = parts.map(({ name }) => PARTS.indexOf(name));
  if (salt.length !== HASH_BYTES || places.some((place, i) => i > 0 && place <= places[i - 1]!))
    throw new RangeError('weights: expected a salt of 32 bytes, and parts once each in their order');
  const described = parts.map(({ name, bytes, leaves }) => {
    if (leaves.length !== chunksOf(bytes))
      throw new RangeError(`${name}: ${leaves.length} leaves do not fit`);
    return [name, bytes, rootOf(leaves)];
  });
  const digest = sha256(ROOT, salt, encodeCbor(described));
  digest[31]! &= 0x1f;
  return fieldFromBytes(digest);
}

/** What is sealed of a model besides its chunks. */
export interface WeightsIndex {
  readonly salt: Uint8Array;
  readonly parts: readonly (Part & {
    /** digests of the blobs of its encrypted chunks, lower-case hex */
    readonly blobs: readonly string[];
  })[];
}

const Index = z.strictObject({
  v: z.literal(1),
  salt: byteString(HASH_BYTES),
  parts: z
    .array(
      z.strictObject({
        name: z.enum(PARTS),
        bytes: z.int().min(0).max(MAX_PART_BYTES),
        leaves: byteStringBetween(HASH_BYTES, MAX_CHUNKS * HASH_BYTES),
        blobs: z.array(byteString(HASH_BYTES)).min(1),
      }),
    )
    .min(1)
    .max(PARTS.length),
});

export const encodeIndex = ({ salt, parts }: WeightsIndex): Uint8Array =>
  encodeCbor({
    v: 1,
    salt,
    parts: parts.map(({ name, bytes, leaves, blobs }) => ({
      name,
      bytes,
      leaves: concat(...leaves),
      blobs: blobs.map((digest) => fromHex(digest, 'blob')),
    })),
  });

/**
 * The index, if it is that of this manifest: its parts and salt give the commitment, and it has the sizes and defaults that
 * the manifest states. Throws `commitment-mismatch` that says what differs, `bad-message`.
 */
export function openIndex(bytes: Uint8Array, manifest: ModelManifest): WeightsIndex {
  const { salt, parts } = decodeCbor(bytes, { schema: Index, what: 'weights', maxBytes: MAX_INDEX_BYTES });
  const wrong = (what: string) =>
    new VouchError('commitment-mismatch', `model ${manifest.name}: ${what}; let the vendor publish it again`);
  const index: WeightsIndex = {
    salt,
    parts: parts.map(({ name, bytes: size, leaves, blobs }) => {
      const chunks = chunksOf(size);
      if (leaves.length !== chunks * HASH_BYTES || blobs.length !== Math.ceil(chunks / BLOB_CHUNKS))
        throw wrong(`part ${name}: its leaves and blobs do not fit its ${size} bytes`);
      return {
        name,
        bytes: size,
        leaves: Array.from({ length: chunks }, (_, i) =>
          leaves.subarray(i * HASH_BYTES, (i + 1) * HASH_BYTES),
        ),
        blobs: blobs.map(hex),
      };
    }),
  };
  const architecture = textArchitecture(manifest);
  const defaults = index.parts.find(({ name }) => name === 'defaults');
  if (defaults && !equal(defaults.leaves[0]!, leafOf(defaultsBytes(architecture))))
    throw wrong('its defaults are not those that the manifest states');
  const named = (list: readonly { name: string; bytes: number }[]) =>
    list.map(({ name, bytes: size }) => `${name} (${size} bytes)`).join(', ');
  if (named(index.parts) !== named(architecture.parts))
    throw wrong(`its parts are ${named(index.parts)}, the manifest says ${named(architecture.parts)}`);
  let commitment: string;
  try {
    commitment = weightsCommitment(salt, index.parts);
  } catch (error) {
    if (!(error instanceof RangeError)) throw error;
    throw wrong('its parts are not in their order');
  }
  if (commitment !== manifest.commitment)
    throw wrong('its weights, tokenizer, template and defaults are not those that the commitment names');
  return index;
}
