/**
 * The monitor's server: one page with its script, a stream of server-sent events (WHATWG HTML, section 9.2), fed with
 * observations, and what a page asks for beside it, as JSON. It holds no credentials and takes no input; whoever reaches its
 * port can read what it shows, so it listens on loopback unless another address is asked for; with a certificate it serves HTTPS.
 */
import { existsSync, readFileSync } from 'node:fs';
import type { IncomingMessage, Server, ServerResponse } from 'node:http';
import { createServer } from 'node:http';
import { createServer as createSecureServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import { isIP } from 'node:net';
import { messageOf, VouchError } from '../../protocols/errors.ts';
import { printable } from '../../protocols/printable.ts';
import { isLoopback, nearest, urlOf } from '../nats/address.ts';
import { icon, page } from './document.ts';
import { createHistories } from './histories.ts';
import type { FoundProof, LookUps } from './look-ups.ts';
import { drawings } from './machines.ts';
import type { Hello } from './model.ts';
import { emptyModel, LIMITS, reduce, toSnapshot } from './model.ts';
import type { Observation } from './observation.ts';
import { style } from './style.ts';
import { createWatchers } from './watchers.ts';

export interface MonitorOptions {
  readonly feed: AsyncIterable<Observation>;
  readonly lookUps?: LookUps | undefined;
  /** default 127.0.0.1 */
  readonly host?: string;
  /** default 0: a free one */
  readonly port?: number;
  /** PEM */
  readonly tls?: { readonly certificate: string; readonly key: string } | undefined;
  /** milliseconds, the clock of the feed's `at`; default `monitorClock` */
  readonly clock?: () => number;
  /** event streams at once, and those of one address; above it the oldest of who has most is ended */
  readonly maxClients?: number;
  readonly maxPerAddress?: number;
  /** bytes that may wait for one slow client before it is dropped */
  readonly maxQueueBytes?: number;
}

export interface Monitor {
  readonly url: string;
  /** event streams that are open */
  readonly watching: number;
  close(): Promise<void>;
}

/** Milliseconds since 1970 as of the start of this process, and monotonic from there on. */
export const monitorClock = (): number => Math.round(performance.timeOrigin + performance.now());

/** Observations are gathered for this long, then reduced and sent together. */
const BATCH_MS = 100;
/** A page that reads nothing for so long is gone; one that has watched for so long connects anew. */
const STALLED_MS = 30_000;
const OPEN_MS = 30 * 60_000;
const ASKING_MS = 10_000;
/** What was looked up is told again for so long, however many ask. */
const LOOKED_UP_MS = 20_000;
/** The page takes three of these in silence for a lost connection. */
const TICK_MS = 5_000;

const HEADERS = {
  'Content-Security-Policy': [
    "default-src 'none'",
    "script-src 'self'",
    "style-src 'self'",
    "img-src 'self'",
    "connect-src 'self'",
    "base-uri 'none'",
    "form-action 'none'",
    "frame-ancestors 'none'",
    "require-trusted-types-for 'script'",
  ].join('; '),
  'Cache-Control': 'no-store',
  'Cross-Origin-Opener-Policy': 'same-origin',
  'Cross-Origin-Resource-Policy': 'same-origin',
  'Referrer-Policy': 'no-referrer',
  'X-Content-Type-Options': 'nosniff',
};

/**
 * Starts serving. Throws `bad-input` when the port is in use or the address is not this machine's. The feed may
 * end or fail: the page then says that it is disconnected from its source.
 */
export async function startMonitor(options: MonitorOptions): Promise<Monitor> {
  const { feed, host = '127.0.0.1', port = 0, tls, clock = monitorClock } = options;
  const { maxClients = 32, maxPerAddress = 8, maxQueueBytes = 4 * 1024 * 1024 } = options;
  const files = pageFiles();
  const histories = createHistories(LIMITS.actors);
  const clients = new Set<ServerResponse>();
  const watchers = createWatchers({
    streams: maxClients,
    perAddress: maxPerAddress,
    stalledMs: STALLED_MS,
    openMs: OPEN_MS,
  });
  let model = emptyModel;
  let batch: Observation[] = [];
  let flushTimer: NodeJS.Timeout | undefined;
  let closed = false;

  const send = (client: ServerResponse, event: string, data: unknown): void => {
    // What waits is judged before the next is added: one large snapshot is no sign of a slow reader.
    if (client.writableLength > maxQueueBytes) client.destroy();
    else client.write(`event: ${event}\ndata: ${JSON.stringify(data)}\n\n`);
  };
  const broadcast = (event: string, data: unknown): void => {
    for (const client of clients) send(client, event, data);
  };
  const flush = (): void => {
    flushTimer = undefined;
    const observations = batch;
    batch = [];
    model = reduce(model, observations);
    broadcast('observations', observations);
  };
  const take = (observation: Observation): void => {
    batch.push(observation);
    histories.hear(observation);
    flushTimer ??= setTimeout(flush, BATCH_MS);
  };

  const watch = async (): Promise<void> => {
    try {
      for await (const observation of feed) {
        if (closed) return;
        take(observation);
      }
    } catch (error) {
      console.error(printable(`monitor: its feed failed: ${messageOf(error)}`));
    }
    if (!closed) take({ type: 'source', at: clock(), connected: false });
  };

  const stream = (response: ServerResponse): void => {
    response.writeHead(200, { ...HEADERS, 'Content-Type': 'text/event-stream' });
    clients.add(response);
    const gone = watchers.add(
      {
        get waiting() {
          return response.writableLength;
        },
        end: () => response.destroy(),
      },
      response.socket?.remoteAddress,
    );
    response.on('close', () => {
      clients.delete(response);
      gone();
    });
    const hello: Hello = { now: clock(), tickMs: TICK_MS, snapshot: toSnapshot(model) };
    send(response, 'hello', hello);
  };

  const answer = (request: IncomingMessage, response: ServerResponse): void => {
    const refusal = refuse(request, host);
    if (refusal) {
      fail(response, ...refusal);
    } else if (pathOf(request) !== '/events') {
      serve(response, pathOf(request), request.method === 'HEAD').catch((error: unknown) =>
        fail(response, 500, `this could not be made: ${printable(messageOf(error)).slice(0, 300)}`),
      );
    } else {
      stream(response);
    }
  };

  const workers = () =>
    [...model.actors.values()].filter(({ kind }) => kind === 'worker').map(({ id }) => id);
  const answers: Readonly<Record<string, () => unknown>> = {
    '/machines.json': drawings,
    '/models.json': remembered(() => options.lookUps?.models() ?? []),
    '/evidence.json': remembered(() => options.lookUps?.evidence() ?? []),
    '/convictions.json': remembered(() => options.lookUps?.convictions(workers()) ?? []),
  };
  const proofs = new Map<string, () => Promise<FoundProof>>();
  /** Of jobs that were heard of alone, so that whoever asks can neither fill this memory nor make NATS search for his own names. */
  const proofOf = async (job: string): Promise<FoundProof> => {
    const { lookUps } = options;
    if (!lookUps || model.jobs.get(job)?.phase !== 'published')
      return { error: 'Of this job no published proof was heard.' };
    for (const known of proofs.keys()) if (!model.jobs.has(known)) proofs.delete(known);
    if (!proofs.has(job))
      proofs.set(
        job,
        remembered(() => lookUps.proof(job)),
      );
    return proofs.get(job)!();
  };
  const fileAt = async (path: string): Promise<File | undefined> => {
    const [, kind, id] = /^\/history\/([a-z-]{1,32})\/([A-Za-z0-9_-]{1,64})$/.exec(path) ?? [];
    if (kind && id) return json(histories.of(kind, id));
    const [, job] = /^\/proof\/([A-Za-z0-9_-]{1,64})$/.exec(path) ?? [];
    if (job) return json(await proofOf(job));
    if (Object.hasOwn(answers, path)) return json(await answers[path]!());
    return files.get(path)?.();
  };
  const serve = async (response: ServerResponse, path: string, headOnly: boolean): Promise<void> => {
    const file = await fileAt(path);
    if (file === undefined) {
      fail(response, 404, 'no such page');
      return;
    }
    response.writeHead(200, {
      ...HEADERS,
      ...file.headers,
      'Content-Type': file.type,
      'Content-Length': file.body.byteLength,
    });
    response.end(headOnly ? undefined : file.body);
  };

  // Whoever connects and asks nothing is gone soon.
  const patience = { headersTimeout: ASKING_MS, requestTimeout: ASKING_MS, keepAliveTimeout: ASKING_MS / 2 };
  const settings = { maxHeaderSize: 16 * 1024, connectionsCheckingInterval: ASKING_MS / 2, ...patience };
  const server = tls
    ? createSecureServer(
        { ...settings, cert: tls.certificate, key: tls.key, handshakeTimeout: ASKING_MS },
        answer,
      )
    : createServer(settings, answer);
  server.maxConnections = 256;
  await listen(server, port, host);
  const { address, port: bound } = server.address() as AddressInfo;

  void watch();
  const ticks = setInterval(() => {
    watchers.sweep();
    broadcast('tick', clock());
  }, TICK_MS);

  return {
    url: `${urlOf(tls ? 'https' : 'http', nearest(address), bound)}/`,
    get watching() {
      return watchers.size;
    },
    async close() {
      closed = true;
      clearInterval(ticks);
      clearTimeout(flushTimer);
      const done = new Promise<void>((resolve) => server.close(() => resolve()));
      server.closeAllConnections();
      await done;
    },
  };
}

function listen(server: Server, port: number, host: string): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', (error: NodeJS.ErrnoException) => {
      const why =
        error.code === 'EADDRINUSE'
          ? 'the port is in use; choose another, or 0 for a free one'
          : `cannot listen there (${error.code ?? error.message})`;
      reject(new VouchError('bad-input', `monitor: ${host} port ${port}: ${why}`, { cause: error }));
    });
    server.listen(port, host, resolve);
  });
}

const LOOPBACK = ['127.0.0.1', '[::1]', 'localhost'];

/**
 * Against DNS rebinding: a foreign page can make its own name point here, but not make a browser send an
 * address or `localhost` as Host. On loopback only loopback's names are answered, elsewhere any bare address.
 */
function mayAsk(header: string | undefined, host: string): boolean {
  const name = header?.toLowerCase().replace(/:[0-9]{1,5}$/, '');
  if (name === undefined) return false;
  if (LOOPBACK.includes(name) || name === host.toLowerCase()) return true;
  return !isLoopback(host) && isIP(name.replace(/^\[(.*)\]$/, '$1')) !== 0;
}

/** Why a request is not answered, as status and sentence. */
function refuse(request: IncomingMessage, host: string): [number, string] | null {
  if (!mayAsk(request.headers.host, host))
    return [421, 'this monitor does not go by that name; ask by address'];
  if (request.method !== 'GET' && request.method !== 'HEAD') return [405, 'GET only'];
  if (pathOf(request) !== '/events') return null;
  if (request.method === 'HEAD') return [405, 'GET only'];
  const site = request.headers['sec-fetch-site'];
  const foreign = site === 'cross-site' || site === 'same-site';
  return foreign ? [403, "events are for this monitor's own page"] : null;
}

const pathOf = (request: IncomingMessage): string => request.url?.split('?', 1)[0] ?? '/';

function fail(response: ServerResponse, status: number, why: string): void {
  response.writeHead(status, {
    ...HEADERS,
    'Content-Type': 'text/plain; charset=utf-8',
    Connection: 'close',
  });
  response.end(`${why}\n`);
}

interface File {
  readonly type: string;
  readonly body: Buffer;
  /** in the place of those of the other pages */
  readonly headers?: Readonly<Record<string, string>>;
}

/** The verifier as `npm run build:verifier` has made it, under the policy that it states itself; none where it was not made. */
function verifierFile(ending: string): File | undefined {
  const place = new URL(
    ending === '.ts' ? '../../dist/verifier.html' : '../../verifier.html',
    import.meta.url,
  );
  if (!existsSync(place)) return undefined;
  const body = readFileSync(place);
  const policy = /<meta http-equiv="Content-Security-Policy" content="([^"]+)">/.exec(
    body.toString('utf8'),
  )?.[1];
  if (policy === undefined) return undefined;
  const headers = { 'Content-Security-Policy': `${policy}; frame-ancestors 'none'` };
  return { type: 'text/html; charset=utf-8', body, headers };
}

const text = (type: string, body: string): File => ({
  type: `${type}; charset=utf-8`,
  body: Buffer.from(body),
});
const json = (value: unknown): File => text('application/json', JSON.stringify(value));

/** The same answer for a while; what failed is asked again by the next. */
function remembered<T>(look: () => T | Promise<T>): () => Promise<T> {
  let known: Promise<T> | undefined;
  let at = 0;
  return () => {
    if (known && performance.now() - at < LOOKED_UP_MS) return known;
    at = performance.now();
    const asked = (async () => look())();
    known = asked;
    asked.catch(() => {
      known = undefined;
    });
    return asked;
  };
}

/** Makes it once, when it is first asked for; what failed is tried again. */
function once(make: () => Promise<File>): () => Promise<File> {
  let made: Promise<File> | undefined;
  return () => {
    made ??= make();
    made.catch(() => {
      made = undefined;
    });
    return made;
  };
}

const BUNDLED = {
  '/page.js': 'text/javascript',
  '/judge.js': 'text/javascript',
  '/chart.css': 'text/css',
} as const;
type Bundled = keyof typeof BUNDLED;

/** A part of the page: in the package it lies there, compressed; in the repository it is made from its sources. */
async function bundledFile(path: Bundled, ending: string): Promise<File> {
  if (ending !== '.ts') {
    const body = readFileSync(new URL(`../../monitor${path}.gz`, import.meta.url));
    return { type: `${BUNDLED[path]}; charset=utf-8`, body, headers: { 'Content-Encoding': 'gzip' } };
  }
  const { monitorFiles } = (await import(new URL('../bundle.mjs', import.meta.url).href)) as {
    monitorFiles: Record<Bundled, () => Promise<string>>;
  };
  return text(BUNDLED[path], await monitorFiles[path]());
}

/** What is served, by path. */
function pageFiles(): ReadonlyMap<string, () => Promise<File>> {
  // `.ts` in the repository, `.js` in the built package.
  const ending = import.meta.url.slice(import.meta.url.lastIndexOf('.'));
  const verifier = verifierFile(ending);
  const fixed = (file: File) => async () => file;
  return new Map([
    ['/', fixed(text('text/html', page(verifier !== undefined)))],
    ['/style.css', fixed(text('text/css', style))],
    ['/icon.svg', fixed(text('image/svg+xml', icon))],
    ...(verifier ? [['/verifier.html', fixed(verifier)] as const] : []),
    ...Object.keys(BUNDLED).map((path) => [path, once(() => bundledFile(path as Bundled, ending))] as const),
  ]);
}
