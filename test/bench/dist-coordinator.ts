/** A coordinator's own fleet, ledger and dispatcher over a real server, without its requests: for sums that nobody has asked to have proved. */
import { createActor, fromPromise } from 'xstate';
import { proofCoordinatorMachine } from '../../actors/proof-coordinator.ts';
import { demandAccepted, verifyEvidence } from '../../protocols/attestation/verify.ts';
import { createDispatcher, type Dispatcher } from '../../runtime/roles/dispatch.ts';
import { createEffects } from '../../runtime/roles/effects.ts';
import { createFleet, type Fleet } from '../../runtime/roles/fleet.ts';
import type { Home } from '../runtime/home/home-fixture.ts';

export async function startDispatching(
  home: Home,
  defer: (cleanup: () => unknown) => void,
): Promise<{ readonly fleet: Fleet; readonly dispatcher: Dispatcher }> {
  const bus = await home.bus('coordinator', 'c1');
  const source = 'coordinator.c1';
  const fleet = createFleet({
    bus,
    source,
    log: home.say,
    effect: createEffects(source, home.say).effect,
    verify: async (document, nonce) => {
      const report = await verifyEvidence({ document, policy: home.policies.worker, nonce, now: new Date() });
      demandAccepted(report, 'worker evidence');
      return report.sealingKey!;
    },
  });
  defer(() => fleet.close());
  const machine = proofCoordinatorMachine.provide({
    actors: {
      join: fromPromise<{ hardware: boolean }, { id: string }>(async () => ({ hardware: false })),
      pullRequest: fromPromise<{ job: string; tries: number }, { id: string }>(() => new Promise(() => {})),
      fleetMember: fleet.member,
    },
    actions: { suspendWorker: (_, { id }) => fleet.suspend(id) },
  });
  const coordinator = createActor(machine, { input: { id: 'c1' } }).start();
  defer(() => coordinator.stop());
  fleet.follow(coordinator);
  await bus.flush();
  const dispatcher = createDispatcher({ bus, source, log: home.say, fleet });
  defer(() => dispatcher.close());
  return { fleet, dispatcher };
}
