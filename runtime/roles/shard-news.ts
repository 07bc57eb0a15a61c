/**
 * What became of the shards of one proof lately, for those who watch: who got which when, and how it ended. Bounded, because
 * progress is told often: what has changed since it was told last, and a few changes more, because a message may be lost.
 * Times are rounded to a hundredth of a second: finer ones may depend on the witness.
 */
import { MAX_NEWS, MAX_SHARD_NEWS, type ShardEnd, type ShardNews } from '../../protocols/proof.ts';

/** So many changes are told again. */
const TOLD_AGAIN = 16;

export interface ShardNewsBoard {
  /** A shard was given away under this message's id. `now`: ms, monotonic. */
  sent(
    message: string,
    shard: Pick<ShardNews, 'shard' | 'worker' | 'points' | 'bytes' | 'predictedMs'>,
    now: number,
  ): void;
  /** It left its worker's hands; of a message that is not known any more nothing is told. */
  ended(message: string, end: ShardEnd, now: number): void;
  /** How long the worker says that it computed what is done. */
  computed(message: string, millis: number): void;
  /** What there is to tell now, oldest change first. */
  tell(): ShardNews[];
}

/** A worker that says it computes next to nothing a second is predicted to need for ever: no number that a message has. */
const rounded = (millis: number): number => Math.min(MAX_NEWS, Math.max(0, Math.round(millis / 10) * 10));

/** `openedAt`: when the plan was opened, by the clock of every `now`. */
export function createShardNews(openedAt: number): ShardNewsBoard {
  /** by message: what a worker has; what has changed, oldest change first; of that, what was told */
  const held = new Map<string, ShardNews>();
  const changed = new Map<string, ShardNews>();
  const told = new Set<string>();
  const change = (message: string, shard: ShardNews) => {
    changed.delete(message);
    told.delete(message);
    changed.set(message, shard);
    for (const oldest of changed.keys()) {
      if (changed.size <= (told.has(oldest) ? TOLD_AGAIN : MAX_SHARD_NEWS)) break;
      changed.delete(oldest);
      told.delete(oldest);
    }
  };
  return {
    sent(message, { bytes, predictedMs, ...shard }, now) {
      const copy = [...held.values()].some((other) => other.shard === shard.shard);
      const news = {
        ...shard,
        bytes: Math.round(bytes),
        predictedMs: rounded(predictedMs),
        sentMs: rounded(now - openedAt),
        ...(copy ? { copy } : {}),
      };
      held.set(message, news);
      change(message, news);
    },
    ended(message, end, now) {
      const known = held.get(message);
      if (!known || !held.delete(message)) return;
      change(message, { ...known, end, endMs: rounded(now - openedAt) });
    },
    computed(message, millis) {
      const known = changed.get(message);
      if (known) change(message, { ...known, computeMs: rounded(millis) });
    },
    tell() {
      const latest = [...changed.values()];
      for (const message of changed.keys()) told.add(message);
      return latest;
    },
  };
}
