/**
 * Poseidon over BN254's scalar field as circomlib computes it: x^5, width inputs + 1, 8 full rounds, constants
 * from the Grain LFSR of the Poseidon paper (eprint 2019/458); partial rounds per width as in circomlib's
 * `poseidon.circom`. A test compares it with that template.
 */
import {
  grainGenConstants,
  type PoseidonFn,
  poseidon as permutation,
} from '@noble/curves/abstract/poseidon.js';
import { bn254 } from '@noble/curves/bn254.js';

const Fp = bn254.fields.Fr;
/** for 1 to 16 inputs */
const PARTIAL_ROUNDS = [56, 57, 56, 60, 60, 63, 64, 63, 60, 66, 60, 65, 70, 60, 64, 68];
export const MAX_INPUTS = PARTIAL_ROUNDS.length;
/** for 1 to 16 inputs */
export const partialRounds = (inputs: number): number => PARTIAL_ROUNDS[inputs - 1]!;

const permutations = new Map<number, PoseidonFn>();

/** Hash of 1 to 16 field elements. Throws RangeError for another number, or for a value outside the field. */
export function poseidon(inputs: readonly bigint[]): bigint {
  const roundsPartial = PARTIAL_ROUNDS[inputs.length - 1];
  if (roundsPartial === undefined)
    throw new RangeError(`poseidon: expected 1 to ${MAX_INPUTS} inputs, got ${inputs.length}`);
  if (!inputs.every((x) => Fp.isValid(x))) throw new RangeError('poseidon: an input is not a field element');
  const t = inputs.length + 1;
  let permute = permutations.get(t);
  if (!permute) {
    const options = { Fp, t, roundsFull: 8, roundsPartial };
    permute = permutation({ ...options, ...grainGenConstants(options), sboxPower: 5 });
    permutations.set(t, permute);
  }
  return permute([0n, ...inputs])[0]!;
}

/**
 * One element for any number of them: the first 16 are hashed, then the result with the next 15, and so on.
 * The number of elements has to be fixed by something else (the architecture).
 */
export function poseidonChain(elements: readonly bigint[]): bigint {
  let state = poseidon(elements.slice(0, MAX_INPUTS));
  for (let i = MAX_INPUTS; i < elements.length; i += MAX_INPUTS - 1) {
    state = poseidon([state, ...elements.slice(i, i + MAX_INPUTS - 1)]);
  }
  return state;
}
