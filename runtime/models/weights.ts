/**
 * Publishing and obtaining a model that answers in text: its files are committed to, encrypted and stored chunk by chunk, and
 * come back into memory chunk by chunk, each checked against the commitment before anything reads it. A file may have any
 * size: a few chunks of it are in memory at a time (protocols/weights.ts has the formats).
 */
import { type ByteSource, bytesSource, demandWithin } from '../../circuits/groth16/source.ts';
import { equal, randomBytes } from '../../protocols/encoding.ts';
import { VouchError } from '../../protocols/errors.ts';
import type { ModelManifest } from '../../protocols/manifest.ts';
import { decryptBlob, encryptBlob, generateBlobKey } from '../../protocols/sealing.ts';
import { TEXT_TERMS } from '../../protocols/terms.ts';
import {
  BLOB_CHUNKS,
  type ChunkCipher,
  chunkCipher,
  chunksOf,
  defaultsBytes,
  encodeIndex,
  leafOf,
  MAX_INDEX_BYTES,
  openIndex,
  PARTS,
  type Part,
  type PartName,
  SEALED_CHUNK_OVERHEAD,
  type TextArchitecture,
  textArchitecture,
  WEIGHTS_CHUNK_BYTES,
  weightsCommitment,
} from '../../protocols/weights.ts';
import type { Identity } from '../attest/identity.ts';
import type { KeptChunks } from '../home/kept-chunks.ts';
import type { MemoryFolder } from '../home/memory-folder.ts';
import { blobSource, getBlob, getManifest, type Place, putBlob } from '../nats/blobs.ts';
import type { Bus } from '../nats/bus.ts';
import { modelAad } from './broker-store.ts';
import { obtainKey, readManifest } from './obtain.ts';
import { type Offer, publishSealed } from './publish.ts';

const SEALED_CHUNK_BYTES = WEIGHTS_CHUNK_BYTES + SEALED_CHUNK_OVERHEAD;
const PLACE: Place = { shelf: 'sealedModels', writer: 'the vendor' };
/** Chunks that are read, decrypted and checked at once. */
const LANES = 4;

export interface TextPublication extends Offer {
  readonly weights: ByteSource;
  readonly tokenizer?: Uint8Array | undefined;
  /** of the chat, where it is not the one in the weights' file */
  readonly template?: Uint8Array | undefined;
  readonly format?: TextArchitecture['format'];
  readonly defaults: TextArchitecture['defaults'];
  /** bytes that are committed to and stored, of twice the size of all files */
  readonly onProgress?: (done: number, total: number) => void;
}

/** Where a part's chunk is, of how many bytes. */
const rangeOf = (bytes: number, index: number) => {
  const offset = index * WEIGHTS_CHUNK_BYTES;
  return { offset, length: Math.min(WEIGHTS_CHUNK_BYTES, bytes - offset) };
};

async function readChunk(source: ByteSource, index: number): Promise<Uint8Array> {
  const { offset, length } = rangeOf(source.byteLength, index);
  const chunk = new Uint8Array(length);
  await source.read(offset, chunk);
  return chunk;
}

/** The leaves of a source, read once. */
export async function leavesOf(
  source: ByteSource,
  onChunk: (bytes: number) => void = () => {},
): Promise<Uint8Array[]> {
  const leaves: Uint8Array[] = [];
  for (let i = 0; i < chunksOf(source.byteLength); i++) {
    const chunk = await readChunk(source, i);
    leaves.push(leafOf(chunk));
    onChunk(chunk.length);
  }
  return leaves;
}

/**
 * Commits to a model, stores it encrypted and publishes it, as `publishModel` does. Throws `bad-file` for a file that is
 * empty or changes meanwhile, `storage-full`, and what the bus throws.
 */
export async function publishText(
  bus: Bus,
  source: string,
  { weights, tokenizer, template, format = 'gguf', defaults, onProgress, ...offer }: TextPublication,
): Promise<ModelManifest> {
  if (weights.byteLength === 0) throw new VouchError('bad-file', 'weights: the file is empty');
  const given: Record<PartName, ByteSource | undefined> = {
    weights,
    tokenizer: tokenizer && bytesSource(tokenizer),
    template: template && bytesSource(template),
    defaults: bytesSource(defaultsBytes({ defaults })),
  };
  const sources = PARTS.flatMap((name) => (given[name] ? [{ name, source: given[name] }] : []));
  const total = 2 * sources.reduce((sum, each) => sum + each.source.byteLength, 0);
  let done = 0;
  const advance = (bytes: number) => {
    done += bytes;
    onProgress?.(done, total);
  };
  const parts: (Part & { readonly source: ByteSource })[] = [];
  for (const { name, source: from } of sources)
    parts.push({ name, bytes: from.byteLength, leaves: await leavesOf(from, advance), source: from });
  const salt = randomBytes(32);
  const commitment = weightsCommitment(salt, parts);
  const key = generateBlobKey();
  const stored = [];
  for (const { source: from, ...part } of parts) {
    const cipher = chunkCipher(key, {
      model: offer.name,
      commitment,
      part: part.name,
      chunks: part.leaves.length,
    });
    const blobs: string[] = [];
    for (let first = 0; first < part.leaves.length; first += BLOB_CHUNKS) {
      const sealed = sealedSource(from, part, cipher, first, advance);
      // One chunk of a blob for each of ours, where the server takes messages that long.
      blobs.push((await putBlob(bus, 'sealedModels', sealed, { chunkBytes: SEALED_CHUNK_BYTES })).digest);
    }
    stored.push({ ...part, blobs });
  }
  const index = await encryptBlob(
    key,
    encodeIndex({ salt, parts: stored }),
    modelAad(offer.name, commitment),
  );
  const { digest } = await putBlob(bus, 'sealedModels', index);
  const architecture: TextArchitecture = {
    type: 'text-model',
    version: 1,
    format,
    parts: parts.map(({ name, bytes }) => ({ name, bytes })),
    defaults,
  };
  return publishSealed(bus, source, offer, {
    commitment,
    commitmentKind: 'hash',
    architecture: { ...architecture },
    terms: TEXT_TERMS,
    sealedModel: digest,
    key,
  });
}

/**
 * The encrypted chunks of a part from `first` on, as many as a blob has, one after another. A chunk is sealed when it is read,
 * always to the same bytes: it has to be the one that was committed to, because its nonce is for that one alone.
 */
function sealedSource(
  source: ByteSource,
  { name, bytes, leaves }: Part,
  cipher: ChunkCipher,
  first: number,
  onChunk: (bytes: number) => void,
): ByteSource {
  const count = Math.min(BLOB_CHUNKS, leaves.length - first);
  const last = rangeOf(bytes, first + count - 1).length;
  const byteLength = (count - 1) * SEALED_CHUNK_BYTES + last + SEALED_CHUNK_OVERHEAD;
  /** Those that are looked at: as many as are under way, and one more. */
  const recent = new Map<number, Promise<Uint8Array>>();
  const seal = async (index: number): Promise<Uint8Array> => {
    const chunk = await readChunk(source, index);
    if (!equal(leafOf(chunk), leaves[index]!))
      throw new VouchError('bad-file', `${name}: the file was changed while it was read; publish it again`);
    onChunk(chunk.length);
    return cipher.seal(index, chunk);
  };
  return {
    byteLength,
    async read(offset, target) {
      demandWithin({ byteLength }, offset, target.byteLength);
      for (let at = offset; at < offset + target.byteLength; ) {
        const own = Math.floor(at / SEALED_CHUNK_BYTES);
        const sealed = recent.get(own) ?? seal(first + own);
        recent.set(own, sealed);
        for (const oldest of recent.keys()) if (recent.size > LANES + 1) recent.delete(oldest);
        const from = at - own * SEALED_CHUNK_BYTES;
        const piece = (await sealed).subarray(from, from + offset + target.byteLength - at);
        target.set(piece, at - offset);
        at += piece.length;
      }
    },
  };
}

/** A model's files in memory, each chunk of them checked. */
export interface ObtainedText {
  readonly manifest: ModelManifest;
  /** of the manifest */
  readonly digest: string;
  readonly releasePolicy: string;
  readonly architecture: TextArchitecture;
  /** where each part's file is; without `defaults`, which the manifest states */
  readonly files: Readonly<Partial<Record<Exclude<PartName, 'defaults'>, string>>>;
}

/**
 * Asks the brokers for the model's key, and writes its files into a folder in memory, chunk by chunk, each decrypted and
 * checked against the commitment first. Throws as `obtainModel`: `commitment-mismatch` and `seal-rejected` name part and
 * chunk, `bad-file` a chunk that is not there.
 */
export async function obtainText(
  bus: Bus,
  source: string,
  identity: Identity,
  model: string,
  open: (bytes: number) => Promise<MemoryFolder>,
  { kept, signal }: { readonly kept?: KeptChunks | undefined; readonly signal?: AbortSignal } = {},
): Promise<ObtainedText & { readonly folder: MemoryFolder }> {
  const published = await readManifest(bus, model);
  const { manifest, digest } = published;
  const architecture = textArchitecture(manifest);
  const key = await obtainKey(bus, source, identity, published);
  const limits = { kept, ...(signal ? { signal } : {}) };
  const sealed = await getBlob(bus, PLACE, manifest.sealedModel, {
    ...limits,
    maxBytes: 2 * MAX_INDEX_BYTES,
  });
  const secret = await decryptBlob(key, sealed, modelAad(model, manifest.commitment));
  const { parts } = openIndex(secret, manifest);
  const wanted = parts.filter(({ name }) => name !== 'defaults');
  const folder = await open(wanted.reduce((sum, { bytes }) => sum + bytes, 0));
  try {
    const files: Partial<Record<PartName, string>> = {};
    for (const part of wanted) {
      const { name, blobs, leaves } = part;
      const cipher = chunkCipher(key, {
        model,
        commitment: manifest.commitment,
        part: name,
        chunks: leaves.length,
      });
      const file = await folder.create(
        `${name}${name === 'weights' && architecture.format === 'gguf' ? '.gguf' : ''}`,
      );
      files[name] = file.path;
      for (const [b, blob] of blobs.entries()) {
        const inside = await getManifest(bus, PLACE, blob, {
          ...limits,
          maxBytes: BLOB_CHUNKS * SEALED_CHUNK_BYTES,
        });
        const encrypted = blobSource(bus, PLACE, inside, limits);
        const first = b * BLOB_CHUNKS;
        await inLanes(first, Math.min(first + BLOB_CHUNKS, leaves.length), async (index) => {
          signal?.throwIfAborted();
          const { offset, length } = rangeOf(part.bytes, index);
          const room = new Uint8Array(length + SEALED_CHUNK_OVERHEAD);
          const at = (index - first) * SEALED_CHUNK_BYTES;
          if (at + room.length > encrypted.byteLength)
            throw new VouchError('bad-file', `model ${model}: chunk ${index} of part ${name} is not there`);
          await encrypted.read(at, room);
          const chunk = await cipher.open(index, room);
          if (!equal(leafOf(chunk), leaves[index]!))
            throw new VouchError(
              'commitment-mismatch',
              `model ${model}: chunk ${index} of part ${name} is not the one that the commitment names`,
            );
          await file.write(offset, chunk);
        });
      }
      await file.seal();
    }
    return { manifest, digest, releasePolicy: manifest.policy, architecture, files, folder };
  } catch (error) {
    await folder[Symbol.asyncDispose]();
    throw error;
  } finally {
    key.fill(0);
    secret.fill(0);
  }
}

/** Runs `work` on the numbers from `first` to before `end`, some at a time; the first failure stops the rest. */
async function inLanes(first: number, end: number, work: (index: number) => Promise<void>): Promise<void> {
  let next = first;
  let failed = false;
  const lane = async () => {
    while (!failed && next < end) {
      await work(next++).catch((error: unknown) => {
        failed = true;
        throw error;
      });
    }
  };
  await Promise.all(Array.from({ length: LANES }, lane));
}
