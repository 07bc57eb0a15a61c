/** Every byte of real Intel quotes changed: each change rejects. Too long for every run. */
import { assert, suite } from '../harness.ts';
import { collateralOf, flipped, needVectors, readVector, SGX, TDX, verify } from './intel-vectors.ts';

const test = suite('every byte of Intel evidence changed', { timeoutMs: 590_000 });

test('Intel quotes', async (t) => {
  needVectors(t);
  for (const { quote: file, collateral, now } of [SGX, TDX]) {
    const quote = readVector(file);
    const fitting = collateralOf(collateral);
    for (let at = 0; at < quote.length; at++) {
      const { verdict } = await verify(flipped(quote, at), fitting, now);
      assert.is(verdict, 'reject', `${file}: byte ${at}`);
    }
  }
});

test.run();
