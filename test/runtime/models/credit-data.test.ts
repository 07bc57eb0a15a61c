import { existsSync, readFileSync } from 'node:fs';
import { preprocessingOf } from '../../../circuits/model/dictionary.ts';
import { preprocess } from '../../../circuits/model/preprocessing.ts';
import { VouchError } from '../../../protocols/errors.ts';
import { sampleData } from '../../../runtime/demo/sample.ts';
import { CREDIT, readCreditData } from '../../../runtime/models/credit-data.ts';
import { split } from '../../../runtime/models/labelled-rows.ts';
import { seededRandom } from '../../../runtime/models/random.ts';
import { assert, suite } from '../../harness.ts';

const test = suite('demonstration data');
const GERMAN = new URL('../../../../shared/data/german.data', import.meta.url);

const ROW = 'A11 6 A34 A43 1169 A65 A75 4 A93 A101 4 A121 67 A143 A152 2 A173 1 A192 A201 1';
const refuses = (text: string, pattern: RegExp): void => {
  assert.throws(
    () => readCreditData(text),
    (error: unknown) => {
      assert.instance(error, VouchError);
      assert.is((error as VouchError).code, 'bad-file');
      assert.match((error as VouchError).message, pattern);
      return true;
    },
  );
};

test('reads the format: spaces or commas, with a header or without, labels by value or name', () => {
  const expected = [{ cells: ROW.split(' ').slice(0, 20), label: 0 }];
  assert.equal(readCreditData(ROW), expected);
  assert.equal(readCreditData(`\uFEFF\r\n${ROW.replaceAll(' ', '   ')}  \r\n\r\n`), expected);
  const csv = ROW.replaceAll(' ', ', ');
  const header = [...CREDIT.columns.map(({ name }) => name), 'label'].join(',');
  assert.equal(readCreditData(`${csv}\n`), expected);
  assert.equal(readCreditData(`${header}\n${csv}\n`), expected);
  assert.equal(readCreditData(ROW.replace(/1$/, 'good')), expected);
  assert.equal(
    readCreditData(`${header.split(',').reverse().join(',')}\n${ROW.split(' ').reverse().join(',')}\n`),
    expected,
  );
  assert.is(readCreditData(`${ROW}\n${ROW.replace(/1$/, '2')}`)[1]!.label, 1);
});

test('what is wrong is named by line and column', () => {
  refuses('', /empty/);
  refuses(' \n\n', /empty/);
  refuses(`${ROW}\n${ROW} 7\n`, /line 2: expected 21 columns .* got 22/);
  refuses(ROW.slice(0, 40), /line 1: expected 21 columns/);
  refuses(
    `${ROW}\n\n${ROW.replace('1169', 'many')}`,
    /line 3: column "credit-amount": expected a decimal number, got "many"/,
  );
  refuses(
    ROW.replace('A34', 'A35'),
    /column "credit-history": expected one of A30, A31, A32, A33, A34, got "A35"/,
  );
  refuses(ROW.replace(/1$/, '3'), /column "label": expected 1 \(good\) or 2 \(bad\), got "3"/);
  refuses([...CREDIT.columns.map(({ name }) => name), 'label'].join(','), /a header and no rows/);
  const half = [...CREDIT.columns.slice(2).map(({ name }) => name), 'label'].join(',');
  refuses(`${half}\n${ROW}`, /line 1: the header lacks checking-account, duration-months/);
});

test('the sample is 1000 rows, 300 bad, the same for the same seed', () => {
  const text = sampleData(1);
  const rows = readCreditData(text);
  assert.is(rows.length, 1000);
  assert.is(rows.filter(({ label }) => label === 1).length, 300);
  assert.is(sampleData(1), text);
  assert.is.not(sampleData(2), text);
});

test('the split is seeded and stratified, and loses no row', () => {
  const rows = readCreditData(sampleData(1));
  const { train, test: held } = split(rows, CREDIT);
  assert.equal([train.length, held.length], [700, 300]);
  assert.is(held.filter(({ label }) => label === 1).length, 90);
  assert.is(new Set([...train, ...held]).size, 1000);
  assert.equal(split(rows, CREDIT), { train, test: held });
  assert.not.equal(split(rows, { ...CREDIT, split: { ...CREDIT.split, seed: 2 } }).test, held);
});

test('the generator is mulberry32', () => {
  // Its known first values for the seed 1.
  const random = seededRandom(1);
  assert.equal(
    [1, 2, 3].map(() => random.uniform() * 2 ** 32),
    [2693262067, 11749833, 2265367787],
  );
  assert.throws(
    () => seededRandom(-1),
    (error: unknown) => error instanceof RangeError,
  );
});

test('ranges come from the given rows; later rows are clamped', () => {
  const rows = readCreditData(sampleData(1));
  const spec = preprocessingOf(CREDIT);
  const lengths = rows.map(({ cells }) => preprocess(spec, cells));
  assert.ok(lengths.every((features) => features.length === 63 && features.every((x) => x >= 0 && x <= 15)));
});

test('reads the whole Statlog German Credit file', (t) => {
  if (!existsSync(GERMAN)) t.skip('no ../shared/data/german.data');
  const rows = readCreditData(readFileSync(GERMAN, 'utf8'));
  assert.is(rows.length, 1000);
  assert.is(rows.filter(({ label }) => label === 0).length, 700);
});

test.run();
