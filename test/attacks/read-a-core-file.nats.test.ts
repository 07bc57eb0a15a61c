/**
 * Attacker: whoever may make a runner crash, or waits until it does, and reads the disk afterwards. A core file is the process's
 * memory: what a client has just asked, sealed on all its way, would stand there in plaintext.
 */
import { spawn, spawnSync } from 'node:child_process';
import { readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { bytesSource } from '../../circuits/groth16/source.ts';
import { chat } from '../../runtime/client/chat.ts';
import { createSessions } from '../../runtime/client/sessions.ts';
import { publishText } from '../../runtime/models/weights.ts';
import { assert, suite, type TestContext } from '../harness.ts';
import { signal, startBroker, startHome } from '../runtime/home/home-fixture.ts';
import { temporaryFolder } from '../runtime/nats/nats-fixture.ts';
import { asked, DEFAULTS, MODEL, WEIGHTS } from '../runtime/roles/chat-fixture.ts';

const test = suite('attack: read a core file', { timeoutMs: 120_000 });
const SECRET = 'Frau Meier leidet an etwas, das niemanden angeht';

/** The file that the kernel writes for a process of `folder` that crashes; skips where it would go elsewhere. */
function coreFilesHere(t: TestContext, folder: string): () => Buffer | undefined {
  if (process.platform !== 'linux') t.skip('core files are looked for on Linux');
  const pattern = readFileSync('/proc/sys/kernel/core_pattern', 'utf8').trim();
  if (!/^[\w.%-]+$/.test(pattern)) t.skip(`core files go to ${pattern} here, where a test does not look`);
  return () => {
    const [file] = readdirSync(folder).filter((name) => statSync(join(folder, name)).isFile());
    return file === undefined ? undefined : readFileSync(join(folder, file));
  };
}

/** A runner in the middle of an answer to SECRET, in a process that is in a folder of its own, and may leave cores. */
async function answering(t: TestContext) {
  const folder = await temporaryFolder(t);
  const coreFile = coreFilesHere(t, folder);
  const home = await startHome(t);
  await publishText(home.observer, 'provisioner.test', {
    name: MODEL,
    weights: bytesSource(WEIGHTS),
    defaults: DEFAULTS,
    policy: home.policies.release,
  });
  await home.role('broker', 'broker-1', startBroker);
  const upstream = spawn(process.execPath, [join(import.meta.dirname, '../bench/paced-server.ts')], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  t.defer(() => upstream.kill('SIGKILL'));
  const url = await new Promise<string>((resolve) =>
    createInterface({ input: upstream.stdout }).once('line', resolve),
  );
  const weights = join(await temporaryFolder(t), 'weights');
  writeFileSync(weights, WEIGHTS);
  const before = process.cwd();
  process.chdir(folder);
  t.defer(() => process.chdir(before));
  const child = await home.process('enclave', 'e1', {
    args: ['runner', '--model', MODEL, '--upstream', url, '--weights', weights],
  });
  process.chdir(before);
  const { status } = spawnSync('prlimit', ['--core=unlimited:unlimited', '--pid', String(child.pid)]);
  if (status !== 0) t.skip('prlimit cannot allow core files here');
  const bus = await home.bus('client', 'one');
  const sessions = createSessions(bus, 'client.one', { policy: home.policies.inference, meet: () => {} });
  // At 20 words a second it is in the middle for as long as the test runs.
  const stream = chat(sessions, { model: MODEL, request: asked(SECRET, { maxTokens: 10_000, seed: 20 }) });
  stream.receipt.catch(() => {});
  const words = stream[Symbol.asyncIterator]();
  await words.next();
  return { child, coreFile, words };
}

/** Is it there, as Node keeps strings or as bytes? */
const holds = (memory: Buffer): boolean =>
  memory.includes(Buffer.from(SECRET, 'utf8')) || memory.includes(Buffer.from(SECRET, 'utf16le'));

test('a runner that crashes in the middle of an answer leaves no word of the question on a disk', async (t) => {
  const { child, coreFile } = await answering(t);
  signal(child, 'SIGABRT');
  await child.exited;
  const file = coreFile();
  assert.ok(file === undefined || (file.length < 2 ** 20 && !holds(file)), 'the core file holds memory');
});

test('the test would see it: of a process that was told otherwise the file holds the question', async (t) => {
  const { child, coreFile } = await answering(t);
  writeFileSync(`/proc/${child.pid}/coredump_filter`, '0x33');
  signal(child, 'SIGABRT');
  await child.exited;
  const file = coreFile();
  if (file === undefined) t.skip('no core file is written here');
  else assert.ok(holds(file));
});

test.run();
