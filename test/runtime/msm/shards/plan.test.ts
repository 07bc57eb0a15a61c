import { pointBytes } from '../../../../protocols/msm.ts';
import { cost, createLedger, planShards, workOf } from '../../../../runtime/msm/shards/plan.ts';
import { assert, suite } from '../../../harness.ts';

const test = suite('msm plan');

const layout = (count: number) => [
  { section: 'A' as const, offset: 1000, count },
  { section: 'B2' as const, offset: 1000 + count * 64, count },
  { section: 'H' as const, offset: 1000 + count * 192, count: count + 1 },
];
const blob = {
  chunks: Array.from({ length: 600 }, (_, i) => i.toString(16).padStart(8, '0').padEnd(64, 'f')),
  chunkBytes: 4096,
};
const fleet = (id: string, credit = 2, resident: string[] = []) => ({
  id,
  credit,
  resident: new Set(resident),
});

test('shards cover every point of every section exactly once, dearest first', () => {
  for (const count of [1, 2, 7, 1000, 4095]) {
    const shards = planShards(layout(count), blob, 300);
    for (const { section, offset, count: n } of layout(count)) {
      let next = 0;
      for (const shard of shards.filter((s) => s.section === section).sort((a, b) => a.from - b.from)) {
        assert.is(shard.from, next);
        next += shard.count;
        const start = offset + shard.from * pointBytes(section);
        assert.is(blob.chunks.indexOf(shard.chunks[0]!) * blob.chunkBytes + shard.offset, start);
        assert.ok(shard.offset < blob.chunkBytes);
        const bytes = shard.count * pointBytes(section);
        assert.is(shard.chunks.length, Math.ceil((shard.offset + bytes) / blob.chunkBytes));
      }
      assert.is(next, n);
    }
    assert.equal(
      shards.map(cost),
      shards.map(cost).toSorted((a, b) => b - a),
    );
  }
});

test('an empty section makes no shard', () => {
  assert.equal(planShards([{ section: 'A', offset: 0, count: 0 }], blob, 10), []);
});

test('assigns up to the credit, one each in turn, and every shard once', () => {
  const shards = planShards(layout(1000), blob, 300);
  const ledger = createLedger(shards);
  const first = ledger.assign([fleet('a'), fleet('b'), fleet('idle', 0)], 0, 1e9);
  assert.equal(
    first.map((x) => x.worker),
    ['a', 'b', 'a', 'b'],
  );
  assert.is(new Set(first.map((x) => x.shard.id)).size, 4);
  assert.equal(ledger.assign([fleet('a'), fleet('b')], 1, 1e9), []);
  let now = 2;
  const queue = [...first];
  for (let next = queue.shift(); next; next = queue.shift()) {
    assert.ok(ledger.expects(next.shard.id, next.worker));
    assert.ok(ledger.complete(next.shard.id, next.worker));
    assert.not.ok(ledger.complete(next.shard.id, next.worker), 'the second result of a shard is ignored');
    queue.push(...ledger.assign([fleet('a'), fleet('b')], now++, 1e9));
  }
  assert.ok(ledger.isDone());
  assert.is(ledger.counts().done, shards.length);
});

test('resident base points decide which shard a worker gets', () => {
  const shards = planShards(layout(1000), blob, 300);
  const wanted = shards.at(-1)!;
  const ledger = createLedger(shards);
  const resident = wanted.chunks.map((digest) => digest.slice(0, 16));
  assert.is(ledger.assign([fleet('a', 1, resident)], 0, 1e9)[0]?.shard.id, wanted.id);
});

test('a worker that is gone, or a lost queue, gives its shards back; a stranger cannot complete', () => {
  const ledger = createLedger(planShards(layout(100), blob, 300));
  const out = ledger.assign([fleet('a', 99), fleet('b', 1)], 0, 1e9);
  const mine = out.find((x) => x.worker === 'a')!;
  assert.not.ok(ledger.complete(mine.shard.id, 'stranger'));
  ledger.gone('a');
  assert.not.ok(ledger.expects(mine.shard.id, 'a'));
  const again = ledger.assign([fleet('b', 99)], 1, 1e9);
  assert.ok(again.some((x) => x.shard.id === mine.shard.id));
  ledger.reset();
  assert.is(ledger.counts().workers.length, 0);
  assert.is(ledger.assign([fleet('c', 99)], 2, 1e9).length, ledger.counts().total);
});

test('a refused shard goes to another worker, not back to the one that refused', () => {
  const ledger = createLedger(planShards([{ section: 'A', offset: 0, count: 10 }], blob, 300));
  assert.is(ledger.assign([fleet('a')], 0, 1e9).length, 1);
  ledger.refuse('A-0', 'a');
  assert.equal(ledger.assign([fleet('a')], 1, 1e9), []);
  assert.is(ledger.assign([fleet('a'), fleet('b')], 2, 1e9)[0]?.worker, 'b');
});

test('an idle worker gets a second copy of a straggling shard; the first result wins', () => {
  const ledger = createLedger(planShards([{ section: 'A', offset: 0, count: 10 }], blob, 300));
  ledger.assign([fleet('slow')], 0, 1000);
  assert.equal(ledger.assign([fleet('slow'), fleet('fast')], 500, 1000), []);
  assert.is(ledger.assign([fleet('slow'), fleet('fast')], 1500, 1000)[0]?.worker, 'fast');
  assert.equal(ledger.assign([fleet('third')], 9000, 1000), [], 'at most two copies');
  assert.ok(ledger.complete('A-0', 'fast'));
  assert.not.ok(ledger.complete('A-0', 'slow'));
  assert.equal(
    ledger.counts().workers.find((w) => w.id === 'fast'),
    { id: 'fast', assigned: 0, done: 1 },
  );
});

test('a shard that did not reach its worker is pending again; the others of that worker stay out', () => {
  const ledger = createLedger(planShards(layout(100), blob, 300));
  const [first, second] = ledger.assign([fleet('a', 2)], 0, 1e9);
  ledger.release(first!.shard.id, 'a');
  assert.not.ok(ledger.expects(first!.shard.id, 'a'));
  assert.ok(ledger.expects(second!.shard.id, 'a'));
  assert.is(ledger.assign([fleet('b', 1)], 1, 1e9)[0]?.shard.id, first!.shard.id);
});

test('when everybody has refused all that is left it is stuck, until that is forgiven', () => {
  const ledger = createLedger(planShards([{ section: 'A', offset: 0, count: 10 }], blob, 300));
  const both = [fleet('a'), fleet('b')];
  for (const { id } of both) {
    assert.is(ledger.assign(both, 0, 1e9)[0]?.worker, id);
    assert.not.ok(ledger.stuck(both), 'one is out');
    ledger.refuse('A-0', id);
  }
  assert.equal(ledger.assign(both, 1, 1e9), []);
  assert.ok(ledger.stuck(both));
  assert.not.ok(ledger.stuck([fleet('a', 0)]), 'nobody is there to be asked');
  ledger.forgive();
  assert.is(ledger.assign(both, 2, 1e9)[0]?.worker, 'a');
  ledger.complete('A-0', 'a');
  assert.not.ok(ledger.stuck(both));
});

test('shards are of about the same work, whatever their section', () => {
  const shards = planShards(layout(10_000), blob, 5_000);
  const works = shards.map(cost);
  assert.is(
    works.reduce((sum, work) => sum + work, 0),
    workOf(layout(10_000)),
  );
  assert.ok(Math.min(...works) > 0.9 * Math.max(...works), `${Math.min(...works)} to ${Math.max(...works)}`);
});

test.run();
