/** What a coordinator keeps: each key is made ready once, within a budget, and given back when another needs its room. */
import type { ProverEngine } from '../../../circuits/groth16/engine.ts';
import { transform } from '../../../circuits/groth16/prove.ts';
import { setup } from '../../../circuits/groth16/setup.ts';
import { readZkey, type Zkey } from '../../../circuits/groth16/zkey.ts';
import { createPool } from '../../../runtime/msm/threads/pool.ts';
import { heldBytes, keepCircuits } from '../../../runtime/roles/kept-circuits.ts';
import { randomCircuit } from '../../circuits/groth16-circuit.ts';
import { assert, suite, type TestContext } from '../../harness.ts';

const test = suite('kept circuits', { timeoutMs: 60_000 });

/** An engine of threads that tells what it is asked. */
async function watched(t: TestContext) {
  const pool = await createPool({ threads: 2 });
  t.defer(() => pool.close());
  const events: string[] = [];
  const names = new Map<unknown, string>();
  const engine: ProverEngine = {
    ...pool,
    async ready(key, options) {
      const name = names.get(key) ?? 'other';
      events.push(`ready ${name}`);
      const ready = await pool.ready(key, options);
      return {
        ...ready,
        release() {
          events.push(`release ${name}`);
          ready.release();
        },
      };
    },
  };
  const make = async (name: string, seed: number) => {
    const { r1cs, witness } = randomCircuit({ constraints: 200, seed });
    const key = readZkey((await setup(r1cs, { field: pool, points: pool })).zkey);
    names.set(key, name);
    return { key, witness };
  };
  return { engine, events, make };
}

test('a kept key is ready for proof after proof, and its scalars are those of a key that is not kept', async (t) => {
  const { engine, events, make } = await watched(t);
  const { key, witness } = await make('one', 1);
  const circuits = keepCircuits(engine);
  t.defer(() => circuits.close());
  const quotient = async () => {
    const ready = await circuits.ready(key);
    try {
      return (await transform(key, witness, ready)).scalars.H;
    } finally {
      ready.release();
    }
  };
  const plain = await quotient();
  assert.equal(events.splice(0), ['ready one', 'release one']);
  assert.is(circuits.kept('one'), undefined);
  circuits.keep('one', key);
  assert.is(circuits.kept('one'), key);
  assert.equal(await Promise.all([quotient(), quotient()]), [plain, plain]);
  assert.equal(await quotient(), plain);
  assert.equal(events.splice(0), ['ready one']);
  await circuits.close();
  await Promise.resolve();
  assert.equal(events, ['release one']);
});

test('the key that was used least lately goes, a proof under way with it ends well, and one that is too large is not kept', async (t) => {
  const { engine, events, make } = await watched(t);
  const keys: { key: Zkey; witness: Uint8Array }[] = [];
  for (const name of ['0', '1', '2']) keys.push(await make(name, Number(name) + 1));
  const [first, second, third] = keys as [(typeof keys)[0], (typeof keys)[0], (typeof keys)[0]];
  const most = Math.max(...keys.map(({ key }) => heldBytes(key)));
  const circuits = keepCircuits(engine, 2.5 * most);
  t.defer(() => circuits.close());
  circuits.keep('0', first.key);
  circuits.keep('1', second.key);
  await circuits.ready(first.key);
  const ready = await circuits.ready(second.key);
  assert.is(circuits.kept('0'), first.key);
  const running = ready.quotient(second.witness);
  circuits.keep('2', third.key);
  assert.is(circuits.kept('1'), undefined);
  assert.is(circuits.kept('0'), first.key);
  assert.is(circuits.kept('2'), third.key);
  assert.is((await running).byteLength, second.key.domainSize * 32);
  assert.equal(events, ['ready 0', 'ready 1', 'release 1']);

  circuits.keep('large', { ...second.key, range: () => ({ offset: 0, length: 2.5 * most }) });
  assert.is(circuits.kept('large'), undefined);
  assert.is(circuits.kept('0'), first.key);
});

test('what failed to load is loaded again', async (t) => {
  const { engine, make } = await watched(t);
  const { key, witness } = await make('one', 1);
  let failures = 1;
  const circuits = keepCircuits({
    ...engine,
    ready: async (...args) => {
      if (failures-- > 0) throw new Error('no memory');
      return engine.ready(...args);
    },
  });
  t.defer(() => circuits.close());
  circuits.keep('one', key);
  await circuits.ready(key).then(
    () => assert.unreachable(),
    (error: Error) => assert.is(error.message, 'no memory'),
  );
  const ready = await circuits.ready(key);
  assert.is((await ready.quotient(witness)).byteLength, key.domainSize * 32);
});

test.run();
