/**
 * The workers that a coordinator can use: heard lately, with evidence that its policy accepts, and with a queue of
 * their own. What becomes of each is decided by its actor (actors/fleet-member.ts), a child of the coordinator's; here
 * heartbeats become its events, and its effects are done.
 *
 * Not guaranteed: that a worker computes right; whoever uses a result checks it, and bans its maker.
 */
import type { ActorRefFrom, AnyActorRef } from 'xstate';
import { fleetMemberMachine } from '../../actors/fleet-member.ts';
import { msmWorkerMachine } from '../../actors/msm-worker.ts';
import { memberActorId, type ProofCoordinatorEvent } from '../../actors/proof-coordinator.ts';
import { ControlReply, ControlRequest, EvidenceReply, EvidenceRequest } from '../../protocols/enclave.ts';
import { decodeMessage } from '../../protocols/envelope.ts';
import { messageOf, VouchError } from '../../protocols/errors.ts';
import { filters, lastToken, subjects } from '../../protocols/subjects.ts';
import { Heartbeat } from '../../protocols/transition.ts';
import { freshNonce } from '../attest/identity.ts';
import type { WorkerOffer } from '../msm/shards/plan.ts';
import type { Bus } from '../nats/bus.ts';
import { ensureShardConsumer, provisionMemoryStreams } from '../nats/provision.ts';
import { ask } from '../nats/service.ts';
import { type RoleContext, statesTagged } from './host.ts';

/** A worker in one of these has handed back what it had. */
const OVER = statesTagged(msmWorkerMachine, 'settled');

/** What is known of a worker beside the state of its actor, for one boot of it. */
interface Member {
  readonly boot: string;
  /** what it offers; replaced as a whole by every heartbeat */
  offer: WorkerOffer;
  /** whether it may see plaintext scalars */
  trusted: boolean;
  /** HPKE key in its accepted evidence */
  sealingKey?: Uint8Array;
}

export interface FleetOptions extends Pick<RoleContext, 'source' | 'log' | 'effect'> {
  readonly bus: Bus;
  /** Returns the HPKE key that accepted evidence binds; throws for any other evidence. */
  verify(document: unknown, nonce: string): Promise<Uint8Array>;
}

export type FleetEvent = { readonly type: 'ready' | 'gone'; readonly worker: string };

export interface Fleet {
  /** The logic of one worker's actor, for the coordinator's machine. */
  readonly member: typeof fleetMemberMachine;
  /** Begins to listen for workers; the coordinator's actor is told of them. */
  follow(coordinator: AnyActorRef): void;
  /** Workers that may get shards now. Only class `attested` may see plaintext scalars. */
  ready(): WorkerOffer[];
  /** The key to seal a worker's shards to. Throws `not-ready` when it is gone. */
  sealingKey(worker: string): Uint8Array;
  /** A worker could not open what was sealed to the key that we know: it may have newer ones, so it is asked. */
  reattest(worker: string): void;
  /** A worker that was convicted of a wrong result is told so and gets nothing more until the coordinator restarts. */
  ban(worker: string): void;
  /** Tells a worker that it was convicted. */
  suspend(worker: string): void;
  /** Returns a function that ends it. */
  onChange(listener: (event: FleetEvent) => void): () => void;
  close(): void;
}

export function createFleet({ bus, source, log, effect, verify }: FleetOptions): Fleet {
  const members = new Map<string, Member>();
  const listeners = new Set<(event: FleetEvent) => void>();
  const announce = (event: FleetEvent) => {
    for (const listener of listeners) listener(event);
  };
  const stops: Array<() => void> = [];
  let coordinator: AnyActorRef | undefined;
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
  /** asked again now */
  const renewing = new Set<string>();

  const member = fleetMemberMachine.provide({
    actors: {
      attest: effect('attest', ({ input: { id } }) => attest(id), { ofRequest: true }),
      place: effect(
        'place',
        async ({ input: { id } }) => {
          await provisionMemoryStreams(bus);
          await ensureShardConsumer(bus, id);
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
    if (id !== lastToken(received.subject) || !offer) return;
    const known = members.get(id);
    // A new boot has new keys: what the old one held is lost.
    if (known && (OVER.has(state) || known.boot !== boot)) send({ type: 'worker.left', id });
    if (OVER.has(state)) return;
    const latest = {
      offer: { id, credit: offer.credit, resident: new Set(offer.resident) },
      trusted: offer.class === 'attested',
    };
    const same = members.get(id);
    if (same) Object.assign(same, latest);
    else members.set(id, { boot, ...latest });
    send({ type: 'worker.heard', id, credit: offer.credit, leaseMs });
    // The machine keeps no more workers than it can, and none that is banned.
    if (!actorOf(id)) members.delete(id);
  };

  return {
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
      [...members].flatMap(([id, { offer, trusted }]) => {
        const now = actorOf(id)?.getSnapshot();
        // What it promises counts within the bounds of its actor.
        return trusted && now?.hasTag('up') ? [{ ...offer, credit: now.context.credit }] : [];
      }),
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
    ban: (id) => send({ type: 'worker.banned', id }),
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
}
