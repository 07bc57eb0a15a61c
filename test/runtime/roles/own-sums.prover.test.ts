/** A coordinator that sums as well: its own sums are right, it needs nobody else, and nobody else can hold it up or answer for it. */

import { createPool } from '../../../runtime/msm/threads/pool.ts';
import { untilUp } from '../../../runtime/roles/host.ts';
import { createOwnNode } from '../../../runtime/roles/own-node.ts';
import { workerRole } from '../../../runtime/roles/worker.ts';
import { assert, suite } from '../../harness.ts';
import { startProving } from './proof-fixture.ts';

const test = suite('own sums', { timeoutMs: 90_000 });

test('without any worker a coordinator makes the very proof, again with the key that it has kept', async (t) => {
  const fixture = await startProving(t);
  await fixture.process('coordinator', 'c1', { args: ['--own-sums'] });
  for (let run = 0; run < 2; run++) {
    const { record } = await fixture.check(await fixture.ask());
    assert.equal(
      record.workers.map(({ id }) => id),
      ['c1'],
    );
    assert.is(record.convicted, undefined);
  }
});

test('a worker of its name gets nothing: a proof would not tell which of them has summed', async (t) => {
  const fixture = await startProving(t);
  const pool = await createPool({ threads: 1 });
  let armed = false;
  let asked = 0;
  const mute = workerRole({
    engine: {
      close: () => pool.close(),
      msm: (...call) => {
        if (!armed) return pool.msm(...call);
        asked++;
        return new Promise<never>(() => {});
      },
    },
  });
  await untilUp(await fixture.role('worker', 'c1', mute), 60_000);
  armed = true;
  await fixture.process('coordinator', 'c1', { args: ['--own-sums'] });
  const { record } = await fixture.check(await fixture.ask());
  assert.equal(
    record.workers.map(({ id }) => id),
    ['c1'],
  );
  assert.is(asked, 0);
});

test('what keeps its threads busy is foretold by what it took last time', async () => {
  const { promise: measured, resolve: measure } = Promise.withResolvers<{ g1: number; g2: number }>();
  const own = createOwnNode('c1', () => measured);
  let idle = 0;
  own.onIdle(() => idle++);
  assert.is(own.rates(), undefined);
  assert.ok(own.busyMs() > 0, 'it measures itself');
  measure({ g1: 2, g2: 1 });
  const first = Promise.withResolvers<void>();
  const running = own.occupied('transform', () => first.promise);
  assert.ok(own.busyMs() > 0);
  setTimeout(first.resolve, 60);
  await running;
  assert.equal([own.rates(), own.busyMs(), idle], [{ g1: 2, g2: 1 }, 0, 1]);
  const failing = own.occupied('transform', () => Promise.reject(new Error('no')));
  assert.ok(own.busyMs() > 30, 'as long as last time');
  assert.match(await failing.then(String, String), 'no');
  assert.equal([own.busyMs(), idle], [0, 2]);
  const never = createOwnNode('c2', () => Promise.reject(new Error('no engine')));
  await Promise.resolve();
  await new Promise(setImmediate);
  assert.equal([never.rates(), never.busyMs()], [undefined, 0]);
});

test.run();
