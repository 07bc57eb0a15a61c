/**
 * Keeps a host's children running: restarts them with a growing delay, gives one up that exits too often, and
 * stops all in the reverse of the order they were started in.
 *
 *   starting -> supervising -> stopping -> stopped      on `supervisor.stop`
 *   starting -> stopping -> failed                      when the children did not start
 *   supervising -> stopping -> failed                   when an essential child was given up
 *
 * A child that exits with 0 has done what it was asked to, such as to drain, and stays stopped. One that exits otherwise is
 * started again. It is given up at its sixth exit within 30 s; each exit is forgiven 30 s later, by the machine's own
 * clock. A child that is not essential stays given up while the others run on. Stopping has a limit per child.
 *
 * Not guaranteed: that a child which did not stop in time is gone; it is listed as `failed`.
 */
import { and, assign, setup } from 'xstate';
import { z } from 'zod';
import { Id } from '../protocols/envelope.ts';
import { Count, Failure, failure, rejection, type StateTag } from './context.ts';
import { backOffMs, effect } from './effect.ts';

/** Restarts of one child within the window. */
const INTENSITY = 5;
const WINDOW_MS = 30_000;

const Child = z.strictObject({
  id: Id,
  /** whether the host is of no use without it */
  essential: z.boolean(),
  state: z.enum(['starting', 'running', 'restarting', 'failed', 'stopped']),
  /** exits that are not forgiven yet */
  recent: Count,
  restarts: Count,
  /** exit code of the last exit, negative for a signal */
  exit: z.int().nullable(),
});
type Child = z.infer<typeof Child>;

export const SupervisorContext = z.strictObject({
  id: Id,
  /** in the order they are started in */
  children: z.array(Child),
  failure: Failure.nullable(),
});
export type SupervisorContext = z.infer<typeof SupervisorContext>;

export interface SupervisorInput {
  readonly id: string;
  readonly children: ReadonlyArray<{ readonly id: string; readonly essential: boolean }>;
}

export type SupervisorEvent =
  | { type: 'child.started'; id: string }
  | { type: 'child.exited'; id: string; code: number }
  | { type: 'supervisor.stop' };

type Internal =
  | { type: 'child.due'; id: string }
  | { type: 'child.forgiven'; id: string }
  | { type: 'child.overdue'; id: string }
  | { type: `xstate.done.actor.restart.${string}`; actorId: string }
  | { type: `xstate.error.actor.restart.${string}`; actorId: string; error: unknown }
  | { type: `xstate.done.actor.stop.${string}`; actorId: string }
  | { type: `xstate.error.actor.stop.${string}`; actorId: string; error: unknown };

const restartId = (id: string) => `restart.${id}`;
const stopId = (id: string) => `stop.${id}`;
/** The child that an event is about: child ids have no dot, effect ids are `restart.<id>` and `stop.<id>`. */
const childOf = (event: object): string | undefined =>
  'actorId' in event
    ? String(event.actorId).replace(/^[a-z]+\./, '')
    : 'id' in event
      ? String(event.id)
      : undefined;
const find = (context: SupervisorContext, id: string | undefined) =>
  context.children.find((child) => child.id === id);
const change = (context: SupervisorContext, id: string, changes: Partial<Child>) =>
  context.children.map((child) => (child.id === id ? { ...child, ...changes } : child));
/** The child to stop next, last started first. */
const lastAlive = (context: SupervisorContext) =>
  context.children.findLast((child) => child.state !== 'stopped' && child.state !== 'failed');

const supervisor = setup({
  types: {} as {
    context: SupervisorContext;
    events: SupervisorEvent | Internal;
    input: SupervisorInput;
    tags: StateTag;
  },
  actors: {
    startChildren: effect<void, { children: string[] }>('startChildren'),
    restartChild: effect<void, { id: string }>('restartChild'),
    stopChild: effect<void, { id: string }>('stopChild'),
  },
  actions: {
    fail: assign({ failure: (_, params: Failure) => params }),
  },
  guards: {
    childless: ({ context }) => lastAlive(context) === undefined,
    broken: ({ context }) => context.failure !== null,
    essentialLost: ({ context }) =>
      context.children.some((child) => child.essential && child.state === 'failed'),
  },
  delays: { stopWithin: 15_000 },
});

const started = supervisor.assign({
  children: ({ context, event }) => {
    const child = find(context, childOf(event));
    return child?.state === 'starting' || child?.state === 'restarting'
      ? change(context, child.id, { state: 'running' })
      : context.children;
  },
});

/** An exit, or a restart that failed: the child is restarted later, or given up. */
const exited = supervisor.enqueueActions(({ context, event, enqueue }) => {
  const child = find(context, childOf(event));
  if (child === undefined || child.state === 'failed' || child.state === 'stopped') return;
  // While a restart waits or runs, only the restart's own failure counts, not a belated report of the old exit.
  if (event.type === 'child.exited' && child.state === 'restarting') return;
  const exit = event.type === 'child.exited' ? event.code : child.exit;
  if (event.type === 'child.exited' && exit === 0) {
    enqueue.assign({ children: change(context, child.id, { state: 'stopped', exit }) });
    return;
  }
  const recent = child.recent + 1;
  enqueue.stopChild(restartId(child.id));
  if (recent > INTENSITY) {
    enqueue.assign({ children: change(context, child.id, { state: 'failed', recent, exit }) });
    return;
  }
  enqueue.assign({ children: change(context, child.id, { state: 'restarting', recent, exit }) });
  enqueue.raise({ type: 'child.due', id: child.id }, { id: restartId(child.id), delay: backOffMs(recent) });
  enqueue.raise({ type: 'child.forgiven', id: child.id }, { delay: WINDOW_MS });
});

const restart = supervisor.enqueueActions(({ context, event, enqueue }) => {
  const child = find(context, childOf(event));
  if (child?.state !== 'restarting') return;
  enqueue.assign({ children: change(context, child.id, { restarts: child.restarts + 1 }) });
  enqueue.spawnChild('restartChild', { id: restartId(child.id), input: { id: child.id } });
});

const restarted = supervisor.enqueueActions(({ event, enqueue }) => {
  enqueue.stopChild(restartId(childOf(event) ?? ''));
  enqueue(started);
});

const forgive = supervisor.assign({
  children: ({ context, event }) => {
    const child = find(context, childOf(event));
    return child === undefined
      ? context.children
      : change(context, child.id, { recent: Math.max(0, child.recent - 1) });
  },
});

const stopRestarting = supervisor.enqueueActions(({ context, enqueue }) => {
  for (const { id } of context.children) enqueue.stopChild(restartId(id));
});

const stopNext = supervisor.enqueueActions(({ context, enqueue }) => {
  const child = lastAlive(context);
  if (child === undefined) return;
  enqueue.spawnChild('stopChild', { id: stopId(child.id), input: { id: child.id } });
  enqueue.raise({ type: 'child.overdue', id: child.id }, { id: stopId(child.id), delay: 'stopWithin' });
});

/** One child is done with; stops the next. */
const ended = (state: 'stopped' | 'failed') => ({
  actions: [
    supervisor.enqueueActions(({ context, event, enqueue }) => {
      const id = childOf(event) ?? '';
      enqueue.cancel(stopId(id));
      enqueue.stopChild(stopId(id));
      enqueue.assign({ children: change(context, id, { state }) });
    }),
    stopNext,
  ],
});

const whileRunning = {
  'supervisor.stop': 'stopping',
  'child.started': { actions: started },
  'child.exited': { actions: exited },
  'child.due': { actions: restart },
  'child.forgiven': { actions: forgive },
  'xstate.done.actor.restart.*': { actions: restarted },
  'xstate.error.actor.restart.*': { actions: exited },
} as const;

export const supervisorMachine = supervisor.createMachine({
  id: 'supervisor',
  context: ({ input }) => ({
    id: input.id,
    children: input.children.map(({ id, essential }) => ({
      id,
      essential,
      state: 'starting' as const,
      recent: 0,
      restarts: 0,
      exit: null,
    })),
    failure: null,
  }),
  initial: 'starting',
  // A child effect that ends after it was stopped has nothing left to say.
  on: { 'xstate.done.actor.*': {}, 'xstate.error.actor.*': {} },
  states: {
    starting: {
      on: whileRunning,
      invoke: {
        src: 'startChildren',
        input: ({ context }) => ({ children: context.children.map(({ id }) => id) }),
        onDone: 'supervising',
        onError: { target: 'stopping', actions: { type: 'fail', params: rejection } },
      },
    },
    supervising: {
      tags: 'up',
      on: whileRunning,
      always: {
        guard: 'essentialLost',
        target: 'stopping',
        actions: { type: 'fail', params: failure('internal') },
      },
    },
    stopping: {
      entry: [stopRestarting, stopNext],
      on: {
        'child.overdue': ended('failed'),
        'xstate.done.actor.stop.*': ended('stopped'),
        'xstate.error.actor.stop.*': ended('failed'),
      },
      always: [
        { guard: and(['childless', 'broken']), target: 'failed' },
        { guard: 'childless', target: 'stopped' },
      ],
    },
    stopped: { tags: 'settled' },
    failed: { tags: ['failed', 'settled'] },
  },
});

/** What the monitor may count. */
export const supervisorCounts = (context: SupervisorContext) => {
  const having = (state: Child['state']) => context.children.filter((child) => child.state === state).length;
  return {
    children: context.children.length,
    running: having('running'),
    restarting: having('restarting'),
    failed: having('failed'),
    restarts: context.children.reduce((sum, child) => sum + child.restarts, 0),
  };
};
