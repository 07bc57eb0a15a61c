/**
 * The workers that a coordinator knows: heard lately, with evidence that its policy accepts, and with a queue of
 * their own. A worker is attested once per boot, before it gets its first shard, and forgotten when its heartbeat
 * stops. Its queue lies in the server's memory, so after every lost connection it is made again.
 *
 * What a heartbeat says is bounded here, because a worker says it of itself. Not guaranteed: that a worker computes
 * right; whoever uses a result checks it, and bans its maker.
 */
import { EvidenceReply, EvidenceRequest } from '../../protocols/enclave.ts';
import { decodeMessage } from '../../protocols/envelope.ts';
import { messageOf, VouchError } from '../../protocols/errors.ts';
import { filters, lastToken, subjects } from '../../protocols/subjects.ts';
import { Heartbeat } from '../../protocols/transition.ts';
import { freshNonce } from '../attest/identity.ts';
import type { Log } from '../home/log.ts';
import type { Fleet } from '../msm/shards/plan.ts';
import type { Bus } from '../nats/bus.ts';
import { ensureShardConsumer, provisionMemoryStreams } from '../nats/provision.ts';
import { ask } from '../nats/service.ts';

/** As many as a job's progress lists. */
const MAX_MEMBERS = 1024;
/** A worker that promises more cannot hold on to more than this. */
const MAX_CREDIT = 16;
const MAX_LEASE_MS = 30_000;
/** A worker that was not admitted is tried again after this, doubled each time. */
const RETRY_MS = 1_000;
const MAX_RETRY_MS = 60_000;
const LOOK_MS = 500;
/** A worker in one of these has handed back what it had, and says so once. */
const OVER = ['stopped', 'suspended', 'failed'];

interface Member {
  readonly boot: string;
  heardAt: number;
  leaseMs: number;
  /** what it offers, within our bounds; replaced as a whole by every heartbeat */
  offer: Fleet;
  attested: boolean;
  /** HPKE key in its accepted evidence */
  sealingKey?: Uint8Array;
  /** its queue is there, as far as we know */
  placed: boolean;
  admitting: boolean;
  retryAt: number;
  retryMs: number;
}

export interface FleetOptions {
  readonly bus: Bus;
  readonly source: string;
  readonly log: Log;
  /** Returns the HPKE key that accepted evidence binds; throws for any other evidence. */
  verify(document: unknown, nonce: string): Promise<Uint8Array>;
  onBeat(worker: string, state: string, credit: number): void;
  onGone(worker: string): void;
}

export type FleetEvent = { readonly type: 'ready' | 'gone'; readonly worker: string };

export interface Workers {
  /** Workers that may get shards now. Only class `attested` may see plaintext scalars. */
  ready(): Fleet[];
  /** The key to seal a worker's shards to. Throws `not-ready` when it is gone. */
  sealingKey(worker: string): Uint8Array;
  /** A worker that was convicted of a wrong result gets nothing more until the coordinator restarts. */
  ban(worker: string): void;
  /** Returns a function that ends it. */
  onChange(listener: (event: FleetEvent) => void): () => void;
  close(): void;
}

export function createFleet({ bus, source, log, verify, onBeat, onGone }: FleetOptions): Workers {
  const members = new Map<string, Member>();
  /** Grows by workers that had credentials and accepted evidence of their own, so no stranger fills it. */
  const banned = new Set<string>();
  const listeners = new Set<(event: FleetEvent) => void>();
  const tell = (event: FleetEvent) => {
    for (const listener of listeners) listener(event);
  };
  /** goes up when the queues may be lost */
  let connection = 0;

  const attest = async (id: string): Promise<Uint8Array> => {
    const nonce = freshNonce();
    const subject = subjects.control('worker', id, 'attest');
    const { body } = await ask(bus, [EvidenceRequest, EvidenceReply], { subject, source, body: { nonce } });
    if (body.document.enclave !== id)
      throw new VouchError('evidence-rejected', 'the evidence is of another worker');
    return verify(body.document, nonce);
  };
  const admit = async (id: string, member: Member) => {
    if (member.admitting || member.placed || member.retryAt > performance.now()) return;
    member.admitting = true;
    const during = connection;
    try {
      member.sealingKey ??= await attest(id);
      await provisionMemoryStreams(bus);
      await ensureShardConsumer(bus, id);
      if (members.get(id) !== member || during !== connection) return;
      member.placed = true;
      tell({ type: 'ready', worker: id });
    } catch (error) {
      log(`${source}: worker ${id} gets no work: ${messageOf(error)}`);
      member.retryAt = performance.now() + member.retryMs;
      member.retryMs = Math.min(2 * member.retryMs, MAX_RETRY_MS);
    } finally {
      member.admitting = false;
    }
  };
  const drop = (id: string) => {
    if (!members.delete(id)) return;
    onGone(id);
    tell({ type: 'gone', worker: id });
  };
  const beats = bus.subscribe(filters.beatsOf('worker'), (received) => {
    try {
      const { body } = decodeMessage(Heartbeat, received.subject, received.data);
      const { id, boot, state, worker: offer } = body;
      if (id !== lastToken(received.subject) || !offer || banned.has(id)) return;
      if (OVER.includes(state)) return drop(id);
      // A new boot has new keys: what the old one held is lost.
      if (members.get(id)?.boot !== boot) drop(id);
      if (!members.has(id) && members.size >= MAX_MEMBERS) return;
      const member = members.get(id) ?? {
        boot,
        heardAt: 0,
        leaseMs: 0,
        offer: { id, credit: 0, resident: new Set() },
        attested: false,
        placed: false,
        admitting: false,
        retryAt: 0,
        retryMs: RETRY_MS,
      };
      const credit = Math.min(offer.credit, MAX_CREDIT);
      member.heardAt = performance.now();
      member.leaseMs = Math.min(body.leaseMs, MAX_LEASE_MS);
      member.offer = { id, credit, resident: new Set(offer.resident) };
      member.attested = offer.class === 'attested';
      members.set(id, member);
      onBeat(id, state, credit);
      if (credit > 0) void admit(id, member);
    } catch (error) {
      log(`${source}: a heartbeat was not understood: ${messageOf(error)}`);
    }
  });
  const timer = setInterval(() => {
    const now = performance.now();
    for (const [id, member] of members) {
      // While we are cut off nobody can be heard, which says nothing about them.
      if (bus.state !== 'connected') member.heardAt = now;
      else if (now - member.heardAt > member.leaseMs) drop(id);
    }
  }, LOOK_MS);
  timer.unref();
  const watching = bus.onState((state) => {
    if (state === 'disconnected') connection += 1;
    for (const [id, member] of members) {
      if (state === 'disconnected') member.placed = false;
      if (state !== 'connected') continue;
      member.heardAt = performance.now();
      member.retryAt = 0;
      if (member.offer.credit > 0) void admit(id, member);
    }
  });

  return {
    ready: () =>
      [...members.values()].filter(({ placed, attested }) => placed && attested).map(({ offer }) => offer),
    sealingKey(worker) {
      const key = members.get(worker)?.sealingKey;
      if (!key) throw new VouchError('not-ready', `worker ${worker} is gone`);
      return key;
    },
    ban(worker) {
      banned.add(worker);
      drop(worker);
    },
    onChange(listener) {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
    close() {
      clearInterval(timer);
      watching();
      beats.unsubscribe();
    },
  };
}
