/**
 * The scalars of a key's points (setup.ts): the circuit's polynomials at tau. Everything here is as secret as tau; what is
 * intermediate is zeroed when it is used.
 */
import type { EngineOptions, FieldEngine } from './engine.ts';
import { ELEMENT_BYTES, elementBytes, MONTGOMERY_R, power, R } from './field.ts';
import { columnProducts, type Qap } from './qap.ts';
import type { R1cs } from './r1cs.ts';

export interface Secrets {
  readonly tau: bigint;
  readonly alpha: bigint;
  readonly beta: bigint;
  /** 1 leaves out the contribution, as `snarkjs groth16 setup` does; `readZkey` refuses such a key. */
  readonly delta: bigint;
}

/** Scalars of the key's points, standard form, 32 bytes each. Together they are as secret as tau. */
export interface KeyScalars {
  readonly A: Uint8Array;
  readonly B: Uint8Array;
  /** beta*A + alpha*B + C of each wire: IC's for the public ones; C's before delta divides for the others. */
  readonly K: Uint8Array;
  readonly H: Uint8Array;
}

/** factor * tau^i / R for i from `first` on. Secret. */
export async function powersOf(
  factor: bigint,
  tau: bigint,
  { first = 0, count }: { readonly first?: number; readonly count: number },
  field: FieldEngine,
  options: EngineOptions,
): Promise<Uint8Array> {
  const ones = new Uint8Array(count * ELEMENT_BYTES);
  for (let at = 0; at < ones.byteLength; at += ELEMENT_BYTES) ones[at] = 1;
  const begin = elementBytes((factor * power(tau, BigInt(first))) % R);
  const step = elementBytes((tau * MONTGOMERY_R) % R);
  try {
    return await field.scale(ones, begin, step, options);
  } finally {
    begin.fill(0);
    step.fill(0);
  }
}

/** factor times each element. */
export async function scaled(
  vector: Uint8Array,
  factor: bigint,
  field: FieldEngine,
  options: EngineOptions,
): Promise<Uint8Array> {
  const first = elementBytes((factor * MONTGOMERY_R) % R);
  try {
    return await field.scale(vector, first, elementBytes(MONTGOMERY_R), options);
  } finally {
    first.fill(0);
  }
}

/** The inverse transform; the vector that it is made of is wiped. */
async function inverseOf(
  vector: Uint8Array,
  field: FieldEngine,
  options: EngineOptions,
): Promise<Uint8Array> {
  try {
    return await field.ntt(vector, true, options);
  } finally {
    vector.fill(0);
  }
}

/**
 * The QAP at tau. The Lagrange basis at tau is the inverse NTT of tau's powers: sum_i L_i(tau) f(w^i) = f(tau) for
 * every power f. H's points are the odd ones of the basis of twice the domain, where a quotient's values are taken.
 */
export async function evaluate(
  r1cs: R1cs,
  qap: Qap,
  { tau, alpha, beta, delta }: Secrets,
  field: FieldEngine,
  options: EngineOptions,
): Promise<KeyScalars> {
  const size = qap.domainSize;
  const products = (vector: Uint8Array, place: Parameters<typeof columnProducts>[3]) =>
    columnProducts(r1cs, qap, vector, place, field, options);
  const matrices = async () => {
    // Values of the matrices carry R^2, products divide by R once: over R the basis gives standard form.
    const basis = await inverseOf(await powersOf(1n, tau, { count: size }, field, options), field, options);
    const stacked = new Uint8Array(3 * basis.byteLength);
    try {
      const [A, B] = await products(basis, (matrix, row) =>
        matrix < 2 ? [matrix as 0 | 1, row] : undefined,
      );
      // One product for beta*A + alpha*B + C: the columns of A meet beta's basis, those of B alpha's, those of C its own.
      for (const [index, factor] of [beta, alpha].entries()) {
        const times = await scaled(basis, factor, field, options);
        stacked.set(times, index * basis.byteLength);
        times.fill(0);
      }
      stacked.set(basis, 2 * basis.byteLength);
      const [K] = await products(stacked, (matrix, row) => [0, matrix * size + row]);
      return { A, B, K };
    } finally {
      basis.fill(0);
      stacked.fill(0);
    }
  };
  const quotientBasis = async () => {
    const factor = power(delta, R - 2n) * MONTGOMERY_R;
    const double = await inverseOf(
      await powersOf(factor, tau, { count: 2 * size }, field, options),
      field,
      options,
    );
    const H = new Uint8Array(size * ELEMENT_BYTES);
    // In words: moving 32 bytes by subarray costs more than multiplying them.
    const [from, to] = [new BigUint64Array(double.buffer, double.byteOffset), new BigUint64Array(H.buffer)];
    for (let at = 0; at < to.length; at++) to[at] = from[2 * at - (at % 4) + 4]!;
    double.fill(0);
    return H;
  };
  // Each computes in one of the engine's threads most of the time.
  const parts = [matrices(), quotientBasis()] as const;
  await Promise.allSettled(parts);
  const [ofMatrices, H] = await Promise.all(parts);
  return { ...ofMatrices, H };
}
