/**
 * The seeded generator behind the demonstration's data, split and training: mulberry32 (Tommy Ettinger,
 * public domain), a 32-bit counter with a mixing function. Same seed, same numbers, on every machine.
 * Not for anything secret.
 */
export interface Random {
  /** uniform in [0, 1), 32 bits of it */
  uniform(): number;
  /** uniform integer in [0, n), n up to 2^32; its bias, below n / 2^32, does not matter here */
  below(n: number): number;
  /** approximately normal, mean 0, variance 1: the sum of 12 uniforms less 6 */
  normal(): number;
  /** Fisher-Yates, in place; returns its argument */
  shuffle<T>(items: T[]): T[];
}

/** `seed`: an unsigned 32-bit integer. Throws RangeError otherwise. */
export function seededRandom(seed: number): Random {
  if (!Number.isInteger(seed) || seed < 0 || seed >= 2 ** 32) {
    throw new RangeError(`seed: expected an integer in 0..2^32-1, got ${seed}`);
  }
  let state = seed;
  const uniform = (): number => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = state;
    t = Math.imul(t ^ (t >>> 15), t | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
  const below = (n: number): number => Math.floor(uniform() * n);
  return {
    uniform,
    below,
    normal: () => {
      let sum = -6;
      for (let i = 0; i < 12; i++) sum += uniform();
      return sum;
    },
    shuffle: (items) => {
      for (let i = items.length - 1; i > 0; i--) {
        const j = below(i + 1);
        [items[i], items[j]] = [items[j]!, items[i]!];
      }
      return items;
    },
  };
}
