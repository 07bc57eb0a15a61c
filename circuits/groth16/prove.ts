/**
 * Groth16 (eprint 2016/260) over BN254 with snarkjs's proving keys: witness and key in, proof out. The heavy
 * arithmetic is an argument (engine.ts), so the same steps run locally or with the sums spread over other hosts:
 * `transform`, five sums by whoever, `assemble`.
 *
 * A witness that does not satisfy the circuit gives a proof that does not verify; the key has no matrix C to see it
 * earlier. `prove` therefore verifies before it answers; whoever calls `assemble` must verify too.
 */
import { concat } from '../../protocols/encoding.ts';
import { VouchError } from '../../protocols/errors.ts';
import {
  type CurveEngine,
  type EngineOptions,
  type MsmEngine,
  type ProverEngine,
  type ReadyKey,
  SECTION_GROUP,
  SECTIONS,
  type Section,
  type Sums,
  type SumsOptions,
} from './engine.ts';
import { ELEMENT_BYTES, elementBytes, R, randomScalar, readElement } from './field.ts';
import { checkPoint, type Group, g1Strings, g2Strings, knownG1, knownG2 } from './point.ts';
import { holdsBy, type Proof, type ProofBytes } from './verify.ts';
import { checkWitness } from './witness.ts';
import type { KeyShape, ProvingKey } from './zkey.ts';

/** The states of a proof job while it works; `planning` and `dispatching` exist where sums travel. */
export type Phase = 'witnessing' | 'transforming' | 'planning' | 'dispatching' | 'assembling' | 'verifying';

export type { Proof } from './verify.ts';

export interface Transformed {
  /** Per section one 32-byte standard-form scalar per base. A, B1 and B2 are views of the witness. Secret. */
  readonly scalars: Readonly<Record<Section, Uint8Array>>;
  readonly publicSignals: readonly bigint[];
}

/** The witness is also the scalars of the sums over A, B1, B2 and, less the public signals, C: views of it. */
export const witnessScalars = (
  { publics }: Pick<KeyShape, 'publics'>,
  witness: Uint8Array,
): Readonly<Record<Exclude<Section, 'H'>, Uint8Array>> => ({
  A: witness,
  B1: witness,
  B2: witness,
  C: witness.subarray((publics + 1) * ELEMENT_BYTES),
});

/**
 * The scalars of the five sums. H's are the quotient's values on the odd coset, because H's bases are the odd points
 * of the Lagrange basis of twice the domain. `witness` is as `readWitness` gives it; `bad-file` when it is not this
 * key's.
 */
export async function transform(
  zkey: KeyShape,
  witness: Uint8Array,
  key: Pick<ReadyKey, 'quotient'>,
  options: EngineOptions = {},
): Promise<Transformed> {
  checkWitness(witness);
  const publicSignals = publicSignalsOf(zkey, witness);
  const scalars = { ...witnessScalars(zkey, witness), H: await key.quotient(witness, options) };
  return { scalars, publicSignals };
}

function publicSignalsOf(zkey: KeyShape, witness: Uint8Array): bigint[] {
  const count = witness.byteLength / ELEMENT_BYTES;
  if (count !== zkey.variables) {
    throw new VouchError('bad-file', `witness: it has ${count} values, the key is for ${zkey.variables}`);
  }
  return Array.from({ length: zkey.publics }, (_, index) =>
    readElement(witness, (index + 1) * ELEMENT_BYTES),
  );
}

/** The five sums by an engine that multiplies one section at a time. */
export async function sumsOf(
  zkey: KeyShape,
  witness: Uint8Array,
  key: MsmEngine & Pick<ReadyKey, 'quotient'>,
  { onPhase, signal }: SumsOptions = {},
): Promise<Sums> {
  onPhase?.('transforming');
  const { scalars } = await transform(zkey, witness, key, { signal });
  onPhase?.('dispatching');
  const sums = SECTIONS.map(async (name) => [name, await key.msm(name, scalars[name], { signal })] as const);
  return Object.fromEntries(await Promise.all(sums)) as Sums;
}

/**
 * The proof of five sums (zkey form, checked here on the curve and in the subgroup) and the blinding pair, which must
 * be uniform and used once: whoever learns r or s learns about the witness.
 */
export async function assemble(
  key: Pick<ProvingKey, 'header'>,
  sums: Sums,
  r: bigint,
  s: bigint,
  curve: CurveEngine,
): Promise<Proof> {
  return proofOf(await assemblePoints(key, sums, r, s, curve));
}

/** The points of the proof that `assemble` gives, as `holdsBy` takes them. */
export async function assemblePoints(
  { header }: Pick<ProvingKey, 'header'>,
  sums: Sums,
  r: bigint,
  s: bigint,
  curve: CurveEngine,
): Promise<ProofBytes> {
  if (r < 0n || r >= R || s < 0n || s >= R) throw new RangeError('r and s must be scalars');
  for (const section of SECTIONS)
    checkPoint(SECTION_GROUP[section], sums[section], `sum of section ${section}`);
  const sum = (group: Group, ...terms: readonly (readonly [Uint8Array, bigint])[]) =>
    curve.msm(
      group,
      concat(...terms.map(([point]) => point)),
      concat(...terms.map(([, scalar]) => elementBytes(scalar))),
    );
  const { alpha1, beta1, beta2, delta1, delta2 } = header;
  const [a, b] = await Promise.all([
    sum('G1', [sums.A, 1n], [alpha1, 1n], [delta1, r]),
    sum('G2', [sums.B2, 1n], [beta2, 1n], [delta2, s]),
  ]);
  // s A + r (B1 + s delta) - r s delta: delta's multiples cancel.
  const c = await sum('G1', [sums.C, 1n], [sums.H, 1n], [a, s], [sums.B1, r], [beta1, r]);
  return { a, b, c };
}

/** snarkjs's form. */
export const proofOf = ({ a, b, c }: ProofBytes): Proof => ({
  pi_a: g1Strings(knownG1(a, 'pi_a')),
  pi_b: g2Strings(knownG2(b, 'pi_b')),
  pi_c: g1Strings(knownG1(c, 'pi_c')),
  protocol: 'groth16',
  curve: 'bn128',
});

export interface ProveOptions extends EngineOptions {
  /** Fixed blinding for tests; fresh random scalars otherwise. */
  readonly r?: bigint | undefined;
  readonly s?: bigint | undefined;
  readonly onPhase?: ((phase: Phase) => void) | undefined;
}

/** As snarkjs's `groth16.prove` answers. */
export interface Proved {
  readonly proof: Proof;
  readonly publicSignals: string[];
}

/** All steps on this host. `proof-rejected` when the proof does not verify, that is for a witness that is wrong. */
export async function prove(
  zkey: ProvingKey,
  witness: Uint8Array,
  engine: ProverEngine,
  options: ProveOptions = {},
): Promise<Proved> {
  // Before the engine takes the key: a witness of another circuit costs nothing then.
  checkWitness(witness);
  const signals = publicSignalsOf(zkey, witness);
  const key = await engine.ready(zkey, { signal: options.signal });
  try {
    return await proveChecked(zkey, witness, signals, key, engine, options);
  } finally {
    key.release();
  }
}

/** As `prove`, with a key that an engine holds ready and a witness that `readWitness` or its like has checked. */
export const proveReady = async (
  zkey: ProvingKey,
  witness: Uint8Array,
  key: Pick<ReadyKey, 'sums'>,
  curve: CurveEngine,
  options: ProveOptions = {},
): Promise<Proved> => proveChecked(zkey, witness, publicSignalsOf(zkey, witness), key, curve, options);

async function proveChecked(
  zkey: ProvingKey,
  witness: Uint8Array,
  signals: readonly bigint[],
  key: Pick<ReadyKey, 'sums'>,
  curve: CurveEngine,
  { r, s, onPhase, signal }: ProveOptions,
): Promise<Proved> {
  const sums = await key.sums(witness, { signal, onPhase });
  onPhase?.('assembling');
  const points = await assemblePoints(zkey, sums, r ?? randomScalar(), s ?? randomScalar(), curve);
  onPhase?.('verifying');
  if (!(await holdsBy(curve, zkey, signals, points, { signal }))) {
    throw new VouchError(
      'proof-rejected',
      'the proof does not verify: the witness does not satisfy the circuit of this key',
    );
  }
  return { proof: proofOf(points), publicSignals: signals.map(String) };
}
