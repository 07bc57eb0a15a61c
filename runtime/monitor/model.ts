/**
 * What the monitor knows: a reducer from observations to a model, without a clock and without I/O. The server
 * and the page run the same one, so this file imports types only and is served to the browser as it stands.
 *
 * It does not verify anything: an actor's state is what the actor says. What it does promise is to tell
 * "alive" from "not heard of", and a gap from a restart.
 */
import type { PHASES as ProofPhases } from '../../protocols/proof.ts';
import type { ActorKind } from '../../protocols/subjects.ts';
import type { Heartbeat, Transition } from '../../protocols/transition.ts';

/** The phases of a proof in order; the type makes it the very list of protocols/proof.ts. */
export const PHASES: typeof ProofPhases = [
  'queued',
  'witnessing',
  'transforming',
  'planning',
  'dispatching',
  'assembling',
  'verifying',
  'publishing',
  'published',
  'failed',
];
export type Phase = (typeof PHASES)[number];

/** Bounds on what is kept; the least recently heard goes first. */
export const LIMITS = {
  actors: 2048,
  jobs: 50,
  transitions: 200,
  /** ranges of missed transitions told apart per actor; older ones are only counted */
  gapRanges: 32,
  earlierBoots: 16,
} as const;

/** Every `at` is in milliseconds on the monitor's own clock. */
export type Observation =
  | ({ readonly type: 'transition'; readonly at: number } & Transition)
  | ({ readonly type: 'beat'; readonly at: number; readonly worker: WorkerOffer | null } & Omit<
      Heartbeat,
      'worker'
    >)
  | {
      readonly type: 'progress';
      readonly at: number;
      readonly job: string;
      readonly epoch: number;
      readonly phase: Phase;
      readonly done: number;
      readonly total: number;
      readonly workers: readonly WorkerShare[];
      readonly phases: PhaseTimes;
      readonly error: JobError | null;
    }
  | { readonly type: 'dropped'; readonly at: number; readonly reason: DropReason; readonly count: number }
  | { readonly type: 'source'; readonly at: number; readonly connected: boolean };

/** `malformed`: not a valid message, or not its subject's. `overflow`: more than the monitor could take. */
export type DropReason = 'malformed' | 'overflow' | 'stale';

export interface WorkerOffer {
  readonly class: 'attested' | 'masked';
  readonly engine: string;
  readonly credit: number;
  /** chunks of base points it holds */
  readonly resident: number;
}

export interface WorkerShare {
  readonly id: string;
  readonly assigned: number;
  readonly done: number;
}

/** Milliseconds per finished phase. */
export type PhaseTimes = Readonly<Partial<Record<Phase, number>>>;

export interface JobError {
  readonly code: string;
  readonly message: string;
}

export interface Actor {
  readonly kind: ActorKind;
  readonly id: string;
  readonly state: string;
  /** when it entered that state, as far as was heard */
  readonly since: number;
  readonly heardAt: number;
  /** null until a heartbeat announced it */
  readonly leaseMs: number | null;
  readonly boot: string;
  /** newest first; a message of one of these is late, not a restart */
  readonly earlierBoots: readonly string[];
  readonly restarts: number;
  /** the highest transition number of this boot that was heard of */
  readonly seq: number;
  /** inclusive ranges of transitions of this boot that never came */
  readonly missing: readonly (readonly [number, number])[];
  /** missed transitions of earlier boots, or whose range is no longer kept */
  readonly lost: number;
  readonly counts: Readonly<Record<string, number>>;
  readonly worker: WorkerOffer | null;
}

export interface Job {
  readonly id: string;
  readonly epoch: number;
  /** 1 for the first; rises when the work begins anew after a crash or a failure */
  readonly attempt: number;
  readonly phase: Phase;
  readonly phaseSince: number;
  readonly heardAt: number;
  readonly done: number;
  readonly total: number;
  readonly phases: PhaseTimes;
  readonly workers: readonly WorkerShare[];
  readonly error: JobError | null;
}

export interface LoggedTransition {
  readonly at: number;
  readonly kind: ActorKind;
  readonly id: string;
  readonly boot: string;
  readonly seq: number;
  readonly from: string | null;
  readonly to: string;
  readonly event: string;
}

export interface Model {
  /** by `<kind>/<id>` */
  readonly actors: ReadonlyMap<string, Actor>;
  readonly jobs: ReadonlyMap<string, Job>;
  /** oldest first */
  readonly transitions: readonly LoggedTransition[];
  readonly dropped: Readonly<Record<DropReason, number>>;
  /** is the monitor itself connected to what it watches? */
  readonly connected: boolean;
}

export const emptyModel: Model = {
  actors: new Map(),
  jobs: new Map(),
  transitions: [],
  dropped: { malformed: 0, overflow: 0, stale: 0 },
  connected: true,
};

/** The model after `observations`, in order. The given model is left as it was. */
export function reduce(model: Model, observations: readonly Observation[]): Model {
  const draft: Draft = {
    actors: new Map(model.actors),
    jobs: new Map(model.jobs),
    transitions: [...model.transitions],
    dropped: { ...model.dropped },
    connected: model.connected,
  };
  for (const observation of observations) apply(draft, observation);
  draft.transitions.splice(0, draft.transitions.length - LIMITS.transitions);
  return draft;
}

interface Draft {
  actors: Map<string, Actor>;
  jobs: Map<string, Job>;
  transitions: LoggedTransition[];
  dropped: Record<DropReason, number>;
  connected: boolean;
}

function apply(draft: Draft, observation: Observation): void {
  switch (observation.type) {
    case 'transition':
    case 'beat':
      hear(draft, observation);
      break;
    case 'progress':
      advance(draft, observation);
      break;
    case 'dropped':
      draft.dropped[observation.reason] += observation.count;
      break;
    case 'source':
      draft.connected = observation.connected;
  }
}

type Heard = Extract<Observation, { type: 'transition' | 'beat' }>;

function hear(draft: Draft, heard: Heard): void {
  const key = `${heard.kind}/${heard.id}`;
  const known = draft.actors.get(key);
  if (known?.earlierBoots.includes(heard.boot)) {
    draft.dropped.stale += 1;
    return;
  }
  const before = known?.boot === heard.boot && !beginsAnew(heard, known) ? known : boot(heard, known);
  const isTransition = heard.type === 'transition';
  const late = heard.seq <= before.seq;
  const missing = late
    ? isTransition
      ? without(before.missing, heard.seq)
      : before.missing
    : withGap(before.missing, before.seq + 1, isTransition ? heard.seq - 1 : heard.seq);
  const repeated = isTransition && late && missing === before.missing;
  const state = isTransition ? heard.to : heard.state;
  // A beat carries the number of the transition that led to its state, so an equal number is current.
  const current = isTransition ? !late : heard.seq >= before.seq;
  const kept = missing.slice(-LIMITS.gapRanges);
  put(draft.actors, key, LIMITS.actors, {
    ...before,
    ...(current ? { state, counts: heard.counts } : {}),
    since: current && state !== before.state ? heard.at : before.since,
    heardAt: Math.max(before.heardAt, heard.at),
    leaseMs: isTransition ? before.leaseMs : heard.leaseMs,
    seq: Math.max(before.seq, heard.seq),
    missing: kept,
    lost: before.lost + size(missing) - size(kept),
    worker: !isTransition && current ? heard.worker : before.worker,
  });
  if (!isTransition || repeated) return;
  const { at, kind, id, seq, from, to, event } = heard;
  draft.transitions.push({ at, kind, id, boot: heard.boot, seq, from, to, event });
  if (kind === 'proof-job' && current) follow(draft, heard);
}

/** The same process may start an ended actor again, as a coordinator does with a job; a mere repeat is older. */
const beginsAnew = (heard: Heard, known: Actor): boolean =>
  heard.type === 'transition' && heard.seq === 1 && hasEnded(known) && heard.at > known.heardAt;

/** An actor as of its first message of a boot. Numbers before the very first message ever heard are no gap. */
function boot(heard: Heard, known: Actor | undefined): Actor {
  const first = heard.type === 'transition' ? heard.seq - 1 : heard.seq;
  return {
    kind: heard.kind,
    id: heard.id,
    state: heard.type === 'transition' ? (heard.from ?? heard.to) : heard.state,
    since: heard.at,
    heardAt: heard.at,
    leaseMs: known?.leaseMs ?? null,
    boot: heard.boot,
    earlierBoots: [known?.boot ?? heard.boot, ...(known?.earlierBoots ?? [])]
      .filter((earlier) => earlier !== heard.boot)
      .slice(0, LIMITS.earlierBoots),
    restarts: known ? known.restarts + 1 : 0,
    seq: known ? 0 : first,
    missing: [],
    lost: known ? missed(known) : 0,
    counts: heard.counts,
    worker: null,
  };
}

type Ranges = Actor['missing'];

const withGap = (ranges: Ranges, first: number, last: number): Ranges =>
  first > last ? ranges : [...ranges, [first, last]];

/** The very same array when `seq` was not missing. */
function without(ranges: Ranges, seq: number): Ranges {
  if (!ranges.some(([first, last]) => first <= seq && seq <= last)) return ranges;
  return ranges.flatMap(([first, last]) =>
    seq < first || last < seq
      ? [[first, last]]
      : [...withGap([], first, seq - 1), ...withGap([], seq + 1, last)],
  ) as Ranges;
}

const size = (ranges: Ranges): number => ranges.reduce((sum, [first, last]) => sum + last - first + 1, 0);

export const isTerminal = (phase: Phase): boolean => phase === 'published' || phase === 'failed';

/** A proof-job's transition only moves its job forward: it may be older than the progress already heard. */
function follow(draft: Draft, { id, to, at, counts }: Extract<Observation, { type: 'transition' }>): void {
  const phase = PHASES.find((name) => name === to);
  if (phase === undefined) return;
  const known = draft.jobs.get(id);
  if (known && (known.phase === 'published' || PHASES.indexOf(phase) <= PHASES.indexOf(known.phase))) return;
  const before = known ?? newJob(id, 0, at);
  const times = PHASES.flatMap((name) => {
    const millis = counts[`${name}Ms`];
    return millis === undefined ? [] : [[name, millis]];
  });
  put(draft.jobs, id, LIMITS.jobs, {
    ...before,
    phase,
    phaseSince: at,
    heardAt: Math.max(before.heardAt, at),
    done: 0,
    total: 0,
    phases: { ...Object.fromEntries(times), ...before.phases },
  });
}

function advance(draft: Draft, heard: Extract<Observation, { type: 'progress' }>): void {
  const known = draft.jobs.get(heard.job);
  if (known && (heard.epoch < known.epoch || (known.phase === 'published' && heard.phase !== 'published'))) {
    draft.dropped.stale += 1;
    return;
  }
  const { epoch, phase, done, total, phases, workers, error, at } = heard;
  const before = known ?? newJob(heard.job, epoch, at);
  const backwards = PHASES.indexOf(phase) < PHASES.indexOf(before.phase) && phase !== 'published';
  // The first epoch heard of a job that was known by its transitions alone is not a new attempt.
  const anew = backwards || (epoch > before.epoch && before.epoch > 0);
  put(draft.jobs, heard.job, LIMITS.jobs, {
    id: before.id,
    epoch,
    attempt: before.attempt + (anew ? 1 : 0),
    phase,
    phaseSince: phase === before.phase && !anew ? before.phaseSince : at,
    heardAt: Math.max(before.heardAt, at),
    done,
    total,
    phases,
    workers,
    error,
  });
  const actor = draft.actors.get(`proof-job/${heard.job}`);
  if (actor) {
    put(draft.actors, `proof-job/${heard.job}`, LIMITS.actors, {
      ...actor,
      heardAt: Math.max(actor.heardAt, at),
    });
  }
}

const newJob = (id: string, epoch: number, at: number): Job => ({
  id,
  epoch,
  attempt: 1,
  phase: 'queued',
  phaseSince: at,
  heardAt: at,
  done: 0,
  total: 0,
  phases: {},
  workers: [],
  error: null,
});

/** Sets an entry; when a new one exceeds the limit, the one least recently heard makes room. */
function put<T extends { readonly heardAt: number }>(
  map: Map<string, T>,
  key: string,
  limit: number,
  value: T,
): void {
  if (!map.has(key) && map.size >= limit) {
    let oldest: string | undefined;
    for (const [other, { heardAt }] of map) {
      if (oldest === undefined || heardAt < map.get(oldest)!.heardAt) oldest = other;
    }
    if (oldest !== undefined) map.delete(oldest);
  }
  map.set(key, value);
}

const ENDED = ['stopped', 'destroyed', 'published'];

/** Did it say itself that it is through? Silence is then no surprise. */
export function hasEnded({ kind, state }: Pick<Actor, 'kind' | 'state'>): boolean {
  return ENDED.includes(leaf(state)) || (kind === 'proof-job' && leaf(state) === 'failed');
}

/** The last part of a state path: `running` of `ready.running`. */
export const leaf = (state: string): string => state.slice(state.lastIndexOf('.') + 1);

/** Transitions of an actor that were sent but never came. */
export const missed = (actor: Actor): number => actor.lost + size(actor.missing);

/** A model as plain JSON. */
export interface Snapshot extends Omit<Model, 'actors' | 'jobs'> {
  readonly actors: readonly Actor[];
  readonly jobs: readonly Job[];
}

export const toSnapshot = (model: Model): Snapshot => ({
  ...model,
  actors: [...model.actors.values()],
  jobs: [...model.jobs.values()],
});

export const fromSnapshot = (snapshot: Snapshot): Model => ({
  ...snapshot,
  actors: new Map(snapshot.actors.map((actor) => [`${actor.kind}/${actor.id}`, actor])),
  jobs: new Map(snapshot.jobs.map((job) => [job.id, job])),
});

/** What the server sends first; `now` is its clock, on which every `at` is. */
export interface Hello {
  readonly now: number;
  readonly simulated: boolean;
  /** it sends something at least this often */
  readonly tickMs: number;
  readonly snapshot: Snapshot;
}
