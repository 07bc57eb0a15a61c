/**
 * The monitor's role: what NATS says of all actors, read-only, into the monitor's feed. It publishes nothing but
 * requests, for stored transitions and what monitor-look-ups.ts asks for, and needs no right beyond those of the role `monitor`.
 *
 * Transitions come from the stream where its credentials may read it, and live from then on; heartbeats and
 * progress only live. Times of stored transitions are by the server's clock.
 */
import { messageOf } from '../../protocols/errors.ts';
import { STREAMS } from '../../protocols/streams.ts';
import { filters, lastTokenButOne } from '../../protocols/subjects.ts';
import type { Log } from '../home/log.ts';
import { createFeed } from '../monitor/feed.ts';
import { observe } from '../monitor/intake.ts';
import { LIMITS } from '../monitor/model.ts';
import type { Observation } from '../monitor/observation.ts';
import { type Monitor, type MonitorOptions, monitorClock, startMonitor } from '../monitor/server.ts';
import type { Bus, BusState, StoredMessage } from '../nats/bus.ts';
import { createLookUps } from './monitor-look-ups.ts';

export interface MonitorRoleOptions {
  readonly bus: Bus;
  /** default 0: a free one */
  readonly port?: number;
  /** default 127.0.0.1 */
  readonly host?: string;
  /** PEM */
  readonly tls?: MonitorOptions['tls'];
  readonly log?: Log;
}

/** Requests for stored messages under way at once. */
const PARALLEL = 64;

/** Starts the page and its feed. The bus stays the caller's to close. Throws `bad-input` for a port in use. */
export async function startMonitorRole(options: MonitorRoleOptions): Promise<Monitor> {
  const { bus, log = () => {}, port, host, tls } = options;
  const feed = createFeed();
  // The page is not told who asked for a proof; whoever looks it up by name has to know.
  const askers = new Map<string, string>();
  const monitor = await startMonitor({
    feed,
    lookUps: createLookUps(bus, monitorClock, (job) => askers.get(job)),
    tls,
    ...(port === undefined ? {} : { port }),
    ...(host === undefined ? {} : { host }),
  });

  // What is heard while the past is read waits, so that the feed has it in order.
  let waiting: Observation[] | undefined = [];
  const hear = (subject: string, data: Uint8Array): void => {
    const observation = observe(subject, data, monitorClock());
    if (observation.type === 'progress') {
      askers.delete(observation.job);
      askers.set(observation.job, lastTokenButOne(subject));
      if (askers.size > LIMITS.jobs) askers.delete(askers.keys().next().value!);
    }
    if (waiting && waiting.length < LIMITS.actors) waiting.push(observation);
    else feed.push(observation);
  };
  const subscriptions = [filters.states, filters.beats, filters.progresses].map((filter) =>
    bus.subscribe(filter, ({ subject, data }) => hear(subject, data)),
  );

  const recall = async (): Promise<void> => {
    try {
      for (const { subject, data, time } of await past(bus)) {
        feed.push(observe(subject, data, Math.min(time.getTime(), monitorClock())));
      }
    } catch (error) {
      log(
        `monitor: earlier transitions cannot be read, shows what it hears from now on: ${messageOf(error)}`,
      );
    }
    for (const observation of waiting ?? []) feed.push(observation);
    waiting = undefined;
  };
  const follow = (state: BusState): void => {
    const connected = state === 'connected';
    feed.push({ type: 'source', at: monitorClock(), connected });
    // What was missed meanwhile may be stored; what was heard before is known and ignored.
    if (connected) void recall();
  };
  const unfollow = bus.onState(follow);
  follow(bus.state);

  return {
    url: monitor.url,
    get watching() {
      return monitor.watching;
    },
    async close() {
      unfollow();
      for (const subscription of subscriptions) subscription.unsubscribe();
      feed.end();
      await monitor.close();
    },
  };
}

/** The last transition of every actor and the latest of all, oldest first. */
async function past(bus: Bus): Promise<StoredMessage[]> {
  const { name } = STREAMS.states;
  const actors = [...(await bus.subjectsOf(name, filters.states)).keys()].slice(-LIMITS.actors);
  const found = new Map<number, StoredMessage>();
  const keep = (message: StoredMessage | undefined) => message && found.set(message.sequence, message);
  await each(actors, async (subject) => keep(await bus.getLast(name, subject)));
  const newest = Math.max(0, ...found.keys());
  const sequences = Array.from({ length: Math.min(newest, LIMITS.transitions) }, (_, back) => newest - back);
  await each(
    sequences.filter((sequence) => !found.has(sequence)),
    async (sequence) => keep(await bus.getFrom(name, sequence)),
  );
  return [...found.values()].sort((a, b) => a.sequence - b.sequence);
}

/** Runs `ask` for every item, a bounded number at a time. */
async function each<T>(items: readonly T[], ask: (item: T) => Promise<unknown>): Promise<void> {
  for (let first = 0; first < items.length; first += PARALLEL) {
    await Promise.all(items.slice(first, first + PARALLEL).map(ask));
  }
}
