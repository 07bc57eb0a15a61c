/**
 * Groth16 (eprint 2016/260) over BN254 with snarkjs's proving keys: witness and key in, proof out. The heavy
 * arithmetic is an argument (engine.ts), so the same steps run locally or with the sums spread over other hosts:
 * `transform`, five sums by whoever, `assemble`.
 *
 * A witness that does not satisfy the circuit gives a proof that does not verify; the key has no matrix C to see it
 * earlier. `prove` therefore verifies before it answers; whoever calls `assemble` must verify too.
 */
import { VouchError } from '../../protocols/errors.ts';
import {
  type EngineOptions,
  type MsmEngine,
  type ProverEngine,
  type ReadyKey,
  SECTIONS,
  type Section,
  type Sums,
  type SumsOptions,
} from './engine.ts';
import { ELEMENT_BYTES, R, randomScalar, readElement } from './field.ts';
import { g1Strings, g2Strings, multiplyG1, multiplyG2, readG1, readG2 } from './point.ts';
import { type Proof, verificationKey, verify } from './verify.ts';
import { checkWitness } from './witness.ts';
import type { Zkey } from './zkey.ts';

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
  { publics }: Pick<Zkey, 'publics'>,
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
  zkey: Zkey,
  witness: Uint8Array,
  key: Pick<ReadyKey, 'quotient'>,
  options: EngineOptions = {},
): Promise<Transformed> {
  const publicSignals = publicSignalsOf(zkey, witness);
  const scalars = { ...witnessScalars(zkey, witness), H: await key.quotient(witness, options) };
  return { scalars, publicSignals };
}

function publicSignalsOf(zkey: Zkey, witness: Uint8Array): bigint[] {
  checkWitness(witness);
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
  zkey: Zkey,
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
export function assemble(zkey: Zkey, sums: Sums, r: bigint, s: bigint): Proof {
  if (r < 0n || r >= R || s < 0n || s >= R) throw new RangeError('r and s must be scalars');
  const { alpha1, beta1, beta2, delta1, delta2 } = zkey.header;
  const delta = readG1(delta1, 'delta1');
  const sum = (section: Exclude<Section, 'B2'>) => readG1(sums[section], `sum of section ${section}`);

  const a = sum('A').add(readG1(alpha1, 'alpha1')).add(multiplyG1(delta, r));
  const b = readG2(sums.B2, 'sum of section B2')
    .add(readG2(beta2, 'beta2'))
    .add(multiplyG2(readG2(delta2, 'delta2'), s));
  const b1 = sum('B1').add(readG1(beta1, 'beta1')).add(multiplyG1(delta, s));
  const c = sum('C')
    .add(sum('H'))
    .add(multiplyG1(a, s))
    .add(multiplyG1(b1, r))
    .subtract(multiplyG1(delta, (r * s) % R));
  return { pi_a: g1Strings(a), pi_b: g2Strings(b), pi_c: g1Strings(c), protocol: 'groth16', curve: 'bn128' };
}

export interface ProveOptions extends EngineOptions {
  /** Fixed blinding for tests; fresh random scalars otherwise. */
  readonly r?: bigint | undefined;
  readonly s?: bigint | undefined;
  readonly onPhase?: ((phase: Phase) => void) | undefined;
}

/** All steps on this host. `proof-rejected` when the proof does not verify, that is for a witness that is wrong. */
export async function prove(
  zkey: Zkey,
  witness: Uint8Array,
  engine: ProverEngine,
  options: ProveOptions = {},
): Promise<{ proof: Proof; publicSignals: string[] }> {
  const { onPhase, signal } = options;
  const signals = publicSignalsOf(zkey, witness).map(String);
  const key = await engine.ready(zkey, { signal });
  let sums: Sums;
  try {
    sums = await key.sums(witness, { signal, onPhase });
  } finally {
    key.release();
  }
  onPhase?.('assembling');
  const proof = assemble(zkey, sums, options.r ?? randomScalar(), options.s ?? randomScalar());
  onPhase?.('verifying');
  if (!verify(verificationKey(zkey), signals, proof)) {
    throw new VouchError(
      'proof-rejected',
      'the proof does not verify: the witness does not satisfy the circuit of this key',
    );
  }
  return { proof, publicSignals: signals };
}
