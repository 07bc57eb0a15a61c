/**
 * Groth16 (eprint 2016/260) over BN254 with snarkjs's proving keys: witness and key in, proof out. The heavy
 * arithmetic is an argument (engine.ts), so the same steps run locally or with the sums spread over other hosts:
 * `transform`, five sums by whoever, `assemble`.
 *
 * A witness that does not satisfy the circuit gives a proof that does not verify; the key has no matrix C to see it
 * earlier. `prove` therefore verifies before it answers; whoever calls `assemble` must verify too.
 */
import { VouchError } from '../../protocols/errors.ts';
import { type EngineOptions, type FieldEngine, type MsmEngine, SECTIONS, type Section } from './engine.ts';
import {
  ELEMENT_BYTES,
  elementBytes,
  MONTGOMERY_R,
  R,
  randomScalar,
  readElement,
  rootOfUnity,
} from './field.ts';
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

/**
 * The scalars of the five sums. A, B1, B2 and C are multiplied by the witness itself, H by the quotient's values on
 * the odd coset, because H's bases are the odd points of the Lagrange basis of twice the domain.
 * `witness` is as `readWitness` gives it; `bad-file` when it is not this key's.
 */
export async function transform(
  zkey: Zkey,
  witness: Uint8Array,
  field: FieldEngine,
  options: EngineOptions = {},
): Promise<Transformed> {
  checkWitness(witness);
  const count = witness.byteLength / ELEMENT_BYTES;
  if (count !== zkey.variables) {
    throw new VouchError('bad-file', `witness: it has ${count} values, the key is for ${zkey.variables}`);
  }
  const publicSignals = Array.from({ length: zkey.publics }, (_, index) =>
    readElement(witness, (index + 1) * ELEMENT_BYTES),
  );
  return {
    scalars: {
      A: witness,
      B1: witness,
      B2: witness,
      C: witness.subarray((zkey.publics + 1) * ELEMENT_BYTES),
      H: await quotient(zkey, witness, field, options),
    },
    publicSignals,
  };
}

/** (A*B - C) / Z on the odd coset, up to the constant that the key's H already divides out. Standard form. */
async function quotient(zkey: Zkey, witness: Uint8Array, field: FieldEngine, options: EngineOptions) {
  const [a, b] = await field.sparseProduct(zkey.entries, witness, zkey.domainSize, options);
  // On a satisfying witness the rows of C are the products, which spares the third matrix.
  const c = await field.multiply(a, b, undefined, options);
  const step = elementBytes((rootOfUnity(Math.log2(zkey.domainSize) + 1) * MONTGOMERY_R) % R);
  const odd = async (values: Uint8Array, first: bigint) => {
    const coefficients = await field.ntt(values, true, options);
    return field.ntt(await field.scale(coefficients, elementBytes(first), step, options), false, options);
  };
  // First factor 1 leaves Montgomery form, factor R stays in it: standard * Montgomery - standard is standard.
  const [oddA, oddB, oddC] = await Promise.all([odd(a, 1n), odd(b, MONTGOMERY_R), odd(c, 1n)]);
  return field.multiply(oddA, oddB, oddC, options);
}

/**
 * The proof of five sums (zkey form, checked here on the curve and in the subgroup) and the blinding pair, which must
 * be uniform and used once: whoever learns r or s learns about the witness.
 */
export function assemble(
  zkey: Zkey,
  sums: Readonly<Record<Section, Uint8Array>>,
  r: bigint,
  s: bigint,
): Proof {
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
  engines: { readonly msm: MsmEngine; readonly field: FieldEngine },
  options: ProveOptions = {},
): Promise<{ proof: Proof; publicSignals: string[] }> {
  const { onPhase, signal } = options;
  onPhase?.('transforming');
  const { scalars, publicSignals } = await transform(zkey, witness, engines.field, { signal });
  onPhase?.('dispatching');
  const sums = Object.fromEntries(
    await Promise.all(
      SECTIONS.map(async (name) => [name, await engines.msm.msm(name, scalars[name], { signal })] as const),
    ),
  ) as Record<Section, Uint8Array>;
  onPhase?.('assembling');
  const proof = assemble(zkey, sums, options.r ?? randomScalar(), options.s ?? randomScalar());
  onPhase?.('verifying');
  const signals = publicSignals.map(String);
  if (!verify(verificationKey(zkey), signals, proof)) {
    throw new VouchError(
      'proof-rejected',
      'the proof does not verify: the witness does not satisfy the circuit of this key',
    );
  }
  return { proof, publicSignals: signals };
}
