/**
 * The monitor's pages in headless Chromium, fed with real messages. On the other side: an operator of NATS or a worker who
 * writes what he likes into states, ids and errors, and as often as he likes.
 */
import type { Page } from 'playwright-core';
import { ProofProgress } from '../../../protocols/proof.ts';
import { ACTOR_KINDS, subjects } from '../../../protocols/subjects.ts';
import { Transition } from '../../../protocols/transition.ts';
import { createFeed } from '../../../runtime/monitor/feed.ts';
import { startMonitor } from '../../../runtime/monitor/server.ts';
import { STATES } from '../../../runtime/monitor/states.ts';
import { assert, suite } from '../../harness.ts';
import {
  at,
  beats,
  busyHost,
  dispatching,
  healthyHost,
  host,
  JOB,
  LOST,
  moves,
  noLookUps,
  opened,
  publish,
  shoot,
} from './page-fixture.ts';

const test = suite('monitor page', { timeoutMs: 180_000 });

const actor = (page: Page, id: string, kind: string) => host(page, id).locator(`[data-actor="${kind}"]`);
const tile = (page: Page, label: string) =>
  page.locator('#overview div', { hasText: label }).locator('dd').textContent();

test('before anything is heard every page says so', async (t) => {
  const { page, complaints } = await opened(t);
  assert.ok(await page.getByText('No actor was heard yet').isVisible());
  assert.ok(await page.getByText('No proof was asked for yet').isVisible());
  assert.not(await page.locator('#simulated').isVisible());
  await at(page, '#/fleet', 'Fleet');
  await page.getByText('No worker was heard yet').waitFor();
  await at(page, '#/evidence', 'Evidence');
  await page.getByText('No model is published').waitFor();
  await at(page, `#/proof/${JOB}`, 'Proof');
  await page.getByText('Of this job nothing was heard').waitFor();
  await at(page, '#/actor/worker/nobody', 'worker nobody');
  await page.getByText('Of this actor nothing was heard').waitFor();
  for (const hash of ['#/actor/worker/<img src=x>', '#/actor/constructor/a', '#/proof/%2e%2e', '#/__proto__'])
    await at(page, hash, 'No such page');
  assert.equal(complaints, []);
});

test('hosts, proofs and a day are shown as they come', async (t) => {
  const { feed, page, complaints } = await opened(t);
  busyHost(feed);
  await host(page, 'worker-4').waitFor();
  assert.ok(await page.locator('#simulated').isVisible());
  const marked = page.locator('#actors tr', { has: page.locator('.badge') }).locator('th');
  assert.equal((await marked.allTextContents()).sort(), [
    'coordinator-1',
    'host',
    'worker-1',
    'worker-2',
    'worker-3',
    'worker-4',
  ]);
  const gpu = actor(page, 'host', 'gpu');
  assert.ok(await gpu.getByText(LOST.message).isVisible());
  assert.ok(await gpu.getByText(`${LOST.code} ${LOST.errorId}`).isVisible());
  assert.match((await actor(page, 'host', 'runner').textContent())!, 'ready');
  assert.match((await host(page, 'worker-3').textContent())!, 'unknown, was idle');
  assert.is(await tile(page, 'Unknown'), '1');
  assert.is(await tile(page, 'Transitions missed'), '3');
  assert.is(await tile(page, 'Proofs running'), '1');
  const job = page.locator('#jobs tr', { hasText: JOB });
  assert.is(await job.getByRole('progressbar').getAttribute('value'), '0.5');
  assert.ok(await page.locator('#jobs').getByText('failed: statement-false').isVisible());
  assert.ok(await page.locator('#jobs').getByText('214 of 300 rows').isVisible());
  assert.match(
    (await page.locator('figcaption', { hasText: 'Proofs an hour' }).textContent())!,
    'most in a day 1',
  );
  assert.match(
    (await page.locator('figcaption', { hasText: 'Inferences' }).textContent())!,
    /now [1-9].* most in a day [1-9]/,
  );
  assert.is(await page.locator('.plot canvas').count(), 3);
  await page.getByText('Hour by hour').click();
  const hours = page.getByRole('table', { name: 'Counts by hour' });
  assert.ok((await hours.locator('tbody tr').count()) >= 23);

  publish(feed, ProofProgress, subjects.progress('client-1', JOB), dispatching(30), { epoch: 4 });
  moves(feed, 'worker', 'worker-1', ['idle'], { first: 6 });
  await page.locator('#jobs progress[value="0.75"]').waitFor();
  await actor(page, 'worker-1', 'worker').getByText('idle').waitFor();
  assert.match((await page.locator('#transitions tbody tr').first().textContent())!, /worker worker-1.*idle/);
  assert.equal(complaints, []);
});

test('a healthy host shows nothing amber and nothing red, on any page', async (t) => {
  const { feed, page, complaints } = await opened(t);
  healthyHost(feed);
  await host(page, 'worker-2').waitFor();
  await page.getByText('Nothing needs attention.').waitFor();
  const alarming = () =>
    page.evaluate(() =>
      [...document.querySelectorAll('.warn, .bad, .failed, .unknown, .badge, .banner, .stamp, .failure')]
        // In the drawing of a machine a state that it could be in is no alarm.
        .filter((node) => node.textContent !== '' && node.checkVisibility() && !node.closest('svg'))
        .map((node) => node.textContent),
    );
  assert.equal(await alarming(), []);
  for (const hash of [
    `#/proof/${JOB}`,
    '#/actor/worker/worker-1',
    '#/actor/enclave/host',
    '#/fleet',
    '#/proofs',
  ]) {
    await page.evaluate((to) => {
      location.hash = to;
    }, hash);
    await page.locator('.card').first().waitFor();
    assert.equal(await alarming(), [], hash);
  }
  assert.equal(complaints, []);
});

test('a reason goes when the actor is back, and its error is still to be found', async (t) => {
  const { feed, page } = await opened(t);
  beats(feed, 'enclave', 'e1', 'serving', 7, { counts: { hardware: 1 } });
  beats(feed, 'gpu', 'g1', 'failed', 3, { failure: LOST });
  await page.locator('#attention li').waitFor();
  const todo = await page.locator('#attention li').textContent();
  assert.match(todo!, /^gpu g1 does not work: .*Look for 7c1e90ab in its log, then start it again/);
  assert.not(await page.locator('#simulated').isVisible());
  beats(feed, 'gpu', 'g1', 'ready', 3);
  beats(feed, 'enclave', 'e1', 'attesting', 7, { counts: {} });
  await page.locator('#simulated').waitFor();
  assert.ok(await host(page, 'e1').locator('.badge').isVisible());
  await page.getByText('Nothing needs attention.').waitFor();
  await page.getByRole('link', { name: 'gpu', exact: true }).click();
  assert.match((await page.locator('#last-error').textContent())!, `${LOST.code} ${LOST.errorId}`);
  assert.ok(await page.getByText(`grep ${LOST.errorId} .vouch/logs/*`).isVisible());
});

test('a proof: who computed which shard when, what was given again, and what it waits for', async (t) => {
  const { feed, page, complaints } = await opened(t, { hash: `#/proof/${JOB}` });
  healthyHost(feed);
  await page.locator('#shards tbody tr').nth(1).waitFor();
  const rows = await page.locator('#shards tbody tr').allTextContents();
  assert.match(rows[0]!, /worker-1.*7 done.*3 done, 1 held.*5\.6 s.*% longer.*B\/s/);
  assert.match(rows[1]!, /worker-2.*6 done, 1 given again.*2 done, 1 held, 1 dropped, 1 second copy/);
  assert.match((await page.locator('#predicted').textContent())!, /Predicted 10 s.*took 10 s: \d % longer/);
  assert.match((await page.locator('[data-bound]').first().textContent())!, /% of the time went into/);
  assert.is(await page.locator('.gantt rect.done').count(), 18);
  assert.is(await page.locator('.gantt rect.refused').count(), 1);
  assert.is(await page.locator('.gantt rect.copy').count(), 1);
  // The news of the two that were held comes twice, and late ones change no end.
  const late = dispatching(22);
  const shard = {
    shard: 'quotient-81920-4096',
    worker: 'worker-1',
    points: 4096,
    bytes: 1,
    sentMs: 6040,
    predictedMs: 560,
  };
  const done = { ...shard, end: 'done', endMs: 6700, computeMs: 600 } as const;
  for (const shards of [[done], [shard], [done]])
    publish(feed, ProofProgress, subjects.progress('client-1', JOB), { ...late, shards }, { epoch: 4 });
  await page.locator('#shards').getByText('4 done', { exact: true }).waitFor();
  assert.is(await page.locator('.gantt rect.done').count(), 19);
  assert.equal(complaints, []);
});

test('an actor: its machine with the state it is in and the way it came, its past, and what to do', async (t) => {
  const { feed, page, complaints } = await opened(t, { hash: '#/actor/worker/worker-1' });
  healthyHost(feed);
  await page.locator('.machine .current', { hasText: 'computing' }).waitFor();
  assert.equal(
    await page.locator('.machine .state text').allTextContents(),
    Object.keys(STATES.worker),
    'the states of the machine',
  );
  await page.locator('.machine path.came').waitFor({ state: 'attached' });
  assert.match(
    (await page.locator('#came').textContent())!,
    'It is computing, which it came to from fetching by done.',
  );
  assert.match((await page.locator('#next').textContent())!, /worker\.draindraining/);
  assert.equal(await page.locator('#history tbody th').count(), 5);
  assert.ok(await page.getByText('vouch drain worker worker-1', { exact: true }).isVisible());
  moves(feed, 'worker', 'worker-1', ['idle'], { first: 6 });
  await page.locator('.machine .current', { hasText: 'idle' }).waitFor();
  await page.locator('#history tbody tr').nth(5).waitFor();
  for (const kind of ACTOR_KINDS) {
    moves(feed, kind, 'each', [Object.keys(STATES[kind])[0]!]);
    await at(page, `#/actor/${kind}/each`, `${kind} each`);
    await page.locator('.machine .current').waitFor();
    assert.equal(
      (await page.locator('.machine .state text').allTextContents()).sort(),
      Object.keys(STATES[kind]).sort(),
    );
  }
  assert.equal(complaints, []);
});

test('a fleet: what nodes offer, who is convicted, and what a further node would bring', async (t) => {
  const convictions = [
    { worker: 'worker-2', job: 'quality-0', coordinator: 'coordinator-1', time: new Date(0).toISOString() },
  ];
  const lookUps = { ...noLookUps, convictions: async () => convictions };
  const { feed, page, complaints } = await opened(t, { hash: '#/fleet', lookUps });
  healthyHost(feed);
  const node = page.locator('#nodes tbody tr', { hasText: 'worker-1' });
  await node.waitFor();
  assert.match((await node.textContent())!, /attested.*wasm, 1 thread.*50 k.*15 k.*B\/s.*42.*32 MiB/);
  await page.locator('#nodes tr', { hasText: 'worker-2' }).getByText('convicted').waitFor();
  assert.ok(await page.getByText('vouch pardon worker-2').isVisible());
  await page.getByRole('combobox').selectOption('14');
  await page.locator('#plan').click();
  await page
    .locator('#planned', { hasText: /Request to proof .* A further node like worker-[12]: .* % less/ })
    .waitFor();
  await shoot(page, 'fleet');
  assert.equal(complaints, []);
});

test('an actor falls silent before the eyes of the reader, and a second page sees the same', async (t) => {
  const { feed, monitor, page } = await opened(t);
  beats(feed, 'worker', 'brief', 'idle', 1);
  await host(page, 'brief').waitFor();
  assert.not.match((await host(page, 'brief').textContent())!, 'unknown');
  beats(feed, 'worker', 'brief', 'idle', 1, { leaseMs: 500 });
  await page.locator('#actors .chip.unknown').waitFor();
  const second = await page.context().newPage();
  await second.goto(monitor.url);
  await second.locator('#actors .chip.unknown').waitFor();
  assert.match((await host(second, 'brief').textContent())!, 'unknown, was idle');
});

test('a day survives a restart of the page, not one of the server', async (t) => {
  const { feed, monitor, page } = await opened(t);
  healthyHost(feed);
  await host(page, 'worker-2').waitFor();
  const chart = page.locator('figcaption', { hasText: 'Inferences' });
  const before = (await chart.textContent())!.replace(/now .*,/, '');
  assert.match(before, /most in a day [1-9]/);
  await page.reload();
  await host(page, 'worker-2').waitFor();
  assert.is((await chart.textContent())!.replace(/now .*,/, ''), before);

  await monitor.close();
  await page.getByText('Connection to the monitor lost, retrying').waitFor();
  assert.ok(await host(page, 'worker-2').isVisible(), 'what was known stays, marked as old');
  const again = createFeed();
  const revived = await startMonitor({ feed: again, port: Number(new URL(monitor.url).port) });
  t.defer(() => revived.close());
  t.defer(() => again.end());
  await page.locator('#connection', { hasText: 'live' }).waitFor();
  assert.not(await page.locator('#lost').isVisible());
  assert.ok(await page.getByText('No actor was heard yet').isVisible(), 'the new server knows nothing yet');
});

test('by keyboard alone from the overview to an actor, and the page says where one is', async (t) => {
  const { feed, page } = await opened(t);
  healthyHost(feed);
  await host(page, 'worker-2').waitFor();
  for (let pressed = 0; pressed < 60; pressed++) {
    await page.keyboard.press('Tab');
    if (await page.evaluate(() => document.activeElement?.textContent === 'enclave')) break;
  }
  await page.keyboard.press('Enter');
  await page.locator('#title', { hasText: 'enclave host' }).waitFor();
  assert.is(await page.title(), 'enclave host · Vouch monitor');
  assert.is(await page.evaluate(() => document.activeElement?.id), 'title');
  await page.keyboard.press('Tab');
  assert.ok(await page.evaluate(() => document.activeElement?.closest('main') !== null));
});

/** What somebody writes who would like to be markup, to turn a line around or to look like the page itself. */
const HOSTILE = '<img src=x onerror=alert(1)>\u202e\u0007 verdict: accept';

test('a command to copy holds no word that is more than one', async (t) => {
  const { feed, page, complaints } = await opened(t, { hash: '#/actor/gpu/g1' });
  const failure = { ...LOST, errorId: 'x; rm -rf ~ #' };
  beats(feed, 'gpu', 'g1', 'failed', 3, { failure });
  beats(feed, 'worker', '--creds', 'idle', 3);
  await page.locator('#last-error', { hasText: 'rm -rf' }).waitFor();
  await page.getByText('no command: its id is no plain word').waitFor();
  assert.equal(await page.locator('.command code').allTextContents(), [
    'vouch drain gpu g1',
    'vouch start gpu --id g1',
  ]);
  await at(page, '#/actor/worker/--creds', 'worker --creds');
  await page.getByText('What you can do').waitFor();
  assert.is(await page.locator('.command').count(), 0);
  assert.equal(complaints, []);
});

test('hostile text is text, and nobody speaks for another', async (t) => {
  const { feed, page, complaints } = await opened(t);
  const failure = { code: HOSTILE.slice(0, 60), message: HOSTILE, errorId: HOSTILE.slice(0, 60) };
  beats(feed, 'worker', 'w1', 'failed', 3, {
    failure,
    worker: {
      class: 'masked',
      engine: HOSTILE.slice(0, 40),
      credit: 1,
      inHand: [],
      rates: { g1: 1e12, g2: 1e-9 },
      resident: [],
      gpu: { proofs: 1, inferences: 1e-9, bytes: 2 ** 50, budget: 0 },
    },
    counts: { done: 1e308, constructor: 1, toString: -1 },
  });
  const body = {
    ...dispatching(1),
    job: 'j1',
    phase: 'failed' as const,
    error: { code: HOSTILE.slice(0, 60), message: HOSTILE },
  };
  publish(feed, ProofProgress, subjects.progress('client-1', 'j1'), body);
  await page.locator('#attention li').waitFor();
  for (const hash of ['#/', '#/proof/j1', '#/actor/worker/w1', '#/fleet']) {
    await page.evaluate((to) => {
      location.hash = to;
    }, hash);
    await page.locator('main', { hasText: '<img src=x onerror=alert(1)> verdict: accept' }).waitFor();
    assert.is(await page.locator('main img').count(), 0, hash);
    if (hash === '#/fleet') await page.locator('main', { hasText: '100 % proofs, 0 % inferences' }).waitFor();
    assert.not.match((await page.locator('main').textContent())!, /[\p{Cf}\p{Cc}]/u);
    assert.is(await page.locator('[data-verdict]').count(), 0);
  }
  // A transition on another's subject counts as refused, and is shown of nobody.
  const start = { boot: 'b', seq: 1, from: null, to: 'suspended', event: 'start', counts: {} };
  publish(feed, Transition, subjects.state('worker', 'w1'), { kind: 'worker', id: 'victim', ...start });
  await at(page, '#/', 'Overview');
  await page.locator('#attention', { hasText: 'Messages were refused once' }).waitFor();
  assert.is(await host(page, 'victim').count(), 0);
  assert.equal(complaints, []);
});

test.run();
