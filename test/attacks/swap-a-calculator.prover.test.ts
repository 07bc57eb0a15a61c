/**
 * Who can write to a coordinator's disk swaps the program that computes a circuit's witness. A key hides what is proved for true
 * witnesses only, so nothing may come of another one. He sees what a requester hears, and what is stored.
 */
import { copyFile } from 'node:fs/promises';
import { join } from 'node:path';
import { emitQualityCircuit } from '../../circuits/model/emit.ts';
import type { VouchError } from '../../protocols/errors.ts';
import { folder } from '../../runtime/home/home.ts';
import { compileCircuit } from '../../runtime/prove/circuit-compiler.ts';
import { testToolchain } from '../circuits/model-fixture.ts';
import { assert, suite } from '../harness.ts';
import { logOf, until } from '../runtime/home/home-fixture.ts';
import { temporaryFolder } from '../runtime/nats/nats-fixture.ts';
import { smallSubject, startProving } from '../runtime/roles/proof-fixture.ts';

const test = suite('swap a calculator', { timeoutMs: 180_000 });

test('a witness that breaks a constraint ends its job: no scalar of H leaves, nothing is put together or published', async (t) => {
  const { model, testSet, circuit } = await smallSubject();
  const fixture = await startProving(t);
  const toolchain = await testToolchain();
  // One right row more than there are, in as many wires.
  const [right, wrong] = ['high.in <== count - threshold;', 'high.in <== count - threshold + 1;'];
  const decision = toolchain.templates.get('decision.circom')!;
  assert.ok(decision.includes(right));
  const templates = new Map(toolchain.templates).set('decision.circom', decision.replace(right, wrong));
  const altered = { ...toolchain, templates };
  const other = await compileCircuit(emitQualityCircuit(model.architecture, testSet, altered), altered, {
    cacheDir: await temporaryFolder(t),
  });
  await copyFile(other.wasmPath, join(folder('cache', 'circuits'), circuit, 'main.wasm'));

  await fixture.process('worker', 'w1');
  await fixture.process('coordinator', 'c1');
  const request = await fixture.ask();
  await request.done.then(
    () => assert.unreachable('it was published'),
    (error: VouchError) => assert.is(error.code, 'proof-refused'),
  );
  const reason = 'the witness breaks a constraint of its circuit';
  await until(async () => (await logOf('coordinator', 'c1')).includes(reason));
  const heard = request.heard.map(({ body }) => body);
  assert.not.match(JSON.stringify(heard), /witness-rejected|constraint/);
  const phases = new Set(heard.map(({ phase }) => phase));
  assert.ok(phases.has('transforming'), [...phases].join());
  for (const later of ['dispatching', 'assembling', 'verifying', 'publishing', 'published'] as const)
    assert.not(phases.has(later), later);
  for (const { shards = [] } of heard) for (const { shard } of shards) assert.match(shard, /^wires-/);
  assert.is(await fixture.proofsOf(request.job), 0);
  await until(async () => (await fixture.openRequests()) === 0);
});

test.run();
