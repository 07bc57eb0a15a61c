/** A message that nobody can handle ends as a pointer in the stream of dead letters. */
import { decodeMessage } from '../../../protocols/envelope.ts';
import { STREAMS } from '../../../protocols/streams.ts';
import { subjects } from '../../../protocols/subjects.ts';
import { DeadLetter } from '../../../protocols/transition.ts';
import { recordDeadLetters } from '../../../runtime/roles/dead-letters.ts';
import { assert, suite } from '../../harness.ts';
import { startFixture, until } from '../nats/nats-fixture.ts';

const test = suite('dead letters', { timeoutMs: 180_000 });

test('a message delivered too often is recorded once, by two supervisors', async (t) => {
  const { bus } = await startFixture(t);
  const lines: string[] = [];
  for (const id of ['s1', 's2']) {
    const supervisor = await bus('supervisor', id);
    recordDeadLetters(supervisor, `supervisor.${id}`, (line) => lines.push(line));
    await supervisor.flush();
  }
  const provisioner = await bus('provisioner', 'p1');
  const coordinator = await bus('coordinator', 'c1');
  const stream = STREAMS.shards.name;
  await provisioner.api(`CONSUMER.CREATE.${stream}.w1.vouch.v1.work.msm.w1.>`, {
    stream_name: stream,
    config: {
      durable_name: 'w1',
      filter_subject: subjects.shard('w1', 'j', 's').replace('.j.s', '.>'),
      ack_policy: 'explicit',
      max_deliver: 2,
      ack_wait: 1e9,
    },
  });
  const stored = await coordinator.append(subjects.shard('w1', 'j', 's'), new Uint8Array(3));
  const worker = await bus('worker', 'w1');
  // The third time there is nothing to deliver, and the server says why.
  for (let i = 0; i < 2; i++) (await worker.next(stream, 'w1', { expiresMs: 20_000 }))?.nak();
  await worker.next(stream, 'w1', { expiresMs: 1_000 });

  const subject = subjects.dead(stream, 'w1');
  await until(() => provisioner.getLast(STREAMS.dead.name, subject));
  const found = await provisioner.getLast(STREAMS.dead.name, subject);
  const { body } = decodeMessage(DeadLetter, subject, found!.data);
  assert.equal(body, { stream, consumer: 'w1', sequence: stored.sequence, deliveries: 2 });
  assert.is((await provisioner.subjectsOf(STREAMS.dead.name, subject)).get(subject), 1);
  assert.ok(
    lines.every((line) => line.includes('was delivered 2 times')),
    lines.join('\n'),
  );
});

test.run();
