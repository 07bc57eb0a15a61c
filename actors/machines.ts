/** The machines of all kinds of actor. */
import type { AnyStateMachine } from 'xstate';
import type { ActorKind } from '../protocols/subjects.ts';
import { enclaveMachine } from './enclave.ts';
import { gpuDeviceMachine } from './gpu-device.ts';
import { inferenceRunnerMachine } from './inference-runner.ts';
import { keyBrokerMachine } from './key-broker.ts';
import { msmWorkerMachine } from './msm-worker.ts';
import { proofCoordinatorMachine } from './proof-coordinator.ts';
import { proofJobMachine } from './proof-job.ts';
import { supervisorMachine } from './supervisor.ts';

export const MACHINES: Readonly<Record<ActorKind, AnyStateMachine>> = {
  supervisor: supervisorMachine,
  enclave: enclaveMachine,
  gpu: gpuDeviceMachine,
  runner: inferenceRunnerMachine,
  worker: msmWorkerMachine,
  coordinator: proofCoordinatorMachine,
  broker: keyBrokerMachine,
  'proof-job': proofJobMachine,
};
