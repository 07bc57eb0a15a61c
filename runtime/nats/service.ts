/**
 * Request and reply with envelopes: what every role does when it asks or answers over NATS. A handler's error
 * becomes a coded error reply; an error that is not ours goes to the log with an id and travels without its text.
 */
import {
  decodeMessage,
  ErrorReply,
  encodeMessage,
  type Message,
  type MessageType,
} from '../../protocols/envelope.ts';
import { messageOf, toWireError, VouchError } from '../../protocols/errors.ts';
import type { Log } from '../home/log.ts';
import type { Bus, Received, Subscription } from './bus.ts';

/** One answered question. Throws the other side's coded error, or the bus's own. */
export async function ask<Request, Reply>(
  bus: Bus,
  kinds: readonly [MessageType<Request>, MessageType<Reply>],
  question: { subject: string; source: string; body: Request; timeoutMs?: number; signal?: AbortSignal },
): Promise<Message<Reply>> {
  const id = crypto.randomUUID();
  const { timeoutMs, signal, ...outgoing } = question;
  const answer = await bus.request(question.subject, encodeMessage(kinds[0], { ...outgoing, id }), {
    ...(timeoutMs === undefined ? {} : { timeoutMs }),
    ...(signal === undefined ? {} : { signal }),
  });
  const reply = decodeMessage(kinds[1], null, answer.data);
  if (reply.cause !== id)
    throw new VouchError('bad-message', `${kinds[1].type}: the reply answers another request`);
  return reply;
}

/** Answers every request on `subject` by `handler`. */
export function answer<Request, Reply>(
  bus: Bus,
  kinds: readonly [MessageType<Request>, MessageType<Reply>],
  place: { subject: string; source: string; queue?: string; log: Log },
  handler: (request: Message<Request>) => Promise<Reply> | Reply,
): Subscription {
  return bus.subscribe(
    place.subject,
    async (received) => {
      let cause: string | undefined;
      try {
        const request = decodeMessage(kinds[0], received.subject, received.data);
        cause = request.id;
        const body = await handler(request);
        received.respond(
          encodeMessage(kinds[1], { subject: received.subject, source: place.source, body, cause }),
        );
      } catch (error) {
        respondError(received, error, { source: place.source, cause, log: place.log });
      }
    },
    place.queue === undefined ? {} : { queue: place.queue },
  );
}

/** The error reply to a request, structured or bulk. */
export function respondError(
  received: Received,
  error: unknown,
  { source, cause, log }: { source: string; cause: string | undefined; log: Log },
): void {
  received.respond(
    encodeMessage(ErrorReply, { subject: received.subject, source, cause, body: wireError(error, log) }),
  );
}

/** What may travel of an error; the rest goes to the log under the same id. */
export function wireError(error: unknown, log: Log) {
  const errorId = crypto.randomUUID();
  if (!(error instanceof VouchError)) {
    const stack = error instanceof Error ? (error.stack ?? error.message) : messageOf(error);
    log(`error ${errorId}: ${stack}`);
  }
  return toWireError(error, errorId);
}
