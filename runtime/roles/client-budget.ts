/**
 * What one client may cost a role before it is known whether what it sends is any good: a token bucket by client (the
 * id in the subject, which NATS' rights bind to its credentials). A message takes a token before it is looked at, and
 * gets it back once it has turned out to be in order, so that a client whose messages are is bounded only in how many it
 * has in hand. Somebody without tokens is refused for the price of a look-up.
 *
 * With `together` there is a bucket of all clients beside those: a person with many credentials has as many shares, and
 * together they cost no more than that.
 *
 * Not guaranteed: fairness among ids of one person, so that whoever has many makes others wait where there is a bucket of all;
 * and that refusing costs nothing: the server has delivered it.
 */
import { VouchError } from '../../protocols/errors.ts';
import { recentlyUsed } from './recently-used.ts';

interface Rate {
  /** tokens that there are at most: messages in hand, and bad ones in a row */
  readonly burst: number;
  /** tokens that come back in a second */
  readonly perSecond: number;
}

/** The rate is that of a client. */
export interface BudgetOptions extends Rate {
  /** of all clients together; default: no bound */
  readonly together?: Rate;
  /** a monotonic clock, in milliseconds */
  readonly clock?: () => number;
}

export interface Budget {
  /** Takes a token. Throws `busy` when the client has none, or all together have none. Returns how to give it back; doing so twice is harmless. */
  take(client: string): () => void;
}

interface Bucket {
  tokens: number;
  /** when they were counted */
  at: number;
}

/** Clients that are remembered; of more, those that have not asked for longest start anew. */
const MAX_CLIENTS = 4096;

/** What came back since it was counted last. */
function refill(bucket: Bucket, { burst, perSecond }: Rate, now: number): void {
  bucket.tokens = Math.min(burst, bucket.tokens + ((now - bucket.at) / 1000) * perSecond);
  bucket.at = now;
}

export function createBudget({ together, clock = () => performance.now(), ...own }: BudgetOptions): Budget {
  const rates = { own, together: together ?? { burst: Number.POSITIVE_INFINITY, perSecond: 0 } };
  const whole: Bucket = { tokens: rates.together.burst, at: clock() };
  /** least recently asked first */
  const buckets = new Map<string, Bucket>();
  const bucketOf = (client: string): Bucket => {
    const now = clock();
    const bucket = recentlyUsed(buckets, client, MAX_CLIENTS, () => ({ tokens: own.burst, at: now }));
    refill(bucket, own, now);
    refill(whole, rates.together, now);
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
      if (whole.tokens < 1)
        throw new VouchError(
          'busy',
          'too many messages of all clients together: wait a second, and try again',
        );
      bucket.tokens -= 1;
      whole.tokens -= 1;
      let taken = true;
      return () => {
        if (!taken) return;
        taken = false;
        bucket.tokens = Math.min(own.burst, bucket.tokens + 1);
        whole.tokens = Math.min(rates.together.burst, whole.tokens + 1);
      };
    },
  };
}
