/**
 * What agents inside of a guest hand out beside its quote. Sources: issue 11, "What real users bring" (dstack and AAEL event
 * logs); confidential-containers/trustee, kbs/docs/confidential-containers-eventlog.md, and its verifier of the plain-text
 * form; Dstack-TEE/dstack, docs/attestation-gcp.md and tpm-types
 * (the vTPM of a TD on Google's machines).
 */

import { sha384 } from '@noble/hashes/sha2.js';
import { parseDstackAttestation } from '../../protocols/attestation/dstack-attestation.ts';
import { kindOf } from '../../protocols/attestation/evidence-files.ts';
import { parseEventLog, replay } from '../../protocols/attestation/formats/eventlog.ts';
import { BUILT_IN, parseEvidencePolicy } from '../../protocols/attestation/policy.ts';
import { concat, fromHex, hex, sha256, utf8 } from '../../protocols/encoding.ts';
import { VouchError } from '../../protocols/errors.ts';
import { assert, suite } from '../harness.ts';
import { AUTHORITY, certify, fingerprint, keyUsage, maker } from './certificate-maker.ts';
import { base64, binaryLog, bootEvent, json, type LogEvent, td, tdBeside } from './service-maker.ts';
import { ask, failing } from './service-question.ts';
import { attest, ecdsaSignature, PCRS } from './tpm-maker.ts';

const test = suite('agents inside of guests', { timeoutMs: 60_000 });

const digestOf = (text: string): string => hex(sha384(utf8(text)));
const zeros = '0'.repeat(96);
const LINES = [
  `INIT sha384/${zeros}`,
  'image-rs pull_image busybox',
  'example.org load_config {"alg": "sha384"}',
];
const log = (lines: readonly string[]) => utf8(`${lines.join('\n')}\n`);
const events = (register: number, lines: readonly string[]): LogEvent[] =>
  lines.map((line) => ({ ...bootEvent(register, ''), digest: digestOf(line) }));

test('the plain-text log of an attestation agent replays to RTMR3', async () => {
  // Trustee's own test of that form has a zero too many on either side.
  const known = log([`INIT sha384/${'0'.repeat(98)}`, 'domain event operation', 'domain event2 operation']);
  assert.is(parseEventLog(known).length, 3);
  const own = replay(parseEventLog(log([`INIT sha384/${zeros}`, 'domain event operation'])));
  const step = (register: Uint8Array, line: string) => sha384(concat(register, sha384(utf8(line))));
  const first = step(new Uint8Array(48), `INIT sha384/${zeros}`);
  assert.equal(hex(own[3]!), hex(step(first, 'domain event operation')));
  const machine = await td(new Uint8Array(64), events(3, LINES));
  assert.is(kindOf(log(LINES))?.name, 'event-log');
  const coco = (text: Uint8Array, more: object = {}) =>
    json({ quote: base64(machine.quote), aa_eventlog: new TextDecoder().decode(text), ...more });
  assert.equal(await failing([machine], [machine.quote, log(LINES)]), []);
  assert.equal(await failing([machine], [coco(log(LINES))]), []);
  assert.equal(
    await failing([machine], [json({ quote: base64(machine.quote), aa_eventlog: base64(log(LINES)) })]),
    [],
  );
  for (const lines of [
    LINES.slice(0, 2),
    LINES.slice(1),
    [LINES[0]!, LINES[2]!, LINES[1]!],
    [...LINES, 'a b c'],
    [LINES[0]!, `${LINES[1]}x`, LINES[2]!],
  ]) {
    const failed = await failing([machine], [coco(log(lines))]);
    assert.ok(failed.length > 0, lines.join());
  }
});

test('beside the log of the boot, which may not be contradicted', async () => {
  const boot = events(0, ['firmware']);
  const early = events(3, ['early']);
  const [start] = [hex(sha384(concat(new Uint8Array(48), sha384(utf8('early')))))];
  const lines = [`INIT sha384/${start}`, ...LINES.slice(1)];
  const binary = (entries: readonly LogEvent[]) =>
    binaryLog(
      entries.map(({ imr, digest }) => ({
        register: imr + 1,
        type: 0x80000005,
        payload: new Uint8Array(0),
        digest: fromHex(digest),
      })),
    );
  const machine = await td(new Uint8Array(64), [...boot, ...early, ...events(3, lines)]);
  const judged = (some: readonly LogEvent[], text: readonly string[]) =>
    failing([machine], [machine.quote, log(text), binary(some)]);
  assert.equal(await judged([...boot, ...early], lines), []);
  // A log of the boot that leaves out what happened before, which the agent's own start makes up for.
  assert.equal(await judged(boot, lines), []);
  // Events that never were cannot hide behind it.
  assert.equal(await judged([...boot, ...events(3, ['never'])], lines), ['tdx.rtmr-replay']);
  assert.equal(await judged([...boot, ...early], [`INIT sha384/${zeros}`, ...lines.slice(1)]), [
    'tdx.rtmr-replay',
  ]);
  const twice = await failing([machine], [machine.quote, log(lines), log(lines)]);
  assert.ok(twice.includes('evidence.event-log'), twice.join());
});

test('of several machines each has its own logs', async () => {
  const one = await td(new Uint8Array(64), events(3, LINES));
  const two = await tdBeside(one, new Uint8Array(64), events(3, [...LINES, 'a b c']));
  const files = [log([...LINES, 'a b c']), one.quote, two.quote, log(LINES)];
  assert.equal(await failing([one, two], files), []);
});

test('what is no such log is refused', () => {
  for (const text of [
    'INIT sha384/00\n',
    `INIT sha256/${'0'.repeat(64)}\n`,
    `INIT sha384/${zeros}\nonly two\n`,
    `INIT sha384/${zeros}\n\na b c\n`,
    `INIT sha384/${'f'.repeat(94)}\n`,
  ]) {
    const parse = () => parseEventLog(utf8(text));
    assert.throws(parse, (error: unknown) => error instanceof VouchError && error.code === 'bad-file', text);
  }
});

/** SCALE's compact lengths. */
const compact = (value: number): Uint8Array =>
  value < 64 ? Uint8Array.of(value << 2) : Uint8Array.of(((value << 2) | 1) & 255, value >> 6);
const blob = (bytes: Uint8Array): Uint8Array => concat(compact(bytes.length), bytes);
const list = (...items: readonly Uint8Array[]): Uint8Array => concat(compact(items.length), ...items);
const u32 = (value: number): Uint8Array => Uint8Array.of(value & 255, value >> 8, 0, 0);

const root = await maker('EK/AK CA Root', 'P-256');
const rootDer = await certify(root, root, { extensions: AUTHORITY });
const ak = await maker('AK');
const akDer = await certify(root, ak, { extensions: [keyUsage(0)], serial: 2 });

test("on Google's machines dstack's vTPM signs the hash of the TD's quote", async () => {
  const data = new Uint8Array(64).fill(9);
  const machine = await td(data, []);
  const values = Object.entries(PCRS);
  const made = async (over: Uint8Array, changes: { pcr?: number; key?: typeof ak } = {}) => {
    const quote = attest({ extraData: sha256(over) });
    const pcrs = values.map(([index, value]) =>
      concat(
        u32(Number(index)),
        blob(utf8('sha256')),
        blob(changes.pcr === Number(index) ? sha256(value) : value),
      ),
    );
    return concat(
      fromHex('0001'),
      blob(machine.quote),
      list(),
      blob(quote),
      blob(await ecdsaSignature(changes.key ?? ak, quote)),
      list(...pcrs),
      blob(akDer),
      // Google's cloud, one event of the boot, no runtime events.
      Uint8Array.of(1),
      list(concat(u32(2), blob(sha256(utf8('separator'))))),
      list(),
      data,
      blob(utf8('{}')),
    );
  };
  const good = await made(machine.quote);
  assert.is(kindOf(good)?.name, 'dstack-attestation');
  assert.is(parseDstackAttestation(good).vtpm?.pcrs.length, 3);
  const pinned = parseEvidencePolicy({
    ...BUILT_IN.genuine,
    tpm: { roots: [fingerprint(rootDer)], revocation: 'if-present' },
  });
  const fails = (bytes: Uint8Array, policy = pinned) => failing([machine], [bytes, rootDer], { policy });
  assert.equal(await fails(good), []);
  const { checks } = await ask([machine], [good, rootDer], { policy: pinned });
  assert.ok(!checks.some(({ id }) => id === 'evidence.bound'), 'the vTPM has signed the quote');
  assert.equal(await fails(await made(utf8('another quote'))), ['tpm.nonce']);
  assert.equal(await fails(await made(machine.quote, { pcr: 1 })), ['tpm.pcr-digest']);
  assert.equal(await fails(await made(machine.quote, { key: await maker('AK') })), ['tpm.signature']);
  // Who pins nobody's keys learns nothing from the vTPM, and the TD stands for itself.
  const unpinned = await ask([machine], [good], { policy: parseEvidencePolicy({ ...BUILT_IN.genuine }) });
  assert.is(unpinned.verdict, 'accept');
  assert.is(unpinned.checks.find(({ id }) => id === 'tpm.key')?.status, 'skipped');
  const demanding = parseEvidencePolicy({
    ...BUILT_IN.genuine,
    tpm: { pcrs: { sha256: { 0: [hex(PCRS[0]!)] } }, revocation: 'if-present' },
  });
  assert.equal(
    await fails(good, demanding),
    ['tpm.key'],
    'PCRs that are demanded need a key that is trusted',
  );
});

test.run();
