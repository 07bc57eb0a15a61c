/**
 * Makes the streams, buckets and consumers that protocols/streams.ts describes, and checks those that exist. Doing
 * it twice changes nothing. An existing stream with other settings is named, with what differs, because it may belong to
 * somebody or hold what nobody wants cut. One thing is changed in place, with the provisioner's rights: a stream that has
 * no limit where it should have one gets it, if all that lies in it is within that limit, so that nothing is lost.
 *
 * Which server features are needed is checked here, first.
 */
import { VouchError } from '../../protocols/errors.ts';
import {
  BUCKET_AGES,
  BUCKETS,
  PROOF_REQUEST_CONSUMER,
  STREAMS,
  type StreamSpec,
} from '../../protocols/streams.ts';
import { filters } from '../../protocols/subjects.ts';
import type { Bus } from './bus.ts';
import { CONSUMER_NOT_FOUND, JetStreamError, STREAM_NOT_FOUND } from './jetstream.ts';
import { memoryStreams } from './rights.ts';
import { atLeast } from './server-version.ts';

const OLDEST_SERVER = '2.9.0';
const NANOS = 1e9;
/**
 * Streams reserve their size. One that does not fit takes a quarter, and a quarter of that, down to this: so that those that
 * are still to be made find some room.
 */
const LEAST_RESERVATION = 256 * 1024 * 1024;

/** The names of what was made; empty when everything was there. */
export interface Provisioned {
  readonly created: readonly string[];
}

type Config = Readonly<Record<string, unknown>>;

/** Everything, with the provisioner's rights. Throws `nats-feature`, or `conflict` where something differs. */
export async function provision(bus: Bus): Promise<Provisioned> {
  checkServer(bus);
  const created: string[] = [];
  const note = (name: string, made: boolean) => void (made && created.push(name));
  for (const bucket of Object.values(BUCKETS))
    note(bucket, await ensureStream(bus, bucketConfig(bucket), { tighten: true }));
  for (const spec of smallestFirst(Object.values(STREAMS)))
    note(spec.name, await ensureStream(bus, streamConfig(spec), { tighten: true }));
  note(
    `${STREAMS.proofRequests.name}/${PROOF_REQUEST_CONSUMER}`,
    await ensureConsumer(bus, STREAMS.proofRequests.name, {
      durable_name: PROOF_REQUEST_CONSUMER,
      filter_subject: filters.proofRequests,
      // A coordinator calls `working()` at a third of this.
      ack_wait: 12 * NANOS,
      max_deliver: 10,
      max_ack_pending: 1000,
    }),
  );
  return { created };
}

/** The streams that a restart of the server wipes, with the coordinator's or the provisioner's rights. */
export async function provisionMemoryStreams(bus: Bus): Promise<Provisioned> {
  const created: string[] = [];
  for (const spec of smallestFirst(memoryStreams()))
    if (await ensureStream(bus, streamConfig(spec))) created.push(spec.name);
  return { created };
}

/** A stream reserves its size, the largest perhaps all that is left, and then no other can be made. */
function smallestFirst(specs: readonly StreamSpec[]): StreamSpec[] {
  return specs.toSorted((a, b) => a.maxBytes - b.maxBytes);
}

function checkServer(bus: Bus): void {
  const { version, jetstream } = bus.server;
  if (!atLeast(version, OLDEST_SERVER)) {
    throw new VouchError(
      'nats-feature',
      `nats-server: expected version ${OLDEST_SERVER} or newer (direct get), this one is ${version}`,
    );
  }
  if (!jetstream) {
    throw new VouchError(
      'nats-feature',
      'nats-server: JetStream is off; start it with -js, or with a jetstream block in its configuration',
    );
  }
}

function streamConfig(spec: StreamSpec): Config {
  return {
    name: spec.name,
    subjects: spec.subjects,
    storage: spec.storage,
    retention: spec.retention,
    discard: spec.discard,
    max_age: spec.maxAge * NANOS,
    max_msgs_per_subject: spec.maxPerSubject,
    max_bytes: spec.maxBytes,
    max_msgs: spec.maxMessages,
    max_msg_size: spec.maxMessageBytes,
    deny_delete: spec.denyDelete,
    deny_purge: spec.denyPurge,
    allow_direct: spec.allowDirect,
    duplicate_window: spec.duplicateWindow * NANOS,
    num_replicas: 1,
  };
}

/** A key-value bucket is a stream of this form (ADR-8), one revision per key. */
function bucketConfig(name: keyof typeof BUCKET_AGES): Config {
  return {
    name: `KV_${name}`,
    subjects: [`$KV.${name}.>`],
    storage: 'file',
    retention: 'limits',
    discard: 'new',
    max_age: BUCKET_AGES[name] * NANOS,
    max_msgs_per_subject: 1,
    max_bytes: 32 * 1024 * 1024,
    max_msg_size: 1024 * 1024,
    deny_delete: true,
    deny_purge: false,
    allow_direct: true,
    allow_rollup_hdrs: true,
    duplicate_window: 120 * NANOS,
    num_replicas: 1,
  };
}

interface Existing {
  readonly config: Config;
  readonly state: { readonly messages: number; readonly bytes: number; readonly first_ts?: string };
}

/** Returns whether it was made. */
async function ensureStream(bus: Bus, config: Config, { tighten = false } = {}): Promise<boolean> {
  const name = config.name as string;
  const existing = await bus
    .api<Existing>(`STREAM.INFO.${name}`)
    .catch((error) => (isMissing(error, STREAM_NOT_FOUND) ? undefined : featureError(error)));
  if (existing !== undefined) {
    const limits = tighten ? missingLimits(config, existing) : {};
    const wanted = { ...existing.config, ...limits };
    checkSame(`stream ${name}`, config, wanted);
    if (Object.keys(limits).length > 0) await bus.api(`STREAM.UPDATE.${name}`, wanted);
    return false;
  }
  for (let maxBytes = config.max_bytes as number; ; maxBytes = Math.floor(maxBytes / 4)) {
    try {
      await bus.api(`STREAM.CREATE.${name}`, { ...config, max_bytes: maxBytes });
      return true;
    } catch (error) {
      const reservable =
        error instanceof VouchError && error.code === 'storage-full' && maxBytes > LEAST_RESERVATION;
      if (!reservable) return featureError(error);
    }
  }
}

/** The limits that an existing stream lacks, of those that what lies in it is within. Old leases (a bucket's) may go. */
function missingLimits(wanted: Config, { config, state: { messages, bytes, first_ts } }: Existing): Config {
  const ephemeral = config.allow_rollup_hdrs === true;
  const oldest = messages === 0 || ephemeral ? 0 : (Date.now() - Date.parse(first_ts ?? '')) * 1e6;
  const lies: Config = { max_bytes: bytes, max_msgs: messages, max_msg_size: 0, max_age: oldest };
  const limits = Object.entries(lies).filter(
    ([field, now]) =>
      !((config[field] as number) > 0) &&
      (wanted[field] as number) > 0 &&
      (now as number) <= (wanted[field] as number),
  );
  const missing = Object.fromEntries(limits.map(([field]) => [field, wanted[field]]));
  // What gives way at a limit that is not reached is a choice that costs nothing.
  return 'max_bytes' in missing ? { ...missing, discard: wanted.discard } : missing;
}

/** Returns whether it was made. Only pull consumers: no deliver subject is ever set. */
async function ensureConsumer(bus: Bus, stream: string, config: Config): Promise<boolean> {
  const name = (config.durable_name ?? config.name) as string;
  const full: Config = {
    ...config,
    name,
    ack_policy: 'explicit',
    deliver_policy: 'all',
    replay_policy: 'instant',
  };
  const existing = await bus
    .api<{ config: Config }>(`CONSUMER.INFO.${stream}.${name}`)
    .catch((error) => (isMissing(error, CONSUMER_NOT_FOUND) ? undefined : featureError(error)));
  if (existing !== undefined) {
    checkSame(`consumer ${stream}/${name}`, full, existing.config);
    return false;
  }
  const body = { stream_name: stream, config: full, action: 'create' };
  await bus.api(`CONSUMER.CREATE.${stream}.${name}.${config.filter_subject as string}`, body);
  return true;
}

const isMissing = (error: unknown, code: number) => error instanceof JetStreamError && error.apiCode === code;

function featureError(error: unknown): never {
  if (error instanceof VouchError && error.code === 'no-responder') {
    throw new VouchError(
      'nats-feature',
      'nats-server: JetStream is off for this account; enable it, or use credentials of an account that has it',
    );
  }
  throw error;
}

const RAISABLE: ReadonlySet<string> = new Set(['max_msgs', 'max_msg_size']);

/**
 * Throws `conflict` naming every setting that differs. A smaller reservation is accepted (see `ensureStream`), and a limit
 * that somebody has raised.
 */
function checkSame(what: string, wanted: Config, found: Config): void {
  const differences = Object.entries(wanted)
    .filter(([field, value]) => {
      const other = found[field] ?? (typeof value === 'boolean' ? false : undefined);
      if (field === 'max_bytes' && (value as number) > 0) {
        return !(typeof other === 'number' && other >= Math.min(value as number, LEAST_RESERVATION));
      }
      if (RAISABLE.has(field) && (value as number) > 0)
        return !(typeof other === 'number' && other >= (value as number));
      return JSON.stringify(value) !== JSON.stringify(other);
    })
    .map(
      ([field, value]) => `${field} is ${JSON.stringify(found[field])}, expected ${JSON.stringify(value)}`,
    );
  if (differences.length > 0) {
    throw new VouchError(
      'conflict',
      `${what} exists with other settings: ${differences.join('; ')}. Rename or delete it, or use another account or server`,
    );
  }
}
