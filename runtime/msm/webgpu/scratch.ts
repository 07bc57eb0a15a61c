/**
 * Memory of the device that sums share: buffers that are kept from sum to sum and grow with them. So one sum is made at a
 * time.
 */
import { VouchError } from '../../../protocols/errors.ts';
import type { Queue } from './queue.ts';

export interface Scratch {
  /** A buffer that is kept from sum to sum, at least that large; what is in it may be anything. */
  room(name: string, bytes: number): Promise<GPUBuffer>;
  /** One at a time: all share these buffers. */
  inTurn<T>(work: () => Promise<T>): Promise<T>;
  /** Gives the buffers back; what comes later rejects with `not-ready`. */
  close(): void;
}

export function createScratch(queue: Queue): Scratch {
  const buffers = new Map<string, GPUBuffer>();
  /** buffers that were too small, and may be in use until the turn ends */
  const outgrown: GPUBuffer[] = [];
  let turn: Promise<unknown> = Promise.resolve();
  let closed = false;

  return {
    async room(name: string, bytes: number): Promise<GPUBuffer> {
      const known = buffers.get(name);
      if (known && known.size >= bytes) return known;
      if (known) outgrown.push(known);
      buffers.delete(name);
      const buffer = await queue.buffer(name, bytes);
      buffers.set(name, buffer);
      return buffer;
    },

    inTurn<T>(work: () => Promise<T>): Promise<T> {
      const mine = turn.then(async () => {
        if (closed) throw new VouchError('not-ready', 'the GPU engine is closed');
        try {
          return await work();
        } finally {
          for (const buffer of outgrown.splice(0)) buffer.destroy();
        }
      });
      turn = mine.catch(() => {});
      return mine;
    },

    close() {
      closed = true;
      for (const buffer of buffers.values()) buffer.destroy();
      buffers.clear();
    },
  };
}
