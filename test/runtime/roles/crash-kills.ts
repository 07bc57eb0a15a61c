/**
 * The kills that a proof must survive. Each is a SIGKILL at a moment that is known, not guessed: after a progress
 * message of the phase in question, or, where nothing is said in between, behind a proxy that lets the one message
 * through and keeps back the answer.
 */
import { createServer, connect as dial, type Socket } from 'node:net';
import { subjects } from '../../../protocols/subjects.ts';
import { assert, type TestContext } from '../../harness.ts';
import { kill, signal, until } from '../home/home-fixture.ts';
import { type Request, type Subject, startProving } from './proof-fixture.ts';

export type Kill = readonly [title: string, run: (t: TestContext, subject?: Subject) => Promise<void>];

const inTheMiddle = (request: Request) =>
  request.when(({ phase, done, total }) => phase === 'dispatching' && done > 0 && done < total);

const during = (phase: 'witnessing' | 'dispatching', request: Request) =>
  phase === 'dispatching' ? inTheMiddle(request) : request.when((progress) => progress.phase === phase);

/** Fails when the kill came too late to be one in the middle. */
const demandUnpublished = async (proofs: Promise<number>) =>
  assert.is(await proofs, 0, 'the kill came too late');

export const KILLS: readonly Kill[] = [
  [
    'a worker, while shards are out: the others get them, and it may come back under its id',
    async (t, subject) => {
      const fixture = await startProving(t, subject);
      const [victim, other] = await Promise.all([
        fixture.process('worker', 'w1'),
        fixture.process('worker', 'w2'),
        fixture.process('coordinator', 'c1'),
      ]);
      // The other is held until the victim has work, for whoever is known first may be done before the second is known.
      signal(other, 'SIGSTOP');
      const request = await fixture.ask();
      await request.when(({ workers }) => workers.some(({ id, assigned }) => id === 'w1' && assigned > 0));
      await kill(victim);
      signal(other, 'SIGCONT');
      await demandUnpublished(fixture.proofsOf(request.job));
      await fixture.process('worker', 'w1');
      await fixture.check(request);
      // What the dead one left in its queue does not keep the new one from the next job.
      await fixture.check(await fixture.ask());
    },
  ],
  [
    'all workers: the coordinator waits for new ones',
    async (t, subject) => {
      const fixture = await startProving(t, subject);
      const [worker] = await Promise.all([
        fixture.process('worker', 'w1'),
        fixture.process('coordinator', 'c1'),
      ]);
      const request = await fixture.ask();
      await inTheMiddle(request);
      await kill(worker);
      await demandUnpublished(fixture.proofsOf(request.job));
      await fixture.process('worker', 'w1');
      await fixture.check(request);
    },
  ],
  ...(['witnessing', 'dispatching'] as const).map(
    (phase): Kill => [
      `the coordinator, while ${phase}: the next one starts anew under a later epoch`,
      async (t, subject) => {
        const fixture = await startProving(t, subject);
        const [, , coordinator] = await Promise.all([
          fixture.process('worker', 'w1'),
          fixture.process('worker', 'w2'),
          fixture.process('coordinator', 'c1'),
        ]);
        const request = await fixture.ask();
        await during(phase, request);
        await kill(coordinator);
        await demandUnpublished(fixture.proofsOf(request.job));
        const before = request.heard.at(-1)!;
        assert.is(before.body.phase, phase);
        await fixture.process('coordinator', 'c1');
        await fixture.check(request);
        assert.ok(request.heard.at(-1)!.epoch! > before.epoch!, 'a later epoch');
      },
    ],
  ),
  [
    'the coordinator, with the proof stored and neither that nor the request acknowledged',
    async (t, subject) => {
      const fixture = await startProving(t, subject);
      const proxy = await mutingProxy(fixture.server.port);
      t.defer(proxy.close);
      const [, , coordinator] = await Promise.all([
        fixture.process('worker', 'w1'),
        fixture.process('worker', 'w2'),
        fixture.process('coordinator', 'c1', { url: proxy.url }),
      ]);
      const request = await fixture.ask();
      proxy.muteAfter(`PUB ${subjects.proof(fixture.client.id, request.job)} `);
      await until(async () => (await fixture.proofsOf(request.job)) === 1, 120_000);
      await kill(coordinator);
      assert.ok(proxy.isMute());
      assert.is(await fixture.openRequests(), 1, 'the request was not acknowledged');
      await fixture.client.flush();
      const heard = request.heard.length;
      await fixture.process('coordinator', 'c1');
      await fixture.check(request);
      const later = request.heard.slice(heard).map(({ body }) => body.phase);
      assert.not(later.includes('witnessing'), 'nothing was computed again');
    },
  ],
  ...(['witnessing', 'dispatching'] as const).map(
    (phase): Kill => [
      `nats-server, while ${phase}: its memory streams are made anew, and what was on its way is sent again`,
      async (t, subject) => {
        const fixture = await startProving(t, subject);
        await Promise.all([
          fixture.process('worker', 'w1'),
          fixture.process('worker', 'w2'),
          fixture.process('coordinator', 'c1'),
        ]);
        const request = await fixture.ask();
        await during(phase, request);
        const { pid } = fixture.server;
        signal({ pid }, 'SIGKILL');
        await until(() => fixture.server.pid !== pid && fixture.server.pid !== 0);
        await until(() => fixture.client.state === 'connected' && fixture.observer.state === 'connected');
        await demandUnpublished(fixture.proofsOf(request.job));
        await fixture.check(request);
        // The line stays usable: another one, on the restarted server.
        await fixture.check(await fixture.ask());
      },
    ],
  ),
];

/** At a time: they wait much, and some load is wanted, but a machine of two cores has to get on with each. */
const SIDE_BY_SIDE = 3;

/** All kills. Fails with every one that was not survived. */
export async function surviveAll(t: TestContext, kills = KILLS): Promise<void> {
  const failures: string[] = [];
  const waiting = [...kills];
  const lane = async () => {
    for (let next = waiting.shift(); next; next = waiting.shift()) {
      const [title, run] = next;
      await run(t).catch((error: Error) => void failures.push(`${title}: ${error.stack}`));
    }
  };
  await Promise.all(Array.from({ length: SIDE_BY_SIDE }, lane));
  if (failures.length > 0) throw new Error(failures.join('\n'));
}

/**
 * A TCP proxy before the server that, once the client has sent a protocol line with `mark`, keeps every answer from it:
 * what it sent arrives, and it never learns so.
 */
async function mutingProxy(port: number) {
  let mark: string | undefined;
  let mute = false;
  const sockets = new Set<Socket>();
  const server = createServer((inner) => {
    const outer = dial(port, '127.0.0.1');
    for (const socket of [inner, outer]) {
      sockets.add(socket);
      socket.on('error', () => {}).on('close', () => sockets.delete(socket));
    }
    let tail = '';
    inner.on('data', (bytes) => {
      const text = tail + bytes.toString('latin1');
      // Before it passes on, so that no answer to it can be faster.
      if (mark !== undefined && text.includes(mark)) mute = true;
      tail = text.slice(-256);
      outer.write(bytes);
    });
    outer.on('data', (bytes) => {
      if (!mute) inner.write(bytes);
    });
    inner.on('end', () => outer.end());
    outer.on('end', () => inner.end());
  });
  await new Promise<void>((done) => server.listen(0, '127.0.0.1', done));
  const address = server.address();
  return {
    url: `nats://127.0.0.1:${typeof address === 'object' ? address?.port : 0}`,
    muteAfter(text: string) {
      mark = text;
    },
    isMute: () => mute,
    close() {
      for (const socket of sockets) socket.destroy();
      server.close();
    },
  };
}
