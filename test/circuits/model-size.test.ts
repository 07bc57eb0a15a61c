/** What a request may cost is known before it is paid: rows by the architecture, a key's domain by both. */
import {
  demandDomain,
  demandRows,
  estimateConstraints,
  MAX_CONSTRAINTS,
  maxRows,
} from '../../circuits/model/size.ts';
import type { VouchError } from '../../protocols/errors.ts';
import { assert, suite } from '../harness.ts';
import { smallModel } from './model-fixture.ts';

const test = suite('size of a quality circuit');

const codeOf = (work: () => void): string => {
  try {
    work();
  } catch (error) {
    return `${(error as VouchError).code}: ${(error as VouchError).message}`;
  }
  return 'fine';
};

test('the most rows are those whose circuit is still compiled', () => {
  for (const units of [
    [3, 4, 2],
    [30, 16, 2],
    [61, 32, 16, 3],
  ]) {
    const { architecture } = smallModel({ units });
    const most = maxRows(architecture);
    assert.ok(estimateConstraints(architecture, most) <= MAX_CONSTRAINTS);
    assert.ok(estimateConstraints(architecture, most + 1) > MAX_CONSTRAINTS);
    assert.is(
      codeOf(() => demandRows(architecture, most)),
      'fine',
    );
    assert.match(
      codeOf(() => demandRows(architecture, most + 1)),
      new RegExp(`^too-large: .*at most ${most} `),
    );
  }
  // A wide first layer costs no constraints, and the compiler all the same.
  const { architecture } = smallModel({ units: [400, 2] });
  assert.ok(estimateConstraints(architecture, maxRows(architecture) + 1) < MAX_CONSTRAINTS);
});

test('a key whose domain is too small or too large for the rows is refused', () => {
  const { architecture } = smallModel({ units: [30, 16, 2] });
  const domainOf = (rows: number) => 2 ** Math.ceil(Math.log2(estimateConstraints(architecture, rows) + 3));
  const domain = domainOf(300);
  assert.is(
    codeOf(() => demandDomain(domain, architecture, 300)),
    'fine',
  );
  assert.is(
    codeOf(() => demandDomain(domain / 2, architecture, 300)),
    'fine',
  );
  assert.match(
    codeOf(() => demandDomain(domain * 2, architecture, 300)),
    /^key-rejected: key: its domain/,
  );
  assert.match(
    codeOf(() => demandDomain(domain / 16, architecture, 300)),
    /^key-rejected/,
  );
});

test.run();
