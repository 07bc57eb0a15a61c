/**
 * The workers that a coordinator knows: heard lately, and with evidence that its policy accepts. A worker is
 * attested once per boot, before it gets its first shard, and forgotten when its heartbeat stops.
 */
import { EvidenceReply, EvidenceRequest } from '../../protocols/enclave.ts';
import { decodeMessage } from '../../protocols/envelope.ts';
import { messageOf, VouchError } from '../../protocols/errors.ts';
import { filters, lastToken, subjects } from '../../protocols/subjects.ts';
import { Heartbeat } from '../../protocols/transition.ts';
import { freshNonce } from '../attest/identity.ts';
import type { Bus } from '../bus.ts';
import type { Fleet } from '../msm/plan.ts';
import { ensureShardConsumer } from '../provision.ts';
import { ask, type Log } from '../service.ts';

interface Member {
  boot: string;
  heardAt: number;
  leaseMs: number;
  offer: NonNullable<Heartbeat['worker']>;
  /** HPKE key in its accepted evidence */
  sealingKey?: Uint8Array;
  attesting: boolean;
}

export interface FleetOptions {
  readonly bus: Bus;
  readonly source: string;
  readonly log: Log;
  /** Returns the HPKE key that accepted evidence binds; throws for any other evidence. */
  verify(document: unknown, nonce: string): Uint8Array;
  onBeat(worker: string, state: string, credit: number): void;
  onGone(worker: string): void;
}

export function createFleet({ bus, source, log, verify, onBeat, onGone }: FleetOptions) {
  const members = new Map<string, Member>();
  const banned = new Set<string>();
  const listeners = new Set<(worker: string) => void>();

  const attest = async (id: string, member: Member) => {
    member.attesting = true;
    try {
      const nonce = freshNonce();
      const subject = subjects.control('worker', id, 'attest');
      const { body } = await ask(bus, [EvidenceRequest, EvidenceReply], { subject, source, body: { nonce } });
      if (body.document.enclave !== id)
        throw new VouchError('evidence-rejected', 'the evidence is of another worker');
      const key = verify(body.document, nonce);
      await ensureShardConsumer(bus, id);
      if (members.get(id) === member) member.sealingKey = key;
    } catch (error) {
      log(`${source}: worker ${id} gets no work: ${messageOf(error)}`);
    } finally {
      member.attesting = false;
    }
  };
  const drop = (id: string) => {
    members.delete(id);
    onGone(id);
    for (const listener of listeners) listener(id);
  };
  const beats = bus.subscribe(filters.beatsOf('worker'), (received) => {
    try {
      const { body } = decodeMessage(Heartbeat, received.subject, received.data);
      if (body.id !== lastToken(received.subject) || !body.worker || banned.has(body.id)) return;
      const known = members.get(body.id);
      // A new boot has new keys: what the old one held is lost.
      if (known && known.boot !== body.boot) drop(body.id);
      const member = members.get(body.id) ?? {
        boot: body.boot,
        heardAt: 0,
        leaseMs: 0,
        offer: body.worker,
        attesting: false,
      };
      Object.assign(member, { heardAt: performance.now(), leaseMs: body.leaseMs, offer: body.worker });
      members.set(body.id, member);
      onBeat(body.id, body.state, body.worker.credit);
      if (!member.sealingKey && !member.attesting && body.worker.credit > 0) void attest(body.id, member);
    } catch (error) {
      log(`${source}: a heartbeat was not understood: ${messageOf(error)}`);
    }
  });
  const timer = setInterval(() => {
    // While we are cut off nobody can be heard, which says nothing about them.
    if (bus.state !== 'connected') {
      for (const member of members.values()) member.heardAt = performance.now();
      return;
    }
    for (const [id, { heardAt, leaseMs }] of members) if (performance.now() - heardAt > leaseMs) drop(id);
  }, 500);
  timer.unref();

  return {
    /** Workers that may get shards now. Only class `attested` may see plaintext scalars. */
    ready: (): Fleet[] =>
      [...members]
        .filter(([, { sealingKey, offer }]) => sealingKey && offer.class === 'attested')
        .map(([id, { offer }]) => ({ id, credit: offer.credit, resident: new Set(offer.resident) })),
    sealingKey(worker: string): Uint8Array {
      const key = members.get(worker)?.sealingKey;
      if (!key) throw new VouchError('not-ready', `worker ${worker} is gone`);
      return key;
    },
    /** A worker that was convicted of a wrong result gets nothing until the coordinator restarts. */
    ban(worker: string): void {
      banned.add(worker);
      drop(worker);
    },
    onGone(listener: (worker: string) => void): () => void {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
    close(): void {
      clearInterval(timer);
      beats.unsubscribe();
    },
  };
}
