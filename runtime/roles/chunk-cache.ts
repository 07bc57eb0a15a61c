/** Chunks of keys that a worker has in memory, and what it tells of them in its heartbeat. */

/** As many as a heartbeat names. */
const MAX_KNOWN = 1024;

/**
 * Chunks by digest, the least recently used dropped above `maxBytes`; concurrent requests share one fetch. `before` are those
 * that were on disk when this began.
 */
export function createChunkCache(maxBytes: number, before: readonly string[]) {
  const entries = new Map<string, Promise<Uint8Array>>();
  const sizes = new Map<string, number>();
  /** That are in memory, or were and may be on disk; the newest last. */
  const known = new Set<string>(before);
  let total = 0;
  const drop = (digest: string) => {
    entries.delete(digest);
    total -= sizes.get(digest) ?? 0;
    sizes.delete(digest);
  };
  return {
    get(digest: string, fetch: () => Promise<Uint8Array>): Promise<Uint8Array> {
      const held = entries.get(digest);
      const entry = held ?? fetch();
      entries.delete(digest);
      entries.set(digest, entry);
      if (!held) {
        entry.then(
          (bytes) => {
            sizes.set(digest, bytes.byteLength);
            known.delete(digest);
            known.add(digest);
            total += bytes.byteLength;
            for (const oldest of entries.keys()) {
              if (total <= maxBytes || oldest === digest) break;
              drop(oldest);
            }
          },
          () => {
            drop(digest);
            known.delete(digest);
          },
        );
      }
      return entry;
    },
    /** The newest 1024 digests that are here, by their first 16 hex digits. A hint: what is gone is fetched again. */
    resident(): string[] {
      while (known.size > MAX_KNOWN) known.delete(known.values().next().value!);
      return [...known].slice(-MAX_KNOWN).map((digest) => digest.slice(0, 16));
    },
  };
}
