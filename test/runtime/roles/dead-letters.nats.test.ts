/** A message that nobody can handle ends as a pointer in the stream of dead letters. */
import { decodeMessage } from '../../../protocols/envelope.ts';
import { PROOF_REQUEST_CONSUMER, STREAMS } from '../../../protocols/streams.ts';
import { filters, subjects } from '../../../protocols/subjects.ts';
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
  const stream = STREAMS.proofRequests.name;
  const consumer = PROOF_REQUEST_CONSUMER;
  await provisioner.api(`CONSUMER.DELETE.${stream}.${consumer}`);
  await provisioner.api(`CONSUMER.CREATE.${stream}.${consumer}.${filters.proofRequests}`, {
    stream_name: stream,
    config: {
      durable_name: consumer,
      filter_subject: filters.proofRequests,
      ack_policy: 'explicit',
      max_deliver: 2,
      ack_wait: 1e9,
    },
  });
  const client = await bus('client', 'me');
  const stored = await client.append(subjects.proofRequest('quality', 'me', 'j'), new Uint8Array(3));
  // The third time there is nothing to deliver, and the server says why.
  for (let i = 0; i < 2; i++) (await coordinator.next(stream, consumer, { expiresMs: 20_000 }))?.nak();
  await coordinator.next(stream, consumer, { expiresMs: 1_000 });

  const subject = subjects.dead(stream, consumer);
  await until(() => provisioner.getLast(STREAMS.dead.name, subject));
  const found = await provisioner.getLast(STREAMS.dead.name, subject);
  const { body } = decodeMessage(DeadLetter, subject, found!.data);
  assert.equal(body, { stream, consumer, sequence: stored.sequence, deliveries: 2 });
  assert.is((await provisioner.subjectsOf(STREAMS.dead.name, subject)).get(subject), 1);
  assert.ok(
    lines.every((line) => line.includes('was delivered 2 times')),
    lines.join('\n'),
  );
});

test.run();
