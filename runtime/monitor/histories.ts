/**
 * The last transitions of each actor. Bounded for each alone, so that one that changes its state a thousand times a minute takes
 * no other's place; of the actors those heard last are kept.
 */
import type { LoggedTransition } from './model.ts';
import type { Observation } from './observation.ts';

const KEPT = 64;

export interface Histories {
  hear(observation: Observation): void;
  /** newest last; empty for who is not known */
  of(kind: string, id: string): readonly LoggedTransition[];
}

/** `actors`: histories that are kept. */
export function createHistories(actors: number): Histories {
  /** by `<kind>/<id>`, the one heard last at the end */
  const known = new Map<string, LoggedTransition[]>();
  return {
    hear(observation) {
      if (observation.type !== 'transition') return;
      const { at, kind, id, boot, seq, from, to, event } = observation;
      const key = `${kind}/${id}`;
      const own = known.get(key) ?? [];
      known.delete(key);
      known.set(key, own);
      for (const oldest of known.keys()) if (known.size > actors) known.delete(oldest);
      // What was stored may be heard again after a reconnect.
      if (own.some((other) => other.boot === boot && other.seq === seq && other.to === to)) return;
      const place = own.findLastIndex((other) => other.at <= at && !(other.boot === boot && other.seq > seq));
      own.splice(place + 1, 0, { at, kind, id, boot, seq, from, to, event });
      if (own.length > KEPT) own.shift();
    },
    of: (kind, id) => known.get(`${kind}/${id}`) ?? [],
  };
}
