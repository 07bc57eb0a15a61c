/**
 * What a process of actors says of itself over HTTP to whoever watches processes (systemd, Kubernetes, Prometheus):
 *
 *   /healthz  200 while the process runs and none of its actors has failed for good, else 503
 *   /readyz   200 while all of its actors do what they are there for and NATS is connected, else 503
 *   /metrics  the same in numbers, and more of them (metrics.ts), in Prometheus' format
 *
 * It names states and counts, never what is worked on; it takes no input, and listens where it was told to.
 */
import { createServer } from 'node:http';
import { messageOf, VouchError } from '../../protocols/errors.ts';
import { urlOf } from '../nats/address.ts';
import { hasTag, type RunningRole } from './host.ts';
import { createMetrics, type Metrics } from './metrics.ts';

export interface Health {
  readonly url: string;
  /** Hears how long effects take (effects.ts). */
  readonly timed: Metrics['timed'];
  /** The actors of now; they change when a supervisor starts them again. */
  watch(roles: readonly RunningRole[]): void;
  close(): Promise<void>;
}

/** Starts listening. Throws `bad-input` for an address that cannot be had. */
export async function startHealth({ host, port }: { host: string; port: number }): Promise<Health> {
  let roles: readonly RunningRole[] = [];
  let ends: (() => void)[] = [];
  const metrics = createMetrics(() => roles);
  // A GPU that is not there is done without; one that goes to a VM is what its process is for.
  const needed = () => roles.filter(({ role }) => role !== 'gpu' || roles.length === 1);
  const connected = () => roles.every(({ bus }) => bus.state === 'connected');
  const healthy = () =>
    needed().every(({ actor }) => actor.getSnapshot().context.failure?.retryable !== false);
  const ready = () => roles.length > 0 && connected() && needed().every(({ actor }) => hasTag(actor, 'up'));

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
        return void metrics.text().then((text) => answer(200, text, metrics.contentType));
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
    for (const end of ends) end();
  };
  return {
    url: urlOf('http', host, (server.address() as { port: number }).port),
    timed: metrics.timed,
    watch(now) {
      unwatch();
      roles = now;
      ends = now.map((role) =>
        role.bus.onState((state) => {
          if (state === 'connected') metrics.reconnected(role);
        }),
      );
    },
    async close() {
      unwatch();
      server.closeAllConnections();
      await new Promise((done) => server.close(done));
    },
  };
}
