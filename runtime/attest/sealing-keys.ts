/**
 * The sealing keys of an attested process, which change before their replay guard is full: a guard forgets nothing for
 * as long as its keys live. The keys before them stay good for as long as somebody may hold evidence that names them,
 * with their own guard, so that nothing opens twice and nobody notices the change.
 *
 * A guard that fills faster than evidence ages ends the keys before early: then their holders are `seal-rejected` and
 * ask for new evidence, rather than everybody being `busy` for ever.
 */

import { VouchError } from '../../protocols/errors.ts';
import {
  createReplayGuard,
  generateSealingKeyPair,
  type OpenedRequest,
  open,
  type ReplayGuard,
  type SealContext,
  type SealingKeyPair,
} from '../../protocols/sealing.ts';

/** X25519, then X-Wing. */
export type SealingPairs = readonly [SealingKeyPair, SealingKeyPair];

export interface SealingKeys {
  /** what evidence made now has to bind */
  readonly current: SealingPairs;
  /**
   * Opens what was sealed to keys of now or before; each message once. Throws `seal-rejected`, `replayed`, and `busy`
   * while new keys are on their way.
   */
  openOnce(sealed: Uint8Array, context: SealContext): Promise<OpenedRequest>;
  /** The same without remembering it: for an answer to what this process has asked. */
  open(sealed: Uint8Array, context: SealContext): Promise<OpenedRequest>;
}

export interface SealingKeysOptions {
  /** messages that one set of keys opens at most, default 2^20 */
  readonly limit?: number | undefined;
  /** milliseconds that evidence may be old, default 15 minutes: more than an installation's own policies (5) take */
  readonly evidenceMs?: number | undefined;
  /** a monotonic clock, in milliseconds */
  readonly clock?: (() => number) | undefined;
}

interface Generation {
  readonly pairs: SealingPairs;
  readonly guard: ReplayGuard;
}

export async function createSealingKeys({
  limit = 2 ** 20,
  evidenceMs = 15 * 60_000,
  clock = () => performance.now(),
}: SealingKeysOptions = {}): Promise<SealingKeys> {
  const generate = async (): Promise<Generation> => ({
    pairs: await Promise.all([generateSealingKeyPair(), generateSealingKeyPair('x-wing')]),
    guard: createReplayGuard({ limit }),
  });
  let current = await generate();
  let previous: (Generation & { readonly until: number }) | undefined;
  let changing: Promise<void> | undefined;

  const alive = (): readonly Generation[] => {
    if (previous && clock() >= previous.until) previous = undefined;
    return previous ? [current, previous] : [current];
  };
  /** New keys at half of the limit, or a little later where the keys before are still needed. */
  const changeInTime = () => {
    const due = alive().length > 1 ? (limit * 7) / 8 : limit / 2;
    if (changing || current.guard.size < due) return;
    changing = generate()
      .then((next) => {
        previous = { ...current, until: clock() + evidenceMs };
        current = next;
      })
      // Tried again at the next message.
      .catch(() => {})
      .finally(() => {
        changing = undefined;
      });
  };
  const tryAll = async (attempt: (generation: Generation) => Promise<OpenedRequest>) => {
    const [newest, ...older] = alive();
    try {
      return await attempt(newest!);
    } catch (error) {
      const before = older[0];
      if (!before || !(error instanceof VouchError && error.code === 'seal-rejected')) throw error;
      return attempt(before);
    }
  };
  return {
    get current() {
      return current.pairs;
    },
    async openOnce(sealed, context) {
      try {
        return await tryAll(({ pairs, guard }) => open(pairs, sealed, { ...context, replays: guard }));
      } finally {
        changeInTime();
      }
    },
    open: (sealed, context) => tryAll(({ pairs }) => open(pairs, sealed, context)),
  };
}
