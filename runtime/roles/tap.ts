/**
 * What the world sees of an actor: its changes of state and its heartbeat, by an allow-list. Of a context only
 * the counts that the actor's own file names leave the process; of an event only its type, and only when the
 * machine knows that type (others are counted: XState drops them without a word); of a failure the code and, where its
 * role says it, the sentence for people.
 *
 * At most ten transitions are published for an actor in any second. The rest are coalesced into the latest:
 * `seq` goes up by one with each change of state, `coalesced` says how many were left out before it, and the state that an
 * actor comes to rest in is always published. Children that are machines (one per proof) are tapped too.
 *
 * Not guaranteed: delivery. Publishing is lossy, and a publisher that fails never disturbs the actor.
 */
import { type AnyActorRef, type AnyMachineSnapshot, isMachineSnapshot, type StateValue } from 'xstate';
import type { ErrorCode } from '../../protocols/errors.ts';
import type { ActorKind } from '../../protocols/subjects.ts';
import { type Failed, type Heartbeat, shownEvent, type Transition } from '../../protocols/transition.ts';

const MAX_PER_WINDOW = 10;
const WINDOW_MS = 1000;

/** Which counts of a context may be seen; each actor's file exports its own. */
// biome-ignore lint/suspicious/noExplicitAny: every machine has another context, and its selector is typed
type CountsOf = (context: any) => Record<string, number>;

export interface TapTarget {
  readonly kind: ActorKind;
  readonly id: string;
  readonly countsOf: CountsOf;
}

export interface TapOptions extends TapTarget {
  /** random for each start of the process */
  readonly boot: string;
  /** Says how to tap a child that is a machine, from the name and the id it was spawned with. */
  readonly child?: (src: string, id: string) => TapTarget | undefined;
  /** Why the actor's role says that it failed; asked in states tagged `failed`. */
  readonly reason?: () => Failed | undefined;
  /** Publishes one transition of the actor or of a child. A failure or rejection is ignored. */
  readonly publish: (transition: Transition) => unknown;
  readonly clock?: TapClock;
}

/** What the rate limit needs of a clock; XState's SimulatedClock has it. */
export interface TapClock {
  now(): number;
  setTimeout(run: () => void, ms: number): unknown;
  // biome-ignore lint/suspicious/noExplicitAny: a timer's type belongs to its clock
  clearTimeout(timer: any): void;
}

/** What a worker has credit for, what a GPU was measured to do. */
export type Offer = Pick<Heartbeat, 'worker' | 'gpu'>;

export interface Tap {
  /**
   * Heartbeats of the actor, first, and of its tapped children that are alive. `leaseMs`: after how many
   * milliseconds without one an actor is unknown. `offer`: what it offers to others, in the actor's own beat.
   */
  heartbeats(leaseMs: number, offer?: Offer): Heartbeat[];
  /** Publishes what waits and stops watching. */
  close(): void;
}

const WALL: TapClock = {
  now: () => performance.now(),
  setTimeout: (run, ms) => setTimeout(run, ms),
  clearTimeout: (timer) => clearTimeout(timer),
};

/**
 * Watches an actor, best before it is started. Its state of that moment is the first transition, from `null`.
 */
export function tap(actor: AnyActorRef, options: TapOptions): Tap {
  const feeds = new Map<AnyActorRef, Feed>();
  const follow = (ref: AnyActorRef, target: TapTarget, snapshot: AnyMachineSnapshot): Feed => {
    const feed = openFeed(
      target,
      snapshot,
      ref === actor ? options : { ...options, reason: () => undefined },
    );
    feeds.set(ref, feed);
    return feed;
  };
  const first = actor.getSnapshot();
  if (!isMachineSnapshot(first)) throw new TypeError('tap: expected an actor of a state machine');
  const root = follow(actor, options, first);

  const subscription = actor.system.inspect((inspection) => {
    const ref = inspection.actorRef as AnyActorRef;
    const feed = feeds.get(ref);
    if (inspection.type === '@xstate.event') feed?.heard(inspection.event.type);
    if (inspection.type !== '@xstate.snapshot' || !isMachineSnapshot(inspection.snapshot)) return;
    if (feed !== undefined) {
      feed.saw(inspection.snapshot, inspection.event.type);
    } else if (typeof ref.src === 'string') {
      const target = options.child?.(ref.src, ref.id);
      if (target !== undefined) follow(ref, target, inspection.snapshot);
    }
    if (ref !== actor && inspection.snapshot.status !== 'active') feeds.delete(ref);
  });

  return {
    heartbeats(leaseMs, offer) {
      const bodies = [...feeds.values()].map((feed) => feed.heartbeat(leaseMs));
      return bodies.map((body, i) => (i === 0 ? { ...body, ...offer } : body));
    },
    close() {
      subscription.unsubscribe();
      for (const feed of feeds.values()) feed.flush();
      feeds.clear();
      feeds.set(actor, root);
    },
  };
}

interface Feed {
  heard(type: string): void;
  saw(snapshot: AnyMachineSnapshot, type: string): void;
  heartbeat(leaseMs: number): Heartbeat;
  flush(): void;
}

function openFeed(target: TapTarget, first: AnyMachineSnapshot, options: TapOptions): Feed {
  const { kind, id } = target;
  const { boot } = options;
  const clock = options.clock ?? WALL;
  const published: number[] = [];
  let latest = first;
  let seq = 0;
  let unknownEvents = 0;
  let waiting: Transition | undefined;
  let timer: unknown;

  const counts = () => ({ ...target.countsOf(latest.context), unknownEvents });
  const failed = () => {
    const failure = failureOf(latest, options.reason?.());
    return failure ? { failure } : {};
  };
  const send = (transition: Transition) => {
    published.push(clock.now());
    if (published.length > MAX_PER_WINDOW) published.shift();
    // An async function, so that a throw becomes a rejection, which is dropped.
    void (async () => options.publish(transition))().catch(() => {});
  };
  const flush = () => {
    clock.clearTimeout(timer);
    timer = undefined;
    if (waiting !== undefined) send(waiting);
    waiting = undefined;
  };
  const changed = (from: string | null, event: string) => {
    seq += 1;
    const coalesced = waiting === undefined ? 0 : (waiting.coalesced ?? 0) + 1;
    waiting = {
      kind,
      id,
      boot,
      seq,
      from,
      to: stateName(latest.value),
      event,
      ...(coalesced > 0 ? { coalesced } : {}),
      counts: counts(),
      ...failed(),
    };
    const oldest = published.length < MAX_PER_WINDOW ? undefined : published[0];
    const wait = oldest === undefined ? 0 : oldest + WINDOW_MS - clock.now();
    if (wait <= 0) flush();
    else timer ??= clock.setTimeout(flush, wait);
  };
  changed(null, 'start');

  return {
    flush,
    heard(type) {
      if (!type.startsWith('xstate.') && !knows(latest, type)) unknownEvents += 1;
    },
    saw(snapshot, type) {
      const from = stateName(latest.value);
      latest = snapshot;
      if (stateName(snapshot.value) !== from) changed(from, eventName(snapshot, type));
    },
    heartbeat: (leaseMs) => ({
      kind,
      id,
      boot,
      seq,
      state: stateName(latest.value),
      leaseMs,
      counts: counts(),
      ...failed(),
    }),
  };
}

/**
 * Why an actor in a state tagged `failed` is there: the reason that its role gives, if that has the code of its machine's
 * own failure, else the code alone.
 */
export function failureOf(snapshot: AnyMachineSnapshot, reason: Failed | undefined): Failed | undefined {
  if (!snapshot.hasTag('failed')) return undefined;
  const { failure } = snapshot.context as { failure?: { code: ErrorCode } | null };
  const code = failure?.code ?? 'internal';
  return reason?.code === code ? reason : { code, message: `it failed: ${code}`, errorId: '' };
}

/** `{ready: 'running'}` is `ready.running`. */
function stateName(value: StateValue): string {
  if (typeof value === 'string') return value;
  return Object.entries(value)
    .map(([parent, child]) => (child === undefined ? parent : `${parent}.${stateName(child)}`))
    .join('-');
}

/** Whether any state of the machine handles events of this type, now or later. */
function knows(snapshot: AnyMachineSnapshot, type: string): boolean {
  const descriptors: readonly string[] = snapshot.machine.events;
  return descriptors.some((known) =>
    known.endsWith('.*') ? type.startsWith(known.slice(0, -1)) : known === type,
  );
}

/** The event's type as it may be seen: XState's own without the ids they carry, ours when it is known. */
function eventName(snapshot: AnyMachineSnapshot, type: string): string {
  const shown = shownEvent(type);
  return shown !== type || knows(snapshot, type) ? shown : 'unknown';
}
