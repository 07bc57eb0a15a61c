import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { createActor } from 'xstate';
import type { gpuDeviceMachine } from '../../../actors/gpu-device.ts';
import { createEffects } from '../../../runtime/roles/effects.ts';
import { passthroughRole } from '../../../runtime/roles/passthrough.ts';
import { assert, suite } from '../../harness.ts';
import { temporaryFolder } from '../nats/nats-fixture.ts';

import { AWAY, GPU, HOME, machine } from '../passthrough/machine-fixture.ts';

const test = suite('passthrough role');

test('the actor: ready only by the whole way; drained it is at home', async (t) => {
  process.env.VOUCH_HOME = await temporaryFolder(t);
  const tool = join(process.env.VOUCH_HOME, 'tool');
  const say = (mode: string) => writeFile(tool, `#!/bin/sh\necho "CC mode is ${mode}"\n`, { mode: 0o700 });
  const host = await machine(t);
  const run = async () => {
    const cleanups: Array<() => unknown> = [];
    const lines: string[] = [];
    const started = await passthroughRole(
      {},
      { pci: [GPU], ccTool: tool, files: host.files },
    )({
      role: 'gpu',
      id: 'g1',
      source: 'gpu.g1',
      bus: undefined as never,
      log: (line) => void lines.push(line),
      ...createEffects('gpu.g1', (line) => void lines.push(line)),
      failure: () => undefined,
      run: ({ machine: wired, input }) =>
        createActor(wired as typeof gpuDeviceMachine, { input } as never).start() as never,
      evidenceEnds: () => {},
      onStop: (cleanup) => void cleanups.push(cleanup),
    });
    t.defer(() => cleanups.forEach((cleanup) => void cleanup()));
    const actor = started.actor;
    const reach = (state: string) =>
      new Promise<void>((resolve) => {
        const look = () => String(actor.getSnapshot().value) === state && resolve();
        actor.subscribe(look);
        look();
      });
    return { ...started, reach, lines };
  };
  await say('off');
  const closed = await run();
  await closed.reach('failed');
  assert.match(closed.lines.join('\n'), 'expected CC mode on, got off; given back');
  assert.equal(await host.drivers(), HOME);

  await say('on');
  const device = await run();
  await device.reach('ready');
  assert.equal(await host.drivers(), AWAY);
  assert.match(device.lines.join('\n'), 'ready for a VM as /dev/vfio/12');
  const { evidence } = (device.actor.getSnapshot() as { context: { evidence: string } }).context;
  assert.match(evidence, /^[0-9a-f]{64}$/);
  device.actor.send(device.drain as never);
  await device.reach('unbound');
  assert.equal(await host.drivers(), HOME);
});

test.run();
