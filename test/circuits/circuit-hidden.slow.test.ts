/** The same of other models: each kind of answer, dense and of trees. */
import type { CommittedModel } from '../../circuits/model/commit.ts';
import { suite } from '../harness.ts';
import { holdsFor, network } from './hidden-fixture.ts';
import { smallNumberTrees } from './numbers-fixture.ts';
import { smallTrees } from './trees-fixture.ts';

const test = suite('circuits of hidden rows', { timeoutMs: 180_000 });

const models: [string, CommittedModel][] = [
  ['5-3 argmax', network({ units: [5, 3], seed: 2 })],
  ['trees', smallTrees({ trees: 3, depth: 2, seed: 4 })],
  ['5-4-3 argmax', network({ units: [5, 4, 3], seed: 3 })],
  ['5-1 sign', network({ units: [5, 1], decision: 'sign', seed: 4 })],
  ['5-2-1 number', network({ units: [5, 2, 1], decision: 'number', seed: 5 })],
  ['trees of three classes', smallTrees({ trees: 4, depth: 3, outputs: 3, seed: 4, topology: true })],
  ['trees with a number', smallNumberTrees({ trees: 2, depth: 2, seed: 7 })],
];
for (const [name, model] of models)
  test(`${name}: rows with that answer and no others have a witness, and the cost is exact`, (t) =>
    holdsFor(t, model));

test.run();
