/** A proof of one answer of an ensemble of trees, end to end; and what neither its prover nor its requester can make of it. */
import { modelDictionaryDigest } from '../../../circuits/model/architecture.ts';
import { evaluate } from '../../../circuits/model/quantise.ts';
import { encodeTestSet, type TestSet } from '../../../circuits/model/test-set.ts';
import type { InferenceStatement, PublishedProof } from '../../../protocols/proof.ts';
import { DEFAULT_TERMS } from '../../../protocols/terms.ts';
import { requestProof } from '../../../runtime/client/proof-request.ts';
import { judgeProof } from '../../../runtime/client/quality-proof.ts';
import { putBlob } from '../../../runtime/nats/blobs.ts';
import { SMALL, smallCells, smallRows, smallTrees } from '../../circuits/trees-fixture.ts';
import { assert, suite } from '../../harness.ts';
import { judgePile } from '../verifier/pile.ts';
import { type ProofFixture, refusalOf, startProving, subjectOf } from './proof-fixture.ts';

const test = suite('proof of an answer', { timeoutMs: 120_000 });
const MODEL = smallTrees({ trees: 3, depth: 2, seed: 4 });
const [ROW, OTHER] = smallRows(2, 5) as [Int32Array, Int32Array];
const DECISION = evaluate(MODEL, ROW).decision;
const answer = (row: Int32Array, decision: number): TestSet => ({ features: [row], labels: [decision] });

async function ask(
  { client, statement }: ProofFixture,
  testSet: TestSet,
  changes: Partial<InferenceStatement> = {},
): Promise<PublishedProof> {
  const { model, commitment, circuit, key, powers } = statement;
  const dictionary = modelDictionaryDigest(MODEL.architecture)!;
  const input = (await putBlob(client, 'testSets', encodeTestSet(testSet))).digest;
  const decision = testSet.labels[0]!;
  return requestProof(client, 'client.test', {
    statement: 'inference',
    ...{ model, commitment, circuit, key, powers, dictionary, decision, input },
    ...changes,
  });
}

test('what the model answers to a row is proved, and what is not its answer is refused without a reason', async (t) => {
  const subject = await subjectOf(MODEL, answer(ROW, DECISION), 1);
  const fixture = await startProving(t, subject, { terms: DEFAULT_TERMS });
  await fixture.process('worker', 'w1');
  await fixture.process('coordinator', 'c1');
  const published = await ask(fixture, answer(ROW, DECISION));
  const question = {
    policy: fixture.policies.prover,
    modelCommitment: fixture.statement.commitment,
    dictionary: SMALL,
  };
  const judge = (proof: PublishedProof, row: Int32Array, decision = DECISION) =>
    judgeProof(proof, { ...question, job: published.record.job, testSet: () => answer(row, decision) });
  const { accepted, checks, sentence } = await judge(published, ROW);
  assert.ok(accepted, JSON.stringify(checks));
  const name = MODEL.architecture.classes[DECISION];
  assert.match(
    sentence,
    new RegExp(`answers "${name}" to the row of input [0-9a-f]{16}…; classes as your own`),
  );
  assert.equal(published.record.proof, subject.proof);

  // The verifier has another row, or is told another class.
  const failed = async (verdict: ReturnType<typeof judge>) =>
    (await verdict).checks.filter(({ status }) => status === 'fail').map(({ id }) => id);
  assert.equal(await failed(judge(published, OTHER)), ['proof.test-set']);
  // The page without an installation takes a table beside such a proof for the row.
  const pile = (files: Record<string, string>) => judgePile(published, fixture.policies.prover, files);
  const shown = await pile({ 'row.csv': smallCells(ROW).join() });
  assert.equal([shown.failed, shown.used['row.csv']], [[], 'the row that was asked about']);
  assert.ok((await pile({ 'row.json': JSON.stringify(smallCells(ROW)) })).accepted);
  assert.equal((await pile({ 'row.csv': smallCells(OTHER).join() })).failed, ['proof.test-set']);
  assert.equal((await pile({})).failed, ['proof.test-set']);
  const swapped = structuredClone(published);
  (swapped.record.statement as { decision: number }).decision = 1 - DECISION;
  assert.ok((await failed(judge(swapped, ROW, 1 - DECISION))).includes('proof.test-set'));
  assert.ok((await failed(judge(swapped, ROW, 1 - DECISION))).includes('proof.job'));

  const other = answer(ROW, 1 - DECISION);
  assert.match(
    await refusalOf(ask(fixture, answer(ROW, DECISION), { decision: 1 - DECISION })),
    /^bad-input: .*expected the label of the row/,
  );
  assert.match(await refusalOf(ask(fixture, other)), /^bad-input: .*statement.circuit/);
  assert.match(
    await refusalOf(ask(fixture, { features: [ROW, OTHER], labels: [DECISION, 0] })),
    /^bad-(input|file): /,
  );
});

test('a false answer, and a model whose vendor does not let answers be proved', async (t) => {
  const wrong = answer(ROW, 1 - DECISION);
  // Threshold 0 is true of any row, and gives the circuit of the wrong answer its key.
  const subject = await subjectOf(MODEL, wrong, 0);
  const fixture = await startProving(t, subject, { terms: DEFAULT_TERMS });
  await fixture.process('coordinator', 'c1');
  assert.match(await refusalOf(ask(fixture, wrong)), /^proof-refused: no proof was made, and why/);

  const { inference, ...terms } = DEFAULT_TERMS;
  assert.ok(inference);
  const closed = await startProving(t, subject, { terms });
  await closed.process('coordinator', 'c2');
  assert.match(await refusalOf(ask(closed, wrong)), /^terms-refused: .*single answers are not to be proved/);
});

test.run();
