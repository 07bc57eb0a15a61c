/** The test runner and its harness on small files of their own: what must fail does, and is counted. */
import { spawn } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { assert, suite, type TestContext } from '../harness.ts';
import { findTests } from '../runner/discovery.ts';
import { runFile } from '../runner/file.ts';

// It starts many processes, each of which takes seconds on a machine that is busy.
const test = suite('runner', { timeoutMs: 100_000 });
const HARNESS = new URL('../harness.ts', import.meta.url).href;
const RUN = fileURLToPath(new URL('../run.ts', import.meta.url));

/** Which tests of this file are run says nothing about those of the files that it makes. */
const ENV = { ...process.env, VOUCH_TEST_GREP: '', VOUCH_TEST_SKIP: '' };

/** A folder with one test file per entry; the bodies see `test`, `assert`, `report`. */
function folderOf(t: TestContext, files: Record<string, string>): string {
  const folder = mkdtempSync(join(tmpdir(), 'vouch-runner-'));
  t.defer(() => rmSync(folder, { recursive: true }));
  for (const [name, body] of Object.entries(files)) {
    const head = `import { suite, assert, report } from ${JSON.stringify(HARNESS)};\nconst test = suite('s', { timeoutMs: 300 });\n`;
    writeFileSync(join(folder, name), head + body);
  }
  return folder;
}

async function outcome(t: TestContext, body: string, options: { timeoutMs?: number; env?: object } = {}) {
  const [file] = findTests(folderOf(t, { 'one.test.ts': body }));
  const result = await runFile(file!, {
    timeoutMs: options.timeoutMs ?? 60_000,
    env: { ...ENV, ...options.env },
  });
  const { passed, failed, skipped, problem, output } = result;
  return { counts: [passed, failed, skipped], problem, output, skips: result.skips };
}

async function npmTest(...args: string[]): Promise<{ code: number | null; stdout: string; stderr: string }> {
  const child = spawn(process.execPath, [RUN, ...args], { env: ENV, stdio: ['ignore', 'pipe', 'pipe'] });
  let stdout = '';
  let stderr = '';
  child.stdout.on('data', (text) => (stdout += text));
  child.stderr.on('data', (text) => (stderr += text));
  const code = await new Promise<number | null>((resolve) => child.on('close', resolve));
  return { code, stdout, stderr };
}

const PASS = `test('good', () => assert.is(1, 1));\n`;
const FAIL = `test('bad', () => assert.is(1, 2));\n`;
const SKIP = `test('left out', (t) => t.skip('no such device'));\n`;
const RUN_IT = 'test.run();\n';

test('passed, failed and skipped tests are counted apart', async (t) => {
  const { counts, skips, problem } = await outcome(t, PASS + FAIL + SKIP + RUN_IT);
  assert.equal(counts, [1, 1, 1]);
  assert.equal(skips, ['s: left out: no such device']);
  assert.is(problem, undefined);
});

test('a slow test is left to the slow tier, and told', async (t) => {
  const slow = `test.slow('later', () => assert.is(1, 2));\n`;
  const without = await outcome(t, PASS + slow + slow + RUN_IT, { env: { VOUCH_SLOW: '' } });
  assert.equal(without.counts, [1, 0, 0]);
  assert.match(without.output, /^##vouch-slow 2$/m);
  const withThem = await outcome(t, PASS + slow + RUN_IT, { env: { VOUCH_SLOW: '1' } });
  assert.equal(withThem.counts, [1, 1, 0]);
  const folder = folderOf(t, {
    'one.test.ts': PASS + slow + slow + RUN_IT,
    'two.slow.test.ts': PASS + RUN_IT,
  });
  // Who names a file wants all of it.
  assert.is((await npmTest(join(folder, 'one.test.ts'))).code, 1);
  assert.match(
    (await npmTest(join(folder, 'one.test.ts'), join(folder, 'two.slow.test.ts'), '--tier', 'pure')).stdout,
    /slow +not run: 2 tests; --slow runs them[\s\S]*\n1 passed, 0 failed$/m,
  );
});

test('a file that forgets run() fails', async (t) => {
  const { counts, problem } = await outcome(t, PASS);
  assert.equal(counts, [0, 1, 0]);
  assert.match(problem!, 'test.run()');
});

test('a file that crashes fails, and so does one that crashes after its tests', async (t) => {
  const early = await outcome(t, `throw new Error('early');\n`);
  assert.equal(early.counts, [0, 1, 0]);
  assert.match(early.output, 'early');
  const late = await outcome(t, `${PASS}process.on('exit', () => { process.exitCode = 3; });\n${RUN_IT}`);
  assert.equal(late.counts, [1, 1, 0]);
  assert.match(late.problem!, 'exit code 3');
});

test('a thrown string is a failure with its text', async (t) => {
  const { counts, output } = await outcome(t, `test('odd', () => { throw 'just text'; });\n${RUN_IT}`);
  assert.equal(counts, [0, 1, 0]);
  assert.match(output, 'just text');
});

test('a test that hangs times out, its clean-ups run last in, first out', async (t) => {
  const { counts, output } = await outcome(
    t,
    `test('hangs', async (t) => {
      t.defer(() => console.log('first'));
      t.defer(() => console.log('second'));
      t.signal.addEventListener('abort', () => console.log('aborted'));
      await new Promise(() => {});
    });\n${RUN_IT}`,
  );
  assert.equal(counts, [0, 1, 0]);
  assert.match(output, 'took longer than 300 ms');
  assert.ok(
    output.indexOf('aborted') < output.indexOf('second') &&
      output.indexOf('second') < output.indexOf('first'),
  );
});

test('a file that hangs is killed with what it started', async (t) => {
  const hangs = `import { spawn } from 'node:child_process';
    const child = spawn('sleep', ['600']);
    console.log('pid ' + child.pid);
    await new Promise((resolve) => setTimeout(resolve, 600_000));\n`;
  // How long it takes to start is the machine's business; it is to be killed after that.
  for (let timeoutMs = 600; ; timeoutMs *= 2) {
    const { counts, problem, output } = await outcome(t, hangs, { timeoutMs });
    assert.equal(counts, [0, 1, 0]);
    assert.match(problem!, `longer than ${timeoutMs / 1000} s`);
    const found = /pid (\d+)/.exec(output);
    if (!found) continue;
    await gone(Number(found[1]));
    return;
  }
});

test('what a finished file left running is killed', async (t) => {
  const { counts, output } = await outcome(
    t,
    `import { spawn } from 'node:child_process';
    test('starts', () => {
      const child = spawn('sleep', ['600'], { stdio: 'ignore' });
      child.unref();
      console.log('pid ' + child.pid);
    });\n${RUN_IT}`,
  );
  assert.equal(counts, [1, 0, 0]);
  await gone(Number(/pid (\d+)/.exec(output)![1]));
});

test('a reason from outside skips every test without running it', async (t) => {
  const body = `test('breaks', () => { throw new Error('ran'); });\n${PASS}${RUN_IT}`;
  const { counts, skips } = await outcome(t, body, { env: { VOUCH_TEST_SKIP: 'no adapter' } });
  assert.equal(counts, [0, 0, 2]);
  assert.equal(skips, ['s: breaks: no adapter', 's: good: no adapter']);
});

test('tiers come from the file name; an unknown one is refused', (t) => {
  const folder = folderOf(t, { 'b.gpu.test.ts': '', 'a.slow.test.ts': '', 'c.test.ts': '', 'd.ts': '' });
  assert.equal(
    findTests(folder).map(({ tier }) => tier),
    ['pure', 'gpu', 'slow'],
  );
  writeFileSync(join(folder, 'e.fast.test.ts'), '');
  assert.throws(() => findTests(folder), /"fast" is no tier/);
});

test('the last line counts tests; the exit code is 1 after a failure or without a test', async (t) => {
  const folder = folderOf(t, {
    'good.test.ts': PASS + SKIP + RUN_IT,
    'bad.test.ts': PASS + FAIL + RUN_IT,
    'empty.test.ts': RUN_IT,
  });
  const lastLine = (text: string) => text.trimEnd().split('\n').at(-1);
  const [good, both, empty, none] = await Promise.all([
    npmTest(join(folder, 'good.test.ts')),
    npmTest(join(folder, 'good.test.ts'), join(folder, 'bad.test.ts')),
    npmTest(join(folder, 'empty.test.ts')),
    npmTest('--grep', 'no test is called this', join(folder, 'good.test.ts')),
  ]);
  assert.equal([good.code, lastLine(good.stdout)], [0, '1 passed, 0 failed, 1 skipped']);
  assert.equal([both.code, lastLine(both.stdout)], [1, '2 passed, 1 failed, 1 skipped']);
  assert.equal([empty.code, lastLine(empty.stdout)], [1, '0 passed, 1 failed']);
  assert.equal([none.code, lastLine(none.stdout)], [1, '0 passed, 0 failed']);
});

test('--grep picks tests by name', async (t) => {
  const folder = folderOf(t, { 'x.test.ts': PASS + FAIL + RUN_IT });
  const { code, stdout } = await npmTest('--grep', 's: good', join(folder, 'x.test.ts'));
  assert.is(code, 0, stdout);
  assert.match(stdout, /\n1 passed, 0 failed\n$/);
});

test('wrong use is exit code 2 with the usage on stderr', async () => {
  const { code, stdout, stderr } = await npmTest('--tier', 'quick');
  assert.is(code, 2);
  assert.is(stdout, '');
  assert.match(stderr, 'got "quick"');
});

/** Waits until it is dead. A zombie is: it only waits for its parent to look. */
async function gone(pid: number): Promise<void> {
  while (isRunning(pid)) await sleep(50);
}

function isRunning(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return !/^State:\s+Z/m.test(readFileSync(`/proc/${pid}/status`, 'utf8'));
  } catch (error) {
    // without /proc (macOS) the signal alone tells
    return (error as NodeJS.ErrnoException).code === 'ENOENT' && process.platform !== 'linux';
  }
}

test.run();
