/** A model of tensors by commands: published with samples, its numbers proved for inputs that are shown and for hidden ones. */
import { readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { writeOnnx } from '../../../circuits/model/onnx-writer.ts';
import { evaluate } from '../../../circuits/model/quantise.ts';
import { integersOf, numbersOf } from '../../../circuits/model/tensor-values.ts';
import type { PublishedProof } from '../../../protocols/proof.ts';
import { addModelCommand } from '../../../runtime/commands/model.ts';
import { proveInferenceCommand } from '../../../runtime/commands/prove-inference.ts';
import { verifyCommand } from '../../../runtime/commands/verify.ts';
import { folder } from '../../../runtime/home/home.ts';
import { residual, residualModel, residualSamples } from '../../circuits/tensors-fixture.ts';
import { assert, suite } from '../../harness.ts';
import { startBroker, startHome, useHome } from '../home/home-fixture.ts';
import { temporaryFolder } from '../nats/nats-fixture.ts';
import { recordedVoices } from './voices.ts';

const test = suite('tensors by commands', { timeoutMs: 300_000 });

test('numbers for inputs that are shown, and for hidden ones, which their salt opens', async (t) => {
  useHome();
  const here = await temporaryFolder(t);
  const file = (name: string): string => join(here, name);
  const save = (name: string, value: unknown): string => {
    writeFileSync(file(name), JSON.stringify(value));
    return file(name);
  };
  writeFileSync(file('block.onnx'), writeOnnx(residual()));
  const terms = save('exact.json', { answers: 'exact' });
  const tensors = save('samples.json', residualSamples(8));
  const home = await startHome(t);
  const network = { url: home.server.url, creds: folder('creds') };
  await home.role('broker', 'broker-1', startBroker);
  const add = { ...network, tensors, terms, brokers: '1/1', json: false };
  await addModelCommand('block', file('block.onnx'), add, () => {});
  await home.process('worker', 'w1');
  await home.process('coordinator', 'c1');

  const { said, voices } = recordedVoices();
  const [sample, another] = residualSamples(2, 7);
  const input = save('x.json', sample);
  const prove = (name: string, output: string, more: object = {}) =>
    proveInferenceCommand(
      'block',
      { ...network, json: false, input, output, out: file(name), ...more },
      voices,
    );
  // Without --output the enclave would be asked.
  const guess = save('guess.json', { gated: [0, 0, 0, 0], block: Array(8).fill(0) });
  const refusal = await prove('none.json', guess).then(
    () => undefined,
    (reason: Error) => reason.message,
  );
  assert.match(refusal ?? 'it was proved', /no proof was made, and why/);
  const { architecture, ...rest } = residualModel();
  const { logits } = evaluate({ architecture, ...rest }, integersOf(architecture.named!, sample!));
  const output = save('y.json', numbersOf(architecture, logits));
  await prove('open.json', output);
  const hidden = file('hidden.json');
  await prove('hidden.json', output, { hide: 'input', saveOutput: file('saved.json') });
  assert.equal(JSON.parse(readFileSync(file('saved.json'), 'utf8')), numbersOf(architecture, logits));
  assert.ok(said.includes(`verified\tthese numbers\t${hidden}`), said.join('\n'));
  const rowSalt = `${hidden}.row-salt`;
  assert.is(statSync(rowSalt).mode & 0o777, 0o600);

  const verdict = async (proof: string, more: object): Promise<string> => {
    const lines: string[] = [];
    await verifyCommand([proof], { json: false, ...more }, (line) => void lines.push(String(line)));
    return lines.join('\n');
  };
  assert.match(await verdict(file('open.json'), { input, output }), /^verdict: accept$/m);
  assert.match(
    await verdict(hidden, { output }),
    /^skipped +proof\.row +the row is hidden: it is all input tensors[\s\S]*^verdict: accept[\s\S]*hidden input tensors, which are all of them/m,
  );
  assert.match(
    await verdict(hidden, { output, input, rowSalt }),
    /^pass +proof\.row [\s\S]*^verdict: accept[\s\S]*to the input tensors that were given here/m,
  );
  assert.match(
    await verdict(hidden, { output, input: save('other.json', another), rowSalt }),
    /^fail +proof\.row [\s\S]*^verdict: reject/m,
  );
  assert.match(
    await verdict(hidden, { output: guess }),
    /^fail +proof\.test-set +the circuit is not that[\s\S]*^verdict: reject/m,
  );
  const { statement } = (JSON.parse(readFileSync(hidden, 'utf8')) as PublishedProof).record;
  assert.equal(
    Object.keys(statement).filter((name) => /input|features|x/.test(name)),
    [],
  );
});

test.run();
