/**
 * Attacker: workers with good credentials and accepted evidence, all but one of a fleet. They say that they are fast, send
 * heartbeats, and want the proof never to come: they take shards and never answer, answer somewhere else only, or answer
 * wrongly with points that are points. One honest worker has to be enough, and who did it has to be named.
 */
import { addPoints, G1, G2, type Group, writeG1, writeG2 } from '../../circuits/groth16/point.ts';
import { createPool } from '../../runtime/msm/threads/pool.ts';
import { type ShardEngine, workerRole } from '../../runtime/roles/worker.ts';
import { assert, suite } from '../harness.ts';
import { startProving } from '../runtime/roles/proof-fixture.ts';

const test = suite('attack: hold a proof up', { timeoutMs: 120_000 });

/** Right in self-test and measurement, which have three scalars or many; `spoil` is what a shard's sums become. */
async function engineThat(
  spoil: (group: Group, right: Uint8Array) => Promise<Uint8Array>,
): Promise<ShardEngine> {
  const pool = await createPool({ threads: 1 });
  return {
    close: () => pool.close(),
    msm: async (group, bases, scalars, options) => {
      const right = await pool.msm(group, bases, scalars, options);
      const isShard = scalars.byteLength > 3 * 32 && scalars.byteLength < 1024 * 32;
      return isShard ? spoil(group, right) : right;
    },
  };
}

test('three that never answer, and one that does: the proof comes, and they get less and less', async (t) => {
  const fixture = await startProving(t);
  await fixture.process('coordinator', 'c1');
  const mute = await engineThat(() => new Promise(() => {}));
  for (const id of ['mute-1', 'mute-2', 'mute-3'])
    await fixture.role('worker', id, workerRole({ engine: mute }));
  const request = await fixture.ask();
  await request.when(({ workers }) => workers.some(({ assigned }) => assigned > 0));
  await fixture.process('worker', 'honest');
  const { record } = await fixture.check(request);
  assert.equal(
    record.workers.map(({ id }) => id),
    ['honest'],
  );
  assert.ok(
    fixture.log.some((line) =>
      /worker\.mute-\d: coordinator\.c1 gives this worker (one shard at a time|only copies)/.test(line),
    ),
    'they are told',
  );
  // What was learned is remembered: the next one does not wait for them.
  await fixture.check(await fixture.ask());
});

test('three that lie, and one that does not: the right proof, and the liars by name', async (t) => {
  const fixture = await startProving(t);
  await fixture.process('coordinator', 'c1');
  const plusGenerator = async (group: Group, right: Uint8Array) =>
    addPoints(group, [right, group === 'G1' ? writeG1(G1.BASE) : writeG2(G2.BASE)]);
  const lying = await engineThat(plusGenerator);
  const liars = ['liar-1', 'liar-2', 'liar-3'];
  for (const id of liars) await fixture.role('worker', id, workerRole({ engine: lying }));
  await fixture.process('worker', 'honest');
  const { record } = await fixture.check(await fixture.ask());
  assert.ok((record.convicted ?? []).length > 0, JSON.stringify(record.workers));
  assert.ok(record.convicted!.every((id) => liars.includes(id)));
  // Those that had no shard this time may lie once more; nobody does twice.
  const { record: second } = await fixture.check(await fixture.ask());
  assert.not((second.convicted ?? []).some((id) => record.convicted!.includes(id)));
});

test('when all lie, the coordinator makes the sums itself and names them all', async (t) => {
  const fixture = await startProving(t);
  await fixture.process('coordinator', 'c1');
  const lying = await engineThat(async (group, right) =>
    addPoints(group, [right, group === 'G1' ? writeG1(G1.BASE) : writeG2(G2.BASE)]),
  );
  await fixture.role('worker', 'liar', workerRole({ engine: lying }));
  const { record } = await fixture.check(await fixture.ask());
  assert.equal([record.convicted, record.workers], [['liar'], []]);
});

test.run();
