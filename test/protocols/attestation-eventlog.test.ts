import { sha384 } from '@noble/hashes/sha2.js';
import * as fc from 'fast-check';
import {
  judgeEvent,
  looksLikeEventLog,
  parseEventLog,
  replay,
} from '../../protocols/attestation/formats/eventlog.ts';
import { NO_COLLATERAL } from '../../protocols/attestation/formats/intel-collateral.ts';
import { parseIntelQuote } from '../../protocols/attestation/formats/intel-quote.ts';
import { BUILT_IN } from '../../protocols/attestation/policy.ts';
import { concat, hex, utf8 } from '../../protocols/encoding.ts';
import { VouchError } from '../../protocols/errors.ts';
import { assert, suite } from '../harness.ts';
import { verifyIntelQuote } from './from-bytes.ts';
import { le } from './intel-platform.ts';
import { flipped, needVectors, readVector } from './intel-vectors.ts';

const test = suite('event log');
const QUOTE = 'intel/quotes/tdx_v4_gcp_cos113.bin';
const LOG = 'intel/eventlogs/ccel_data.dat';
const CHECKS = ['tdx.event-log', 'tdx.event-digests', 'tdx.rtmr-replay'];

const isOurs = (error: unknown): boolean => error instanceof VouchError;

const header = (algorithms: [number, number][] = [[12, 48]]) => {
  const body = concat(
    utf8('Spec ID Event03\0'),
    le(0, 4),
    Uint8Array.of(0, 2, 0, 2),
    le(algorithms.length, 4),
    ...algorithms.map(([id, size]) => concat(le(id, 2), le(size, 2))),
    Uint8Array.of(0),
  );
  return concat(le(1, 4), le(3, 4), new Uint8Array(20), le(body.length, 4), body);
};
const event = (register: number, type: number, payload: Uint8Array, digest: Uint8Array = sha384(payload)) =>
  concat(le(register, 4), le(type, 4), le(1, 4), le(12, 2), digest, le(payload.length, 4), payload);

/** What the log's checks say about a quote. */
async function check(log: Uint8Array): Promise<string[]> {
  const report = await verifyIntelQuote({
    quote: readVector(QUOTE),
    collateral: NO_COLLATERAL,
    eventLogs: [log],
    policy: BUILT_IN.genuine,
    now: new Date('2025-10-01T00:00:00Z'),
  });
  return report.checks
    .filter(({ id, status }) => CHECKS.includes(id) && status === 'pass')
    .map(({ id }) => id);
}

test('a real log replays to the registers of its quote, digests recomputed from payloads', async (t) => {
  needVectors(t);
  const events = parseEventLog(readVector(LOG));
  const { body } = parseIntelQuote(readVector(QUOTE));
  assert.is(body.tee, 'tdx');
  if (body.tee === 'tdx') assert.equal(replay(events).map(hex), body.report.rtmrs.map(hex));
  const judged = events.map(judgeEvent);
  assert.is(judged.filter((one) => one === 'payload').length, 31);
  assert.is(judged.filter((one) => one === 'differs').length, 0);
  assert.equal(await check(readVector(LOG)), CHECKS);
});

test('a byte changed in a digest, a payload that hashes, or a register rejects', async (t) => {
  needVectors(t);
  const log = readVector(LOG);
  const starts = new Map<number, number>();
  let at = 65;
  for (const { payload = new Uint8Array(0) } of parseEventLog(log)) {
    starts.set(at, payload.length);
    at += 12 + 2 + 48 + 4 + payload.length;
  }
  for (const [start, length] of starts) {
    assert.not.equal(await check(flipped(log, start)), CHECKS, 'register');
    assert.not.equal(await check(flipped(log, start + 20)), CHECKS, 'digest');
    const payload = start + 66;
    for (const at of length > 0 ? [payload, payload + length - 1] : []) {
      const index = [...starts.keys()].indexOf(start);
      if (judgeEvent(parseEventLog(log)[index]!) === 'opaque') continue;
      // Of a boot variable the digest covers the value, which stands at the end.
      if (at === payload && parseEventLog(log)[index]!.type === 0x80000002) continue;
      // A text of a boot loader that lost its label is at best opaque: it proves nothing any more.
      assert.not.equal(judgeEvent(parseEventLog(flipped(log, at))[index]!), 'payload');
    }
  }
});

test('events left out, added or exchanged reject', async (t) => {
  needVectors(t);
  const log = readVector(LOG);
  const end = log.findLastIndex((byte) => byte !== 0xff) + 1;
  const rest = new Uint8Array(64).fill(0xff);
  assert.equal(await check(concat(log.subarray(0, end), rest)), CHECKS);
  const added = concat(log.subarray(0, end), event(4, 4, new Uint8Array(4)), rest);
  assert.equal(await check(added), CHECKS.slice(0, 2));
  assert.equal(await check(concat(log.subarray(0, end - 106), rest)), CHECKS.slice(0, 2));
});

test('the end of the log is ones or zeros, and nothing follows it', () => {
  const log = concat(header(), event(1, 4, new Uint8Array(4)));
  for (const fill of [0, 0xff]) {
    assert.is(parseEventLog(concat(log, new Uint8Array(100).fill(fill))).length, 1);
    assert.throws(() => parseEventLog(concat(log, new Uint8Array(100).fill(fill), Uint8Array.of(1))), isOurs);
  }
  assert.is(parseEventLog(log).length, 1);
});

test('each kind of event is hashed as its specification says', () => {
  const variable = (name: string, value: string) =>
    concat(
      new Uint8Array(16),
      le(name.length, 8),
      le(value.length, 8),
      utf8([...name].join('\0') + '\0'),
      utf8(value),
    );
  const judged = (type: number, payload: Uint8Array, hashed: Uint8Array) =>
    judgeEvent({ rtmr: 0, type, payload, digest: sha384(hashed) });
  const boot = variable('Boot0001', 'device path');
  assert.is(judged(0x80000001, boot, boot), 'payload');
  assert.is(judged(0x80000001, boot, utf8('device path')), 'differs');
  assert.is(judged(0x80000002, boot, utf8('device path')), 'payload');
  assert.is(judged(0x80000002, boot, utf8('other')), 'differs');
  assert.is(judged(0x80000002, boot.subarray(1), boot), 'differs');
  assert.is(judged(0xd, utf8('grub_cmd: set x\0'), utf8('set x')), 'payload');
  assert.is(judged(0xd, utf8('grub_cmd: set x\0'), utf8('set y')), 'differs');
  assert.is(judged(0xd, utf8('/boot/vmlinuz\0'), utf8('a kernel')), 'opaque');
  assert.is(judged(0x80000003, utf8('path'), utf8('an image')), 'opaque');
});

test('a log that is not well-formed is refused', () => {
  const good = concat(header(), event(1, 4, new Uint8Array(4)));
  const wrong = [
    new Uint8Array(0),
    good.subarray(0, 40),
    good.subarray(0, good.length - 1),
    concat(header([]), event(1, 4, new Uint8Array(4))),
    concat(header([[11, 32]]), event(1, 4, new Uint8Array(4))),
    concat(header([[12, 32]])),
    concat(header(), event(5, 4, new Uint8Array(4))),
    concat(header(), le(1, 4), le(4, 4), le(0, 4), le(0, 4)),
    concat(header(), le(1, 4), le(4, 4), le(1, 4), le(11, 2), new Uint8Array(48), le(0, 4)),
    concat(header(), le(1, 4), le(4, 4), le(0xffffffff, 4)),
    concat(header(), le(1, 4), le(4, 4), le(1, 4), le(12, 2), new Uint8Array(48), le(0xffffffff, 4)),
  ];
  assert.is(parseEventLog(good).length, 1);
  assert.ok(looksLikeEventLog(good));
  for (const bytes of wrong) assert.throws(() => parseEventLog(bytes), isOurs);
});

test('whatever bytes come, the parser answers with an error of ours', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 400 }), fc.boolean(), (bytes, headed) => {
      try {
        parseEventLog(headed ? concat(header(), bytes) : bytes).forEach(judgeEvent);
      } catch (error) {
        assert.instance(error, VouchError);
      }
    }),
    { numRuns: 300 },
  );
});

test.run();
