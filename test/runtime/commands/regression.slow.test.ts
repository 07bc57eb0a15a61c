/** A linear regression on made-up rents, by commands: drafted, trained, linted, published, proved, verified; and what is refused. */
import { readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { parseArchitecture } from '../../../circuits/model/architecture.ts';
import { decodeSecret } from '../../../circuits/model/commit.ts';
import { parseDictionary } from '../../../circuits/model/dictionary.ts';
import { floatDecisions, type LintReport } from '../../../circuits/model/lint.ts';
import { onnxFromNetwork } from '../../../circuits/model/network.ts';
import { decimalOf } from '../../../circuits/model/numbers.ts';
import { writeOnnx } from '../../../circuits/model/onnx-writer.ts';
import { evaluate } from '../../../circuits/model/quantise.ts';
import { canonicalJson } from '../../../protocols/encoding.ts';
import type { PublishedProof, QualityStatement } from '../../../protocols/proof.ts';
import { describeCommand, featuresCommand } from '../../../runtime/commands/data.ts';
import { addModelCommand } from '../../../runtime/commands/model.ts';
import { lintCommand } from '../../../runtime/commands/model-lint.ts';
import { proveCommand } from '../../../runtime/commands/prove.ts';
import { proveInferenceCommand } from '../../../runtime/commands/prove-inference.ts';
import { verifyCommand } from '../../../runtime/commands/verify.ts';
import { folder } from '../../../runtime/home/home.ts';
import { seededRandom } from '../../../runtime/models/random.ts';
import { testFile } from '../../../runtime/models/vendor.ts';
import {
  drawing,
  type LeNet,
  leNet,
  pricedPixels,
  tensorsOf,
  WORTH,
} from '../../circuits/tensors-fixture.ts';
import { assert, suite } from '../../harness.ts';
import { startBroker, startHome, useHome } from '../home/home-fixture.ts';
import { temporaryFolder } from '../nats/nats-fixture.ts';
import { recordedVoices } from './voices.ts';

const test = suite('regression', { timeoutMs: 300_000 });

/** rooms, floor, kind and rent: 120 a month, 85.5 for each room, 4 for each floor, 60 less in the suburb, and noise. */
function rents(rows: number): string {
  const random = seededRandom(5);
  const lines = Array.from({ length: rows }, () => {
    const [rooms, floor, suburb] = [1 + random.below(7), random.below(15), random.below(2) === 1];
    const rent = 120 + 85.5 * rooms + 4 * floor - (suburb ? 60 : 0) + 12 * random.normal();
    return `${rooms},${floor},${suburb ? 'suburb' : 'city'},${(Math.round(rent * 2) / 2).toFixed(1)}`;
  });
  return `rooms,floor,kind,rent\n${lines.join('\n')}\n`;
}

/** Least squares by the normal equations, with a small ridge, because categories add up to the constant. */
function leastSquares(rows: readonly number[][], labels: readonly number[]): number[] {
  const n = rows[0]!.length;
  const m = Array.from({ length: n }, (_, i) => [
    ...Array.from({ length: n }, (__, j) => rows.reduce((s, r) => s + r[i]! * r[j]!, i === j ? 1e-6 : 0)),
    rows.reduce((s, r, k) => s + r[i]! * labels[k]!, 0),
  ]);
  for (let i = 0; i < n; i++)
    for (let k = 0; k < n; k++) {
      if (k === i) continue;
      const factor = m[k]![i]! / m[i]![i]!;
      for (let j = i; j <= n; j++) m[k]![j]! -= factor * m[i]![j]!;
    }
  return m.map((row, i) => row[n]! / row[i]!);
}

async function printedBy(run: (print: (line: unknown) => void) => Promise<unknown>): Promise<string> {
  const lines: string[] = [];
  await run((line) => lines.push(typeof line === 'string' ? line : JSON.stringify(line)));
  return lines.join('\n');
}

test('rents: from a table to a verified proof that so many are foretold within 25', async (t) => {
  useHome();
  const here = await temporaryFolder(t);
  const file = (name: string): string => join(here, name);
  writeFileSync(file('rents.csv'), rents(120));
  const none = () => {};
  await describeCommand(file('rents.csv'), { label: 'rent', out: file('rents.json') }, none);
  const dictionary = file('rents.json');
  const { label } = parseDictionary(JSON.parse(readFileSync(dictionary, 'utf8')));
  assert.is(label.number?.step, '0.1');

  // Trained on what the model will see.
  const x = { dictionary, split: 'train' as const, out: file('x.csv') };
  await featuresCommand(file('rents.csv'), x, none);
  const [header, ...lines] = readFileSync(file('x.csv'), 'utf8').trim().split('\n');
  assert.is(header, 'rooms,floor,kind=city,kind=suburb,rent');
  const table = lines.map((line) => line.split(',').map(Number));
  const weights = leastSquares(
    table.map((row) => [...row.slice(0, -1), 1]),
    table.map((row) => row.at(-1)!),
  );
  assert.ok(Math.abs(weights[0]! - 85.5) < 3, `${weights}`);
  const layer = {
    inputs: 4,
    outputs: 1,
    weights: Float64Array.from(weights.slice(0, 4)),
    bias: Float64Array.of(weights[4]!),
    relu: false,
  };
  const onnx = file('rents.onnx');
  writeFileSync(onnx, writeOnnx(onnxFromNetwork({ inputs: 4, layers: [layer], decision: 'number' })));

  const data = file('rents.csv');
  const linted = await printedBy((print) =>
    lintCommand(onnx, { dictionary, data, within: '25', json: false }, print),
  );
  assert.match(linted, /^off by +\d+\.\d+ on average by the file's numbers/m);
  assert.match(linted, /^correct +3\d of 36 by the file's numbers, 3\d by integers/m);
  assert.match(linted, /^provable$/m);

  const home = await startHome(t);
  const network = { url: home.server.url, creds: folder('creds') };
  await home.role('broker', 'broker-1', startBroker);
  writeFileSync(file('terms.json'), JSON.stringify({ minimumRows: 20, thresholdStep: 10 }));
  const added = await printedBy((print) =>
    addModelCommand(
      'rents',
      onnx,
      { ...network, dictionary, data, brokers: '1/1', terms: file('terms.json'), json: false },
      print,
    ),
  );
  assert.match(added, /off by \d+\.\d+ on average of 36 test rows, the best constant answer by \d+/);
  await home.process('worker', 'w1');
  await home.process('coordinator', 'c1');

  const { said, voices } = recordedVoices();
  const out = file('proof.json');
  const ask = (more: object) =>
    proveCommand('rents', { ...network, json: false, dictionary, out, ...more }, voices);
  const refused = async (more: object, text: RegExp) => {
    const error = await ask(more).then(
      () => undefined,
      (reason: Error) => reason,
    );
    assert.match(error?.message ?? 'it was proved', text);
  };
  await refused({ atLeast: '70%' }, /--within: the model answers numbers; expected how far/);
  await refused(
    { atLeast: '70%', within: '0.25' },
    /--within: expected a multiple of 0.1, the step of the label/,
  );
  await refused({ atLeast: '70', within: '25' }, /--at-least: expected a share of the rows such as 70%/);
  await refused({ atLeast: '70%', threshold: 5, within: '25' }, /--at-least: expected it or --threshold/);
  await refused({ atLeast: '70%', within: '400' }, /a constant answer scores 36 of 36 rows/);
  await refused({ atLeast: '10%', within: '25' }, /a constant answer scores/);
  await ask({ atLeast: '70%', within: '25' });
  assert.ok(said.includes(`verified\tat least 26 of 36 rows\t${out}`), said.join('\n'));

  const testSet = testFile('rents');
  const verdict = (proof = out, more: object = {}) =>
    printedBy((print) => verifyCommand([proof], { testSet, dictionary, json: false, ...more }, print));
  assert.match(
    await verdict(),
    /^pass +proof\.not-trivial[\s\S]*^verdict: accept[\s\S]*^proved: the hidden model with commitment \d+ answers at least 26 of the 36 rows of test set [0-9a-f]{16}… with a number within 25\.0 of their label \(a constant answer scores \d+\); the label as your own dictionary names it \(a number from \d+\.\d to \d+\.\d in steps of 0\.1\)/m,
  );
  // The distance is a constant of the circuit: it cannot be made smaller, or left out, afterwards.
  const published = JSON.parse(readFileSync(out, 'utf8')) as PublishedProof;
  for (const within of [249, 0, undefined]) {
    const copy = structuredClone(published);
    const statement = copy.record.statement as { within?: number | undefined } & QualityStatement;
    if (within === undefined) delete statement.within;
    else statement.within = within;
    const changed = file('changed.json');
    writeFileSync(changed, canonicalJson(copy));
    assert.match(await verdict(changed), /^fail +proof\.test-set[\s\S]*^verdict: reject/m);
  }
  // Labels of other steps are another dictionary.
  const other = file('other.json');
  const { label: theirs, ...rest } = parseDictionary(JSON.parse(readFileSync(dictionary, 'utf8')));
  const number = { ...theirs.number!, high: theirs.number!.high + 1 };
  writeFileSync(other, JSON.stringify({ ...rest, label: { ...theirs, number } }));
  assert.match(
    await verdict(out, { dictionary: other }),
    /^fail +proof\.labels +the label here is a number from/m,
  );

  // One answer is the number to the step: another one is false, and the circuit is another.
  writeFileSync(file('row.csv'), '3,10,suburb\n');
  const architecture = parseArchitecture(published.record.architecture);
  const model = decodeSecret(architecture, readFileSync(folder('models', 'rents.secret')));
  const answer = evaluate(model, Int32Array.of(3, 10, 0, 1)).decision;
  assert.ok(Math.abs(answer / 10 - (120 + 85.5 * 3 + 40 - 60)) < 20);
  const input = file('row.csv');
  const one = { ...network, json: false, dictionary, input, out: file('answer.json') };
  await proveInferenceCommand('rents', { ...one, output: (answer / 10).toFixed(1) }, voices);
  assert.match(
    await verdict(file('answer.json'), { input }),
    new RegExp(`^proved: .* answers ${(answer / 10).toFixed(1)} to the row of input`, 'm'),
  );
  const changed = JSON.parse(readFileSync(file('answer.json'), 'utf8')) as PublishedProof;
  (changed.record.statement as { decision: number }).decision = answer + 1;
  writeFileSync(file('changed.json'), canonicalJson(changed));
  assert.match(await verdict(file('changed.json'), { input }), /^fail +proof\.test-set/m);

  // The same without showing the row.
  const hidden = file('hidden.json');
  const output = (answer / 10).toFixed(1);
  await proveInferenceCommand('rents', { ...one, out: hidden, hide: 'input', output }, voices);
  const salt = `${hidden}.row-salt`;
  assert.is(statSync(salt).mode & 0o777, 0o600);
  assert.match(
    await verdict(hidden),
    /^skipped +proof\.row +the row is hidden[\s\S]*^verdict: accept[\s\S]*^proved: .* to a hidden row, one that the dictionary allows/m,
  );
  assert.match(
    await verdict(hidden, { input, rowSalt: salt }),
    /^pass +proof\.row [\s\S]*^verdict: accept[\s\S]*to the row that was given here/m,
  );
  writeFileSync(file('other.csv'), '3,9,suburb\n');
  assert.match(
    await verdict(hidden, { input: file('other.csv'), rowSalt: readFileSync(salt, 'utf8').trim() }),
    /^fail +proof\.row [\s\S]*^verdict: reject/m,
  );
});

test('drawings: a convolutional network that answers a number, from its file to a verified proof', async (t) => {
  useHome();
  const here = await temporaryFolder(t);
  const file = (name: string): string => join(here, name);
  const shape: LeNet = { side: 8, channels: [1, 2], kernel: 2, pad: 0, dense: [3, 1], seed: 4 };
  const graph = leNet(shape);
  const rows = Array.from({ length: 60 }, (_, i) => drawing(8, i));
  const noise = seededRandom(3);
  const lines = floatDecisions(tensorsOf(graph), rows, WORTH).map(
    (steps, r) => `${rows[r]!.join()},${decimalOf(steps + Math.round(20 * noise.normal()), WORTH)}`,
  );
  const data = file('drawings.csv');
  writeFileSync(data, `${Array.from(rows[0]!, (_, i) => `x${i}`)},worth\n${lines.join('\n')}\n`);
  const dictionary = file('drawings.json');
  writeFileSync(dictionary, JSON.stringify(pricedPixels(64)));
  const onnx = file('drawings.onnx');
  writeFileSync(onnx, writeOnnx(graph));
  const within = '0.08';

  const linted = await printedBy((print) =>
    lintCommand(onnx, { dictionary, data, within, json: true }, print),
  );
  const { provable, problems, proof } = JSON.parse(linted) as LintReport;
  assert.ok(provable, JSON.stringify(problems));
  assert.ok(proof!.correct.integers > proof!.correct.constant, JSON.stringify(proof!.correct));

  const home = await startHome(t);
  const network = { url: home.server.url, creds: folder('creds') };
  await home.role('broker', 'broker-1', startBroker);
  writeFileSync(file('terms.json'), JSON.stringify({ minimumRows: 20, thresholdStep: 1 }));
  await addModelCommand(
    'drawings',
    onnx,
    { ...network, dictionary, data, brokers: '1/1', terms: file('terms.json'), json: false },
    () => {},
  );
  await home.process('worker', 'w1');
  await home.process('coordinator', 'c1');
  const { said, voices } = recordedVoices();
  const out = file('proof.json');
  const ask = (threshold: number) =>
    proveCommand('drawings', { ...network, json: false, dictionary, out, within, threshold }, voices);
  const more = await ask(proof!.correct.integers + 1).then(
    () => undefined,
    (reason: Error) => reason,
  );
  assert.match(more?.message ?? 'it was proved', /no proof was made, and why/);
  await ask(proof!.correct.integers);
  assert.ok(said.includes(`verified\tat least ${proof!.correct.integers} of ${proof!.rows} rows\t${out}`));
  const published = JSON.parse(readFileSync(out, 'utf8')) as PublishedProof;
  assert.is(published.record.constraints, proof!.constraints, 'as lint foretold');
  const testSet = testFile('drawings');
  assert.match(
    await printedBy((print) => verifyCommand([out], { testSet, dictionary, json: false }, print)),
    /^pass +proof\.not-trivial[\s\S]*^verdict: accept[\s\S]*with a number within 0\.080 of their label/m,
  );
});

test.run();
