/**
 * Blobs (proving keys, test sets, sealed models) in a stream for each kind: chunks addressed by their writer and the
 * SHA-256 of their bytes, and a manifest, itself such a chunk, that lists them. A blob is named by its manifest's digest.
 *
 * What is read is checked against its digest, so neither the server nor its writer can change a blob; either can make
 * it unreadable. Nobody writes under another's id (rights.ts), so what somebody stores under a digest that is not its
 * own spoils his blobs only, and storing the right bytes again mends them. Blobs are not encrypted here; who may read a
 * kind is in rights.ts.
 */
import { createHash } from 'node:crypto';
import { z } from 'zod';
import { type ByteSource, bytesSource, demandWithin } from '../../circuits/groth16/source.ts';
import { VouchError } from '../../protocols/errors.ts';
import { CHUNK_BYTES, STREAMS } from '../../protocols/streams.ts';
import { subjects } from '../../protocols/subjects.ts';
import type { KeptChunks } from '../home/kept-chunks.ts';
import type { Bus } from './bus.ts';
import { retry } from './retry.ts';

const Digest = z.string().regex(/^[0-9a-f]{64}$/);
/** Their manifest, about 95 bytes each, still fits one chunk. */
const MAX_CHUNKS = 5_000;
/**
 * Beyond this many, chunks are larger, so that a heartbeat can name a good part of those that a worker has: just under 2 MiB,
 * the most that a client may send, for the key of 2^22 rows.
 */
const AIMED_CHUNKS = 2_048;
const LARGEST_CHUNK_BYTES = 4 * 1024 * 1024;
/** Of a blob, whoever stored it: 20 GB. What a client may send makes 10 GB at most, a key of 2^24 rows. */
export const MAX_BLOB_BYTES = MAX_CHUNKS * LARGEST_CHUNK_BYTES;
/** Chunks that an open blob has in memory, so that what is read in small parts is not fetched for each. */
const RECENT_BYTES = 64 * 1024 * 1024;
const Manifest = z.object({
  type: z.literal('vouch.blob'),
  version: z.literal(1),
  /** bytes */
  size: z.int().min(0),
  chunks: z.array(z.object({ sha256: Digest, size: z.int().min(1) })).max(MAX_CHUNKS),
});
export type Manifest = z.infer<typeof Manifest>;

/** Chunks on their way at once: enough to hide the round trip, few enough to stay small in memory. */
const IN_FLIGHT = 4;
/** How long NATS may be away before a transfer fails. */
const PATIENCE_MS = 30_000;

/** The kinds of blob, each with its stream and the subject of a chunk there. */
const SHELVES = {
  /** public: proving keys and what belongs to them */
  keys: { stream: STREAMS.keys, subject: subjects.key },
  /** in plaintext, for their client and the coordinators */
  testSets: { stream: STREAMS.testSets, subject: subjects.testSet },
  /** ciphertext; the provisioner alone writes them, so there is no writer to name */
  sealedModels: {
    stream: STREAMS.sealedModels,
    subject: (_: string, sha256: string) => subjects.sealedModel(sha256),
  },
} as const;
export type Shelf = keyof typeof SHELVES;

/** Where a blob lies: its kind, and the id of who stored it. */
export interface Place {
  readonly shelf: Shelf;
  readonly writer: string;
}

export interface PutOptions {
  /** default: by the blob's size, and never more than the server's limit allows */
  readonly chunkBytes?: number;
  /** bytes that are stored so far, those found there included */
  readonly onProgress?: (done: number, total: number) => void;
  readonly signal?: AbortSignal;
}

export interface GetOptions {
  /** A larger blob is refused before anything is allocated. */
  readonly maxBytes: number;
  /** Where chunks are kept by digest, and looked for first. */
  readonly kept?: KeptChunks | undefined;
  readonly onProgress?: (done: number, total: number) => void;
  readonly signal?: AbortSignal;
}

const sha256 = (bytes: Uint8Array): string => createHash('sha256').update(bytes).digest('hex');

/** How large the chunks of a blob are: CHUNK_BYTES, doubled until they are few, and `most` at most. */
function chunkBytesOf(byteLength: number, most: number): number {
  const limit = Math.min(LARGEST_CHUNK_BYTES, most);
  let size = Math.min(CHUNK_BYTES, limit);
  while (byteLength > AIMED_CHUNKS * size && size < limit) size = Math.min(2 * size, limit);
  return size;
}

const encodedManifest = (
  size: number,
  chunks: Manifest['chunks'],
): { digest: string; manifest: Manifest; encoded: Uint8Array } => {
  const manifest: Manifest = { type: 'vouch.blob', version: 1, size, chunks };
  const encoded = new TextEncoder().encode(JSON.stringify(manifest));
  return { digest: sha256(encoded), manifest, encoded };
};

function demandChunks(byteLength: number, chunkBytes: number): void {
  if (byteLength <= MAX_CHUNKS * chunkBytes) return;
  throw new VouchError(
    'too-large',
    `blob: expected at most ${MAX_CHUNKS * chunkBytes} bytes, got ${byteLength}`,
  );
}

/** How `bytes` are cut, without storing anything. The blob's digest is that of the encoded manifest. */
export function manifestOf(
  bytes: Uint8Array,
  chunkBytes = chunkBytesOf(bytes.length, LARGEST_CHUNK_BYTES),
): { digest: string; manifest: Manifest; encoded: Uint8Array } {
  demandChunks(bytes.length, chunkBytes);
  const chunks: Manifest['chunks'] = [];
  for (let at = 0; at < bytes.length; at += chunkBytes) {
    const chunk = bytes.subarray(at, at + chunkBytes);
    chunks.push({ sha256: sha256(chunk), size: chunk.length });
  }
  return encodedManifest(bytes.length, chunks);
}

/**
 * Stores a blob under the id of this connection and returns its digest; of a source that is not in memory, some chunks at a
 * time. What is there already, byte for byte, is not sent again, so an interrupted call may simply be repeated; what lies
 * there and is something else is replaced. Throws `too-large`, `storage-full`, `cancelled`, and what source and bus throw.
 */
export async function putBlob(
  bus: Bus,
  shelf: Shelf,
  blob: Uint8Array | ByteSource,
  options: PutOptions = {},
): Promise<{ digest: string; manifest: Manifest }> {
  const { onProgress, signal } = options;
  const source = blob instanceof Uint8Array ? bytesSource(blob) : blob;
  const { byteLength } = source;
  const room = bus.server.maxPayload - 1024;
  const chunkBytes = Math.min(options.chunkBytes ?? chunkBytesOf(byteLength, room), room);
  demandChunks(byteLength, chunkBytes);
  const place: Place = { shelf, writer: bus.id };
  let done = 0;
  const chunks: { sha256: string; size: number }[] = [];
  const places = Array.from({ length: Math.ceil(byteLength / chunkBytes) }, (_, index) => index);
  await eachOf(places, signal, async (index) => {
    const at = index * chunkBytes;
    const bytes = new Uint8Array(Math.min(chunkBytes, byteLength - at));
    await source.read(at, bytes);
    const digest = sha256(bytes);
    chunks[index] = { sha256: digest, size: bytes.byteLength };
    await putChunk(bus, place, bytes, digest, signal);
    done += bytes.byteLength;
    onProgress?.(done, byteLength);
  });
  const { digest, manifest, encoded } = encodedManifest(byteLength, chunks);
  // Last, so that a manifest that can be read is one whose chunks are there.
  await putChunk(bus, place, encoded, digest, signal);
  return { digest, manifest };
}

/** Reads and checks a whole blob. Throws `too-large`, `bad-file` (missing, or not what its digest says), `cancelled`. */
export async function getBlob(
  bus: Bus,
  from: Place,
  digest: string,
  options: GetOptions,
): Promise<Uint8Array> {
  const manifest = await getManifest(bus, from, digest, options);
  const bytes = new Uint8Array(manifest.size);
  let at = 0;
  const places = manifest.chunks.map((chunk) => {
    const place = { ...chunk, at };
    at += chunk.size;
    return place;
  });
  let done = 0;
  await eachOf(places, options.signal, async (place) => {
    const chunk = await getChunk(bus, from, place.sha256, options);
    if (chunk.length !== place.size) {
      throw new VouchError(
        'bad-file',
        `blob ${digest}: chunk ${place.sha256} has ${chunk.length} bytes, its manifest says ${place.size}`,
      );
    }
    bytes.set(chunk, place.at);
    done += place.size;
    options.onProgress?.(done, manifest.size);
  });
  return bytes;
}

/**
 * A blob of which only the chunks that are looked at are read, each checked; those read last stay in memory. Its manifest
 * is one that `getManifest` gave. Throws as `getChunk` does.
 */
export function blobSource(
  bus: Bus,
  place: Place,
  manifest: Manifest,
  options: Pick<GetOptions, 'kept' | 'signal'>,
): ByteSource {
  const chunkBytes = manifest.chunks[0]?.size ?? 1;
  /** By number, the one that was used last last. */
  const recent = new Map<number, Promise<Uint8Array>>();
  const most = Math.max(2, Math.floor(RECENT_BYTES / chunkBytes));
  const fetchChunk = async (index: number): Promise<Uint8Array> => {
    const { sha256: digest, size } = manifest.chunks[index]!;
    const chunk = await getChunk(bus, place, digest, options);
    if (chunk.length !== size)
      throw new VouchError('bad-file', `chunk ${digest}: expected ${size} bytes, got ${chunk.length}`);
    return chunk;
  };
  const chunkAt = (index: number): Promise<Uint8Array> => {
    const chunk = recent.get(index) ?? fetchChunk(index);
    recent.delete(index);
    recent.set(index, chunk);
    // One that could not be read is asked for again.
    chunk.catch(() => {
      if (recent.get(index) === chunk) recent.delete(index);
    });
    for (const oldest of recent.keys()) {
      if (recent.size <= most) break;
      recent.delete(oldest);
    }
    return chunk;
  };
  return {
    byteLength: manifest.size,
    async read(offset, target) {
      demandWithin({ byteLength: manifest.size }, offset, target.byteLength);
      const end = offset + target.byteLength;
      for (let at = offset; at < end; ) {
        const index = Math.floor(at / chunkBytes);
        const chunk = await chunkAt(index);
        const from = at - index * chunkBytes;
        const length = Math.min(chunk.byteLength - from, end - at);
        target.set(chunk.subarray(from, from + length), at - offset);
        at += length;
      }
    },
  };
}

/** Reads and checks a blob's manifest. Throws `too-large`, `bad-file`. */
export async function getManifest(
  bus: Bus,
  from: Place,
  digest: string,
  options: Pick<GetOptions, 'maxBytes' | 'kept' | 'signal'>,
): Promise<Manifest> {
  const encoded = await getChunk(bus, from, digest, options);
  let manifest: Manifest;
  try {
    manifest = Manifest.parse(JSON.parse(new TextDecoder().decode(encoded)));
  } catch {
    throw new VouchError(
      'bad-file',
      `blob ${digest}: expected a manifest (vouch.blob, version 1), got something else`,
    );
  }
  const total = manifest.chunks.reduce((sum, chunk) => sum + chunk.size, 0);
  if (total !== manifest.size) {
    throw new VouchError(
      'bad-file',
      `blob ${digest}: its chunks add up to ${total} bytes, its manifest says ${manifest.size}`,
    );
  }
  if (total > options.maxBytes) {
    throw new VouchError(
      'too-large',
      `blob ${digest}: expected at most ${options.maxBytes} bytes, it has ${total}`,
    );
  }
  // Whoever reads a part finds it by dividing: uneven chunks would be one blob as a whole and another in parts.
  const length = manifest.chunks[0]?.size ?? 0;
  const uneven = manifest.chunks.findIndex(
    ({ size }, index) => size > length || (size < length && index < manifest.chunks.length - 1),
  );
  if (uneven >= 0) {
    throw new VouchError(
      'bad-file',
      `blob ${digest}: chunk ${uneven} has ${manifest.chunks[uneven]!.size} bytes, expected ${length} as all but the last`,
    );
  }
  return manifest;
}

/** One chunk by its SHA-256, from the cache or from NATS, checked. Throws `bad-file` when it is missing or wrong. */
export async function getChunk(
  bus: Bus,
  from: Place,
  digest: string,
  options: Pick<GetOptions, 'kept' | 'signal'> = {},
): Promise<Uint8Array> {
  const { kept, signal } = options;
  if (!Digest.safeParse(digest).success) {
    throw new VouchError(
      'bad-input',
      `chunk: expected a lower-case hex SHA-256, got ${JSON.stringify(digest.slice(0, 80))}`,
    );
  }
  const found = await kept?.get(digest);
  if (found) return found;
  const message = await lookUp(bus, from, digest, signal);
  if (message === undefined)
    throw new VouchError(
      'bad-file',
      `chunk ${digest}: ${from.writer} has not stored it on this NATS server; it has to be uploaded first`,
    );
  if (sha256(message.data) !== digest) {
    throw new VouchError(
      'bad-file',
      `chunk ${digest}: what is stored under this digest has another one; ${from.writer} has to store it again`,
    );
  }
  await kept?.put(digest, message.data);
  return message.data;
}

function lookUp(bus: Bus, { shelf, writer }: Place, digest: string, signal: AbortSignal | undefined) {
  const { stream, subject } = SHELVES[shelf];
  return retry(() => bus.getLast(stream.name, subject(writer, digest)), { forMs: PATIENCE_MS, signal });
}

/**
 * Stores a chunk unless these very bytes lie there. What lies there is read back and compared: that a subject has a
 * message says nothing about which.
 */
async function putChunk(
  bus: Bus,
  place: Place,
  bytes: Uint8Array,
  digest: string,
  signal: AbortSignal | undefined,
): Promise<void> {
  const there = await lookUp(bus, place, digest, signal);
  if (there !== undefined && Buffer.compare(there.data, bytes) === 0) return;
  await bus.append(SHELVES[place.shelf].subject(place.writer, digest), bytes, {
    // Storing it twice is harmless: one message per subject is kept.
    msgId: crypto.randomUUID(),
    timeoutMs: 30_000,
    retryMs: PATIENCE_MS,
    ...(signal ? { signal } : {}),
  });
}

/** Runs `work` on every item, `IN_FLIGHT` at a time; the first failure stops the rest. */
async function eachOf<T>(
  items: readonly T[],
  signal: AbortSignal | undefined,
  work: (item: T) => Promise<void>,
): Promise<void> {
  let next = 0;
  let failed = false;
  const lane = async () => {
    while (!failed && next < items.length) {
      if (signal?.aborted) throw new VouchError('cancelled', 'blob: cancelled');
      try {
        await work(items[next++]!);
      } catch (error) {
        failed = true;
        throw error;
      }
    }
  };
  await Promise.all(Array.from({ length: IN_FLIGHT }, lane));
}
