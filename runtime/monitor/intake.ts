/**
 * From a NATS message to an observation: an allow-list. What is not a valid transition, heartbeat or progress
 * message of exactly the subject it came on becomes a counted `dropped`, never an error.
 */
import type { Message, MessageType } from '../../protocols/envelope.ts';
import { decodeMessage } from '../../protocols/envelope.ts';
import { VouchError } from '../../protocols/errors.ts';
import { printable } from '../../protocols/printable.ts';
import { ProofProgress } from '../../protocols/proof.ts';
import { filters, lastTokenButOne, subjects } from '../../protocols/subjects.ts';
import { Heartbeat, Transition } from '../../protocols/transition.ts';
import { PHASES } from './model.ts';
import type { Failure, Observation } from './observation.ts';

/** `at`: when it was heard, or when it was stored, in milliseconds on the monitor's clock. */
export function observe(subject: string, data: Uint8Array, at: number): Observation {
  try {
    if (within(filters.states, subject)) {
      const { body } = read(Transition, subject, data, ({ kind, id }) => subjects.state(kind, id));
      return { type: 'transition', at, ...body, failure: failureOf(body) };
    }
    if (within(filters.beats, subject)) {
      const { body } = read(Heartbeat, subject, data, ({ kind, id }) => subjects.beat(kind, id));
      const { worker } = body;
      // The page shows how much a worker holds, not which chunks.
      return {
        type: 'beat',
        at,
        ...body,
        failure: failureOf(body),
        worker: worker ? { ...worker, resident: worker.resident.length, inHand: worker.inHand.length } : null,
      };
    }
    const own = ({ job }: ProofProgress) => subjects.progress(lastTokenButOne(subject), job);
    const { body, epoch = 0 } = read(ProofProgress, subject, data, own);
    return {
      type: 'progress',
      at,
      ...body,
      epoch,
      workers: body.workers.map(({ id, assigned, done }) => ({ id, inFlight: assigned, done })),
      shards: body.shards ?? [],
      phases: phaseTimes(body.phases),
      error: body.error ?? null,
    };
  } catch {
    return { type: 'dropped', at, reason: 'malformed', count: 1 };
  }
}

/** A message whose own subject is the one it came on: nobody speaks for another actor. */
function read<Body>(
  type: MessageType<Body>,
  subject: string,
  data: Uint8Array,
  own: (body: Body) => string,
): Message<Body> {
  const message = decodeMessage(type, subject, data);
  if (own(message.body) !== subject) throw new VouchError('bad-message', `${type.type}: speaks for another`);
  return { ...message, body: shown(message.body) };
}

/** The same value, every text in it fit for a page: names of engines and adapters as well as sentences. */
function shown<T>(value: T): T {
  if (typeof value === 'string') return printable(value) as T;
  if (Array.isArray(value)) return value.map(shown) as T;
  if (typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(Object.entries(value).map(([name, part]) => [name, shown(part)])) as T;
}

const failureOf = ({ failure }: Transition | Heartbeat): Failure | null => failure ?? null;

/** Of the times by name only those of phases. */
const phaseTimes = (times: Readonly<Record<string, number>>) =>
  Object.fromEntries(
    PHASES.filter((phase) => Object.hasOwn(times, phase)).map((phase) => [phase, times[phase]!]),
  );

const within = (filter: string, subject: string): boolean => subject.startsWith(filter.slice(0, -1));
