/**
 * The enclave's lifecycle, seen from the host: it makes the enclave, measures it, checks its evidence (again before it
 * expires, GPUs included), lets the runner inside it load its model, and destroys it. It holds no secret: the keys are
 * the identity's, which here lives in the same process: enclave, host and runner are one, SIMULATED or one whole VM.
 */
import type { AnyMachineSnapshot } from 'xstate';
import { enclaveCounts, enclaveMachine } from '../../actors/enclave.ts';
import { MAX_REFERENCES } from '../../protocols/attestation/limits.ts';
import type { Policy } from '../../protocols/attestation/policy.ts';
import { demandAccepted, verifyEvidence } from '../../protocols/attestation/verify.ts';
import { VouchError } from '../../protocols/errors.ts';
import { collateralFor } from '../attest/collateral.ts';
import { createIdentity, freshNonce } from '../attest/identity.ts';
import type { Provider } from '../attest/provider.ts';
import { hasTag, type StartRole, sentenceOf, until } from './host.ts';
import type { Neighbours } from './neighbours.ts';

/** A runner begins to load within this time. */
const PROVISION_MS = 60_000;
/** How long a runner that has begun may load: a language model has gigabytes, and what serves it may have to be fetched. */
const LOAD_MS = 30 * 60_000;
/** What the runner has in hand is finished within this time; the runner itself gives up a little earlier. */
const DRAIN_MS = 35_000;

export const enclaveRole =
  (neighbours: Neighbours, policy: Policy, provider?: Provider): StartRole =>
  async (context) => {
    const { id, effect } = context;
    const machine = enclaveMachine.provide({
      actors: {
        create: effect('create', async () => {
          neighbours.identity = await createIdentity('runner', id, {
            provider,
            hasGpus: () => neighbours.gpu !== undefined,
            collateral: [...(collateralFor(policy)?.digests ?? [])].slice(0, MAX_REFERENCES),
          });
        }),
        measure: effect('measure', () => ({ measurement: identity(neighbours).measurement })),
        attest: effect('attest', async () => {
          const nonce = freshNonce();
          const document = await identity(neighbours).evidence(nonce);
          // The commitment is bound once the model is loaded; here the host asks who it launched.
          const launch = {
            ...policy,
            requiredBinding: policy.requiredBinding.filter((name) => name !== 'modelCommitment'),
          };
          const collateral = collateralFor(policy);
          const report = await verifyEvidence({
            document,
            policy: launch,
            nonce,
            now: new Date(),
            collateral,
          });
          demandAccepted(report);
          context.evidenceEnds(new Date((document.time + policy.maxAgeSeconds) * 1000));
          return { validMs: policy.maxAgeSeconds * 1000, hardware: report.claims?.hardware === true };
        }),
        provision: effect('provision', async () => {
          const { runner } = neighbours;
          if (!runner) return;
          if (runner.actor.getSnapshot().matches('waiting')) runner.actor.send({ type: 'enclave.ready' });
          const over = (now: AnyMachineSnapshot) => now.hasTag('up') || now.hasTag('settled');
          await until(runner.actor, (now) => over(now) || !now.matches('waiting'), PROVISION_MS);
          await until(runner.actor, over, LOAD_MS);
          if (hasTag(runner.actor, 'up')) return;
          const why = runner.failure();
          throw new VouchError(
            'not-ready',
            `the runner does not serve its model: ${why ? sentenceOf(why) : 'it was drained'}`,
          );
        }),
        destroy: effect('destroy', async ({ input }) => {
          const runner = neighbours.runner?.actor;
          if (input.gently && runner) {
            runner.send({ type: 'runner.drain' });
            await until(runner, (now) => now.hasTag('settled'), DRAIN_MS).catch(() => undefined);
          }
          delete neighbours.identity;
          runner?.send({ type: 'enclave.lost' });
        }),
      },
    });
    const actor = context.run({ kind: 'enclave', id, machine, input: { id }, countsOf: enclaveCounts });
    return { actor, drain: { type: 'enclave.drain' } };
  };

function identity({ identity }: Neighbours) {
  if (!identity)
    throw new VouchError('not-ready', 'the enclave has no identity: it was destroyed or not created');
  return identity;
}
