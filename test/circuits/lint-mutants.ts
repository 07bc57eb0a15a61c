/** Files damaged at random, given to lint: never a crash, never long, and an answer or a sentence each time. */
import { type LintData, lintModel } from '../../circuits/model/lint.ts';
import { readOnnx } from '../../circuits/model/onnx.ts';
import { VouchError } from '../../protocols/errors.ts';
import { seededRandom } from '../../runtime/models/random.ts';
import { assert } from '../harness.ts';

const MOST_MS = 2000;

/** `files` by name, in turns; with `data`, as whoever has rows lints them. */
export function lintMutants(
  files: ReadonlyMap<string, Uint8Array>,
  { mutants, seed, data }: { mutants: number; seed: number; data?: LintData },
): void {
  const random = seededRandom(seed);
  const all = [...files];
  for (let i = 0; i < mutants; i++) {
    const [name, file] = all[i % all.length]!;
    const damaged = mutant(file, random);
    const began = performance.now();
    try {
      const report = lintModel(readOnnx(damaged), data);
      assert.is(report.provable, report.problems.length === 0);
      for (const { reason, fix, op } of report.problems)
        assert.ok(reason !== '' && fix !== '' && typeof op === 'string');
    } catch (error) {
      if (!(error instanceof VouchError))
        throw new Error(`${name}, mutant ${i} of seed ${seed}: ${error}`, { cause: error });
      assert.is(error.code, 'bad-file', `${name}, mutant ${i}: ${error.message}`);
    }
    const ms = performance.now() - began;
    assert.ok(ms < MOST_MS, `${name}, mutant ${i} of seed ${seed}: ${ms.toFixed(0)} ms`);
  }
}

/** Bytes changed, a piece cut out, doubled, or the end cut off. A copy each time: `slice` of a Buffer is none. */
function mutant(whole: Uint8Array, random: ReturnType<typeof seededRandom>): Uint8Array {
  const file = new Uint8Array(whole);
  const kind = random.below(8);
  const at = random.below(file.length);
  const length = 1 + random.below(16);
  if (kind === 0) return file.slice(0, at);
  if (kind === 1) return Uint8Array.from([...file.subarray(0, at), ...file.subarray(at + length)]);
  if (kind === 2) return Uint8Array.from([...file.subarray(0, at + length), ...file.subarray(at)]);
  for (let flips = 1 + random.below(4); flips > 0; flips--)
    file[random.below(file.length)] = random.below(4) === 0 ? 0xff : random.below(256);
  return file;
}
