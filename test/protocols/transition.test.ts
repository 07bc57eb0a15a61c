import { parse } from '../../protocols/envelope.ts';
import { VouchError } from '../../protocols/errors.ts';
import { ACTOR_KINDS } from '../../protocols/subjects.ts';
import { Heartbeat, Transition } from '../../protocols/transition.ts';
import { assert, suite } from '../harness.ts';

const test = suite('transition');

const transition = {
  kind: 'worker' as const,
  id: 'w1',
  boot: 'b1',
  seq: 1,
  from: null,
  to: 'joining',
  event: 'start',
  counts: {},
};
const heartbeat = {
  kind: 'worker' as const,
  id: 'w1',
  boot: 'b1',
  seq: 0,
  state: 'idle',
  leaseMs: 3000,
  counts: { shards: 2 },
};
const worker = {
  class: 'attested' as const,
  engine: 'wasm x1',
  credit: 2,
  inHand: [],
  rates: { g1: 1, g2: 1 },
  resident: ['0123456789abcdef'],
};

const refused = (kind: typeof Transition | typeof Heartbeat, body: object) =>
  assert.throws(
    () => parse<unknown>(kind.schema, body, kind.type),
    (error: unknown) => error instanceof VouchError && error.code === 'bad-message',
    JSON.stringify(body).slice(0, 200),
  );

test('every kind of actor, and states as paths', () => {
  for (const kind of ACTOR_KINDS) parse(Transition.schema, { ...transition, kind }, 'transition');
  for (const to of ['ready', 'ready.running', 'selfTesting', 'a.b-c.d'])
    parse(Transition.schema, { ...transition, from: 'idle', to, event: 'shard.assigned' }, 'transition');
  for (const to of ['', '.', 'a.', 'a..b', 'a b', 'a=1', 'a'.repeat(81), '<b>', 'key:00ff'])
    refused(Transition, { ...transition, to });
  refused(Transition, { ...transition, kind: 'client' });
  refused(Transition, { ...transition, event: 'x y' });
  refused(Transition, { ...transition, event: 'x'.repeat(121) });
  refused(Transition, { ...transition, seq: 0 });
});

test('counts are a few numbers with plain names, so that no text leaves an actor', () => {
  const many = (n: number) =>
    Object.fromEntries(
      Array.from({ length: n }, (_, i) => [`a${String.fromCharCode(97 + (i % 26)).repeat(1 + i / 26)}`, i]),
    );
  assert.is(Object.keys(many(64)).length, 64);
  parse(Transition.schema, { ...transition, counts: many(64) }, 'transition');
  refused(Transition, { ...transition, counts: many(65) });
  for (const counts of [
    { a: '1' },
    { a: null },
    { a: [1] },
    { 'a b': 1 },
    { a1: 1 },
    { ['a'.repeat(33)]: 1 },
    { a: Number.NaN },
    { a: Number.POSITIVE_INFINITY },
  ])
    refused(Transition, { ...transition, counts });
});

test('a heartbeat cannot claim to be good for ever, nor more credit than there is', () => {
  parse(Heartbeat.schema, heartbeat, 'heartbeat');
  parse(Heartbeat.schema, { ...heartbeat, worker }, 'heartbeat');
  for (const leaseMs of [0, 99, 600_001, 1e12, Number.POSITIVE_INFINITY])
    refused(Heartbeat, { ...heartbeat, leaseMs });
  for (const wrong of [
    { credit: -1 },
    { credit: 2 ** 30 + 1 },
    { inHand: ['a'] },
    { inHand: Array(65).fill(crypto.randomUUID()) },
    { rates: { g1: 0, g2: 1 } },
    { rates: { g1: 1, g2: Number.POSITIVE_INFINITY } },
    { credit: 0.5 },
    { class: 'trusted' },
    { engine: 'x'.repeat(41) },
    { resident: ['0123456789ABCDEF'] },
    { resident: ['0123'] },
    { resident: ['0123456789abcdef+0'] },
    { resident: ['0123456789abcdef+123456'] },
    { resident: Array(1025).fill('0123456789abcdef') },
  ])
    refused(Heartbeat, { ...heartbeat, worker: { ...worker, ...wrong } });
});

test.run();
