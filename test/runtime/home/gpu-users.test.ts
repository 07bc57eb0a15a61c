/** Runners and workers of one host hear of each other by sockets: real ones, in a folder of the test's. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { connect, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { hearGpuUse, type Others, tellGpuUse, UNSHARED } from '../../../runtime/home/gpu-users.ts';
import { assert, suite, type TestContext } from '../../harness.ts';

const test = suite('use of a GPU');

function here(t: TestContext): string {
  const directory = mkdtempSync(join(tmpdir(), 'turns-'));
  t.defer(() => rmSync(directory, { recursive: true }));
  return directory;
}
const silent = () => {};

async function listening(t: TestContext, directory: string) {
  const heard: Others[] = [];
  const hearing = await hearGpuUse((others) => heard.push(others), directory);
  t.defer(() => hearing.close());
  return {
    heard,
    until: async (expected: Others) => {
      while (JSON.stringify(heard.at(-1)) !== JSON.stringify(expected)) {
        t.signal.throwIfAborted();
        await sleep(5);
      }
    },
  };
}
const IDLE = { present: true, busy: false };
const BUSY = { present: true, busy: true };
const GONE = { present: false, busy: false };

test('claims are heard, the last one to end ends it; who comes later hears what holds', async (t) => {
  const directory = here(t);
  const use = await tellGpuUse('r1', silent, directory);
  const one = await listening(t, directory);
  await one.until(IDLE);
  const claims = [use.claim(), use.claim()];
  await one.until(BUSY);
  const late = await listening(t, directory);
  assert.equal(late.heard.at(-1), BUSY);
  claims[0]![Symbol.dispose]();
  // It counts once, however often it is ended.
  claims[0]![Symbol.dispose]();
  assert.equal(one.heard.at(-1), BUSY);
  claims[1]!.pause();
  claims[1]!.pause();
  await one.until(IDLE);
  claims[1]!.resume();
  await one.until(BUSY);
  claims[1]![Symbol.dispose]();
  claims[1]!.resume();
  await one.until(IDLE);
  await use.close();
  await one.until(GONE);
  assert.equal(readdirSync(directory), []);
});

test('a runner that comes later is found; of two, one that is busy is enough', async (t) => {
  const directory = join(here(t), 'not', 'there', 'yet');
  const worker = await listening(t, directory);
  const uses = [await tellGpuUse('r1', silent, directory), await tellGpuUse('r2', silent, directory)];
  for (const use of uses) t.defer(() => use.close());
  await worker.until(IDLE);
  const claims = uses.map((use) => use.claim());
  await worker.until(BUSY);
  claims[0]![Symbol.dispose]();
  await sleep(50);
  assert.equal(worker.heard.at(-1), BUSY);
  claims[1]![Symbol.dispose]();
  await worker.until(IDLE);
});

const MODULE = JSON.stringify(join(import.meta.dirname, '../../../runtime/home/gpu-users.ts'));
const PROGRAM = `
import { tellGpuUse } from ${MODULE};
const use = await tellGpuUse('killed', console.log, process.argv[1]);
use.claim();
console.log('claimed');
setInterval(() => {}, 1000);
`;

test('a runner that was killed in an inference claims nothing any more, and its socket goes', async (t) => {
  const directory = here(t);
  const child = spawn(process.execPath, ['--input-type=module', '-e', PROGRAM, directory], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  t.defer(() => child.kill('SIGKILL'));
  await once(child.stdout, 'data');
  const worker = await listening(t, directory);
  await worker.until(BUSY);
  child.kill('SIGKILL');
  await worker.until(GONE);
  assert.is(readdirSync(directory).length, 1);
  const next = await tellGpuUse('killed', silent, directory);
  t.defer(() => next.close());
  assert.equal(
    readdirSync(directory).map((name) => name.includes(`.${process.pid}.`)),
    [true],
  );
  await worker.until(IDLE);
});

test('a process that does nothing else hears, and ends when it is done', async (t) => {
  const directory = here(t);
  const mute = createServer().listen(join(directory, 'mute.sock'));
  t.defer(() => mute.close());
  const program = `
    import { hearGpuUse } from ${MODULE};
    await hearGpuUse((others) => console.log(JSON.stringify(others)), process.argv[1]);
    console.log('heard');
  `;
  const child = spawn(process.execPath, ['--input-type=module', '-e', program, directory], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  t.defer(() => child.kill('SIGKILL'));
  const [said] = await Promise.all([once(child.stdout, 'data'), once(child, 'exit')]);
  assert.match(String(said), /heard/);
});

test('what lies there and is no runner, or says nothing, or anything, does no harm', async (t) => {
  const directory = here(t);
  writeFileSync(join(directory, 'file.sock'), '1');
  mkdirSync(join(directory, 'folder.sock'));
  const mute = createServer().listen(join(directory, 'mute.sock'));
  const loud = createServer((socket) => {
    socket.on('error', silent);
    socket.write(Buffer.alloc(1 << 20, 'x'));
  }).listen(join(directory, 'loud.sock'));
  for (const server of [mute, loud]) t.defer(() => server.close());
  const worker = await listening(t, directory);
  await worker.until(IDLE);
  const use = await tellGpuUse('r1', silent, directory);
  t.defer(() => use.close());
  use.claim();
  await worker.until(BUSY);
});

test('a listener that does not read costs nothing and is let go', async (t) => {
  const directory = here(t);
  const use = await tellGpuUse('r1', silent, directory);
  t.defer(() => use.close());
  const listener = connect(join(directory, readdirSync(directory)[0]!));
  t.defer(() => listener.destroy());
  listener.on('error', silent).pause();
  await once(listener, 'connect');
  listener.write('whatever it says is not read');
  const before = process.memoryUsage().heapUsed;
  const closed = new Promise((resolve) => listener.on('close', resolve));
  for (let i = 0; i < 300_000; i++) use.claim()[Symbol.dispose]();
  assert.ok(process.memoryUsage().heapUsed - before < 64 * 2 ** 20);
  // It notices when it reads.
  listener.resume();
  await closed;
});

test('where no socket can be, the log says so and nobody is told', async (t) => {
  const said: string[] = [];
  const long = join(here(t), 'a'.repeat(100));
  assert.is(await tellGpuUse('r1', (line) => said.push(line), long), UNSHARED);
  const file = join(here(t), 'file');
  writeFileSync(file, '');
  assert.is(await tellGpuUse('r1', (line) => said.push(line), join(file, 'turns')), UNSHARED);
  assert.is(said.length, 2);
  assert.match(said[0]!, /do not make way.*103 bytes.*--gpu-turns/);
  UNSHARED.claim()[Symbol.dispose]();
});

test.run();
