/** Every character of real Intel collateral changed: each change rejects. Too long for every run. */
import { assert, suite } from '../harness.ts';
import {
  collateralOf,
  combinedOf,
  flippedText,
  needVectors,
  readVector,
  TDX,
  verify,
} from './intel-vectors.ts';

const test = suite('every character of Intel collateral changed', { timeoutMs: 590_000 });

test('Intel collateral, character by character', async (t) => {
  needVectors(t);
  const quote = readVector(TDX.quote);
  const members = combinedOf(TDX.collateral);
  for (const [name, text] of Object.entries(members)) {
    for (let at = 0; at < text.length; at++) {
      if (/\s/.test(text[at]!)) continue;
      const { verdict } = await verify(quote, collateralOf({ ...members, [name]: flippedText(text, at) }));
      assert.is(verdict, 'reject', `${name}: character ${at}`);
    }
  }
});

test.run();
