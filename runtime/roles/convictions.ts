/**
 * Which workers were found to have computed wrongly, in a bucket that all coordinators share and that survives them. A
 * conviction is for good: a worker's id belongs to its credentials, and who answers for it may take it back
 * (`vouch pardon worker`).
 *
 * Whoever may write the bucket, that is every coordinator and the provisioner, can convict anybody.
 */
import { z } from 'zod';
import { canonicalJson, utf8 } from '../../protocols/encoding.ts';
import { Id } from '../../protocols/envelope.ts';
import { VouchError } from '../../protocols/errors.ts';
import { BUCKETS } from '../../protocols/streams.ts';
import type { Bus } from '../nats/bus.ts';

const Conviction = z.object({
  /** whose result was wrong, in which job, by which coordinator's word */
  worker: Id,
  job: Id,
  coordinator: Id,
  /** of the coordinator's clock, for people */
  time: z.iso.datetime(),
});
export type Conviction = z.infer<typeof Conviction>;

/** Undefined for a worker that nobody has convicted. What is not a conviction convicts as well: somebody wrote it there. */
export async function convictionOf(bus: Bus, worker: string): Promise<Conviction | undefined> {
  const entry = await bus.bucket(BUCKETS.convictions).get(worker);
  if (!entry || entry.value.length === 0) return undefined;
  try {
    return Conviction.parse(JSON.parse(new TextDecoder().decode(entry.value)));
  } catch {
    return { worker, job: 'unknown', coordinator: 'unknown', time: new Date(0).toISOString() };
  }
}

export async function convict(bus: Bus, conviction: Conviction): Promise<void> {
  await bus.bucket(BUCKETS.convictions).put(conviction.worker, utf8(canonicalJson(conviction)));
}

/** Takes a conviction back. Throws `bad-input` where there is none. */
export async function pardon(bus: Bus, worker: string): Promise<Conviction> {
  const conviction = await convictionOf(bus, worker);
  if (!conviction)
    throw new VouchError('bad-input', `worker ${worker}: nobody has found a result of it to be wrong`);
  await bus.bucket(BUCKETS.convictions).delete(worker);
  return conviction;
}
