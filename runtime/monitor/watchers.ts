/**
 * Who watches: the monitor's open event streams. Nobody keeps others out by opening many: each address has so many, of
 * which the newest stay, and when all places are taken the address with the most gives one up. A stream that nobody
 * reads, or that has been open for long, is ended; a page that is still there connects again by itself.
 *
 * All of one host's programs have one address here, so on loopback the newest of them are served, whoever they are.
 */
import { isIPv4 } from 'node:net';

export interface Stream {
  /** bytes that wait for a reader who is slow */
  readonly waiting: number;
  end(): void;
}

export interface WatcherLimits {
  readonly streams: number;
  readonly perAddress: number;
  /** for so many milliseconds in a row something may wait to be read */
  readonly stalledMs: number;
  /** milliseconds that a stream is open at most */
  readonly openMs: number;
}

interface Watcher {
  readonly stream: Stream;
  readonly address: string;
  readonly since: number;
  /** since when something has waited all the time */
  stalledSince?: number;
}

/** What counts as one address: a host of IPv4, a /64 of IPv6, all of loopback. */
export function addressOf(remote: string | undefined): string {
  const text = (remote ?? '').replace(/^::ffff:(?=\d+\.)/i, '');
  if (text === '::1' || (isIPv4(text) && text.startsWith('127.'))) return 'loopback';
  if (!text.includes(':')) return text;
  const [head = '', tail = ''] = text.split('%')[0]!.split('::');
  const groups = head === '' ? [] : head.split(':');
  const after = tail === '' ? [] : tail.split(':');
  const zeros = text.includes('::') ? Array(Math.max(0, 8 - groups.length - after.length)).fill('0') : [];
  return [...groups, ...zeros, ...after].slice(0, 4).join(':');
}

export function createWatchers(limits: WatcherLimits, clock: () => number = () => performance.now()) {
  /** oldest first */
  const watchers = new Set<Watcher>();
  const end = (watcher: Watcher | undefined) => {
    if (watcher && watchers.delete(watcher)) watcher.stream.end();
  };
  const of = (address: string) => [...watchers].filter((watcher) => watcher.address === address);
  return {
    /** Takes a stream in; another may have to go. Returns what to call when it is closed. */
    add(stream: Stream, remote: string | undefined): () => void {
      const address = addressOf(remote);
      if (of(address).length >= limits.perAddress) end(of(address)[0]);
      if (watchers.size >= limits.streams) {
        const crowds = [...watchers].map((watcher) => of(watcher.address));
        end(crowds.reduce((most, crowd) => (crowd.length > most.length ? crowd : most))[0]);
      }
      const watcher: Watcher = { stream, address, since: clock() };
      watchers.add(watcher);
      return () => watchers.delete(watcher);
    },
    /** Ends what has stalled or is old; for every tick. */
    sweep(): void {
      const now = clock();
      for (const watcher of [...watchers]) {
        if (watcher.stream.waiting === 0) delete watcher.stalledSince;
        else watcher.stalledSince ??= now;
        const stalled = watcher.stalledSince !== undefined && now - watcher.stalledSince >= limits.stalledMs;
        if (stalled || now - watcher.since >= limits.openMs) end(watcher);
      }
    },
    get size() {
      return watchers.size;
    },
  };
}
