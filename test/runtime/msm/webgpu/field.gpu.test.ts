import { power, readElement, writeElement } from '../../../../circuits/groth16/field.ts';
import { type GpuHandle, openGpu } from '../../../../runtime/gpu/adapter.ts';
import { emitAccess, emitField, FIELD_VARIANTS, FIELDS } from '../../../../runtime/msm/webgpu/field.ts';
import { generator, wide } from '../../../circuits/groth16-circuit.ts';
import { assert, suite, type TestContext } from '../../../harness.ts';

const test = suite('WGSL field', { timeoutMs: 120_000 });
const COUNT = 1024;

async function open(t: TestContext): Promise<GpuHandle> {
  const gpu = await openGpu({ allowSoftware: true }).catch((error: Error) => t.skip(error.message));
  t.defer(() => gpu.close());
  return gpu;
}

/** The value of every expression for every pair, expression after expression; all in one kernel. */
async function run(
  { device }: GpuHandle,
  field: string,
  expressions: string[],
  left: Uint8Array<ArrayBuffer>,
  right: Uint8Array<ArrayBuffer>,
): Promise<Uint8Array> {
  const code = `${field}
@group(0) @binding(0) var<storage> left: array<vec4u>;
@group(0) @binding(1) var<storage> right: array<vec4u>;
@group(0) @binding(2) var<storage, read_write> results: array<vec4u>;
${emitAccess('left')}${emitAccess('right')}${emitAccess('results', 'read_write')}
@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3u) {
  let a = fe_load_left(id.x % ${COUNT}u);
  let b = fe_load_right(id.x % ${COUNT}u);
  var value = FE_ZERO;
  switch id.x / ${COUNT}u {
    ${expressions.map((expression, i) => `case ${i}: { value = ${expression}; }`).join('\n    ')}
    default: {}
  }
  fe_store_results(id.x, value);
}`;
  const pipeline = await device.createComputePipelineAsync({
    layout: 'auto',
    compute: { module: device.createShaderModule({ code }), entryPoint: 'main' },
  });
  const size = left.byteLength * expressions.length;
  const { STORAGE, COPY_DST, COPY_SRC, MAP_READ } = GPUBufferUsage;
  const buffers = [left, right, new Uint8Array(size)].map((bytes) => {
    const buffer = device.createBuffer({ size: bytes.byteLength, usage: STORAGE | COPY_DST | COPY_SRC });
    device.queue.writeBuffer(buffer, 0, bytes);
    return buffer;
  });
  const readback = device.createBuffer({ size, usage: MAP_READ | COPY_DST });
  const group = device.createBindGroup({
    layout: pipeline.getBindGroupLayout(0),
    entries: buffers.map((buffer, binding) => ({ binding, resource: { buffer } })),
  });
  const encoder = device.createCommandEncoder();
  const pass = encoder.beginComputePass();
  pass.setPipeline(pipeline);
  pass.setBindGroup(0, group);
  pass.dispatchWorkgroups((COUNT * expressions.length) / 64);
  pass.end();
  encoder.copyBufferToBuffer(buffers[2]!, 0, readback, 0, size);
  device.queue.submit([encoder.finish()]);
  await readback.mapAsync(GPUMapMode.READ);
  const bytes = new Uint8Array(readback.getMappedRange().slice(0));
  for (const buffer of [...buffers, readback]) buffer.destroy();
  return bytes;
}

for (const [name, p] of Object.entries(FIELDS)) {
  for (const variant of FIELD_VARIANTS) {
    test(`${name} by ${variant}: every operation against BigInt`, async (t) => {
      const gpu = await open(t);
      const random = generator(17);
      const radix = 2n ** 256n;
      const inverse = power(radix % p, p - 2n, p);
      const edges = [0n, 1n, 2n, p - 1n, p - 2n, radix % p, radix ** 2n % p, p >> 1n, (p >> 1n) + 1n];
      // The largest limbs and words, and what carries through all of them.
      edges.push(2n ** 253n - 1n, 2n ** 252n, 2n ** 224n - 1n, 2n ** 32n - 1n, 2n ** 13n - 1n, 2n ** 208n);
      const pairs = edges.flatMap((a) => edges.map((b) => [a % p, b % p] as const));
      while (pairs.length < COUNT) pairs.push([wide(random) % p, wide(random) % p]);
      const pack = (side: 0 | 1) => {
        const bytes = new Uint8Array(32 * COUNT);
        pairs.forEach((pair, i) => {
          writeElement(pair[side], bytes, 32 * i);
        });
        return bytes;
      };
      const field = emitField({ modulus: p, variant });
      const cases: [string, (a: bigint, b: bigint) => bigint][] = [
        ['fe_mul(a, b)', (a, b) => (((a * b) % p) * inverse) % p],
        ['fe_add(a, b)', (a, b) => (a + b) % p],
        ['fe_sub(a, b)', (a, b) => (a - b + p) % p],
        ['fe_neg(a)', (a) => (p - a) % p],
        ['fe_select(FE_ZERO, FE_ONE, fe_equal(a, b))', (a, b) => (a === b ? radix % p : 0n)],
        ['fe_select(b, FE_ONE, fe_is_zero(a))', (a, b) => (a === 0n ? radix % p : b)],
      ];
      const expressions = cases.map(([expression]) => expression);
      const bytes = await run(gpu, field, expressions, pack(0), pack(1));
      for (const [c, [expression, expected]] of cases.entries()) {
        for (const [i, [a, b]] of pairs.entries()) {
          const value = readElement(bytes, 32 * (c * COUNT + i));
          assert.is(value, expected(a, b), `${expression} of ${a}, ${b}`);
        }
      }
    });
  }
}

test('a modulus that does not fit is refused', () => {
  for (const modulus of [2n ** 254n + 1n, 2n ** 251n + 1n, 2n ** 253n]) {
    assert.throws(() => emitField({ modulus, variant: 'words' }), /expected an odd modulus/);
  }
});

test.run();
