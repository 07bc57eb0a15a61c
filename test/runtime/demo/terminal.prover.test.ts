/**
 * Ctrl-C in a terminal, where every process of the foreground hears it and npm passes on what it hears: one press is one
 * request to stop, in every phase and in every command that stops in order. A terminal is one of `script`'s.
 */
import { existsSync, readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { sampleData } from '../../../runtime/demo/sample.ts';
import { reachable } from '../../../runtime/nats/address.ts';
import { assert, suite, type TestContext } from '../../harness.ts';
import {
  CLI_WORDS,
  CTRL_C,
  eventually,
  newHome,
  processesOf,
  startInTerminal,
  unfinished,
} from '../commands/cli-fixture.ts';

const test = suite('Ctrl-C in a terminal', { timeoutMs: 240_000 });
const home = newHome();
const data = join(home, 'some.data');
writeFileSync(data, sampleData(1).split('\n').slice(0, 400).join('\n'));
const NPM_START = `npm start -- --workers 1 --data ${data}`;

function inTerminal(t: TestContext, command: string) {
  const run = startInTerminal(home, command);
  if (!run) t.skip("no util-linux here, whose 'script' makes a terminal");
  return run;
}

async function nothingLeft(): Promise<void> {
  await eventually('no process is left', () => processesOf(home).length === 0);
  assert.equal(unfinished(home), []);
  for (const name of ['running', 'context.json']) assert.not.ok(existsSync(join(home, name)), name);
  const requests = join(home, 'requests');
  assert.equal(existsSync(requests) ? readdirSync(requests) : [], []);
}

/** Each further than the one before, because more is cached. */
const MOMENTS: Record<string, RegExp> = {
  'while NATS starts': /\[1\] NATS/,
  'while the actors start': /\[2\] Vendor/,
  'while evidence is verified': /\[4\] Client/,
  'while the circuit compiles': /compiling/,
  'while the key is made': /making the key/,
  'while the proof is made': /witnessing/,
};
/** The others differ by which step of the same list is under way. */
const ALWAYS = ['while the actors start', 'while the circuit compiles', 'while the key is made'];
for (const [moment, pattern] of Object.entries(MOMENTS)) {
  (ALWAYS.includes(moment) ? test : test.slow)(
    `npm start, ${moment}: 130, and nothing is left`,
    async (t) => {
      const run = inTerminal(t, NPM_START);
      await run.shows(pattern);
      run.type(CTRL_C);
      const { code, stdout } = await run.ended;
      assert.is(code, 130, stdout);
      assert.match(stdout, /vouch: stopped/);
      assert.not.match(stdout, /\n\s+at |defect|while stopping/);
      await nothingLeft();
    },
  );
}

test('npm start, once it is up: 0, everything drained; prove and start in terminals of their own likewise', async (t) => {
  const run = inTerminal(t, `${NPM_START} --listen 0.0.0.0`);
  await run.shows(/Up until Ctrl-C/);
  // Only on a terminal, because it is a secret; and only where another host could come from.
  if (reachable('0.0.0.0').length > 0) await run.shows(/runtime\/vouch\.mjs join vouch-join:[\w-]{1000,}/);

  const proof = inTerminal(t, `${CLI_WORDS} prove credit`);
  await proof.shows(/queued|witnessing/);
  proof.type(CTRL_C);
  assert.is((await proof.ended).code, 130);
  assert.equal(readdirSync(join(home, 'requests')), [], 'the request was taken back');

  const worker = inTerminal(t, `${CLI_WORDS} start worker --id by-hand`);
  await worker.shows(/vouch: ready/);
  worker.type(CTRL_C);
  const stopped = await worker.ended;
  assert.is(stopped.code, 0, stopped.stdout);

  run.type(CTRL_C);
  const { code, stdout } = await run.ended;
  assert.is(code, 0, stdout);
  assert.not.match(stdout, /while stopping|before it had drained/);
  await nothingLeft();
});

test('a role that waits for NATS stops at once', async (t) => {
  const run = inTerminal(t, `${CLI_WORDS} start worker --nats nats://127.0.0.1:1`);
  await run.shows(/is a server running there\?; waiting for it/);
  run.type(CTRL_C);
  assert.is((await run.ended).code, 130);
});

test.run();
