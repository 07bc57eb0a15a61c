/**
 * The supervisor of one host: it starts the host's children in order, restarts those that exit, and stops them
 * in reverse. A child is a role in this process or a process of its own; both look the same here.
 */
import type { ActorRefFrom, InputFrom } from 'xstate';
import { supervisorCounts, supervisorMachine } from '../../actors/supervisor.ts';
import { VouchError } from '../../protocols/errors.ts';
import type { Log } from '../home/log.ts';
import { recordDeadLetters } from './dead-letters.ts';
import type { Effects } from './effects.ts';
import type { StartRole } from './host.ts';

export interface RunningChild {
  /** Resolves with the exit code when the child ended by itself or was stopped; 0 when it has done all it should. */
  readonly exited: Promise<number>;
  stop(): Promise<void>;
}

export interface ChildSpec {
  readonly id: string;
  /** whether the host is of no use without it */
  readonly essential: boolean;
  /** Resolves when the child is up; rejects when it did not come up. */
  start(): Promise<RunningChild>;
}

/** Starts the children's actor. `effect` as the host's, so that its failures are logged; `run` makes the actor. */
export function supervise(
  children: readonly ChildSpec[],
  { id, effect, log, run }: Supervision,
): ActorRefFrom<typeof supervisorMachine> {
  const specs = new Map(children.map((child) => [child.id, child]));
  const running = new Map<string, RunningChild>();

  const start = async (child: string, signal: AbortSignal) => {
    const spec = specs.get(child);
    if (!spec) throw new VouchError('internal', `no child ${child}`);
    const handle = await spec.start();
    // Nobody would stop a child that comes up after the stop.
    if (signal.aborted) return handle.stop();
    running.set(child, handle);
    void handle.exited.then((code) => {
      if (running.get(child) !== handle) return;
      running.delete(child);
      actor.send({ type: 'child.exited', id: child, code });
    });
  };
  const machine = supervisorMachine.provide({
    actors: {
      startChildren: effect('startChildren', async ({ input, signal }) => {
        for (const child of input.children) {
          if (signal.aborted) return;
          await start(child, signal);
          actor.send({ type: 'child.started', id: child });
        }
      }),
      restartChild: effect('restartChild', async ({ input, signal }) => {
        log(`${id}: starting ${input.id} again`);
        await start(input.id, signal);
      }),
      stopChild: effect('stopChild', async ({ input }) => {
        const handle = running.get(input.id);
        running.delete(input.id);
        await handle?.stop();
      }),
    },
  });
  const list = children.map(({ id: child, essential }) => ({ id: child, essential }));
  const actor = run(machine, { id, children: list });
  return actor;
}

export interface Supervision extends Pick<Effects, 'effect'> {
  readonly id: string;
  readonly log: Log;
  run(
    machine: typeof supervisorMachine,
    input: InputFrom<typeof supervisorMachine>,
  ): ActorRefFrom<typeof supervisorMachine>;
}

export const supervisorRole =
  (children: readonly ChildSpec[]): StartRole =>
  async (context) => {
    const { id, log, source, bus, effect } = context;
    recordDeadLetters(bus, source, log);
    const actor = supervise(children, {
      id,
      log,
      effect,
      run: (machine, input) =>
        context.run({ kind: 'supervisor', id, machine, input, countsOf: supervisorCounts }),
    });
    return { actor, drain: { type: 'supervisor.stop' } };
  };
