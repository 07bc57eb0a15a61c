/** What people export, added as a vendor adds it and proved by a coordinator: logistic regression on German Credit. */
import { existsSync, readFileSync } from 'node:fs';
import { judgeProof } from '../../../runtime/client/quality-proof.ts';
import { CREDIT, readCreditData } from '../../../runtime/models/credit-data.ts';
import { commitOnnx } from '../../../runtime/models/vendor.ts';
import { assert, suite } from '../../harness.ts';
import { useHome } from '../home/home-fixture.ts';
import { startProving, subjectOf } from './proof-fixture.ts';

const test = suite('exports proved', { timeoutMs: 240_000 });
const EXPORTS = new URL('../../../../shared/data/exports/', import.meta.url);
const GERMAN = new URL('../../../../shared/data/german.data', import.meta.url);

for (const name of ['skl_logreg', 'skl_logreg_scaled'])
  test(`${name}: 300 rows in at most 7,200 constraints, verified`, async (t) => {
    if (!existsSync(EXPORTS) || !existsSync(GERMAN)) t.skip('no ../shared/data');
    useHome();
    const onnx = readFileSync(new URL(`${name}.onnx`, EXPORTS));
    const rows = readCreditData(readFileSync(GERMAN, 'utf8'));
    const { model, testSet, threshold, correct } = await commitOnnx(name, onnx, rows, CREDIT);
    assert.ok(threshold <= correct, `${correct} of ${testSet.labels.length}`);
    const subject = await subjectOf(model, testSet, threshold);
    const fixture = await startProving(t, subject);
    await fixture.process('worker', 'w1');
    await fixture.process('coordinator', 'c1');
    const published = await fixture.check(await fixture.ask());
    assert.ok(published.record.constraints <= 7200, `${published.record.constraints}`);
    const { accepted, checks, sentence } = await judgeProof(published, {
      policy: fixture.policies.prover,
      modelCommitment: fixture.statement.commitment,
      job: published.record.job,
      testSet: () => testSet,
      dictionary: CREDIT,
    });
    assert.ok(accepted, JSON.stringify(checks));
    assert.match(sentence, new RegExp(`at least ${threshold} of the 300 rows .* as your own dictionary`));
  });

test.run();
