/** Files of chunks, read and written at once by threads that have nothing else to do. */
import { closeSync, fstatSync, openSync, readSync, writeSync } from 'node:fs';
import type { Bytes } from '../../protocols/encoding.ts';
import { VouchError } from '../../protocols/errors.ts';

/** The whole of a file of exactly this size. Throws `bad-file`. */
export function readFrom(path: string, room: Bytes): Bytes {
  try {
    const file = openSync(path, 'r');
    try {
      if (fstatSync(file).size === room.length && readSync(file, room, 0, room.length, 0) === room.length)
        return room;
    } finally {
      closeSync(file);
    }
  } catch {
    // It says no more than that.
  }
  throw new VouchError('bad-file', `${path}: expected a file of ${room.length} bytes`);
}

/** Writes at a place of a file that is there. Throws `out-of-memory`: it is one in memory. */
export function writeTo(path: string, offset: number, bytes: Uint8Array): void {
  try {
    const file = openSync(path, 'r+');
    try {
      for (let at = 0; at < bytes.length; ) at += writeSync(file, bytes, at, bytes.length - at, offset + at);
    } finally {
      closeSync(file);
    }
  } catch (cause) {
    throw new VouchError('out-of-memory', `${path}: the weights do not fit in memory`, { cause });
  }
}
