/** What the tests of actors share: effects settled by hand, and a walk through every state of a machine. */
import { type AnyEventObject, type AnyStateMachine, fromPromise, type StateValue } from 'xstate';
import { getAdjacencyMap } from 'xstate/graph';
import { VouchError } from '../../protocols/errors.ts';

/** Lets every promise that is already settled reach its machine. */
export const settle = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

export interface Call {
  readonly effect: string;
  // biome-ignore lint/suspicious/noExplicitAny: a test knows the input of the effect it asked for
  readonly input: any;
  readonly signal: AbortSignal;
  /** Settles the effect and waits until the machine has heard of it. */
  resolve(output?: unknown): Promise<void>;
  reject(error?: unknown): Promise<void>;
}

/** Stands in for a role: records each call of an effect and lets the test settle it. */
export function stage(...names: string[]) {
  const calls: Call[] = [];
  const actors = Object.fromEntries(
    names.map((effect) => [
      effect,
      fromPromise<unknown, unknown>(({ input, signal }) => {
        const { promise, resolve, reject } = Promise.withResolvers<unknown>();
        calls.push({
          effect,
          input,
          signal,
          resolve: (output) => {
            resolve(output);
            return settle();
          },
          reject: (error = new VouchError('internal', 'asked for by the test')) => {
            reject(error);
            return settle();
          },
        });
        return promise;
      }),
    ]),
  );
  return {
    // biome-ignore lint/suspicious/noExplicitAny: one stage fits every machine
    actors: actors as any,
    calls,
    count: (effect: string) => calls.filter((call) => call.effect === effect).length,
    /** The latest call of an effect. */
    last(effect: string): Call {
      const call = calls.findLast((each) => each.effect === effect);
      if (call === undefined) throw new Error(`effect ${effect} was never asked for`);
      return call;
    },
  };
}

export interface Walk {
  readonly input: unknown;
  /** What each invoked effect may resolve to; an effect that is left out resolves to nothing, `never` blocks it. */
  readonly outputs?: Record<string, readonly unknown[] | 'never'>;
  /** What each invoked effect may reject with, besides `internal`. */
  readonly errors?: readonly unknown[];
  /** Events of the machine, and of children that it spawns. */
  readonly events: readonly AnyEventObject[];
  /** The part of the context that decides what can happen next. */
  // biome-ignore lint/suspicious/noExplicitAny: every machine has another context
  readonly key?: (context: any) => unknown;
  /** Walks on from states of this name only. */
  readonly from?: string;
}

/** Every state (as `a` or `a.b`) that some sequence of events, results, failures and timers leads to. */
export function reachable(machine: AnyStateMachine, walk: Walk): Set<string> {
  const events = [...walk.events, ...effectEvents(machine, walk), ...timerEvents(machine)];
  const key = (snapshot: { value: StateValue; context: unknown }) =>
    JSON.stringify([snapshot.value, walk.key?.(snapshot.context)]);
  const options = {
    input: walk.input,
    events,
    // biome-ignore lint/suspicious/noExplicitAny: the graph's types want the machine's own
    serializeState: (snapshot: any) => key(snapshot),
    limit: 20_000,
  };
  // biome-ignore lint/suspicious/noExplicitAny: as above
  const all = Object.values(getAdjacencyMap(machine as any, options as any)).map(({ state }: any) => state);
  const found = new Set<string>();
  if (walk.from === undefined) {
    for (const state of all) found.add(nameOf(state.value));
    return found;
  }
  for (const fromState of all.filter((state) => nameOf(state.value) === walk.from)) {
    // biome-ignore lint/suspicious/noExplicitAny: as above
    const onwards = getAdjacencyMap(machine as any, { ...options, fromState } as any);
    // biome-ignore lint/suspicious/noExplicitAny: as above
    for (const { state } of Object.values(onwards) as any[]) found.add(nameOf(state.value));
  }
  return found;
}

/** The names of all states of a machine. */
export const statesOf = (machine: AnyStateMachine): Set<string> => new Set(Object.keys(machine.states));

const nameOf = (value: StateValue): string =>
  typeof value === 'string'
    ? value
    : Object.entries(value)
        .map(([parent, child]) => `${parent}.${nameOf(child as StateValue)}`)
        .join('-');

function effectEvents(machine: AnyStateMachine, walk: Walk): AnyEventObject[] {
  const errors = [new VouchError('internal', 'asked for by the test'), ...(walk.errors ?? [])];
  return Object.values(machine.states).flatMap((state) =>
    state.invoke.flatMap(({ id, src }) => {
      const outputs = walk.outputs?.[String(src)] ?? [undefined];
      return [
        ...(outputs === 'never' ? [] : outputs).map((output) => ({
          type: `xstate.done.actor.${id}`,
          actorId: id,
          output,
        })),
        ...errors.map((error) => ({ type: `xstate.error.actor.${id}`, actorId: id, error })),
      ];
    }),
  );
}

const timerEvents = (machine: AnyStateMachine): AnyEventObject[] =>
  Object.values(machine.states).flatMap((state) => state.after.map(({ eventType }) => ({ type: eventType })));
