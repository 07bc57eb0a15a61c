/**
 * Attacker: workers with good credentials and accepted evidence, all but one of a fleet. They say that they are fast, send
 * heartbeats, and want the proof never to come: they take shards and never answer, answer somewhere else only, or answer
 * wrongly with points that are points. One honest worker has to be enough, and who did it has to be named.
 */
import { addPoints, G1, G2, type Group, writeG1, writeG2 } from '../../circuits/groth16/point.ts';
import { createPool } from '../../runtime/msm/threads/pool.ts';
import { untilUp } from '../../runtime/roles/host.ts';
import { type ShardEngine, workerRole } from '../../runtime/roles/worker.ts';
import { assert, suite } from '../harness.ts';
import { type ProofFixture, startProving } from '../runtime/roles/proof-fixture.ts';

const test = suite('attack: hold a proof up', { timeoutMs: 120_000 });

/** Right until it is `armed`, so in self-test and measurement; `spoil` is what a shard's sums become then. */
async function engineThat(spoil: (group: Group, right: Uint8Array) => Promise<Uint8Array>) {
  const pool = await createPool({ threads: 1 });
  let armed = false;
  const engine: ShardEngine = {
    close: () => pool.close(),
    msm: async (group, bases, scalars, options) => {
      const right = await pool.msm(group, bases, scalars, options);
      return armed ? spoil(group, right) : right;
    },
  };
  return {
    engine,
    arm: () => {
      armed = true;
    },
  };
}

/** Workers with this engine, up and armed. */
async function hire(
  fixture: ProofFixture,
  ids: readonly string[],
  { engine, arm }: Awaited<ReturnType<typeof engineThat>>,
): Promise<void> {
  for (const id of ids) await untilUp(await fixture.role('worker', id, workerRole({ engine })), 60_000);
  arm();
}

test('three that never answer, and one that does: the proof comes, and they get less and less', async (t) => {
  const fixture = await startProving(t);
  await fixture.process('coordinator', 'c1');
  const mute = await engineThat(() => new Promise(() => {}));
  await hire(fixture, ['mute-1', 'mute-2', 'mute-3'], mute);
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
  await hire(fixture, liars, lying);
  const request = await fixture.ask();
  // One of them has answered before the honest one comes, who may be quicker than they.
  await request.when(({ workers }) => workers.some(({ done }) => done > 0));
  await fixture.process('worker', 'honest');
  const { record } = await fixture.check(request);
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
  await hire(fixture, ['liar'], lying);
  const { record } = await fixture.check(await fixture.ask());
  assert.equal([record.convicted, record.workers], [['liar'], []]);
});

test.run();
