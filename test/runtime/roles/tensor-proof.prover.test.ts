/** A proof of the numbers that a model of tensors answers, end to end; and what neither its prover nor its requester can make of it. */
import { readFile } from 'node:fs/promises';
import { randomSalt } from '../../../circuits/model/commit.ts';
import { evaluate } from '../../../circuits/model/quantise.ts';
import { commitRow, type HiddenRow } from '../../../circuits/model/row.ts';
import { integersOf, numbersOf } from '../../../circuits/model/tensor-values.ts';
import { encodeOutputs, encodeTestSet, type TestSet } from '../../../circuits/model/test-set.ts';
import { base64url } from '../../../protocols/encoding.ts';
import { type PublishedProof, Statement } from '../../../protocols/proof.ts';
import { encodeRow } from '../../../protocols/sealed-row.ts';
import { DEFAULT_TERMS } from '../../../protocols/terms.ts';
import { sealRow } from '../../../runtime/client/hidden-row.ts';
import { requestProof } from '../../../runtime/client/proof-request.ts';
import { judgeProof } from '../../../runtime/client/quality-proof.ts';
import { CREDIT } from '../../../runtime/models/credit-data.ts';
import { putBlob } from '../../../runtime/nats/blobs.ts';
import { prepareCircuit, prepareKey } from '../../../runtime/prove/setup.ts';
import { residualModel, residualSamples } from '../../circuits/tensors-fixture.ts';
import { assert, suite } from '../../harness.ts';
import { useHome } from '../home/home-fixture.ts';
import { judgePile } from '../verifier/pile.ts';
import { type ProofFixture, refusalOf, startProving, subjectOf } from './proof-fixture.ts';

const test = suite('proof of tensors', { timeoutMs: 240_000 });
const MODEL = residualModel();
const TERMS = { ...DEFAULT_TERMS, answers: 'exact' as const };
const SAMPLES = residualSamples(2, 7);
const [INPUT, OTHER] = SAMPLES.map((sample) => integersOf(MODEL.architecture.named!, sample)) as [
  Int32Array,
  Int32Array,
];
const OUTPUT = evaluate(MODEL, INPUT).logits;
/** As people have them. */
const [INPUT_JSON, OTHER_JSON] = SAMPLES.map((sample) => JSON.stringify(sample)) as [string, string];
const OUTPUT_JSON = JSON.stringify(numbersOf(MODEL.architecture, OUTPUT));
const answer = (features: Int32Array, outputs: ArrayLike<number>): TestSet => ({
  features: [features],
  labels: [0],
  outputs: [outputs],
});

async function ask(
  { client, statement }: ProofFixture,
  testSet: TestSet,
  kind: Record<string, unknown> = { statement: 'inference' },
): Promise<PublishedProof> {
  const { model, commitment, circuit, key, powers } = statement;
  const blob = (await putBlob(client, 'testSets', encodeTestSet(testSet))).digest;
  const about = kind.statement === 'quality' ? { testSet: blob } : { input: blob };
  const asked = { model, commitment, circuit, key, powers, ...about, ...kind };
  return requestProof(client, 'client.test', asked as Statement);
}

test('two input tensors and two output tensors are proved; a number beside them is refused', async (t) => {
  const subject = await subjectOf(MODEL, answer(INPUT, OUTPUT), 1);
  const fixture = await startProving(t, subject, { terms: TERMS });
  await fixture.process('worker', 'w1');
  await fixture.process('coordinator', 'c1');
  const published = await ask(fixture, answer(INPUT, OUTPUT));
  const question = { policy: fixture.policies.prover, modelCommitment: fixture.statement.commitment };
  const judge = (proof: PublishedProof, rows: TestSet) =>
    judgeProof(proof, { ...question, job: published.record.job, testSet: () => rows });
  const { accepted, checks, sentence } = await judge(published, answer(INPUT, OUTPUT));
  assert.ok(accepted, JSON.stringify(checks));
  assert.match(sentence, /answers the numbers that were compared to the row of input/);

  const failed = async (verdict: ReturnType<typeof judge>) =>
    (await verdict).checks.filter(({ status }) => status === 'fail').map(({ id }) => id);
  const moved = OUTPUT.with(0, OUTPUT[0]! + 1);
  assert.equal(await failed(judge(published, answer(INPUT, moved))), ['proof.test-set']);
  assert.equal(await failed(judge(published, answer(OTHER, OUTPUT))), ['proof.test-set']);
  // In the page without an installation the files say by their names of tensors which they are.
  const pile = (files: Record<string, string>) => judgePile(published, fixture.policies.prover, files);
  const both = await pile({ 'a.json': OUTPUT_JSON, 'b.json': INPUT_JSON, 'c.json': '{"z": [1]}' });
  assert.equal([both.accepted, both.failed, both.unused], [true, [], ['c.json']]);
  assert.equal([both.used['a.json'], both.used['b.json']], ['output tensors', 'input tensors']);
  assert.equal((await pile({ 'b.json': INPUT_JSON })).failed, ['proof.test-set']);
  assert.equal((await pile({ 'a.json': OUTPUT_JSON, 'b.json': OTHER_JSON })).failed, ['proof.test-set']);
  assert.match(
    await pile({ 'b.json': INPUT_JSON, 'c.json': OTHER_JSON }).then(
      String,
      (reason: Error) => reason.message,
    ),
    'input tensors: expected one, got b.json and c.json; leave one out',
  );
  // A dictionary of one's own would be compared with nothing.
  const named = judgeProof(published, {
    ...question,
    job: published.record.job,
    testSet: () => answer(INPUT, OUTPUT),
    dictionary: CREDIT,
  });
  assert.equal(await failed(named), ['proof.labels']);
  // A statement that calls the numbers a class.
  const called = structuredClone(published);
  (called.record.statement as { decision?: number }).decision = 0;
  assert.ok((await failed(judge(called, answer(INPUT, OUTPUT)))).includes('proof.labels'));

  assert.match(
    await refusalOf(ask(fixture, answer(INPUT, OUTPUT), { statement: 'inference', decision: 0 })),
    /^bad-input: .*expected the label of the row/,
  );
  assert.match(
    await refusalOf(ask(fixture, answer(INPUT, OUTPUT), { statement: 'quality', rows: 1, threshold: 1 })),
    /^(bad-input: .*are numbers|terms-refused)/,
  );
  assert.match(await refusalOf(ask(fixture, answer(INPUT, moved))), /^bad-input: .*statement.circuit/);
});

test('the inputs are hidden, all of them, until their owner shows them; the numbers are public, and nothing else is proved', async (t) => {
  useHome();
  const row: HiddenRow = { features: INPUT, salt: randomSalt() };
  const files = async (outputs: ArrayLike<number>) => {
    const circuit = await prepareCircuit(MODEL.architecture, { hiddenAnswer: outputs });
    const key = await prepareKey(circuit);
    const [zkey, powers] = (await Promise.all([readFile(key.zkey), readFile(key.powers)])).map(
      (file) => new Uint8Array(file),
    ) as [Uint8Array, Uint8Array];
    return { circuit: circuit.digest, zkey, powers };
  };
  const subject = { model: MODEL, threshold: 1, testSet: answer(INPUT, OUTPUT), proof: {} as never };
  const fixture = await startProving(t, { ...subject, ...(await files(OUTPUT)) }, { terms: TERMS });
  await fixture.process('worker', 'w1');
  await fixture.process('coordinator', 'c1');
  const stored = async (outputs: ArrayLike<number>, { client } = fixture) =>
    (await putBlob(client, 'testSets', encodeOutputs(outputs))).digest;
  const askHidden = async (
    sealed: HiddenRow,
    changes: object = {},
    at: ProofFixture = fixture,
  ): Promise<PublishedProof> => {
    const { model, commitment, circuit, key, powers } = at.statement;
    return requestProof(
      at.client,
      'client.test',
      {
        ...{ statement: 'hidden-inference', model, commitment, circuit, key, powers },
        ...('decision' in changes ? {} : { outputs: await stored(OUTPUT, at) }),
        row: commitRow(MODEL.architecture, row).toString(),
        ...changes,
      } as Statement,
      { sealRows: (about) => sealRow(at.client, 'client.test', at.policies.prover, sealed, about) },
    );
  };
  const published = await askHidden(row);
  const judge = (proof: PublishedProof, more: Partial<Parameters<typeof judgeProof>[1]> = {}) =>
    judgeProof(proof, {
      policy: fixture.policies.prover,
      modelCommitment: fixture.statement.commitment,
      job: published.record.job,
      outputs: () => OUTPUT,
      ...more,
    });
  const failed = async (verdict: ReturnType<typeof judge>) =>
    (await verdict).checks.filter(({ status }) => status === 'fail').map(({ id }) => id);

  const unopened = await judge(published);
  assert.ok(unopened.accepted, JSON.stringify(unopened.checks));
  assert.is(unopened.checks.find(({ id }) => id === 'proof.row')?.status, 'skipped');
  assert.match(
    unopened.sentence,
    /answers the numbers that were compared to hidden input tensors, which are all of them \("x", "gate"\), each number in the range/,
  );
  const shown = await judge(published, { row: () => row });
  assert.ok(shown.accepted);
  assert.match(shown.sentence, /to the input tensors that were given here, whose commitment is/);
  assert.equal(await failed(judge(published, { row: () => ({ ...row, salt: randomSalt() }) })), [
    'proof.row',
  ]);
  assert.equal(await failed(judge(published, { row: () => ({ ...row, features: OTHER }) })), ['proof.row']);
  const salt = Buffer.from(row.salt).toString('hex');
  const pile = (files: Record<string, string>) => judgePile(published, fixture.policies.prover, files);
  const unopenedPile = await pile({ 'y.json': OUTPUT_JSON });
  assert.equal([unopenedPile.failed, unopenedPile.row], [[], 'skipped']);
  const open = await pile({ 'y.json': OUTPUT_JSON, 'x.json': INPUT_JSON, 'row-salt': `${salt}\n` });
  assert.equal([open.failed, open.row, open.used['row-salt']], [[], 'pass', 'salt of the row']);
  const lied = await pile({ 'y.json': OUTPUT_JSON, 'x.json': OTHER_JSON, 'row-salt': salt });
  assert.equal([lied.failed, lied.accepted], [['proof.row'], false]);
  assert.equal((await pile({ 'x.json': INPUT_JSON, 'row-salt': salt })).failed, ['proof.test-set']);
  // Numbers that nobody names are numbers that nobody compared.
  assert.equal(await failed(judge(published, { outputs: undefined })), ['proof.test-set']);
  const moved = OUTPUT.with(0, OUTPUT[0]! + 1);
  assert.equal(await failed(judge(published, { outputs: () => moved })), ['proof.test-set']);
  const changed = (members: object): PublishedProof => {
    const copy = structuredClone(published);
    Object.assign(copy.record.statement, members);
    return copy;
  };
  const elsewhere = commitRow(MODEL.architecture, { ...row, features: OTHER }).toString();
  assert.ok((await failed(judge(changed({ row: elsewhere })))).includes('proof.public-signals'));
  assert.ok((await failed(judge(changed({ decision: 0 })))).includes('proof.labels'));
  assert.throws(() => Statement.parse(changed({ decision: 0 }).record.statement), /a decision or the blob/);
  assert.throws(
    () => Statement.parse(changed({ outputs: undefined }).record.statement),
    /a decision or the blob/,
  );

  // What is stored and said holds neither inputs nor salt.
  const all = JSON.stringify(published) + fixture.log.join('\n');
  for (const secret of [INPUT.join(), Buffer.from(row.salt).toString('hex'), base64url(encodeRow(row))])
    assert.not(all.includes(secret), 'what is secret travels in the clear');

  // What a requester may try.
  const beyond: HiddenRow = { ...row, features: INPUT.with(0, 2 ** 20) };
  const refusal = await refusalOf(askHidden(beyond));
  assert.match(refusal, /^bad-input: .*sealed row: a feature lies outside of the range/);
  // Everybody who hears of the proof reads that sentence.
  assert.not.match(refusal, String(2 ** 20));
  const other: HiddenRow = { ...row, features: OTHER };
  assert.match(
    await refusalOf(askHidden(other)),
    /^bad-input: statement\.row: expected the commitment to the row/,
  );
  assert.match(
    await refusalOf(askHidden(row, { outputs: await stored(moved) })),
    /^bad-input: statement\.circuit/,
  );
  assert.match(
    await refusalOf(askHidden(row, { outputs: await stored([1, 2]) })),
    /^bad-file: .*expected one row of \d+ outputs/,
  );
  assert.match(
    await refusalOf(askHidden(row, { decision: 0 })),
    /^bad-input: .*expected outputs where the answers/,
  );
  // Other inputs with these numbers: that they have others is the model's to say.
  assert.match(
    await refusalOf(askHidden(other, { row: elsewhere })),
    /^proof-refused: no proof was made, and why/,
  );
  const closed = await startProving(t, { ...subject, ...(await files(OUTPUT)) }, { terms: DEFAULT_TERMS });
  await closed.process('coordinator', 'c2');
  assert.match(await refusalOf(askHidden(row, {}, closed)), /^terms-refused: .*exact numbers/);
});

test('numbers that are not its own, with a key for them, and a vendor whose answers hold none', async (t) => {
  const wrong = answer(INPUT, OUTPUT.with(1, OUTPUT[1]! + 1));
  const subject = await subjectOf(MODEL, answer(INPUT, OUTPUT), 1);
  const circuit = await prepareCircuit(MODEL.architecture, wrong);
  const files = await prepareKey(circuit);
  const [zkey, powers] = (await Promise.all([readFile(files.zkey), readFile(files.powers)])).map(
    (file) => new Uint8Array(file),
  ) as [Uint8Array, Uint8Array];
  const lie = { ...subject, testSet: wrong, circuit: circuit.digest, zkey, powers };
  const fixture = await startProving(t, lie, { terms: TERMS });
  await fixture.process('coordinator', 'c1');
  assert.match(await refusalOf(ask(fixture, wrong)), /^proof-refused: no proof was made, and why/);

  const closed = await startProving(t, subject, { terms: DEFAULT_TERMS });
  await closed.process('coordinator', 'c2');
  assert.match(await refusalOf(ask(closed, answer(INPUT, OUTPUT))), /^terms-refused: .*exact numbers/);
});

test.run();
