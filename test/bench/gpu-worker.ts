/**
 * One of several processes that share a GPU (gpu.ts): makes its points resident, says so, and when it is told for how many
 * seconds, makes one sum after another and says how many points it multiplied per second.
 */
import { G1, POINT_BYTES, writeG1 } from '../../circuits/groth16/point.ts';
import { bytesSource } from '../../circuits/groth16/source.ts';
import { concat, equal } from '../../protocols/encoding.ts';
import { openGpu } from '../../runtime/gpu/adapter.ts';
import { uniformScalars } from '../../runtime/gpu/autotune.ts';
import type { FieldVariant } from '../../runtime/msm/webgpu/field.ts';
import { createGpuMsm } from '../../runtime/msm/webgpu/msm.ts';
import { createQueue } from '../../runtime/msm/webgpu/queue.ts';
import { repeated } from './inputs.ts';

const [bits, variant, threads] = process.argv.slice(2);
const count = 2 ** Number(bits);
const { device } = await openGpu({ allowSoftware: true });
const queue = createQueue(device);
const few = concat(...Array.from({ length: 64 }, (_, i) => writeG1(G1.BASE.multiply(BigInt(i + 1)))));
const bases = repeated(few, count * POINT_BYTES.G1);
const scalars = uniformScalars(count);
const held = await createGpuMsm(queue, { variant: variant as FieldVariant, threads: Number(threads) }).hold([
  { group: 'G1', points: bytesSource(bases) },
]);
const buffer = await queue.buffer('scalars', scalars.byteLength);
await queue.write(buffer, 0, scalars);
const [first] = await held.sums(buffer);
process.send!(0);
process.once('message', async (seconds) => {
  const began = performance.now();
  let sums = 0;
  while (performance.now() - began < Number(seconds) * 1000) {
    const [sum] = await held.sums(buffer);
    if (!equal(sum!, first!)) throw new Error('the same sum came out different');
    sums++;
  }
  process.send!((sums * count * 1000) / (performance.now() - began), () => process.exit());
});
