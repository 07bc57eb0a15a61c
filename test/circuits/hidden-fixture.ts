/** Small models over the small dictionary, and what their answers to hidden rows need. */
import { type CommittedModel, commit, randomSalt } from '../../circuits/model/commit.ts';
import { hiddenCost } from '../../circuits/model/cost-hidden.ts';
import { parseDictionary } from '../../circuits/model/dictionary.ts';
import { emitHiddenCircuit, hiddenInput } from '../../circuits/model/emit-hidden.ts';
import { evaluate, quantise, randomFeatures } from '../../circuits/model/quantise.ts';
import { commitRow } from '../../circuits/model/row.ts';
import { calculateWitness } from '../../runtime/prove/witness-calculator.ts';
import { assert, type TestContext } from '../harness.ts';
import {
  compiled,
  rejects,
  type SmallModel,
  smallNetwork,
  testToolchain,
  violations,
  wires,
} from './model-fixture.ts';
import { PRICE } from './numbers-fixture.ts';
import { SMALL, smallRows, withClasses } from './trees-fixture.ts';

/** A network over the small dictionary: three categories, a whole number from -2 to 4, one of four bins. */
export function network(options: SmallModel): CommittedModel {
  const outputs = options.units.at(-1)!;
  const dictionary =
    options.decision === 'number'
      ? parseDictionary({ ...SMALL, label: { name: 'price', number: PRICE } })
      : options.decision === 'sign'
        ? SMALL
        : withClasses(outputs);
  const calibration = smallRows(40, 9);
  return { ...quantise(smallNetwork(options), { dictionary, calibration }), salt: randomSalt() };
}

export const ROW = smallRows(1, 6)[0]!;

async function circuitOf(t: TestContext, model: CommittedModel, features = ROW) {
  const answer = evaluate(model, features).decision;
  const circuit = emitHiddenCircuit(model.architecture, answer, await testToolchain());
  const row = { features, salt: randomSalt() };
  return { answer, row, input: hiddenInput(model, row), ...(await compiled(t, circuit)) };
}

/** Rows with the circuit's answer have a witness, others none, and the cost is exact. */
export async function holdsFor(t: TestContext, model: CommittedModel): Promise<void> {
  const { answer, row, input, wasm, r1cs } = await circuitOf(t, model);
  const witness = wires(await calculateWitness(wasm, input));
  assert.is(violations(r1cs, witness), 0);
  const { preprocessing } = model.architecture;
  assert.equal(witness.slice(0, 3), [1n, commit(model), commitRow(preprocessing, row)], 'public signals');
  const cost = hiddenCost(model.architecture);
  assert.is(cost.constraints, r1cs.constraints, JSON.stringify(cost.parts));
  // One key is good for all rows with the answer.
  for (const features of randomRows(model, 12)) {
    const other = hiddenInput(model, { features, salt: row.salt });
    if (evaluate(model, features).decision === answer) await calculateWitness(wasm, other);
    else await rejects(calculateWitness(wasm, other), `an answer that is not ${answer}`);
  }
}

const randomRows = (model: CommittedModel, count: number): Int32Array[] =>
  randomFeatures(model.architecture, count).map((row) => {
    const hot = Math.abs(row[3]!) % 3;
    return Int32Array.of(...[0, 1, 2].map((c) => (c === hot ? 1 : 0)), row[3]!, row[4]!);
  });
