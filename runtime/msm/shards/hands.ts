/**
 * What nodes have in hand, and when they are predicted to be done with it. Pure: a node computes one piece at a time, in the
 * order in which they were given, while the next one is on its way.
 */
import type { Standing } from '../../../protocols/msm.ts';
import {
  computeMs,
  type Part,
  type PartShape,
  type Piece,
  type Rates,
  type Rectangle,
  transferMs,
} from './work.ts';

export interface Load {
  readonly pieces: number;
  /** predicted, until they are done */
  readonly ms: number;
}

export interface NodeOffer {
  readonly id: string;
  /** as the node has measured them, corrected by what its pieces took */
  readonly rates: Rates;
  readonly bytesPerSecond: number;
  readonly roundTripMs: number;
  /** how many more bytes of scalars it can hold now, 32 each */
  readonly freeBytes: number;
  readonly standing: Standing;
  /** what it holds of other jobs, as their ledgers' `load` says */
  readonly elsewhere?: Load;
  /** Has it the bases of these rows? By default it has. */
  readonly resident?: (part: Part, from: number, count: number) => boolean;
}

export interface Holding {
  readonly piece: Piece;
  readonly sentAt: number;
  /** when its last byte is there, as predicted */
  readonly arrivesAt: number;
  readonly computeMs: number;
  readonly backMs: number;
  readonly deadline: number;
  /** Has it been said that it is late? */
  reported: boolean;
  /** The node was heard without naming it, in a heartbeat that could have named what was sent before this. */
  unnamedAt?: number;
}

interface Hand {
  /** in the order in which they were given */
  readonly holdings: Map<string, Holding>;
  /** when its last result came */
  freeSince: number;
  /** It missed a deadline, and no result of its has come since. */
  missed: boolean;
  /** changes with what it has */
  version: number;
}

export interface Forecast {
  /** until the scalars are there, and with the bases that the node has not got */
  readonly scalarsMs: number;
  readonly sendMs: number;
  readonly ownMs: number;
  readonly arrivesAt: number;
  readonly backMs: number;
  /** when its computing begins, and when its result is here */
  readonly begins: number;
  readonly end: number;
}

/** A node with what it has, and how a piece would go that it was given now. */
export interface Outlook {
  readonly offer: NodeOffer;
  /** when it is done with what it has */
  readonly freeAt: number;
  predict(piece: Rectangle): Forecast;
}

export function createHands(shapeOf: (part: Part) => PartShape) {
  const hands = new Map<string, Hand>();
  const handOf = (node: string): Hand => {
    const known = hands.get(node);
    if (known) return known;
    const hand = { holdings: new Map(), freeSince: Number.NEGATIVE_INFINITY, missed: false, version: 0 };
    hands.set(node, hand);
    return hand;
  };
  const isLate = ({ reported, deadline }: Holding, now: number) => reported || now > deadline;

  /** When what a node has is predicted to be done, by piece. */
  const endsOf = (node: string, now: number): Map<string, number> => {
    const ends = new Map<string, number>();
    const hand = hands.get(node);
    let free = hand?.freeSince ?? now;
    for (const [id, { arrivesAt, computeMs: ownMs, backMs }] of hand?.holdings ?? []) {
      const end = Math.max(free, arrivesAt) + ownMs + backMs;
      // Whoever is overdue may be so for as long again.
      const expected = end < now ? 2 * now - end : end;
      ends.set(id, expected);
      free = expected - backMs;
    }
    return ends;
  };
  const view = (offer: NodeOffer, now: number): Outlook => {
    const { holdings } = handOf(offer.id);
    const freeAt = Math.max(now, ...endsOf(offer.id, now).values()) + (offer.elsewhere?.ms ?? 0);
    const linkFreeAt = Math.max(now, ...[...holdings.values()].map(({ arrivesAt }) => arrivesAt));
    const backMs = offer.roundTripMs / 2;
    const predict = (piece: Rectangle): Forecast => {
      const shape = shapeOf(piece.part);
      const resident = offer.resident?.(piece.part, piece.from, piece.count) ?? true;
      const { bytesPerSecond } = offer;
      const scalarsMs = transferMs(shape, piece, { bytesPerSecond, resident: true });
      const sendMs = resident ? scalarsMs : transferMs(shape, piece, { bytesPerSecond, resident });
      const ownMs = computeMs(shape, piece, offer.rates);
      const arrivesAt = linkFreeAt + sendMs + backMs;
      const begins = Math.max(arrivesAt, freeAt);
      return { scalarsMs, sendMs, ownMs, arrivesAt, backMs, begins, end: begins + ownMs + backMs };
    };
    return { offer, freeAt, predict };
  };
  const seen = new Map<
    string,
    { readonly now: number; readonly version: number; readonly outlook: Outlook }
  >();

  return {
    add(node: string, holding: Holding): void {
      const hand = handOf(node);
      hand.holdings.set(holding.piece.id, holding);
      hand.version += 1;
    },
    remove(node: string, pieceId: string): void {
      const hand = handOf(node);
      hand.holdings.delete(pieceId);
      hand.version += 1;
    },
    /** A result of its has come. */
    answered(node: string, now: number): void {
      const hand = handOf(node);
      Object.assign(hand, { freeSince: now, missed: false, version: hand.version + 1 });
    },
    forget(node: string): void {
      hands.delete(node);
      seen.delete(node);
    },
    of: (node: string): readonly Holding[] => [...(hands.get(node)?.holdings.values() ?? [])],
    nodes: (): Iterable<string> => hands.keys(),
    size: (node: string): number => hands.get(node)?.holdings.size ?? 0,
    missed: (node: string): boolean => hands.get(node)?.missed ?? false,
    isLate: (node: string, pieceId: string, now: number): boolean => {
      const holding = hands.get(node)?.holdings.get(pieceId);
      return holding !== undefined && isLate(holding, now);
    },
    holdsLate: (node: string, now: number): boolean => {
      for (const holding of hands.get(node)?.holdings.values() ?? []) if (isLate(holding, now)) return true;
      return false;
    },
    /** Who has passed a deadline since the last call. */
    late(now: number): { readonly piece: Piece; readonly node: string }[] {
      const late: { piece: Piece; node: string }[] = [];
      for (const [node, hand] of hands)
        for (const holding of hand.holdings.values())
          if (!holding.reported && now > holding.deadline) {
            holding.reported = true;
            hand.missed = true;
            late.push({ piece: holding.piece, node });
          }
      return late;
    },
    /**
     * What a node does not name although it was sent before `sentBefore`: doubted at first, because a busy node hears of it
     * later than it sends heartbeats; returned when it is not named for `patienceMs` more.
     */
    unnamed(node: string, named: ReadonlySet<string>, sentBefore: number, patienceMs: number): Piece[] {
      const lost: Piece[] = [];
      for (const holding of hands.get(node)?.holdings.values() ?? []) {
        if (named.has(holding.piece.id)) delete holding.unnamedAt;
        else if (holding.unnamedAt !== undefined && sentBefore > holding.unnamedAt + patienceMs)
          lost.push(holding.piece);
        else if (holding.sentAt < sentBefore) holding.unnamedAt ??= sentBefore;
      }
      return lost;
    },
    isDoubted: (node: string, pieceId: string): boolean =>
      hands.get(node)?.holdings.get(pieceId)?.unnamedAt !== undefined,
    endsOf,
    outlook(offer: NodeOffer, now: number): Outlook {
      const { version } = handOf(offer.id);
      const known = seen.get(offer.id);
      if (known?.now === now && known.version === version && known.outlook.offer === offer)
        return known.outlook;
      const outlook = view(offer, now);
      seen.set(offer.id, { now, version, outlook });
      return outlook;
    },
  };
}
export type Hands = ReturnType<typeof createHands>;
