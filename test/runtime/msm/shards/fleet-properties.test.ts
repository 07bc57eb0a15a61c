/** What holds for every fleet, tried on random ones: nothing is lost or done twice, nobody idles, nobody holds up the rest. */
import {
  type SimulatedNode,
  type SimulatedRun,
  simulate,
} from '../../../../runtime/msm/shards/simulation.ts';
import { ALL_BITS, computeMs, type PartShape, transferMs } from '../../../../runtime/msm/shards/work.ts';
import { assert, suite } from '../../../harness.ts';
import { demandExactCover, node, randomNodes, randomOf, shapesOf } from './fleets.ts';

const test = suite('msm fleets', { timeoutMs: 60_000 });
const MAX_PIECE = 4e6;

function run(shapes: readonly PartShape[], nodes: readonly SimulatedNode[], more = {}): SimulatedRun {
  const parts = shapes.map((shape) => ({ shape, readyAt: 0 }));
  const result = simulate({ parts, nodes, maxPieceBytes: MAX_PIECE, ...more });
  assert.ok(Number.isFinite(result.endMs), 'the sums end');
  demandExactCover(
    shapes,
    result.results.map(({ piece }) => piece),
  );
  return result;
}

/** Equal ranges of rows of each part, one for each node, one after the other: what the ledger must never be worse than. */
function equalRangesMs(shapes: readonly PartShape[], nodes: readonly SimulatedNode[]): number {
  return Math.max(
    ...nodes.map((each, index) => {
      let ms = 0;
      for (const shape of shapes) {
        const cells = Math.ceil(shape.rows / shape.cellRows);
        const at = (i: number) =>
          Math.min(shape.rows, Math.floor((cells * i) / nodes.length) * shape.cellRows);
        const from = at(index);
        const range = { from, count: (index + 1 === nodes.length ? shape.rows : at(index + 1)) - from };
        if (range.count === 0) continue;
        const link = { bytesPerSecond: each.bytesPerSecond, resident: true };
        ms += Math.max(
          computeMs(shape, { ...range, bits: ALL_BITS }, each.rates),
          transferMs(shape, { ...range, bits: ALL_BITS }, link),
        );
      }
      return ms;
    }),
  );
}

test('every row and every bit is done exactly once, and never later than by equal ranges of rows', () => {
  for (let seed = 1; seed <= 40; seed++) {
    const random = randomOf(seed);
    const shapes = shapesOf(12 + Math.floor(random() * 6), random);
    const nodes = randomNodes(random, 2 + Math.floor(random() * 14));
    const { endMs } = run(shapes, nodes);
    const equal = equalRangesMs(shapes, nodes);
    // Forty milliseconds: the least piece that is worth a trip; and the round trips of the farthest.
    const trips = 40 + 2 * Math.max(...nodes.map(({ roundTripMs }) => roundTripMs));
    assert.ok(endMs <= equal * 1.05 + trips, `seed ${seed}: ${endMs} ms, equal ranges ${equal} ms`);
  }
});

test('a node more never makes it longer, whatever its speed', () => {
  for (let seed = 100; seed < 130; seed++) {
    const random = randomOf(seed);
    const shapes = shapesOf(13 + Math.floor(random() * 5), random);
    const nodes = randomNodes(random, 2 + Math.floor(random() * 8));
    const [more, fewer] = [run(shapes, nodes).endMs, run(shapes, nodes.slice(1)).endMs];
    // A greedy choice is some percent from the best, on either side.
    assert.ok(
      more <= fewer * 1.12 + 40,
      `seed ${seed}: ${nodes.length} nodes ${more} ms, one less ${fewer} ms`,
    );
  }
});

test('a node 50 times slower costs a fast one nothing', () => {
  for (let seed = 200; seed < 210; seed++) {
    const shapes = shapesOf(16, randomOf(seed));
    const alone = run(shapes, [node('fast', 3e5)]).endMs;
    const both = run(shapes, [node('fast', 3e5), node('slow', 6e3)]).endMs;
    assert.ok(both <= alone * 1.1, `seed ${seed}: ${both} ms, alone ${alone} ms`);
    // Nor does it when it claims to be fast, but for its deadline.
    const liar = run(shapes, [node('fast', 3e5), node('slow', 3e5, { slowdown: 50 })]).endMs;
    assert.ok(liar <= alone * 2 + 1500, `seed ${seed}: ${liar} ms, alone ${alone} ms`);
  }
});

test('as long as one honest node is there, mute, slow and leaving ones never leave it unfinished', () => {
  for (let seed = 300; seed < 340; seed++) {
    const random = randomOf(seed);
    const shapes = shapesOf(12 + Math.floor(random() * 5), random);
    const honest = randomNodes(random, 1)[0]!;
    const others = randomNodes(random, 1 + Math.floor(random() * 7)).map((other, index): SimulatedNode => {
      const kind = Math.floor(random() * 4);
      const at = random() * 2000;
      if (kind === 0) return { ...other, id: `mute${index}`, muteFrom: random() < 0.5 ? 0 : at };
      if (kind === 1) return { ...other, id: `slow${index}`, slowdown: 2 + 60 * random() };
      if (kind === 2) return { ...other, id: `left${index}`, leavesAt: at };
      return { ...other, id: `late${index}`, joinsAt: at };
    });
    // It joins in the middle of what the others have begun, and has room for little at a time.
    const memoryBytes = 300_000 + random() * 1e6;
    const nodes = [...others, { ...honest, id: 'honest', joinsAt: 3000 * random(), memoryBytes }];
    run(shapes, nodes, { limitMs: 3_600_000 });
  }
});

test('all but one mute: twice the time of that one alone, and one deadline', () => {
  for (let seed = 400; seed < 410; seed++) {
    const shapes = shapesOf(15, randomOf(seed));
    const fine = node('fine', 1e5);
    const alone = run(shapes, [fine]).endMs;
    const mute = Array.from({ length: 4 }, (_, i) => node(`mute${i}`, 1e5, { muteFrom: 0 }));
    const { endMs, pieces } = run(shapes, [...mute, fine]);
    const deadline = 3 * Math.max(...pieces.map(({ predictedMs }) => predictedMs)) + 1000;
    assert.ok(
      endMs <= 2 * alone + deadline,
      `seed ${seed}: ${endMs} ms, alone ${alone} ms, deadline ${deadline} ms`,
    );
  }
});

test('bases that nobody has yet are fetched in large pieces; those that a node has go to it', () => {
  const shapes = shapesOf(18, randomOf(11));
  const fleet = (resident?: SimulatedNode['resident']) =>
    Array.from({ length: 4 }, (_, i) => node(`n${i}`, 3e5, resident ? { resident } : {}));
  const known = run(shapes, fleet());
  const unknown = run(
    shapes,
    fleet(() => false),
  );
  assert.ok(unknown.pieces.length <= 3 * known.pieces.length, `${unknown.pieces.length} pieces`);
  // Each has had a quarter before: nearly all of it goes there again, whoever else is there now.
  const owner = (shape: PartShape, from: number) => Math.floor((4 * from) / shape.rows);
  const nodes = Array.from({ length: 4 }, (_, i) =>
    node(`n${i}`, 3e5, {
      resident: (part, from, count) => {
        const shape = shapes.find((each) => each.part === part)!;
        return owner(shape, from) === i && owner(shape, from + count - 1) === i;
      },
    }),
  );
  const again = run(shapes, nodes);
  const held = again.results.filter(({ piece, node }) => {
    const shape = shapes.find(({ part }) => part === piece.part)!;
    return node === `n${owner(shape, piece.from)}`;
  });
  const rowsOf = (results: typeof held) => results.reduce((sum, { piece }) => sum + piece.count, 0);
  assert.ok(rowsOf(held) / rowsOf([...again.results]) > 0.85, `${rowsOf(held) / rowsOf([...again.results])}`);
});

test('32 unequal nodes are busy nearly all the time', () => {
  const shapes = shapesOf(20, randomOf(7));
  const nodes = Array.from({ length: 32 }, (_, i) => node(`n${i}`, 3e4 * (1 + (i % 5))));
  const { endMs, busyMs } = run(shapes, nodes);
  const busy = [...busyMs.nodes.values()].reduce((sum, ms) => sum + ms, 0);
  assert.ok(busy / (32 * endMs) > 0.95, `busy ${busy / (32 * endMs)}`);
});

test('what comes later counts from the start: the wires shrink for the quotient only when it is the last', () => {
  const [wires, quotient] = shapesOf(16, randomOf(9));
  const nodes = [node('a', 2e5), node('b', 1e5)];
  const readyAt = 200;
  const parts = [
    { shape: wires, readyAt: 0 },
    { shape: quotient, readyAt },
  ];
  const both = simulate({ parts, nodes, maxPieceBytes: MAX_PIECE });
  assert.ok(Number.isFinite(both.endMs));
  demandExactCover(
    [wires, quotient],
    both.results.map(({ piece }) => piece),
  );
  assert.ok(both.endMs <= run([wires, quotient], nodes).endMs * 1.1 + readyAt);
});

test.run();
