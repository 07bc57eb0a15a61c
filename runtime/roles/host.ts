/**
 * The host of roles: it connects one role with its own credentials, runs that role's actors under the tap and
 * heartbeats, and stops it again. What a role does is its own file in `roles/`.
 */
import {
  type ActorRefFrom,
  type AnyActorRef,
  type AnyMachineSnapshot,
  type AnyStateMachine,
  createActor,
  type InputFrom,
} from 'xstate';
import type { StateTag } from '../../actors/context.ts';
import { ControlReply, ControlRequest } from '../../protocols/enclave.ts';
import { encodeMessage } from '../../protocols/envelope.ts';
import { messageOf, VouchError } from '../../protocols/errors.ts';
import { type ActorKind, type Role, subjects } from '../../protocols/subjects.ts';
import { type Failed, Heartbeat, Transition } from '../../protocols/transition.ts';
import type { Log } from '../home/log.ts';
import type { Bus } from '../nats/bus.ts';
import { connect } from '../nats/connect.ts';
import { answer } from '../nats/service.ts';
import { createEffects, type Effects, type Timed } from './effects.ts';
import { failureOf, type Offer, type Tap, type TapOptions, tap } from './tap.ts';

/** An actor that was not heard for this long is unknown. */
export const LEASE_MS = 3000;

type CountsOf = TapOptions['countsOf'];

export interface RunOptions<Machine extends AnyStateMachine> {
  readonly kind: ActorKind;
  readonly id: string;
  readonly machine: Machine;
  readonly input: InputFrom<Machine>;
  readonly countsOf: CountsOf;
  /** children that are published like their parent */
  readonly child?: TapOptions['child'];
  /** what it offers in a state, asked at every beat */
  readonly offer?: (state: string) => Offer;
}

export interface RoleContext extends Pick<Effects, 'effect' | 'fail'> {
  readonly role: Role;
  readonly id: string;
  /** `<role>.<id>`, the source in envelopes */
  readonly source: string;
  readonly bus: Bus;
  readonly log: Log;
  /** Starts an actor whose transitions and heartbeats are published. */
  run<Machine extends AnyStateMachine>(options: RunOptions<Machine>): ActorRefFrom<Machine>;
  /** Why the role's actor works no more; undefined unless it has failed. */
  failure(): Failed | undefined;
  /** Says when the role's evidence runs out. */
  evidenceEnds(at: Date): void;
  /** Runs when the role stops, last in, first out. */
  onStop(cleanup: () => unknown): void;
}

export interface RunningRole {
  readonly role: Role;
  readonly id: string;
  readonly bus: Bus;
  /** Why its actor works no more; undefined unless it has failed. */
  failure(): Failed | undefined;
  /** Drains the actor, waits until it has settled (at most 35 s), stops it, disconnects. */
  stop(): Promise<void>;
  /** The role's main actor. */
  readonly actor: AnyActorRef;
  /** What the monitor may count of it. */
  counts(): Record<string, number>;
  /** When its evidence runs out, in seconds since 1970; undefined of a role that has none of its own. */
  evidenceEnds(): number | undefined;
}

export interface RoleOptions {
  readonly role: Role;
  readonly id: string;
  readonly url: string;
  readonly creds: string;
  /** newer credentials, when these are about to end */
  readonly renewed?: () => Promise<string>;
  readonly log: Log;
  /** who hears how long this role's effects take */
  readonly timed?: ((role: Role, id: string) => Timed) | undefined;
}

/** What a role's file exports: it wires one machine and returns its actor and the event that drains it. */
export type StartRole = (context: RoleContext) => Promise<{ actor: AnyActorRef; drain: { type: string } }>;

/** Connects, starts the role, and returns the way to stop it. Nothing is left behind when starting fails. */
export async function startRole(options: RoleOptions, start: StartRole): Promise<RunningRole> {
  const { role, id } = options;
  const source = `${role}.${id}`;
  const log: Log = (line, fields) => options.log(line, { role, id, ...fields });
  const bus = await connect({
    url: options.url,
    creds: options.creds,
    name: source,
    onError: (error) => log(`${source}: ${messageOf(error)}`, { level: 'warn' }),
    warn: (line) => log(`${source}: ${line}`, { level: 'warn' }),
    ...(options.renewed ? { renewed: options.renewed } : {}),
  });
  const boot = crypto.randomUUID();
  const { effect, fail, reason } = createEffects(source, log, options.timed?.(role, id));
  const cleanups: Array<() => unknown> = [];
  const cleanUp = async () => {
    for (const cleanup of cleanups.reverse()) {
      try {
        await cleanup();
      } catch (error) {
        log(`${source}: while stopping: ${messageOf(error)}`, { level: 'warn' });
      }
    }
    await bus.close();
  };

  /** Taps an actor and lets it be heard; both end with the actor or the role. Returns what beats once more. */
  const observe = (
    actor: AnyActorRef,
    { kind, id: actorId, countsOf, child, offer }: Omit<RunOptions<AnyStateMachine>, 'machine' | 'input'>,
  ) => {
    const publish = (transition: Transition) => {
      if (options.log.detailed) record(log, transition);
      const subject = subjects.state(transition.kind, transition.id);
      return bus.publishLossy(subject, encodeMessage(Transition, { subject, source, body: transition }));
    };
    const tapped: Tap = tap(actor, {
      kind,
      id: actorId,
      boot,
      countsOf,
      publish,
      reason,
      ...(child ? { child } : {}),
    });
    const beat = () => {
      for (const body of tapped.heartbeats(LEASE_MS, offer?.(String(actor.getSnapshot().value)))) {
        const subject = subjects.beat(body.kind, body.id);
        bus.publishLossy(subject, encodeMessage(Heartbeat, { subject, source, body }));
      }
    };
    const timer = setInterval(beat, LEASE_MS / 3);
    timer.unref();
    const end = () => {
      clearInterval(timer);
      tapped.close();
    };
    // An actor that ends with an error says so here; without a listener it would end the process.
    const failed = (error: unknown) => {
      log(`${source}: ${messageOf(error)}`, { level: 'error' });
      end();
    };
    actor.subscribe({ ...(offer ? { next: beat } : {}), complete: end, error: failed });
    cleanups.push(end);
    return beat;
  };

  let main: AnyActorRef | undefined;
  let countsOfMain: CountsOf = () => ({});
  let evidenceEnds: number | undefined;
  const failure = () => main && failureOf(main.getSnapshot(), reason());
  const context: RoleContext = {
    role,
    id,
    source,
    bus,
    log,
    effect,
    fail,
    failure,
    run({ machine, input, ...options }) {
      const actor = createActor(machine, { input, id: options.id } as never);
      const beat = observe(actor as unknown as AnyActorRef, options);
      if (main === undefined) countsOfMain = options.countsOf;
      main ??= actor as unknown as AnyActorRef;
      actor.start();
      beat();
      return actor as never;
    },
    evidenceEnds(at) {
      evidenceEnds = Math.floor(at.getTime() / 1000);
    },
    onStop: (cleanup) => void cleanups.push(cleanup),
  };
  try {
    const { actor, drain } = await start(context);
    main = actor;
    control(context, actor, drain);
    // Whoever asks from now on finds the subscriptions there.
    await bus.flush();
    const ended = bus.onState((state, error) => {
      if (state !== 'closed') return;
      // Nobody connects again: the credentials have ended or were revoked. What cannot be heard has to end.
      log(`${source}: ${messageOf(error ?? new Error('NATS has closed the connection'))}`, {
        level: 'error',
      });
      actor.send(drain as never);
    });
    return {
      role,
      id,
      bus,
      actor,
      failure,
      counts: () => countsOfMain(actor.getSnapshot().context),
      evidenceEnds: () => evidenceEnds,
      async stop() {
        ended();
        actor.send(drain as never);
        await until(actor, isSettled, 35_000).catch(() =>
          log(`${source}: stopped before it had drained`, { level: 'warn' }),
        );
        await cleanUp();
        (actor as unknown as { stop(): void }).stop();
      },
    };
  } catch (error) {
    await cleanUp();
    throw error;
  }
}

/** A change of state in the log, as the monitor sees it. */
function record(log: Log, { kind, id, from, to, event, seq, failure }: Transition): void {
  log(`${kind}.${id}: ${from ?? 'new'} -> ${to} (${event})`, {
    level: 'debug',
    role: kind,
    id,
    ...(from === null ? {} : { from }),
    to,
    event,
    seq,
    ...(failure === undefined || failure.errorId === '' ? {} : { error: failure.errorId }),
  });
}

/** Answers `ctl.<role>.<id>.drain`: the actor finishes what it has and takes no more. */
function control(
  { role, id, source, bus, log }: RoleContext,
  actor: AnyActorRef,
  drain: { type: string },
): void {
  const place = { subject: subjects.control(role, id, 'drain'), source, log };
  answer(bus, [ControlRequest, ControlReply], place, () => {
    actor.send(drain as never);
    return { state: String(actor.getSnapshot().value) };
  });
}

const isSettled = (snapshot: AnyMachineSnapshot): boolean =>
  snapshot.status !== 'active' || snapshot.hasTag('settled');

/** Resolves when the actor's snapshot satisfies `test`; throws `timeout` after `ms`. */
export async function until(
  actor: AnyActorRef,
  test: (snapshot: AnyMachineSnapshot) => boolean,
  ms: number,
): Promise<void> {
  const reached = () => test(actor.getSnapshot());
  if (reached()) return;
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  const timer = setTimeout(
    () =>
      reject(new VouchError('timeout', `actor ${actor.id} did not reach the expected state within ${ms} ms`)),
    ms,
  );
  const look = () => {
    if (reached()) resolve();
  };
  const subscription = actor.subscribe({ next: look, complete: look, error: reject } as never);
  try {
    await promise;
  } finally {
    clearTimeout(timer);
    subscription.unsubscribe();
  }
}

/** Whether the actor's present state has this tag. */
export const hasTag = (actor: AnyActorRef, tag: StateTag): boolean => actor.getSnapshot().hasTag(tag);

/** The names of a machine's states that have this tag. */
export const statesTagged = (machine: AnyStateMachine, tag: StateTag): ReadonlySet<string> =>
  new Set(
    Object.values(machine.states)
      .filter((state) => state.tags.includes(tag))
      .map(({ key }) => key),
  );

/** Resolves when the actor is up; throws why not when it has failed instead, `timeout` after `ms`. */
export async function untilUp({ actor, role, id, failure }: RunningRole, ms: number): Promise<void> {
  await until(actor, (snapshot) => snapshot.hasTag('up') || snapshot.hasTag('failed'), ms);
  const why = failure();
  if (why) throw new VouchError('not-ready', `${role} ${id} did not come up: ${sentenceOf(why)}`);
}

/** A failure as people are shown it. */
export const sentenceOf = ({ message, errorId }: Failed): string =>
  errorId === '' ? message : `${message} (error ${errorId} in the log)`;
