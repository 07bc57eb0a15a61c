/**
 * What an enclave's process writes into its log, which lies outside of the enclave, on the disk of whoever runs the host: that
 * one reads it, and asks himself what the applications were. And the id of an error: the same in the reply, in the log and in
 * what the monitor sees.
 */
import { decodeMessage, RemoteError } from '../../../protocols/envelope.ts';
import { STREAMS } from '../../../protocols/streams.ts';
import { subjects } from '../../../protocols/subjects.ts';
import { Transition } from '../../../protocols/transition.ts';
import { infer, sendSealed, verifyService } from '../../../runtime/client/client.ts';
import { folder } from '../../../runtime/home/home.ts';
import { createLogger, LOGGED_FIELDS } from '../../../runtime/home/logger.ts';
import { publishModel } from '../../../runtime/models/publish.ts';
import { startRoles, stopRoles } from '../../../runtime/roles/start.ts';
import { smallModel } from '../../circuits/model-fixture.ts';
import { assert, suite, type TestContext } from '../../harness.ts';
import { startHome, until } from '../home/home-fixture.ts';

const test = suite('log of a role', { timeoutMs: 90_000 });
const SOURCE = 'client.one';
const ROW = ['7', '-1', '4', '11'];
/** In a cell of an application, and nowhere else. */
const CELL = 'Grete-Minde';

/** An enclave and its runner, without a gpu actor, and the records of their log. */
async function serve(t: TestContext) {
  const home = await startHome(t);
  const model = smallModel({ units: [4, 3, 2] });
  await publishModel(home.observer, 'provisioner.test', {
    name: 'tiny',
    model,
    policy: home.policies.release,
  });
  const lines: string[] = [];
  const log = await createLogger({ format: 'json', level: 'debug' }, (line) => void lines.push(line));
  const roles = await startRoles(['broker', 'runner', 'enclave'], {
    url: home.server.url,
    creds: folder('creds'),
    id: 'e1',
    model: 'tiny',
    log,
  });
  let stopped = false;
  const stop = async () => {
    if (!stopped) await stopRoles(roles, log);
    stopped = true;
  };
  t.defer(stop);
  const client = await home.bus('client', 'one');
  const policy = home.policies.inference;
  const service = await verifyService(client, SOURCE, 'tiny', policy);
  const ask = (row: readonly string[]) => infer(client, SOURCE, service, policy, row);
  const records = () => lines.map((line) => JSON.parse(line) as Record<string, unknown>);
  return { ...home, client, service, ask, lines, records, roles, stop };
}

async function refusalOf(asked: Promise<unknown>): Promise<RemoteError> {
  const outcome = await asked.then(
    () => 'an answer',
    (error: unknown) => error,
  );
  assert.ok(outcome instanceof RemoteError, String(outcome));
  return outcome as RemoteError;
}

test('a log holds fields of the list, no cell of an application, no salt and no nonce', async (t) => {
  const { ask, client, service, lines, records, stop } = await serve(t);
  const made = await ask(ROW);
  assert.is(made.receipt.verdict, 'accept');
  const wrong = [
    await refusalOf(ask([CELL, '-1', '4', '11'])),
    await refusalOf(ask([CELL])),
    await refusalOf(ask(['7', '-1', '4', '9'.repeat(30)])),
    await refusalOf(sendSealed(client, SOURCE, service, made.sealed)),
  ];
  assert.match(wrong[0]!.message, CELL, 'whoever asked is told, under the seal');
  await until(() => wrong.every(({ errorId }) => records().some(({ error }) => error === errorId)));
  await stop();
  const all = lines.join('\n');
  for (const secret of [CELL, '9'.repeat(30), '"7"', made.salts.request, made.salts.response, made.nonce])
    assert.not(all.includes(secret), secret);
  const allowed = new Set(['level', 'time', 'message', ...LOGGED_FIELDS]);
  for (const record of records()) for (const name of Object.keys(record)) assert.ok(allowed.has(name), name);
  assert.ok(
    records().some(
      ({ role, from, to, event }) =>
        role === 'runner' && from === 'verifying' && to === 'ready' && event === 'done',
    ),
    'changes of state are told at the level debug',
  );
});

test('an error has one id: in the reply, in the log, and in what the monitor sees', async (t) => {
  const { ask, records, roles, observer, server } = await serve(t);
  const refused = await refusalOf(ask(['x']));
  assert.ok(records().some(({ error, code }) => error === refused.errorId && code === refused.code));

  const enclave = roles.find(({ role }) => role === 'enclave')!;
  const runner = roles.find(({ role }) => role === 'runner')!;
  enclave.actor.send({ type: 'enclave.drain' });
  await until(() => runner.actor.getSnapshot().hasTag('settled'));
  const late = await refusalOf(ask(ROW));
  assert.ok(records().some(({ error, code }) => error === late.errorId && code === late.code));

  // A role that fails: what the monitor shows names the record that says why.
  const lines: string[] = [];
  const [broken] = await Promise.allSettled([
    startRoles(['runner', 'enclave'], {
      url: server.url,
      creds: folder('creds'),
      id: 'e2',
      model: 'nope',
      log: await createLogger({ format: 'json', level: 'info' }, (line) => void lines.push(line)),
    }),
  ]);
  assert.is(broken!.status, 'rejected');
  const subject = subjects.state('runner', 'e2');
  const failed = async () => {
    const stored = await observer.getLast(STREAMS.states.name, subject);
    return stored && decodeMessage(Transition, subject, stored.data).body.failure;
  };
  await until(async () => (await failed()) !== undefined);
  const { errorId, code } = (await failed())!;
  const record = lines.map((line) => JSON.parse(line)).find(({ error }) => error === errorId);
  assert.equal([record?.level, record?.role, record?.id, record?.code], ['error', 'runner', 'e2', code]);
});

test.run();
