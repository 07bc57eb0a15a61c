/**
 * The JetStream streams, consumers and buckets that Vouch needs, as data. `runtime/nats/provision.ts` creates and
 * checks them. `durable` streams hold what must survive a power cut: the server has to sync before it
 * acknowledges (`sync_interval: always`, nats-server 2.10 and later).
 *
 * Every stream has a size, which the server sets aside for it: so what fills one, a flood of requests or uploads, leaves
 * the others their room, receipts and audit records first of all. A full stream that refuses (`discard: 'new'`) keeps all
 * that it has acknowledged.
 */
import { MAX_RECORD_BYTES } from './audit.ts';
import { MAX_MESSAGE_BYTES } from './envelope.ts';
import { MAX_BUNDLE_BYTES } from './receipt.ts';
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
  /** bytes of the whole stream; a server that has less sets less aside */
  readonly maxBytes: number;
  /** bytes of one message with its headers */
  readonly maxMessageBytes: number;
  /** messages of the whole stream; -1 = unlimited */
  readonly maxMessages: number;
  readonly denyDelete: boolean;
  readonly denyPurge: boolean;
  readonly allowDirect: boolean;
  readonly durable: boolean;
  /** seconds in which a message with the same Nats-Msg-Id is dropped */
  readonly duplicateWindow: number;
}

const KIB = 1024;
const MIB = 1024 * KIB;
const GIB = 1024 * MIB;
/** Room for the headers of a message. */
const HEADERS = 4 * KIB;
const DAY = 86_400;
/** Chunk size of blobs, bytes: below a default server's 1 MiB payload limit with room for headers. */
export const CHUNK_BYTES = 512 * KIB;
/** No chunk is longer. */
export const MAX_CHUNK_BYTES = 8 * MIB;

const base = {
  storage: 'file',
  retention: 'limits',
  discard: 'new',
  maxAge: 0,
  maxPerSubject: -1,
  maxMessages: -1,
  denyDelete: false,
  denyPurge: false,
  allowDirect: true,
  durable: false,
  duplicateWindow: 120,
} as const;
/** Chunks of one kind of blob, the latest under each digest. */
const chunks = { ...base, maxPerSubject: 1, maxMessageBytes: MAX_CHUNK_BYTES + HEADERS } as const;
/** What must not be lost. */
const kept = { ...base, denyDelete: true, denyPurge: true, durable: true } as const;

export const STREAMS = {
  models: {
    ...base,
    name: 'VOUCH_MODELS',
    subjects: [filters.models],
    maxPerSubject: 1,
    discard: 'old',
    maxBytes: 128 * MIB,
    maxMessageBytes: MAX_MESSAGE_BYTES + HEADERS,
  },
  proofRequests: {
    ...base,
    name: 'VOUCH_PROOF_REQUESTS',
    subjects: [filters.proofRequests],
    retention: 'workqueue',
    allowDirect: false,
    durable: true,
    // Whoever asked has stopped waiting long before.
    maxAge: DAY,
    maxBytes: 64 * MIB,
    maxMessages: 1000,
    maxMessageBytes: 64 * KIB,
  },
  proofs: {
    ...kept,
    name: 'VOUCH_PROOFS',
    subjects: [filters.proofs],
    maxBytes: GIB,
    maxMessageBytes: MAX_MESSAGE_BYTES + HEADERS,
  },
  receipts: {
    ...kept,
    name: 'VOUCH_RECEIPTS',
    subjects: [filters.receipts],
    maxBytes: 8 * GIB,
    maxMessageBytes: MAX_BUNDLE_BYTES + HEADERS,
  },
  audits: {
    ...kept,
    name: 'VOUCH_AUDITS',
    subjects: [filters.audits],
    maxBytes: 512 * MIB,
    maxMessageBytes: MAX_RECORD_BYTES + HEADERS,
  },
  // Chunks: whoever may write one may write it again, so that what was damaged is mended by storing it once more.
  keys: { ...chunks, name: 'VOUCH_KEYS', subjects: [filters.keys], maxBytes: 64 * GIB },
  testSets: { ...chunks, name: 'VOUCH_TEST_SETS', subjects: [filters.testSets], maxBytes: GIB },
  sealedModels: {
    ...chunks,
    name: 'VOUCH_SEALED_MODELS',
    subjects: [filters.sealedModels],
    // Language models. As much as keys, so that these, which stand before, are not left without room on a small disk.
    maxBytes: 64 * GIB,
  },
  states: {
    ...base,
    name: 'VOUCH_STATES',
    subjects: [filters.states],
    storage: 'memory',
    maxAge: DAY,
    maxPerSubject: 1000,
    discard: 'old',
    maxBytes: 128 * MIB,
    maxMessageBytes: 64 * KIB,
  },
  dead: {
    ...base,
    name: 'VOUCH_DEAD',
    subjects: [filters.dead],
    maxAge: 30 * DAY,
    discard: 'old',
    maxBytes: 32 * MIB,
    maxMessageBytes: 64 * KIB,
  },
} as const satisfies Record<string, StreamSpec>;

export const BUCKETS = {
  leases: 'vouch_leases',
  budgets: 'vouch_budgets',
  convictions: 'vouch_convictions',
} as const;
/**
 * Seconds that a key of a bucket is kept after it was last written; 0 = for ever. A lease is renewed every few seconds: what
 * is a day old was given back or forgotten. What was spent of a budget, and who computed wrongly, is never forgotten.
 */
export const BUCKET_AGES: Record<(typeof BUCKETS)[keyof typeof BUCKETS], number> = {
  vouch_leases: DAY,
  vouch_budgets: 0,
  vouch_convictions: 0,
};

/** The durable pull consumer on VOUCH_PROOF_REQUESTS that all coordinators share. */
export const PROOF_REQUEST_CONSUMER = 'coordinator';
