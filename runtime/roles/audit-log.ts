/**
 * A key-broker's audit log: the chain of protocols/audit.ts in the stream VOUCH_AUDITS, and a copy on the broker's own
 * disk. A record counts once the server has acknowledged it and the copy is synced, so that nobody has to trust the
 * server's disk (nats-server before 2.10 acknowledges before it syncs), and a stream that was wiped is filled again
 * from the copy before anything else is recorded. Where the two contradict each other nothing is recorded any more, hence
 * nothing released.
 *
 * The audit key lies in `.vouch/keys`. Whoever has it can write another history; a stream that takes no deletes, and
 * heads that others keep, are what stands against that.
 */
import {
  type AuditRecord,
  type Decision,
  MAX_RECORD_BYTES,
  readRecord,
  recordDigest,
  signRecord,
  unprovenRecord,
} from '../../protocols/audit.ts';
import { type Signer, signerFromSeed } from '../../protocols/cose.ts';
import { base64url, fromBase64url } from '../../protocols/encoding.ts';
import { messageOf, VouchError } from '../../protocols/errors.ts';
import { STREAMS } from '../../protocols/streams.ts';
import { subjects } from '../../protocols/subjects.ts';
import { addGranted, NOTHING_SPENT, type Spent } from '../../protocols/terms.ts';
import { appendSynced, readText, readTextIfThere } from '../home/files.ts';
import { folder } from '../home/home.ts';
import { keptSecret, knownSecret } from '../home/kept-secret.ts';
import type { Bus, StoredMessage } from '../nats/bus.ts';

/** Twice this, and the asker's own patience (5 s) is not over. */
const APPEND_MS = 2_000;
const STREAM = STREAMS.audits.name;
const MAX_DOUBTFUL = 1024;
/** A file of a million records. */
const MAX_FILE_BYTES = 1024 ** 3;

export interface AuditLog {
  /** Stores a record, or throws: `storage-full`, `not-ready`, `timeout`, `nats-unreachable`, `conflict`. */
  record(decision: Decision): Promise<void>;
  /** The proofs of a model for which the key was released, by this chain. */
  spent(model: string): Spent;
  /** Resolves when all that was to be recorded is, or has failed. */
  settled(): Promise<void>;
}

const KEY_IS = 'the audit key; without it the chain cannot go on';
const keyFile = (broker: string): string => folder('keys', `audit_${broker}`);
export const copyFile = (broker: string): string => folder('audits', `${broker}.log`);

/** This installation's audit key of a broker, made on first use. */
export const auditSigner = async (broker: string): Promise<Signer> =>
  signerFromSeed(await keptSecret(keyFile(broker), KEY_IS));

/** The public half, where this installation has the key. */
export const knownAuditKey = async (broker: string): Promise<Uint8Array | undefined> => {
  const seed = knownSecret(keyFile(broker), KEY_IS);
  return seed && (await signerFromSeed(seed)).publicKey;
};

/** One record a line, base64url. Throws `bad-file`. */
export function decodeChain(text: string, file: string): Uint8Array[] {
  const lines = text.split('\n').filter((line) => line !== '');
  return lines.map((line, i) => {
    try {
      if (line.length > MAX_RECORD_BYTES * 2) throw new VouchError('too-large', 'the line is too long');
      return fromBase64url(line, 'record');
    } catch (error) {
      throw new VouchError('bad-file', `${file}: line ${i + 1}: ${messageOf(error)}`);
    }
  });
}
export const encodeChain = (records: readonly Uint8Array[]): string =>
  records.map((record) => `${base64url(record)}\n`).join('');

export const readChainFile = (file: string): Uint8Array[] =>
  decodeChain(readText(file, 'audit log', MAX_FILE_BYTES), file);

/** A broker's records in the stream, from its first. */
export async function* storedRecords(bus: Bus, broker: string): AsyncGenerator<StoredMessage> {
  const subject = subjects.audit(broker);
  for (let next = 1; ; ) {
    const found = await bus.getFrom(STREAM, next, subject);
    if (found === undefined) return;
    yield found;
    next = found.sequence + 1;
  }
}

/**
 * Opens a broker's log, and makes stream and copy the same. Throws `conflict` where they contradict each other,
 * `bad-file` for a damaged copy, and what the bus throws.
 */
export async function openAuditLog(bus: Bus, broker: string): Promise<AuditLog> {
  const signer = await auditSigner(broker);
  const subject = subjects.audit(broker);
  const file = copyFile(broker);
  const copy = decodeChain(readTextIfThere(file, 'audit log', MAX_FILE_BYTES) ?? '', file);
  const conflict = (why: string) =>
    new VouchError(
      'conflict',
      `audit log of broker ${broker}: ${why}; give this broker another --id, or find out who wrote there`,
    );
  const own = (record: Uint8Array): AuditRecord => {
    try {
      return readRecord(signer.publicKey, record);
    } catch (error) {
      throw conflict(`a record is not ours (${messageOf(error)})`);
    }
  };

  /** number of records of the chain, its last one's digest, and that one's sequence in the stream */
  let count = 0;
  let head: string | null = null;
  let at = 0;
  /** acknowledged, and not yet in the copy */
  let unsaved: Uint8Array[] = [];
  const spent = new Map<string, Spent>();
  /** Our own records only: their signatures were checked, or nobody but us writes the copy. */
  const tally = (record: Uint8Array) => {
    const { decision, model, requester, job, time } = unprovenRecord(record);
    if (decision !== 'released' || requester === null || job === null) return;
    const granted = { requester, job, time: time.getTime() };
    spent.set(model, addGranted(spent.get(model) ?? NOTHING_SPENT, granted));
  };
  const follow = (record: Uint8Array, sequence: number) => {
    tally(record);
    count += 1;
    head = recordDigest(record);
    at = sequence;
  };
  const append = (record: Uint8Array, after = at) =>
    bus.append(subject, record, {
      msgId: recordDigest(record),
      expectLastSubjectSequence: after,
      timeoutMs: APPEND_MS,
    });
  const save = async () => {
    if (unsaved.length === 0) return;
    await appendSynced(file, encodeChain(unsaved));
    unsaved = [];
  };

  const last = await bus.getLast(STREAM, subject);
  const stored = last === undefined ? 0 : own(last.data).sequence;
  if (
    last !== undefined &&
    stored === copy.length &&
    recordDigest(last.data) === recordDigest(copy.at(-1)!)
  ) {
    for (const record of copy.slice(0, -1)) tally(record);
    follow(last.data, last.sequence);
    count = stored;
  } else {
    // One of them is behind: a new server, a lost disk, or a crash between the two.
    for await (const message of storedRecords(bus, broker)) {
      const mine = copy[count];
      const { sequence, previous } = own(message.data);
      if (sequence !== count + 1 || previous !== head)
        throw conflict(`record ${count + 1} of the stream does not follow the one before it`);
      if (mine !== undefined && recordDigest(mine) !== recordDigest(message.data))
        throw conflict(`record ${count + 1} of the stream is not that of ${file}`);
      if (mine === undefined) unsaved.push(message.data);
      follow(message.data, message.sequence);
    }
    await save();
    for (const record of copy.slice(count)) {
      const { sequence, previous } = own(record);
      if (sequence !== count + 1 || previous !== head)
        throw conflict(`line ${count + 1} of ${file} does not follow the one before it`);
      follow(record, (await append(record)).sequence);
    }
  }

  let unrecorded = 0;
  /** sent, and the acknowledgement never came: it may be in the stream */
  const doubtful = new Map<string, Uint8Array>();
  async function catchUp(): Promise<void> {
    if (doubtful.size === 0) return;
    const found = await bus.getLast(STREAM, subject);
    if (found === undefined || found.sequence === at) return;
    const record = doubtful.get(recordDigest(found.data));
    if (record === undefined) throw conflict('somebody else appends to it');
    follow(record, found.sequence);
    unsaved.push(record);
    doubtful.clear();
  }

  /** A server that has come back without its data gets what it lacks of the chain again, from our own disk. */
  async function refill(): Promise<void> {
    const found = await bus.getLast(STREAM, subject).catch((error: unknown) => {
      if (error instanceof VouchError && error.code === 'no-responder')
        throw new VouchError('not-ready', `audit log of broker ${broker}: there is no stream for it`);
      throw error;
    });
    if ((found?.sequence ?? 0) === at) return;
    await save();
    const whole = decodeChain(readTextIfThere(file, 'audit log', MAX_FILE_BYTES) ?? '', file);
    const digests = whole.map(recordDigest);
    const kept = found ? digests.indexOf(recordDigest(found.data)) + 1 : 0;
    // It is one whose acknowledgement never came, or not ours.
    if (found && kept === 0) return;
    if (digests.length !== count || digests.at(-1) !== head)
      throw conflict(`records are missing in the stream, and ${file} is not what was recorded`);
    let position = found?.sequence ?? 0;
    for (const record of whole.slice(kept)) position = (await append(record, position)).sequence;
    at = position;
    doubtful.clear();
  }

  async function store(decision: Decision): Promise<void> {
    try {
      await refill();
      await catchUp();
      await save();
      const record = await signRecord(signer, {
        broker,
        sequence: count + 1,
        previous: head,
        time: new Date(),
        unrecorded,
        decision,
      });
      if (doubtful.size >= MAX_DOUBTFUL) doubtful.delete(doubtful.keys().next().value!);
      doubtful.set(recordDigest(record), record);
      const { sequence } = await append(record);
      doubtful.clear();
      follow(record, sequence);
      unsaved.push(record);
      unrecorded = 0;
      await save();
    } catch (error) {
      if (decision.decision === 'refused') unrecorded += 1;
      if (error instanceof VouchError && error.code === 'conflict')
        throw conflict('somebody else appends to it');
      throw error;
    }
  }

  let queue: Promise<unknown> = Promise.resolve();
  return {
    record(decision) {
      const done = queue.then(() => store(decision));
      queue = done.catch(() => {});
      return done;
    },
    spent: (model) => spent.get(model) ?? NOTHING_SPENT,
    async settled() {
      await queue;
    },
  };
}
