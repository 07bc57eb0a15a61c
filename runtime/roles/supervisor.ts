/**
 * The supervisor of one host: it starts the host's children in order, restarts those that exit, and stops them
 * in reverse. A child is a role in this process or a process of its own; both look the same here.
 */
import { fromPromise } from 'xstate';
import { supervisorCounts, supervisorMachine } from '../../actors/supervisor.ts';
import { messageOf, VouchError } from '../../protocols/errors.ts';
import { recordDeadLetters } from './dead-letters.ts';
import type { StartRole } from './host.ts';

export interface RunningChild {
  /** Resolves with the exit code when the child ended by itself or was stopped. */
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

export const supervisorRole =
  (children: readonly ChildSpec[]): StartRole =>
  async (context) => {
    const { id, log, source, bus } = context;
    recordDeadLetters(bus, source, log);
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
        startChildren: fromPromise(async ({ input, signal }) => {
          for (const child of input.children) {
            if (signal.aborted) return;
            try {
              await start(child, signal);
            } catch (error) {
              log(`${source}: ${child} did not start: ${messageOf(error)}`);
              throw error;
            }
            actor.send({ type: 'child.started', id: child });
          }
        }),
        restartChild: fromPromise(async ({ input, signal }) => {
          log(`${source}: restarting ${input.id}`);
          await start(input.id, signal);
        }),
        stopChild: fromPromise(async ({ input }) => {
          const handle = running.get(input.id);
          running.delete(input.id);
          await handle?.stop();
        }),
      },
    });
    const list = children.map(({ id: child, essential }) => ({ id: child, essential }));
    const actor = context.run({
      kind: 'supervisor',
      id,
      machine,
      input: { id, children: list },
      countsOf: supervisorCounts,
    });
    return { actor, drain: { type: 'supervisor.stop' } };
  };
