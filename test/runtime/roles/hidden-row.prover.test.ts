/** A proof of one answer to a row that nobody sees but its owner and the prover, end to end; and what others can make of it. */
import { readFile } from 'node:fs/promises';
import { modelDictionaryDigest } from '../../../circuits/model/architecture.ts';
import { randomSalt } from '../../../circuits/model/commit.ts';
import { evaluate } from '../../../circuits/model/quantise.ts';
import { commitRow, type HiddenRow } from '../../../circuits/model/row.ts';
import { base64url, utf8 } from '../../../protocols/encoding.ts';
import type { HiddenInferenceStatement, PublishedProof, SealedRow } from '../../../protocols/proof.ts';
import { encodeRow } from '../../../protocols/sealed-row.ts';
import { generateSealingKeyPair, SEALING_INFO, sealTo } from '../../../protocols/sealing.ts';
import { DEFAULT_TERMS } from '../../../protocols/terms.ts';
import { sealRow } from '../../../runtime/client/hidden-row.ts';
import { requestProof } from '../../../runtime/client/proof-request.ts';
import { judgeProof } from '../../../runtime/client/quality-proof.ts';
import { prepareCircuit, prepareKey } from '../../../runtime/prove/setup.ts';
import { SMALL, smallCells, smallRows, smallTrees } from '../../circuits/trees-fixture.ts';
import { assert, suite } from '../../harness.ts';
import { useHome } from '../home/home-fixture.ts';
import { judgePile } from '../verifier/pile.ts';
import { type ProofFixture, refusalOf, startProving } from './proof-fixture.ts';

const test = suite('proof of a hidden row', { timeoutMs: 240_000 });
const MODEL = smallTrees({ trees: 2, depth: 2, seed: 4 });
const ROW: HiddenRow = { features: smallRows(1, 5)[0]!, salt: randomSalt() };
const DECISION = evaluate(MODEL, ROW.features).decision;

test('the answer is proved and the row is not shown, until its owner shows it; nothing else is proved of it', async (t) => {
  useHome();
  const circuit = await prepareCircuit(MODEL.architecture, { hiddenAnswer: DECISION });
  const files = await prepareKey(circuit);
  const [zkey, powers] = await Promise.all([readFile(files.zkey), readFile(files.powers)]);
  const fixture = await startProving(
    t,
    {
      ...{ model: MODEL, circuit: circuit.digest, zkey, powers, threshold: 1 },
      testSet: { features: [ROW.features], labels: [DECISION] },
      proof: {} as never,
    },
    { terms: DEFAULT_TERMS },
  );
  await fixture.process('worker', 'w1');
  await fixture.process('coordinator', 'c1');
  const { client, statement, policies } = fixture;

  type Sealer = (subject: string) => Promise<SealedRow[]>;
  const sealed =
    (row: HiddenRow): Sealer =>
    (subject) =>
      sealRow(client, 'client.test', policies.prover, row, subject);
  const ask = (sealRows: Sealer | undefined, changes: Partial<HiddenInferenceStatement> = {}) =>
    requestProof(
      client,
      'client.test',
      {
        statement: 'hidden-inference',
        ...withoutRows(statement),
        decision: DECISION,
        row: commitRow(MODEL.architecture, ROW).toString(),
        dictionary: modelDictionaryDigest(MODEL.architecture)!,
        ...changes,
      },
      { sealRows },
    );

  let sent: SealedRow[] = [];
  const published = await ask(async (subject) => {
    sent = await sealed(ROW)(subject);
    return sent;
  });
  assert.equal(
    sent.map(({ coordinator }) => coordinator),
    ['c1'],
  );
  const judge = (proof: PublishedProof, row?: HiddenRow) =>
    judgeProof(proof, {
      policy: policies.prover,
      modelCommitment: statement.commitment,
      job: published.record.job,
      dictionary: SMALL,
      row: row && (() => row),
    });
  const failed = async (verdict: ReturnType<typeof judge>) =>
    (await verdict).checks.filter(({ status }) => status === 'fail').map(({ id }) => id);
  const name = MODEL.architecture.classes[DECISION];

  // Without the row: that it is hidden, and what that means.
  const unopened = await judge(published);
  assert.ok(unopened.accepted, JSON.stringify(unopened.checks));
  const check = unopened.checks.find(({ id }) => id === 'proof.row');
  assert.is(check?.status, 'skipped');
  assert.match(check?.detail ?? '', /one that the dictionary allows, and the prover may have chosen it/);
  assert.match(
    unopened.sentence,
    new RegExp(`answers "${name}" to a hidden row, one that the dictionary allows`),
  );
  // With it.
  const shown = await judge(published, ROW);
  assert.ok(shown.accepted);
  assert.match(shown.sentence, new RegExp(`answers "${name}" to the row that was given here`));

  const salt = Buffer.from(ROW.salt).toString('hex');
  const pile = async (files: Record<string, string>) => {
    const { failed: faults, row } = await judgePile(published, policies.prover, files);
    return [faults, row];
  };
  const cells = smallCells(ROW.features).join();
  assert.equal(await pile({}), [[], 'skipped']);
  assert.equal(await pile({ 'row.csv': cells, salt }), [[], 'pass']);
  assert.equal(await pile({ 'row.csv': cells, salt: '00'.repeat(ROW.salt.length) }), [['proof.row'], 'fail']);

  // Whoever guesses the row needs its salt, and other rows do not open it.
  assert.equal(await failed(judge(published, { ...ROW, salt: randomSalt() })), ['proof.row']);
  const others = smallRows(20, 8).filter((row) => row.join() !== ROW.features.join());
  assert.equal(await failed(judge(published, { ...ROW, features: others[0]! })), ['proof.row']);
  const changed = (change: (statement: HiddenInferenceStatement) => void): PublishedProof => {
    const copy = structuredClone(published);
    change(copy.record.statement as HiddenInferenceStatement);
    return copy;
  };
  const elsewhere = changed((s) => {
    s.row = commitRow(MODEL.architecture, { ...ROW, features: others[0]! }).toString();
  });
  assert.ok((await failed(judge(elsewhere))).includes('proof.public-signals'));
  const opposite = changed((s) => {
    s.decision = 1 - DECISION;
  });
  assert.ok((await failed(judge(opposite))).includes('proof.test-set'));

  // What is stored and said holds neither the row nor its salt.
  const all = JSON.stringify(published) + JSON.stringify(sent) + fixture.log.join('\n');
  for (const secret of [
    ROW.features.join(),
    Buffer.from(ROW.salt).toString('hex'),
    base64url(encodeRow(ROW)),
  ])
    assert.not(all.includes(secret), 'what is secret travels in the clear');

  // What a requester may try.
  const forged: HiddenRow = { ...ROW, features: Int32Array.of(1, 1, 1, 0, 0) };
  assert.match(await refusalOf(ask(sealed(forged))), /^bad-input: .*exactly one category of "colour"/);
  const other: HiddenRow = { ...ROW, features: others[0]! };
  assert.match(await refusalOf(ask(sealed(other))), /^bad-input: statement\.row: expected the commitment/);
  assert.match(await refusalOf(ask(undefined)), /^seal-rejected: .*not sealed to coordinator c1/);
  assert.match(await refusalOf(ask(async () => sent)), /^seal-rejected/, 'sealed for another request');
  const stranger = await generateSealingKeyPair();
  const toStranger: Sealer = async (subject) => {
    const context = { info: SEALING_INFO.row, aad: utf8(subject) };
    const { sealed: bytes } = await sealTo(stranger.publicKey, encodeRow(ROW), context);
    return [{ coordinator: 'c1', sealed: base64url(bytes) }];
  };
  assert.match(await refusalOf(ask(toStranger)), /^seal-rejected/, "to a key that is not the coordinator's");
  assert.match(
    await refusalOf(ask(sealed(ROW), { decision: 1 - DECISION })),
    /^bad-input: statement\.circuit/,
  );
  // A row that has another answer is refused without a reason: whether it has is the model's to say.
  const withOther = others.find((row) => evaluate(MODEL, row).decision !== DECISION)!;
  const falseRow: HiddenRow = { ...ROW, features: withOther };
  assert.match(
    await refusalOf(ask(sealed(falseRow), { row: commitRow(MODEL.architecture, falseRow).toString() })),
    /^proof-refused: no proof was made, and why/,
  );
  // No row is sealed to whoever does not satisfy the policy.
  const strict = { ...policies.prover, measurements: ['ab'.repeat(48)] };
  assert.match(
    await refusalOf(ask((subject) => sealRow(client, 'client.test', strict, ROW, subject))),
    /coordinator evidence/,
  );
});

const withoutRows = ({ model, commitment, circuit, key, powers }: ProofFixture['statement']) => ({
  model,
  commitment,
  circuit,
  key,
  powers,
});

test.run();
