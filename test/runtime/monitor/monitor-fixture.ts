/** Observations of one worker and one job, for the tests of the monitor. */
import type { Phase } from '../../../protocols/proof.ts';
import type { Observation } from '../../../runtime/monitor/observation.ts';

type Of<Type extends Observation['type']> = Extract<Observation, { type: Type }>;

export const transition = (seq: number, to: string, more: Partial<Of<'transition'>> = {}): Observation => ({
  type: 'transition',
  at: seq * 1_000,
  kind: 'worker',
  id: 'w1',
  boot: 'b1',
  seq,
  from: null,
  to,
  event: 'step',
  counts: {},
  failure: null,
  ...more,
});

export const beat = (seq: number, at: number, more: Partial<Of<'beat'>> = {}): Observation => ({
  type: 'beat',
  at,
  kind: 'worker',
  id: 'w1',
  boot: 'b1',
  seq,
  state: 'idle',
  leaseMs: 3_000,
  counts: {},
  failure: null,
  worker: {
    class: 'attested',
    engine: 'wasm',
    credit: 2,
    rates: { g1: 1e5, g2: 3e4 },
    resident: 5,
    inHand: 0,
  },
  ...more,
});

export const progress = (phase: Phase, at: number, more: Partial<Of<'progress'>> = {}): Observation => ({
  type: 'progress',
  at,
  job: 'j1',
  epoch: 1,
  phase,
  done: 0,
  total: 0,
  workers: [],
  shards: [],
  phases: {},
  error: null,
  ...more,
});
