/**
 * Fifty processes that start, some beside others that take every core, all choose the same field: the one that wins a
 * long race. A wrong choice costs its process more than half of its speed.
 */
import { execFile } from 'node:child_process';
import { availableParallelism } from 'node:os';
import { promisify } from 'node:util';
import { Worker } from 'node:worker_threads';
import { Q } from '../../../../circuits/groth16/field.ts';
import type { FieldKind } from '../../../../runtime/msm/wasm/field-race.ts';
import { FIELDS, openTrial } from '../../../../runtime/msm/wasm/trial.ts';
import { assert, suite, type TestContext } from '../../../harness.ts';

const test = suite('field race, many starts', { timeoutMs: 300_000 });
const run = promisify(execFile);
const KERNEL = new URL('../../../../runtime/msm/wasm/kernel.ts', import.meta.url).href;
const STARTS = 50;
const WINDOWS = 200;

function longRace(): FieldKind {
  const bests = (Object.keys(FIELDS) as FieldKind[]).map((kind) => {
    const window = openTrial(kind, Q);
    return { kind, best: window ? Math.max(...Array.from({ length: WINDOWS }, window).flat()) : 0 };
  });
  return bests.reduce((a, b) => (b.best > a.best ? b : a)).kind;
}

/** Takes every core. */
function load(t: TestContext): void {
  for (let core = 0; core < availableParallelism(); core++) {
    const busy = new Worker('for (;;);', { eval: true });
    t.defer(() => busy.terminate());
  }
}

for (const { starts, busy } of [
  { starts: STARTS - 20, busy: false },
  { starts: 20, busy: true },
]) {
  test(`${starts} starts ${busy ? 'beside busy processes' : 'as the machine is'}`, async (t) => {
    const expected = longRace();
    if (busy) load(t);
    const script = `
      const { createSharedKernel, fieldRates } = await import(${JSON.stringify(KERNEL)});
      console.log(JSON.stringify({ kind: (await createSharedKernel()).kind, rates: fieldRates() }));`;
    for (let start = 0; start < starts; start++) {
      const { stdout } = await run(process.execPath, ['--input-type=module', '-e', script]);
      assert.is(JSON.parse(stdout).kind, expected, `start ${start}: ${stdout}`);
    }
  });
}

test.run();
