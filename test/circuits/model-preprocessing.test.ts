import {
  cellsOf,
  featureRanges,
  type Preprocessing,
  preprocess,
} from '../../circuits/model/preprocessing.ts';
import { VouchError } from '../../protocols/errors.ts';
import { assert, suite } from '../harness.ts';

const test = suite('preprocessing');

const spec: Preprocessing = {
  columns: [
    { kind: 'category', name: 'colour', categories: ['red', 'green', 'blue'] },
    { kind: 'bins', name: 'amount', low: 10, high: 110, bins: 16 },
    { kind: 'integer', name: 'count', low: -2, high: 5 },
  ],
};
const bins = (cell: string, low = 10, high = 110): number =>
  preprocess({ columns: [{ kind: 'bins', name: 'amount', low, high, bins: 16 }] }, [cell])[0]!;
const refuses = (run: () => unknown, text: string): void => {
  assert.throws(
    run,
    (error: unknown) => error instanceof VouchError && error.code === 'bad-input' && error.message === text,
  );
};

test('one feature per category, one per number, in column order', () => {
  assert.equal([...preprocess(spec, ['green', '60', '-2'])], [0, 1, 0, 8, -2]);
  assert.is(featureRanges(spec).length, 5);
  assert.equal(featureRanges(spec).at(-1), { low: -2, high: 5 });
  assert.equal(featureRanges(spec)[3], { low: 0, high: 15 });
});

test('bins are exact at their edges, and clamped', () => {
  // An edge is 6.25 wide: 16.25 belongs to bin 1, all below to bin 0.
  assert.is(bins('16.25'), 1);
  assert.is(bins('16.249999999'), 0);
  assert.is(bins('10'), 0);
  assert.is(bins('109.999999999'), 15);
  for (const cell of ['110', '111', '999999999999999']) assert.is(bins(cell), 15);
  for (const cell of ['9', '-5', '-999999999999999.999999999']) assert.is(bins(cell), 0);
  assert.is(bins('-1', -9, 7), 8);
  // 0.1 + 0.2 is no matter here: thirds of a range stay exact.
  assert.equal(
    ['1', '2', '3', '4'].map((cell) => bins(cell, 1, 4)),
    [0, 5, 10, 15],
  );
});

test('a bad cell is named with what was expected and what came', () => {
  refuses(
    () => preprocess(spec, ['pink', '60', '1']),
    'column "colour": expected one of red, green, blue, got "pink"',
  );
  for (const cell of ['', ' 60', '6e1', '0x10', '+5', '1.', '.5', 'NaN', '1,5', '1'.repeat(16)]) {
    refuses(
      () => preprocess(spec, ['red', cell, '1']),
      `column "amount": expected a decimal number, got ${JSON.stringify(cell)}`,
    );
  }
  for (const cell of ['6', '-3', '1.0', '', '99999999999']) {
    refuses(
      () => preprocess(spec, ['red', '60', cell]),
      `column "count": expected an integer in -2..5, got ${JSON.stringify(cell)}`,
    );
  }
  refuses(() => preprocess(spec, ['red', '60']), 'row: expected 3 cells, got 2');
});

test('a JSON row has exactly the columns', () => {
  assert.equal(cellsOf(spec, { count: 3, amount: 60.5, colour: 'red' }), ['red', '60.5', '3']);
  refuses(
    () => cellsOf(spec, { count: 3, colour: 'red' }),
    'column "amount": expected a string or a number, got "nothing"',
  );
  refuses(
    () => cellsOf(spec, { count: 3, amount: true, colour: 'red' }),
    'column "amount": expected a string or a number, got "boolean"',
  );
  refuses(
    () => cellsOf(spec, { count: 3, amount: 1, colour: 'red', size: 1 }),
    'field "size" is unknown; expected colour, amount, count',
  );
  assert.throws(() => cellsOf(spec, JSON.parse('{"__proto__":1,"count":3,"amount":1,"colour":"red"}')));
});

test.run();
