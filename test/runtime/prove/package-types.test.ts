/** The types that the package declares by hand are those of the code: compiled, and all that is exported is declared. */
import * as web from '../../../runtime/msm/web-prover.ts';
import type * as declared from '../../../runtime/prove/package-types.d.ts';
import * as node from '../../../runtime/prove/prover.ts';
import { assert, suite } from '../../harness.ts';

const test = suite('package types');

type Declared = Pick<typeof declared, 'createProver' | 'groth16' | 'zKey' | 'wtns' | 'r1cs'>;
const inNode: Declared = node;
const inBrowsers: Declared = web;

test('Node and browsers have the same functions', () => {
  const shape = (of: object) =>
    Object.entries(of)
      .filter(([name]) => name !== 'serveWorkersFrom')
      .map(([name, value]) => [name, typeof value === 'object' ? Object.keys(value).sort() : typeof value])
      .sort();
  assert.equal(shape(inNode), shape(inBrowsers));
});

test.run();
