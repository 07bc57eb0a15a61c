/**
 * What threads do during one sum, and what they wait for:
 *
 *   node test/bench/threads.ts [BITS] [GROUP]        20 G1 by default
 *
 * One sum with one thread and one with two, on the same points and scalars, the code compiled before. Each call of a program
 * is sent by itself, so that it can be timed; what that costs is 0.1 ms a call, of which a large sum has some hundred. Times
 * of calls are those in which a thread had a core (Linux's schedstat), so that other processes disturb them little: what
 * these took is in a row of its own. Two threads that run for longer together than one alone wait for something that they
 * share: memory, a cache, the units of a core. One that is idle had nothing to do.
 */
import { randomBytes } from 'node:crypto';
import { readdirSync, readFileSync } from 'node:fs';
import { loadavg } from 'node:os';
import type { Group } from '../../circuits/groth16/point.ts';
import { SCALAR_BYTES } from '../../protocols/bn254.ts';
import { equal } from '../../protocols/encoding.ts';
import { startNodeThread } from '../../runtime/msm/threads/node-thread.ts';
import { createPool } from '../../runtime/msm/threads/pool.ts';
import type { StartThread, ThreadRequest } from '../../runtime/msm/threads/thread.ts';
import type { Call, Program } from '../../runtime/msm/wasm/instance.ts';

/** What a call is part of, in the order of a sum. */
const PHASES: ReadonlyArray<readonly [phase: string, calls: RegExp]> = [
  ['points converted', /^convert$/],
  ['digits', /^recode$/],
  ['additions to buckets', /_(accumulate(_at)?|finish)$/],
  ['running sums', /_(running_sums|add_all)$/],
  ['windows joined', /_horner$/],
  ['memory cleared', /^clear$|_reset$/],
];
const phaseOf = ([name]: Call): string => PHASES.find(([, calls]) => calls.test(name))?.[0] ?? name;

interface Span {
  readonly thread: number;
  readonly phase: string;
  /** Milliseconds with a core, and without one although there was something to do. */
  readonly ran: number;
  readonly waited: number;
}

const TASKS = '/proc/self/task';
const tasks = () => new Set(readdirSync(TASKS));
function clockOf(task: string): { ran: number; waited: number } {
  const [ran, waited] = readFileSync(`${TASKS}/${task}/schedstat`, 'utf8')
    .split(' ')
    .map((ns) => Number(ns) / 1e6);
  return { ran: ran!, waited: waited! };
}

/** Threads whose calls are noted in `spans`. */
function watched(spans: Span[]): StartThread {
  let threads = 0;
  return (modules, events) => {
    const index = threads++;
    let rest: Call[] = [];
    let began = { ran: 0, waited: 0 };
    const before = tasks();
    let request: ThreadRequest | undefined;
    const next = () => {
      began = clockOf(task);
      thread.post({ ...request!, args: [[rest[0]]] }, []);
    };
    const thread = startNodeThread(modules, {
      ...events,
      onReply(reply) {
        if (!request || reply.error !== undefined) return events.onReply(reply);
        const { ran, waited } = clockOf(task);
        spans.push({
          thread: index,
          phase: phaseOf(rest[0]!),
          ran: ran - began.ran,
          waited: waited - began.waited,
        });
        rest = rest.slice(1);
        if (rest.length > 0) return next();
        request = undefined;
        events.onReply(reply);
      },
    });
    const task = [...tasks()].find((each) => !before.has(each))!;
    return {
      ...thread,
      post(given, transfer) {
        if (given.call !== 'program') return thread.post(given, transfer);
        request = given;
        rest = [...(given.args[0] as Program)];
        next();
      },
    };
  };
}

interface Profile {
  readonly ms: number;
  readonly sum: Uint8Array;
  readonly spans: readonly Span[];
}

async function profile(
  threads: number,
  group: Group,
  bases: Uint8Array,
  scalars: Uint8Array,
): Promise<Profile> {
  const spans: Span[] = [];
  await using pool = await createPool({ threads, start: watched(spans) });
  // Compiled by work of the same kind.
  const few = 2 ** 15;
  const size = bases.byteLength / (scalars.byteLength / SCALAR_BYTES);
  for (let run = 0; run < 3; run++)
    await pool.msm(group, bases.subarray(0, few * size), scalars.subarray(0, few * SCALAR_BYTES));
  spans.length = 0;
  const began = performance.now();
  const sum = await pool.msm(group, bases, scalars);
  return { ms: performance.now() - began, sum, spans };
}

/** Below 2^253, which is below r. */
function randomScalars(count: number): Uint8Array {
  const scalars = randomBytes(count * SCALAR_BYTES);
  for (let at = SCALAR_BYTES - 1; at < scalars.byteLength; at += SCALAR_BYTES) scalars[at]! &= 0x1f;
  return scalars;
}

const [bits = '20', group = 'G1'] = process.argv.slice(2);
const count = 2 ** Number(bits);
const scalars = randomScalars(count);
const bases = await (async () => {
  await using pool = await createPool();
  return await pool.multiples(group as Group, randomScalars(count));
})();
const [one, two] = [
  await profile(1, group as Group, bases, scalars),
  await profile(2, group as Group, bases, scalars),
];
if (!equal(one.sum, two.sum)) throw new Error('the sums differ');

const total = ({ spans }: Profile, of: 'ran' | 'waited', phase?: string, thread?: number) =>
  spans
    .filter((span) => (phase ?? span.phase) === span.phase && (thread ?? span.thread) === span.thread)
    .reduce((sum, span) => sum + span[of], 0);
const line = (...cells: (string | number)[]) =>
  console.log(`| ${cells.map((cell) => (typeof cell === 'number' ? cell.toFixed(0) : cell)).join(' | ')} |`);
console.log(`sum of ${count} points of ${group}, load ${loadavg()[0]!.toFixed(1)}; ms with a core\n`);
line('what', '1 thread', '2 threads, first', 'second', 'together over one');
line('---', '---:', '---:', '---:', '---:');
for (const phase of new Set([...PHASES.map(([phase]) => phase), ...two.spans.map((span) => span.phase)])) {
  const alone = total(one, 'ran', phase);
  const each = [0, 1].map((thread) => total(two, 'ran', phase, thread));
  if (alone > 0) line(phase, alone, each[0]!, each[1]!, `${((each[0]! + each[1]!) / alone).toFixed(2)}x`);
}
const both = (of: 'ran' | 'waited') =>
  [0, 1].map((thread) => total(two, of, undefined, thread)) as [number, number];
const [ran, waited] = [both('ran'), both('waited')];
line('all of it', total(one, 'ran'), ...ran, `${((ran[0] + ran[1]) / total(one, 'ran')).toFixed(2)}x`);
line('no core, because of others', total(one, 'waited'), ...waited, '');
const idle = [0, 1].map((thread) => two.ms - ran[thread]! - waited[thread]!) as [number, number];
line('idle', one.ms - total(one, 'ran') - total(one, 'waited'), ...idle, '');
line('from points to sum', one.ms, two.ms, '', `${(one.ms / two.ms).toFixed(2)}x as fast`);
