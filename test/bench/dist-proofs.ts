/**
 * Whole proofs by a fleet, from request to proof, in turns with one local prover on the same cores in the same run: the
 * demonstration (2^16) on a real stack (dist-stand.ts). A row is a ratio, how many times longer the fleet takes; 1 would be
 * as long. Every proof is compared with the right one before its time counts.
 *
 * Who misbehaves does so in this process, with the real role and an engine of its own. `one-way` is one whose answers are
 * lost, `frozen` a process that was stopped, `slow` says that it is fast
 * and computes fifty times as long.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { addPoints, G1, G2, type Group, writeG1, writeG2 } from '../../circuits/groth16/point.ts';
import { readZkey } from '../../circuits/groth16/zkey.ts';
import { type CoordinatorRates, evenCircuit, forecast, MEASURED } from '../../runtime/msm/shards/forecast.ts';
import type { Rates } from '../../runtime/msm/shards/work.ts';
import { createPool } from '../../runtime/msm/threads/pool.ts';
import type { RoleProcess } from '../../runtime/roles/child.ts';
import { untilUp } from '../../runtime/roles/host.ts';
import { type ShardEngine, workerRole } from '../../runtime/roles/worker.ts';
import { signal as send } from '../runtime/home/home-fixture.ts';
import type { Subject } from '../runtime/roles/proof-fixture.ts';
import { openStand, type Stand, withDefer } from './dist-stand.ts';
import { processorTimeOfChildren, spentBetween } from './processor-time.ts';
import { type BenchContext, type Row, RUNS, row } from './result.ts';
import { median } from './statistics.ts';

/** Beside its shard's own time, what a coordinator waits before a shard is late (runtime/msm/shards/ledger.ts). */
const DEADLINE_MS = 1_000;
const SLOWER = 50;

/** The same with a coordinator that sums beside its workers. */
const OWN = {
  two: 'demonstration 2^16, 2 workers and the coordinator on 2 cores: times as long as one local prover, witness included',
  one: 'demonstration 2^16, 1 worker and the coordinator: processor time of all processes, times that of the local prover',
} as const;
const NAMES = {
  two: 'demonstration 2^16, 2 workers on 2 cores: times as long as one local prover, witness included',
  one: 'demonstration 2^16, 1 worker: processor time of all processes, times that of the local prover',
  predicted: 'demonstration 2^16, 1 worker: prediction and measurement differ by a factor of',
  unequal: `a fast worker beside one ${SLOWER} times slower: times as long as the fast one alone`,
  liars: '2 of 3 workers lie: times as long as undisturbed, the right proof and the liars named',
} as const;
const KINDS = ['mute', 'one-way', 'frozen', 'slow'] as const;
type Kind = (typeof KINDS)[number];
/** How many misbehave beside one that does not: one of two, two of three. */
const faultName = (kind: Kind, count: number) =>
  `${count} of ${count + 1} workers ${kind}: times as long as undisturbed, less one deadline`;

/** The subject is made when a row needs it: a circuit and its key take a quarter of a minute. */
type MakeSubject = () => Promise<Subject>;

/** Fleets that work, beside the local prover. */
export async function benchmarkProofs(context: BenchContext, subject: MakeSubject): Promise<Row[]> {
  const rows: Row[] = [];
  if (Object.values(OWN).some(context.wants))
    rows.push(...(await benchmarkOwnSums(context, await subject())));
  if ([NAMES.two, NAMES.one, NAMES.unequal, NAMES.predicted].some(context.wants))
    rows.push(...(await benchmarkTurns(context, await subject())));
  return rows;
}

/** Fleets of which all but one misbehave, or one of two. */
export async function benchmarkMisbehaviour(context: BenchContext, subject: MakeSubject): Promise<Row[]> {
  const faults = [2, 1].flatMap((count) => KINDS.map((kind) => ({ kind, count })));
  const asked = faults.filter(({ kind, count }) => context.wants(faultName(kind, count)));
  if (asked.length === 0 && !context.wants(NAMES.liars)) return [];
  return benchmarkFaults(context, await subject(), asked);
}

async function benchmarkOwnSums(context: BenchContext, subject: Subject): Promise<Row[]> {
  return withDefer(context, async (t) => {
    const stand = await openStand(t, subject);
    await stand.fixture.process('coordinator', 'c1', { args: ['--own-sums'] });
    await stand.fixture.process('worker', 'w1');
    const one = await turns(stand, context);
    context.say(`one worker and the coordinator: ${describe(one)}`);
    await stand.fixture.process('worker', 'w2');
    const two = await turns(stand, context);
    context.say(`two workers and the coordinator: ${describe(two)}`);
    return [
      row({ name: OWN.one, unit: 'x', ours: one.cpuRatio, must: 1.25, aim: 1.15 }),
      row({ name: OWN.two, unit: 'x', ours: two.ratio, must: 1.25, aim: 1.1 }),
      row({
        name: 'demonstration 2^16, 2 workers and the coordinator: processor time of all processes, times that of the local prover',
        unit: 'x',
        ours: two.cpuRatio,
      }),
    ];
  });
}

async function benchmarkTurns(context: BenchContext, subject: Subject): Promise<Row[]> {
  const { say, wants } = context;
  return withDefer(context, async (t) => {
    const stand = await openStand(t, subject);
    await stand.fixture.process('coordinator', 'c1');
    await stand.fixture.process('worker', 'w1');
    const rows: Row[] = [];
    const alone = await turns(stand, context);
    say(`one worker: ${describe(alone)}`);
    rows.push(
      row({ name: NAMES.one, unit: 'x', ours: alone.cpuRatio, must: 1.25, aim: 1.15 }),
      row({
        name: 'demonstration 2^16, 1 worker: times as long as one local prover',
        unit: 'x',
        ours: alone.ratio,
      }),
    );
    const predicted = predictedMs(stand.ratesOf('w1'), await stand.coordinatorRates(), subject);
    say(`one worker: ${predicted.toFixed(0)} ms were predicted`);
    rows.push(
      row({
        name: NAMES.predicted,
        unit: 'x',
        ours: Math.max(predicted / alone.ms, alone.ms / predicted),
        must: 1.25,
      }),
    );
    if (wants(NAMES.unequal)) {
      const slow = await hire(stand, ['slow'], slower, true);
      const beside = await turns(stand, context);
      say(`beside a slow one: ${describe(beside)}`);
      // Both against the local prover of their own turns, so that what else the machine does meets both.
      rows.push(
        row({ name: NAMES.unequal, unit: 'x', ours: beside.ratio / alone.ratio, must: 1.1, aim: 1.03 }),
      );
      for (const worker of slow) await worker.stop();
    }
    await stand.fixture.process('worker', 'w2');
    const two = await turns(stand, context);
    say(`two workers: ${describe(two)}`);
    rows.push(
      row({ name: NAMES.two, unit: 'x', ours: two.ratio, must: 1.25, aim: 1.1 }),
      row({ name: 'demonstration 2^16, 2 workers: from request to proof', unit: 's', ours: two.ms / 1000 }),
      row({
        name: 'demonstration 2^16, local prover, 2 threads, witness included',
        unit: 's',
        ours: two.localMs / 1000,
      }),
      row({
        name: 'demonstration 2^16, 2 workers: processor time of all processes',
        unit: 's',
        ours: two.cpu / 1000,
      }),
    );
    return rows;
  });
}

/** What `vouch plan` says for a worker of these rates beside a coordinator of those, on one host. */
function predictedMs(rates: Rates, coordinator: CoordinatorRates, { zkey }: Subject): number {
  const { domainSize, variables } = readZkey(zkey);
  const node = { id: 'w1', rates, bytesPerSecond: 125e6, roundTripMs: 0.5 };
  const circuit = evenCircuit(domainSize, BITS_OF_DEMONSTRATION, variables);
  return forecast({ nodes: [node], coordinator, server: MEASURED.server }, circuit).totalMs;
}
/** 42,060 of its 48,553 wires (docs/BENCHMARKS.md). */
const BITS_OF_DEMONSTRATION = 0.866;

interface Turns {
  readonly ms: number;
  readonly localMs: number;
  readonly ratio: number;
  readonly cpu: number;
  readonly cpuRatio: number;
}
const describe = ({ ms, localMs, ratio, cpu, cpuRatio }: Turns) =>
  `${ms.toFixed(0)} ms, local ${localMs.toFixed(0)} ms, ${ratio.toFixed(2)}x; processor ${cpu.toFixed(0)} ms, ${cpuRatio.toFixed(2)}x`;

/** A fleet's proof and a local one by turns; the first ones do not count: V8 still compiles what both are made with. */
async function turns(stand: Stand, { signal }: BenchContext): Promise<Turns> {
  const samples: { ms: number; localMs: number; cpu: number; localCpu: number }[] = [];
  for (let run = -WARM_UP_RUNS; run < TURNS; run++) {
    signal.throwIfAborted();
    const before = processorTimeOfChildren();
    const { ms } = await stand.fleetProof();
    const cpu = spentBetween(before, processorTimeOfChildren());
    const began = process.cpuUsage();
    const { ms: localMs } = await stand.localProof();
    const { user, system } = process.cpuUsage(began);
    if (run >= 0) samples.push({ ms, localMs, cpu, localCpu: (user + system) / 1000 });
  }
  const of = (pick: (sample: (typeof samples)[number]) => number) => median(samples.map(pick));
  return {
    ms: of(({ ms }) => ms),
    localMs: of(({ localMs }) => localMs),
    ratio: of(({ ms, localMs }) => ms / localMs),
    cpu: of(({ cpu }) => cpu),
    cpuRatio: of(({ cpu, localCpu }) => cpu / localCpu),
  };
}
const WARM_UP_RUNS = 8;
/** Processor time is told in ticks of 10 ms for each process, and varies by a tenth. */
const TURNS = 11;

interface Fault {
  readonly kind: Kind;
  /** how many misbehave beside one that does not */
  readonly count: number;
}

/** One coordinator and one worker that works, and each time others that are new to them, whom nobody knows yet. */
async function benchmarkFaults(
  context: BenchContext,
  subject: Subject,
  faults: readonly Fault[],
): Promise<Row[]> {
  const { say, signal, wants } = context;
  return withDefer(context, async (t) => {
    const stand = await openStand(t, subject);
    await stand.fixture.process('coordinator', 'c1');
    await stand.fixture.process('worker', 'honest');
    for (let run = 0; run < WARM_UP_RUNS; run++) await stand.fleetProof();
    const rows: Row[] = [];
    if (wants(NAMES.liars)) rows.push(await benchmarkLiars(context, stand));
    let named = 0;
    for (const { kind, count } of faults) {
      // There may be no time left for it.
      if (!wants(faultName(kind, count))) continue;
      const samples: number[] = [];
      for (let run = 0; run < RUNS; run++) {
        signal.throwIfAborted();
        const { ms: undisturbed } = await stand.fleetProof();
        const ids = Array.from({ length: count }, () => `${kind}-${++named}`);
        const stop = await misbehave(stand, kind, ids);
        const { ms } = await stand.fleetProof();
        samples.push((ms - DEADLINE_MS) / undisturbed);
        await stop();
        await stand.untilWorkers(1);
      }
      const name = faultName(kind, count);
      say(`${name}: ${samples.map((sample) => sample.toFixed(2)).join(', ')}`);
      rows.push(row({ name, unit: 'x', ours: median(samples), must: 2, aim: 1.5 }));
    }
    return rows;
  });
}

async function misbehave(stand: Stand, kind: Kind, ids: readonly string[]): Promise<() => Promise<void>> {
  const { fixture } = stand;
  if (kind === 'frozen') {
    const stopped: RoleProcess[] = [];
    for (const id of ids) stopped.push(await fixture.process('worker', id));
    await stand.untilWorkers(ids.length + 1);
    for (const worker of stopped) send(worker, 'SIGSTOP');
    return async () => {
      for (const worker of stopped) send(worker, 'SIGKILL');
      await Promise.all(stopped.map(({ exited }) => exited));
    };
  }
  const behaviour: Record<Exclude<Kind, 'frozen'>, Behaviour> = {
    mute: () => new Promise<never>(() => {}),
    // It computes, and nobody hears of it.
    'one-way': async (_, compute) => {
      await compute();
      return new Promise<never>(() => {});
    },
    slow: slower,
  };
  const running = await hire(stand, ids, behaviour[kind]);
  return async () => {
    for (const worker of running) await worker.stop();
  };
}

async function benchmarkLiars({ say, signal }: BenchContext, stand: Stand): Promise<Row> {
  const samples: number[] = [];
  for (let run = 0; run < RUNS; run++) {
    signal.throwIfAborted();
    const { ms: undisturbed } = await stand.fleetProof();
    // New names each time: who was convicted gets nothing any more.
    const ids = [`liar-${run}-a`, `liar-${run}-b`];
    const liars = await hire(stand, ids, async (group, compute) =>
      addPoints(group, [await compute(), group === 'G1' ? writeG1(G1.BASE) : writeG2(G2.BASE)]),
    );
    const { ms, published } = await stand.fleetProof();
    const { convicted = [] } = published.record;
    if (convicted.length === 0) throw new Error('nobody was convicted');
    if (convicted.some((id) => !ids.includes(id))) throw new Error(`convicted although honest: ${convicted}`);
    samples.push(ms / undisturbed);
    for (const liar of liars) await liar.stop();
    await stand.untilWorkers(1);
  }
  say(`${NAMES.liars}: ${samples.map((sample) => sample.toFixed(2)).join(', ')}`);
  return row({ name: NAMES.liars, unit: 'x', ours: median(samples), must: 3, aim: 2 });
}

type Behaviour = (group: Group, compute: () => Promise<Uint8Array>) => Promise<Uint8Array>;

const slower: Behaviour = async (_, compute) => {
  const began = performance.now();
  const sum = await compute();
  await sleep((SLOWER - 1) * (performance.now() - began));
  return sum;
};

/** Workers in this process that behave so once they have measured themselves; returns when the fleet has them. */
async function hire(
  { fixture, untilWorkers }: Stand,
  ids: readonly string[],
  behave: Behaviour,
  /** It measures itself as slow as it is. */
  fromStart = false,
) {
  const running = [];
  for (const id of ids) {
    const pool = await createPool({ threads: 1 });
    let armed = fromStart;
    const engine: ShardEngine = {
      close: () => pool.close(),
      msm: (group, ...call) =>
        armed ? behave(group, () => pool.msm(group, ...call)) : pool.msm(group, ...call),
    };
    const worker = await fixture.role('worker', id, workerRole({ engine }));
    await untilUp(worker, 240_000);
    running.push(worker);
    armed = true;
  }
  await untilWorkers(ids.length + 1);
  return running;
}
