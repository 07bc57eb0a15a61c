/**
 * Dead letters: when a consumer was given a message too often, the server says so once, in an advisory, and leaves
 * the message in its stream. A pointer to it is appended to the stream of dead letters, for a person to look at.
 * The advisory is not durable: one that comes while no supervisor listens is lost, the message is not.
 */
import { z } from 'zod';
import { encodeMessage, Id } from '../../protocols/envelope.ts';
import { messageOf } from '../../protocols/errors.ts';
import { subjects } from '../../protocols/subjects.ts';
import { DeadLetter } from '../../protocols/transition.ts';
import type { Log } from '../home/log.ts';
import type { Bus, Subscription } from '../nats/bus.ts';
import { MAX_DELIVERIES } from '../nats/rights.ts';

/** nats-server's `io.nats.jetstream.advisory.v1.max_deliver`, as far as it is used. */
const Advisory = z.object({
  stream: Id,
  consumer: Id,
  stream_seq: z.int().min(1),
  deliveries: z.int().min(1),
});

/** Records every advisory until it is unsubscribed. Several supervisors record one message once. */
export function recordDeadLetters(bus: Bus, source: string, log: Log): Subscription {
  return bus.subscribe(MAX_DELIVERIES, async ({ data }) => {
    try {
      const advisory = Advisory.parse(JSON.parse(new TextDecoder().decode(data)));
      const { stream, consumer, stream_seq: sequence, deliveries } = advisory;
      const subject = subjects.dead(stream, consumer);
      const body = { stream, consumer, sequence, deliveries };
      await bus.append(subject, encodeMessage(DeadLetter, { subject, source, body }), {
        msgId: `${stream}.${consumer}.${sequence}`,
      });
      log(
        `${source}: message ${sequence} of ${stream} was delivered ${deliveries} times and is left where it is`,
      );
    } catch (error) {
      log(`${source}: a dead letter could not be recorded: ${messageOf(error)}`);
    }
  });
}
