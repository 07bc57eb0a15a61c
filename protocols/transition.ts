/**
 * What the world may see of an actor: its transitions and its heartbeat. Both are allow-lists: state names,
 * ids, rounded timings and counts. Nothing else of an actor's context ever leaves its process.
 */
import { z } from 'zod';
import { Id, messageType } from './envelope.ts';
import { ACTOR_KINDS } from './subjects.ts';

/** A state path such as `ready.running`. */
const StateName = z
  .string()
  .regex(/^[a-zA-Z]+(?:[.-][a-zA-Z]+)*$/)
  .max(80);
const EventName = z.string().regex(/^[a-zA-Z0-9@._:-]{1,120}$/);
/** Counts and rounded timings by name; the only free-form part, and it is numbers. */
const Counts = z.record(z.string().regex(/^[a-zA-Z]{1,32}$/), z.number().finite());

export const Transition = messageType(
  'transition',
  1,
  z.object({
    kind: z.enum(ACTOR_KINDS),
    id: Id,
    /** random per start of the process: a new boot restarts `seq` */
    boot: Id,
    /** 1, 2, 3, ... per boot: a gap means that transitions were dropped */
    seq: z.int().min(1),
    from: StateName.nullable(),
    to: StateName,
    event: EventName,
    counts: Counts,
  }),
);
export type Transition = z.infer<typeof Transition.schema>;

export const Heartbeat = messageType(
  'heartbeat',
  1,
  z.object({
    kind: z.enum(ACTOR_KINDS),
    id: Id,
    boot: Id,
    seq: z.int().min(0),
    state: StateName,
    /** milliseconds after which an actor that was not heard is unknown, not alive */
    leaseMs: z.int().min(100),
    counts: Counts,
    /** what a worker offers; absent on others */
    worker: z
      .object({
        class: z.enum(['attested', 'masked']),
        engine: z.string().max(40),
        /** shards it is ready to take now */
        credit: z.int().min(0).max(1024),
        /** first 16 hex digits of the chunk digests it holds, newest last */
        resident: z.array(z.string().regex(/^[0-9a-f]{16}$/)).max(1024),
      })
      .optional(),
  }),
);
export type Heartbeat = z.infer<typeof Heartbeat.schema>;
