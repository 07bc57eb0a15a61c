/**
 * What a client has ready for its next request: a key of its own, and a nonce. On the other side is a runner, or whoever records the traffic: two
 * requests under one key, or a nonce twice, would tell him that they belong together, or be refused.
 */
import { hex, utf8 } from '../../../protocols/encoding.ts';
import { generateSealingKeyPair, open, SEALING_INFO } from '../../../protocols/sealing.ts';
import { groupOf, MAX_GROUP_RECEIPTS } from '../../../protocols/stored-receipts.ts';
import { createNonces } from '../../../runtime/client/nonces.ts';
import { createSealer } from '../../../runtime/client/sealer.ts';
import { assert, suite } from '../../harness.ts';
import { codeOf } from '../nats/nats-fixture.ts';

const test = suite('ahead of a request');
const soon = () => new Promise((done) => setTimeout(done, 20));

test('every message has a key of its own, whether that was ready or not', async () => {
  const pair = await generateSealingKeyPair();
  const [info, aad] = [SEALING_INFO.infer, utf8('subject')];
  const sealer = createSealer(pair.publicKey, info);
  const keys = new Set<string>();
  for (let round = 0; round < 3; round++) {
    sealer.prepare();
    sealer.prepare();
    await soon();
    for (const { sealed } of await Promise.all([0, 1, 2].map(() => sealer.seal(utf8('row'), aad))))
      keys.add(hex((await open(pair, sealed, { info, aad })).enc));
  }
  assert.is(keys.size, 9);
  const broken = createSealer(new Uint8Array(32), info);
  broken.prepare();
  await soon();
  assert.is(await codeOf(broken.seal(utf8('row'), aad)), 'seal-rejected');
  assert.is(await codeOf(broken.seal(utf8('row'), aad)), 'seal-rejected');
});

test('a request alone has a nonce of no group, those beside it one group, until one fails, it is full, or all have ended', async () => {
  const { use } = createNonces();
  const nonces: string[] = [];
  const pending: { end(): void; fail(): void; done: Promise<unknown> }[] = [];
  const ask = () => {
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    const done = use((nonce) => {
      nonces.push(nonce);
      return promise;
    }).catch(() => {});
    pending.push({ end: resolve, fail: () => reject(new Error('refused')), done });
    return nonces.at(-1)!;
  };
  const endAll = async () => {
    for (const { end, done } of pending.splice(0)) {
      end();
      await done;
    }
  };
  assert.is(groupOf(ask()), undefined);
  const first = groupOf(ask());
  assert.is(first?.length, 32);
  assert.is(groupOf(ask()), first);
  const failing = pending.at(-1)!;
  failing.fail();
  await failing.done;
  const second = groupOf(ask());
  assert.is.not(second, first, 'after an error');
  for (let i = 1; i < MAX_GROUP_RECEIPTS; i++) assert.is(groupOf(ask()), second);
  const third = groupOf(ask());
  assert.is.not(third, second, 'when one is full');
  await endAll();
  assert.is(groupOf(ask()), undefined);
  const fourth = groupOf(ask());
  assert.is.not(fourth, third, 'after a rest');
  await endAll();
  assert.is(new Set(nonces).size, nonces.length);
});

test.run();
