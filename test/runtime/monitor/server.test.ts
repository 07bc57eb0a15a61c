import { once } from 'node:events';
import { existsSync, readFileSync } from 'node:fs';
import { request } from 'node:http';
import { request as secureRequest } from 'node:https';
import { connect } from 'node:net';
import { ensureTlsAuthority } from '../../../runtime/installation/tls-authority.ts';
import { createFeed } from '../../../runtime/monitor/feed.ts';
import type { Hello } from '../../../runtime/monitor/model.ts';
import { fromSnapshot, reduce } from '../../../runtime/monitor/model.ts';
import type { Observation } from '../../../runtime/monitor/observation.ts';
import { startMonitor } from '../../../runtime/monitor/server.ts';
import type { TestContext } from '../../harness.ts';
import { assert, suite } from '../../harness.ts';
import { temporaryFolder, until } from '../nats/nats-fixture.ts';
import { progress, transition } from './monitor-fixture.ts';

const test = suite('monitor server', { timeoutMs: 100_000 });

async function started(t: TestContext, options: Partial<Parameters<typeof startMonitor>[0]> = {}) {
  const feed = createFeed();
  const monitor = await startMonitor({ feed, ...options });
  t.defer(() => monitor.close());
  t.defer(() => feed.end());
  return { feed, monitor, url: monitor.url };
}

/** The status and body that a raw request gets; `fetch` would not send a foreign Host. */
function ask(
  url: string,
  headers: Record<string, string>,
  method = 'GET',
): Promise<{ status: number; text: string }> {
  return new Promise((resolve, reject) => {
    const sent = request(url, { method, headers, setHost: false, agent: false }, (response) => {
      response.setEncoding('utf8');
      let text = '';
      response.on('data', (part: string) => {
        text += part;
      });
      response.on('end', () => resolve({ status: response.statusCode!, text }));
    });
    sent.on('error', reject);
    sent.end();
  });
}

/** Server-sent events as they come, ticks left out: when they come says nothing about what is sent. */
async function* events(t: TestContext, url: string): AsyncGenerator<{ event: string; data: unknown }> {
  const abort = new AbortController();
  t.defer(() => abort.abort());
  const response = await fetch(`${url}events`, { signal: abort.signal });
  assert.is(response.headers.get('content-type'), 'text/event-stream');
  let buffered = '';
  for await (const part of response.body!.pipeThrough(new TextDecoderStream())) {
    buffered += part;
    const blocks = buffered.split('\n\n');
    buffered = blocks.pop()!;
    for (const block of blocks) {
      const [, event, data] = /^event: (.+)\ndata: (.+)$/.exec(block)!;
      if (event !== 'tick') yield { event: event!, data: JSON.parse(data!) };
    }
  }
}

test('the page, its style and its scripts are served under a strict policy', async (t) => {
  const { url } = await started(t);
  const types: Record<string, string> = {
    '': 'text/html',
    'style.css': 'text/css',
    'chart.css': 'text/css',
    'icon.svg': 'image/svg+xml',
    'page.js': 'text/javascript',
    'judge.js': 'text/javascript',
    'machines.json': 'application/json',
    'history/worker/w1': 'application/json',
    'evidence.json': 'application/json',
    'convictions.json': 'application/json',
    'proof/j1': 'application/json',
  };
  for (const [path, type] of Object.entries(types)) {
    const response = await fetch(url + path);
    assert.is(response.status, 200, path);
    assert.is(response.headers.get('content-type'), `${type}; charset=utf-8`);
    const policy = response.headers.get('content-security-policy')!;
    assert.match(policy, "default-src 'none'");
    assert.match(policy, "require-trusted-types-for 'script'");
    assert.not.match(policy, 'unsafe');
    assert.is(response.headers.get('x-content-type-options'), 'nosniff');
    assert.is(response.headers.get('access-control-allow-origin'), null);
    const text = await response.text();
    if (type === 'text/html') {
      assert.not.match(text, /<style|style=|<script(?![^>]* src="\/)|\son[a-z]+=/i);
    }
    if (type === 'text/javascript')
      assert.not.match(text, /(^|[;}\n])(import|export)[\s{*'"]/, 'it is whole');
  }
  for (const path of ['server.ts', '../package.json', 'history/worker/..', 'history/worker/a/b', '__proto__'])
    assert.is((await fetch(url + path)).status, 404, path);
});

test("what one actor does a thousand times takes no place in another's history", async (t) => {
  const { feed, url } = await started(t);
  feed.push(transition(1, 'joining', { id: 'quiet' }));
  for (let seq = 1; seq <= 1_000; seq++) feed.push(transition(seq, seq % 2 ? 'idle' : 'computing'));
  // Stored ones are heard again after a reconnect, and late ones find their place.
  for (const seq of [990, 1_000, 1_002, 1_001]) feed.push(transition(seq, 'idle'));
  type History = { seq: number; to: string }[];
  const history = async (id: string) => (await (await fetch(`${url}history/worker/${id}`)).json()) as History;
  let loud: History = [];
  while (loud.at(-1)?.seq !== 1_002) loud = await history('w1');
  assert.is(loud.length, 64);
  assert.equal(
    loud.slice(-3).map(({ seq }) => seq),
    [1_000, 1_001, 1_002],
  );
  assert.is(
    loud.filter(({ seq }) => seq === 990).length,
    2,
    'the same number with another state is no repeat',
  );
  assert.equal(
    (await history('quiet')).map(({ to }) => to),
    ['joining'],
  );
  assert.equal(await history('nobody'), []);
});

test('what is looked up is looked up once for all who ask, and a failure is one sentence', async (t) => {
  let asked = 0;
  const lookUps = {
    models: async () => [],
    evidence: async () => {
      asked += 1;
      return [{ model: 'm', nonce: '00', at: 0 }];
    },
    proof: async () => ({ error: 'none' }),
    convictions: async () => {
      throw new Error('the bucket is \u001b[31mgone');
    },
  };
  const { url } = await started(t, { lookUps });
  const all = await Promise.all(Array.from({ length: 20 }, () => fetch(`${url}evidence.json`)));
  assert.equal(await all[19]!.json(), [{ model: 'm', nonce: '00', at: 0 }]);
  assert.is(asked, 1);
  const failed = await fetch(`${url}convictions.json`);
  assert.is(failed.status, 500);
  assert.is(await failed.text(), 'this could not be made: the bucket is [31mgone\n');
});

test('a proof is looked up once for all who ask, and of jobs alone that were heard to be published', async (t) => {
  const asked: string[] = [];
  const lookUps = {
    models: async () => [],
    evidence: async () => [],
    convictions: async () => [],
    proof: async (job: string) => {
      asked.push(job);
      return { proof: { of: job } };
    },
  };
  const { feed, url } = await started(t, { lookUps });
  const of = async (job: string) => (await fetch(`${url}proof/${job}`)).json();
  const unheard = { error: 'Of this job no published proof was heard.' };
  feed.push(progress('dispatching', 1, { job: 'running' }));
  feed.push(progress('published', 1, { job: 'done' }));
  await until(async () => !('error' in ((await of('done')) as object)));
  const all = await Promise.all(Array.from({ length: 20 }, () => of('done')));
  assert.equal(all[19], { proof: { of: 'done' } });
  for (const job of ['running', 'unheard', '__proto__', 'x'.repeat(64)]) assert.equal(await of(job), unheard);
  for (const path of ['proof/', 'proof/a.b', 'proof/a/b', `proof/${'x'.repeat(65)}`])
    assert.is((await fetch(url + path)).status, 404, path);
  assert.equal(asked, ['done']);
});

test('the verifier is served where it was built, under the policy that it states, and in no frame', async (t) => {
  const built = new URL('../../../dist/verifier.html', import.meta.url);
  const { url } = await started(t);
  const response = await fetch(`${url}verifier.html`);
  const home = await (await fetch(url)).text();
  if (!existsSync(built)) {
    assert.equal([response.status, home.includes('/verifier.html')], [404, false]);
    return;
  }
  const text = await response.text();
  assert.is(text, readFileSync(built, 'utf8'), 'not a byte is changed, so its digest can be compared');
  const policy = response.headers.get('content-security-policy')!;
  assert.match(
    policy,
    /^default-src 'none'; script-src 'sha256-[^']+' 'wasm-unsafe-eval'; style-src 'sha256-/,
  );
  assert.match(policy, /frame-ancestors 'none'$/);
  assert.ok(home.includes('href="/verifier.html"'));
});

test('only reading is allowed', async (t) => {
  const { url } = await started(t);
  for (const method of ['POST', 'PUT', 'DELETE', 'OPTIONS']) {
    assert.is((await fetch(url, { method })).status, 405, method);
  }
  assert.is((await fetch(url, { method: 'HEAD' })).status, 200);
});

test('a foreign Host is refused, loopback names are answered', async (t) => {
  const { url } = await started(t);
  const { port, host } = new URL(url);
  for (const name of [host, `localhost:${port}`, `LOCALHOST:${port}`, '127.0.0.1', '[::1]:80']) {
    assert.is((await ask(url, { host: name })).status, 200, name);
  }
  for (const name of [
    'evil.example',
    `evil.example:${port}`,
    'localhost.evil.example',
    '192.0.2.1',
    '',
    '::1',
  ]) {
    assert.is((await ask(url, { host: name })).status, 421, name);
    assert.is((await ask(`${url}events`, { host: name })).status, 421, name);
  }
});

test('on every address a bare address is answered, a foreign name is not', async (t) => {
  const { url } = await started(t, { host: '0.0.0.0' });
  assert.is((await ask(url, { host: '192.0.2.1:8080' })).status, 200);
  assert.is((await ask(url, { host: 'evil.example' })).status, 421);
});

test('with a certificate it serves HTTPS, and nothing without', async (t) => {
  const authority = await ensureTlsAuthority(await temporaryFolder(t));
  const tls = authority.issue(['127.0.0.1']);
  const feed = createFeed();
  const monitor = await startMonitor({ feed, tls });
  t.defer(() => monitor.close());
  assert.match(monitor.url, /^https:\/\/127\.0\.0\.1:\d+\/$/);
  const ask = (get: typeof secureRequest, url: string, ca?: string) =>
    new Promise<number | string>((resolve) => {
      const asked = get(url, ca ? { ca } : {}, (response) => resolve(response.statusCode!));
      asked.on('error', (error: NodeJS.ErrnoException) => resolve(error.code ?? error.message));
      asked.end();
    });
  assert.is(await ask(secureRequest, monitor.url, authority.certificate), 200);
  assert.match(String(await ask(secureRequest, monitor.url)), /SIGNATURE|CERT|ISSUER/);
  assert.is.not(await ask(request as typeof secureRequest, monitor.url.replace('https:', 'http:')), 200);
});

test('another site cannot open the events', async (t) => {
  const { url } = await started(t);
  const { host } = new URL(url);
  assert.is((await ask(`${url}events`, { host, 'sec-fetch-site': 'cross-site' })).status, 403);
  assert.is((await ask(`${url}events`, { host, 'sec-fetch-site': 'same-site' })).status, 403);
});

test('a page gets the snapshot first, then what follows, and ends with the same model', async (t) => {
  const clock = () => 1_234;
  const { feed, url } = await started(t, { clock });
  const first = events(t, url);
  await first.next();
  feed.push(transition(1, 'joining'));
  await first.next();
  const stream = events(t, url);
  const hello = (await stream.next()).value as { event: string; data: Hello };
  assert.is(hello.event, 'hello');
  assert.is(hello.data.now, clock());
  assert.equal(
    hello.data.snapshot.transitions.map(({ to }) => to),
    ['joining'],
  );
  feed.push(transition(2, 'idle'));
  const live = (await stream.next()).value!;
  assert.is(live.event, 'observations');
  const model = reduce(fromSnapshot(hello.data.snapshot), live.data as Observation[]);
  assert.is(model.actors.get('worker/w1')!.state, 'idle');
  const second = (await events(t, url).next()).value!.data as Hello;
  assert.equal(fromSnapshot(second.snapshot), model);
});

test('a feed that ends or fails leaves the monitor up and says so', async (t) => {
  const { feed, url } = await started(t);
  feed.end();
  const stream = events(t, url);
  await stream.next();
  const [last] = (await stream.next()).value!.data as Observation[];
  assert.is(last?.type === 'source' && last.connected, false);
  assert.is((await fetch(url)).status, 200);
});

test('the number of event streams is bounded: the newest stay', async (t) => {
  const { url, monitor, feed } = await started(t, { maxClients: 2 });
  const [first, second, third] = [events(t, url), events(t, url), events(t, url)];
  for (const stream of [first, second, third]) await stream.next();
  assert.is(monitor.watching, 2);
  const ended = await first.next().then(
    () => false,
    () => true,
  );
  assert.ok(ended, 'the oldest is ended');
  feed.push(transition(1, 'idle'));
  for (const stream of [second, third]) assert.is((await stream.next()).value!.event, 'observations');
});

test('a client that does not read is dropped, others go on', async (t) => {
  const { feed, url, monitor } = await started(t, { maxClients: 2, maxQueueBytes: 8 * 1024 * 1024 });
  const { hostname, port } = new URL(url);
  const slow = connect(Number(port), hostname);
  t.defer(() => slow.destroy());
  const closed = new Promise((resolve) => slow.once('close', resolve));
  slow.on('error', () => {});
  slow.write(`GET /events HTTP/1.1\r\nHost: ${hostname}\r\n\r\n`);
  await once(slow, 'data');
  slow.pause();
  const reader = events(t, url);
  await reader.next();
  let heard = 0;
  const hear = async (seq: number) => {
    while (heard < seq) {
      const { value } = await reader.next();
      heard = Math.max(heard, ...(value!.data as { seq: number }[]).map((observation) => observation.seq));
    }
  };
  // Rounds of about 6 MB, so that the reader, who takes each before the next, never has more than may wait for it.
  const counts = Object.fromEntries(Array.from({ length: 26 ** 3 }, (_, i) => [letters(i), i]));
  let seq = 0;
  while (monitor.watching === 2) {
    for (let i = 0; i < 20; i++) feed.push({ ...transition(++seq, 'idle'), counts } as Observation);
    await hear(seq);
  }
  feed.push(transition(++seq, 'idle'));
  await hear(seq);
  slow.resume();
  await closed;
});

const letters = (i: number): string =>
  `count${String.fromCharCode(97 + Math.floor(i / 676), 97 + (Math.floor(i / 26) % 26), 97 + (i % 26))}`;

test('a port in use is one clear sentence', async (t) => {
  const { url } = await started(t);
  const feed = createFeed();
  t.defer(() => feed.end());
  try {
    await startMonitor({ feed, port: Number(new URL(url).port) });
    assert.unreachable();
  } catch (error) {
    assert.is((error as { code?: string }).code, 'bad-input');
    assert.match((error as Error).message, /in use/);
  }
});

test('close ends the streams', async () => {
  const feed = createFeed();
  const monitor = await startMonitor({ feed });
  const response = await fetch(`${monitor.url}events`);
  await monitor.close();
  await response.text().catch(() => {});
  feed.end();
  assert.is(await fetch(monitor.url).catch(() => 'refused'), 'refused');
});

test.run();
