/**
 * Receipts of requests that are under way together, in a real stream. On the other side: a client who wants two receipts for one nonce, or
 * room in the runner's memory; another client who wants to read them; a server that dies.
 */
import { encodeCbor } from '../../../protocols/cbor.ts';
import { hex, randomBytes } from '../../../protocols/encoding.ts';
import { encodeReceiptBundle, MAX_BUNDLE_BYTES } from '../../../protocols/receipt.ts';
import {
  GROUP_BYTES,
  MAX_GROUP_RECEIPTS,
  nonceOfGroup,
  receiptPlace,
} from '../../../protocols/stored-receipts.ts';
import { STREAMS } from '../../../protocols/streams.ts';
import { subjects } from '../../../protocols/subjects.ts';
import { storedReceipt } from '../../../runtime/client/stored.ts';
import type { Bus } from '../../../runtime/nats/bus.ts';
import { createReceiptStore } from '../../../runtime/roles/receipt-store.ts';
import { assert, suite, type TestContext } from '../../harness.ts';
import { attested } from '../../protocols/attested.ts';
import { receiptOf } from '../../protocols/receipts.ts';
import { codeOf, startFixture, until } from '../nats/nats-fixture.ts';

const test = suite('receipt store', { timeoutMs: 90_000 });
const ENCLAVE = 'enclave-1';
const newGroup = () => randomBytes(GROUP_BYTES);

async function start(t: TestContext) {
  const nats = await startFixture(t);
  const [runner, client, observer] = await Promise.all([
    nats.bus('runner', ENCLAVE),
    nats.bus('client', 'one'),
    nats.bus('provisioner', 'p'),
  ]);
  const signed = await attested();
  const evidence = encodeCbor(signed.document);
  /** A receipt for a nonce, ready to be stored. */
  const make = async (nonce: string) => {
    const receipt = await receiptOf(signed, { nonce });
    return { enclave: ENCLAVE, nonce, receipt, evidence };
  };
  const found = async (nonce: string, reader: Bus = client) => {
    const bundle = await storedReceipt(reader, { model: 'm', enclave: ENCLAVE, nonce });
    return bundle && hex(bundle);
  };
  const bundleOf = ({ receipt }: { receipt: Uint8Array }) =>
    hex(encodeReceiptBundle({ receipt, evidence: signed.document }));
  const messages = async () => (await observer.fillOf(STREAMS.receipts.name)).messages;
  return { nats, runner, client, store: createReceiptStore(runner, 'm'), make, found, bundleOf, messages };
}

test('receipts of a group are in few messages, each is found by its nonce, and by nobody else', async (t) => {
  const { nats, store, make, found, bundleOf, messages } = await start(t);
  const group = newGroup();
  const made = await Promise.all(Array.from({ length: 40 }, () => make(nonceOfGroup(group))));
  const alone = await make(hex(randomBytes(32)));
  await Promise.all([...made.slice(0, 20), alone].map((what) => store.store('one', what)));
  assert.is(await messages(), 2, 'those of a group in one message, and the one that is of none');
  // While a message is under way, what comes waits for it: then all of that leaves together.
  const first = store.store('one', made[20]!);
  await new Promise(setImmediate);
  await Promise.all([first, ...made.slice(21).map((what) => store.store('one', what))]);
  assert.is(await messages(), 4);
  const stranger = await nats.bus('client', 'mallory');
  for (const what of [...made, alone]) {
    assert.is(await found(what.nonce), bundleOf(what));
    assert.is(await found(what.nonce, stranger), undefined);
  }
  const place = subjects.receipt('m', 'one', receiptPlace(ENCLAVE, made[0]!.nonce, 1));
  assert.match(await codeOf(stranger.getLast(STREAMS.receipts.name, place)), /^(nats-credentials|timeout)$/);
  assert.is(await found(nonceOfGroup(group)), undefined, 'a nonce of the group that was not used');
  assert.is(await found(nonceOfGroup(newGroup())), undefined);
});

test('a nonce has one receipt: in a group, after a restart, of a full group and of one that was forgotten', async (t) => {
  const { runner, store, make, messages } = await start(t);
  const group = newGroup();
  const nonce = nonceOfGroup(group);
  const stored = async (what: Awaited<ReturnType<typeof make>>, to = store, client = 'one') =>
    to.store(client, what).then(
      () => 'stored',
      ({ code }: { code: string }) => code,
    );
  const twice = [await make(nonce), await make(nonce)];
  assert.equal((await Promise.all(twice.map((what) => stored(what)))).sort(), ['replayed', 'stored']);
  assert.is(await stored(await make(nonce)), 'replayed');
  const restarted = createReceiptStore(runner, 'm');
  assert.is(await stored(await make(nonce), restarted), 'replayed');
  assert.is(
    await stored(await make(nonceOfGroup(group)), restarted),
    'replayed',
    'its group has begun before',
  );
  const single = await make(hex(randomBytes(32)));
  assert.is(await stored(single), 'stored');
  assert.is(await stored(single, restarted), 'replayed');

  const others = Array.from({ length: MAX_GROUP_RECEIPTS - 1 }, () => make(nonceOfGroup(group)));
  for (const outcome of await Promise.all((await Promise.all(others)).map((what) => stored(what))))
    assert.is(outcome, 'stored');
  assert.is(await stored(await make(nonceOfGroup(group))), 'replayed', 'the group is full');

  const [mine, old] = [newGroup(), newGroup()];
  assert.is(await stored(await make(nonceOfGroup(mine)), store, 'two'), 'stored');
  assert.is(await stored(await make(nonceOfGroup(old))), 'stored');
  const many = await Promise.all(Array.from({ length: 64 }, () => make(nonceOfGroup(newGroup()))));
  for (const outcome of await Promise.all(many.map((what) => stored(what)))) assert.is(outcome, 'stored');
  const before = await messages();
  assert.is(
    await stored(await make(nonceOfGroup(old))),
    'replayed',
    'forgotten, so nothing more is taken of it',
  );
  assert.is(
    await stored(await make(nonceOfGroup(mine)), store, 'two'),
    'stored',
    'what another client did is his',
  );
  assert.is(await messages(), before + 1);
});

test('evidence that differs, and what is too long for one message, goes into the next one', async (t) => {
  const { store, make, found, bundleOf, messages } = await start(t);
  const group = newGroup();
  const made = await Promise.all(Array.from({ length: 6 }, () => make(nonceOfGroup(group))));
  const again = new Uint8Array(made[0]!.evidence);
  await Promise.all(
    made.map((what, i) => store.store('one', i % 3 === 2 ? { ...what, evidence: again } : what)),
  );
  assert.is(await messages(), 4);
  for (const what of made) assert.is(await found(what.nonce), bundleOf(what));

  const long = new Uint8Array(MAX_BUNDLE_BYTES - 1100);
  const two = newGroup();
  const big = await Promise.all(Array.from({ length: 5 }, () => make(nonceOfGroup(two))));
  const outcomes = await Promise.all(big.map((what) => store.store('one', { ...what, evidence: long })));
  assert.is(outcomes.length, 5);
  assert.ok((await messages()) >= 4 + 3, 'no message is longer than readers take');
});

test('what is certainly not stored takes no number, and its group goes on; what may be stored ends it', async (t) => {
  const { nats, store, make, found, bundleOf } = await start(t);
  const group = newGroup();
  const huge = { ...(await make(nonceOfGroup(group))), evidence: new Uint8Array(2 ** 21) };
  assert.is(await codeOf(store.store('one', huge)), 'too-large');
  const next = await make(nonceOfGroup(group));
  await store.store('one', next);
  assert.is(await found(next.nonce), bundleOf(next));

  const lonely = await nats.bus('runner', 'cut-off');
  const cutOff = createReceiptStore(lonely, 'm');
  const two = newGroup();
  await lonely.close();
  assert.is(await codeOf(cutOff.store('one', await make(nonceOfGroup(two)))), 'nats-unreachable');
  assert.is(await codeOf(cutOff.store('one', await make(nonceOfGroup(two)))), 'not-ready');
  const other = cutOff.store('one', await make(nonceOfGroup(newGroup())));
  assert.is(await codeOf(other), 'nats-unreachable', 'another group is not concerned');
});

test('a server that is killed: whatever was said to be stored is there, and a group that failed takes no more of unknown place', async (t) => {
  const { nats, client, store, make, found, bundleOf } = await start(t);
  const settled: { what: Awaited<ReturnType<typeof make>>; outcome: string }[] = [];
  let running = true;
  const ask = async (group: () => Uint8Array) => {
    while (running) {
      const what = await make(nonceOfGroup(group()));
      const outcome = await store.store('one', what).then(
        () => 'stored',
        ({ code }: { code: string }) => code,
      );
      settled.push({ what, outcome });
      // Without a connection nothing is waited for: others have to have their turn all the same.
      await new Promise(setImmediate);
    }
  };
  // As a client does it: a new group after so many, and after an error.
  let [group, left] = [newGroup(), MAX_GROUP_RECEIPTS];
  const current = () => {
    if (left-- === 0 || settled.at(-1)?.outcome !== 'stored')
      [group, left] = [newGroup(), MAX_GROUP_RECEIPTS - 1];
    return group;
  };
  const asking = Promise.all(Array.from({ length: 8 }, () => ask(current)));
  const count = () => settled.filter(({ outcome }) => outcome === 'stored').length;
  await until(() => count() > 100);
  const { pid } = nats.server;
  process.kill(pid, 'SIGKILL');
  await until(() => nats.server.pid !== pid && client.state === 'connected');
  const after = count();
  await until(() => count() > after + 100);
  running = false;
  await asking;
  for (const { what, outcome } of settled) {
    if (outcome === 'stored') assert.is(await found(what.nonce), bundleOf(what));
    else assert.match(outcome, /^(nats-unreachable|timeout|not-ready)$/);
  }
});

test.run();
