/**
 * Who owns what of a shared WebAssembly memory: regions by address, first fit. What a region holds is cleared when it is
 * given back, unless it is said to be public, so that nothing secret outlives its use.
 */
import { VouchError } from '../../../protocols/errors.ts';

const PAGE_BYTES = 65_536;
/** What 32 bits address, but for the last page. */
export const MAX_BYTES = 2 ** 32 - PAGE_BYTES;
const ALIGNMENT = 64;

export interface Region {
  readonly at: number;
  readonly bytes: number;
}

export interface Arena {
  /** Its contents are anything. `too-large` when 4 GiB do not hold it, or the system has no more. */
  allocate(bytes: number): Region;
  /** Gives back all but its first bytes, which stay as they are; what lies behind them is public. */
  shrink(region: Region, bytes: number): Region;
  /** No thread may write to it any more. */
  release(region: Region, contents?: 'public'): void;
  /** The memory as it is now; a view made before an allocation may be too short. */
  bytes(region: Region): Uint8Array<ArrayBuffer>;
  /** Bytes in use. */
  readonly used: number;
}

/** `start`: the first address that is the arena's. */
export function createArena(memory: WebAssembly.Memory, start: number): Arena {
  /** Free regions below `top`, by address; no two touch. */
  let free: Region[] = [];
  let top = align(start);
  let used = 0;
  // Threads and this one take turns at a region; TypeScript keeps shared buffers apart, where they are used alike.
  const all = () => memory.buffer as unknown as ArrayBuffer;

  function take(bytes: number): number {
    const index = free.findIndex((region) => region.bytes >= bytes);
    if (index >= 0) {
      const { at, bytes: size } = free[index]!;
      free.splice(index, 1, ...(size > bytes ? [{ at: at + bytes, bytes: size - bytes }] : []));
      return at;
    }
    const last = free.at(-1);
    const at = last !== undefined && last.at + last.bytes === top ? last.at : top;
    const end = at + bytes;
    if (end > MAX_BYTES) {
      throw new VouchError(
        'too-large',
        `the prover needs ${bytes} bytes more than the 4 GiB that it can address`,
      );
    }
    if (end > all().byteLength) {
      try {
        memory.grow(Math.ceil((end - all().byteLength) / PAGE_BYTES));
      } catch (error) {
        throw new VouchError('too-large', `the system gives the prover no ${bytes} bytes more`, {
          cause: error,
        });
      }
    }
    if (at !== top) free.pop();
    top = end;
    return at;
  }

  function takeBack({ at, bytes }: Region): void {
    used -= bytes;
    const index = free.findIndex((region) => region.at > at);
    free.splice(index < 0 ? free.length : index, 0, { at, bytes });
    free = free.reduce<Region[]>((merged, region) => {
      const before = merged.at(-1);
      if (before && before.at + before.bytes === region.at) {
        merged[merged.length - 1] = { at: before.at, bytes: before.bytes + region.bytes };
      } else merged.push(region);
      return merged;
    }, []);
  }

  return {
    get used() {
      return used;
    },
    allocate(size) {
      const bytes = align(Math.max(size, 1));
      const at = take(bytes);
      used += bytes;
      return { at, bytes };
    },
    shrink({ at, bytes }, size) {
      const kept = align(Math.max(size, 1));
      if (kept >= bytes) return { at, bytes };
      takeBack({ at: at + kept, bytes: bytes - kept });
      return { at, bytes: kept };
    },
    release({ at, bytes }, contents) {
      if (contents !== 'public') new Uint8Array(all(), at, bytes).fill(0);
      takeBack({ at, bytes });
    },
    bytes: ({ at, bytes }) => new Uint8Array(all(), at, bytes),
  };
}

const align = (address: number): number => Math.ceil(address / ALIGNMENT) * ALIGNMENT;
