/** What lint says of a circuit's size, against circuits that were compiled and a key that was made. */
import { setup } from '../../circuits/groth16/setup.ts';
import { circuitCost } from '../../circuits/model/cost.ts';
import { emitQualityCircuit } from '../../circuits/model/emit.ts';
import { decideMany } from '../../circuits/model/quantise.ts';
import { createPool } from '../../runtime/msm/threads/pool.ts';
import { assert, suite } from '../harness.ts';
import { compiled, rowsFor, type SmallModel, smallModel, testToolchain } from './model-fixture.ts';

const test = suite('cost of a circuit', { timeoutMs: 120_000 });

/** How far the count of terms may be off. */
const shapes: (SmallModel & { rows: number; off: number; slow?: boolean })[] = [
  { units: [10, 4, 2], rows: 60, off: 0, slow: true },
  { units: [12, 5, 3], rows: 50, off: 0 },
  { units: [70, 1], decision: 'sign', rows: 60, off: 0, slow: true },
  { units: [6, 4, 3, 2], rows: 50, off: 0.01, slow: true },
  { units: [6, 4, 1], decision: 'sign', rows: 50, off: 0.01 },
  { units: [9, 4], rows: 50, off: 0.33 },
];
for (const { rows, off, slow, ...shape } of shapes) {
  (slow ? test.slow : test)(
    `${shape.units.join('-')} ${shape.decision ?? 'argmax'}: constraints and wires exact, terms within ${off * 100} %`,
    async (t) => {
      const model = smallModel(shape);
      const features = rowsFor(model, rows);
      const testSet = { features, labels: decideMany(model, features) };
      const cost = circuitCost(model.architecture, testSet);
      const circuit = emitQualityCircuit(model.architecture, testSet, await testToolchain());
      const { r1cs, file } = await compiled(t, circuit);
      assert.is(cost.constraints, r1cs.constraints);
      assert.is(cost.variables, r1cs.variables);
      assert.ok(Math.abs(cost.terms - r1cs.terms.count) <= off * r1cs.terms.count, `${cost.terms}`);
      assert.is(cost.exactTerms, off === 0);
      assert.is(
        cost.parts.reduce((sum, part) => sum + part.constraints, 0),
        cost.constraints,
      );
      if (off > 0) return;
      await using pool = await createPool();
      const { zkey } = await setup(file, { field: pool, points: pool });
      assert.is(cost.keyBytes, zkey.byteLength);
    },
  );
}

test.run();
