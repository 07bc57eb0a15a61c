/** Small models that answer numbers, and rows for them. */
import { type CommittedModel, randomSalt } from '../../circuits/model/commit.ts';
import { type Dictionary, parseDictionary } from '../../circuits/model/dictionary.ts';
import type { NumberLabel } from '../../circuits/model/numbers.ts';
import { quantise } from '../../circuits/model/quantise.ts';
import { seededRandom } from '../../runtime/models/random.ts';
import { type SmallModel, smallNetwork } from './model-fixture.ts';
import { SMALL, type SmallEnsemble, smallEnsemble, smallRows } from './trees-fixture.ts';

export const PRICE: NumberLabel = { low: -400, high: 900, step: '0.05' };

/** Columns x0, x1, ... of whole numbers from -3 to 12. */
export const numbersDictionary = (inputs: number, number = PRICE): Dictionary =>
  parseDictionary({
    version: 1,
    columns: Array.from({ length: inputs }, (_, i) => ({
      kind: 'integer',
      name: `x${i}`,
      low: -3,
      high: 12,
    })),
    label: { name: 'price', number },
    split: { seed: 1, train: 70 },
  });

export function smallNumbers(options: SmallModel, number = PRICE): CommittedModel {
  const inputs = options.units[0]!;
  const random = seededRandom((options.seed ?? 1) + 1000);
  const calibration = Array.from({ length: 64 }, () =>
    Int32Array.from({ length: inputs }, () => random.below(16) - 3),
  );
  const network = smallNetwork({ ...options, decision: 'number' });
  return {
    ...quantise(network, { dictionary: numbersDictionary(inputs, number), calibration }),
    salt: randomSalt(),
  };
}

/** Trees over the small dictionary's columns, whose leaves say a number. */
export function smallNumberTrees(options: SmallEnsemble = {}, number = PRICE): CommittedModel {
  const dictionary = parseDictionary({ ...SMALL, label: { name: 'price', number } });
  const ensemble = { ...smallEnsemble(options), decision: 'number' as const };
  return {
    ...quantise(ensemble, { dictionary, calibration: smallRows(4), topology: options.topology }),
    salt: randomSalt(),
  };
}
