/**
 * What a vendor may hand in that is no model of his data: one sentence each, which says what was wrong, and nothing is left
 * half made. On the other side is somebody in a hurry, or a file that broke on its way.
 */
import { existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import type { Dictionary } from '../../../circuits/model/dictionary.ts';
import { ModelProto, type OnnxGraph } from '../../../circuits/model/onnx.ts';
import { writeOnnx } from '../../../circuits/model/onnx-writer.ts';
import { VouchError } from '../../../protocols/errors.ts';
import { lintCommand } from '../../../runtime/commands/model-lint.ts';
import { sampleData } from '../../../runtime/demo/sample.ts';
import { CREDIT, readCreditData } from '../../../runtime/models/credit-data.ts';
import { readRows } from '../../../runtime/models/test-sets.ts';
import { commitOnnx } from '../../../runtime/models/vendor.ts';
import { graph, node, tensor } from '../../circuits/onnx-fixture.ts';
import { assert, suite } from '../../harness.ts';
import { useHome } from '../home/home-fixture.ts';

const test = suite('models that are none', { timeoutMs: 60_000 });

const home = useHome();
const models = path.join(home, 'models');
const work = mkdtempSync(path.join(tmpdir(), 'vouch-bad-'));
process.once('exit', () => rmSync(work, { recursive: true, force: true }));
const ROWS = readCreditData(sampleData(1));
const data = path.join(work, 'rows.data');
writeFileSync(data, sampleData(1));
const dictionary = path.join(work, 'dictionary.json');
writeFileSync(dictionary, JSON.stringify(CREDIT));

/** 63 weights, as a logistic regression on German Credit has them. */
const weights = (values: number[] = []) =>
  tensor(
    [63, 1],
    Array.from({ length: 63 }, (_, i) => values[i] ?? (i % 5) - 2),
  );
const good = (change: Partial<OnnxGraph> = {}, w = weights()): OnnxGraph => ({
  ...graph([node('MatMul', ['x', 'w'], 'h'), node('Sigmoid', ['h'], 'y')], { w }, [undefined, 63]),
  opsets: new Map([['', 13]]),
  ...change,
});

interface Failure {
  readonly code: string;
  readonly message: string;
}
async function failure(work: () => unknown): Promise<Failure | undefined> {
  try {
    await work();
    return undefined;
  } catch (error) {
    if (!(error instanceof VouchError)) throw error;
    return { code: error.code, message: error.message };
  }
}

/** Lints and adds a file; both have to refuse it, in one sentence, and to leave nothing. */
async function refused(
  bytes: Uint8Array,
  what: RegExp,
  name: string,
  own: Dictionary = CREDIT,
): Promise<void> {
  const file = path.join(work, 'model.onnx');
  writeFileSync(file, bytes);
  const printed: string[] = [];
  const print = (value: unknown): void => void printed.push(String(value));
  const lint = await failure(async () => {
    const provable = await lintCommand(file, { dictionary, data, json: false }, print);
    if (provable) throw new Error(`${name}: lint calls it provable`);
  });
  if (lint) assert.ok(['bad-file', 'too-large'].includes(lint.code), `${name}: ${lint.code}`);
  assert.match(lint?.message ?? printed.join('\n'), what, `${name}, lint`);
  const add = await failure(() => commitOnnx('bad', bytes, ROWS, own));
  assert.ok(add, `${name} was added`);
  assert.ok(['bad-file', 'bad-input', 'too-large'].includes(add.code), `${name}: ${add.code}`);
  assert.match(add.message, what, `${name}, add`);
  assert.not.match(add.message, /\n/, `${name}: one line`);
  assert.equal(existsSync(models) ? readdirSync(models) : [], [], `${name}: nothing is left`);
}

test('files that are no graph', async () => {
  await refused(new Uint8Array(), /empty/i, 'an empty file');
  await refused(
    new TextEncoder().encode('version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1234\n'),
    /LFS/,
    'an LFS pointer',
  );
  await refused(new TextEncoder().encode('<html>'), /ONNX/, 'a page');
  const folder = path.join(work, 'folder');
  mkdirSync(folder);
  const lint = await failure(() => lintCommand(folder, { json: false }, () => {}));
  assert.is(lint?.code, 'bad-file');
  assert.match(lint?.message ?? '', /it is a folder, expected a file/);
});

test('a file that is cut off, at every byte', async () => {
  const whole = new Uint8Array(writeOnnx(good()));
  for (let length = 0; length < whole.length; length++) {
    const error = await failure(() =>
      commitOnnx('bad', whole.subarray(0, length), ROWS.slice(0, 200), CREDIT),
    );
    // A prefix that is a file of its own lacks something: its output, its input, its weights.
    assert.ok(error && ['bad-file', 'bad-input'].includes(error.code), `${length} bytes: ${error?.message}`);
  }
  assert.equal(existsSync(models) ? readdirSync(models) : [], []);
});

test('graphs that compute nothing, or not from rows of the dictionary', async () => {
  const cyclic = good({
    nodes: [node('Add', ['x', 'b'], 'a'), node('Add', ['a', 'x'], 'b'), node('Sigmoid', ['b'], 'y')],
  });
  await refused(writeOnnx(cyclic), /depends on itself/, 'a circle');
  const dangling = good({ nodes: [node('MatMul', ['x', 'nobody'], 'h'), node('Sigmoid', ['h'], 'y')] });
  await refused(writeOnnx(dangling), /nothing gives its input "nobody"/, 'a dangling input');
  const huge = good({ inputs: [{ name: 'x', dims: [undefined, 2 ** 31, 2 ** 31, 2 ** 31] }] });
  await refused(writeOnnx(huge), /shape|values|elements/, 'a shape that overflows');
  await refused(
    writeOnnx(good({ opsets: new Map([['', 99]]) })),
    /version 99 of ai\.onnx; known are/,
    'an opset',
  );
  for (const [name, value] of [
    ['NaN', Number.NaN],
    ['infinity', Number.POSITIVE_INFINITY],
  ] as const)
    await refused(writeOnnx(good({}, weights([1, value]))), /not a finite number/, name);
  const narrow = {
    ...graph(
      [node('MatMul', ['x', 'w'], 'h'), node('Sigmoid', ['h'], 'y')],
      { w: tensor([3, 1], [1, 2, 3]) },
      [undefined, 3],
    ),
  };
  await refused(writeOnnx(narrow), /takes 3 features/, 'other features');
});

test('weights in another file', async () => {
  // TensorProto's data_location (field 14) is 1: external.
  const bytes = new Uint8Array(writeOnnx(good()));
  const decoded = ModelProto.decode(bytes) as unknown as {
    graph: { initializer: { dataLocation: number }[] };
  };
  decoded.graph.initializer[0]!.dataLocation = 1;
  await refused(
    ModelProto.encode(decoded as never).finish(),
    /its data lies in another file; export one self-contained file/,
    'external data',
  );
});

test('tables that do not fit: a label that the dictionary does not have, one class only, too few rows', async () => {
  const table = path.join(work, 'table.data');
  const lines = sampleData(1).trim().split('\n');
  const fail = (content: string[]) => {
    writeFileSync(table, `${content.join('\n')}\n`);
    return failure(() =>
      lintCommand(path.join(work, 'model.onnx'), { dictionary, data: table, json: false }, () => {}),
    );
  };
  writeFileSync(path.join(work, 'model.onnx'), writeOnnx(good()));
  const unknown = await fail([...lines.slice(0, 50), lines[50]!.replace(/.$/, '7')]);
  assert.is(unknown?.code, 'bad-file');
  assert.match(unknown?.message ?? '', /line 51: column "label": expected 1 \(good\) or 2 \(bad\), got "7"/);
  const single = await fail(lines.filter((line) => line.endsWith(' 1')));
  assert.match(single?.message ?? '', /with rows of each class to test, got \d+ and none of bad/);
  assert.match((await fail(lines.slice(0, 10)))?.message ?? '', /expected at least 20 rows/);
  assert.match((await fail([]))?.message ?? '', /the file is empty/);
  assert.is((await failure(() => readRows(path.join(work, 'none'), CREDIT)))?.code, 'bad-file');
});

test.run();
