import type { AnyStateMachine } from 'xstate';
import { z } from 'zod';
import { Code, Failure, failure, failureOf, Measurement } from '../../actors/context.ts';
import { backOffMs } from '../../actors/effect.ts';
import { EnclaveContext, enclaveMachine } from '../../actors/enclave.ts';
import { FleetMemberContext, fleetMemberMachine } from '../../actors/fleet-member.ts';
import { GpuDeviceContext, gpuDeviceMachine } from '../../actors/gpu-device.ts';
import { InferenceRunnerContext, inferenceRunnerMachine } from '../../actors/inference-runner.ts';
import { KeyBrokerContext, keyBrokerMachine } from '../../actors/key-broker.ts';
import { MsmWorkerContext, msmWorkerMachine } from '../../actors/msm-worker.ts';
import { ProofCoordinatorContext, proofCoordinatorMachine } from '../../actors/proof-coordinator.ts';
import { ProofJobContext, proofJobMachine } from '../../actors/proof-job.ts';
import { SupervisorContext, supervisorMachine } from '../../actors/supervisor.ts';
import { Digest, Id } from '../../protocols/envelope.ts';
import { VouchError } from '../../protocols/errors.ts';
import { Transition } from '../../protocols/transition.ts';
import { assert, suite } from '../harness.ts';
import { statesOf } from './fixture.ts';

const test = suite('actors/context');

const ACTORS: Array<{ machine: AnyStateMachine; context: z.ZodType }> = [
  { machine: enclaveMachine, context: EnclaveContext },
  { machine: gpuDeviceMachine, context: GpuDeviceContext },
  { machine: inferenceRunnerMachine, context: InferenceRunnerContext },
  { machine: msmWorkerMachine, context: MsmWorkerContext },
  { machine: proofCoordinatorMachine, context: ProofCoordinatorContext },
  { machine: fleetMemberMachine, context: FleetMemberContext },
  { machine: proofJobMachine, context: ProofJobContext },
  { machine: keyBrokerMachine, context: KeyBrokerContext },
  { machine: supervisorMachine, context: SupervisorContext },
];

/** The only text that a context may hold. */
const TEXT = new Set<unknown>([Id, Digest, Measurement]);

/** What a schema may hold besides ids, public digests, codes, booleans and integers: nothing, we hope. */
function offences(schema: unknown, path: string): string[] {
  // biome-ignore lint/suspicious/noExplicitAny: the definition of any zod schema
  const def = (schema as { def: any }).def;
  switch (def.type) {
    case 'string':
      return TEXT.has(schema) ? [] : [`${path}: text other than an id or a public digest`];
    case 'number':
      return (schema as z.ZodNumber).format === 'safeint' ? [] : [`${path}: a number that is no integer`];
    case 'boolean':
    case 'enum':
      return [];
    case 'nullable':
    case 'optional':
      return offences(def.innerType, path);
    case 'array':
      return offences(def.element, `${path}[]`);
    case 'record':
      return [...offences(def.keyType, `${path}{key}`), ...offences(def.valueType, `${path}{}`)];
    case 'object':
      return [
        ...(def.catchall?.def.type === 'never' ? [] : [`${path}: an object that lets unknown fields pass`]),
        ...Object.entries(def.shape).flatMap(([name, field]) => offences(field, `${path}.${name}`)),
      ];
    default:
      return [`${path}: a ${def.type}`];
  }
}

test('contexts hold ids, counts, codes and public digests only', () => {
  assert.equal(
    ACTORS.flatMap(({ machine, context }) => offences(context, machine.id)),
    [],
  );
});

test('the walk finds what must not be there', () => {
  for (const bad of [
    z.strictObject({ note: z.string() }),
    z.strictObject({ bytes: z.instanceof(Uint8Array) }),
    z.strictObject({ scalar: z.bigint() }),
    z.strictObject({ rows: z.array(z.strictObject({ value: z.number() })) }),
    z.strictObject({ any: z.unknown() }),
    z.object({ id: Id }),
    z.record(z.string(), z.int()),
  ]) {
    assert.is(offences(bad, 'bad').length, 1);
  }
});

test('every machine has an id of its own, and states that say whether it works', () => {
  assert.is(new Set(ACTORS.map(({ machine }) => machine.id)).size, ACTORS.length);
  for (const { machine } of ACTORS) {
    const tagged = (tag: string) => Object.values(machine.states).filter(({ tags }) => tags.includes(tag));
    for (const state of tagged('failed')) {
      assert.ok(state.tags.includes('settled'), `${machine.id} ${state.key}: failed is the end of it`);
      assert.not(state.tags.includes('up'), `${machine.id} ${state.key}`);
    }
    assert.ok(tagged('settled').length > 0, machine.id);
    if (machine !== proofJobMachine) assert.ok(tagged('up').length > 0, machine.id);
  }
});

test('state names can be published', () => {
  for (const { machine } of ACTORS) {
    for (const to of statesOf(machine)) {
      const body = {
        kind: 'enclave',
        id: 'x',
        boot: 'b',
        seq: 1,
        from: null,
        to,
        event: 'start',
        counts: {},
      };
      assert.ok(Transition.schema.safeParse(body).success, `${machine.id} ${to}`);
    }
  }
});

test('every invoked effect has a way on when it fails', () => {
  for (const { machine } of ACTORS) {
    for (const [name, state] of Object.entries(machine.states)) {
      for (const { onError, src } of state.invoke) {
        assert.ok(onError !== undefined, `${machine.id} ${name}: ${String(src)} has no onError`);
      }
    }
  }
});

test('a failure keeps a code and no text', () => {
  assert.equal(failureOf(new VouchError('timeout', 'a secret')), { code: 'timeout', retryable: true });
  assert.equal(failureOf(new Error('a secret')), failure('internal'));
  assert.equal(failureOf('a secret'), failure('internal'));
  assert.ok(Failure.safeParse(failure('busy')).success);
  assert.not(Code.safeParse('a secret').success);
});

test('delays double up to five seconds', () => {
  assert.equal([1, 2, 3, 5, 6, 60].map(backOffMs), [250, 500, 1000, 4000, 5000, 5000]);
});

test.run();
