/** The monitor's table of states against the machines themselves: every state of every kind, and what its tags say. */

import { MACHINES } from '../../../actors/machines.ts';
import { ACTOR_KINDS, type ActorKind } from '../../../protocols/subjects.ts';
import { arcsOf, heightOf } from '../../../runtime/monitor/drawing.ts';
import { drawingOf } from '../../../runtime/monitor/machines.ts';
import { isEnd, type Meaning, meaningOf, STATES } from '../../../runtime/monitor/states.ts';
import { statesOf } from '../../actors/fixture.ts';
import { assert, suite } from '../../harness.ts';

const test = suite('monitor states');

/** The states of a kind that the table gives one of these meanings. */
const meaning = (kind: ActorKind, ...wanted: Meaning[]): string[] =>
  [...statesOf(MACHINES[kind])].filter((state) => wanted.includes(meaningOf(kind, state)));

const tagged = (kind: ActorKind, tag: string): string[] =>
  [...statesOf(MACHINES[kind])].filter((state) => MACHINES[kind].states[state]!.tags.includes(tag));

for (const kind of ACTOR_KINDS) {
  test(`${kind}: the table has exactly the machine's states`, () => {
    assert.equal(Object.keys(STATES[kind]).sort(), [...statesOf(MACHINES[kind])].sort());
    for (const [state, { states }] of Object.entries(MACHINES[kind].states))
      assert.equal(Object.keys(states), [], `${state} has states of its own, which the table cannot name`);
  });

  test(`${kind}: its tags and its ends say what the table says`, () => {
    const failed = tagged(kind, 'failed');
    assert.equal(failed, meaning(kind, 'failed'), 'failed');
    const up = tagged(kind, 'up');
    // A proof's job is never up: it is on its way until it is over.
    const rest = kind === 'proof-job' ? ['published'] : [];
    assert.equal(
      meaning(kind, 'up').filter((state) => !up.includes(state)),
      rest,
      'up, says the table alone',
    );
    assert.equal(
      up.filter((state) => !meaning(kind, 'up', 'busy').includes(state)),
      [],
      'up, says the machine alone',
    );
    const isOver = (state: string) => {
      const { type, tags } = MACHINES[kind].states[state]!;
      return type === 'final' || tags.includes('settled');
    };
    for (const state of meaning(kind, 'failed', 'stopped')) assert.ok(isOver(state), `${state} is over`);
    for (const state of meaning(kind, 'busy')) assert.not.ok(isOver(state), `${state} goes on`);
  });
}

for (const kind of ACTOR_KINDS) {
  test(`${kind}: it is drawn with every state and every event of its machine`, () => {
    const machine = MACHINES[kind];
    const drawing = drawingOf(machine);
    assert.equal(
      drawing.states.map(({ name }) => name),
      Object.keys(machine.states),
    );
    assert.ok(machine.states[drawing.initial]);
    for (const { name } of drawing.states.filter(({ name }) => name !== drawing.initial))
      assert.ok(
        drawing.edges.some(({ to }) => to === name),
        `nothing leads to ${name}`,
      );
    const pairs = new Set(drawing.edges.map(({ from, to }) => `${from} ${to}`));
    assert.is(arcsOf(drawing).length, pairs.size);
    assert.ok(heightOf(drawing) > 0);
  });
}

test('an edge is an event of the machine in the words of its transitions', () => {
  const edges = drawingOf(MACHINES.worker).edges.map(({ from, event, to }) => `${from} ${event} ${to}`);
  for (const edge of [
    'computing done idle',
    'computing worker.drain draining',
    'idle worker.suspend suspended',
  ])
    assert.ok(edges.includes(edge), edge);
  assert.equal(
    edges.filter((edge) => edge.includes('xstate')),
    [],
  );
  const strange = { states: [], initial: '', edges: [{ from: 'a', to: 'b', event: 'x' }] };
  assert.equal(arcsOf(strange), []);
});

test('only what was asked to end has ended; a failed job has, too', () => {
  const ends = (kind: ActorKind) => [...statesOf(MACHINES[kind])].filter((state) => isEnd(kind, state));
  assert.equal(ends('enclave'), ['destroyed']);
  assert.equal(ends('worker'), ['stopped']);
  assert.equal(ends('gpu'), []);
  assert.equal(ends('proof-job').sort(), ['failed', 'published']);
});

test('a state that is not in the table is not up', () => {
  for (const state of ['serving.again', 'constructor', '']) assert.is(meaningOf('enclave', state), 'waiting');
});

test.run();
