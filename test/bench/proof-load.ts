/**
 * What a worker does on a GPU, without an end: sums with the worker's engine, which makes way for inferences as far as it is
 * told. `proof-load.ts PERCENT`; prints `ready`, and for each line on stdin the points a second since the line before.
 */
import { createInterface } from 'node:readline';
import { G1, POINT_BYTES, writeG1 } from '../../circuits/groth16/point.ts';
import { concat, equal } from '../../protocols/encoding.ts';
import { uniformScalars } from '../../runtime/gpu/autotune.ts';
import { openHostEngine } from '../../runtime/prove/host-engine.ts';
import { gpuTurns } from '../../runtime/roles/gpu-turns.ts';
import { repeated } from './inputs.ts';

const COUNT = 2 ** 11;
const turns = await gpuTurns({ onStop: () => {} }, { share: Number(process.argv[2]) / 100 });
const engine = await openHostEngine({ engine: 'webgpu', threads: 1, turns });
const few = concat(...Array.from({ length: 64 }, (_, i) => writeG1(G1.BASE.multiply(BigInt(i + 1)))));
const bases = repeated(few, COUNT * POINT_BYTES.G1);
const scalars = uniformScalars(COUNT);
const first = await engine.msm('G1', bases, scalars);
console.log('ready');
let points = 0;
let since = performance.now();
createInterface({ input: process.stdin }).on('line', () => {
  const now = performance.now();
  console.log((1000 * points) / (now - since));
  points = 0;
  since = now;
});
for (;;) {
  if (!equal(await engine.msm('G1', bases, scalars), first))
    throw new Error('the same sum came out different');
  points += COUNT;
}
