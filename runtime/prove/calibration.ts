/**
 * How fast this machine makes keys and proofs, by making one of each for a small circuit of the usual kind: bits, and a few
 * long sums. Measured once and kept with the home; lint foretells from it what a model will take. On a machine that was
 * busy then, or is busy later, it is wrong by as much.
 */
import { availableParallelism, cpus } from 'node:os';
import { z } from 'zod';
import { writeBinFile } from '../../circuits/groth16/binfile.ts';
import { ELEMENT_BYTES, elementBytes, R, writeElement } from '../../circuits/groth16/field.ts';
import { prove } from '../../circuits/groth16/prove.ts';
import { setup } from '../../circuits/groth16/setup.ts';
import { readZkey } from '../../circuits/groth16/zkey.ts';
import type { CircuitCost } from '../../circuits/model/cost.ts';
import { readTextIfThere, writeWhole } from '../home/files.ts';
import { folder } from '../home/home.ts';
import { ratedPoints } from '../msm/shards/work.ts';
import { createPool } from '../msm/threads/pool.ts';

/** What the times follow from. */
export type CircuitSize = Pick<CircuitCost, 'constraints' | 'variables' | 'domain' | 'movedTerms'>;

const Rates = z.strictObject({
  version: z.literal(3),
  /** on which the times were measured: another one measures again */
  machine: z.string().max(300),
  /** milliseconds for the circuit that was measured */
  setup: z.number().positive(),
  proof: z.number().positive(),
  /** milliseconds that the first key and the first proof of a process take longer: their code is made then */
  setupStart: z.number().nonnegative(),
  start: z.number().nonnegative(),
});
type Rates = z.infer<typeof Rates>;

export interface Forecast {
  /** the middle of `compileRange` */
  readonly compileSeconds: number;
  readonly compileRange: readonly [low: number, high: number];
  readonly setupSeconds: number;
  readonly proofSeconds: number;
}

const file = (): string => folder('cache', 'calibration.json');
const machine = (): string => `${cpus()[0]?.model ?? 'unknown'}, ${availableParallelism()} threads`;

/** The rates of this machine, measured now unless they are known. Takes a second or two the first time. */
export async function machineRates(): Promise<Rates> {
  const known = knownRates();
  if (known) return known;
  const rates = await measure();
  await writeWhole(file(), JSON.stringify(rates), { mode: 0o644 });
  return rates;
}

function knownRates(): Rates | undefined {
  try {
    const rates = Rates.parse(JSON.parse(readTextIfThere(file(), 'calibration') ?? ''));
    return rates.machine === machine() ? rates : undefined;
  } catch {
    // A cache: what cannot be read is measured again.
    return undefined;
  }
}

/** Of the measured circuit. */
const BITS = 13;
const SUM_EVERY = 12;
/** The fastest counts: code is still being compiled during the first, and others may use the machine during any. */
const SETUPS = 3;
const PROOFS = 5;

/** Points that a setup makes, those of G2 for three: for each wire A, B1, K and C, and B2; for the domain H, powers, and what is hashed. */
const setupWork = ({ variables, domain }: CircuitSize): number => 7 * variables + 4 * domain;
/** A proof sums A, B1, B2 and C over mostly bits, and H over the whole domain: the more points, the fewer additions for each. */
const proofWork = ({ variables, domain }: CircuitSize): number =>
  variables + (2 * domain * costOfPoint(domain)) / costOfPoint(MEASURED.domain);
const costOfPoint = (points: number): number => ratedPoints(points) / points;
/**
 * circom: milliseconds, for each constraint and each term that it moves, on a machine whose setup of the measured circuit takes a
 * second; `fixed` is Poseidon. 17 of 18 measured circuits from 3,000 to 954,000 constraints were within 40 % of it (docs/BENCHMARKS.md), so what is said is
 * a range, by `off` up and down.
 */
const COMPILE = { fixed: 4_000, perConstraint: 0.2, perMoved: 0.04, off: 1.6 };

/** What a circuit takes on a machine of these rates, one job alone on it. */
export function forecast(size: CircuitSize, rates: Omit<Rates, 'version' | 'machine'>): Forecast {
  const seconds = (ms: number) => Number((ms / 1000).toPrecision(2));
  const compile =
    (rates.setup / 1000) *
    (COMPILE.fixed + COMPILE.perConstraint * size.constraints + COMPILE.perMoved * size.movedTerms);
  return {
    compileSeconds: seconds(compile),
    compileRange: [seconds(compile / COMPILE.off), seconds(compile * COMPILE.off)],
    setupSeconds: seconds(rates.setupStart + (rates.setup * setupWork(size)) / setupWork(MEASURED)),
    proofSeconds: seconds(rates.start + (rates.proof * proofWork(size)) / proofWork(MEASURED)),
  };
}

async function measure(): Promise<Rates> {
  const { r1cs, witness } = bitCircuit(MEASURED.constraints);
  await using pool = await createPool();
  const engines = { field: pool, points: pool };
  const timesOf = async (runs: number, work: () => Promise<unknown>): Promise<readonly number[]> => {
    const times: number[] = [];
    for (let run = 0; run < runs; run++) {
      const began = performance.now();
      await work();
      times.push(performance.now() - began);
    }
    return times;
  };
  let zkey = new Uint8Array();
  const making = await timesOf(SETUPS, async () => {
    zkey = (await setup(r1cs, engines)).zkey;
  });
  const proving = await timesOf(PROOFS, () => prove(readZkey(zkey), witness, pool));
  const [setupMs, proof] = [Math.min(...making), Math.min(...proving)];
  return {
    version: 3,
    machine: machine(),
    setup: setupMs,
    setupStart: making[0]! - setupMs,
    proof,
    start: proving[0]! - proof,
  };
}

const MEASURED: CircuitSize = {
  constraints: 2 ** BITS - 4,
  variables: 2 ** BITS - 4 + 2,
  domain: 2 ** BITS,
  movedTerms: 0,
};

/** A circuit of so many constraints: bits, and now and then a product of two sums of the bits before. */
function bitCircuit(constraints: number) {
  const variables = constraints + 2;
  const body: number[][][] = [];
  const values: bigint[] = [1n, 0n];
  const minusOne = R - 1n;
  const coefficients: bigint[] = [1n, minusOne];
  for (let c = 0; c < constraints; c++) {
    const wire = 2 + c;
    if (c % SUM_EVERY === SUM_EVERY - 1) {
      const bits = Array.from({ length: SUM_EVERY - 1 }, (_, i) => wire - 1 - i);
      const sum = bits.reduce((total, bit) => total + values[bit]!, 0n);
      values.push(sum * sum);
      const all = bits.flatMap((bit) => [bit, 0]);
      body.push([all, all, [wire, 0]]);
    } else {
      // Alternating in a pattern without meaning; half of the bits are set, as in a witness.
      values.push(BigInt((c * 7 + (c >> 3)) & 1));
      body.push([[wire, 0, 0, 1], [wire, 0], []]);
    }
  }
  return { r1cs: r1csFile(variables, body, coefficients), witness: witnessBytes(values) };
}

/** circom's file for combinations given as wire and index of coefficient in turns; one public input, wire 1. */
function r1csFile(
  variables: number,
  constraints: readonly (readonly (readonly number[])[])[],
  coefficients: readonly bigint[],
): Uint8Array<ArrayBuffer> {
  const terms = constraints.reduce((sum, row) => sum + row.reduce((n, each) => n + each.length / 2, 0), 0);
  const body = new Uint8Array(constraints.length * 12 + terms * (4 + ELEMENT_BYTES));
  const view = new DataView(body.buffer);
  const encoded = coefficients.map(elementBytes);
  let at = 0;
  for (const row of constraints)
    for (const combination of row) {
      view.setUint32(at, combination.length / 2, true);
      at += 4;
      for (let i = 0; i < combination.length; i += 2) {
        view.setUint32(at, combination[i]!, true);
        body.set(encoded[combination[i + 1]!]!, at + 4);
        at += 4 + ELEMENT_BYTES;
      }
    }
  const header = new Uint8Array(4 + ELEMENT_BYTES + 7 * 4);
  const head = new DataView(header.buffer);
  head.setUint32(0, ELEMENT_BYTES, true);
  header.set(elementBytes(R), 4);
  // wires, outputs, public inputs, private inputs, labels (64 bits), constraints
  [variables, 0, 1, 0, variables, 0, constraints.length].forEach((number, index) => {
    head.setUint32(4 + ELEMENT_BYTES + 4 * index, number, true);
  });
  return writeBinFile('r1cs', 1, [
    [1, header],
    [2, body],
  ]);
}

function witnessBytes(values: readonly bigint[]): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(values.length * ELEMENT_BYTES);
  values.forEach((value, i) => {
    writeElement(value, bytes, i * ELEMENT_BYTES);
  });
  return bytes;
}
