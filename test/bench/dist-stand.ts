/**
 * A stack for measurements of the fleet: a real nats-server, a key-broker here, coordinator and workers in processes of their
 * own, and one local prover on the same cores beside which it is measured. Proofs are made with known r and s, so that each
 * is compared with the one that the local prover made: it counts when it is that very proof, and verifies.
 */
import { readFile } from 'node:fs/promises';
import { type Phase, type Proof, proveReady } from '../../circuits/groth16/prove.ts';
import { entriesOfC } from '../../circuits/groth16/qap.ts';
import { readR1cs } from '../../circuits/groth16/r1cs.ts';
import { readZkey } from '../../circuits/groth16/zkey.ts';
import { witnessInput } from '../../circuits/model/emit.ts';
import { SCALAR_BYTES } from '../../protocols/bn254.ts';
import { equal, utf8 } from '../../protocols/encoding.ts';
import { decodeMessage } from '../../protocols/envelope.ts';
import type { PublishedProof } from '../../protocols/proof.ts';
import { generateSealingKeyPair, SEALING_INFO, sealTo } from '../../protocols/sealing.ts';
import { filters } from '../../protocols/subjects.ts';
import { Heartbeat } from '../../protocols/transition.ts';
import type { CoordinatorRates } from '../../runtime/msm/shards/forecast.ts';
import type { Rates } from '../../runtime/msm/shards/work.ts';
import { createPool } from '../../runtime/msm/threads/pool.ts';
import { prepareCircuit } from '../../runtime/prove/setup.ts';
import { openCalculators } from '../../runtime/prove/witness-calculator.ts';
import { until } from '../runtime/home/home-fixture.ts';
import {
  type ProofFixture,
  SMALL_TERMS,
  type Subject,
  startProving,
} from '../runtime/roles/proof-fixture.ts';
import { type BenchContext, RUNS } from './result.ts';
import { median, timed } from './statistics.ts';

/** The cores of the machine that the demands are made of. */
export const CORES = 2;

/** A test's context, as fixtures want it. */
export async function withDefer<T>(
  { signal }: Pick<BenchContext, 'signal'>,
  work: (t: {
    defer(cleanup: () => unknown): void;
    skip(reason: string): never;
    readonly signal: AbortSignal;
  }) => Promise<T>,
): Promise<T> {
  const cleanups: Array<() => unknown> = [];
  try {
    return await work({
      defer: (cleanup) => void cleanups.push(cleanup),
      skip: (reason) => {
        throw new Error(reason);
      },
      signal,
    });
  } finally {
    for (const cleanup of cleanups.reverse()) await cleanup();
  }
}

export interface Stand {
  readonly fixture: ProofFixture;
  /** From request to proof; throws when it is not the right one. */
  fleetProof(): Promise<{ readonly ms: number; readonly published: PublishedProof }>;
  /** What a worker says that it does; throws where it was never heard. */
  ratesOf(worker: string): Rates;
  /** Resolves when the newest coordinator counts so many workers. */
  untilWorkers(count: number): Promise<void>;
  /** Witness, proof and its verification on two threads here, with a key that is ready. */
  localProof(): Promise<{ readonly ms: number }>;
  /** What two threads here do, measured apart from any proof: what a forecast has to know of a coordinator. */
  coordinatorRates(): Promise<CoordinatorRates>;
}

const sameProof = (a: object, b: Proof) => equal(utf8(JSON.stringify(a)), utf8(JSON.stringify(b)));

/** One server and its client for a subject; ends with `t`. */
export async function openStand(t: Parameters<typeof startProving>[0], subject: Subject): Promise<Stand> {
  const fixture = await startProving(t, subject, { terms: { ...SMALL_TERMS, requester: {}, all: {} } });
  const monitor = await fixture.bus('monitor', 'bench');
  let workers = { of: '', seen: 0, beats: 0 };
  monitor.subscribe(filters.beatsOf('coordinator'), ({ subject: from, data }) => {
    const { id, boot, counts } = decodeMessage(Heartbeat, from, data).body;
    const of = `${id}/${boot}`;
    workers = { of, seen: counts.workers ?? 0, beats: workers.of === of ? workers.beats + 1 : 1 };
  });
  const rates = new Map<string, Rates>();
  monitor.subscribe(filters.beatsOf('worker'), ({ subject: from, data }) => {
    const { id, worker } = decodeMessage(Heartbeat, from, data).body;
    if (worker && worker.credit > 0) rates.set(id, worker.rates);
  });
  return {
    fixture,
    ratesOf(worker) {
      const known = rates.get(worker);
      if (!known) throw new Error(`worker ${worker} was never heard`);
      return known;
    },
    async untilWorkers(count) {
      await until(() => workers.seen === count);
      // A worker is counted when it is heard first; a beat later it has shown its evidence.
      const { beats } = workers;
      await until(() => workers.beats > beats && workers.seen === count);
    },
    async fleetProof() {
      const { value: request, ms } = await timed(async () => {
        const asked = await fixture.ask();
        await asked.done;
        return asked;
      });
      return { ms, published: await fixture.check(request) };
    },
    ...(await openLocalProver(t, subject)),
  };
}

async function openLocalProver(
  t: Parameters<typeof startProving>[0],
  { model, testSet, threshold, zkey: file, proof: expected }: Subject,
): Promise<Pick<Stand, 'localProof' | 'coordinatorRates'>> {
  const pool = await createPool({ threads: CORES });
  t.defer(() => pool.close());
  const calculators = openCalculators();
  t.defer(() => calculators[Symbol.asyncDispose]());
  const { wasmPath, r1csPath, digest } = await prepareCircuit(model.architecture, testSet);
  const zkey = readZkey(file);
  const ready = await pool.ready(zkey);
  t.defer(() => ready.release());
  const blinding = blindingOfTests();
  const calculator = { name: digest, read: () => readFile(wasmPath) };
  const witnessed = () => calculators.calculate(calculator, witnessInput(model, threshold));
  return {
    async localProof() {
      const { value, ms } = await timed(async () =>
        proveReady(zkey, await witnessed(), ready, pool, blinding),
      );
      if (!sameProof(value.proof, expected)) throw new Error('the local prover made another proof');
      return { ms };
    },
    async coordinatorRates() {
      const products = async () => entriesOfC(readR1cs(await readFile(r1csPath)), pool);
      const { publicKey } = await generateSealingKeyPair();
      const runs: Record<'witness' | 'quotient' | 'seal' | 'finish', number>[] = [];
      for (let run = 0; run < RUNS; run++) {
        const witness = await timed(witnessed);
        const quotient = await timed(() => ready.checkedQuotient!(witness.value, products));
        if (!quotient.value) throw new Error('the witness breaks a constraint');
        const scalars = quotient.value;
        const seal = await timed(() => sealTo(publicKey, scalars, { info: SEALING_INFO.shard }));
        let summed = 0;
        const onPhase = (phase: Phase) => {
          if (phase === 'assembling') summed = performance.now();
        };
        await proveReady(zkey, witness.value, ready, pool, { ...blinding, onPhase });
        const finish = performance.now() - summed;
        runs.push({ witness: witness.ms, quotient: quotient.ms, seal: seal.ms, finish });
      }
      const of = (part: keyof (typeof runs)[number]) => median(runs.map((run) => run[part]));
      const { domainSize } = zkey;
      return {
        // A forecast knows the domain alone.
        witnessPerSecond: (1000 * domainSize) / of('witness'),
        transformPerSecond: (1000 * domainSize) / of('quotient'),
        sealBytesPerSecond: (1000 * domainSize * SCALAR_BYTES) / of('seal'),
        finishMs: of('finish'),
      };
    },
  };
}

/** The fixture has set it. */
function blindingOfTests() {
  const [r, s] = process.env.VOUCH_TEST_BLINDING!.split(',').map(BigInt);
  return { r: r!, s: s! };
}
