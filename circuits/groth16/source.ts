/**
 * Bytes that need not be in memory: a file, a Blob, an array. Files of gigabytes are read where they are needed,
 * straight into the buffer of whoever computes with them, which may be shared with its threads.
 *
 * A source is believed to keep still: what was checked when a file was opened is not checked again at every read, so
 * whoever relies on a digest must take it from the same source (runtime/home/file-source.ts).
 */
import { VouchError } from '../../protocols/errors.ts';

/** Where something lies in a file, in bytes. */
export interface Range {
  readonly offset: number;
  readonly length: number;
}

export interface ByteSource {
  readonly byteLength: number;
  /**
   * Fills `target`, also one in shared memory, with the bytes from `offset` on. RangeError when they are not within the
   * source, `bad-file` when they cannot be read.
   */
  read(offset: number, target: Uint8Array): Promise<void>;
}

/** Where bytes go that need not be in memory at once: a file, an array. */
export interface ByteSink {
  /** Bytes from `offset` on, in any order; all of what ends up before the last of them has to be written once. */
  write(offset: number, bytes: Uint8Array): Promise<void>;
}

/** A sink whose bytes are in memory. */
export function bytesSink(): ByteSink & { bytes(): Uint8Array<ArrayBuffer> } {
  let room = new Uint8Array(2 ** 16);
  let length = 0;
  return {
    bytes: () => room.slice(0, length),
    async write(offset, bytes) {
      length = Math.max(length, offset + bytes.byteLength);
      if (length > room.byteLength) {
        const larger = new Uint8Array(2 * length);
        larger.set(room);
        room = larger;
      }
      room.set(bytes, offset);
    },
  };
}

/** A Blob is read in pieces: each is in memory twice for a moment. */
const BLOB_PIECE_BYTES = 4 * 1024 * 1024;

export const bytesSource = (bytes: Uint8Array): ByteSource => ({
  byteLength: bytes.byteLength,
  read: async (offset, target) => {
    demandWithin(bytes, offset, target.byteLength);
    target.set(bytes.subarray(offset, offset + target.byteLength));
  },
});

/** What a file input or a fetch gives in a browser. */
export const blobSource = (blob: Blob): ByteSource => ({
  byteLength: blob.size,
  read: async (offset, target) => {
    demandWithin({ byteLength: blob.size }, offset, target.byteLength);
    for (let at = 0; at < target.byteLength; at += BLOB_PIECE_BYTES) {
      const end = Math.min(at + BLOB_PIECE_BYTES, target.byteLength);
      const piece = await blob
        .slice(offset + at, offset + end)
        .arrayBuffer()
        .catch((cause: unknown) => {
          throw new VouchError('bad-file', 'the file cannot be read; was it changed or removed?', { cause });
        });
      target.set(new Uint8Array(piece), at);
    }
  },
});

/** RangeError unless `length` bytes from `offset` on are within `whole`. */
export function demandWithin(whole: { readonly byteLength: number }, offset: number, length: number): void {
  if (!Number.isSafeInteger(offset) || offset < 0 || offset + length > whole.byteLength) {
    throw new RangeError(`bytes ${offset} to ${offset + length} are not within ${whole.byteLength}`);
  }
}

/**
 * A parser says which range it wants and is given its bytes, so that one parser reads memory and files. It must have
 * checked that the range is within the file, and bounded its length.
 */
export type Parser<T> = Generator<Range, T, Uint8Array>;

/** Runs a parser over bytes in memory; it is given views. */
export function parseBytes<T>(file: Uint8Array, parser: Parser<T>): T {
  let step = parser.next();
  while (!step.done) {
    const { offset, length } = step.value;
    step = parser.next(file.subarray(offset, offset + length));
  }
  return step.value;
}

/** Runs a parser over a source; it is given copies. */
export async function parseSource<T>(source: ByteSource, parser: Parser<T>): Promise<T> {
  let step = parser.next();
  while (!step.done) {
    const bytes = new Uint8Array(step.value.length);
    await source.read(step.value.offset, bytes);
    step = parser.next(bytes);
  }
  return step.value;
}
