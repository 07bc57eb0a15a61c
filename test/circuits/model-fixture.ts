/** Small models, circuits compiled for a test, and a check of every constraint on a witness, in BigInt. */

import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { bn254 } from '@noble/curves/bn254.js';
import { R } from '../../circuits/groth16/field.ts';
import { type R1cs, readR1cs } from '../../circuits/groth16/r1cs.ts';
import { type CommittedModel, randomSalt } from '../../circuits/model/commit.ts';
import { circuitDigest, type EmittedCircuit } from '../../circuits/model/emit.ts';
import type { Decision, DenseNetwork } from '../../circuits/model/network.ts';
import type { Preprocessing } from '../../circuits/model/preprocessing.ts';
import { quantise, randomFeatures } from '../../circuits/model/quantise.ts';
import { seededRandom } from '../../runtime/models/random.ts';
import { circuitToolchain, compileCircuit } from '../../runtime/prove/circuit-compiler.ts';
import { assert, type TestContext } from '../harness.ts';

const { Fr } = bn254.fields;

export interface SmallModel {
  readonly seed?: number;
  /** units from the inputs to the outputs */
  readonly units: readonly number[];
  readonly decision?: Decision;
}

/** A network of random weights over integer features in -3..12. */
export function smallNetwork({ seed = 1, units, decision = 'argmax' }: SmallModel): DenseNetwork {
  const random = seededRandom(seed);
  const layers = units.slice(1).map((outputs, l) => {
    const inputs = units[l]!;
    return {
      inputs,
      outputs,
      weights: Float64Array.from({ length: inputs * outputs }, () => random.normal()),
      bias: Float64Array.from({ length: outputs }, () => random.normal()),
      relu: l < units.length - 2,
    };
  });
  return { inputs: units[0]!, layers, decision };
}

export function smallModel(options: SmallModel): CommittedModel {
  const { units, decision } = options;
  const preprocessing: Preprocessing = {
    columns: Array.from({ length: units[0]! }, (_, i) => ({
      kind: 'integer',
      name: `x${i}`,
      low: -3,
      high: 12,
    })),
  };
  const classes =
    decision === 'sign' ? ['no', 'yes'] : Array.from({ length: units.at(-1)! }, (_, c) => `class ${c}`);
  const random = seededRandom((options.seed ?? 1) + 1000);
  const calibration = Array.from({ length: 64 }, () =>
    Int32Array.from({ length: units[0]! }, () => random.below(16) - 3),
  );
  return { ...quantise(smallNetwork(options), { preprocessing, classes, calibration }), salt: randomSalt() };
}

export const rowsFor = (model: CommittedModel, rows: number): Int32Array[] =>
  randomFeatures(model.architecture, rows);

export interface Compiled {
  readonly wasm: Uint8Array;
  readonly r1cs: R1cs;
  /** that `r1cs` was read from */
  readonly file: Uint8Array;
  readonly constraints: number;
}

export const testToolchain = circuitToolchain;

/** Compiles in a folder that goes away with the test. */
export async function compiled(t: TestContext, circuit: EmittedCircuit): Promise<Compiled> {
  const cacheDir = await mkdtemp(join(tmpdir(), 'vouch-circuit-'));
  t.defer(() => rm(cacheDir, { recursive: true, force: true }));
  const { wasmPath, r1csPath, constraints } = await compileCircuit(circuit, await testToolchain(), {
    cacheDir,
  });
  const file = await readFile(r1csPath);
  return { wasm: await readFile(wasmPath), r1cs: readR1cs(file), file, constraints };
}

/** One template as a circuit of its own. --O2 may drop a private input; a public one keeps its wire. */
export async function templateCircuit(
  include: string,
  main: string,
  publicInputs: string[] = [],
): Promise<EmittedCircuit> {
  const visible = publicInputs.length > 0 ? ` {public [${publicInputs}]}` : '';
  const source = `pragma circom 2.1.6;\ninclude "${include}";\ncomponent main${visible} = ${main};\n`;
  return { source, digest: circuitDigest(source, await testToolchain()), rows: 0 };
}

/** The wires of a witness as numbers. */
export function wires(witness: Uint8Array): bigint[] {
  const view = new DataView(witness.buffer, witness.byteOffset, witness.byteLength);
  return Array.from({ length: witness.length / 32 }, (_, i) => {
    let value = 0n;
    for (let word = 3; word >= 0; word--) value = (value << 64n) | view.getBigUint64(i * 32 + word * 8, true);
    return value;
  });
}

/** What each row of A, B and C gives at a witness. */
function sumsAt({ constraints, terms }: R1cs, coefficients: readonly bigint[], witness: readonly bigint[]) {
  const sums = [0, 1, 2].map(() => Array<bigint>(constraints).fill(0n));
  for (let i = 0; i < terms.count; i++) {
    sums[terms.matrix[i]!]![terms.row[i]!]! += coefficients[i]! * witness[terms.column[i]!]!;
  }
  return sums as [bigint[], bigint[], bigint[]];
}

/** The number of constraints that do not hold. */
export function violations(r1cs: R1cs, witness: readonly bigint[]): number {
  const [a, b, c] = sumsAt(r1cs, wires(r1cs.terms.values), witness);
  return a.filter((value, row) => (value * b[row]! - c[row]!) % R !== 0n).length;
}

/** Tells how many constraints on a wire of a valid witness do not hold when `delta` is added to that wire alone. */
export function violationsNear(
  r1cs: R1cs,
  witness: readonly bigint[],
): (wire: number, delta: bigint) => number {
  const { terms } = r1cs;
  const coefficients = wires(terms.values);
  const sums = sumsAt(r1cs, coefficients, witness);
  const termsOf = Map.groupBy(Array(terms.count).keys(), (i) => terms.column[i]!);
  return (wire, delta) => {
    const changed = new Map<number, [bigint, bigint, bigint]>();
    for (const i of termsOf.get(wire) ?? []) {
      const row = terms.row[i]!;
      const at = changed.get(row) ?? [sums[0][row]!, sums[1][row]!, sums[2][row]!];
      at[terms.matrix[i]!]! += coefficients[i]! * delta;
      changed.set(row, at);
    }
    return [...changed.values()].filter(([a, b, c]) => (a * b - c) % R !== 0n).length;
  };
}

/**
 * In how many independent directions the private wires could move at a witness while every constraint still
 * holds to first order: the wires less the rank of the constraints' Jacobian. 0 means that nothing near the
 * witness is left open; public signals are held fixed.
 */
export function freedom(r1cs: R1cs, witness: readonly bigint[]): number {
  const { constraints, terms, outputs, publicInputs } = r1cs;
  const fixed = 1 + outputs + publicInputs;
  const coefficients = wires(terms.values);
  const sums = sumsAt(r1cs, coefficients, witness);
  const rows = Array.from({ length: constraints }, () => new Map<number, bigint>());
  for (let i = 0; i < terms.count; i++) {
    const [matrix, row, wire] = [terms.matrix[i]!, terms.row[i]!, terms.column[i]!];
    if (wire < fixed) continue;
    // d(ab - c) = b da + a db - dc
    const factor = matrix === 0 ? sums[1][row]! : matrix === 1 ? sums[0][row]! : -1n;
    const value = ((rows[row]!.get(wire) ?? 0n) + coefficients[i]! * factor) % R;
    if (value === 0n) rows[row]!.delete(wire);
    else rows[row]!.set(wire, value);
  }
  const pivots = new Map<number, Map<number, bigint>>();
  for (const row of rows.sort((a, b) => a.size - b.size)) {
    // A Map visits what is added while it is walked, so one pass removes every pivot.
    for (const wire of row.keys()) {
      const pivot = pivots.get(wire);
      const value = row.get(wire);
      if (!pivot || value === undefined) continue;
      for (const [other, coefficient] of pivot) {
        const next = ((row.get(other) ?? 0n) - value * coefficient) % R;
        if (next === 0n) row.delete(other);
        else row.set(other, next);
      }
    }
    const [first] = row;
    if (!first) continue;
    const inverse = Fr.inv(Fr.create(first[1]));
    pivots.set(first[0], new Map([...row].map(([wire, value]) => [wire, Fr.mul(Fr.create(value), inverse)])));
  }
  return witness.length - fixed - pivots.size;
}

/** Fails unless the witness is refused. */
export async function rejects(promise: Promise<unknown>, what: string): Promise<void> {
  try {
    await promise;
  } catch (error) {
    assert.is((error as { code?: string }).code, 'witness-rejected', what);
    return;
  }
  assert.unreachable(`${what} was accepted`);
}
