/** Records of a log: in both forms, by level, and of what is handed over only what is on the list. */
import type { z } from 'zod';
import { Transition } from '../../../protocols/transition.ts';
import { LOG_LEVELS } from '../../../runtime/home/log.ts';
import { createLogger, LOGGED_FIELDS, type LoggerOptions, loggable } from '../../../runtime/home/logger.ts';
import { assert, suite } from '../../harness.ts';

const test = suite('logger');

async function logger(options: LoggerOptions) {
  const lines: string[] = [];
  return { lines, log: await createLogger(options, (line) => void lines.push(line)) };
}

test('a record of JSON is one line, with level, time, message and what is on the list', async () => {
  const { log, lines } = await logger({ format: 'json', level: 'info' });
  const error = crypto.randomUUID();
  log('worker.w1: it failed:\n    at here', {
    level: 'warn',
    role: 'worker',
    id: 'w1',
    error,
    code: 'timeout',
  });
  log('it goes on');
  assert.is(lines.length, 2);
  const [first, second] = lines.map((line) => JSON.parse(line));
  const { time, ...rest } = first;
  assert.equal(rest, {
    level: 'warn',
    role: 'worker',
    id: 'w1',
    error,
    code: 'timeout',
    message: 'worker.w1: it failed:\n    at here',
  });
  assert.ok(Math.abs(Date.now() - Date.parse(time)) < 60_000);
  assert.equal(Object.keys(second).sort(), ['level', 'message', 'time']);
  assert.is(second.level, 'info');
});

test('what is below the level is not written, in neither form', async () => {
  for (const format of ['text', 'json'] as const)
    for (const [i, level] of LOG_LEVELS.entries()) {
      const { log, lines } = await logger({ format, level });
      for (const each of LOG_LEVELS) log('said', { level: each });
      assert.is(lines.length, LOG_LEVELS.length - i, `${format} ${level}`);
      assert.is(log.detailed, level === 'debug');
    }
});

test('nothing that is said passes for a record of its own, or moves a cursor', async () => {
  const said = 'one\n2026-01-01T00:00:00Z two\u001b[2J\u202e\u2028three';
  const text = await logger({ format: 'text', level: 'info', dated: true });
  text.log(said);
  assert.match(text.lines[0]!, /^\d{4}-\d\d-\d\dT\S+Z one\n {4}2026/);
  const json = await logger({ format: 'json', level: 'info' });
  json.log(said);
  for (const { lines } of [text, json]) {
    assert.is(lines.length, 1);
    for (const part of ['\u001b', '\u202e', '\u2028', '\\u001b']) assert.not(lines[0]!.includes(part), part);
  }
  assert.not(json.lines[0]!.includes('\n'));
});

/** What must not get into a log by being passed along. */
const SECRETS: readonly unknown[] = [
  'ab'.repeat(32),
  `SU${'AIBD'.repeat(14)}`,
  'eyJ0eXAiOiJKV1QiLCJhbGciOiJlZDI1NTE5LW5rZXkifQ.eyJqdGkiOiJYIn0.c2ln',
  '-----BEGIN something-----\nMC4CAQAwBQYDK2VwBCIEIA\n',
  'A11 6 A34 A43 1169 A65',
  '{"row":["A11","6"]}',
  new Uint8Array(32),
  { row: ['A11'] },
  ['A11', '6'],
  123_456_789n,
  0.123,
  -1,
  null,
];

test('a field that is not on the list, or not of its form, is dropped', async () => {
  assert.equal(LOGGED_FIELDS.toSorted(), ['code', 'error', 'event', 'from', 'id', 'role', 'seq', 'to']);
  for (const name of LOGGED_FIELDS)
    for (const secret of SECRETS)
      assert.equal(loggable({ [name]: secret }), {}, `${name}: ${String(secret)}`);
  for (const name of [
    'row',
    'key',
    'salt',
    'stack',
    'message',
    'time',
    'pid',
    'err',
    '__proto__',
    'toString',
  ])
    assert.equal(loggable({ [name]: 'x' }), {}, name);
  const { log, lines } = await logger({ format: 'json', level: 'info' });
  log('said', { err: new Error('A11 6'), key: 'x', message: 'another', level: 'loud', seq: 1 } as never);
  const { time: _, ...record } = JSON.parse(lines[0]!);
  assert.equal(record, { level: 'info', seq: 1, message: 'said' });
});

test('of a change of state the log may hold what the monitor may see', () => {
  const seen = new Set(Object.keys((Transition.schema as unknown as z.ZodObject).shape));
  for (const name of ['event', 'from', 'to', 'seq', 'id']) assert.ok(seen.has(name), name);
});

test.run();
