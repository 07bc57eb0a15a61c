/**
 * The runner's machine through its real role: what becomes of requests, counts, log and heartbeat when the session, the
 * model or the enclave fails. The session is the real one, with a fault put in.
 */

import { decodeMessage, RemoteError } from '../../../protocols/envelope.ts';
import { VouchError } from '../../../protocols/errors.ts';
import { subjects } from '../../../protocols/subjects.ts';
import { Heartbeat } from '../../../protocols/transition.ts';
import { infer, type VerifiedService, verifyService } from '../../../runtime/client/client.ts';
import { folder } from '../../../runtime/home/home.ts';
import { type ServedModel, serveModel } from '../../../runtime/inference/session.ts';
import { publishModel } from '../../../runtime/models/publish.ts';
import { enclaveRole } from '../../../runtime/roles/enclave.ts';
import { type RunningRole, untilUp } from '../../../runtime/roles/host.ts';
import type { Neighbours } from '../../../runtime/roles/neighbours.ts';
import { runnerRole } from '../../../runtime/roles/runner.ts';
import { startRoles } from '../../../runtime/roles/start.ts';
import { smallModel } from '../../circuits/model-fixture.ts';
import { assert, suite, type TestContext } from '../../harness.ts';
import { startBroker, startHome, until } from '../home/home-fixture.ts';

const test = suite('runner role', { timeoutMs: 90_000 });
const SOURCE = 'client.one';
const ROW = ['7', '-1', '4', '11'];

/** A model in an enclave whose session `spoil` may change. */
async function serve(t: TestContext, spoil: (session: ServedModel) => ServedModel = (session) => session) {
  const home = await startHome(t);
  await publishModel(home.observer, 'provisioner.test', {
    name: 'tiny',
    model: smallModel({ units: [4, 3, 2] }),
    policy: home.policies.release,
  });
  await home.role('broker', 'broker-1', startBroker);
  const neighbours: Neighbours = {};
  const spoiled: typeof serveModel = async (model, gpu) => spoil(await serveModel(model, gpu));
  const runner = await home.role('runner', 'e1', runnerRole(neighbours, 'tiny', spoiled));
  runner.actor.send({ type: 'device.absent' });
  const enclave = await home.role('enclave', 'e1', enclaveRole(neighbours, home.policies.inference));
  enclave.actor.send({ type: 'enclave.start' });
  await untilUp(enclave, 30_000);

  const client = await home.bus('client', 'one');
  const beats: Heartbeat[] = [];
  client.subscribe(subjects.beat('runner', 'e1'), ({ subject, data }) => {
    beats.push(decodeMessage(Heartbeat, subject, data).body);
  });
  const policy = home.policies.inference;
  const service = await verifyService(client, SOURCE, 'tiny', policy);
  return {
    ...home,
    runner,
    enclave,
    neighbours,
    beats,
    service,
    ask: (session: VerifiedService = service) => infer(client, SOURCE, session, policy, ROW),
    counts: () => runner.actor.getSnapshot().context as Record<'served' | 'failed' | 'refused', number>,
  };
}

async function refusalOf(asked: Promise<unknown>): Promise<RemoteError> {
  const outcome = await asked.then(
    () => 'an answer',
    (error: unknown) => error,
  );
  assert.ok(outcome instanceof RemoteError, String(outcome));
  return outcome as RemoteError;
}

const stateOf = ({ actor }: RunningRole): string => String(actor.getSnapshot().value);

test("a session that loses its device fails the runner: counted, logged under the reply's id, and said", async (t) => {
  const lost = new VouchError('device-lost', 'ONNX Runtime (webgpu) failed: the device fell off the bus');
  const toDevice: string[] = [];
  const served = await serve(t, (session) => {
    let calls = 0;
    // The first call is the runner's own comparison with the reference.
    return { ...session, answer: (rows) => (++calls > 1 ? Promise.reject(lost) : session.answer(rows)) };
  });
  const { runner, neighbours, log, beats, ask, counts } = served;
  neighbours.device = {
    actor: { send: ({ type }: { type: string }) => void toDevice.push(type) } as never,
    failure: () => undefined,
  };
  const first = await refusalOf(ask());
  assert.equal([first.code, first.retryable], ['device-lost', true]);
  await until(() => stateOf(runner) === 'failed');
  assert.equal([counts().served, counts().failed], [0, 1]);
  assert.equal(toDevice, ['device.lost'], 'whoever has the device opens it again');
  assert.ok(
    log.some((line) => line.includes(first.errorId) && line.includes('fell off the bus')),
    log.join('\n'),
  );
  await until(() => beats.some(({ failure }) => failure?.code === 'device-lost'));
  const { failure } = beats.find((beat) => beat.failure)!;
  assert.match(failure!.message, 'fell off the bus');
  assert.is(failure!.errorId, first.errorId);
  assert.equal(runner.failure(), failure);
  // It does not serve errors for ever: from now on it refuses.
  for (let i = 0; i < 3; i++) {
    const refused = await refusalOf(ask());
    assert.equal([refused.code, refused.retryable], ['not-ready', true]);
  }
  assert.is(counts().refused, 3);
});

test('what is in flight when the device is lost is answered, each with a code that may be tried again', async (t) => {
  let calls = 0;
  const { runner, ask, counts } = await serve(t, (session) => ({
    ...session,
    answer: (rows) => (++calls > 1 ? new Promise(() => {}) : session.answer(rows)),
  }));
  const asked = [ask(), ask(), ask()].map(refusalOf);
  await until(() => stateOf(runner) === 'running' && calls === 4);
  runner.actor.send({ type: 'device.lost' });
  for (const { code, retryable } of await Promise.all(asked))
    assert.equal([code, retryable], ['device-lost', true]);
  assert.equal([stateOf(runner), counts().refused], ['failed', 3]);
});

test('a request that is wrong is counted as failed and harms no other', async (t) => {
  const { runner, ask, counts, service } = await serve(t);
  const stale = await refusalOf(ask({ ...service, digest: 'ab'.repeat(32) }));
  assert.is(stale.code, 'evidence-rejected');
  assert.is((await ask()).receipt.verdict, 'accept');
  assert.equal([stateOf(runner), counts().served, counts().failed], ['ready', 1, 1]);
});

test('a session that does not compute what is proved is never served', async (t) => {
  const wrong = serve(t, (session) => ({
    ...session,
    answer: async (rows) =>
      (await session.answer(rows)).map((answer) => ({ ...answer, decision: 1 - answer.decision })),
  }));
  await wrong.then(
    () => assert.unreachable('it came up'),
    (error: Error) => {
      assert.match(error.message, 'enclave e1 did not come up: the runner does not serve its model');
      assert.match(error.message, 'the served graph does not compute what is proved');
    },
  );
});

test('a lost enclave ends the runner; a drained one lets it finish first', async (t) => {
  const lost = await serve(t);
  lost.runner.actor.send({ type: 'enclave.lost' });
  await until(() => stateOf(lost.runner) === 'failed');
  assert.is((await refusalOf(lost.ask())).code, 'not-ready');

  let release: () => void = () => {};
  let calls = 0;
  const held = new Promise<void>((resolve) => {
    release = resolve;
  });
  const drained = await serve(t, (session) => ({
    ...session,
    answer: async (rows) => {
      if (++calls > 1) await held;
      return session.answer(rows);
    },
  }));
  const asked = drained.ask();
  await until(() => calls === 2);
  drained.enclave.actor.send({ type: 'enclave.drain' });
  await until(() => stateOf(drained.runner) === 'draining');
  release();
  assert.is((await asked).receipt.verdict, 'accept');
  await until(() => stateOf(drained.enclave) === 'destroyed');
  assert.is(stateOf(drained.runner), 'stopped');
});

test('an unknown model is named, where people look and in the log', async (t) => {
  const home = await startHome(t);
  const starting = startRoles(['runner', 'gpu', 'enclave'], {
    url: home.server.url,
    creds: folder('creds'),
    id: 'e1',
    model: 'nope',
    log: home.say,
  });
  await starting.then(
    () => assert.unreachable('it came up'),
    (error: Error) =>
      assert.match(error.message, /enclave e1 did not come up: .*model nope: nobody has published/),
  );
  assert.ok(
    home.log.some((line) => line.startsWith('runner.e1: load failed') && line.includes('model nope')),
    home.log.join('\n'),
  );
});

test.run();
