/**
 * What a process of actors says of itself over HTTP to whoever watches processes (systemd, Kubernetes, Prometheus):
 *
 *   /healthz  200 while the process runs and none of its actors has failed for good, else 503
 *   /readyz   200 while all of its actors do what they are there for and NATS is connected, else 503
 *   /metrics  the same in numbers, and the counts that the monitor may see (tap.ts), in Prometheus' format
 *
 * It names states and counts, never what is worked on; it takes no input, and listens where it was told to.
 */
import { createServer } from 'node:http';
import { messageOf, VouchError } from '../../protocols/errors.ts';
import { urlOf } from '../nats/address.ts';
import type { Bus } from '../nats/bus.ts';
import { hasTag, type RunningRole } from './host.ts';

export interface Health {
  readonly url: string;
  /** The actors of now; they change when a supervisor starts them again. */
  watch(roles: readonly RunningRole[]): void;
  close(): Promise<void>;
}

interface Link {
  readonly bus: Bus;
  reconnects: number;
  end(): void;
}

/** Starts listening. Throws `bad-input` for an address that cannot be had. */
export async function startHealth({ host, port }: { host: string; port: number }): Promise<Health> {
  const began = performance.now();
  let roles: readonly RunningRole[] = [];
  let links: Link[] = [];
  const follow = (bus: Bus): Link => {
    const link: Link = { bus, reconnects: 0, end: () => {} };
    link.end = bus.onState((state) => {
      if (state === 'connected') link.reconnects += 1;
    });
    return link;
  };
  // A GPU that is not there is done without; one that goes to a VM is what its process is for.
  const needed = () => roles.filter(({ role }) => role !== 'gpu' || roles.length === 1);
  const connected = () => roles.every(({ bus }) => bus.state === 'connected');
  const healthy = () =>
    needed().every(({ actor }) => actor.getSnapshot().context.failure?.retryable !== false);
  const ready = () => roles.length > 0 && connected() && needed().every(({ actor }) => hasTag(actor, 'up'));

  /** Names and labels are ours (kinds, ids that were checked, names of counts), so nothing has to be escaped. */
  const metrics = (): string => {
    const lines: string[] = [];
    const family = (
      name: string,
      type: string,
      help: string,
      samples: readonly [labels: string, value: number][],
    ) =>
      lines.push(
        `# HELP ${name} ${help}`,
        `# TYPE ${name} ${type}`,
        ...samples.map(([labels, value]) => `${name}${labels} ${value}`),
      );
    const labelled = (role: RunningRole, more = '') => `{role="${role.role}",id="${role.id}"${more}}`;
    family('vouch_process_uptime_seconds', 'gauge', 'since this process began', [
      ['', Math.round((performance.now() - began) / 1000)],
    ]);
    family('vouch_process_resident_bytes', 'gauge', 'memory of this process', [
      ['', process.memoryUsage.rss()],
    ]);
    family(
      'vouch_actor_up',
      'gauge',
      '1 while an actor does what it is there for',
      roles.map((role) => [labelled(role), hasTag(role.actor, 'up') ? 1 : 0]),
    );
    family(
      'vouch_actor_failed',
      'gauge',
      '1 while an actor has failed',
      roles.map((role) => [labelled(role), role.failure() ? 1 : 0]),
    );
    family(
      'vouch_actor_count',
      'gauge',
      'what an actor counts: requests, shards, jobs, by their name',
      roles.flatMap((role) =>
        Object.entries(role.counts()).map(([name, value]): [string, number] => [
          labelled(role, `,count="${name}"`),
          value,
        ]),
      ),
    );
    family(
      'vouch_nats_connected',
      'gauge',
      '1 while connected to NATS',
      roles.map((role) => [labelled(role), role.bus.state === 'connected' ? 1 : 0]),
    );
    family(
      'vouch_nats_reconnects_total',
      'counter',
      'connections to NATS made again',
      roles.map((role, i) => [labelled(role), links[i]?.reconnects ?? 0]),
    );
    return `${lines.join('\n')}\n`;
  };

  const server = createServer((request, response) => {
    const answer = (status: number, text: string, type = 'text/plain; charset=utf-8') => {
      response.writeHead(status, {
        'Content-Type': type,
        'Cache-Control': 'no-store',
        'X-Content-Type-Options': 'nosniff',
      });
      response.end(text);
    };
    request.resume();
    if (request.method !== 'GET') return answer(405, 'only GET\n');
    switch (request.url) {
      case '/healthz':
        return answer(
          healthy() ? 200 : 503,
          healthy() ? 'ok\n' : 'an actor has failed for good; its log says why\n',
        );
      case '/readyz':
        return answer(ready() ? 200 : 503, ready() ? 'ready\n' : 'not ready: vouch status says more\n');
      case '/metrics':
        return answer(200, metrics(), 'text/plain; version=0.0.4; charset=utf-8');
      default:
        return answer(404, 'expected /healthz, /readyz or /metrics\n');
    }
  });
  server.requestTimeout = 10_000;
  server.maxConnections = 64;
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  server.once('error', (error) =>
    reject(
      new VouchError(
        'bad-input',
        `--health: cannot listen on ${urlOf('http', host, port)}: ${messageOf(error)}`,
      ),
    ),
  );
  server.listen(port, host, resolve);
  await promise;
  const unwatch = () => {
    for (const { end } of links) end();
  };
  return {
    url: urlOf('http', host, (server.address() as { port: number }).port),
    watch(now) {
      unwatch();
      roles = now;
      links = now.map(({ bus }) => follow(bus));
    },
    async close() {
      unwatch();
      server.closeAllConnections();
      await new Promise((done) => server.close(done));
    },
  };
}
