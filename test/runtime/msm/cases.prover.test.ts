/** The pool, and the oracle ffjavascript, against the cases that every engine has to get right. */

import type { Group } from '../../../circuits/groth16/point.ts';
import { createPool } from '../../../runtime/msm/threads/pool.ts';
import { openOracle } from '../../circuits/groth16-oracle.ts';
import { assert, suite } from '../../harness.ts';
import { checkMsm } from './cases.ts';

const test = suite('msm cases', { timeoutMs: 120_000 });

for (const group of ['G1', 'G2'] as const) {
  test(`${group}: ffjavascript`, async (t) => {
    const oracle = await openOracle();
    t.defer(() => oracle.close());
    const curve = oracle.curve as unknown as Record<Group, PeerGroup>;
    await checkMsm(
      async (_, bases, scalars) =>
        // It does not know the sum of nothing.
        scalars.length === 0
          ? new Uint8Array(group === 'G1' ? 64 : 128)
          : curve[group].toAffine(await curve[group].multiExpAffine(bases, scalars)),
      group,
      { largest: 64, unreduced: false },
    );
  });

  for (const [threads, largest] of [
    [1, 64],
    [2, 2048],
  ] as const) {
    test(`${group}: the pool with ${threads} threads`, async (t) => {
      const pool = await createPool({ threads });
      t.defer(() => pool.close());
      await checkMsm((_, bases, scalars) => pool.msm(group, bases, scalars), group, { largest });
    });
  }
}

test('an engine that is wrong is told which cases it fails', async () => {
  const message = await checkMsm((group) => new Uint8Array(group === 'G1' ? 64 : 128), 'G1', {
    largest: 8,
  }).then(
    () => 'nothing',
    (error) => error.message,
  );
  assert.match(message, /^G1: wrong sums: P \+ Q; .*8 points/);
  assert.not.match(message, /P - P;|0 \+ 0/);
});

interface PeerGroup {
  multiExpAffine(bases: Uint8Array, scalars: Uint8Array): Promise<Uint8Array>;
  toAffine(point: Uint8Array): Uint8Array;
}

test.run();
