/** The GPU's machine through its real role where there is no device, or none that will do: what is said, and to whom. */
import { createActor } from 'xstate';
import { VouchError } from '../../../protocols/errors.ts';
import type { GpuHandle } from '../../../runtime/gpu/adapter.ts';
import { createEffects } from '../../../runtime/roles/effects.ts';
import { gpuRole, type OpenGpu } from '../../../runtime/roles/gpu.ts';
import { type RoleContext, until } from '../../../runtime/roles/host.ts';
import type { Neighbours } from '../../../runtime/roles/neighbours.ts';
import { assert, suite } from '../../harness.ts';

const test = suite('gpu role without a device');

async function start(open: OpenGpu) {
  const lines: string[] = [];
  const toRunner: string[] = [];
  const effects = createEffects('gpu.g1', (line) => void lines.push(line));
  const neighbours: Neighbours = {
    runner: {
      actor: { send: ({ type }: { type: string }) => void toRunner.push(type) } as never,
      failure: () => undefined,
    },
  };
  const context = {
    id: 'g1',
    source: 'gpu.g1',
    log: (line: string) => void lines.push(line),
    ...effects,
    failure: () => undefined,
    onStop: () => {},
    run: ({ machine, input }: { machine: Parameters<typeof createActor>[0]; input: unknown }) =>
      createActor(machine, { input }).start(),
  } as unknown as RoleContext;
  const { actor } = await gpuRole(neighbours, open)(context);
  await until(actor, (now) => now.hasTag('failed'), 10_000);
  return { actor, lines, toRunner, neighbours, reason: effects.reason() };
}

test('no adapter: failed with the sentence, logged under its id, and the runner goes on without', async () => {
  const { lines, toRunner, reason } = await start(async () => {
    throw new VouchError('not-ready', 'no WebGPU adapter: install a driver');
  });
  assert.equal([reason?.code, reason?.message], ['not-ready', 'no WebGPU adapter: install a driver']);
  assert.is(lines.length, 1);
  assert.match(lines[0]!, /^gpu\.g1: bind failed after \d+ ms: error /);
  assert.match(lines[0]!, reason!.errorId);
  assert.equal(toRunner, ['device.absent']);
});

test('a defect is shown by its id alone, and its stack is in the log', async () => {
  const { lines, reason } = await start(async () => {
    throw new TypeError('secret detail of the driver');
  });
  assert.is(reason?.code, 'internal');
  assert.not.match(reason!.message, 'secret');
  assert.match(lines.join('\n'), /TypeError: secret detail of the driver\n +at /);
});

test('a device that does not pass its self-test is closed with the role, and never offered', async () => {
  let closed = 0;
  // Any device that is none: the self-test finds that out by itself.
  const nothing = async () =>
    ({ device: { lost: new Promise(() => {}) }, close: () => void closed++ }) as unknown as GpuHandle;
  const { actor, toRunner, neighbours } = await start(nothing);
  assert.equal(toRunner, ['device.absent']);
  actor.send({ type: 'device.release' });
  await until(actor, ({ value }) => value === 'unbound', 10_000);
  assert.is(neighbours.gpu, undefined);
  assert.is(closed, 2, 'the first device and the one after the reset');
});

test.run();
