/** Rows of applications as people write them. */
import type { Preprocessing } from '../../../circuits/model/preprocessing.ts';
import { readApplications } from '../../../runtime/models/applications.ts';
import { assert, suite } from '../../harness.ts';

const test = suite('applications');

const spec: Preprocessing = {
  columns: [
    { kind: 'category', name: 'account', categories: ['A11', 'A12'] },
    { kind: 'bins', name: 'amount', low: 0, high: 100, bins: 4 },
    { kind: 'integer', name: 'age', low: 0, high: 120 },
  ],
};
const EXPECTED = [
  ['A11', '50', '33'],
  ['A12', '7.5', '60'],
];

test('every form gives the same rows', () => {
  const forms = [
    'A11 50 33\nA12 7.5 60\n',
    'A11\t50\t33\r\nA12\t7.5\t60',
    '\uFEFFaccount,amount,age\n"A11", 50, 33\n\nA12,7.5,60\n',
    'A11 50 33 1\nA12 7.5 60 2\n',
    '[["A11", 50, 33], ["A12", "7.5", 60]]',
    '[{"age": 33, "amount": 50, "account": "A11"}, {"account": "A12", "amount": 7.5, "age": "60"}]',
  ];
  for (const form of forms) assert.equal(readApplications(form, spec), EXPECTED, form);
  assert.equal(readApplications('["A11", 50, 33]', spec), EXPECTED.slice(0, 1));
  assert.equal(readApplications('{"account":"A11","amount":50,"age":33}', spec), EXPECTED.slice(0, 1));
});

test('what is wrong is named, with its row', () => {
  const cases: [string, RegExp][] = [
    ['', /expected at least one row/],
    ['[]', /expected at least one row/],
    ['A11 50', /^row 1: expected 3 cells \(account, amount, age, \.\.\.\), got 2/],
    ['A11 50 33\nA13 50 33', /^row 2: .*"account": expected one of A11, A12, got "A13"/],
    ['A11 lots 33', /^row 1: .*"amount": expected a decimal number, got "lots"/],
    ['A11 50 3.5', /^row 1: .*"age": expected an integer in 0\.\.120, got "3.5"/],
    ['["A11", 50, null]', /^row 1: expected an array of strings or numbers/],
    ['[["A11", 50, [33]]]', /^row 1: expected an array of strings or numbers/],
    ['[{"account": "A11"}]', /^row 1: column "amount": expected a string or a number, got "nothing"/],
    ['{"sex": 1}', /^row 1: field "sex" is unknown/],
    ['[1', /expected JSON or lines of cells/],
    ['{"__proto__": 1}', /^row 1: /],
  ];
  for (const [text, sentence] of cases) {
    try {
      readApplications(text, spec);
      assert.unreachable(text);
    } catch (error) {
      assert.is((error as { code: string }).code, 'bad-input', text);
      assert.match((error as Error).message, sentence);
    }
  }
});

test.run();
