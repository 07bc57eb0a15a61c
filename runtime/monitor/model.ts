/**
 * What the monitor knows: a reducer from observations to a model, without a clock and without I/O. The server
 * and the page run the same one, so this file is served to the browser as it stands.
 *
 * It does not verify anything: an actor's state is what the actor says. What it does promise is to distinguish
 * "alive" from "not heard of", and a gap from a restart.
 *
 * One file, although it is long: what one message changes of actors, jobs and minutes is decided in one place.
 */
import type { PHASES as ProofPhases, ShardNews } from '../../protocols/proof.ts';
import type { ActorKind } from '../../protocols/subjects.ts';
import type {
  DropReason,
  Failure,
  JobError,
  Observation,
  PhaseTimes,
  WorkerOffer,
  WorkerShare,
} from './observation.ts';
import { count, type Minute } from './series.ts';
import { isEnd, meaningOf } from './states.ts';

/** The phases of a proof in order; the type makes it the very list of protocols/proof.ts. */
export const PHASES: typeof ProofPhases = [
  'queued',
  'witnessing',
  'planning',
  'transforming',
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
  /** ranges of missed transitions kept apart per actor; older ones are only counted */
  gapRanges: 32,
  earlierBoots: 16,
  /** of one job; kept of the latest jobs alone */
  shards: 1024,
  jobsWithShards: 8,
  /** counts are of one minute only where they come this often */
  unheardMs: 120_000,
} as const;

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
  /** why it does not work, as long as it does not */
  readonly failure: Failure | null;
  /** the last one, also when it works again */
  readonly lastFailure: (Failure & { readonly at: number }) | null;
  readonly worker: WorkerOffer | null;
}

export interface Job {
  readonly id: string;
  readonly epoch: number;
  /** 1 for the first; rises with each lease, so when the work begins anew after a crash or a failure */
  readonly attempt: number;
  readonly phase: Phase;
  readonly phaseSince: number;
  readonly heardAt: number;
  /** shards with a checked result; not more than `total`, where that is known */
  readonly done: number;
  /** shards of the plan; 0 until there is one */
  readonly total: number;
  readonly phases: PhaseTimes;
  readonly workers: readonly WorkerShare[];
  /** which worker had which shard when, as far as was heard, oldest first */
  readonly shards: readonly ShardNews[];
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
  /** the last day, oldest first */
  readonly minutes: readonly Minute[];
  /** is the monitor itself connected to what it watches? */
  readonly connected: boolean;
}

export const emptyModel: Model = {
  actors: new Map(),
  jobs: new Map(),
  transitions: [],
  dropped: { malformed: 0, overflow: 0, stale: 0 },
  minutes: [],
  connected: true,
};

/** The model after `observations`, in order. The given model is left as it was. */
export function reduce(model: Model, observations: readonly Observation[]): Model {
  const draft: Draft = {
    actors: new Map(model.actors),
    jobs: new Map(model.jobs),
    transitions: [...model.transitions],
    dropped: { ...model.dropped },
    minutes: [...model.minutes],
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
  minutes: Minute[];
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
  // What an actor left out itself was never sent, so it is not missed; nobody leaves out more than there is.
  const first = isTransition ? heard.seq - Math.min(heard.coalesced ?? 0, heard.seq - 1) : heard.seq + 1;
  const missing = late
    ? isTransition
      ? without(before.missing, first, heard.seq)
      : before.missing
    : without(withGap(before.missing, before.seq + 1, first - 1), first, heard.seq);
  const repeated = isTransition && late && missing === before.missing;
  const state = isTransition ? heard.to : heard.state;
  // A beat carries the number of the transition that led to its state, so an equal number is current.
  const current = isTransition ? !late : heard.seq >= before.seq;
  const kept = missing.slice(-LIMITS.gapRanges);
  const failed = current && heard.failure ? heard.failure : null;
  const isSame = failed?.errorId === before.lastFailure?.errorId && failed?.code === before.lastFailure?.code;
  put(draft.actors, key, LIMITS.actors, {
    ...before,
    ...(current ? { state, counts: heard.counts, failure: heard.failure } : {}),
    lastFailure: failed && !isSame ? { ...failed, at: heard.at } : before.lastFailure,
    since: current && state !== before.state ? heard.at : before.since,
    heardAt: Math.max(before.heardAt, heard.at),
    leaseMs: isTransition ? before.leaseMs : heard.leaseMs,
    seq: Math.max(before.seq, heard.seq),
    missing: kept,
    lost: before.lost + size(missing) - size(kept),
    worker: !isTransition && current ? heard.worker : before.worker,
  });
  // What an actor did while it was not heard belongs to no minute.
  const follows = known?.boot === before.boot && heard.at - before.heardAt <= LIMITS.unheardMs;
  if (current) tally(draft, before, heard, state, follows);
  if (!isTransition || repeated) return;
  const { at, kind, id, seq, from, to, event } = heard;
  draft.transitions.push({ at, kind, id, boot: heard.boot, seq, from, to, event });
  if (kind === 'proof-job' && current) follow(draft, heard);
}

/** What a message adds to its minute; `follows`: what it counts, it has counted on from what was heard before. */
function tally(draft: Draft, before: Actor, heard: Heard, state: string, follows: boolean): void {
  const grown = (name: string) => (follows ? (heard.counts[name] ?? 0) - (before.counts[name] ?? 0) : 0);
  const fails = state !== before.state && meaningOf(heard.kind, state) === 'failed';
  const isRunner = heard.kind === 'runner';
  count(draft.minutes, heard.at, {
    inferences: isRunner ? grown('served') : 0,
    errors: (fails ? 1 : 0) + (isRunner ? Math.max(0, grown('failed')) : 0),
    proofs: heard.kind === 'proof-job' && state === 'published' && state !== before.state ? 1 : 0,
  });
}

/** The same process may start an ended actor again, as a coordinator does with a job; a mere repeat is older. */
const beginsAnew = (heard: Heard, known: Actor): boolean =>
  heard.type === 'transition' &&
  heard.seq === 1 &&
  isEnd(known.kind, known.state) &&
  heard.at > known.heardAt;

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
    failure: null,
    lastFailure: known?.lastFailure ?? null,
    worker: null,
  };
}

type Ranges = Actor['missing'];

const withGap = (ranges: Ranges, first: number, last: number): Ranges =>
  first > last ? ranges : [...ranges, [first, last]];

/** Without the numbers from `from` to `to`; the very same array when none of them was missing. */
function without(ranges: Ranges, from: number, to: number): Ranges {
  if (!ranges.some(([first, last]) => first <= to && from <= last)) return ranges;
  return ranges.flatMap(([first, last]) =>
    to < first || last < from
      ? [[first, last]]
      : [...withGap([], first, Math.min(last, from - 1)), ...withGap([], Math.max(first, to + 1), last)],
  ) as Ranges;
}

const size = (ranges: Ranges): number => ranges.reduce((sum, [first, last]) => sum + last - first + 1, 0);

/** A new lease is a new attempt. The first one heard of is not: before it the job only waited. */
const isRetry = (known: Job, epoch: number): boolean => known.epoch > 0 && epoch > known.epoch;

/** A proof-job's transition only moves its attempt forward: it may be older than the progress already heard. */
function follow(draft: Draft, { id, to, at, counts }: Extract<Observation, { type: 'transition' }>): void {
  const phase = PHASES.find((name) => name === to);
  if (phase === undefined) return;
  const { epoch = 0, shards = 0, done = 0 } = counts;
  const known = draft.jobs.get(id);
  const retry = known !== undefined && isRetry(known, epoch);
  if (known?.phase === 'published' || (epoch > 0 && known && epoch < known.epoch)) return;
  if (known && !retry && PHASES.indexOf(phase) <= PHASES.indexOf(known.phase)) return;
  const before = known && !retry ? known : newJob(id, epoch, at);
  const times = PHASES.flatMap((name) => {
    const millis = counts[`${name}Ms`];
    return millis === undefined ? [] : [[name, millis]];
  });
  put(draft.jobs, id, LIMITS.jobs, {
    ...before,
    epoch: Math.max(before.epoch, epoch),
    attempt: (known?.attempt ?? 1) + (retry ? 1 : 0),
    phase,
    phaseSince: at,
    heardAt: Math.max(before.heardAt, at),
    phases: { ...Object.fromEntries(times), ...before.phases },
    ...planned(phase, { done, total: shards, workers: before.workers, shards: before.shards }),
  });
}

function advance(draft: Draft, heard: Extract<Observation, { type: 'progress' }>): void {
  const known = draft.jobs.get(heard.job);
  if (known && (heard.epoch < known.epoch || (known.phase === 'published' && heard.phase !== 'published'))) {
    draft.dropped.stale += 1;
    return;
  }
  const { epoch, phase, phases, error, at } = heard;
  const before = known ?? newJob(heard.job, epoch, at);
  const retry = isRetry(before, epoch);
  put(draft.jobs, heard.job, LIMITS.jobs, {
    id: before.id,
    epoch,
    attempt: before.attempt + (retry ? 1 : 0),
    phase,
    phaseSince: phase === before.phase && !retry ? before.phaseSince : at,
    heardAt: Math.max(before.heardAt, at),
    phases,
    error,
    ...planned(phase, { ...heard, shards: runs(draft, retry ? [] : before.shards, heard.shards, at) }),
  });
  const withShards = [...draft.jobs.values()].filter(({ shards }) => shards.length > 0);
  for (const job of withShards.slice(0, -LIMITS.jobsWithShards))
    draft.jobs.set(job.id, { ...job, shards: [] });
  const actor = draft.actors.get(`proof-job/${heard.job}`);
  if (actor) {
    put(draft.actors, `proof-job/${heard.job}`, LIMITS.actors, {
      ...actor,
      heardAt: Math.max(actor.heardAt, at),
    });
  }
}

/** The same shard may be given to the same worker twice, at other times. */
export const runKey = ({ shard, worker, sentMs }: ShardNews): string => `${shard} ${worker} ${sentMs}`;

/** The shards with what is new of them; what is taken for the first time adds its points to the minute. */
function runs(draft: Draft, known: Job['shards'], news: Job['shards'], at: number): Job['shards'] {
  if (news.length === 0) return known;
  const all = new Map(known.map((run) => [runKey(run), run]));
  for (const run of news) {
    const before = all.get(runKey(run));
    // An end is for good, and a message may be late.
    if (before?.computeMs !== undefined || (before?.end !== undefined && run.end === undefined)) continue;
    if (run.end === 'done' && run.computeMs !== undefined) count(draft.minutes, at, { points: run.points });
    all.set(runKey(run), run);
  }
  return [...all.values()].slice(-LIMITS.shards);
}

type Shards = Pick<Job, 'done' | 'total' | 'workers' | 'shards'>;

/**
 * The shards of a job as far as they belong to its plan. A job that goes back to an earlier phase still reports those
 * of the plan that failed; and nobody has done more than there is to do, whatever he says.
 */
function planned(phase: Phase, { done, total, workers, shards }: Shards): Shards {
  if (PHASES.indexOf(phase) < PHASES.indexOf('planning'))
    return { done: 0, total: 0, workers: [], shards: [] };
  if (total <= 0) return { done, total: 0, workers, shards };
  return {
    done: Math.min(done, total),
    total,
    shards,
    workers: workers.map((share) => ({ ...share, done: Math.min(share.done, total) })),
  };
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
  shards: [],
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
  /** it sends something at least this often */
  readonly tickMs: number;
  readonly snapshot: Snapshot;
}
