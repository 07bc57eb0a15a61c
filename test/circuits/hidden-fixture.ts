/** Small models over the small dictionary, and what their answers to hidden rows need. */
import { R } from '../../circuits/groth16/field.ts';
import {
  type CommittedModel,
  commit,
  placements,
  randomSalt,
  saltElement,
} from '../../circuits/model/commit.ts';
import { demandHiddenDomain, hiddenCost } from '../../circuits/model/cost-hidden.ts';
import { parseDictionary } from '../../circuits/model/dictionary.ts';
import { emitHiddenCircuit, hiddenInput } from '../../circuits/model/emit-hidden.ts';
import { poseidon, poseidonChain } from '../../circuits/model/poseidon.ts';
import { evaluate, quantise, randomFeatures } from '../../circuits/model/quantise.ts';
import { columnsElement, commitRow, ROW_COMMITMENT_VERSION, rowLayout } from '../../circuits/model/row.ts';
import type { OneAnswer } from '../../circuits/model/test-set.ts';
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

/** What a model answers, as a circuit about a hidden row has it. */
export function answerTo(model: CommittedModel, features: Int32Array): OneAnswer {
  const { decision, logits } = evaluate(model, features);
  return model.architecture.decision === 'tensor' ? logits : decision;
}

export async function circuitOf(t: TestContext, model: CommittedModel, features = ROW) {
  const answer = answerTo(model, features);
  const circuit = emitHiddenCircuit(model.architecture, answer, await testToolchain());
  const row = { features, salt: randomSalt() };
  return { answer, row, input: hiddenInput(model, row), ...(await compiled(t, circuit)) };
}

/** Rows with the circuit's answer have a witness, others none, and the cost is exact; of tensors it is the most. */
export async function holdsFor(
  t: TestContext,
  model: CommittedModel,
  features = ROW,
  others = randomRows(model, 12),
): Promise<void> {
  const { answer, row, input, wasm, r1cs } = await circuitOf(t, model, features);
  const witness = wires(await calculateWitness(wasm, input));
  assert.is(violations(r1cs, witness), 0);
  assert.equal(
    witness.slice(0, 3),
    [1n, commit(model), commitRow(model.architecture, row)],
    'public signals',
  );
  const cost = hiddenCost(model.architecture);
  if (model.architecture.decision === 'tensor')
    assert.ok(r1cs.constraints <= cost.constraints, `${r1cs.constraints}, predicted ${cost.constraints}`);
  else assert.is(cost.constraints, r1cs.constraints, JSON.stringify(cost.parts));
  demandHiddenDomain(2 ** Math.ceil(Math.log2(r1cs.constraints + 3)), model.architecture);
  // One key is good for all rows with the answer.
  for (const features of others) {
    const other = hiddenInput(model, { features, salt: row.salt });
    if (String(answerTo(model, features)) === String(answer)) await calculateWitness(wasm, other);
    else await rejects(calculateWitness(wasm, other), `an answer that is not ${answer}`);
  }
}

/** What a prover without scruples would put in: features that are no row, with the commitment that belongs to them. */
export function forged(
  model: CommittedModel,
  honest: Int32Array,
  features: readonly number[],
  salt = randomSalt(),
) {
  const { architecture } = model;
  const { low, bits, elements } = rowLayout(architecture.preprocessing);
  const input = hiddenInput(model, { features: honest, salt });
  const packed = Array<bigint>(elements).fill(0n);
  placements(bits).forEach(({ element, offset }, i) => {
    packed[element]! += BigInt(features[i]! - low[i]!) * 2n ** BigInt(offset);
  });
  const root = poseidonChain(packed.map((value) => ((value % R) + R) % R));
  const row = poseidon([ROW_COMMITMENT_VERSION, columnsElement(architecture), saltElement(salt), root]);
  return { ...input, x: features.map(BigInt), row };
}

const randomRows = (model: CommittedModel, count: number): Int32Array[] =>
  randomFeatures(model.architecture, count).map((row) => {
    const hot = Math.abs(row[3]!) % 3;
    return Int32Array.of(...[0, 1, 2].map((c) => (c === hot ? 1 : 0)), row[3]!, row[4]!);
  });
