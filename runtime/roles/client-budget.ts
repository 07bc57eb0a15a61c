/**
 * What one client may cost a role before it is known whether what it sends is any good: a token bucket by client (the
 * id in the subject, which NATS' rights bind to its credentials). A message takes a token before it is looked at, and
 * gets it back once it has turned out to be in order, so that a client whose messages are is bounded only in how many it
 * has in hand. Somebody without tokens is refused for the price of a look-up.
 *
 * Not guaranteed: fairness among ids of one person, and that refusing costs nothing: the server has delivered it.
 */
import { VouchError } from '../../protocols/errors.ts';

export interface BudgetOptions {
  /** tokens that a client has at most: messages in hand, and bad ones in a row */
  readonly burst: number;
  /** tokens that come back in a second */
  readonly perSecond: number;
  /** a monotonic clock, in milliseconds */
  readonly clock?: () => number;
}

export interface Budget {
  /** Takes a token. Throws `busy` when the client has none. Returns how to give it back; doing so twice is harmless. */
  take(client: string): () => void;
}

interface Bucket {
  tokens: number;
  /** when they were counted */
  at: number;
}

/** Clients that are remembered; of more, those that have not asked for longest start anew. */
const MAX_CLIENTS = 4096;

export function createBudget({ burst, perSecond, clock = () => performance.now() }: BudgetOptions): Budget {
  /** least recently asked first */
  const buckets = new Map<string, Bucket>();
  const bucketOf = (client: string): Bucket => {
    const now = clock();
    const bucket = buckets.get(client) ?? { tokens: burst, at: now };
    bucket.tokens = Math.min(burst, bucket.tokens + ((now - bucket.at) / 1000) * perSecond);
    bucket.at = now;
    buckets.delete(client);
    buckets.set(client, bucket);
    for (const oldest of buckets.keys()) if (buckets.size > MAX_CLIENTS) buckets.delete(oldest);
    return bucket;
  };
  return {
    take(client) {
      const bucket = bucketOf(client);
      if (bucket.tokens < 1) {
        throw new VouchError(
          'busy',
          'too many messages of this client wait or did not open: wait a second, and send what evidence of now allows',
        );
      }
      bucket.tokens -= 1;
      let taken = true;
      return () => {
        if (taken) bucket.tokens = Math.min(burst, bucket.tokens + 1);
        taken = false;
      };
    },
  };
}
