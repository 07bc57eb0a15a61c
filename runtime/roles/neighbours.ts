/**
 * The roles that share a machine: an enclave, the GPU passed through to it and the runner inside. They are
 * started in one process and find each other here; everything else goes over NATS.
 */
import type { AnyActorRef } from 'xstate';
import type { Failed } from '../../protocols/transition.ts';
import type { Identity } from '../attest/identity.ts';
import type { GpuHandle } from '../gpu/adapter.ts';

export interface Neighbour {
  readonly actor: AnyActorRef;
  /** why it works no more; undefined unless it has failed */
  failure(): Failed | undefined;
}

export interface Neighbours {
  device?: Neighbour;
  runner?: Neighbour;
  /** of the enclave's present boot */
  identity?: Identity;
  /** while the device is ready */
  gpu?: GpuHandle;
}
