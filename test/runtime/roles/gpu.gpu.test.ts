import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type AnyActorRef, createActor } from 'xstate';
import { Capability } from '../../../protocols/device.ts';
import { openGpu } from '../../../runtime/gpu/adapter.ts';
import { Tuning, tune, tuningKey } from '../../../runtime/gpu/autotune.ts';
import { createQueue } from '../../../runtime/msm/webgpu/queue.ts';

import { tuningStore } from '../../../runtime/prove/cache.ts';

import { createEffects } from '../../../runtime/roles/effects.ts';
import { gpuRole } from '../../../runtime/roles/gpu.ts';
import type { RoleContext } from '../../../runtime/roles/host.ts';
import { until } from '../../../runtime/roles/host.ts';
import type { Neighbours } from '../../../runtime/roles/neighbours.ts';
import type { Offer } from '../../../runtime/roles/tap.ts';
import { assert, suite, type TestContext } from '../../harness.ts';

// Everything is compiled once, and measured.
const test = suite('gpu role', { timeoutMs: 240_000 });
const isUp = ({ value }: { value?: unknown }) => value === 'ready' || value === 'failed';

/** The role with its actor, and without NATS: what it would say in a heartbeat is asked for. */
async function start(t: TestContext) {
  const neighbours: Neighbours = {};
  const lines: string[] = [];
  let offer: ((state: string) => Offer) | undefined;
  const cleanups: (() => unknown)[] = [];
  const context = {
    role: 'gpu',
    id: 'g1',
    source: 'gpu.g1',
    log: (line: string) => void lines.push(line),
    ...createEffects('gpu.g1', (line) => void lines.push(line)),
    failure: () => undefined,
    onStop: (cleanup: () => unknown) => void cleanups.push(cleanup),
    run: (options: { machine: Parameters<typeof createActor>[0]; input: unknown; offer: typeof offer }) => {
      offer = options.offer;
      return createActor(options.machine, { input: options.input }).start();
    },
  } as unknown as RoleContext;
  const { actor } = (await gpuRole(neighbours)(context)) as { actor: AnyActorRef };
  t.defer(() => {
    actor.stop();
    for (const cleanup of cleanups) cleanup();
  });
  await until(actor, isUp, 200_000);
  return { actor, neighbours, lines, offer: () => offer?.(String(actor.getSnapshot().value)) };
}

async function home(t: TestContext) {
  const folder = await mkdtemp(join(tmpdir(), 'vouch-gpu-'));
  process.env.VOUCH_HOME = folder;
  process.env.VOUCH_SOFTWARE_GPU = '1';
  t.defer(() => rm(folder, { recursive: true, force: true }));
}

test('a device is measured, says what it can do, and is measured again after it was lost', async (t) => {
  const gpu = await openGpu({ allowSoftware: true }).catch((error: Error) => t.skip(error.message));
  gpu.close();
  await home(t);
  // What is damaged is measured again.
  await tuningStore().write(tuningKey(gpu.capability), '{"variant": "words"');
  const { actor, neighbours, lines, offer } = await start(t);
  assert.is(actor.getSnapshot().value, 'ready', lines.join('\n'));
  const { gpu: capability } = offer()!;
  const { rates } = Capability.parse(capability);
  assert.ok(rates && rates.multiplications > 1e4 && rates.G1 > 10 && rates.G2 > 1, JSON.stringify(rates));
  const tuning = Tuning.parse(JSON.parse((await tuningStore().read(tuningKey(gpu.capability)))!));
  assert.is(rates.G1, tuning.G1);
  assert.is(Math.max(...Object.values(tuning.multiplications)), rates.multiplications);

  const lost = neighbours.gpu!;
  lost.device.destroy();
  await until(actor, ({ value }) => value === 'recovering' || value === 'binding', 10_000);
  await until(actor, isUp, 60_000);
  assert.is(actor.getSnapshot().value, 'ready', lines.join('\n'));
  assert.is.not(neighbours.gpu, lost);
  assert.equal(offer()!.gpu, capability, 'rates are remembered');
  assert.is(actor.getSnapshot().context.losses, 1);
  actor.send({ type: 'device.release' });
  await until(actor, ({ value }) => value === 'unbound', 10_000);
  assert.equal(offer(), {});
});

test('a remembered tuning is taken as it is, after the variant passed its self-test', async (t) => {
  const gpu = await openGpu({ allowSoftware: true }).catch((error: Error) => t.skip(error.message));
  t.defer(() => gpu.close());
  const tuning: Tuning = { variant: 'limbs', threads: 64, multiplications: { limbs: 1 }, G1: 2, G2: 3 };
  const asked: string[] = [];
  const store = {
    read: (key: string) => {
      asked.push(key);
      return JSON.stringify(tuning);
    },
    write: () => assert.unreachable('nothing new was measured'),
  };
  assert.equal(await tune(createQueue(gpu.device), { capability: gpu.capability, store }), tuning);
  assert.equal(asked, [tuningKey(gpu.capability)]);
  assert.match(asked[0]!, gpu.capability.adapter.slice(0, 8));
});

test.run();
