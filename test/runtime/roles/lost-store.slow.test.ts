/**
 * What becomes of a proof when the store does not hold what it should: NATS back without its data, a store without room, a
 * disk under a log without room. Nobody waits without knowing for what, and what can go on does.
 */
import { execFileSync } from 'node:child_process';
import { closeSync, mkdirSync, openSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { rename } from 'node:fs/promises';
import path from 'node:path';
import { encodeTestSet } from '../../../circuits/model/test-set.ts';
import type { ProofProgress } from '../../../protocols/proof.ts';
import { STREAMS } from '../../../protocols/streams.ts';
import { type ProofDemand, requestProof } from '../../../runtime/client/proof-request.ts';
import { restoreServer } from '../../../runtime/demo/hosts.ts';
import { folder } from '../../../runtime/home/home.ts';
import { stderrLines } from '../../../runtime/home/log.ts';
import { keepPublished } from '../../../runtime/models/publish.ts';
import { putBlob } from '../../../runtime/nats/blobs.ts';
import { commandOf } from '../../../runtime/nats/server.ts';
import { assert, suite, type TestContext } from '../../harness.ts';
import { until } from '../home/home-fixture.ts';
import { temporaryFolder } from '../nats/nats-fixture.ts';
import { type ProofFixture, smallSubject, startProving } from './proof-fixture.ts';

const test = suite('lost store', { timeoutMs: 240_000 });

/** Kills the server; the one that takes its place finds no data. */
async function wipe({ server }: ProofFixture): Promise<void> {
  const words = (await commandOf(server.pid)).split('\0');
  const data = path.join(path.dirname(words[words.indexOf('-c') + 1]!), 'data');
  await rename(data, `${data}-gone`);
  process.kill(server.pid, 'SIGKILL');
}

/** Asks as `vouch prove` does. */
function demand(fixture: ProofFixture, wait: ProofDemand = {}) {
  const { client, statement } = fixture;
  const heard: ProofProgress[] = [];
  const storeAgain = async () => {
    const { zkey, powers, testSet } = await smallSubject();
    await putBlob(client, 'testSets', encodeTestSet(testSet));
    await putBlob(client, 'keys', powers);
    await putBlob(client, 'keys', zkey);
  };
  const onProgress = (progress: ProofProgress) => void heard.push(progress);
  const done = requestProof(client, 'client.test', statement, { storeAgain, onProgress, ...wait });
  done.catch(() => {});
  return { done, heard };
}

test('NATS comes back without its data: what waits in the queue and what is in work are asked again and proved', async (t) => {
  const fixture = await startProving(t);
  const { observer, statement } = fixture;
  const restore = await keepPublished(observer, statement.model);
  const log: string[] = [];
  observer.onState((state) => {
    if (state === 'connected') void restoreServer(observer, restore, (line) => void log.push(line));
  });
  // In work: the coordinator has it, and waits for a worker. In the queue: behind it.
  await fixture.process('coordinator', 'c1');
  const first = demand(fixture);
  await until(() => first.heard.some(({ phase }) => phase === 'dispatching'));
  const second = demand(fixture);
  await until(async () => (await fixture.openRequests()) === 2);
  await wipe(fixture);
  await until(() => log.length > 0);
  assert.match(
    log.join('\n'),
    /^NATS has come back without its data: streams are made anew, the model is put back$/,
  );
  await fixture.process('worker', 'w1');
  const [one, two] = await Promise.all([first.done, second.done]);
  for (const { record } of [one, two]) assert.is(await fixture.proofsOf(record.job), 1);
  assert.is.not(one.record.job, two.record.job);
});

test('where nobody makes its streams anew, whoever waits is told so', async (t) => {
  const fixture = await startProving(t);
  const { done } = demand(fixture, { againMs: 1_000 });
  await until(async () => (await fixture.openRequests()) === 1);
  await wipe(fixture);
  await done.then(
    () => assert.unreachable(),
    ({ code, message }) => {
      assert.is(code, 'not-ready');
      assert.match(
        message,
        /has come back without its data, and does not take the request again .*vouch provision/,
      );
    },
  );
});

test('a full store is told by name, and the proof comes when there is room', async (t) => {
  const fixture = await startProving(t);
  const { observer } = fixture;
  const limit = async (bytes: number) => {
    const { config } = await observer.api<{ config: object }>(`STREAM.INFO.${STREAMS.proofs.name}`);
    await observer.api(`STREAM.UPDATE.${STREAMS.proofs.name}`, { ...config, max_bytes: bytes });
  };
  await limit(512);
  const coordinator = await fixture.process('coordinator', 'c1');
  await fixture.process('worker', 'w1');
  const { done, heard } = demand(fixture);
  await until(() => heard.some(({ waiting }) => waiting !== undefined));
  const { phase, waiting } = heard.find((progress) => progress.waiting)!;
  assert.equal([phase, waiting!.code], ['queued', 'storage-full']);
  assert.match(waiting!.message, /the server has no room for it/);
  await limit(STREAMS.proofs.maxBytes);
  const { record } = await done;
  assert.is(await fixture.proofsOf(record.job), 1);
  assert.is(await Promise.race([coordinator.exited, 'still there']), 'still there');
});

/** Mounts a file system of 64 KiB there, and returns what fills it and what gives it room. */
function smallDisk(t: TestContext, place: string) {
  mkdirSync(place, { recursive: true });
  try {
    execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=64k', 'tmpfs', place], { stdio: 'ignore' });
  } catch {
    t.skip('mounting a small file system needs root');
  }
  t.defer(() => execFileSync('umount', ['-l', place]));
  const filler = path.join(place, 'filler');
  return {
    fill() {
      for (const size of [4096, 1])
        try {
          for (;;) writeFileSync(filler, Buffer.alloc(size), { flag: 'a' });
        } catch {
          // full
        }
    },
    empty: () => rmSync(filler),
  };
}

test('lines that find no room in a log are counted, and writing goes on', async (t) => {
  const place = await temporaryFolder(t);
  const disk = smallDisk(t, place);
  const file = path.join(place, 'log');
  const fd = openSync(file, 'a');
  t.defer(() => closeSync(fd));
  const say = stderrLines(fd);
  say('before');
  disk.fill();
  for (let i = 0; i < 300; i++) say('x'.repeat(100));
  disk.empty();
  say('after');
  const text = readFileSync(file, 'utf8');
  assert.match(text, /^before\n/);
  assert.match(text, /\(\d+ lines are missing here: the log could not be written\)\nafter\n$/);
});

test('coordinator and worker work on while the disk of their logs is full', async (t) => {
  const disk = smallDisk(t, folder('logs'));
  const fixture = await startProving(t);
  const coordinator = await fixture.process('coordinator', 'c-full');
  const worker = await fixture.process('worker', 'w-full');
  disk.fill();
  for (let i = 0; i < 2; i++) await fixture.check(await fixture.ask());
  for (const { exited } of [coordinator, worker])
    assert.is(await Promise.race([exited, 'still there']), 'still there');
});

test.run();
