/**
 * How well a coordinator keeps unequal workers busy: SIMULATED fleets (simulated-engine.ts) over a real server, with the
 * coordinator's own fleet, ledger and dispatcher; no witness, no key, no proof. Sums are compared with what they must be before a
 * time counts. Efficiency is against workers that do what their stated rates say, all the time, with nothing to be sent; what
 * buckets cost a small piece more, as runtime/msm/shards/work.ts counts it, is a loss.
 */
import { spawn } from 'node:child_process';
import { SECTION_GROUP, SECTIONS } from '../../circuits/groth16/engine.ts';
import { SCALAR_BYTES } from '../../protocols/bn254.ts';
import { equal } from '../../protocols/encoding.ts';
import { folder } from '../../runtime/home/home.ts';
import { credentials } from '../../runtime/installation/credentials.ts';
import { simulate } from '../../runtime/msm/shards/simulation.ts';
import { sectionSums } from '../../runtime/msm/shards/sums.ts';
import { quotientShape, wiresShape } from '../../runtime/msm/shards/work.ts';
import { startHome, until } from '../runtime/home/home-fixture.ts';
import { fullSubject, type Subject } from '../runtime/roles/proof-fixture.ts';
import { startDispatching } from './dist-coordinator.ts';
import { benchmarkMessages } from './dist-messages.ts';
import { benchmarkMisbehaviour, benchmarkProofs } from './dist-proofs.ts';
import { type BenchContext, type Row, row } from './result.ts';
import { dotProduct, multipleOf, simulatedKey } from './simulated-engine.ts';
import type { SimulatedWorkers } from './simulated-workers.ts';

const WORKERS = 32;
const DEMANDED_BITS = 22;
/** Nine wires in ten. */
const isBit = (wire: number): boolean => wire % 10 !== 0;
/**
 * Points a second of the slowest in G1; each of five kinds is so much faster. In G2 a third. The first is low enough that a
 * coordinator's sealing is not the bound on a quiet machine; then they are raised until something is.
 */
const SLOWEST = [3_000, 12_000, 48_000];
const KINDS = [1, 2, 3, 4, 5];

/** After so many minutes nothing is begun any more, unless `--minutes` says otherwise. */
const MINUTES = 8;

export async function benchmarkDist(given: BenchContext): Promise<Row[]> {
  const until = performance.now() + 60_000 * (given.minutes ?? MINUTES);
  const leftOut = new Set<string>();
  const wants = (name: string) => {
    if (!given.wants(name)) return false;
    if (performance.now() < until) return true;
    if (!leftOut.has(name)) given.say(`not measured, no time is left: ${name}`);
    leftOut.add(name);
    return false;
  };
  const context = { ...given, wants };
  let made: Promise<Subject> | undefined;
  const subject = () => {
    made ??= fullSubject();
    return made;
  };
  return [
    ...(await benchmarkProofs(context, subject)),
    ...(await benchmarkMessages(context)),
    ...(await benchmarkSimulated(context)),
    ...(await benchmarkMisbehaviour(context, subject)),
  ];
}

async function benchmarkSimulated(context: BenchContext): Promise<Row[]> {
  const bits = context.maxBits ?? DEMANDED_BITS;
  const rows: Row[] = [];
  for (const slowest of SLOWEST) {
    const workers = Array.from({ length: WORKERS }, (_, i) => {
      const rate = slowest * KINDS[i % KINDS.length]!;
      return { id: `simulated-${i + 1}`, g1: rate, g2: rate / 3 };
    });
    const total = workers.reduce((sum, { g1 }) => sum + g1, 0);
    const name = `SIMULATED fleet, ${WORKERS} unequal workers, ${total / 1000} k points/s, sums of 2^${bits}: efficiency`;
    if (!context.wants(name)) continue;
    const { seconds, efficiency } = await measure(2 ** bits, workers, context);
    context.say(`${name}: ${seconds.toFixed(1)} s, ${(100 * efficiency).toFixed(1)} %`);
    const bounds = slowest === SLOWEST[0] && bits === DEMANDED_BITS ? { must: 85, aim: 92 } : {};
    rows.push(row({ name, unit: '%', ours: 100 * efficiency, better: 'more', ...bounds }));
    const predicted = predictedSeconds(2 ** bits, workers);
    rows.push(
      row({
        name: `${name.replace(/: efficiency$/, '')}: prediction and measurement differ by a factor of`,
        unit: 'x',
        ours: Math.max(predicted / seconds, seconds / predicted),
        ...(slowest === SLOWEST[0] ? { must: 1.25 } : {}),
      }),
    );
  }
  return rows;
}

async function measure(
  domain: number,
  workers: SimulatedWorkers['workers'],
  { say, signal }: BenchContext,
): Promise<{ seconds: number; efficiency: number }> {
  const cleanups: Array<() => unknown> = [];
  const skip = (reason: string): never => {
    throw new Error(reason);
  };
  try {
    const home = await startHome({ defer: (cleanup) => void cleanups.push(cleanup), skip, signal });
    const client = await home.bus('client', 'bench');
    const creds = folder('creds');
    for (const { id } of workers) await credentials('worker', id, creds);

    const { fleet, dispatcher } = await startDispatching(home, (cleanup) => void cleanups.push(cleanup));
    const started: SimulatedWorkers = { url: home.server.url, creds, domain, workers };
    const program = new URL('./simulated-workers.ts', import.meta.url).pathname;
    const child = spawn(process.execPath, [program, JSON.stringify(started)], {
      stdio: ['ignore', 'ignore', 'inherit', 'ipc'],
    });
    cleanups.push(() => child.kill('SIGKILL'));
    const died = new Promise<never>((_, reject) => {
      child.once('exit', (code) => reject(new Error(`the simulated workers ended with ${code}`)));
    });
    died.catch(() => {});
    await Promise.race([died, until(() => fleet.ready().length === workers.length, 300_000)]);
    say(`${workers.length} simulated workers are there`);

    const key = simulatedKey(domain);
    const scalars = { wires: randomScalars(domain, isBit), quotient: randomScalars(domain, () => false) };

    const began = performance.now();
    const distribution = dispatcher.open({
      job: 'bench',
      client: client.id,
      epoch: 1,
      key: key.shape,
      manifest: { ...key.manifest, chunks: [...key.manifest.chunks] },
      isBit,
      onNews: () => {},
    });
    distribution.add('wires', scalars.wires);
    distribution.add('quotient', scalars.quotient);
    const parts = await Promise.race([died, distribution.finished]);
    const ms = performance.now() - began;
    const sums = sectionSums(key.shape, parts);
    for (const section of SECTIONS) {
      const vector = section === 'H' ? scalars.quotient : scalars.wires;
      const skipped = section === 'C' ? key.shape.publics + 1 : 0;
      const { product } = dotProduct(vector.subarray(skipped * SCALAR_BYTES), skipped);
      if (!equal(sums[section], multipleOf(SECTION_GROUP[section], product)))
        throw new Error(`the sum over ${section} is wrong`);
    }
    return { seconds: ms / 1000, efficiency: idealMs(domain, workers) / ms };
  } finally {
    for (const cleanup of cleanups.reverse()) await cleanup();
  }
}

/** What the model says, with the coordinator's and the server's rates that `vouch plan` assumes. */
function predictedSeconds(domain: number, workers: SimulatedWorkers['workers']): number {
  const { endMs } = simulate({
    parts: [wiresShape({ rows: domain, privateFrom: 2, isBit }), quotientShape({ rows: domain })].map(
      (shape) => ({ shape, readyAt: 0 }),
    ),
    nodes: workers.map(({ id, g1, g2 }) => ({
      id,
      rates: { g1, g2 },
      bytesPerSecond: LINK_BYTES_PER_SECOND,
      roundTripMs: 0.5,
    })),
    maxPieceBytes: 7.5 * 2 ** 20,
    sealBytesPerSecond: 200e6,
    serverBytesPerSecond: 350e6,
  });
  return endMs / 1000;
}
/** 1 Gbit/s. */
const LINK_BYTES_PER_SECOND = 125e6;

/** If every worker were busy all the time, and nothing had to be sent. */
function idealMs(domain: number, workers: SimulatedWorkers['workers']): number {
  const wide = Math.ceil(domain / 10);
  const wires = wide + (domain - wide) / 32;
  const speed = workers.reduce((sum, { g1, g2 }) => sum + 1 / ((3 * wires + domain) / g1 + wires / g2), 0);
  return 1000 / speed;
}

function randomScalars(count: number, isBit: (index: number) => boolean): Uint8Array {
  const scalars = new Uint8Array(count * SCALAR_BYTES);
  for (let at = 0; at < scalars.byteLength; at += 65_536)
    crypto.getRandomValues(scalars.subarray(at, at + 65_536));
  for (let i = 0; i < count; i++) {
    const at = i * SCALAR_BYTES;
    if (isBit(i)) {
      scalars.fill(0, at + 1, at + SCALAR_BYTES);
      scalars[at]! &= 1;
    } else scalars[at + SCALAR_BYTES - 1]! &= 0x1f;
  }
  return scalars;
}
