/**
 * The main job for programs, `--once --json`, and its end at any time: whatever it is doing when Ctrl-C comes, it
 * stops and leaves no process and no unfinished file. All runs share one folder, and the last one,
 * with everything cached, has to be whole. They use fewer rows than `npm start` by itself, which .ci/run does.
 */
import { existsSync, readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { z } from 'zod';
import { sampleData } from '../../../runtime/demo/sample.ts';
import { ensureAuthority } from '../../../runtime/installation/authority.ts';
import { startNats } from '../../../runtime/nats/server.ts';
import { assert, suite } from '../../harness.ts';
import {
  eventually,
  newHome,
  processesOf,
  type Started,
  start,
  unfinished,
  vouch,
} from '../commands/cli-fixture.ts';
import { BIN_DIR, startFixture } from '../nats/nats-fixture.ts';

const test = suite('demo run', { timeoutMs: 300_000 });
const home = newHome();

const ROWS = { all: 400, test: 120 };
const data = join(home, 'some.data');
writeFileSync(data, sampleData(1).split('\n').slice(0, ROWS.all).join('\n'));
const DEMO = ['demo', '--once', '--json', '--workers', '1', '--data', data];

const compiling = (): boolean => {
  const folder = join(home, 'cache', 'circuits');
  return existsSync(folder) && readdirSync(folder).some((name) => name.startsWith('.build-'));
};

/** Where the job is when one process of it is told alone; terminal.prover.test.ts has the other moments, told to all. */
const MOMENTS: Record<string, (run: Started) => Promise<unknown>> = {
  'while the circuit compiles': () => eventually('the compiler runs', compiling, 120_000),
  'while the key is stored': (run) => run.line(/uploading +\d+\/\d+ MiB/),
};

for (const [moment, reached] of Object.entries(MOMENTS)) {
  // terminal.prover.test.ts has a terminal's Ctrl-C while it compiles and while the key is made.
  test.slow(`Ctrl-C ${moment}`, async () => {
    const run = start(home, DEMO);
    await reached(run);
    run.interrupt();
    const { code, stdout, stderr } = await run.ended;
    assert.is(code, 130, stderr);
    assert.is(stdout, '');
    assert.match(stderr, /^vouch: stopped$/m);
    assert.not.match(stderr, /\n\s+at |defect|while stopping/);
    await eventually('no process is left', () => processesOf(home).length === 0);
    assert.equal(unfinished(home), []);
  });
}

const Result = z.strictObject({
  enclave: z.strictObject({ hardware: z.literal(false), measurement: z.string().regex(/^[0-9a-f]{96}$/) }),
  model: z.strictObject({ name: z.literal('credit'), commitment: z.string().regex(/^\d+$/) }),
  inferences: z
    .array(
      z.strictObject({
        decision: z.enum(['good', 'bad']),
        receiptId: z.string().regex(/^[0-9a-f]{32}$/),
        verified: z.literal(true),
      }),
    )
    .length(3),
  receipt: z.strictObject({ verified: z.literal(true) }),
  refusals: z.strictObject({
    tamperedReceipt: z.literal(true),
    wrongMeasurement: z.literal(true),
    replay: z.literal(true),
  }),
  proof: z.strictObject({
    verified: z.literal(true),
    rows: z.literal(ROWS.test),
    correct: z.int(),
    threshold: z.int(),
    baseline: z.int(),
    constraints: z.int().min(1000),
    domain: z.int().min(1024),
    seconds: z.number().positive(),
    phases: z.record(z.string(), z.int()),
    key: z.literal('INSECURE-SINGLE-PARTY'),
  }),
  workers: z.array(z.strictObject({ id: z.string(), shards: z.int() })).min(1),
  seconds: z.number().positive(),
});

test('--once --json: one object on stdout, everything verified', async () => {
  const { code, stdout, stderr } = await vouch(home, DEMO);
  assert.is(code, 0, stderr);
  assert.is(stdout.trim().split('\n').length, 1);
  const { proof, workers } = Result.parse(JSON.parse(stdout));
  assert.ok(proof.threshold > proof.baseline && proof.correct >= proof.threshold);
  assert.equal(
    workers.map(({ id }) => id),
    ['worker-1'],
  );
  assert.ok(workers[0]!.shards > 0);
  await eventually('no process is left', () => processesOf(home).length === 0);
  assert.equal(unfinished(home), []);
});

test('--nats: a server that runs already is used, and left alone', async (t) => {
  await ensureAuthority(home);
  const server = await startNats({ stateDir: home, binDir: BIN_DIR, port: 0 });
  t.defer(() => server.stop());
  const { pid } = server;
  const run = await vouch(home, [...DEMO, '--nats', server.url]);
  assert.is(run.code, 0, run.stderr);
  Result.parse(JSON.parse(run.stdout));
  assert.match(run.stderr, new RegExp(`using ${server.url}`));
  assert.is(server.pid, pid);
  assert.is(processesOf(home).filter((command) => !/nats-server|sh -c/.test(command)).length, 0);
});

test('--nats: a server of somebody else refuses us', async (t) => {
  const { server } = await startFixture(t, { provisioned: false });
  const { code, stdout, stderr } = await vouch(home, ['demo', '--once', '--json', '--nats', server.url]);
  assert.is(code, 2, stderr);
  assert.is(stdout, '');
  assert.match(stderr, /it refused the credentials of host-1/);
});

test.run();
