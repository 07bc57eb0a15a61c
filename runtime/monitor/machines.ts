/**
 * The state machines of all kinds of actor as they are drawn: states, and which event leads from where to where. Read from the
 * machines themselves (actors/), once, by the monitor's server; the page gets this and no machine.
 */
import type { AnyStateMachine, StateNode } from 'xstate';
import { MACHINES } from '../../actors/machines.ts';
import type { ActorKind } from '../../protocols/subjects.ts';
import { shownEvent } from '../../protocols/transition.ts';
import type { Drawing, Edge } from './drawing.ts';

/** What a machine looks like. A state's own transition for an event stands in the place of one from anywhere. */
export function drawingOf({ root }: AnyStateMachine): Drawing {
  const states = Object.values(root.states);
  const anywhere = edgesOf(root);
  const edges = states.flatMap((state) => {
    const own = new Set(state.ownEvents.map(shownEvent));
    const from = (edge: Omit<Edge, 'from'>): Edge => ({ from: state.key, ...edge });
    const general = state.type === 'final' ? [] : anywhere.filter(({ event }) => !own.has(event));
    return [...edgesOf(state), ...general].map(from);
  });
  const known = new Set<string>();
  return {
    states: states.map(({ key, type }) => ({ name: key, final: type === 'final' })),
    initial: initialOf(root),
    // Two guarded transitions of one event may lead to the same state.
    edges: edges.filter(({ from, to, event }) => {
      const key = `${from} ${to} ${event}`;
      return from !== to && !known.has(key) && known.add(key);
    }),
  };
}

function edgesOf(state: StateNode): Omit<Edge, 'from'>[] {
  const always = (state.always ?? []).map((transition) => ['always', transition] as const);
  const handled = [...state.transitions].flatMap(([type, list]) =>
    list.map((one) => [shownEvent(type), one] as const),
  );
  return [...handled, ...always].flatMap(([event, { target = [] }]) =>
    target.map(({ key }) => ({ to: key, event })),
  );
}

const initialOf = (root: StateNode): string => root.initial?.target?.[0]?.key ?? '';

/** By kind. */
export const drawings = (): Record<ActorKind, Drawing> =>
  Object.fromEntries(Object.entries(MACHINES).map(([kind, machine]) => [kind, drawingOf(machine)])) as Record<
    ActorKind,
    Drawing
  >;
