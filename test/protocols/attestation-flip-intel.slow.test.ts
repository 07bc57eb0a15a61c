/** Every byte of real Intel evidence and collateral changed: each change rejects. Too long for every run. */
import { assert, suite } from '../harness.ts';
import {
  collateralOf,
  combinedOf,
  flipped,
  flippedText,
  needVectors,
  readVector,
  SGX,
  TDX,
  verify,
} from './intel-vectors.ts';

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
