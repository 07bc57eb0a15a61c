/**
 * What this installation has seen to be right of a proving key, remembered by content: checking the points of a key
 * takes seconds. The memory is files in `.vouch/cache`, believed as the rest of that folder is; where it cannot be
 * written, the check is made again the next time.
 */
import { createHash } from 'node:crypto';
import { existsSync, readFileSync } from 'node:fs';
import { setImmediate as otherWork } from 'node:timers/promises';
import type { ByteSource } from '../../circuits/groth16/source.ts';
import { sha256Hex, utf8 } from '../../protocols/encoding.ts';
import { VouchError } from '../../protocols/errors.ts';
import type { FileSource } from '../home/file-source.ts';
import { folder, writeWhole } from '../home/home.ts';

const PIECE_BYTES = 1024 * 1024;
/** A file that changed so lately may change again without its times showing it. */
const SETTLED_MS = 2_000;

/** Runs a check that depends on content named by `what` alone, unless this installation has seen it pass. */
export async function checkOnce(what: string, check: () => Promise<void>): Promise<void> {
  const passed = folder('cache', 'checked-keys', sha256Hex(utf8(what)));
  if (existsSync(passed)) return;
  await check();
  await remember(passed, `${what}\n`);
}

/**
 * SHA-256 of a key. That of a file is remembered for as long as the file's version stays the same, because hashing
 * takes a good part of the time of a proof.
 */
export async function digestOf(key: ByteSource | FileSource, signal?: AbortSignal): Promise<string> {
  if (!('version' in key)) return hashOf(key, signal);
  const memory = folder('cache', 'digests', sha256Hex(utf8(key.path)));
  const [version, known] = existsSync(memory) ? readFileSync(memory, 'utf8').split('\n') : [];
  if (version === key.version && known !== undefined) return known;
  const digest = await hashOf(key, signal);
  if (Date.now() - key.changedAt > SETTLED_MS) await remember(memory, `${key.version}\n${digest}\n`);
  return digest;
}

async function hashOf(source: ByteSource, signal: AbortSignal | undefined): Promise<string> {
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

const remember = (file: string, text: string): Promise<void> => writeWhole(file, text).catch(() => undefined);
