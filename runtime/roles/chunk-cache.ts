/** Chunks of keys that a worker has in memory, and what it tells of them in its heartbeat. */

/** Of which something is told: 16 GiB of keys. */
const MAX_KNOWN = 16_384;
/** As many as a heartbeat names, each a chunk with those that follow it in its key. */
const MAX_RUNS = 1024;
/** Digits of a digest that name its chunk in a heartbeat. */
const NAME_DIGITS = 16;

/**
 * Chunks by digest, the least recently used dropped above `maxBytes`; concurrent requests share one fetch. `before` are those
 * that were on disk when this began.
 */
export function createChunkCache(maxBytes: number, before: readonly string[]) {
  const entries = new Map<string, Promise<Uint8Array>>();
  const sizes = new Map<string, number>();
  /** That are in memory, or were and may be on disk; the newest last. */
  const known = new Set<string>(before);
  /** Which chunk follows which, as shards have named them. */
  const next = new Map<string, string>();
  let total = 0;
  const drop = (digest: string) => {
    entries.delete(digest);
    total -= sizes.get(digest) ?? 0;
    sizes.delete(digest);
  };
  const forget = (digest: string) => {
    known.delete(digest);
    next.delete(digest);
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
            forget(digest);
          },
        );
      }
      return entry;
    },
    /** These follow each other in their key. Wrong names mislead nobody but whoever sent them: what is told is a hint. */
    inOrder(digests: readonly string[]): void {
      for (const [i, digest] of digests.slice(0, -1).entries()) next.set(digest, digests[i + 1]!);
      for (const oldest of next.keys()) if (next.size > MAX_KNOWN) next.delete(oldest);
    },
    /**
     * The newest digests that are here, by their first 16 hex digits; `+3` behind one: and the three that follow it. A hint: what
     * is gone is fetched again.
     */
    resident(): string[] {
      while (known.size > MAX_KNOWN) forget(known.values().next().value!);
      const follows = new Set([...known].map((digest) => next.get(digest)));
      // Of those that follow each other in a circle nobody is the first; then each is named.
      const named = new Set<string>();
      const runs: string[] = [];
      const name = (first: string) => {
        let count = 0;
        named.add(first);
        for (
          let at = next.get(first);
          at !== undefined && known.has(at) && !named.has(at);
          at = next.get(at)
        ) {
          named.add(at);
          count += 1;
        }
        runs.push(first.slice(0, NAME_DIGITS) + (count > 0 ? `+${count}` : ''));
      };
      for (const digest of known) if (!follows.has(digest)) name(digest);
      for (const digest of known) if (!named.has(digest)) name(digest);
      return runs.slice(-MAX_RUNS);
    },
  };
}
