/**
 * What the monitor can learn: one observation per message heard, and what it notices about itself. Types only, so
 * that the page may import them; runtime/monitor/intake.ts makes them of messages.
 */
import type { Phase, ShardNews } from '../../protocols/proof.ts';
import type { Failed, GpuUse, Heartbeat, Transition } from '../../protocols/transition.ts';

/** Every `at` is in milliseconds on the monitor's own clock. */
export type Observation =
  | ({ readonly type: 'transition'; readonly at: number; readonly failure: Failure | null } & Omit<
      Transition,
      'failure'
    >)
  | ({
      readonly type: 'beat';
      readonly at: number;
      readonly failure: Failure | null;
      readonly worker: WorkerOffer | null;
    } & Omit<Heartbeat, 'failure' | 'worker'>)
  | {
      readonly type: 'progress';
      readonly at: number;
      readonly job: string;
      readonly epoch: number;
      readonly phase: Phase;
      /** shards with a checked result */
      readonly done: number;
      /** shards of the plan; 0 until there is one */
      readonly total: number;
      readonly workers: readonly WorkerShare[];
      /** those that have changed lately */
      readonly shards: readonly ShardNews[];
      readonly phases: PhaseTimes;
      readonly error: JobError | null;
    }
  | { readonly type: 'dropped'; readonly at: number; readonly reason: DropReason; readonly count: number }
  | { readonly type: 'source'; readonly at: number; readonly connected: boolean };

/** `malformed`: not a valid message, or not its subject's. `overflow`: more than the monitor could take. */
export type DropReason = 'malformed' | 'overflow' | 'stale';

/** Why an actor works no more: a sentence, its code, and the id that finds the error in the role's log. */
export type Failure = Readonly<NonNullable<Failed>>;

export interface WorkerOffer {
  readonly class: 'attested' | 'masked';
  readonly engine: string;
  readonly credit: number;
  /** points a second, as it says */
  readonly rates: { readonly g1: number; readonly g2: number };
  /** chunks of base points it holds */
  readonly resident: number;
  /** shards that it has */
  readonly inHand: number;
  /** how it shares its GPU; absent where it has none */
  readonly gpu?: GpuUse | undefined;
}

/** One worker's part in a job. How many shards it will get in the end is nobody's plan: the fastest get the most. */
export interface WorkerShare {
  readonly id: string;
  /** shards that it holds now; the same shard may be with two workers */
  readonly inFlight: number;
  /** shards whose result came from it */
  readonly done: number;
}

/** Milliseconds per finished phase. */
export type PhaseTimes = Readonly<Partial<Record<Phase, number>>>;

export interface JobError {
  readonly code: string;
  readonly message: string;
}
