/** Weights of more than 2^31 bytes, from a file to a file in memory: on their way no process has them whole. */
import { createHash } from 'node:crypto';
import { createReadStream, readFileSync } from 'node:fs';
import { open, statfs } from 'node:fs/promises';
import { join } from 'node:path';
import { createIdentity } from '../../../runtime/attest/identity.ts';
import { openFile } from '../../../runtime/home/file-source.ts';
import { createMemoryFolder } from '../../../runtime/home/memory-folder.ts';
import { obtainText, publishText } from '../../../runtime/models/weights.ts';
import { assert, suite } from '../../harness.ts';
import { startBroker, startHome } from '../home/home-fixture.ts';
import { temporaryFolder } from '../nats/nats-fixture.ts';

const test = suite('large weights', { timeoutMs: 580_000 });
const BYTES = 2 ** 31 + 2 ** 20 + 12_345;

const residentBytes = () =>
  Number(/^VmRSS:\s+(\d+) kB/m.exec(readFileSync('/proc/self/status', 'utf8'))?.[1] ?? 0) * 1024;

async function digestOf(path: string): Promise<string> {
  const hash = createHash('sha256');
  for await (const piece of createReadStream(path)) hash.update(piece as Uint8Array);
  return hash.digest('hex');
}

test('they are published and obtained, and are the same', async (t) => {
  const room = await statfs('/dev/shm').catch(() => undefined);
  if (!room || room.bavail * room.bsize < 2 * BYTES) t.skip('/dev/shm has no room for 4 GiB');
  const home = await startHome(t);
  const path = join(await temporaryFolder(t), 'weights.gguf');
  const file = await open(path, 'wx');
  // Mostly holes, with marks in many chunks, the last one included.
  for (let at = 0; at < BYTES; at += 2 ** 26)
    await file.write(Buffer.from(`chunk at ${at}`), 0, undefined, at);
  await file.write(Buffer.from('end'), 0, 3, BYTES - 3);
  await file.close();
  let most = 0;
  const watch = setInterval(() => {
    most = Math.max(most, residentBytes());
  }, 100);
  t.defer(() => clearInterval(watch));
  await using weights = await openFile(path, 'weights');
  await publishText(home.observer, 'provisioner.test', {
    name: 'large',
    weights,
    defaults: { context: 256, maxTokens: 64, temperature: 0, topP: 1 },
    policy: home.policies.release,
  });
  await home.role('broker', 'broker-1', startBroker);
  const bus = await home.bus('runner', 'e1');
  const asking = [bus, 'runner.e1', await createIdentity('runner', 'e1'), 'large'] as const;
  const began = performance.now();
  const obtained = await obtainText(asking, createMemoryFolder);
  t.defer(() => obtained[Symbol.asyncDispose]());
  const seconds = (performance.now() - began) / 1000;
  const same = [await digestOf(obtained.files.weights!), await digestOf(path)];
  assert.is(same[0], same[1]);
  console.log(
    `${BYTES} bytes in ${seconds.toFixed(1)} s, ${Math.round(most / 2 ** 20)} MiB resident at most`,
  );
  assert.ok(most < 2 ** 30, `${most} bytes were resident`);
});

test.run();
