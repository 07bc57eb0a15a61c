/** The monitor's table of states against the machines themselves: every state of every kind, and what its tags say. */
import type { AnyStateMachine } from 'xstate';
import { enclaveMachine } from '../../../actors/enclave.ts';
import { gpuDeviceMachine } from '../../../actors/gpu-device.ts';
import { inferenceRunnerMachine } from '../../../actors/inference-runner.ts';
import { keyBrokerMachine } from '../../../actors/key-broker.ts';
import { msmWorkerMachine } from '../../../actors/msm-worker.ts';
import { proofCoordinatorMachine } from '../../../actors/proof-coordinator.ts';
import { proofJobMachine } from '../../../actors/proof-job.ts';
import { supervisorMachine } from '../../../actors/supervisor.ts';
import { ACTOR_KINDS, type ActorKind } from '../../../protocols/subjects.ts';
import { isEnd, type Meaning, meaningOf, STATES } from '../../../runtime/monitor/states.ts';
import { statesOf } from '../../actors/fixture.ts';
import { assert, suite } from '../../harness.ts';

const test = suite('monitor states');

const MACHINES: Record<ActorKind, AnyStateMachine> = {
  supervisor: supervisorMachine,
  enclave: enclaveMachine,
  gpu: gpuDeviceMachine,
  runner: inferenceRunnerMachine,
  worker: msmWorkerMachine,
  coordinator: proofCoordinatorMachine,
  broker: keyBrokerMachine,
  'proof-job': proofJobMachine,
};

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
