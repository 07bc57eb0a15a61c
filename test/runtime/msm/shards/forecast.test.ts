import {
  boundsOf,
  evenCircuit,
  forecast,
  type Installation,
} from '../../../../runtime/msm/shards/forecast.ts';
import { assert, suite } from '../../../harness.ts';
import { demandExactCover, node } from './fleets.ts';

const test = suite('msm forecast', { timeoutMs: 60_000 });

const circuit = evenCircuit(2 ** 18, 0.9);
const installation = (count: number, more: Partial<Installation> = {}): Installation => ({
  nodes: Array.from({ length: count }, (_, i) => node(`n${i}`, 3e5)),
  coordinator: { witnessPerSecond: 1e7, transformPerSecond: 1e7, sealBytesPerSecond: 1e9, finishMs: 100 },
  server: { bytesPerSecond: 1e9, maxPieceBytes: 1e6 },
  ...more,
});

test('phases follow each other: the wires leave while the quotient is transformed, and both are covered', () => {
  const { phases, totalMs, run } = forecast(installation(4), circuit);
  const [witness, transform, wires, quotient, finish] = phases;
  assert.is(witness!.toMs, wires!.fromMs);
  assert.is(transform!.toMs, quotient!.fromMs);
  assert.ok(wires!.fromMs < quotient!.fromMs && wires!.toMs <= finish!.fromMs);
  assert.is(finish!.toMs, totalMs);
  assert.is(totalMs, run.endMs + 100);
  demandExactCover(
    circuit.shapes,
    run.results.map(({ piece }) => piece),
  );
});

test('what bounds a proof is what would make it shortest if it took no time', () => {
  const boundOf = (more: Partial<Installation>, count = 8) =>
    boundsOf(installation(count, more), circuit)[0]!.bound;
  const { coordinator, server, nodes } = installation(8);
  assert.is(boundOf({}), 'sums');
  assert.is(boundOf({ coordinator: { ...coordinator, witnessPerSecond: 1e5 } }), 'witness');
  assert.is(boundOf({ coordinator: { ...coordinator, transformPerSecond: 1e5 } }), 'transform');
  assert.is(boundOf({ coordinator: { ...coordinator, sealBytesPerSecond: 1e6 } }), 'sealing');
  assert.is(boundOf({ server: { ...server, bytesPerSecond: 1e6 } }), 'server');
  assert.is(boundOf({ nodes: nodes.map((each) => ({ ...each, bytesPerSecond: 1e5 })) }), 'link');
});

test('a fleet that cannot make the sums is said to be none', () => {
  const none = [{ ...node('a', 1e5), rates: { g1: 1e5, g2: 1e-9 } }];
  assert.throws(() => forecast(installation(1, { nodes: none }), circuit), RangeError);
});

test('the same machines are forecast the same', () => {
  const once = () => JSON.stringify(forecast(installation(5), circuit).run.pieces);
  assert.is(once(), once());
});

test.run();
