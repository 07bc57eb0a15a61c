/**
 * Attacker: a client that may ask, and asks more often than the process behind the evidence can remember: it wants it to
 * answer `busy` for ever, or to change keys so that an old message opens a second time, or so that honest clients with
 * evidence of a minute ago are turned away. Limits are small here; the rule is the same.
 */

import { SEALING_INFO, sealTo } from '../../protocols/sealing.ts';
import { createSealingKeys } from '../../runtime/attest/sealing-keys.ts';
import { assert, suite } from '../harness.ts';
import { codeOf } from '../runtime/nats/nats-fixture.ts';

const test = suite('attack: wear out a replay guard');
const LIMIT = 16;
const context = { info: SEALING_INFO.infer, aad: new Uint8Array([1]) };
const message = async (publicKey: Uint8Array) =>
  (await sealTo(publicKey, new Uint8Array([7]), context)).sealed;

test('many times the limit: never busy, and nothing opens twice', async () => {
  const keys = await createSealingKeys({ limit: LIMIT });
  const before = keys.current;
  const opened: Uint8Array[] = [];
  for (let i = 0; i < 10 * LIMIT; i++) {
    // As a client does: by evidence of now, either suite.
    const sealed = await message(keys.current[i % 2]!.publicKey);
    assert.equal([...(await keys.openOnce(sealed, context)).plaintext], [7]);
    opened.push(sealed);
  }
  assert.is.not(keys.current, before);
  for (const sealed of opened)
    assert.match(await codeOf(keys.openOnce(sealed, context)), /^(replayed|seal-rejected)$/);
});

test('the keys before stay good for as long as evidence may be old, with their own guard, and no longer', async () => {
  let now = 0;
  const keys = await createSealingKeys({ limit: LIMIT, evidenceMs: 1000, clock: () => now });
  const old = keys.current[0].publicKey;
  const early = await message(old);
  await keys.openOnce(early, context);
  while (keys.current[0].publicKey === old)
    await keys.openOnce(await message(keys.current[0].publicKey), context);
  now = 999;
  await keys.openOnce(await message(old), context);
  assert.is(await codeOf(keys.openOnce(early, context)), 'replayed', 'opened before the change');
  now = 1000;
  assert.is(await codeOf(keys.openOnce(await message(old), context)), 'seal-rejected');
});

test('what does not open fills nothing', async () => {
  const keys = await createSealingKeys({ limit: LIMIT });
  const before = keys.current;
  const garbage = await message(before[0].publicKey);
  garbage[garbage.length - 1]! ^= 1;
  for (let i = 0; i < 3 * LIMIT; i++)
    assert.is(await codeOf(keys.openOnce(garbage, context)), 'seal-rejected');
  assert.is(keys.current, before);
});

test.run();
