/** Circuits of one answer to a hidden row: what opens them, what a row may be, and what they cost. */
import { type CommittedModel, randomSalt } from '../../circuits/model/commit.ts';
import { hiddenCost } from '../../circuits/model/cost-hidden.ts';
import { emitHiddenCircuit, hiddenInput } from '../../circuits/model/emit-hidden.ts';
import { evaluate } from '../../circuits/model/quantise.ts';
import { commitRow } from '../../circuits/model/row.ts';
import { calculateWitness } from '../../runtime/prove/witness-calculator.ts';
import { assert, suite } from '../harness.ts';
import { forged, network, ROW } from './hidden-fixture.ts';
import {
  compiled,
  freedom,
  rejects,
  templateCircuit,
  testToolchain,
  violations,
  violationsNear,
  wires,
} from './model-fixture.ts';
import { smallTrees } from './trees-fixture.ts';

const test = suite('circuit of a hidden row', { timeoutMs: 180_000 });

const models: [string, CommittedModel][] = [
  ['5-3 argmax', network({ units: [5, 3], seed: 2 })],
  ['trees', smallTrees({ trees: 3, depth: 2, seed: 4 })],
];
for (const [name, model] of models)
  test(`${name}: no row of the dictionary, no proof; any one wire changed is refused, and nothing is left open`, async (t) => {
    // Of all answers one circuit each, so that none is refused for its answer.
    const circuits = await Promise.all(
      model.architecture.classes.map(async (_, answer) =>
        compiled(t, emitHiddenCircuit(model.architecture, answer, await testToolchain())),
      ),
    );
    const { wasm, r1cs } = circuits[evaluate(model, ROW).decision]!;
    assert.is(hiddenCost(model.architecture).constraints, r1cs.constraints, 'predicted');
    const [a, b, c, size, age] = [...ROW] as [number, number, number, number, number];
    await calculateWitness(wasm, forged(model, ROW, [a, b, c, size, age]));
    for (const [what, features] of [
      ['all categories', [1, 1, 1, size, age]],
      ['no category', [0, 0, 0, size, age]],
      ['two values that add up', [2, -1, 0, size, age]],
      ['a category twice', [2, 0, 0, size, age]],
      ['a number below its range', [a, b, c, -3, age]],
      ['a number above its range, in its bits', [a, b, c, 5, age]],
      ['a number beyond its bits', [a, b, c, 6, age]],
      ['a bin too many', [a, b, c, size, 4]],
      // 8 more here is 1 less in the next one: the same packed value.
      ['an alias', [a, b, c, size + 8, age - 1]],
    ] as const)
      for (const each of circuits)
        await rejects(calculateWitness(each.wasm, forged(model, ROW, features)), what);

    const input = hiddenInput(model, { features: ROW, salt: randomSalt() });
    const witness = wires(await calculateWitness(wasm, input));
    assert.is(violations(r1cs, witness), 0);
    const near = violationsNear(r1cs, witness);
    for (const wire of witness.keys())
      for (const delta of [1n, -1n, 256n]) assert.ok(near(wire, delta) > 0, `wire ${wire} + ${delta}`);
    assert.is(freedom(r1cs, witness), 0);
    const plus = (field: string) => ({ ...input, [field]: (input[field] as bigint) + 1n });
    for (const field of ['row', 'rowSalt', 'commitment', 'salt'])
      await rejects(calculateWitness(wasm, plus(field)), field);
  });

test('a thermometer is set in one way, and a feature beyond its span has none', async (t) => {
  const circuit = await templateCircuit('hidden-trees.circom', 'Thermometers(2, [0, 0], [1, 3], 4)', ['x']);
  const { wasm, r1cs } = await compiled(t, circuit);
  for (const x of [
    [0n, 0n],
    [1n, 2n],
    [1n, 3n],
  ]) {
    const witness = wires(await calculateWitness(wasm, { x }));
    assert.is(violations(r1cs, witness), 0);
    assert.is(freedom(r1cs, witness), 0);
  }
  await rejects(calculateWitness(wasm, { x: [2n, 0n] }), 'a bit of 2');
  await rejects(calculateWitness(wasm, { x: [0n, 4n] }), 'a feature beyond its span');
});

test('the commitment is to the row, its columns and the salt, and is no model commitment', () => {
  const { architecture } = models[0]![1];
  const salt = new Uint8Array(31).fill(7);
  const one = commitRow(architecture, { features: ROW, salt });
  const seen = new Set([one]);
  const add = (commitment: bigint): void => {
    assert.not(seen.has(commitment));
    seen.add(commitment);
  };
  add(commitRow(architecture, { features: ROW, salt: salt.with(30, 8) }));
  add(commitRow(architecture, { features: ROW.with(3, ROW[3] === 0 ? 1 : 0), salt }));
  const columns = architecture.preprocessing.columns.map((column) => ({
    ...column,
    name: `${column.name}!`,
  }));
  add(commitRow({ preprocessing: { columns } }, { features: ROW, salt }));
  assert.throws(() => commitRow(architecture, { features: ROW.with(4, 4), salt }), /outside of its range/);
});

test.run();
