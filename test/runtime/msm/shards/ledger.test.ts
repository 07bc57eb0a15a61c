import { createLedger, type NodeOffer, shareOf } from '../../../../runtime/msm/shards/ledger.ts';
import { type Part, quotientShape, wiresShape } from '../../../../runtime/msm/shards/work.ts';
import { assert, suite } from '../../../harness.ts';

const test = suite('msm ledger');

const offer = (id: string, more: Partial<NodeOffer> = {}): NodeOffer => ({
  id,
  rates: { g1: 1e5, g2: 3e4 },
  bytesPerSecond: 1e8,
  roundTripMs: 1,
  freeBytes: 1e9,
  standing: 'full',
  ...more,
});
const ledgerOf = (rows = 2 ** 14, more = {}) => {
  const ledger = createLedger({ maxPieceBytes: 1e6, ...more });
  ledger.add(quotientShape({ rows }));
  ledger.close();
  return ledger;
};

test('one piece in work, one that waits, and each smaller than the last', () => {
  const ledger = ledgerOf();
  const a = offer('a');
  const b = offer('b');
  const first = ledger.next(a, [a, b], 0)!;
  const second = ledger.next(a, [a, b], 0)!;
  assert.is(ledger.next(a, [a, b], 0), undefined, 'its hands are full');
  assert.ok(first.piece.count > second.piece.count);
  assert.ok(first.piece.count <= 2 ** 13, 'no more than its half');
  assert.ok(second.deadline > first.deadline && second.predictedMs > first.predictedMs);
  assert.ok(ledger.expects(first.piece.id, 'a') && !ledger.expects(first.piece.id, 'b'));
  assert.equal(ledger.load('a', 0).pieces, 2);
  assert.ok(ledger.complete(first.piece.id, 'a', 50));
  assert.not.ok(ledger.complete(first.piece.id, 'a', 51), 'done is done');
  assert.not.ok(ledger.complete(second.piece.id, 'b', 51), 'only whoever has it can complete it');
  assert.equal(ledger.counts().workers, [{ id: 'a', assigned: 1, done: 1 }]);
  assert.not.ok(ledger.isDone());
});

test('a piece fits the server, the memory of its node, and the grid', () => {
  const ledger = createLedger({ maxPieceBytes: 64 * 1024 });
  ledger.add(quotientShape({ rows: 2 ** 14 }));
  const a = offer('a');
  assert.is(ledger.next(a, [a], 0)?.piece.count, 2048);
  const small = offer('small', { freeBytes: 3 * 256 * 32 + 5 });
  assert.is(ledger.next(small, [small], 0)?.piece.count, 768);
  const full = offer('full', { freeBytes: 100 });
  assert.is(ledger.next(full, [full], 0), undefined);
  const few = createLedger({ maxPieceBytes: 1e9, maxPieceRows: 1024 });
  few.add(wiresShape({ rows: 2 ** 14, privateFrom: 0, isBit: () => true }));
  assert.is(few.next(a, [a], 0)?.piece.count, 1024);
  const tight = createLedger({ maxPieceBytes: 100 });
  assert.throws(() => tight.add(quotientShape({ rows: 1000 })), /expected a cell of up to 100 bytes/);
});

test('standing: one at a time, copies only, nothing', () => {
  const ledger = ledgerOf();
  const fleet = [offer('full'), offer('less', { standing: 'less' }), offer('copies', { standing: 'copies' })];
  const [full, less, copies] = fleet as [NodeOffer, NodeOffer, NodeOffer];
  assert.is(ledger.next(offer('none', { standing: 'none' }), fleet, 0), undefined);
  assert.is(ledger.next(copies, fleet, 0), undefined);
  assert.ok(ledger.next(less, fleet, 0));
  assert.is(ledger.next(less, fleet, 0), undefined);
  assert.ok(ledger.next(full, fleet, 0));
  // Better than nobody.
  assert.ok(ledger.next(copies, [copies], 0));
});

test('past its deadline a piece goes to an idle node, then to a third and a fourth; each holder is reported once', () => {
  const ledger = ledgerOf(256);
  const fleet = ['a', 'b', 'c', 'd'].map((id) => offer(id));
  const taken = ledger.next(fleet[0]!, fleet, 0)!;
  const { id } = taken.piece;
  assert.is(ledger.next(fleet[1]!, fleet, 1), undefined, 'it is not late, and nobody would be earlier');
  let now = taken.deadline;
  assert.equal(ledger.late(now), []);
  for (const node of fleet.slice(1)) {
    now += 1;
    assert.is(ledger.late(now).length, 1);
    assert.equal(ledger.late(now), []);
    const copy = ledger.next(node, fleet, now)!;
    assert.is(copy.piece.id, id);
    assert.ok(copy.copy);
    now = copy.deadline;
  }
  // The first may still be the first.
  assert.ok(ledger.complete(id, 'a', now));
  assert.ok(ledger.isDone());
  assert.not.ok(ledger.expects(id, 'b'));
  assert.is(ledger.load('d', now).pieces, 0);
});

test('who missed gets copies only, until a result of its comes', () => {
  const ledger = ledgerOf();
  const fleet = [offer('a'), offer('b')];
  const [a, b] = fleet as [NodeOffer, NodeOffer];
  const mine = ledger.next(a, fleet, 0)!;
  const now = mine.deadline + 1;
  assert.is(ledger.late(now).length, 1);
  assert.is(ledger.next(b, fleet, now)?.piece.id, mine.piece.id, 'what is overdue goes first');
  assert.ok(ledger.complete(mine.piece.id, 'b', now + 50));
  assert.is(ledger.next(a, fleet, now + 50), undefined);
  // Alone it is better than nobody; its result makes it good again.
  const again = ledger.next(a, [a], now + 50)!;
  assert.ok(ledger.complete(again.piece.id, 'a', now + 90));
  assert.ok(ledger.next(a, fleet, now + 90));
});

test('an idle node copies what would be ready last, when it would be clearly earlier', () => {
  const ledger = ledgerOf(512);
  const slow = offer('slow', { rates: { g1: 1e3, g2: 1e3 } });
  const fast = offer('fast', { rates: { g1: 1e6, g2: 1e6 } });
  const taken = ledger.next(slow, [slow], 0)!;
  while (ledger.next(slow, [slow], 0));
  const copy = ledger.next(fast, [slow, fast], 1)!;
  assert.ok(copy.copy);
  assert.is(ledger.next(offer('other', { rates: slow.rates }), [slow, fast], 1), undefined);
  assert.ok(ledger.complete(copy.piece.id, 'fast', 2));
  assert.ok(taken);
});

test('a slow node that would hold up the rest with one cell gets none; alone it gets all', () => {
  const ledger = ledgerOf(2048);
  const slow = offer('slow', { rates: { g1: 1e3, g2: 1e3 } });
  const fast = offer('fast', { rates: { g1: 1e6, g2: 1e6 } });
  assert.is(ledger.next(slow, [slow, fast], 0), undefined);
  assert.ok(ledger.next(slow, [slow], 0));
});

test('what came back is cut anew, for whoever is there; a piece that was refused stays as it is', () => {
  const ledger = ledgerOf();
  const a = offer('a');
  const tiny = offer('tiny', { freeBytes: 256 * 32 });
  const first = ledger.next(a, [a], 0)!;
  ledger.release(first.piece.id, 'a');
  assert.not.ok(ledger.expects(first.piece.id, 'a'));
  assert.is(ledger.next(tiny, [tiny], 0)?.piece.count, 256);
  ledger.gone('tiny');
  const whole = ledger.next(a, [a], 0)!;
  assert.is(whole.piece.id, first.piece.id, 'its neighbours are joined again');
  ledger.refuse(whole.piece.id, 'a');
  assert.is(ledger.next(tiny, [tiny], 1)?.piece.from, whole.piece.count);
  const b = offer('b');
  assert.is(ledger.next(b, [a, b], 1)?.piece.id, whole.piece.id);
});

test('stuck: everybody has refused what is left; forgiven, they are asked again', () => {
  const ledger = ledgerOf(256);
  const fleet = [offer('a'), offer('b')];
  assert.not.ok(ledger.stuck(fleet));
  for (const node of fleet) ledger.refuse(ledger.next(node, [node], 0)!.piece.id, node.id);
  assert.ok(ledger.stuck(fleet));
  assert.not.ok(ledger.stuck([...fleet, offer('c')]));
  assert.not.ok(ledger.stuck([]));
  assert.is(ledger.next(fleet[0]!, fleet, 1), undefined);
  ledger.forgive();
  assert.ok(ledger.next(fleet[0]!, fleet, 1));
});

test('what heartbeats do not name is copied by who is idle, and lost when they go on so; its result counts until then', () => {
  const ledger = ledgerOf();
  const a = offer('a');
  const first = ledger.next(a, [a], 10)!;
  const second = ledger.next(a, [a], 20)!;
  assert.equal(ledger.holds('a', new Set(), 10), []);
  const named = new Set([first.piece.id]);
  assert.equal(ledger.holds('a', named, 30), [], 'a busy node may not have read it yet');
  assert.ok(ledger.expects(second.piece.id, 'a'));
  assert.equal(ledger.holds('a', new Set([first.piece.id, second.piece.id]), 2000), [], 'it had come');
  assert.equal(ledger.holds('a', named, 2500), []);
  assert.equal(ledger.holds('a', named, 4000), []);
  assert.equal(ledger.holds('a', named, 4501), [second.piece]);
  assert.not.ok(ledger.expects(second.piece.id, 'a'));
  assert.ok(ledger.expects(first.piece.id, 'a'));
  ledger.reset();
  assert.is(ledger.load('a', 30).pieces, 0);

  const small = ledgerOf(256);
  const fleet = [a, offer('b')];
  const { piece } = small.next(a, fleet, 0)!;
  assert.is(small.next(fleet[1]!, fleet, 1), undefined);
  small.holds('a', new Set(), 1);
  assert.is(small.next(fleet[1]!, fleet, 2)?.piece.id, piece.id, 'an idle node copies what is in doubt');
  assert.ok(small.complete(piece.id, 'a', 3));
});

test('bases that a node has decide where its piece begins', () => {
  const ledger = ledgerOf();
  const resident = (_: Part, from: number, count: number) => from >= 8192 && from + count <= 12_288;
  const a = offer('a', { resident });
  assert.is(ledger.next(a, [a, offer('b')], 0)?.piece.from, 8192);
});

test('what a node has of other jobs counts', () => {
  const ledger = ledgerOf();
  const busy = offer('busy', { elsewhere: { pieces: 2, ms: 5000 } });
  assert.is(ledger.next(busy, [busy], 0), undefined);
  const one = offer('one', { elsewhere: { pieces: 1, ms: 5000 } });
  assert.is(
    ledger.next(one, [one, offer('idle')], 0),
    undefined,
    'the idle one is done with everything before',
  );
});

test('what a node is given at a time: six tenths beside equals, all beside nobody, and no NaN whatever rates say', () => {
  const forEver = Number.POSITIVE_INFINITY;
  for (const [own, others, share] of [
    [100, [], 1],
    [100, [100], 0.6],
    [100, [50, 200], 0.6],
    [100, [400], 0.9],
    [100, [forEver], 1],
    [100, [400, forEver], 0.9],
    [forEver, [], 1],
    [forEver, [100], 0.6],
    [forEver, [forEver], 1],
    [forEver, [0, forEver], 0.6],
    [0, [0, forEver], 0.6],
  ] as const)
    assert.is(
      Math.round(
        1000 *
          shareOf(
            own,
            others.map((ms) => ({ ms })),
          ),
      ) / 1000,
      share,
      `${own} beside ${others.join(', ')}`,
    );
});

test('a node that would never be done takes nothing from another, and alone it has all and is not believed for long', () => {
  // The least rate that a heartbeat may name.
  const never = offer('never', { rates: { g1: Number.MIN_VALUE, g2: Number.MIN_VALUE } });
  const able = offer('able');
  const alone = ledgerOf().next(able, [able], 0)!;
  const beside = ledgerOf();
  assert.is(beside.next(never, [never, able], 0), undefined);
  assert.equal(beside.next(able, [never, able], 0)!.piece, alone.piece);
  const only = ledgerOf();
  const taken = only.next(never, [never], 0)!;
  assert.is(taken.predictedMs, Number.POSITIVE_INFINITY);
  // Whoever comes later takes what is left, and then copies what the first one has.
  let now = 0;
  for (let next = only.next(able, [never, able], now); next; next = only.next(able, [never, able], now)) {
    now += next.predictedMs;
    assert.ok(Number.isFinite(now));
    only.complete(next.piece.id, 'able', now);
  }
  assert.ok(only.isDone());
});

test('each node does the part that it is best at; the wires go first where it makes no difference', () => {
  const both = () => {
    const ledger = createLedger({ maxPieceBytes: 1e6 });
    ledger.add(wiresShape({ rows: 2 ** 14, privateFrom: 0 }));
    ledger.add(quotientShape({ rows: 2 ** 14 }));
    return ledger;
  };
  const ledger = both();
  const tables = offer('tables', { rates: { g1: 1e6, g2: 1e4 } });
  const plain = offer('plain', { rates: { g1: 1e5, g2: 5e4 } });
  assert.is(ledger.next(tables, [tables, plain], 0)?.piece.part, 'quotient');
  assert.is(ledger.next(plain, [tables, plain], 0)?.piece.part, 'wires');
  const none = offer('no-g2', { rates: { g1: 1e5, g2: 0 } });
  assert.is(both().next(none, [none, plain], 0)?.piece.part, 'quotient');
  assert.is(both().next(plain, [plain], 0)?.piece.part, 'wires');
});

test('until it is closed more may come: nothing is copied for want of it, and nothing is done', () => {
  const ledger = createLedger({ maxPieceBytes: 1e6 });
  const quotient = quotientShape({ rows: 2 ** 14 });
  ledger.announce(quotient);
  ledger.add(wiresShape({ rows: 256, privateFrom: 0 }));
  const fleet = [offer('a'), offer('b', { rates: { g1: 1e7, g2: 1e7 } })];
  const [a, b] = fleet as [NodeOffer, NodeOffer];
  const { piece } = ledger.next(a, [a], 0)!;
  assert.is(ledger.next(b, fleet, 0), undefined);
  assert.ok(ledger.complete(piece.id, 'a', 20));
  assert.not.ok(ledger.isDone());
  ledger.add(quotient);
  ledger.close();
  assert.is(ledger.next(b, fleet, 20)?.piece.part, 'quotient');
  assert.throws(() => ledger.add(quotient), RangeError);
});

test.run();
