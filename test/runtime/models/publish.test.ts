import type { VouchError } from '../../../protocols/errors.ts';
import { parseSplit } from '../../../runtime/models/publish.ts';
import { assert, suite } from '../../harness.ts';

const test = suite('splits of a model key');

test('--brokers: K of N, or K of named ones', () => {
  assert.is(parseSplit('1/1'), undefined);
  assert.equal(parseSplit('2/3'), { threshold: 2, brokers: ['broker-1', 'broker-2', 'broker-3'] });
  assert.equal(parseSplit('1/a'), { threshold: 1, brokers: ['a'] });
  assert.equal(parseSplit('2/a,b-1'), { threshold: 2, brokers: ['a', 'b-1'] });
  for (const text of [
    '',
    '2',
    '3/2',
    '0/1',
    '2/a,a',
    '2/a,',
    '1/33',
    '-1/2',
    '1/0',
    '2/a b',
    '1.5/2',
    '2/a.b,c',
  ])
    assert.throws(
      () => parseSplit(text),
      (error: VouchError) => /^bad-/.test(error.code),
      text,
    );
});

test.run();
