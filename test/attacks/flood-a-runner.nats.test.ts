/**
 * Attacker: a client with credentials of its own who sends a runner garbage as fast as he can. Garbage of the right form
 * costs the runner an X25519 or X-Wing opening before it is refused, and every request for evidence a signature; he wants
 * others to wait. Counted here is the work that the runner does for him, not time: what is refused before it is opened
 * costs a look-up.
 */

import { EvidenceRequest } from '../../protocols/enclave.ts';
import {
  decodeMessage,
  ENVELOPE_HEADER,
  ErrorReply,
  encodeHeader,
  encodeMessage,
} from '../../protocols/envelope.ts';
import { InferRequest, MAX_SEALED_REQUEST_BYTES } from '../../protocols/inference.ts';
import { subjects } from '../../protocols/subjects.ts';
import { freshNonce } from '../../runtime/attest/identity.ts';
import { infer, verifyService } from '../../runtime/client/client.ts';
import { publishModel } from '../../runtime/models/publish.ts';
import { createBudget } from '../../runtime/roles/client-budget.ts';
import { enclaveRole } from '../../runtime/roles/enclave.ts';
import { untilUp } from '../../runtime/roles/host.ts';
import type { Neighbours } from '../../runtime/roles/neighbours.ts';
import { runnerRole } from '../../runtime/roles/runner.ts';
import { smallModel } from '../circuits/model-fixture.ts';
import { assert, suite, type TestContext } from '../harness.ts';
import { startBroker, startHome } from '../runtime/home/home-fixture.ts';

const test = suite('attack: flood a runner', { timeoutMs: 120_000 });
const ROW = ['7', '-1', '4', '11'];
/** A client's tokens at once, and those that may come back while a test runs. */
const BURST = 64;
const SLACK = 4 * 60;

/** A served model whose runner counts what it opens and signs. */
async function serve(t: TestContext) {
  const home = await startHome(t);
  const model = smallModel({ units: [4, 3, 2] });
  const policy = home.policies.release;
  await publishModel(home.observer, 'provisioner.test', { name: 'tiny', model, policy });
  await home.role('broker', 'broker-1', startBroker);
  const neighbours: Neighbours = {};
  const runner = await home.role('runner', 'e1', runnerRole(neighbours, 'tiny'));
  runner.actor.send({ type: 'device.absent' });
  const enclave = await home.role('enclave', 'e1', enclaveRole(neighbours, home.policies.inference));
  enclave.actor.send({ type: 'enclave.start' });
  await untilUp(enclave, 30_000);
  const real = neighbours.identity!;
  const done = { opened: 0, signed: 0 };
  neighbours.identity = {
    ...real,
    sealing: {
      get current() {
        return real.sealing.current;
      },
      open: real.sealing.open,
      openOnce: (...what) => {
        done.opened += 1;
        return real.sealing.openOnce(...what);
      },
    },
    evidence: (...what) => {
      done.signed += 1;
      return real.evidence(...what);
    },
  };
  return { ...home, done };
}

test('garbage: all but a handful is refused before it is opened, and another client is served meanwhile', async (t) => {
  const { bus, policies, done } = await serve(t);
  const [mallory, honest] = [await bus('client', 'mallory'), await bus('client', 'honest')];
  const subject = subjects.infer('tiny', 'e1', 'mallory');
  const flood = 1000;
  const codes = new Map<string, number>();
  const send = async (bytes: number) => {
    const header = encodeHeader(InferRequest, { subject, source: 'client.mallory', body: { enclave: 'e1' } });
    const garbage = new Uint8Array(bytes);
    // The KEM id of X25519: it has to be opened to be refused.
    garbage[1] = 0x20;
    const { data } = await mallory.request(subject, garbage, {
      headers: { [ENVELOPE_HEADER]: header },
      timeoutMs: 60_000,
    });
    const { code } = decodeMessage(ErrorReply, null, data).body;
    codes.set(code, (codes.get(code) ?? 0) + 1);
  };
  const flooding = Promise.all(
    Array.from({ length: flood }, (_, i) => send(i % 100 === 0 ? MAX_SEALED_REQUEST_BYTES + 1 : 2000)),
  );
  // What fails first is told first.
  flooding.catch(() => {});
  const service = await verifyService(honest, 'client.honest', 'tiny', policies.inference);
  const served = 30;
  for (let i = 0; i < served; i++) await infer(honest, 'client.honest', service, policies.inference, ROW);
  await flooding;
  assert.ok(done.opened - served <= BURST + SLACK, `${done.opened} opened`);
  assert.ok((codes.get('busy') ?? 0) >= flood - BURST - SLACK, JSON.stringify([...codes]));
});

test('evidence: a client gets some, and not as many as it can ask for', async (t) => {
  const { bus, policies, done } = await serve(t);
  const [mallory, honest] = [await bus('client', 'mallory'), await bus('client', 'honest')];
  const subject = subjects.evidence('tiny', 'mallory');
  const ask = () =>
    mallory.request(
      subject,
      encodeMessage(EvidenceRequest, { subject, source: 'client.mallory', body: { nonce: freshNonce() } }),
      { timeoutMs: 60_000 },
    );
  const flooding = Promise.all(Array.from({ length: 500 }, ask));
  flooding.catch(() => {});
  await verifyService(honest, 'client.honest', 'tiny', policies.inference);
  await flooding;
  assert.ok(done.signed <= BURST + SLACK, `${done.signed} signed`);
});

test('a budget of all: a thousand credentials of one person get no more than one share of it', () => {
  let now = 0;
  const budget = createBudget({
    burst: 4,
    perSecond: 2,
    together: { burst: 10, perSecond: 5 },
    clock: () => now,
  });
  const taken = (clients: number, each = 1) => {
    let count = 0;
    for (let i = 0; i < clients * each; i++) {
      try {
        budget.take(`mallory-${i % clients}`);
        count += 1;
      } catch (error) {
        assert.is((error as { code: string }).code, 'busy');
      }
    }
    return count;
  };
  assert.is(taken(1, 100), 4, 'one has its own share, and no more');
  assert.is(taken(1000), 6);
  assert.throws(() => budget.take('honest'), /of all clients together: wait a second/);
  now = 1000;
  assert.is(taken(1000, 3), 5);
  now = 2000;
  // Who was refused for the others' sake has lost nothing of his own.
  const back = Array.from({ length: 4 }, () => budget.take('honest'));
  for (const give of back) {
    give();
    give();
  }
  assert.is(taken(1000), 5);
});

test("a budget: bad messages use it up, good ones do not, and it is one client's", () => {
  let now = 0;
  const budget = createBudget({ burst: 4, perSecond: 2, clock: () => now });
  const refused = (client: string) => {
    try {
      budget.take(client);
      return false;
    } catch {
      return true;
    }
  };
  for (let i = 0; i < 100; i++) budget.take('good')();
  for (let i = 0; i < 4; i++) assert.not(refused('bad'));
  assert.ok(refused('bad'));
  assert.not(refused('good'));
  now = 499;
  assert.ok(refused('bad'));
  now = 1000;
  assert.not(refused('bad'));
  const back = budget.take('twice');
  back();
  back();
  for (let i = 0; i < 4; i++) assert.not(refused('twice'));
  assert.ok(refused('twice'), 'giving back twice gives one');
});

test.run();
