/**
 * Publishing and obtaining a model that answers in text: its files are committed to, encrypted and stored chunk by chunk, and
 * come back into memory chunk by chunk, each checked against the commitment before anything reads it. A file may have any
 * size: a few chunks of it are in memory at a time (protocols/weights.ts has the formats).
 */
import { type ByteSource, bytesSource, demandWithin } from '../../circuits/groth16/source.ts';
import { equal, randomBytes, sha256Hex, utf8 } from '../../protocols/encoding.ts';
import { VouchError } from '../../protocols/errors.ts';
import type { ModelManifest } from '../../protocols/manifest.ts';
import { decryptBlob, encryptBlob, generateBlobKey } from '../../protocols/sealing.ts';
import { TEXT_TERMS } from '../../protocols/terms.ts';
import {
  BLOB_CHUNKS,
  chunksOf,
  defaultsBytes,
  encodeIndex,
  MAX_INDEX_BYTES,
  openIndex,
  type Part,
  type TextArchitecture,
  textArchitecture,
  type WeightsIndex,
  weightsCommitment,
} from '../../protocols/weights.ts';
import {
  type ChunkCipher,
  type ChunkPlace,
  chunkCipher,
  demandLeaf,
  leafOf,
  PARTS,
  type PartName,
  SEALED_CHUNK_OVERHEAD,
  WEIGHTS_CHUNK_BYTES,
} from '../../protocols/weights-chunks.ts';
import type { Identity } from '../attest/identity.ts';
import { openFile } from '../home/file-source.ts';
import type { KeptChunks } from '../home/kept-chunks.ts';
import type { MemoryFolder } from '../home/memory-folder.ts';
import { blobSource, getBlob, getManifest, type Place, putBlob } from '../nats/blobs.ts';
import type { Bus } from '../nats/bus.ts';
import { modelAad } from './broker-store.ts';
import { obtainKey, readManifest } from './obtain.ts';
import { type SealedChunk, startOpeners } from './opening.ts';
import { type Offer, publishSealed } from './publish.ts';

const SEALED_CHUNK_BYTES = WEIGHTS_CHUNK_BYTES + SEALED_CHUNK_OVERHEAD;
const PLACE: Place = { shelf: 'sealedModels', writer: 'the vendor' };
/** Chunks that are encrypted while one is sent: a few more are looked at than are on their way. */
const RECENT = 5;

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

/**
 * The name under which an encrypted chunk is kept: no digest of it, because seal and leaf say whether it is the one. Whose it is is in
 * it, so that a vendor who names another's blobs does not get another's chunks removed as wrong.
 */
const nameOf = ({ model, commitment, part }: ChunkPlace, index: number, blob: string): string =>
  sha256Hex(utf8(`vouch/v1/kept-weights/${model}/${commitment}/${part}/${index}/${blob}`));

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
        for (const oldest of recent.keys()) if (recent.size > RECENT) recent.delete(oldest);
        const from = at - own * SEALED_CHUNK_BYTES;
        const piece = (await sealed).subarray(from, from + offset + target.byteLength - at);
        target.set(piece, at - offset);
        at += piece.length;
      }
    },
  };
}

/** A model whose files are there, each chunk of them compared with the commitment. */
export interface ObtainedText extends AsyncDisposable {
  readonly manifest: ModelManifest;
  /** of the manifest */
  readonly digest: string;
  readonly releasePolicy: string;
  readonly architecture: TextArchitecture;
  /** where each part's file is; `defaults` are in the architecture */
  readonly files: Readonly<TextFiles>;
}
export type TextFiles = Partial<Record<Exclude<PartName, 'defaults'>, string>>;

/** Who asks for a model, as `obtainModel` has it. */
type Asking = readonly [bus: Bus, source: string, identity: Identity, model: string];

export interface ObtainOptions {
  /** Where encrypted chunks are kept, and looked for first. */
  readonly kept?: KeptChunks | undefined;
  readonly signal?: AbortSignal | undefined;
}

/**
 * Asks the brokers for the model's key, and writes its files into a folder in memory, chunk by chunk, each decrypted and
 * checked against the commitment first; they are there until it is disposed. Throws as `obtainModel`: `commitment-mismatch`
 * and `seal-rejected` name part and chunk, `bad-file` a chunk that is not there.
 */
export async function obtainText(
  asking: Asking,
  makeFolder: (bytes: number) => Promise<MemoryFolder>,
  options: ObtainOptions = {},
): Promise<ObtainedText> {
  const [bus] = asking;
  // The first chunk that fails ends the others.
  const stop = new AbortController();
  const signal = AbortSignal.any([stop.signal, ...(options.signal ? [options.signal] : [])]);
  const limits = { kept: options.kept, signal };
  return withIndex(asking, options, async ({ wanted, obtained, key }) => {
    const { name: model, commitment } = obtained.manifest;
    const folder = await makeFolder(wanted.reduce((sum, { bytes }) => sum + bytes, 0));
    try {
      const files: TextFiles = {};
      for (const { name, bytes, leaves, blobs } of wanted) {
        const gguf = name === 'weights' && obtained.architecture.format === 'gguf';
        const file = await folder.create(gguf ? 'weights.gguf' : name);
        files[name] = file.path;
        const place = { model, commitment, part: name, chunks: leaves.length };
        await using openers = startOpeners(key, place);
        for (const [b, blob] of blobs.entries()) {
          const maxBytes = BLOB_CHUNKS * SEALED_CHUNK_BYTES;
          const inside = await getManifest(bus, PLACE, blob, { ...limits, maxBytes });
          // Its chunks are kept by us, as what opens: the server's may be cut in another way.
          const encrypted = blobSource(bus, PLACE, inside, { signal });
          const first = b * BLOB_CHUNKS;
          const end = Math.min(first + BLOB_CHUNKS, leaves.length);
          await inLanes(openers.lanes, first, end, stop, async (index) => {
            if (signal.aborted) throw new VouchError('cancelled', `model ${model}: loading was cancelled`);
            const { offset, length } = rangeOf(bytes, index);
            const sealedBytes = length + SEALED_CHUNK_OVERHEAD;
            const open = (sealed: SealedChunk['sealed']) =>
              openers.open({
                index,
                leaf: leaves[index]!,
                bytes: length,
                sealed,
                target: { file: file.path, offset },
              });
            const keptAs = nameOf(place, index, blob);
            if (await options.kept?.open(keptAs, (path) => unlessRefused(open(path)))) return;
            const sealed = new Uint8Array(sealedBytes);
            const at = (index - first) * SEALED_CHUNK_BYTES;
            if (at + sealedBytes > encrypted.byteLength)
              throw new VouchError('bad-file', `model ${model}: chunk ${index} of part ${name} is not there`);
            await encrypted.read(at, sealed);
            const given = await open(sealed);
            await options.kept?.put(keptAs, given);
          });
        }
        await file.seal();
      }
      return { ...obtained, files, [Symbol.asyncDispose]: () => folder[Symbol.asyncDispose]() };
    } catch (error) {
      await folder[Symbol.asyncDispose]();
      throw error;
    }
  });
}

/**
 * The same for files that lie here already, those that a server beside this process was started with: each chunk is compared
 * with the commitment. What that server has read, and whether it still is that file, nobody sees.
 */
export async function compareText(
  asking: Asking,
  files: TextFiles,
  options: ObtainOptions = {},
): Promise<ObtainedText> {
  return withIndex(asking, options, async ({ wanted, obtained }) => {
    const { name: model } = obtained.manifest;
    for (const { name, bytes, leaves } of wanted) {
      const path = files[name];
      if (path === undefined)
        throw new VouchError('bad-input', `model ${model}: expected the file of part ${name}, got none`);
      await using file = await openFile(path, name);
      if (file.byteLength !== bytes)
        throw new VouchError(
          'commitment-mismatch',
          `model ${model}: part ${name} has ${bytes} bytes by its commitment, ${path} has ${file.byteLength}`,
        );
      for (let index = 0; index < leaves.length; index++)
        demandLeaf(model, name, index, await readChunk(file, index), leaves[index]!);
    }
    return { ...obtained, files, async [Symbol.asyncDispose]() {} };
  });
}

/** What was opened; undefined where it is not there, or not what it should be. */
const unlessRefused = <T>(opened: Promise<T>): Promise<T | undefined> =>
  opened.catch((error: unknown) => {
    if (!(error instanceof VouchError) || !REFUSALS.has(error.code)) throw error;
    return undefined;
  });
const REFUSALS: ReadonlySet<string> = new Set(['bad-file', 'seal-rejected', 'commitment-mismatch']);

type Wanted = Omit<WeightsIndex['parts'][number], 'name'> & { readonly name: keyof TextFiles };

/** Obtains key and index, and forgets them when `work` is done. */
async function withIndex<T>(
  [bus, source, identity, model]: Asking,
  { kept, signal }: ObtainOptions,
  work: (opened: {
    readonly wanted: readonly Wanted[];
    readonly obtained: Omit<ObtainedText, 'files' | typeof Symbol.asyncDispose>;
    readonly key: Uint8Array;
  }) => Promise<T>,
): Promise<T> {
  const published = await readManifest(bus, model);
  const { manifest, digest } = published;
  const { commitment } = manifest;
  const architecture = textArchitecture(manifest);
  const key = await obtainKey(bus, source, identity, published);
  try {
    const limits = { kept, ...(signal ? { signal } : {}), maxBytes: 2 * MAX_INDEX_BYTES };
    const sealed = await getBlob(bus, PLACE, manifest.sealedModel, limits);
    const secret = await decryptBlob(key, sealed, modelAad(model, commitment));
    const { parts } = openIndex(secret, manifest);
    return await work({
      wanted: parts.filter((part): part is Wanted => part.name !== 'defaults'),
      obtained: { manifest, digest, releasePolicy: manifest.policy, architecture },
      key,
    });
  } finally {
    key.fill(0);
  }
}

/** Runs `work` on the numbers from `first` to before `end`, some at a time. Throws the first failure, once all have ended. */
async function inLanes(
  lanes: number,
  first: number,
  end: number,
  stop: AbortController,
  work: (index: number) => Promise<void>,
): Promise<void> {
  let next = first;
  const failures: unknown[] = [];
  const lane = async () => {
    while (failures.length === 0 && next < end) {
      await work(next++).catch((error: unknown) => {
        failures.push(error);
        stop.abort();
      });
    }
  };
  await Promise.all(Array.from({ length: lanes }, lane));
  if (failures.length > 0) throw failures[0];
}
