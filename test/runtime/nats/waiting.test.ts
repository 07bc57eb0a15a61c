/**
 * Requests that wait on one subscription. On the other side is whoever may publish to an inbox (a runner answers every client): he does not know
 * the token, and gets nothing settled without it.
 */
import { createWaiting } from '../../../runtime/nats/waiting.ts';
import { assert, suite } from '../../harness.ts';

const test = suite('waiting for answers');

const ended = (why: string) => new Error(why);
/** A request under `subject`; `to` is where its answer is to go. */
function asker() {
  const waiting = createWaiting<string>('inbox.one');
  const ask = (subject: string, more: { timeoutMs?: number; signal?: AbortSignal } = {}) => {
    let to = '';
    const send = (reply: string) => {
      to = reply;
    };
    const asked = waiting.ask(subject, send, { timeoutMs: 60_000, ended, ...more });
    const outcome = asked.catch(({ message }: Error) => `error: ${message}`);
    return { to, outcome };
  };
  return { ...waiting, ask };
}

test('each answer goes to whom its token names, once; others are dropped', async () => {
  const { filter, ask, settle } = asker();
  assert.is(filter, 'inbox.one.*');
  const [one, other] = [ask('a'), ask('a')];
  assert.match(one.to, /^inbox\.one\.[0-9a-f-]{36}$/);
  assert.is.not(one.to, other.to);
  for (const guess of ['inbox.one.1', 'inbox.one.', 'inbox.one', '']) settle(guess, 'guessed');
  settle(other.to, 'to the other');
  settle(one.to, 'to one');
  settle(one.to, 'again');
  assert.equal(await Promise.all([one.outcome, other.outcome]), ['to one', 'to the other']);
});

test('silence, a signal, a refusal and a lost connection end what they are about, and nothing stays open', async () => {
  const { filter, ask, settle, refuse, ask: again } = asker();
  const controller = new AbortController();
  const late = ask('a', { timeoutMs: 5 });
  const aborted = ask('a', { signal: controller.signal });
  controller.abort();
  assert.is(await aborted.outcome, 'error: cancelled');
  assert.is(await late.outcome, 'error: timeout');
  settle(late.to, 'too late');

  const [first, second, another] = [ask('b'), ask('b'), ask('c')];
  refuse('b', new Error('refused'));
  refuse('nobody', new Error('refused'));
  assert.is(await first.outcome, 'error: refused');
  settle(second.to, 'answered');
  assert.is(await second.outcome, 'answered', 'the server refuses one message at a time');
  const last = again('d');
  refuse(filter, new Error('lost'));
  assert.equal(await Promise.all([another.outcome, last.outcome]), ['error: lost', 'error: lost']);
  // Clocks of a minute that were left would keep this process from ending, which the harness sees.
});

test('what cannot be sent waits for nothing', async () => {
  const { ask } = createWaiting<string>('inbox.one');
  const send = () => {
    throw new Error('closed');
  };
  await ask('a', send, { timeoutMs: 60_000, ended }).then(
    () => assert.unreachable(),
    ({ message }: Error) => assert.is(message, 'closed'),
  );
});

test.run();
