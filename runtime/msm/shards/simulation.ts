/**
 * A fleet that exists in numbers only: the ledger's own decisions, played through with what nodes, links, the server and the
 * coordinator can do. Pure and repeatable. What comes out is a model, not a measurement.
 *
 * A coordinator has one thread that seals and sends, a server one rate at which it carries, a node one link and one engine;
 * each takes one thing after the other, and they overlap. A node sums as `computeMs` counts, slower by
 * `slowdown` where its rates are not true.
 */
import type { NodeOffer } from './hands.ts';
import { createLedger } from './ledger.ts';
import { computeMs, openedBytes, type PartShape, type Piece, type Rates, transferMs } from './work.ts';

export interface SimulatedNode {
  readonly id: string;
  readonly rates: Rates;
  readonly bytesPerSecond: number;
  readonly roundTripMs: number;
  /** of scalars, 32 bytes each, that it holds at most */
  readonly memoryBytes?: number;
  readonly resident?: NodeOffer['resident'];
  /** how much longer than its rates say it takes; 1 by default */
  readonly slowdown?: number;
  readonly joinsAt?: number;
  /** From here on it takes pieces and never answers. */
  readonly muteFrom?: number;
  /** From here on it is gone, and seen to be. */
  readonly leavesAt?: number;
}

export interface SimulatedPart {
  readonly shape: PartShape;
  /** when its scalars are there */
  readonly readyAt: number;
}

export interface SimulatedFleet {
  readonly parts: readonly SimulatedPart[];
  readonly nodes: readonly SimulatedNode[];
  readonly maxPieceBytes: number;
  /** how fast the coordinator seals and sends, and how fast the server carries, in bytes a second; by default neither takes time */
  readonly sealBytesPerSecond?: number;
  readonly serverBytesPerSecond?: number;
  /** after this the simulation gives up */
  readonly limitMs?: number;
}

export interface SimulatedPiece {
  readonly piece: Piece;
  readonly node: string;
  readonly copy: boolean;
  readonly from: number;
  readonly predictedMs: number;
  /** undefined: nobody waits for it any more */
  readonly endedAt?: number;
}

export interface SimulatedRun {
  /** when every row was summed; Infinity when the limit was reached */
  readonly endMs: number;
  readonly pieces: readonly SimulatedPiece[];
  /** who did each piece */
  readonly results: readonly { readonly piece: Piece; readonly node: string }[];
  /** how long each was at work */
  readonly busyMs: {
    readonly seal: number;
    readonly server: number;
    readonly nodes: ReadonlyMap<string, number>;
  };
  readonly bytes: number;
}

/** How often the ledger is asked who is late. */
const TICK_MS = 250;

type Event =
  | { readonly at: number; readonly type: 'look' }
  | { readonly at: number; readonly type: 'ready'; readonly shape: PartShape }
  | { readonly at: number; readonly type: 'left'; readonly node: string }
  | {
      readonly at: number;
      readonly type: 'result';
      readonly node: string;
      readonly piece: Piece;
      readonly index: number;
    };

/** Events in the order of their time, those of one time in the order in which they came. */
function createAgenda() {
  const heap: { readonly event: Event; readonly order: number }[] = [];
  let order = 0;
  const before = (a: number, b: number) =>
    heap[a]!.event.at - heap[b]!.event.at < 0 ||
    (heap[a]!.event.at === heap[b]!.event.at && heap[a]!.order < heap[b]!.order);
  const swap = (a: number, b: number) => {
    [heap[a], heap[b]] = [heap[b]!, heap[a]!];
  };
  return {
    add(event: Event): void {
      heap.push({ event, order: order++ });
      for (let at = heap.length - 1; at > 0; ) {
        const parent = (at - 1) >> 1;
        if (before(parent, at)) break;
        swap(parent, at);
        at = parent;
      }
    },
    take(): Event | undefined {
      const first = heap[0];
      const last = heap.pop();
      if (first === undefined || last === undefined || heap.length === 0) return first?.event;
      heap[0] = last;
      for (let at = 0; ; ) {
        let least = at;
        for (const child of [2 * at + 1, 2 * at + 2])
          if (child < heap.length && before(child, least)) least = child;
        if (least === at) break;
        swap(least, at);
        at = least;
      }
      return first.event;
    },
  };
}

export function simulate(fleet: SimulatedFleet): SimulatedRun {
  const { nodes, limitMs = 24 * 3_600_000 } = fleet;
  const ledger = createLedger({ maxPieceBytes: fleet.maxPieceBytes });
  const agenda = createAgenda();
  const shapes = new Map(fleet.parts.map(({ shape }) => [shape.part, shape]));
  const pieces: SimulatedPiece[] = [];
  const busy = { seal: 0, server: 0, nodes: new Map(nodes.map(({ id }) => [id, 0])) };
  const free = { seal: 0, server: 0 };
  const machines = new Map(
    nodes.map((node) => [node.id, { node, linkFreeAt: 0, engineFreeAt: 0, held: 0, gone: false }]),
  );
  let bytes = 0;
  /** when the sealing is done that is waited for */
  let lookAt = 0;

  const offers = (now: number): NodeOffer[] =>
    [...machines.values()]
      .filter(({ node, gone }) => !gone && (node.joinsAt ?? 0) <= now)
      .map(({ node, held }) => ({
        id: node.id,
        rates: node.rates,
        bytesPerSecond: node.bytesPerSecond,
        roundTripMs: node.roundTripMs,
        freeBytes: (node.memoryBytes ?? 2 ** 40) - held,
        standing: 'full',
        ...(node.resident ? { resident: node.resident } : {}),
      }));
  const send = (offer: NodeOffer, now: number): boolean => {
    const given = ledger.next(offer, offers(now), now);
    if (!given) return false;
    const { piece } = given;
    const machine = machines.get(offer.id)!;
    const { node } = machine;
    const shape = shapes.get(piece.part)!;
    const size = shape.bytes(piece.from, piece.from + piece.count, piece.bits);
    const sealing = fleet.sealBytesPerSecond ? (1000 * size) / fleet.sealBytesPerSecond : 0;
    const carrying = fleet.serverBytesPerSecond ? (1000 * size) / fleet.serverBytesPerSecond : 0;
    const resident = node.resident?.(piece.part, piece.from, piece.count) ?? true;
    const sending = transferMs(shape, piece, { bytesPerSecond: node.bytesPerSecond, resident });
    const summing = computeMs(shape, piece, node.rates) * (node.slowdown ?? 1);
    free.seal = Math.max(now, free.seal) + sealing;
    free.server = Math.max(free.seal, free.server) + carrying;
    machine.linkFreeAt = Math.max(free.server, machine.linkFreeAt) + sending;
    machine.engineFreeAt =
      Math.max(machine.linkFreeAt + node.roundTripMs / 2, machine.engineFreeAt) + summing;
    machine.held += openedBytes(piece);
    busy.seal += sealing;
    busy.server += carrying;
    busy.nodes.set(node.id, busy.nodes.get(node.id)! + summing);
    bytes += size;
    const at = machine.engineFreeAt + node.roundTripMs / 2;
    const index =
      pieces.push({ piece, node: node.id, copy: given.copy, from: now, predictedMs: given.predictedMs }) - 1;
    if (at < (node.muteFrom ?? Number.POSITIVE_INFINITY))
      agenda.add({ at, type: 'result', node: node.id, piece, index });
    return true;
  };
  /** Gives out what can be sealed now: idle nodes first, so that nobody waits while another one gets a second piece. */
  const step = (now: number) => {
    for (let gave = true; gave && free.seal <= now; ) {
      gave = false;
      const waiting = offers(now)
        .map((offer) => ({ offer, load: ledger.load(offer.id, now).pieces }))
        .sort((a, b) => a.load - b.load);
      for (const { offer } of waiting) {
        if (free.seal > now) break;
        if (send(offer, now)) {
          gave = true;
          if (fleet.sealBytesPerSecond) break;
        }
      }
    }
    if (free.seal > now && free.seal !== lookAt) {
      lookAt = free.seal;
      agenda.add({ at: lookAt, type: 'look' });
    }
  };

  for (const { shape, readyAt } of fleet.parts) {
    ledger.announce(shape);
    agenda.add({ at: readyAt, type: 'ready', shape });
  }
  for (const { id, joinsAt, leavesAt } of nodes) {
    if (joinsAt) agenda.add({ at: joinsAt, type: 'look' });
    if (leavesAt !== undefined) agenda.add({ at: leavesAt, type: 'left', node: id });
  }
  let toCome = fleet.parts.length;
  let nextTick = 0;
  for (let event = agenda.take(); event && event.at <= limitMs; event = agenda.take()) {
    const now = event.at;
    if (event.type === 'ready') {
      ledger.add(event.shape);
      toCome -= 1;
      if (toCome === 0) ledger.close();
    } else if (event.type === 'left') {
      machines.get(event.node)!.gone = true;
      ledger.gone(event.node);
    } else if (event.type === 'result') {
      const { node, piece, index } = event;
      const machine = machines.get(node)!;
      if (machine.gone) continue;
      machine.held -= openedBytes(piece);
      if (ledger.complete(piece.id, node, now)) pieces[index] = { ...pieces[index]!, endedAt: now };
    }
    if (ledger.isDone()) return { endMs: now, pieces, results: ledger.results(), busyMs: busy, bytes };
    ledger.late(now);
    step(now);
    if (nextTick <= now) {
      nextTick = now + TICK_MS;
      agenda.add({ at: nextTick, type: 'look' });
    }
  }
  return { endMs: Number.POSITIVE_INFINITY, pieces, results: ledger.results(), busyMs: busy, bytes };
}
