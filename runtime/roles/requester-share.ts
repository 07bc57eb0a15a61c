/**
 * How much of a coordinator one requester may have: so many jobs at once, and so much of its working time within an hour. In
 * memory: a coordinator that starts again knows nobody.
 */
import { VouchError } from '../../protocols/errors.ts';

const WINDOW_MS = 60 * 60_000;
/** Requesters that are remembered; the one that was least lately heard is forgotten first. */
const MAX_REQUESTERS = 4096;

export interface ShareLimits {
  readonly jobs: number;
  /** within an hour */
  readonly millis: number;
}

interface Account {
  open: number;
  /** when each job ended, and how long it had taken */
  spent: Array<{ at: number; millis: number }>;
}

export interface Shares {
  /** Throws `busy` for one who has too much already; returns the end of the job, to be called once. */
  open(requester: string): () => void;
}

export function createShares(limits: ShareLimits, now: () => number = () => performance.now()): Shares {
  const accounts = new Map<string, Account>();
  return {
    open(requester) {
      const began = now();
      const { open, spent } = accounts.get(requester) ?? { open: 0, spent: [] };
      const account: Account = { open, spent: spent.filter(({ at }) => at > began - WINDOW_MS) };
      accounts.delete(requester);
      accounts.set(requester, account);
      for (const [name, { open: busy }] of accounts) {
        if (accounts.size <= MAX_REQUESTERS) break;
        if (busy === 0) accounts.delete(name);
      }
      if (account.open >= limits.jobs) {
        throw new VouchError(
          'busy',
          `requester ${requester}: ${account.open} proofs are being made for it, at most ${limits.jobs} at once; wait for one`,
        );
      }
      const used = account.spent.reduce((sum, { millis }) => sum + millis, 0);
      if (used >= limits.millis) {
        const wait = Math.ceil((account.spent[0]!.at + WINDOW_MS - began) / 60_000);
        throw new VouchError(
          'busy',
          `requester ${requester}: it has had its share of this hour; ask again in ${wait} minutes`,
        );
      }
      account.open += 1;
      return () => {
        const current = accounts.get(requester);
        if (!current) return;
        current.open = Math.max(0, current.open - 1);
        current.spent.push({ at: now(), millis: now() - began });
      };
    },
  };
}
