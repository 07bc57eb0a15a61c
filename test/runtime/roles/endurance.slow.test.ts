/**
 * A thousand proofs of a small circuit with a fleet that never rests: of four workers one lies, one never answers, and one
 * is killed and replaced every two seconds. No proof is lost, none is wrong, and nothing grows: the coordinator's
 * memory, open requests, consumers. VOUCH_TEST_PROOFS says how many, where an hour is too long.
 */
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { addPoints, G1, G2, writeG1, writeG2 } from '../../../circuits/groth16/point.ts';
import { createPool } from '../../../runtime/msm/threads/pool.ts';
import { untilUp } from '../../../runtime/roles/host.ts';
import { type ShardEngine, workerRole } from '../../../runtime/roles/worker.ts';
import { assert, suite } from '../../harness.ts';
import { kill } from '../home/home-fixture.ts';
import { type ProofFixture, SMALL_TERMS, startProving } from './proof-fixture.ts';

const test = suite('endurance', { timeoutMs: 3_600_000 });
const PROOFS = Number(process.env.VOUCH_TEST_PROOFS ?? 1000);
/** One computes while the shards of another are out; more at once would a coordinator put back. */
const AT_ONCE = 2;
const KILL_EVERY_MS = 2_000;
/** A process's memory goes up and down by its garbage. */
const GROWTH_BYTES = 96 * 2 ** 20;

/** Multiplies right until it is armed, so in its self-test. */
async function hire(
  { role }: ProofFixture,
  id: string,
  spoil: (...call: Parameters<ShardEngine['msm']>) => ReturnType<ShardEngine['msm']>,
) {
  const pool = await createPool({ threads: 1 });
  let armed = false;
  const engine: ShardEngine = {
    close: () => pool.close(),
    msm: (...call) => (armed ? spoil(...call) : pool.msm(...call)),
  };
  await untilUp(await role('worker', id, workerRole({ engine })), 60_000);
  armed = true;
  return pool;
}

const residentBytes = ({ pid }: { readonly pid: number }): number =>
  1024 * Number(/^VmRSS:\s+(\d+)/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1] ?? 0);

test(`${PROOFS} proofs, a worker killed every two seconds, one that lies, one that is mute: none lost, none wrong`, async (t) => {
  if (process.platform !== 'linux') t.skip('memory is read from /proc');
  const fixture = await startProving(t, undefined, { terms: { ...SMALL_TERMS, requester: {}, all: {} } });
  const coordinator = await fixture.process('coordinator', 'c1');
  await fixture.process('worker', 'honest');
  const honest = await createPool({ threads: 1 });
  t.defer(() => honest.close());
  const over = new AbortController();
  // Until the end, so that its worker need not be given up on when it is stopped.
  await hire(fixture, 'mute', async () => {
    await once(over.signal, 'abort');
    throw new Error('it answers nothing');
  });
  await hire(fixture, 'liar', async (group, ...call) =>
    addPoints(group, [
      await honest.msm(group, ...call),
      group === 'G1' ? writeG1(G1.BASE) : writeG2(G2.BASE),
    ]),
  );

  let killed = 0;
  const killing = (async () => {
    while (!over.signal.aborted) {
      const victim = await fixture.process('worker', `mortal-${killed + 1}`);
      await sleep(KILL_EVERY_MS, undefined, { signal: over.signal }).catch(() => {});
      await kill(victim);
      killed += 1;
    }
  })();
  t.defer(() => over.abort());

  const convicted = new Set<string>();
  let [next, done, early] = [0, 0, 0];
  await Promise.all(
    Array.from({ length: AT_ONCE }, async () => {
      while (next < PROOFS) {
        next += 1;
        // The very proof that r and s give, verified, stored once, its request gone: nothing is lost, nothing wrong.
        const { record } = await fixture.check(await fixture.ask());
        for (const id of record.convicted ?? []) convicted.add(id);
        done += 1;
        if (done === Math.ceil(PROOFS / 4)) early = residentBytes(coordinator);
      }
    }),
  );
  over.abort();
  await killing;
  assert.is(done, PROOFS);
  assert.is(await fixture.openRequests(), 0);
  assert.equal([...convicted], ['liar'], 'the liar, and nobody else');
  assert.ok(killed > 0, 'nobody was killed');
  const grown = residentBytes(coordinator) - early;
  assert.ok(grown < GROWTH_BYTES, `the coordinator has grown by ${Math.round(grown / 2 ** 20)} MiB`);
});

test.run();
