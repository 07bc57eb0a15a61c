/**
 * Models that the real libraries train and export here, where they are installed (Debian: python3-onnx, python3-sklearn,
 * python3-torch, python3-xgboost): lint calls them provable, and integers decide as the library does. Skipped, one by one, without them.
 */
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { preprocessingOf } from '../../circuits/model/dictionary.ts';
import { lintModel } from '../../circuits/model/lint.ts';
import { readOnnx } from '../../circuits/model/onnx.ts';
import { featuresCommand } from '../../runtime/commands/data.ts';
import { sampleData } from '../../runtime/demo/sample.ts';
import { CREDIT, readCreditData } from '../../runtime/models/credit-data.ts';
import { split } from '../../runtime/models/labelled-rows.ts';
import { testSetFor } from '../../runtime/models/test-sets.ts';
import { partition } from '../../runtime/models/vendor.ts';
import { assert, suite } from '../harness.ts';

const test = suite('exports by the real libraries', { timeoutMs: 300_000 });

const SCRIPT = fileURLToPath(new URL('exports.py', import.meta.url));
const NAMES = ['sklearn_linear', 'sklearn_mlp', 'skl2onnx', 'xgboost', 'torch_batch_norm'];

const folder = mkdtempSync(path.join(tmpdir(), 'vouch-exports-'));
process.once('exit', () => rmSync(folder, { recursive: true, force: true }));
let made: Promise<readonly string[]> | undefined;

/** What the script says of each model. */
async function make(): Promise<readonly string[]> {
  const at = (name: string): string => path.join(folder, name);
  writeFileSync(at('rows.data'), sampleData(1));
  writeFileSync(at('dictionary.json'), JSON.stringify(CREDIT));
  for (const part of ['train', 'test'] as const)
    await featuresCommand(
      at('rows.data'),
      { dictionary: at('dictionary.json'), split: part, out: at(`${part}.csv`) },
      () => {},
    );
  try {
    return execFileSync('python3', [SCRIPT, at('train.csv'), at('test.csv'), folder], { encoding: 'utf8' })
      .trim()
      .split('\n');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return ['skip all: no python3'];
    throw error;
  }
}

const rows = readCreditData(sampleData(1));
const { features } = partition(rows, CREDIT);
const held = split(rows, CREDIT).test;

for (const name of NAMES) {
  test(`${name}: provable, and integers decide as the library does`, async (t) => {
    made ??= make();
    const said = await made;
    const skipped = said.find((line) => line.startsWith(`skip ${name}:`) || line.startsWith('skip all:'));
    if (skipped) t.skip(skipped);
    assert.ok(said.includes(name), said.join('; '));
    const onnx = new Uint8Array(readFileSync(path.join(folder, `${name}.onnx`)));
    const predicted = JSON.parse(readFileSync(path.join(folder, `${name}.json`), 'utf8')) as number[];
    // The library's answers in the place of labels: what lint counts as correct is then agreement.
    const testSet = { ...testSetFor(held, preprocessingOf(CREDIT)), labels: predicted };
    const report = lintModel(readOnnx(onnx), {
      dictionary: CREDIT,
      rows: { calibration: features, testSet },
    });
    assert.equal(report.problems, []);
    const { float, integers } = report.proof!.correct;
    assert.ok(float >= predicted.length - 1, `${float} of ${predicted.length} by the file's numbers`);
    assert.ok(integers >= predicted.length * 0.98, `${integers} of ${predicted.length} by integers`);
  });
}

test.run();
