/** Every byte of a real NVIDIA manifest changed: each change rejects. Too long for every run. */
import { existsSync, readFileSync } from 'node:fs';
import { rememberSignatures } from '../../protocols/attestation/signature.ts';
import { assert, suite, type TestContext } from '../harness.ts';
import { flip } from './certificate-maker.ts';
import { verifyRim } from './from-bytes.ts';

const test = suite('every byte of a manifest changed', { timeoutMs: 590_000 });
const VECTORS = new URL('../../../shared/vectors/', import.meta.url);
const read = (name: string) => new Uint8Array(readFileSync(new URL(name, VECTORS)));
const need = (t: TestContext): void => {
  if (!existsSync(VECTORS)) t.skip('no ../shared/vectors');
};
// What did not change needs no second verification.
const verify = rememberSignatures();

test('an NVIDIA manifest', async (t) => {
  need(t);
  const rim = read('nvidia/rims/NV_GPU_DRIVER_GH100_550.144.03.xml');
  const trust = { revocation: 'if-present', now: new Date('2026-11-01'), verify } as const;
  assert.is((await verifyRim(rim, trust)).verdict, 'accept');
  const text = new TextDecoder('latin1').decode(rim);
  for (let at = text.indexOf('<SoftwareIdentity'); at < rim.length; at++) {
    // White space between tags' parts and inside base64 is in no signature.
    if (/\s/.test(text[at]!)) continue;
    const { verdict } = await verifyRim(flip(rim, at), trust);
    assert.is(verdict, 'reject', `byte ${at}: ${text.slice(at - 20, at + 20)}`);
  }
});

test.run();
