/** What a coordinator does with a calculator that computes another circuit than the key's. */
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setup } from '../../../circuits/groth16/setup.ts';
import { readZkey } from '../../../circuits/groth16/zkey.ts';
import { emitQualityCircuit } from '../../../circuits/model/emit.ts';
import { decideMany } from '../../../circuits/model/quantise.ts';
import { createPool } from '../../../runtime/msm/threads/pool.ts';
import { compileCircuit } from '../../../runtime/prove/circuit-compiler.ts';
import { type KeptCircuits, keepCircuits } from '../../../runtime/roles/kept-circuits.ts';
import { type Prepared, quotientOf, witnessOf } from '../../../runtime/roles/witnessing.ts';
import { rowsFor, smallModel, testToolchain, wires } from '../../circuits/model-fixture.ts';
import { assert, suite } from '../../harness.ts';

const test = suite('witnessing', { timeoutMs: 120_000 });

test('a witness that its calculator accepts and the circuit does not is refused with its quotient', async (t) => {
  const pool = await createPool({ threads: 2 });
  t.defer(() => pool.close());
  const engine = keepCircuits(pool);
  t.defer(() => engine.close());
  const cacheDir = await mkdtemp(join(tmpdir(), 'vouch-witnessing-'));
  t.defer(() => rm(cacheDir, { recursive: true, force: true }));

  const model = smallModel({ units: [4, 3, 2] });
  const features = rowsFor(model, 4);
  const testSet = { features, labels: [...decideMany(model, features)] };
  const toolchain = await testToolchain();
  // Its bits say the opposite of what they should, in as many wires and constraints.
  const templates = new Map(toolchain.templates);
  const [right, wrong] = ['out <== bits.bit[n - 1];', 'out <== 1 - bits.bit[n - 1];'];
  assert.ok(templates.get('bits.circom')!.includes(right));
  templates.set('bits.circom', templates.get('bits.circom')!.replace(right, wrong));
  const compile = (tools: typeof toolchain) =>
    compileCircuit(emitQualityCircuit(model.architecture, testSet, tools), tools, { cacheDir });
  const compiled = await compile(toolchain);
  const other = await compile({ ...toolchain, templates });
  assert.is(other.constraints, compiled.constraints);

  const { zkey } = await setup(await readFile(compiled.r1csPath), { field: pool, points: pool });
  const preparedWith = (name: string, wasmPath: string) =>
    ({
      statement: { statement: 'quality', rows: 4, threshold: 0, circuit: name },
      model,
      testSet,
      compiled: { ...compiled, wasmPath },
      zkey: readZkey(zkey),
    }) as unknown as Prepared;
  const { signal } = new AbortController();
  /** Like a GPU's, which checks nothing, beside threads that can and that cannot. */
  const unchecked: KeptCircuits = {
    ...engine,
    async ready(key, options) {
      const { satisfied: _, checkedQuotient: __, ...ready } = await pool.ready(key, options);
      return ready;
    },
  };
  const quotients = new Set<string>();
  for (const engines of [
    { engine, pool },
    { engine: unchecked, pool },
    { engine: unchecked, pool: { ...pool, ready: unchecked.ready } },
  ]) {
    const made = async (prepared: Prepared) => {
      const found = await witnessOf(engines, prepared, signal);
      assert.is(wires(found.witness)[0], 1n);
      return quotientOf(engines, found, signal);
    };
    const quotient = await made(preparedWith('right', compiled.wasmPath));
    quotients.add(Buffer.from(quotient).toString('hex'));
    await made(preparedWith('wrong', other.wasmPath)).then(
      () => assert.unreachable('it was accepted'),
      (error: { code?: string; message: string }) => {
        assert.is(error.code, 'witness-rejected');
        assert.match(error.message, /breaks a constraint/);
      },
    );
  }
  assert.is(quotients.size, 1);
});

test.run();
