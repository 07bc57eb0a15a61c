import {
  additions,
  cellRowsOf,
  computeMs,
  efficiency,
  pieceOf,
  quotientShape,
  wiresShape,
} from '../../../../runtime/msm/shards/work.ts';
import { assert, suite } from '../../../harness.ts';

const test = suite('msm work');
const rates = { g1: 1000, g2: 300 };

test('the count of additions says when rows alone share a sum badly, and windows help', () => {
  const percent = (value: number) => Math.round(100 * value);
  const best = (points: number, nodes: number) =>
    Math.max(
      ...Array.from({ length: nodes }, (_, i) => i + 1)
        .filter((windows) => nodes % windows === 0)
        .map((windows) => efficiency(points, nodes, windows)),
    );
  for (const [points, nodes, rows, windows] of [
    [2 ** 20, 32, 68, 94],
    [2 ** 22, 32, 73, 94],
    [2 ** 22, 128, 63, 86],
  ] as const) {
    // 62.5 % is rounded up in the last row.
    assert.ok(Math.abs(percent(efficiency(points, nodes)) - rows) <= 1);
    assert.is(percent(best(points, nodes)), windows);
  }
  assert.is(efficiency(2 ** 16, 1), 1);
});

test('a range of bits costs its share, and the buckets of its windows', () => {
  const shape = quotientShape({ rows: 2 ** 16 });
  const whole = computeMs(shape, pieceOf('quotient', 0, 2 ** 16), rates);
  // Rates are measured with as many points.
  assert.ok(Math.abs(whole - 65_536) < 1);
  const halves = [0, 128].map((from) =>
    computeMs(shape, pieceOf('quotient', 0, 2 ** 16, { from, count: 128 }), rates),
  );
  assert.ok(halves[0]! + halves[1]! >= whole && halves[0]! + halves[1]! < whole * 1.15);
  const small = computeMs(shape, pieceOf('quotient', 0, 256), rates);
  assert.ok(small > 256 * 1.5, 'a small piece has as many buckets for fewer points');
  assert.is(computeMs(shape, pieceOf('quotient', 0, 256, { from: 255, count: 1 }), rates), 0);
  assert.ok(additions(1000, 254) < additions(1001, 254));
});

test('wires that are bits weigh and travel as bits, in the lowest range alone; public ones have no base in C', () => {
  const shape = wiresShape({ rows: 1000, privateFrom: 100, cellRows: 100, isBit: (row) => row >= 500 });
  assert.equal(shape.work(0, 100), { g1: 200, g2: 100 });
  assert.equal(shape.work(100, 200), { g1: 300, g2: 100 });
  assert.ok(shape.work(900, 1000).g1 < 300 / 16);
  assert.ok(
    shape.work(0, 100, { from: 128, count: 128 }).g1 < 101 + 200 / 32,
    'half of it, and the bases are read',
  );
  assert.is(shape.bytes(0, 100), 3200);
  assert.is(shape.bytes(0, 100, { from: 0, count: 64 }), 800);
  assert.is(shape.bytes(900, 1000), 26, 'which are wide, and the bits');
  assert.is(shape.bytes(900, 1000, { from: 64, count: 64 }), 13);
  const bits = computeMs(shape, pieceOf('wires', 900, 100), rates);
  const full = computeMs(shape, pieceOf('wires', 100, 100), rates);
  assert.ok(bits < full / 4);
  const half = wiresShape({ rows: 100, privateFrom: 0, cellRows: 100, inB: (row) => row % 2 === 0 });
  assert.equal(half.work(0, 100), { g1: 250, g2: 50 });
});

test('ranges keep to the grid; a vector that is no multiple of it ends where it ends', () => {
  const shape = quotientShape({ rows: 1000, cellRows: 300 });
  assert.is(shape.work(900, 1000).g1, 100);
  assert.throws(() => shape.work(0, 250), /expected a multiple of 300 up to 1000, got 250/);
  assert.throws(() => shape.work(0, 1200), RangeError);
  assert.throws(() => quotientShape({ rows: 0 }), RangeError);
  assert.is(cellRowsOf(1), 256);
  assert.is(cellRowsOf(2 ** 20), 1024);
  assert.is(cellRowsOf(2 ** 26), 8192);
});

test('a piece has the same name whoever cuts it, and it can be a subject', () => {
  assert.is(pieceOf('wires', 256, 512).id, 'wires-256-512');
  assert.is(pieceOf('quotient', 0, 256, { from: 64, count: 64 }).id, 'quotient-0-256-64-64');
});

test.run();
