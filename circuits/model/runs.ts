/** Lists of numbers as runs, so that what is regular is short: which elements go where (tensors.ts), and public numbers. */

/** First, step and count of each run of indices; -1: none. */
export function runsOf(indices: ArrayLike<number>): number[] {
  const runs: number[] = [];
  for (let at = 0; at < indices.length; ) {
    const first = indices[at]!;
    const step = at + 1 < indices.length ? indices[at + 1]! - first : 0;
    let count = 1;
    // Nothing is a run of its own: it has no step.
    if (first < 0) while (at + count < indices.length && indices[at + count]! < 0) count++;
    else
      while (
        at + count < indices.length &&
        indices[at + count]! === first + count * step &&
        indices[at + count]! >= 0
      )
        count++;
    runs.push(first, first < 0 || count === 1 ? 0 : step, count);
    at += count;
  }
  return runs;
}

/** The elements that runs stand for. Throws RangeError where they are not `size` elements of a value of `of`. */
export function elementsOf(runs: readonly number[], size: number, of: number): Int32Array {
  const elements = new Int32Array(size);
  let at = 0;
  for (let r = 0; r + 2 < runs.length; r += 3) {
    const [first, step, count] = [runs[r]!, runs[r + 1]!, runs[r + 2]!];
    if (count < 1 || at + count > size) throw new RangeError(`expected runs of ${size} elements`);
    for (let i = 0; i < count; i++) {
      const element = first < 0 ? -1 : first + i * step;
      if (element < -1 || element >= of || (first >= 0 && element < 0))
        throw new RangeError(`expected elements of a value of ${of}, got ${element}`);
      elements[at++] = element;
    }
  }
  if (at !== size || runs.length % 3 !== 0) throw new RangeError(`expected runs of ${size} elements`);
  return elements;
}

export function offsetsOf(runs: readonly number[], size: number): Int32Array {
  const offsets = new Int32Array(size);
  let at = 0;
  for (let r = 0; r + 1 < runs.length; r += 2) {
    const [value, count] = [runs[r]!, runs[r + 1]!];
    if (count < 1 || at + count > size) throw new RangeError(`expected ${size} numbers`);
    offsets.fill(value, at, at + count);
    at += count;
  }
  if (runs.length > 0 && at !== size) throw new RangeError(`expected ${size} numbers`);
  return offsets;
}

export function offsetRuns(offsets: ArrayLike<number>): number[] {
  const runs: number[] = [];
  for (let i = 0; i < offsets.length; i++) {
    if (i > 0 && offsets[i] === offsets[i - 1]) runs[runs.length - 1]!++;
    else runs.push(offsets[i]!, 1);
  }
  return runs.length === 2 && runs[0] === 0 ? [] : runs;
}
