/**
 * What the world may see of an actor: its transitions and its heartbeat. Both are allow-lists: state names,
 * ids, rounded timings and counts. Nothing else of an actor's context ever leaves its process.
 */
import { z } from 'zod';
import { Capability } from './device.ts';
import { Id, messageType } from './envelope.ts';
import { ACTOR_KINDS } from './subjects.ts';

/** A state path such as `ready.running`. */
const StateName = z
  .string()
  .regex(/^[a-zA-Z]+(?:[.-][a-zA-Z]+)*$/)
  .max(80);
const EventName = z.string().regex(/^[a-zA-Z0-9@._:-]{1,120}$/);
/** XState's own event types without the ids that they carry, so that they may be seen; every other type as it is. */
export function shownEvent(type: string): string {
  if (type === 'xstate.init') return 'start';
  if (type.startsWith('xstate.done.')) return 'done';
  if (type.startsWith('xstate.error.')) return 'error';
  if (type.startsWith('xstate.after.')) return `after.${type.split('.')[2]}`;
  return type;
}
const MAX_COUNTS = 64;
/** Counts and rounded timings by name; the only free-form part, and it is numbers. */
const Counts = z
  .record(z.string().regex(/^[a-zA-Z]{1,32}$/), z.number())
  .refine((counts) => Object.keys(counts).length <= MAX_COUNTS, `expected at most ${MAX_COUNTS} counts`);
/**
 * Why an actor does not work, in words for people. The sentence is that of a coded error, which names no secret; an error
 * without a code has none, and is found in the log by its id.
 */
const Failed = z.object({
  code: z.string().min(1).max(64).describe('one of the error codes'),
  message: z
    .string()
    .max(300)
    .describe('one sentence for people; strip control characters before you print it'),
  errorId: z.string().max(64).describe("finds the error in the role's log"),
});
export type Failed = z.infer<typeof Failed>;
const Part = z.number().min(0).max(1);
const GpuUse = z.object({
  proofs: Part.describe('in which it computed on the GPU'),
  inferences: Part.describe('in which an inference of the same host was under way there'),
  bytes: z
    .number()
    .min(0)
    .max(2 ** 50)
    .describe("of the GPU's memory that its keys and points take"),
  budget: z
    .number()
    .min(0)
    .max(2 ** 50)
    .describe('that they may take now'),
});
export type GpuUse = z.infer<typeof GpuUse>;
/** A rogue actor must not be able to count as alive for ever. */
const MAX_LEASE_MS = 600_000;

export const Transition = messageType(
  'transition',
  1,
  z.object({
    kind: z.enum(ACTOR_KINDS).describe('the `<kind>` of the subject'),
    id: Id.describe('the `<id>` of the subject'),
    boot: Id.describe('random per start of the process: a new boot restarts `seq`'),
    seq: z
      .int()
      .min(1)
      .describe('1, 2, 3, ... per boot: a gap beyond `coalesced` means that transitions were lost'),
    from: StateName.nullable().describe('state path such as `ready.running`; null at the start'),
    to: StateName.describe('state path'),
    event: EventName.describe('type of the event that caused it'),
    coalesced: z
      .int()
      .min(0)
      .optional()
      .describe(
        'so many numbers before `seq` were left out by the actor itself, which has changed too often',
      ),
    counts: Counts.describe('counts and rounded timings of this kind of actor'),
    failure: Failed.optional().describe('why it works no more; only in states tagged `failed`'),
  }),
);
export type Transition = z.infer<typeof Transition.schema>;

export const Heartbeat = messageType(
  'heartbeat',
  1,
  z.object({
    kind: z.enum(ACTOR_KINDS).describe('the `<kind>` of the subject'),
    id: Id.describe('the `<id>` of the subject'),
    boot: Id.describe('random per start of the process'),
    seq: z.int().min(0).describe('of the latest transition'),
    state: StateName.describe('state path'),
    leaseMs: z
      .int()
      .min(100)
      .max(MAX_LEASE_MS)
      .describe('an actor that was not heard for so many milliseconds is unknown, not alive'),
    counts: Counts.describe('counts and rounded timings of this kind of actor'),
    failure: Failed.optional().describe('why it works no more; only in states tagged `failed`'),
    worker: z
      .object({
        class: z.enum(['attested', 'masked']).describe('what it may see of scalars'),
        engine: z.string().max(40).describe('what it computes with'),
        credit: z
          .int()
          .min(0)
          .max(2 ** 30)
          .describe('bytes of scalars that it is ready to hold, 32 each, those of shards in hand included'),
        inHand: z
          .array(z.guid())
          .max(64)
          .describe("ids of the shards' messages that it has, oldest first: what is not here did not arrive"),
        rates: z
          .object({ g1: z.number().positive().max(1e12), g2: z.number().positive().max(1e12) })
          .describe(
            'points per second, with scalars of 254 bits, as it has measured itself, corrected by what its sums took',
          ),
        resident: z
          .array(z.string().regex(/^[0-9a-f]{16}(\+[1-9][0-9]{0,4})?$/))
          .max(1024)
          .describe(
            'first 16 digits of the digests of chunks that it holds, newest last; `+3` behind one: and the 3 that follow it in its key',
          ),
        gpu: GpuUse.optional().describe(
          'how it shares the GPU with inferences, as parts of the last ten seconds; absent without a GPU',
        ),
      })
      .optional()
      .describe('what a worker offers; absent in others'),
    gpu: Capability.optional().describe('what a GPU device was measured to do, while it is ready'),
  }),
);
export type Heartbeat = z.infer<typeof Heartbeat.schema>;

/** A pointer to a message that a consumer was given too often; the message itself stays where it is. */
export const DeadLetter = messageType(
  'dead.letter',
  1,
  z.object({
    stream: Id.describe('the `<stream>` of the subject'),
    consumer: Id.describe('the `<consumer>` of the subject'),
    sequence: z.int().min(1).describe('where the message lies in the stream'),
    deliveries: z.int().min(1).describe('how often it was delivered'),
  }),
);
export type DeadLetter = z.infer<typeof DeadLetter.schema>;
