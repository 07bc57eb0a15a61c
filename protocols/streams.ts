/**
 * The JetStream streams, consumers and buckets that Vouch needs, as data. `runtime/nats/provision.ts` creates and
 * checks them. `durable` streams hold what must survive a power cut: the server has to sync before it
 * acknowledges (`sync_interval: always`, nats-server 2.10 and later).
 */
import { filters } from './subjects.ts';

export interface StreamSpec {
  readonly name: string;
  readonly subjects: readonly string[];
  readonly storage: 'file' | 'memory';
  readonly retention: 'limits' | 'workqueue';
  /**
   * What gives way when the stream is full: the oldest message, or the new one (refused).
   */
  readonly discard: 'old' | 'new';
  /** seconds; 0 = for ever */
  readonly maxAge: number;
  /** messages kept per subject, the latest; -1 = unlimited */
  readonly maxPerSubject: number;
  /** bytes; -1 = unlimited */
  readonly maxBytes: number;
  readonly denyDelete: boolean;
  readonly denyPurge: boolean;
  readonly allowDirect: boolean;
  readonly durable: boolean;
  /** seconds in which a message with the same Nats-Msg-Id is dropped */
  readonly duplicateWindow: number;
}

const GIB = 1024 ** 3;
const base = {
  storage: 'file',
  retention: 'limits',
  discard: 'new',
  maxAge: 0,
  maxPerSubject: -1,
  maxBytes: -1,
  denyDelete: false,
  denyPurge: false,
  allowDirect: true,
  durable: false,
  duplicateWindow: 120,
} as const;

export const STREAMS = {
  models: { ...base, name: 'VOUCH_MODELS', subjects: [filters.models], maxPerSubject: 1, discard: 'old' },
  proofRequests: {
    ...base,
    name: 'VOUCH_PROOF_REQUESTS',
    subjects: [filters.proofRequests],
    retention: 'workqueue',
    allowDirect: false,
    durable: true,
  },
  shards: {
    ...base,
    name: 'VOUCH_SHARDS',
    subjects: [filters.shards],
    storage: 'memory',
    retention: 'workqueue',
    maxAge: 3600,
    maxBytes: 2 * GIB,
    allowDirect: false,
  },
  shardResults: {
    ...base,
    name: 'VOUCH_SHARD_RESULTS',
    subjects: [filters.shardResults],
    storage: 'memory',
    maxAge: 3600,
    allowDirect: false,
  },
  proofs: {
    ...base,
    name: 'VOUCH_PROOFS',
    subjects: [filters.proofs],
    denyDelete: true,
    denyPurge: true,
    durable: true,
  },
  receipts: {
    ...base,
    name: 'VOUCH_RECEIPTS',
    subjects: [filters.receipts],
    denyDelete: true,
    denyPurge: true,
    durable: true,
  },
  audits: {
    ...base,
    name: 'VOUCH_AUDITS',
    subjects: [filters.audits],
    denyDelete: true,
    denyPurge: true,
    durable: true,
  },
  // Chunks: whoever may write one may write it again, so that what was damaged is mended by storing it once more.
  keys: { ...base, name: 'VOUCH_KEYS', subjects: [filters.keys], maxPerSubject: 1, maxBytes: 64 * GIB },
  testSets: {
    ...base,
    name: 'VOUCH_TEST_SETS',
    subjects: [filters.testSets],
    maxPerSubject: 1,
    maxBytes: 4 * GIB,
  },
  sealedModels: { ...base, name: 'VOUCH_SEALED_MODELS', subjects: [filters.sealedModels], maxPerSubject: 1 },
  states: {
    ...base,
    name: 'VOUCH_STATES',
    subjects: [filters.states],
    storage: 'memory',
    maxAge: 86_400,
    maxPerSubject: 1000,
    discard: 'old',
  },
  dead: { ...base, name: 'VOUCH_DEAD', subjects: [filters.dead], maxAge: 30 * 86_400, discard: 'old' },
} as const satisfies Record<string, StreamSpec>;
export type StreamKey = keyof typeof STREAMS;

export const BUCKETS = { leases: 'vouch_leases', budgets: 'vouch_budgets' } as const;

/** The durable pull consumer on VOUCH_PROOF_REQUESTS that all coordinators share. */
export const PROOF_REQUEST_CONSUMER = 'coordinator';
/**
 * The durable pull consumer on VOUCH_SHARDS that belongs to one worker: named like it, because a permission
 * template replaces whole tokens only.
 */
export const shardConsumer = (worker: string): string => worker;

/** Chunk size of blobs, bytes: below a default server's 1 MiB payload limit with room for headers. */
export const CHUNK_BYTES = 512 * 1024;
/** No chunk is longer. */
export const MAX_CHUNK_BYTES = 8 * 1024 * 1024;
