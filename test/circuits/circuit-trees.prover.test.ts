/** The circuit of an ensemble: right on every row, and nothing but the committed trees can be put in their place. */
import { R } from '../../circuits/groth16/field.ts';
import { type CommittedModel, commit } from '../../circuits/model/commit.ts';
import { circuitCost } from '../../circuits/model/cost.ts';
import { emitQualityCircuit, witnessInput } from '../../circuits/model/emit.ts';
import { decideMany, evaluate } from '../../circuits/model/quantise.ts';
import { demandDomain, estimateConstraints } from '../../circuits/model/size.ts';
import { serveModel } from '../../runtime/inference/session.ts';
import { calculateWitness } from '../../runtime/prove/witness-calculator.ts';
import { assert, suite, type TestContext } from '../harness.ts';
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
import { CANDIDATES, smallRows, smallTrees } from './trees-fixture.ts';

const test = suite('circuit of trees', { timeoutMs: 120_000 });
const ROWS = 5;
const HALF = (R + 1n) / 2n;

test('a split: one candidate or none, whatever else is tried on its wires', async (t) => {
  const starts = [0, 0, 2, 3];
  const S = starts.length;
  const { wasm, r1cs } = await compiled(
    t,
    await templateCircuit('trees.circom', `Split(${S}, [${starts}])`, ['split']),
  );
  assert.is(r1cs.constraints, S + 1 + 1, 'a bit for each candidate and for none; the index stays linear');
  const right = (split: number) => starts.map((start, s) => (split >= start && split <= s ? 1n : 0n));
  for (let split = 0; split <= S; split++) {
    const witness = wires(await calculateWitness(wasm, { split: BigInt(split) }));
    assert.equal(witness.slice(1, 1 + S), right(split), `${split}`);
  }
  for (const split of [BigInt(S) + 1n, -1n, HALF, 1n << 8n])
    await rejects(calculateWitness(wasm, { split }), `split ${split}`);
  // Two steps, none, a half and others: every assignment of these values.
  const values = [0n, 1n, HALF, 2n, R - 1n];
  let accepted = 0;
  for (let at = 0; at < values.length ** S; at++) {
    const within = starts.map((_, s) => values[Math.floor(at / values.length ** s) % values.length]!);
    for (let split = 0; split <= S; split++) {
      if (violations(r1cs, [1n, ...within, BigInt(split)]) > 0) continue;
      assert.equal(within, right(split), `${within} for ${split}`);
      accepted++;
    }
  }
  assert.is(accepted, S + 1);
});

test('a tree gives the leaf of the path of its decisions, and no other value can be claimed', async (t) => {
  // Splits 0 to 2, then leaves 3 to 6; rows that hold candidates 0 and 2, 1, nothing.
  const held = [
    [0, 2],
    [1, 3],
    [3, 3],
  ];
  const { wasm, r1cs } = await compiled(
    t,
    await templateCircuit(
      'trees.circom',
      `TreeOnRows(3, 2, [${held.map((row) => `[${row}]`)}], 3, [0,0,2], 1, 3, [1,3,5], [2,4,6])`,
      ['split', 'leaf'],
    ),
  );
  const leaf = [10n, 20n, 30n, -40n];
  for (let code = 0; code < 64; code++) {
    const split = [0, 1, 2].map((i) => Math.floor(code / 4 ** i) % 4);
    const witness = wires(await calculateWitness(wasm, { split: split.map(BigInt), leaf }));
    const starts = [0, 0, 2];
    const votes = held.map((row) => {
      const holds = (s: number) => s < 3 && row.some((h) => h < 3 && starts[h] === starts[s] && s <= h);
      const [root, yes, no] = split.map(holds);
      return root ? (yes ? leaf[0]! : leaf[1]!) : no ? leaf[2]! : leaf[3]!;
    });
    assert.equal(
      witness.slice(1, 4).map((v) => (v > R / 2n ? v - R : v)),
      votes,
      `${split}`,
    );
    if (code % 9 !== 0) continue;
    const near = violationsNear(r1cs, witness);
    // Wires 7 to 10 are the leaves: one that no row comes to is bound by the commitment alone.
    for (let wire = 1; wire < witness.length; wire++) {
      if (wire >= 7 && wire <= 10) continue;
      for (const delta of [1n, -1n, HALF, 30n]) assert.ok(near(wire, delta) > 0, `wire ${wire} + ${delta}`);
    }
    assert.is(freedom(r1cs, witness), 0);
  }
});

test('along a path: the same leaf for every tree, and no split but the one that the path comes to', async (t) => {
  // Splits 0 to 2 among 3 candidates, as 2 times 2; a row that holds 0 and 2, and one that holds 1 alone.
  const holding = [
    [
      [1, 0],
      [1, 0],
    ],
    [
      [0, 1],
      [0, 0],
    ],
  ];
  const table = `[${holding.map((row) => `[${row.map((part) => `[${part}]`)}]`)}]`;
  const { wasm, r1cs } = await compiled(
    t,
    await templateCircuit(
      'trees.circom',
      `TreeOnPaths(2, ${table}, 2, 2, 3, 1, 3, 2, [0,1,1], [1,3,5], [2,4,6])`,
      ['split', 'leaf'],
    ),
  );
  const leaf = [10n, 20n, 30n, -40n];
  for (let code = 0; code < 64; code++) {
    const split = [0, 1, 2].map((i) => Math.floor(code / 4 ** i) % 4);
    const witness = wires(await calculateWitness(wasm, { split: split.map(BigInt), leaf }));
    const votes = holding.map((row) => {
      const [root, yes, no] = split.map((s) => row[Math.floor(s / 2)]![s % 2] === 1);
      return root ? (yes ? leaf[0]! : leaf[1]!) : no ? leaf[2]! : leaf[3]!;
    });
    assert.equal(
      witness.slice(1, 3).map((v) => (v > R / 2n ? v - R : v)),
      votes,
      `${split}`,
    );
    if (code % 9 !== 0) continue;
    const near = violationsNear(r1cs, witness);
    // Wires 3 to 9 are splits and leaves: what no row comes to is bound by the commitment alone.
    for (const wire of [...witness.keys()].filter((w) => (w > 0 && w < 3) || w > 9))
      for (const delta of [1n, -1n, HALF, 30n]) assert.ok(near(wire, delta) > 0, `wire ${wire} + ${delta}`);
    assert.is(freedom(r1cs, witness), 0);
  }
  for (const root of [4n, -1n, HALF, 5n])
    await rejects(calculateWitness(wasm, { split: [root, 0n, 0n], leaf }), `root ${root}`);
});

test('packing: leaves in their ranges, and a true alias fails there', async (t) => {
  const { wasm, r1cs } = await compiled(
    t,
    await templateCircuit('trees.circom', 'PackedTrees(2, [2, 3], [4, 6], [1, 0], 1, 5, 1)', ['in']),
  );
  const input = [12n, 3n, -32n, 31n, 5n];
  const witness = wires(await calculateWitness(wasm, { in: input }));
  const stored = [12n, 3n, 0n, 63n, 37n];
  const packed = stored.reduce((sum, value, i) => sum + (value << BigInt([0, 4, 8, 14, 20][i]!)), 0n);
  assert.is(witness[1], packed);
  for (const [i, value] of [
    [2, -33n],
    [3, 32n],
    [4, 1n << 100n],
    [4, HALF],
  ] as const)
    await rejects(calculateWitness(wasm, { in: input.with(i, value) }), `leaf ${i} = ${value}`);
  // The same element: 2^6 more in one leaf, 1 less in the next.
  const alias = input.with(2, input[2]! + 64n).with(3, input[3]! - 1n);
  await rejects(calculateWitness(wasm, { in: alias }), 'an alias');
  const moved = witness.slice();
  moved[2 + 2]! = (moved[2 + 2]! + 64n) % R;
  moved[2 + 3]! = (moved[2 + 3]! + R - 1n) % R;
  assert.ok(violations(r1cs, moved) > 0);
});

async function circuitOf(t: TestContext, model: CommittedModel, { rows = ROWS, wrong = 0 } = {}) {
  const features = smallRows(rows, 7);
  const classes = model.architecture.classes.length;
  const labels = decideMany(model, features).map((decision, r) =>
    r < wrong ? (decision + 1) % classes : decision,
  );
  const testSet = { features, labels };
  const circuit = emitQualityCircuit(model.architecture, testSet, await testToolchain());
  return { testSet, ...(await compiled(t, circuit)) };
}

for (const options of [
  { trees: 3, depth: 2, seed: 5 },
  { trees: 4, depth: 3, outputs: 3, seed: 4, topology: true },
]) {
  (options.topology ? test.slow : test)(
    `${JSON.stringify(options)}: reference, served graph and witness agree, and the count is exact`,
    async (t) => {
      const model = smallTrees(options);
      const served = await serveModel(model);
      const rows = smallRows(200, 11);
      assert.equal(
        await served.answer(rows),
        rows.map((row) => evaluate(model, row)),
        served.provider,
      );
      await served.close();

      const { testSet, wasm, r1cs } = await circuitOf(t, model, { wrong: 2 });
      const witness = wires(await calculateWitness(wasm, witnessInput(model, ROWS - 2)));
      assert.is(violations(r1cs, witness), 0);
      assert.equal(witness.slice(0, 3), [1n, commit(model), BigInt(ROWS - 2)], 'public signals');
      assert.is(circuitCost(model.architecture, testSet).constraints, r1cs.constraints, 'predicted');
      const cost = circuitCost(model.architecture, testSet);
      assert.equal([cost.constraints, cost.variables], [r1cs.constraints, r1cs.variables], 'by parts');
      assert.ok(r1cs.constraints <= estimateConstraints(model.architecture, ROWS));
      demandDomain(2 ** Math.ceil(Math.log2(r1cs.constraints + 3)), model.architecture, ROWS);
      await rejects(calculateWitness(wasm, witnessInput(model, ROWS - 1)), 'one more than correct');
      await rejects(calculateWitness(wasm, witnessInput(model, -1)), 'a negative threshold');
    },
  );
}

test('one wire moved is noticed, nothing is left open, and no other trees open the commitment', async (t) => {
  for (const rows of [1, 3]) await holdsTight(t, rows);
});

async function holdsTight(t: TestContext, rows: number): Promise<void> {
  const model = smallTrees({ trees: 3, depth: 2, seed: 4 });
  const { testSet, wasm, r1cs } = await circuitOf(t, model, { rows, wrong: rows === 1 ? 0 : 1 });
  assert.is(circuitCost(model.architecture, testSet).constraints, r1cs.constraints, 'predicted');
  const input = witnessInput(model, rows === 1 ? 1 : 2);
  const witness = wires(await calculateWitness(wasm, input));
  const near = violationsNear(r1cs, witness);
  // A threshold of 0 in place of 1 is true as well, and of one row there is no other wire in between.
  for (const wire of [...witness.keys()].filter((w) => rows > 1 || w !== 2))
    for (const delta of [1n, -1n, 65_536n, HALF]) assert.ok(near(wire, delta) > 0, `wire ${wire} + ${delta}`);
  assert.is(freedom(r1cs, witness), 0);

  const [split, leaf] = [input.split0, input.leaf0] as [bigint[], bigint[]];
  for (const [what, changed] of [
    ['another split', { split0: split.with(0, (split[0]! + 1n) % BigInt(CANDIDATES)) }],
    ['a split beyond all candidates', { split0: split.with(0, BigInt(CANDIDATES) + 1n) }],
    ['another leaf', { leaf0: leaf.with(0, leaf[0]! > 0n ? leaf[0]! - 1n : leaf[0]! + 1n) }],
    ['a leaf of 17 bits', { leaf0: leaf.with(0, 1n << 15n) }],
    ['an alias', { leaf0: leaf.with(0, leaf[0]! + 65_536n).with(1, leaf[1]! - 1n) }],
    ['an alias of splits', { split0: split.with(0, split[0]! + 16n).with(1, split[1]! - 1n) }],
  ] as const)
    await rejects(calculateWitness(wasm, { ...input, ...changed }), what);
}

test('padding that a row can reach is another model, which is committed to and computed as it is', async (t) => {
  const model = smallTrees({ trees: 3, depth: 2, seed: 4 });
  const own = model.parameters.trees!;
  const padding = own.splits.indexOf(CANDIDATES);
  assert.ok(padding >= 0, 'one of these trees is filled up');
  const { wasm } = await circuitOf(t, model);
  // Under the same commitment the padding holds for nobody.
  const input = witnessInput(model, ROWS);
  const name = `split${Math.floor(padding / 3)}`;
  const reached = (input[name] as bigint[]).with(padding % 3, 3n);
  await rejects(calculateWitness(wasm, { ...input, [name]: reached }), 'padding that holds');
  // Whoever commits to it has another model, and the reference knows it.
  const splits = own.splits.with(padding, 3);
  const leaves = own.leaves.map((value, i) => value - (i % 2) * 1000);
  const other = { ...model, parameters: { layers: [], trees: { ...own, splits, leaves } } };
  assert.not.equal(commit(other), commit(model));
  const made = await circuitOf(t, other);
  await calculateWitness(made.wasm, witnessInput(other, ROWS));
  await rejects(calculateWitness(made.wasm, witnessInput(other, ROWS + 1)), 'more than all rows');
});

test.run();
