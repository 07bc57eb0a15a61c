/**
 * What proving leaves for the next time in `.vouch/cache`: which keys were checked, their digests, tables of their
 * points, and what GPUs were measured to do. All of it may be deleted at any time. It is believed as the rest of
 * `.vouch` is: a changed table makes proofs that do not verify, and nothing worse. Where it cannot be written, the work
 * is done again in the next process.
 */
import { createHash } from 'node:crypto';
import { existsSync } from 'node:fs';
import { setImmediate as otherWork } from 'node:timers/promises';
import type { TableStore } from '../../circuits/groth16/engine.ts';
import type { ByteSource } from '../../circuits/groth16/source.ts';
import { sha256Hex, utf8 } from '../../protocols/encoding.ts';
import { VouchError } from '../../protocols/errors.ts';
import type { TuningStore } from '../gpu/autotune.ts';
import { keepWithin } from '../home/bounded-folder.ts';
import { type FileSource, openFile } from '../home/file-source.ts';
import { readTextIfThere, writeWhole } from '../home/files.ts';
import { folder } from '../home/home.ts';
import { type KeptChunks, keepChunks } from '../home/kept-chunks.ts';

const PIECE_BYTES = 1024 * 1024;
/** A file that changed so lately may change again without its times showing it. */
const SETTLED_MS = 2_000;

/** Runs a check that depends on content named by `what` alone, unless this installation has seen it pass. */
export async function checkOnce(what: string, check: () => Promise<void>): Promise<void> {
  if (hasPassed(what)) return;
  await check();
  await remember(recordOf(what), `${what}\n`);
}
const recordOf = (what: string) => folder('cache', 'checked-keys', sha256Hex(utf8(what)));
const hasPassed = (what: string) => existsSync(recordOf(what)) || unwritten.has(recordOf(what));

/** The check of a key's points, by the key's digest. */
const pointsOf = (digest: string) => `points of ${digest}`;

export const checkPointsOnce = async (key: ByteSource, check: () => Promise<void>, signal?: AbortSignal) =>
  checkOnce(pointsOf(await digestOf(key, signal)), check);

/** Whether a key's points were checked, as far as that shows without reading the key. */
export function pointsWereChecked(key: ByteSource | FileSource): boolean {
  const digest = 'version' in key ? knownDigest(key) : undefined;
  return digest !== undefined && hasPassed(pointsOf(digest));
}

/**
 * SHA-256 of a key. That of a file is remembered for as long as the file's version stays the same, because hashing
 * takes a good part of the time of a proof.
 */
export async function digestOf(key: ByteSource | FileSource, signal?: AbortSignal): Promise<string> {
  if (!('version' in key)) return hashOf(key, signal);
  const known = knownDigest(key);
  if (known !== undefined) return known;
  const digest = await hashOf(key, signal);
  if (Date.now() - key.changedAt > SETTLED_MS) await remember(digestFile(key), `${key.version}\n${digest}\n`);
  return digest;
}

const digestFile = ({ path }: FileSource) => folder('cache', 'digests', sha256Hex(utf8(path)));
function knownDigest(key: FileSource): string | undefined {
  const [version, digest] = remembered(digestFile(key))?.split('\n') ?? [];
  return version === key.version ? digest : undefined;
}

/** SHA-256 of all that a source has now. */
export async function hashOf(source: ByteSource, signal?: AbortSignal): Promise<string> {
  const hash = createHash('sha256');
  const piece = new Uint8Array(Math.min(PIECE_BYTES, source.byteLength));
  for (let at = 0; at < source.byteLength; at += piece.byteLength) {
    await otherWork();
    if (signal?.aborted) throw new VouchError('cancelled', 'reading the proving key was cancelled');
    const part = piece.subarray(0, source.byteLength - at);
    await source.read(at, part);
    hash.update(part);
  }
  return hash.digest('hex');
}

/** Of each of the folders that requests fill: keys and test sets, compiled circuits, tables of keys' points. */
const MAX_CACHE_BYTES = 16 * 1024 ** 3;
/** Of a worker's base points: the points of one key of 2^24 rows, or of a hundred of 2^17. */
const MAX_BASE_BYTES = 8 * 1024 ** 3;
/** Of encrypted weights: a model of 120 billion parameters of 16 bits. */
const MAX_WEIGHTS_BYTES = 256 * 1024 ** 3;

/** What a coordinator has read of keys and test sets; within its budget at any time, whoever asks for whatever. */
export const coordinatorChunks = (): KeptChunks => keepChunks(folder('cache', 'blobs'), MAX_CACHE_BYTES);

/** What the workers of this host have read of keys. */
export const workerChunks = (maxBytes = MAX_BASE_BYTES, onFull?: (reason: string) => void): KeptChunks =>
  keepChunks(folder('cache', 'bases'), maxBytes, onFull);

/** What the runners of this host have read of models that answer in text, as it is stored: encrypted. */
export const weightsChunks = (maxBytes = MAX_WEIGHTS_BYTES, onFull?: (reason: string) => void): KeptChunks =>
  keepChunks(folder('cache', 'weights'), maxBytes, onFull);

/** After a request: whoever asks for one new circuit after another must not fill the disk. */
export async function trimCaches(): Promise<void> {
  for (const name of ['circuits', 'tables']) await keepWithin(folder('cache', name), MAX_CACHE_BYTES);
}

/** Tables of proving keys' points, a file each. */
export const tableStore: TableStore = {
  async read(name, target) {
    try {
      await using file = await openFile(folder('cache', 'tables', name), 'table');
      if (file.byteLength !== target.byteLength) return false;
      await file.read(0, target);
      return true;
    } catch {
      // It is made again, as with all that cannot be read here.
      return false;
    }
  },
  write: (name, bytes) => remember(folder('cache', 'tables', name), bytes),
};

/** What GPUs were measured to do (gpu/autotune.ts), a file each. */
export function tuningStore(): TuningStore {
  const fileOf = (key: string) => folder('cache', 'gpu', `${sha256Hex(utf8(key)).slice(0, 16)}.json`);
  return {
    read: async (key) => remembered(fileOf(key)),
    write: (key, text) => writeWhole(fileOf(key), text),
  };
}

/** A file that cannot be read is one that is not there: the work is done again. */
function remembered(file: string): string | undefined {
  try {
    return readTextIfThere(file, 'cache') ?? unwritten.get(file);
  } catch {
    return unwritten.get(file);
  }
}

/** Lines that could not be written, by their files: in a folder that only others write, this process remembers them. */
const unwritten = new Map<string, string>();

/** A full disk costs the next process its time, not this one its proof. */
const remember = (file: string, data: string | Uint8Array): Promise<void> =>
  writeWhole(file, data).catch(() => {
    if (typeof data === 'string') unwritten.set(file, data);
  });
