/**
 * The coordinators' count of a model's proofs, in a bucket that all of them share. It stands against requesters; whoever
 * runs the NATS server can reset it, which is why each key-broker counts as well, by its own signed chain (audit-log.ts).
 */
import { z } from 'zod';
import { fromUtf8, utf8 } from '../../protocols/encoding.ts';
import { Id, parse } from '../../protocols/envelope.ts';
import { messageOf, VouchError } from '../../protocols/errors.ts';
import { BUCKETS } from '../../protocols/streams.ts';
import { token } from '../../protocols/subjects.ts';
import {
  addGranted,
  checkBudget,
  type Granted,
  NOTHING_SPENT,
  type Spent,
  type Terms,
} from '../../protocols/terms.ts';
import type { Bus } from '../nats/bus.ts';

/** Several coordinators may count at once; each round one of them gets through. */
const ROUNDS = 32;

const Stored = z.strictObject({
  version: z.literal(1),
  recent: z.array(z.strictObject({ job: Id, requester: Id, time: z.number() })),
  // Pairs, because a record would lose a requester who is called `__proto__`.
  before: z.array(z.tuple([Id, z.int().min(1)])),
});

/** Counts one more proof of a model. Throws `terms-refused` when it would be too many, `bad-file`, `busy`. */
export async function grant(bus: Bus, model: string, terms: Terms, granted: Granted): Promise<void> {
  const bucket = bus.bucket(BUCKETS.budgets);
  const key = token(model, 'model');
  for (let round = 0; round < ROUNDS; round++) {
    const entry = await bucket.get(key);
    const spent = entry === undefined ? NOTHING_SPENT : read(entry.value, model);
    checkBudget(terms, spent, granted);
    const { recent, before } = addGranted(spent, granted);
    const stored: z.infer<typeof Stored> = {
      version: 1,
      recent: [...recent],
      before: Object.entries(before),
    };
    const value = utf8(JSON.stringify(stored));
    try {
      await (entry === undefined ? bucket.create(key, value) : bucket.update(key, value, entry.revision));
      return;
    } catch (error) {
      if (!(error instanceof VouchError && error.code === 'conflict')) throw error;
    }
  }
  throw new VouchError('busy', `budget of model ${model}: too many coordinators count at once; try again`);
}

function read(value: Uint8Array, model: string): Spent {
  try {
    const { recent, before } = parse(Stored, JSON.parse(fromUtf8(value)), 'budget');
    return { recent, before: Object.fromEntries(before) };
  } catch (error) {
    throw new VouchError(
      'bad-file',
      `budget of model ${model}: expected the count of its proofs in bucket ${BUCKETS.budgets}, got other bytes (${messageOf(error)})`,
    );
  }
}
