/** The enclave's role with its real effects, on a simulated clock: it attests again in time, and fails closed. */
import { type AnyActorRef, createActor, SimulatedClock } from 'xstate';
import {
  createSimulatedPlatform,
  createSimulatedRoot,
  type SimulatedPlatform,
} from '../../../protocols/attestation/formats/simulated.ts';
import { type Policy, parsePolicy } from '../../../protocols/attestation/policy.ts';
import { VouchError } from '../../../protocols/errors.ts';
import { measure } from '../../../runtime/attest/measurement.ts';
import type { Provider } from '../../../runtime/attest/provider.ts';
import { simulatedProvider } from '../../../runtime/attest/simulated-provider.ts';
import type { GpuHandle } from '../../../runtime/gpu/adapter.ts';
import { createEffects } from '../../../runtime/roles/effects.ts';
import { enclaveRole } from '../../../runtime/roles/enclave.ts';
import { type RoleContext, until } from '../../../runtime/roles/host.ts';
import type { Neighbours } from '../../../runtime/roles/neighbours.ts';
import { assert, suite } from '../../harness.ts';

const test = suite('enclave role', { timeoutMs: 100_000 });
const MAX_AGE_SECONDS = 300;
/** Three quarters of it. */
const AGAIN_MS = 225_000;

const root = await createSimulatedRoot();
const policyFor = (changes: Record<string, unknown> = {}): Policy =>
  parsePolicy({
    version: 1,
    platforms: ['simulated'],
    measurements: [measure('runner')],
    minimumTcb: { simulated: [1] },
    maxAgeSeconds: MAX_AGE_SECONDS,
    simulated: true,
    simulatedRoots: [root.fingerprint],
    requiredBinding: ['nonce', 'hpkeKey', 'receiptKey', 'modelCommitment', 'enclave'],
    ...changes,
  });

/** An enclave on a platform whose next evidence a test may spoil. */
async function started(policy = policyFor(), neighbours: Neighbours = {}) {
  const platform = { ...(await createSimulatedPlatform(root)) };
  const spoil: { provider?: Partial<Provider>; platform?: Partial<SimulatedPlatform> } = {};
  const own = () => simulatedProvider({ ...platform, ...spoil.platform });
  const provider: Provider = {
    name: 'simulated',
    measurement: (role) => own().measurement(role),
    sign: (data, role) => (spoil.provider?.sign ?? own().sign)(data, role),
    gpus: { answer: (nonce) => (spoil.provider?.gpus ?? own().gpus).answer(nonce) },
  };
  const clock = new SimulatedClock();
  const context = {
    role: 'enclave',
    id: 'enclave-1',
    source: 'enclave.enclave-1',
    log: () => {},
    ...createEffects('enclave.enclave-1', () => {}),
    evidenceEnds: () => {},
    onStop: () => {},
    run: ({ machine, input }: { machine: never; input: never }) =>
      createActor(machine, { input, clock }).start(),
  } as unknown as RoleContext;
  const { actor } = await enclaveRole(neighbours, policy, provider)(context);
  const ref = actor as unknown as AnyActorRef;
  const value = () => ref.getSnapshot().value as string;
  const reach = (state: string) => until(ref, (snapshot) => snapshot.value === state, 60_000);
  ref.send({ type: 'enclave.start' });
  await until(ref, (snapshot) => snapshot.value === 'launched', 60_000);
  clock.increment(0);
  const code = () => ref.getSnapshot().context.failure?.code as string | undefined;
  return {
    clock,
    spoil,
    neighbours,
    value,
    reach,
    code,
    attested: () => ref.getSnapshot().context.attestations,
  };
}

test('attests again before its evidence expires, and goes on serving', async () => {
  const { clock, reach, value, attested, neighbours } = await started();
  await reach('serving');
  assert.is(attested(), 1);
  const { identity } = neighbours;
  clock.increment(AGAIN_MS - 1);
  assert.is(value(), 'serving');
  clock.increment(1);
  assert.is(value(), 'attesting');
  await reach('serving');
  assert.is(attested(), 2);
  // The keys are those of the boot: sessions go on.
  assert.is(neighbours.identity, identity);
});

test('any check that fails at the next attestation quarantines, and the keys are gone', async () => {
  const failing: [object, string][] = [
    [{ platform: { debug: true } }, 'policy-rejected'],
    [{ platform: { tcb: 0 } }, 'policy-rejected'],
    [{ platform: await createSimulatedPlatform(await createSimulatedRoot()) }, 'policy-rejected'],
    [
      {
        provider: {
          sign: async () => {
            throw new VouchError('not-ready', 'configfs-tsm: the TEE is gone');
          },
        },
      },
      'not-ready',
    ],
    [
      {
        provider: {
          sign: async () => ({ format: 'simulated', evidence: new Uint8Array(9), certificates: [] }),
        },
      },
      'evidence-rejected',
    ],
  ];
  for (const [change, code] of failing) {
    const enclave = await started();
    await enclave.reach('serving');
    Object.assign(enclave.spoil, change);
    enclave.clock.increment(AGAIN_MS);
    await enclave.reach('quarantined');
    assert.is(enclave.code(), code);
    assert.is(enclave.neighbours.identity, undefined);
  }
});

test('evidence that does not satisfy the policy never serves', async () => {
  const other = await started(policyFor({ measurements: [measure('monitor')] }));
  await other.reach('quarantined');
  assert.is(other.code(), 'policy-rejected');
  const hardware = await started(policyFor({ simulated: false }));
  await hardware.reach('quarantined');
});

test('a GPU in use is part of the evidence, and one that stops answering quarantines', async () => {
  const demanding = policyFor({
    requiredBinding: ['nonce', 'hpkeKey', 'receiptKey', 'enclave', 'gpuEvidence'],
  });
  const without = await started(demanding);
  await without.reach('quarantined');

  const gpu = { close() {} } as unknown as GpuHandle;
  const enclave = await started(demanding, { gpu });
  await enclave.reach('serving');
  const document = await enclave.neighbours.identity!.evidence('ab'.repeat(32), '7');
  assert.is(document.gpu?.devices[0]?.format, 'simulated-gpu');
  assert.is(document.hardware, false);
  Object.assign(enclave.spoil, {
    provider: {
      gpus: {
        answer: async () => ({ ...document.gpu, ccMode: 'devtools', devices: [] }),
      },
    },
  });
  enclave.clock.increment(AGAIN_MS);
  await enclave.reach('quarantined');
  assert.is(enclave.code(), 'evidence-rejected');
});

test('new evidence that does not come in time quarantines', async () => {
  const enclave = await started();
  await enclave.reach('serving');
  Object.assign(enclave.spoil, { provider: { sign: () => new Promise(() => {}) } });
  enclave.clock.increment(AGAIN_MS);
  assert.is(enclave.value(), 'attesting');
  enclave.clock.increment(MAX_AGE_SECONDS * 1000 - AGAIN_MS);
  await enclave.reach('quarantined');
  assert.is(enclave.code(), 'timeout');
});

test.run();
