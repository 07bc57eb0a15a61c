/**
 * The attacker wants a copy of the model. He is a client with ordinary credentials who asks many applications and fits his
 * own model to what the answers hold. Exact logits are linear in the features of a linear model: as many answers as it has
 * features, and one more, give every further answer to the integer. The default terms give him the class alone, one bit or
 * less each; nothing stops him from asking, and SECURITY.md says so.
 */
import { evaluate, randomFeatures } from '../../circuits/model/quantise.ts';
import { DEFAULT_TERMS, type Terms } from '../../protocols/terms.ts';
import { infer, verifyService } from '../../runtime/client/client.ts';
import { folder } from '../../runtime/home/home.ts';
import { publishModel } from '../../runtime/models/publish.ts';
import { startRoles, stopRoles } from '../../runtime/roles/start.ts';
import { smallModel } from '../circuits/model-fixture.ts';
import { assert, suite, type TestContext } from '../harness.ts';
import { startHome } from '../runtime/home/home-fixture.ts';

const test = suite('attack: clone the model', { timeoutMs: 180_000 });
const SOURCE = 'client.thief';

let models = 1;
async function answersTo(t: TestContext, count: number, terms?: Terms) {
  const home = await startHome(t);
  const name = `clone-${models++}`;
  const model = smallModel({ units: [4, 3, 2] });
  await publishModel(home.observer, 'provisioner.test', {
    name,
    model,
    policy: home.policies.release,
    terms,
  });
  const roles = await startRoles(['broker', 'runner', 'gpu', 'enclave'], {
    url: home.server.url,
    creds: folder('creds'),
    id: `enclave-${name}`,
    log: home.say,
    model: name,
  });
  t.defer(() => stopRoles(roles, home.say));
  const bus = await home.bus('client', 'thief');
  const { inference: policy } = home.policies;
  const service = await verifyService(bus, SOURCE, name, policy);
  const made = [];
  for (const row of randomFeatures(model.architecture, count)) {
    const { answer, receipt } = await infer(bus, SOURCE, service, policy, [...row].map(String));
    made.push({ answer, receipt, logits: [...evaluate(model, row).logits] });
  }
  return { model, made };
}

test('120 answers under the default terms hold no logits', async (t) => {
  const { made } = await answersTo(t, 120);
  for (const { answer, receipt } of made) {
    assert.is(receipt.claims?.answers, 'decision');
    const { answers, decision, label, provider, modelMicros, ...rest } = answer;
    assert.equal(
      [answers, typeof decision, typeof label, typeof provider],
      ['decision', 'number', 'string', 'string'],
    );
    assert.ok(modelMicros >= 0);
    // All else is about the receipt, whose digest of the answer covers class and label alone.
    assert.equal(Object.keys(rest).sort(), ['receipt', 'receiptDigest', 'receiptId', 'version']);
  }
});

test('rounded answers hold whole percent of the range that the architecture allows, and the receipt says so', async (t) => {
  const { model, made } = await answersTo(t, 20, { ...DEFAULT_TERMS, answers: 'rounded' });
  const bound = model.architecture.layers.at(-1)!.output;
  for (const { answer, receipt, logits } of made) {
    assert.is(receipt.claims?.answers, 'rounded');
    assert.equal(
      answer.scores,
      logits.map((logit) => Math.round((50 * (logit + bound)) / bound)),
    );
    assert.is(answer.scores!.length, model.architecture.classes.length);
    for (const score of answer.scores!) {
      assert.ok(Number.isInteger(score) && score >= 0 && score <= 100, `${score}`);
      // One score stands for so many logits.
      assert.ok(bound / 50 > 1, `${bound}`);
    }
  }
});

test('exact answers hold the logits, because the vendor says so', async (t) => {
  const { made } = await answersTo(t, 3, { ...DEFAULT_TERMS, answers: 'exact' });
  for (const { answer, receipt, logits } of made) {
    assert.is(receipt.claims?.answers, 'exact');
    assert.equal(answer.scores, logits);
  }
});

test.run();
