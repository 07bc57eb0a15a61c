/** A data dictionary: what it refuses, what its digest covers, and whose names classes have. */
import { architectureDocument, parseArchitecture } from '../../circuits/model/architecture.ts';
import { classOrder, inClassOrder } from '../../circuits/model/class-order.ts';
import { commit, randomSalt } from '../../circuits/model/commit.ts';
import {
  type Dictionary,
  dictionaryDigest,
  differenceOf,
  featureNames,
  labelOf,
  parseDictionary,
} from '../../circuits/model/dictionary.ts';
import { preprocess } from '../../circuits/model/preprocessing.ts';
import { decideMany, quantise, randomFeatures } from '../../circuits/model/quantise.ts';
import { VouchError } from '../../protocols/errors.ts';
import { assert, suite } from '../harness.ts';
import { smallNetwork } from './model-fixture.ts';

const test = suite('dictionary');

const LOANS: Dictionary = parseDictionary({
  version: 1,
  columns: [
    { kind: 'category', name: 'purpose', categories: ['car', 'other'], unknown: 'other', missing: 'other' },
    { kind: 'decimal', name: 'rate', low: -100, high: 2000, step: '0.05' },
    { kind: 'integer', name: 'dependants', low: 0, high: 9, missing: '0' },
  ],
  label: {
    name: 'default',
    classes: [
      { name: 'paid', value: '0' },
      { name: 'defaulted', value: '1' },
    ],
  },
  split: { seed: 1, train: 70 },
});
// biome-ignore lint/suspicious/noExplicitAny: a document from outside, changed at will
type Loose = Record<string, any>;
const refuses = (change: (d: Loose) => void, text: RegExp): void => {
  const copy = structuredClone(LOANS) as Loose;
  change(copy);
  assert.throws(
    () => parseDictionary(copy),
    (error: unknown) => error instanceof VouchError && error.code === 'bad-input' && text.test(error.message),
  );
};
const swap = (d: Dictionary): Dictionary => ({
  ...d,
  label: {
    ...d.label,
    classes: d.label.classes!.map(({ value }, c, all) => ({ value, name: all[all.length - 1 - c]!.name })),
  },
});

test('what means two things is refused', () => {
  refuses((d) => d.label.classes.push({ name: 'paid', value: '2' }), /"paid" stands for two classes/);
  refuses((d) => d.label.classes.push({ name: '0', value: '2' }), /"0" stands for two classes/);
  refuses((d) => {
    d.label.name = 'rate';
  }, /a column as well/);
  refuses((d) => {
    d.columns[2].name = 'rate';
  }, /two columns have the same name/);
  refuses((d) => {
    d.columns[0].unknown = 'boat';
  }, /"boat" is not among its categories/);
  refuses((d) => {
    d.columns[2].missing = '10';
  }, /"10" is no value of it/);
  refuses((d) => {
    d.columns[1].step = '0.00';
  }, /expected a step above 0/);
  refuses((d) => {
    d.extra = 1;
  }, /extra/);
});

test('cells become features: steps are exact, missing and unknown cells as declared', () => {
  const features = (...cells: string[]) => [...preprocess({ columns: LOANS.columns }, cells)];
  assert.equal(featureNames(LOANS), ['purpose=car', 'purpose=other', 'rate', 'dependants']);
  assert.equal(features('car', '1.5', '2'), [1, 0, 30, 2]);
  assert.equal(features('boat', '0.025', ''), [0, 1, 1, 0]);
  assert.equal(features('?', '-0.025', '?'), [0, 1, 0, 0]);
  assert.equal(features('car', '-0.0250001', '9'), [1, 0, -1, 9]);
  assert.equal(features('car', '-5', '9'), [1, 0, -100, 9]);
  assert.throws(() => features('car', '-5.03', '0'), /between -100 and 2000 steps of 0.05/);
  assert.throws(() => features('car', '', '0'), /column "rate": expected a decimal number/);
});

test('a label is a class by name or by value, and never by position', () => {
  assert.equal(
    ['0', 'paid', '1', 'defaulted'].map((cell) => labelOf(LOANS, cell)),
    [0, 0, 1, 1],
  );
  assert.throws(() => labelOf(LOANS, '2'), /expected 0 \(paid\) or 1 \(defaulted\), got "2"/);
});

test('swapped class names are another dictionary, another architecture and another commitment', () => {
  const network = smallNetwork({ units: [4, 3, 2] });
  const model = (dictionary: Dictionary) => {
    const calibration = Array.from({ length: 20 }, (_, i) =>
      Int32Array.of(i % 2, (i + 1) % 2, i * 50, i % 10),
    );
    return quantise(network, { dictionary, calibration });
  };
  const [one, other] = [model(LOANS), model(swap(LOANS))];
  const salt = randomSalt();
  assert.equal(one.parameters, other.parameters);
  assert.is.not(dictionaryDigest(LOANS), dictionaryDigest(swap(LOANS)));
  assert.is.not(commit({ ...one, salt }), commit({ ...other, salt }));
  assert.match(
    differenceOf(LOANS, swap(LOANS))!,
    /classes here are 0 \(paid\), 1 \(defaulted\), in this order; the model's are 0 \(defaulted\), 1 \(paid\)/,
  );
  assert.is(differenceOf(LOANS, structuredClone(LOANS)), undefined);
  assert.match(differenceOf(LOANS, { ...LOANS, columns: LOANS.columns.slice(1) })!, /column "purpose"/);
  // A document of version 2 is read as what it was, and holds the dictionary itself.
  const document = architectureDocument(one.architecture);
  assert.equal(parseArchitecture(structuredClone(document)), one.architecture);
  assert.equal(document.dictionary, LOANS);
  assert.throws(() => parseArchitecture({ ...document, classes: ['a', 'b'] }), /classes/);
  assert.throws(
    () => parseArchitecture({ ...document, operations: (document.operations as unknown[]).slice(1) }),
    /dense and relu in turns/,
  );
});

test("a file's own class names decide which output is which class", () => {
  const order = (named: (string | number)[] | undefined, dictionary = LOANS) =>
    classOrder(named, dictionary, 'sign');
  assert.equal(order(undefined), [0, 1]);
  assert.equal(order(['defaulted', 'paid']), [1, 0]);
  assert.equal(order([0, 1]), [0, 1]);
  assert.equal(order([1, 0]), [1, 0]);
  assert.match(
    order(['yes', 'no']) as string,
    /file's classes are yes, no; the dictionary's are 0 \(paid\), 1/,
  );
  assert.match(order([0, 1, 2]) as string, /file's classes are 0, 1, 2/);
  const turned = { label: { ...LOANS.label, classes: LOANS.label.classes!.toReversed() } };
  assert.match(classOrder([0, 1], turned, 'sign') as string, /may be positions or values/);
  const german = {
    label: {
      ...LOANS.label,
      classes: [
        { name: 'good', value: '1' },
        { name: 'bad', value: '2' },
      ],
    },
  };
  assert.equal(classOrder([0, 1], german, 'sign'), [0, 1]);
  assert.equal(classOrder([1, 2], german, 'sign'), [0, 1]);

  for (const units of [
    [4, 3, 2],
    [4, 3, 3],
  ]) {
    const network = smallNetwork({ units });
    const classes = units.at(-1)!;
    const preprocessing = { columns: LOANS.columns };
    const names = Array.from({ length: classes }, (_, c) => `c${c}`);
    const calibration = Array.from({ length: 20 }, (_, i) =>
      Int32Array.of(i % 2, (i + 1) % 2, i * 50, i % 10),
    );
    const as = (n: typeof network) => quantise(n, { preprocessing, classes: names, calibration });
    const reversed = names.map((_, c) => classes - 1 - c);
    const [plain, turnedModel] = [as(network), as(inClassOrder(network, reversed))];
    const rows = randomFeatures(plain.architecture, 200);
    const [a, b] = [decideMany(plain, rows), decideMany(turnedModel, rows)];
    // Only a tie goes to another class.
    assert.ok(a.filter((c, r) => reversed[c] === b[r]).length > 195);
  }
});

test.run();
