/**
 * How a runner stores receipts: each is durable before its answer leaves. Receipts of one group (protocols/stored-receipts.ts) that are
 * signed while a message of theirs is under way wait for it, and are then appended and synced together.
 *
 * On the other side is a client who says a nonce twice, or makes more groups than can be remembered. Of a group that is forgotten, or is from before this
 * runner started, the stream has the first message, so what comes after it is refused.
 *
 * Not guaranteed: that clients wait for no other: the stream syncs one message after the other.
 */
import { VouchError } from '../../protocols/errors.ts';
import {
  encodeStored,
  fitsStored,
  groupOf,
  MAX_GROUP_RECEIPTS,
  receiptPlace,
} from '../../protocols/stored-receipts.ts';
import { subjects } from '../../protocols/subjects.ts';
import type { Bus } from '../nats/bus.ts';
import { recentlyUsed } from './recently-used.ts';

/** A client has at most 64 requests in hand (runner.ts), each of which may be the only one of its group. */
const MAX_GROUPS = 64;
/** Clients whose groups are remembered; of more, those that have stored nothing for longest lose theirs. */
const MAX_CLIENTS = 4096;

export interface StoredLater {
  readonly enclave: string;
  /** the receipt's, lower-case hex */
  readonly nonce: string;
  readonly receipt: Uint8Array;
  /** the encoding of the evidence that it names, the same array for the same evidence */
  readonly evidence: Uint8Array;
}

export interface ReceiptStore {
  /** Resolves once the receipt is durable. Throws `replayed` where the nonce has one already, `not-ready` after an append to its group whose outcome is not known, and what `append` throws. */
  store(client: string, what: StoredLater): Promise<void>;
}

/** Receipts of one message to be. */
interface Batch {
  readonly evidence: Uint8Array;
  readonly receipts: Uint8Array[];
  bytes: number;
  readonly stored: Promise<void>;
}

interface Group {
  readonly nonces: Set<string>;
  /** messages that are stored */
  stored: number;
  /** Whether the next one is stored is not known: none may take its number, and none another. */
  lost: boolean;
  /** the last message, if it has not left yet */
  waiting: Batch | undefined;
  /** settles once every message but that which waits is stored or has failed */
  before: Promise<unknown>;
}

export function createReceiptStore(bus: Pick<Bus, 'append'>, model: string): ReceiptStore {
  /** least recently used first, as the groups of each */
  const clients = new Map<string, Map<string, Group>>();

  const append = async (
    client: string,
    place: string,
    { receipts, evidence }: Pick<Batch, 'receipts' | 'evidence'>,
  ) => {
    try {
      const message = encodeStored(receipts, evidence);
      await bus.append(subjects.receipt(model, client, place), message, { expectLastSubjectSequence: 0 });
    } catch (error) {
      if (error instanceof VouchError && error.code === 'conflict')
        throw replayed('a receipt for it or its group exists');
      throw error;
    }
  };

  /** A message that leaves as soon as those of its group before it are stored; until then receipts may be added to it. */
  const begin = (client: string, group: Group, { enclave, nonce, evidence }: StoredLater): Batch => {
    const leave = async () => {
      if (group.waiting === batch) group.waiting = undefined;
      if (group.lost) throw lost();
      try {
        await append(client, receiptPlace(enclave, nonce, group.stored), batch);
      } catch (error) {
        group.lost = !(error instanceof VouchError && NOT_STORED.has(error.code));
        throw error;
      }
      group.stored++;
    };
    const batch: Batch = { evidence, receipts: [], bytes: 0, stored: group.before.then(leave) };
    group.before = batch.stored.catch(() => {});
    group.waiting = batch;
    return batch;
  };

  return {
    async store(client, what) {
      const { nonce, receipt, evidence } = what;
      const name = groupOf(nonce);
      if (name === undefined)
        return append(client, receiptPlace(what.enclave, nonce), { receipts: [receipt], evidence });
      const groups = recentlyUsed(clients, client, MAX_CLIENTS, () => new Map<string, Group>());
      const group = recentlyUsed(groups, name, MAX_GROUPS, newGroup);
      if (group.lost) throw lost();
      if (group.nonces.has(nonce)) throw replayed('it was used before');
      if (group.nonces.size >= MAX_GROUP_RECEIPTS)
        throw replayed(`its group has ${MAX_GROUP_RECEIPTS} receipts, and no more`);
      group.nonces.add(nonce);
      let batch = group.waiting;
      const fits = (to: Batch) =>
        to.evidence === evidence &&
        fitsStored(to.receipts.length + 1, to.bytes + receipt.length, evidence.length);
      if (batch === undefined || !fits(batch)) batch = begin(client, group, what);
      batch.receipts.push(receipt);
      batch.bytes += receipt.length;
      return batch.stored;
    },
  };
}

/** Errors that say that a message was not stored; after any other it may have been. */
const NOT_STORED: ReadonlySet<string> = new Set([
  'replayed',
  'storage-full',
  'too-large',
  'nats-credentials',
]);

const newGroup = (): Group => ({
  nonces: new Set(),
  stored: 0,
  lost: false,
  waiting: undefined,
  before: Promise.resolve(),
});

const lost = () =>
  new VouchError(
    'not-ready',
    'request.nonce: whether the last receipts of its group are stored is not known; try again with a nonce of another group',
  );
const replayed = (why: string) => new VouchError('replayed', `request.nonce: ${why}; choose a new nonce`);
