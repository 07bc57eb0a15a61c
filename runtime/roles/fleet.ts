/**
 * The workers that a coordinator can use: heard lately, with evidence that its policy accepts, and never convicted of a
 * wrong result. What becomes of each is decided by its actor (actors/fleet-member.ts), a child of the coordinator's; here
 * heartbeats become its events, and its effects are done. How fast and how punctual each is, is remembered over its boots
 * (track-record.ts).
 *
 * Not guaranteed: that a worker computes right; whoever uses a result checks it, and convicts its maker.
 */
import type { ActorRefFrom, AnyActorRef } from 'xstate';
import { fleetMemberMachine } from '../../actors/fleet-member.ts';
import { msmWorkerMachine } from '../../actors/msm-worker.ts';
import { memberActorId, type ProofCoordinatorEvent } from '../../actors/proof-coordinator.ts';
import { ControlReply, ControlRequest, EvidenceReply, EvidenceRequest } from '../../protocols/enclave.ts';
import { decodeMessage } from '../../protocols/envelope.ts';
import { messageOf, VouchError } from '../../protocols/errors.ts';
import { WorkerStanding } from '../../protocols/msm.ts';
import { filters, lastToken, subjects } from '../../protocols/subjects.ts';
import { Heartbeat } from '../../protocols/transition.ts';
import { freshNonce } from '../attest/identity.ts';
import type { NodeOffer } from '../msm/shards/ledger.ts';
import type { Bus } from '../nats/bus.ts';
import { provisionMemoryStreams } from '../nats/provision.ts';
import { ask } from '../nats/service.ts';
import { convict, convictionOf } from './convictions.ts';
import { type RoleContext, statesTagged } from './host.ts';
import { createTrackRecords, type TrackRecords } from './track-record.ts';

/** A worker in one of these has handed back what it had. */
const OVER = statesTagged(msmWorkerMachine, 'settled');

/** What a heartbeat says that a worker offers. */
type Offer = NonNullable<Heartbeat['worker']>;

/** What is known of a worker beside the state of its actor, for one boot of it. */
interface Member {
  readonly boot: string;
  /** what it offers; replaced as a whole by every heartbeat */
  offer: Offer;
  resident: ReadonlyMap<string, number>;
  /** of scalars, opened, that are on the way to it or in its hands */
  outBytes: number;
  /** whether it may see plaintext scalars */
  trusted: boolean;
  /** HPKE key in its accepted evidence */
  sealingKey?: Uint8Array;
}

export interface FleetOptions extends Pick<RoleContext, 'source' | 'log' | 'effect'> {
  readonly bus: Bus;
  /** Returns the HPKE key that accepted evidence binds; throws for any other evidence. */
  verify(document: unknown, nonce: string): Promise<Uint8Array>;
  /** Who sums under this name already: a worker of the same one could not be told apart in a proof, and gets nothing. */
  readonly taken?: string | undefined;
}

export type FleetEvent =
  | { readonly type: 'ready' | 'gone'; readonly worker: string }
  /** it was heard, and names the messages that it has */
  | { readonly type: 'heard'; readonly worker: string; readonly inHand: ReadonlySet<string> };

/** A worker that may get shards now. */
export interface Node extends Omit<NodeOffer, 'resident'> {
  /** Chunks that it holds, by 16-digit prefixes of digests, each with how many that follow it. */
  readonly resident: ReadonlyMap<string, number>;
}

export interface Fleet {
  /** The logic of one worker's actor, for the coordinator's machine. */
  readonly member: typeof fleetMemberMachine;
  /** Begins to listen for workers; the coordinator's actor is told of them. */
  follow(coordinator: AnyActorRef): void;
  /** Workers that may get shards now. Only class `attested` may see plaintext scalars. */
  ready(): Node[];
  /** Keeps count of what a worker holds; negative when it holds so much less. */
  carry(worker: string, bytes: number): void;
  readonly records: TrackRecords;
  /** Tells a worker how it stands now. */
  tell(worker: string): void;
  /** The key to seal a worker's shards to. Throws `not-ready` when it is gone. */
  sealingKey(worker: string): Uint8Array;
  /** A worker could not open what was sealed to the key that we know: it may have newer ones, so it is asked. */
  reattest(worker: string): void;
  /** A worker was convicted of a wrong result: it is told so and gets nothing more, from any coordinator, for good. */
  ban(worker: string, job: string): void;
  /** Bans those that another coordinator has convicted since. */
  recheck(): Promise<void>;
  /** Tells a worker that it was convicted. */
  suspend(worker: string): void;
  /** Returns a function that ends it. */
  onChange(listener: (event: FleetEvent) => void): () => void;
  close(): void;
}

/** As a heartbeat spells it. */
function runOf(text: string): [name: string, following: number] {
  const [name = '', following = '0'] = text.split('+');
  return [name, Number(following)];
}

export function createFleet({ bus, source, log, effect, verify, taken }: FleetOptions): Fleet {
  const records = createTrackRecords();
  const members = new Map<string, Member>();
  const listeners = new Set<(event: FleetEvent) => void>();
  const announce = (event: FleetEvent) => {
    for (const listener of listeners) listener(event);
  };
  const stops: Array<() => void> = [];
  let coordinator: AnyActorRef | undefined;
  let saidTaken = false;
  const send = (event: ProofCoordinatorEvent) => coordinator?.send(event);
  const actorOf = (id: string) =>
    coordinator?.getSnapshot().children[memberActorId(id)] as
      | ActorRefFrom<typeof fleetMemberMachine>
      | undefined;

  const attest = async (id: string) => {
    const nonce = freshNonce();
    const subject = subjects.control('worker', id, 'attest');
    const question = { subject, source, body: { nonce } };
    const { body } = await ask(bus, [EvidenceRequest, EvidenceReply], question);
    if (body.document.enclave !== id)
      throw new VouchError('evidence-rejected', `worker ${id}: the evidence is of another worker`);
    const sealingKey = await verify(body.document, nonce);
    const known = members.get(id);
    if (known) known.sealingKey = sealingKey;
  };
  /** Boots of banned workers that were heard: a new one is a reason to ask whether it was pardoned. */
  const bannedBoots = new Map<string, string>();
  /** Whether somebody has convicted it: then it gets nothing here either. */
  const banned = async (id: string): Promise<boolean> => {
    const conviction = await convictionOf(bus, id);
    if (!conviction) return false;
    const { coordinator, job, time } = conviction;
    log(
      `${source}: worker ${id} gets nothing: ${coordinator} convicted it of a wrong result in ${job}, ${time}`,
    );
    bannedBoots.set(id, members.get(id)?.boot ?? '');
    send({ type: 'worker.banned', id });
    return true;
  };
  const hearBanned = (id: string, boot: string) => {
    if (bannedBoots.get(id) === boot) return;
    bannedBoots.set(id, boot);
    convictionOf(bus, id)
      .then((conviction) => {
        if (conviction) return fleet.suspend(id);
        bannedBoots.delete(id);
        send({ type: 'worker.pardoned', id });
      })
      .catch((error: unknown) => log(`${source}: convictions were not read: ${messageOf(error)}`));
  };
  /** asked again now */
  const renewing = new Set<string>();

  const member = fleetMemberMachine.provide({
    actors: {
      attest: effect('attest', ({ input: { id } }) => attest(id), { ofRequest: true }),
      place: effect(
        'place',
        async ({ input: { id } }) => {
          await provisionMemoryStreams(bus);
          if (await banned(id)) throw new VouchError('shard-rejected', `worker ${id} was convicted`);
        },
        { ofRequest: true },
      ),
    },
    actions: {
      joined: (_, { id }) => announce({ type: 'ready', worker: id }),
      left: (_, { id }) => {
        members.delete(id);
        announce({ type: 'gone', worker: id });
      },
    },
  });

  const hear = (received: { subject: string; data: Uint8Array }) => {
    const { body } = decodeMessage(Heartbeat, received.subject, received.data);
    const { id, boot, state, leaseMs, worker: offer } = body;
    if (id !== lastToken(received.subject)) return;
    if (id === taken) {
      if (!saidTaken)
        log(
          `${source}: worker ${id} gets nothing: this coordinator sums under that name; start it with another --id`,
          { level: 'warn' },
        );
      saidTaken = true;
      return;
    }
    const known = members.get(id);
    // A new boot has new keys: what the old one held is lost.
    if (known && (OVER.has(state) || known.boot !== boot)) send({ type: 'worker.left', id });
    if (OVER.has(state) || !offer) return;
    const resident = new Map(offer.resident.map((run) => runOf(run)));
    const latest = { offer, resident, trusted: offer.class === 'attested' };
    const same = members.get(id);
    if (same) Object.assign(same, latest);
    else members.set(id, { boot, outBytes: 0, ...latest });
    send({ type: 'worker.heard', id, credit: offer.credit, leaseMs });
    announce({ type: 'heard', worker: id, inHand: new Set(offer.inHand) });
    // The machine keeps no more workers than it can, and none that is banned.
    if (actorOf(id)) return;
    members.delete(id);
    if (coordinator?.getSnapshot().context.banned.includes(id)) hearBanned(id, boot);
  };

  const fleet: Fleet = {
    member,
    follow(ref) {
      coordinator = ref;
      const beats = bus.subscribe(filters.beatsOf('worker'), (received) => {
        try {
          hear(received);
        } catch (error) {
          log(`${source}: a heartbeat was not understood: ${messageOf(error)}`);
        }
      });
      const unwatch = bus.onState((state) => {
        if (state === 'disconnected') send({ type: 'link.lost' });
        if (state === 'connected') send({ type: 'link.back' });
      });
      stops.push(() => beats.unsubscribe(), unwatch);
    },
    ready: () =>
      [...members].flatMap(([id, { offer, trusted, resident, outBytes }]) => {
        const now = actorOf(id)?.getSnapshot();
        if (!trusted || !now?.hasTag('up')) return [];
        return [
          {
            id,
            rates: records.rates(id, offer.rates),
            ...records.link(id),
            // What it promises counts within the bounds of its actor.
            freeBytes: Math.max(0, now.context.credit - outBytes),
            standing: records.standing(id),
            resident,
          },
        ];
      }),
    carry(worker, bytes) {
      const known = members.get(worker);
      if (known) known.outBytes = Math.max(0, known.outBytes + bytes);
    },
    records,
    tell(worker) {
      const subject = subjects.control('worker', worker, 'standing');
      const body = { standing: records.standing(worker), late: records.late(worker) };
      ask(bus, [WorkerStanding, ControlReply], { subject, source, body }).catch((error: unknown) =>
        log(`${source}: worker ${worker} did not hear how it stands: ${messageOf(error)}`),
      );
    },
    sealingKey(worker) {
      const key = members.get(worker)?.sealingKey;
      if (!key) throw new VouchError('not-ready', `worker ${worker} is gone`);
      return key;
    },
    reattest(worker) {
      if (!members.has(worker) || renewing.has(worker)) return;
      renewing.add(worker);
      attest(worker)
        .catch((error: unknown) =>
          log(`${source}: worker ${worker} has no new evidence: ${messageOf(error)}`),
        )
        .finally(() => renewing.delete(worker));
    },
    ban(worker, job) {
      bannedBoots.set(worker, members.get(worker)?.boot ?? '');
      send({ type: 'worker.banned', id: worker });
      const coordinator = bus.id;
      convict(bus, { worker, job, coordinator, time: new Date().toISOString() }).catch((error: unknown) =>
        log(`${source}: the conviction of worker ${worker} was not stored: ${messageOf(error)}`),
      );
    },
    async recheck() {
      await Promise.all(
        [...members.keys()].map((id) =>
          banned(id).catch((error: unknown) =>
            log(`${source}: convictions were not read: ${messageOf(error)}`),
          ),
        ),
      );
    },
    suspend(worker) {
      const subject = subjects.control('worker', worker, 'suspend');
      ask(bus, [ControlRequest, ControlReply], { subject, source, body: {} }).catch((error: unknown) =>
        log(`${source}: worker ${worker} did not hear that it is suspended: ${messageOf(error)}`),
      );
    },
    onChange(listener) {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
    close() {
      for (const stop of stops.splice(0)) stop();
    },
  };
  return fleet;
}
