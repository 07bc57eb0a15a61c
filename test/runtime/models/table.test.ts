/** Tables of one's own: read, described, split, and turned into the features that a model is trained on. */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import {
  classNames,
  featureNames,
  parseDictionary,
  preprocessingOf,
} from '../../../circuits/model/dictionary.ts';
import { preprocess } from '../../../circuits/model/preprocessing.ts';
import { describeCommand, featuresCommand } from '../../../runtime/commands/data.ts';
import { describeTable } from '../../../runtime/models/describe.ts';
import { readLabelled, split, writeLabelled } from '../../../runtime/models/labelled-rows.ts';
import { csvLine, readTable } from '../../../runtime/models/table.ts';
import { compareDictionary, demandUseful, testSetFor } from '../../../runtime/models/test-sets.ts';
import { assert, suite } from '../../harness.ts';

const test = suite('tables');

const LOANS = `purpose,amount,children,default
car,1200.50,2,no
"boat, small",800,0,yes
car,99,1,no
house,15000,,no
`;

test('quotes, separators, line breaks in cells and empty lines', () => {
  const cells = (text: string) => readTable(text).map((line) => line.cells);
  assert.equal(cells('a,"b ""c"", d" , e\r\n\r\n1, 2 ,3\n'), [
    ['a', 'b "c", d', 'e'],
    ['1', '2', '3'],
  ]);
  assert.equal(cells('a;b,c;d\n'), [['a;b', 'c;d']]);
  assert.equal(cells('a;b\n1;2'), [
    ['a', 'b'],
    ['1', '2'],
  ]);
  assert.equal(cells('x y\n1   2 \n'), [
    ['x', 'y'],
    ['1', '2'],
  ]);
  assert.equal(cells('"two\nlines",b\nc,d'), [
    ['two\nlines', 'b'],
    ['c', 'd'],
  ]);
  assert.equal(
    readTable('"two\nlines",b\nc,d').map(({ line }) => line),
    [1, 3],
  );
  assert.throws(() => readTable('a,"b\n'), /line 1: a quote that never ends/);
  assert.throws(() => readTable('\n \n'), /the file is empty/);
  const nasty = ['a"b', ' c', 'd,e', 'f\ng', ''];
  assert.equal(cells(`${csvLine(nasty)}${csvLine(['1', '2', '3', '4', '5'])}`)[0], nasty);
});

test('a draft of a dictionary: categories, numbers, classes; what it cannot be is named', () => {
  const dictionary = describeTable(LOANS, 'default');
  assert.equal(
    dictionary.columns.map(({ kind, name }) => [kind, name]),
    [
      ['category', 'purpose'],
      ['bins', 'amount'],
      ['integer', 'children'],
    ],
  );
  assert.equal(classNames(dictionary), ['no', 'yes']);
  assert.equal(parseDictionary(structuredClone(dictionary)), dictionary);
  assert.throws(
    () => describeTable(LOANS, 'risk'),
    /expected a header of different names with "risk" among them/,
  );
  assert.throws(() => describeTable(`${LOANS}car,1,2\n`, 'default'), /line 6: expected 4 columns, got 3/);
  assert.throws(() => describeTable('a,y\n1,x\n2,x\n', 'y'), /"y" has 1 different values; expected 2 to 32/);
  const names = Array.from({ length: 70 }, (_, i) => `name ${i},${i % 2}\n`).join('');
  assert.throws(() => describeTable(`who,y\n${names}`, 'y'), /70 different texts; expected at most 64/);
});

test('rows by header in any order, labels by name or value; a cell that is missing is refused unless declared', () => {
  const drafted = describeTable(LOANS, 'default');
  assert.throws(
    () => readLabelled(LOANS, drafted),
    /line 5: column "children": expected an integer in 0\.\.2, got ""/,
  );
  const columns = drafted.columns.map((column) =>
    column.name === 'children' ? { ...column, missing: '0' } : column,
  );
  const dictionary = parseDictionary({
    ...drafted,
    columns,
    label: {
      name: 'default',
      classes: [
        { name: 'repaid', value: 'no' },
        { name: 'lost', value: 'yes' },
      ],
    },
  });
  const rows = readLabelled(LOANS, dictionary);
  assert.equal(
    rows.map(({ label }) => label),
    [0, 1, 0, 0],
  );
  const turned = LOANS.split('\n')
    .map((line) => line.replace(/^(.*),(no|yes|default)$/, '$2,$1'))
    .join('\n');
  assert.equal(readLabelled(turned, dictionary), rows);
  assert.equal(readLabelled(LOANS.replaceAll(',no', ',repaid'), dictionary), rows);
  assert.throws(
    () => readLabelled(LOANS.replace(',yes', ',maybe'), dictionary),
    /line 3: column "default": expected no \(repaid\) or yes \(lost\), got "maybe"/,
  );
  assert.throws(
    () => readLabelled(LOANS.replace('amount,', 'sum,'), dictionary),
    /header lacks amount; it has purpose, sum/,
  );
  // Written and read again they are the same, quotes and all.
  assert.equal(readLabelled(writeLabelled(rows, dictionary), dictionary), rows);
  const { train, test: held } = split([...rows, ...rows], dictionary);
  assert.is(train.length + held.length, 8);
});

test('the commands print what a model sees: names of features, classes as numbers from 0', async (t) => {
  const home = mkdtempSync(join(tmpdir(), 'vouch-table-'));
  t.defer(() => rmSync(home, { recursive: true }));
  const [data, dictionary, out] = ['rows.csv', 'rows.json', 'features.csv'].map((name) =>
    join(home, name),
  ) as [string, string, string];
  writeFileSync(data, LOANS.replace(',,', ',1,'));
  await describeCommand(data, { label: 'default', out: dictionary }, () => {});
  await featuresCommand(data, { dictionary, out }, () => {});
  const [header, first] = readFileSync(out, 'utf8').split('\n');
  assert.is(
    header,
    '"purpose=boat, small",purpose=car,purpose=house,amount,children,"default (0 = no; 1 = yes)"',
  );
  const spec = parseDictionary(JSON.parse(readFileSync(dictionary, 'utf8')));
  assert.is(readTable(header!)[0]!.cells.length, featureNames(spec).length + 1);
  const [row] = readLabelled(readFileSync(data, 'utf8'), spec);
  assert.is(first, [...preprocess(preprocessingOf(spec), row!.cells), row!.label].join(','));
  const printed: unknown[] = [];
  await featuresCommand(data, { dictionary, split: 'train' }, (line) => void printed.push(line));
  assert.is(String(printed[0]).split('\n').length, 1 + 3);
});

test('a threshold that a constant answer reaches is refused, unless it is allowed', () => {
  const dictionary = describeTable(LOANS.replace(',,', ',1,'), 'default');
  const testSet = testSetFor(
    readLabelled(LOANS.replace(',,', ',1,'), dictionary),
    preprocessingOf(dictionary),
  );
  assert.throws(() => demandUseful(testSet, 3, false), /a constant answer scores 3 of 4 rows/);
  demandUseful(testSet, 3, true);
  demandUseful(testSet, 4, false);
});

test('a model of version 1 has no dictionary to compare', () => {
  const preprocessing = { columns: describeTable(LOANS, 'default').columns };
  const old = {
    version: 1,
    preprocessing,
    layers: [],
    rounding: 'floor((x + 2^(k-1)) * 2^-k)',
    decision: 'sign',
    classes: ['a', 'b'],
  } as const;
  assert.equal(compareDictionary(describeTable(LOANS, 'default'), old), {
    same: false,
    detail: 'the model has no dictionary (its architecture is of version 1)',
  });
});

test.run();
