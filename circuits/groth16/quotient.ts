/**
 * The quotient polynomial's values out of single vector operations, for engines that have nothing faster.
 */
import type { EngineOptions, FieldEngine } from './engine.ts';
import { elementBytes, MONTGOMERY_R, R, rootOfUnity } from './field.ts';
import type { Zkey } from './zkey.ts';

/** (A*B - C) / Z on the odd coset, up to the constant that the key's H already divides out. Standard form. */
export async function quotient(
  zkey: Pick<Zkey, 'entries' | 'domainSize'>,
  witness: Uint8Array,
  field: FieldEngine,
  options: EngineOptions,
): Promise<Uint8Array> {
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
