/**
 * The one way in which a role runs an effect of its machine: timed, its failure written to the log under an id and kept
 * as the reason that people are shown, then thrown on, so that the machine hears of it.
 *
 * What is shown is the sentence of a coded error, which names no secret. An error that is not ours is shown by its id
 * alone; its text is in the log.
 */
import { type AnyActorRef, fromPromise, type NonReducibleUnknown, type PromiseActorLogic } from 'xstate';
import { VouchError } from '../../protocols/errors.ts';
import type { Failed } from '../../protocols/transition.ts';
import { toWireError } from '../../protocols/wire-error.ts';
import type { Log } from '../home/log.ts';
import { reportError } from '../nats/service.ts';

/** As long as a reason may be on the wire (protocols/transition.ts). */
const MAX_REASON = 300;

export interface EffectArgs<Input> {
  readonly input: Input;
  /** aborted when the machine leaves the state that asked */
  readonly signal: AbortSignal;
  readonly self: AnyActorRef;
}

export interface Effects {
  /**
   * An effect called `name`, as in the machine. Throws what `work` throws. `ofRequest`: its failure is one request's,
   * and no reason why the actor should stop.
   */
  effect<Output, Input extends NonReducibleUnknown>(
    name: string,
    work: (args: EffectArgs<Input>) => PromiseLike<Output> | Output,
    options?: { readonly ofRequest?: boolean },
  ): PromiseActorLogic<Output, Input>;
  /** Reports a failure that no effect throws, before the event that tells the machine is sent. */
  fail(what: string, error: unknown): void;
  /** The latest failure. */
  reason(): Failed | undefined;
}

/** Hears how long an effect took, and with which code it failed. What was cut off is not heard of. */
export type Timed = (effect: string, millis: number, failed?: string) => void;

export function createEffects(source: string, log: Log, timed: Timed = () => {}): Effects {
  let latest: Failed | undefined;
  const fail = (what: string, error: unknown) => {
    const { code, message, errorId } = toWireError(
      error,
      reportError(error, `${source}: ${what}: error`, log),
    );
    latest = { code, message: message.slice(0, MAX_REASON), errorId };
  };
  return {
    fail,
    reason: () => latest,
    effect: (name, work, { ofRequest = false } = {}) =>
      fromPromise(async ({ input, signal, self }) => {
        const began = performance.now();
        try {
          const output = await work({ input, signal, self: self as unknown as AnyActorRef });
          timed(name, performance.now() - began);
          return output;
        } catch (error) {
          const millis = performance.now() - began;
          const what = `${name} failed after ${Math.round(millis)} ms`;
          if (!signal.aborted) timed(name, millis, error instanceof VouchError ? error.code : 'internal');
          // What the machine has stopped, because it left the state, has not failed.
          if (!signal.aborted && ofRequest)
            reportError(error, `${source}: ${what}: error`, log, { ofRequest });
          else if (!signal.aborted) fail(what, error);
          throw error;
        }
      }),
  };
}
