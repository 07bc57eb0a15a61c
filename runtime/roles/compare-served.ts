/** Whether a session computes what its model's proofs are about. */
import { evaluate, randomFeatures } from '../../circuits/model/quantise.ts';
import { VouchError } from '../../protocols/errors.ts';
import type { ServedModel } from '../inference/session.ts';
import type { ObtainedModel } from '../models/obtain.ts';

/** Rows on which the session is compared with the reference arithmetic before anything is served. */
const PROBES = 32;

/** What is served must be what is proved: the session has to agree with the reference on random rows. */
export async function compareServed(session: ServedModel, { model, manifest }: ObtainedModel): Promise<void> {
  const rows = randomFeatures(model.architecture, PROBES);
  const answers = await session.answer(rows);
  rows.forEach((features, i) => {
    const expected = evaluate(model, features);
    const got = answers[i];
    if (got?.decision !== expected.decision || got.logits.some((value, k) => value !== expected.logits[k])) {
      throw new VouchError(
        'commitment-mismatch',
        `model ${manifest.name}: the served graph does not compute what is proved`,
      );
    }
  });
}
