/**
 * Attacker: any peer. Error messages, subjects, types of messages, names of workers, phases, engines and adapters are his
 * to choose, and end on terminals, in logs and on the monitor's page. He wants to move the cursor over what was said, set
 * the title, make text run backwards, or write a line into a log that looks like one of ours.
 */
import { spawnSync } from 'node:child_process';
import { PassThrough } from 'node:stream';
import { ErrorReply, encodeMessage, RemoteError } from '../../protocols/envelope.ts';
import { VouchError } from '../../protocols/errors.ts';
import { printable, printableJson, printableLines } from '../../protocols/printable.ts';
import { ProofProgress } from '../../protocols/proof.ts';
import { subjects } from '../../protocols/subjects.ts';
import { Heartbeat } from '../../protocols/transition.ts';
import { createProgress } from '../../runtime/client/progress.ts';
import { observe } from '../../runtime/monitor/intake.ts';
import { reportError } from '../../runtime/nats/service.ts';
import { assert, suite } from '../harness.ts';

const test = suite('attack: write on a terminal');

/** CSI in its two spellings, OSC 8, a title, backspace, carriage return, bidi overrides, a line of its own. */
const EVIL = [
  '\u001b[2K\u001b[1A',
  '\u009b31m',
  '\u001b]8;;http://evil\u0007',
  '\u001b]0;title\u0007',
  'abc\b\b\bxyz',
  '\rverified',
  '\u202e detrever',
  '\u2066hidden\u2069',
  '\u2028\u2029',
  '\u{e0041}\u{e0042}',
].join(' ');
const LINE = `bad${EVIL}\n2026-01-01T00:00:00Z verified\tall is well`;
const SEEN = /[\p{Cc}\p{Cf}\u2028\u2029]/u;
const SEEN_IN_LINES = /(?![\n\t])[\p{Cc}\p{Cf}\u2028\u2029]/u;

test('what is printed as a line, as lines and as JSON', () => {
  assert.not.match(printable(LINE), SEEN);
  assert.not.match(printableLines(LINE), SEEN_IN_LINES);
  assert.is(printableLines('a\n\tb'), 'a\n\tb');
  const json = printableJson({ text: LINE });
  assert.not.match(json, SEEN);
  assert.equal(JSON.parse(json), { text: LINE }, 'it says the same');
});

test('an error of ours that quotes a peer, and an error of a peer, are one line', () => {
  for (const error of [
    new VouchError('bad-message', `type: expected one of ours, got ${LINE}`),
    new RemoteError({ code: LINE.slice(0, 60), message: LINE, errorId: LINE.slice(0, 60), retryable: false }),
  ]) {
    assert.not.match(error.message, SEEN);
    const log: string[] = [];
    reportError(error, 'runner.r1: a request was refused: error', (line) => void log.push(line));
    assert.not.match(log[0]!.split('\ncaused by')[0]!, SEEN);
  }
  // As it comes over the wire.
  const reply = encodeMessage(ErrorReply, {
    subject: 's',
    source: 'runner.r1',
    body: { code: 'internal', message: LINE, errorId: 'x', retryable: false },
  });
  assert.ok(new TextDecoder().decode(reply).includes('\\u001b'), 'it does travel');
});

test("say, print and a child's log", () => {
  const terminal = new URL('../../runtime/commands/terminal.ts', import.meta.url).href;
  const program = `
    import { print, say } from ${JSON.stringify(terminal)};
    const text = ${JSON.stringify(LINE)};
    say(text); print(text); print({ text });`;
  const { stdout, stderr } = spawnSync(process.execPath, ['--input-type=module', '-e', program], {
    encoding: 'utf8',
  });
  assert.ok(stdout.includes('all is well') && stderr.includes('all is well'));
  for (const text of [stdout, stderr]) assert.not.match(text, SEEN_IN_LINES);
});

test('bars and lines of progress: names of phases and workers', () => {
  const stream = new PassThrough() as unknown as NodeJS.WriteStream;
  const progress = createProgress(stream);
  progress.set(LINE, 3, 7, LINE);
  progress.line(LINE);
  progress.stop();
  const text = String((stream as unknown as PassThrough).read());
  assert.ok(text.includes('3/7'));
  assert.not.match(text, SEEN_IN_LINES);
});

test("the monitor's page", () => {
  const beat = {
    kind: 'worker' as const,
    id: 'w1',
    boot: 'b',
    seq: 1,
    state: 'idle',
    leaseMs: 3000,
    counts: {},
    worker: {
      class: 'attested' as const,
      engine: EVIL.slice(0, 40),
      credit: 1,
      inHand: [],
      rates: { g1: 50_000, g2: 15_000 },
      resident: [],
    },
    failure: { code: 'x', message: LINE, errorId: EVIL.slice(0, 40) },
  };
  const subject = subjects.beat('worker', 'w1');
  const data = encodeMessage(Heartbeat, { subject, source: 'worker.w1', body: beat });
  const seen = observe(subject, data, 0);
  assert.is(seen.type, 'beat');
  for (const text of textsOf(seen)) assert.not.match(text, SEEN);
  const place = subjects.progress('c', 'j');
  const body = {
    job: 'j',
    phase: 'failed' as const,
    done: 0,
    total: 0,
    workers: [],
    phases: {},
    error: { code: EVIL.slice(0, 60), message: LINE },
  };
  const told = observe(place, encodeMessage(ProofProgress, { subject: place, source: 'c.1', body }), 0);
  assert.is(told.type, 'progress');
  for (const text of textsOf(told)) assert.not.match(text, SEEN);
});

function textsOf(value: unknown): string[] {
  if (typeof value === 'string') return [value];
  return typeof value === 'object' && value !== null ? Object.values(value).flatMap(textsOf) : [];
}

test.run();
