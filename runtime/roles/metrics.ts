/**
 * What a process of actors counts, in Prometheus' format, by prom-client: of every actor whether it works, what the monitor may
 * count of it (tap.ts), how long its effects take and with which codes they fail, its connection, its evidence, and of a
 * coordinator the streams that it fills.
 *
 * How long something took may depend on a secret (a witness, weights), and whoever reaches the port reads it after each effect.
 * So a duration counts as the bound of its bucket: what is read is in which bucket it fell, also from `_sum`. No label
 * names a job, a model, a client or a request.
 */
import { Counter, Gauge, Histogram, Registry } from 'prom-client';
import type { Role } from '../../protocols/subjects.ts';
import type { StreamFill } from '../nats/jetstream.ts';
import { memoryStreams } from '../nats/rights.ts';
import type { Timed } from './effects.ts';
import { hasTag, type RunningRole } from './host.ts';

/** Seconds. None is finer than what the monitor may see, a hundredth of a second. */
const EFFECT_BOUNDS = [0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1800];
/** A request runs through a graph of a fixed shape, whatever its row holds. */
const INFER_BOUNDS = [0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 5, 30];
/** Of a stream that does not say how full it is. */
const ASK_MS = 1_000;

export interface Metrics {
  readonly contentType: string;
  text(): Promise<string>;
  timed(role: Role, id: string): Timed;
  reconnected(role: RunningRole): void;
}

/** `running`: the actors of now. */
export function createMetrics(running: () => readonly RunningRole[]): Metrics {
  const register = new Registry();
  const registers = [register];
  const gauge = (name: string, help: string, set: (gauge: Gauge) => unknown, labels: string[] = []) =>
    new Gauge({
      name,
      help,
      registers,
      labelNames: labels,
      async collect() {
        this.reset();
        await set(this);
      },
    });
  const of = ({ role, id }: Pick<RunningRole, 'role' | 'id'>) => ({ role, id });
  const each = (name: string, help: string, value: (role: RunningRole) => number | undefined) =>
    gauge(
      name,
      help,
      (set) => {
        for (const role of running()) {
          const now = value(role);
          if (now !== undefined) set.set(of(role), now);
        }
      },
      ['role', 'id'],
    );

  gauge('vouch_process_uptime_seconds', 'since this process began', (set) =>
    set.set(Math.round(process.uptime())),
  );
  gauge('vouch_process_resident_bytes', 'memory of this process', (set) =>
    set.set(process.memoryUsage.rss()),
  );
  each('vouch_actor_up', '1 while an actor does what it is there for', ({ actor }) =>
    hasTag(actor, 'up') ? 1 : 0,
  );
  each('vouch_actor_failed', '1 while an actor has failed', ({ failure }) => (failure() ? 1 : 0));
  gauge(
    'vouch_actor_count',
    'what an actor counts: requests, shards, jobs, by their name',
    (set) => {
      for (const role of running())
        for (const [count, value] of Object.entries(role.counts())) set.set({ ...of(role), count }, value);
    },
    ['role', 'id', 'count'],
  );
  each('vouch_evidence_expiry_seconds', 'when its evidence runs out, in seconds since 1970', (role) =>
    role.evidenceEnds(),
  );
  each('vouch_nats_connected', '1 while connected to NATS', ({ bus }) => (bus.state === 'connected' ? 1 : 0));
  each(
    'vouch_nats_received_bytes',
    'payload that this connection has received',
    ({ bus }) => bus.traffic.inBytes,
  );
  each('vouch_nats_sent_bytes', 'payload that this connection has sent', ({ bus }) => bus.traffic.outBytes);
  const reconnects = new Counter({
    name: 'vouch_nats_reconnects_total',
    help: 'connections to NATS made again',
    labelNames: ['role', 'id'],
    registers,
  });
  const streams = (name: string, help: string, value: (fill: StreamFill) => number) =>
    gauge(
      name,
      help,
      async (set) => {
        for (const [stream, fill] of await fills()) set.set({ stream }, value(fill));
      },
      ['stream'],
    );
  streams('vouch_stream_messages', "messages in a coordinator's streams", ({ messages }) => messages);
  streams('vouch_stream_bytes', "bytes in a coordinator's streams", ({ bytes }) => bytes);
  streams('vouch_stream_limit_bytes', 'how many there may be; -1: no limit', ({ maxBytes }) => maxBytes);

  let asked: Promise<Map<string, StreamFill>> | undefined;
  /** How full the streams are that a coordinator here may ask about, asked once for each time that somebody reads. */
  const fills = () => {
    asked ??= (async () => {
      const bus = running().find(({ role }) => role === 'coordinator')?.bus;
      const found = new Map<string, StreamFill>();
      if (bus?.state !== 'connected') return found;
      const late = new Promise<void>((resolve) => setTimeout(resolve, ASK_MS).unref());
      const all = memoryStreams().map(async ({ name }) => {
        const fill = await bus.fillOf(name).catch(() => undefined);
        if (fill) found.set(name, fill);
      });
      await Promise.race([Promise.all(all), late]);
      return found;
    })();
    return asked;
  };

  const histogram = (name: string, help: string, buckets: number[], labelNames: string[]) => {
    const made = new Histogram({ name, help, buckets, labelNames, registers });
    return (labels: Record<string, string>, millis: number) => {
      const bound = buckets.find((each) => millis / 1000 <= each) ?? 2 * buckets.at(-1)!;
      made.observe(labels, bound);
    };
  };
  const inferred = histogram(
    'vouch_infer_seconds',
    'a request in a runner: opened, answered, its receipt stored',
    INFER_BOUNDS,
    ['role', 'id'],
  );
  const took = histogram('vouch_effect_seconds', 'what an actor does, by its effect', EFFECT_BOUNDS, [
    'role',
    'id',
    'effect',
  ]);
  const failures = new Counter({
    name: 'vouch_effect_errors_total',
    help: 'what failed, by effect and code',
    labelNames: ['role', 'id', 'effect', 'code'],
    registers,
  });

  return {
    contentType: register.contentType,
    async text() {
      asked = undefined;
      return register.metrics();
    },
    timed: (role, id) => (effect, millis, failed) => {
      if (failed !== undefined) failures.inc({ role, id, effect, code: failed });
      else if (role === 'runner' && effect === 'infer') inferred({ role, id }, millis);
      else took({ role, id, effect }, millis);
    },
    reconnected: (role) => reconnects.inc(of(role)),
  };
}
