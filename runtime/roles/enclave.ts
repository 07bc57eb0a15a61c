/**
 * The enclave's lifecycle, seen from the host: it makes the enclave, measures it, checks its evidence (again before it
 * expires, GPUs included), lets the runner inside it load its model, and destroys it. It holds no secret: the keys are
 * the identity's, which here lives in the same process: enclave, host and runner are one, SIMULATED or one whole VM.
 */
import { fromPromise } from 'xstate';
import { enclaveCounts, enclaveMachine } from '../../actors/enclave.ts';
import { MAX_REFERENCES } from '../../protocols/attestation/document.ts';
import type { Policy } from '../../protocols/attestation/policy.ts';
import { demandAccepted, verifyEvidence } from '../../protocols/attestation/verify.ts';
import { VouchError } from '../../protocols/errors.ts';
import { collateralFor } from '../attest/collateral.ts';
import { createIdentity, freshNonce } from '../attest/identity.ts';
import type { Provider } from '../attest/provider.ts';
import { inState, type StartRole, until } from './host.ts';
import type { Neighbours } from './neighbours.ts';

/** A model is loaded and verified within this time. */
const PROVISION_MS = 60_000;

export const enclaveRole =
  (neighbours: Neighbours, policy: Policy, provider?: Provider): StartRole =>
  async (context) => {
    const { id } = context;
    const destroy = () => {
      delete neighbours.identity;
      neighbours.runner?.send({ type: 'enclave.lost' });
    };
    const machine = enclaveMachine.provide({
      actors: {
        create: fromPromise(async () => {
          neighbours.identity = await createIdentity('runner', id, {
            provider,
            hasGpus: () => neighbours.gpu !== undefined,
            collateral: [...(collateralFor(policy)?.digests ?? [])].slice(0, MAX_REFERENCES),
          });
        }),
        measure: fromPromise(async () => ({ measurement: identity(neighbours).measurement })),
        attest: fromPromise(async () => {
          const nonce = freshNonce();
          const document = await identity(neighbours).evidence(nonce);
          // The commitment is bound once the model is loaded; here the host asks who it launched.
          const launch = {
            ...policy,
            requiredBinding: policy.requiredBinding.filter((name) => name !== 'modelCommitment'),
          };
          const collateral = collateralFor(policy);
          demandAccepted(
            await verifyEvidence({ document, policy: launch, nonce, now: new Date(), collateral }),
          );
          return { validMs: policy.maxAgeSeconds * 1000 };
        }),
        provision: fromPromise(async () => {
          const { runner } = neighbours;
          if (!runner) return;
          if (inState(runner, 'waiting')) runner.send({ type: 'enclave.ready' });
          await until(
            runner,
            ({ value }) => value === 'ready' || value === 'running' || value === 'failed',
            PROVISION_MS,
          );
          if (inState(runner, 'failed'))
            throw new VouchError('not-ready', 'the runner failed to load its model');
        }),
        destroy: fromPromise(async () => destroy()),
      },
    });
    const actor = context.run({ kind: 'enclave', id, machine, input: { id }, countsOf: enclaveCounts });
    neighbours.enclave = actor;
    return { actor, drain: { type: 'enclave.drain' } };
  };

function identity({ identity }: Neighbours) {
  if (!identity)
    throw new VouchError('not-ready', 'the enclave has no identity: it was destroyed or not created');
  return identity;
}
