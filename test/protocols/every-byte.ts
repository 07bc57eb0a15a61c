/** Changes each byte of a piece of evidence in turn: every change has to reject. */
import { assert } from '../harness.ts';
import { flip } from './certificate-maker.ts';

/** The whole piece has to be accepted first, so that the changed ones mean something. */
export async function everyByte(
  what: string,
  bytes: Uint8Array,
  judge: (bytes: Uint8Array) => Promise<{ verdict: string }>,
): Promise<void> {
  assert.is((await judge(bytes)).verdict, 'accept', what);
  for (let at = 0; at < bytes.length; at++) {
    const { verdict } = await judge(flip(bytes, at, 1 << (at & 7)));
    assert.is(verdict, 'reject', `${what}: byte ${at}`);
  }
}
