/**
 * Attacker: any program that reaches the monitor's port, from one address or a few. He opens as many event streams as he
 * can, reads nothing, never leaves, or connects and asks nothing, so that the people whom the page is for see nothing.
 */
import { connect } from 'node:net';
import { createFeed } from '../../runtime/monitor/feed.ts';
import { startMonitor } from '../../runtime/monitor/server.ts';
import { addressOf, createWatchers } from '../../runtime/monitor/watchers.ts';
import { assert, suite } from '../harness.ts';

const test = suite('attack: watch alone', { timeoutMs: 60_000 });

const LIMITS = { streams: 6, perAddress: 3, stalledMs: 100, openMs: 1000 };
function watching() {
  let now = 0;
  const open = new Set<string>();
  const watchers = createWatchers(LIMITS, () => now);
  const leave = new Map<string, () => void>();
  return {
    watchers,
    open,
    at: (ms: number) => {
      now = ms;
      watchers.sweep();
    },
    come(name: string, address: string, waiting = 0) {
      const stream = {
        waiting,
        end: () => {
          open.delete(name);
          leave.get(name)?.();
        },
      };
      open.add(name);
      leave.set(name, watchers.add(stream, address));
      return stream;
    },
  };
}

test('one address takes only its own places', () => {
  const { come, open } = watching();
  come('honest', '10.0.0.1');
  for (let i = 0; i < 100; i++) come(`m${i}`, '10.6.6.6');
  assert.equal([...open], ['honest', 'm97', 'm98', 'm99']);
});

test('many addresses: who has most gives way, and a newcomer always gets in', () => {
  const { come, open, watchers } = watching();
  for (const host of ['10.6.6.1', '10.6.6.2']) for (let i = 0; i < 3; i++) come(`${host} ${i}`, host);
  come('honest', '10.0.0.1');
  assert.ok(open.has('honest'));
  assert.is(watchers.size, LIMITS.streams);
  come('10.6.6.3 0', '10.6.6.3');
  come('10.6.6.4 0', '10.6.6.4');
  assert.ok(open.has('honest'), 'whoever has one place is the last to go');
});

test('hosts of one IPv6 network, and all of loopback, are one address', () => {
  assert.is(addressOf('2001:db8:1:2:3:4:5:6'), addressOf('2001:db8:1:2::9'));
  assert.is.not(addressOf('2001:db8:1:2::9'), addressOf('2001:db8:1:3::9'));
  assert.is(addressOf('::ffff:10.0.0.1'), '10.0.0.1');
  for (const text of ['127.0.0.1', '127.9.9.9', '::1', '::ffff:127.0.0.2'])
    assert.is(addressOf(text), 'loopback');
});

test('who does not read, or stays for ever, is ended', () => {
  const { come, open, at } = watching();
  come('reads', '10.0.0.1');
  const slow = come('slow', '10.0.0.2', 50);
  come('stuck', '10.0.0.3', 50);
  at(0);
  at(60);
  slow.waiting = 0;
  at(90);
  slow.waiting = 50;
  at(120);
  assert.equal([...open], ['reads', 'slow'], 'slow has read in between');
  slow.waiting = 0;
  at(1000);
  assert.equal([...open], []);
});

test('64 local streams that read nothing, and a page opens all the same', async (t) => {
  const feed = createFeed();
  const monitor = await startMonitor({ feed });
  t.defer(() => monitor.close());
  t.defer(() => feed.end());
  const { hostname, port } = new URL(monitor.url);
  for (let i = 0; i < 64; i++) {
    const socket = connect(Number(port), hostname);
    t.defer(() => socket.destroy());
    socket.on('error', () => {});
    socket.write(`GET /events HTTP/1.1\r\nHost: ${hostname}\r\n\r\n`);
    await new Promise((heard) => socket.once('data', heard));
    socket.pause();
  }
  assert.ok(monitor.watching <= 8);
  const abort = new AbortController();
  t.defer(() => abort.abort());
  const response = await fetch(`${monitor.url}events`, { signal: abort.signal });
  assert.is(response.status, 200);
});

test.run();
