/**
 * Request and reply with envelopes: what every role does when it asks or answers over NATS. A handler's error
 * becomes a coded error reply under an id that finds it in the log; an error that is not ours travels without its text.
 */
import {
  decodeMessage,
  ErrorReply,
  encodeMessage,
  type Message,
  type MessageType,
} from '../../protocols/envelope.ts';
import { messageOf, VouchError } from '../../protocols/errors.ts';
import { toWireError } from '../../protocols/wire-error.ts';
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
  return decodeMessage(kinds[1], { id, subject: question.subject }, answer.data);
}

/** Answers every request on `subject` by `handler`. */
export function answer<Request, Reply>(
  bus: Bus,
  kinds: readonly [MessageType<Request>, MessageType<Reply>],
  place: {
    subject: string;
    source: string;
    queue?: string;
    log: Log;
    /** throws for a request that is not even to be read */
    admit?: (received: Received) => unknown;
  },
  handler: (request: Message<Request>) => Promise<Reply> | Reply,
): Subscription {
  return bus.subscribe(
    place.subject,
    async (received) => {
      let cause: string | undefined;
      try {
        place.admit?.(received);
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
    encodeMessage(ErrorReply, {
      subject: received.subject,
      source,
      cause,
      body: wireError(error, source, log),
    }),
  );
}

/** What may travel of a refused request's error; the rest is in the log under the same id. */
export const wireError = (error: unknown, source: string, log: Log) =>
  toWireError(error, reportError(error, `${source}: a request was refused: error`, log, { ofRequest: true }));

/** Errors of requests that are written within a second: a peer that sends nonsense must not fill the disk. */
const MAX_REPORTS = 20;
const REPORT_WINDOW_MS = 1_000;
interface Report {
  readonly id: string;
  written: boolean;
  /** whether the log gets neither the sentence nor its causes */
  confidential: boolean;
}
const reports = new WeakMap<object, Report>();
const budgets = new WeakMap<Log, { since: number; written: number; omitted: number }>();

/**
 * Writes an error to the log, once however often it is reported, and returns the id under which it is found there. A
 * coded error is one sentence, with the stack of its cause; any other is a defect and gets its own stack. `ofRequest`:
 * whoever asks can cause it at will, so only so many a second are written. All others always are.
 */
export function reportError(
  error: unknown,
  what: string,
  log: Log,
  { ofRequest = false }: { readonly ofRequest?: boolean } = {},
): string {
  const report = reportOf(error);
  if (report.written || (ofRequest && !mayWrite(log))) return report.id;
  report.written = true;
  const ours = error instanceof VouchError;
  log(`${what} ${report.id}: ${report.confidential ? placeOf(error) : detailOf(error)}`, {
    level: ofRequest && ours ? 'warn' : 'error',
    error: report.id,
    code: ours ? error.code : 'internal',
  });
  return report.id;
}

/**
 * Runs what reads plaintext. An error that it throws may quote the plaintext: whoever asked is told, under a seal, and the log,
 * which lies outside of the enclave, gets the code and the place alone.
 */
export function readingPlaintext<T>(work: () => T): T {
  try {
    return work();
  } catch (error) {
    throw confidential(error);
  }
}

/** Of this error the log gets no words from here on. Returns it. */
export function confidential(error: unknown): unknown {
  reportOf(error).confidential = true;
  return error;
}

function reportOf(error: unknown): Report {
  const known = error instanceof Object ? reports.get(error) : undefined;
  const report = known ?? { id: crypto.randomUUID(), written: false, confidential: false };
  if (error instanceof Object) reports.set(error, report);
  return report;
}

/** Whether one more error of a request may be written now; says how many were not, as soon as one may again. */
function mayWrite(log: Log): boolean {
  const now = performance.now();
  const budget = budgets.get(log) ?? { since: now, written: 0, omitted: 0 };
  budgets.set(log, budget);
  if (now - budget.since > REPORT_WINDOW_MS) {
    if (budget.omitted > 0)
      log(`${budget.omitted} more errors of requests were not written`, { level: 'warn' });
    Object.assign(budget, { since: now, written: 0, omitted: 0 });
  }
  if (budget.written < MAX_REPORTS) {
    budget.written += 1;
    return true;
  }
  budget.omitted += 1;
  return false;
}

function detailOf(error: unknown): string {
  if (!(error instanceof VouchError)) return (error as Error | undefined)?.stack ?? messageOf(error);
  const cause = error.cause instanceof Error ? `\ncaused by ${error.cause.stack ?? error.cause.message}` : '';
  return `${error.code}: ${error.message}${cause}`;
}

/** Where a confidential error comes from: its code, or the places of its stack, which begins with words. */
function placeOf(error: unknown): string {
  if (error instanceof VouchError) return `${error.code} (the sentence went to whoever asked)`;
  const places = ((error as Error).stack ?? '').split('\n').filter((line) => /^ {4}at /.test(line));
  return ['a defect while plaintext was in hand', ...places].join('\n');
}
