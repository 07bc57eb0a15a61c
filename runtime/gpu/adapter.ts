/**
 * The GPU of this host through WebGPU (Dawn), and whether it computes. A software driver counts as no GPU
 * unless it is asked for: it exists for tests.
 */
import { Capability } from '../../protocols/device.ts';
import { messageOf, VouchError } from '../../protocols/errors.ts';
import type { AdapterSummary } from './probe.ts';

export interface GpuHandle {
  readonly adapter: GPUAdapter;
  readonly device: GPUDevice;
  readonly capability: Capability;
  close(): void;
}

/** Dawn's entry point; kept, because adapters die when it is collected. */
let dawn: GPU | undefined;

/** A browser's own WebGPU, elsewhere Dawn. */
async function entryPoint(): Promise<GPU> {
  if (typeof navigator.gpu?.requestAdapter === 'function') return navigator.gpu;
  // A name that no bundler follows: a page has neither the package nor a need for it.
  const name: string = 'webgpu';
  const webgpu: typeof import('webgpu') = await import(/* @vite-ignore */ name).catch((error) => {
    // A package that asks for it on demand.
    if (error?.code === 'ERR_MODULE_NOT_FOUND')
      throw new Error('this needs the package webgpu: npm install webgpu');
    throw error;
  });
  Object.assign(globalThis, webgpu.globals);
  dawn ??= webgpu.create([]);
  return dawn;
}

/** What is used where it is there: workgroups' shortcuts, and times of single passes. */
const FEATURES: readonly GPUFeatureName[] = ['subgroups', 'timestamp-query'];
/** What is wanted as large as the adapter has it; a device gets the specification's least (128 MiB) unasked. */
const LIMITS = ['maxBufferSize', 'maxStorageBufferBindingSize'] as const;

/** An engine's keys and scratch on a device whose memory is not known. */
const MEMORY_BYTES = 4 * 2 ** 30;

/** WebGPU's first adapter. Throws `not-ready` where there is none. */
export async function findAdapter(): Promise<GPUAdapter> {
  let adapter: GPUAdapter | null;
  try {
    adapter = await (await entryPoint()).requestAdapter({ powerPreference: 'high-performance' });
  } catch (error) {
    throw new VouchError('not-ready', `no GPU: WebGPU does not start here (${messageOf(error)})`, {
      cause: error,
    });
  }
  if (!adapter) throw new VouchError('not-ready', 'no GPU: WebGPU finds no adapter on this machine');
  return adapter;
}

export function summaryOf({ info }: GPUAdapter): AdapterSummary {
  const name = info.description || info.device || info.vendor || 'unnamed adapter';
  const software =
    info.isFallbackAdapter ||
    /llvmpipe|lavapipe|swiftshader|software/i.test(`${name} ${info.architecture} ${info.device}`);
  return { name, software };
}

/** Throws `not-ready` for a software adapter that nobody asked for. */
function demandHardware({ name, software }: AdapterSummary, allowSoftware: boolean): void {
  if (software && !allowSoftware)
    throw new VouchError('not-ready', `no GPU: the only adapter is a software one (${name})`);
}

/** Throws `not-ready` where a process of its own finds no adapter, or a software one that nobody asked for. */
async function probe(allowSoftware: boolean): Promise<void> {
  // As above, a name that no bundler follows. The built package has `.js` files only.
  const name = `./probe.${import.meta.url.endsWith('.ts') ? 'ts' : 'js'}`;
  let loaded: typeof import('./probe.ts');
  try {
    loaded = await import(/* @vite-ignore */ name);
  } catch {
    // A bundle does without it, and a browser that has no WebGPU: this process finds out by itself.
    return;
  }
  demandHardware(await loaded.probeAdapter(), allowSoftware);
}

/** Whether another process has found an adapter, after which this one asks by itself, as a browser does at once. */
let probed = typeof navigator.gpu?.requestAdapter === 'function';

/**
 * The host's first adapter with a device on it. Throws `not-ready` where there is none: no driver, no GPU, or
 * only a software one.
 */
export async function openGpu({ allowSoftware = false } = {}): Promise<GpuHandle> {
  if (!probed) {
    await probe(allowSoftware);
    probed = true;
  }
  const adapter = await findAdapter();
  const { info, limits } = adapter;
  const { name, software } = summaryOf(adapter);
  demandHardware({ name, software }, allowSoftware);
  let device: GPUDevice;
  try {
    device = await adapter.requestDevice({
      requiredFeatures: FEATURES.filter((feature) => adapter.features.has(feature)),
      requiredLimits: Object.fromEntries(LIMITS.map((limit) => [limit, limits[limit]])),
    });
  } catch (error) {
    throw new VouchError('not-ready', `no GPU: ${name} gives no device (${messageOf(error)})`, {
      cause: error,
    });
  }
  const capability = Capability.parse({
    adapter: name.slice(0, 200),
    driver: `${info.vendor} ${info.architecture}`.trim().slice(0, 200),
    software,
    maxBufferBytes: device.limits.maxBufferSize,
    maxBindingBytes: device.limits.maxStorageBufferBindingSize,
    memoryBytes: Math.min(device.limits.maxBufferSize, MEMORY_BYTES),
    features: [...adapter.features].sort(),
  });
  return { adapter, device, capability, close: () => device.destroy() };
}

const SELF_TEST = /* wgsl */ `
@group(0) @binding(0) var<storage, read_write> values: array<u32>;
@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3u) {
  values[id.x] = values[id.x] * 2654435761u + id.x;
}`;
const SELF_TEST_VALUES = 1024;

/** Runs a small kernel and compares every value. Throws `device-lost` when one is wrong. */
export async function selfTest({ device }: GpuHandle): Promise<void> {
  const input = Uint32Array.from({ length: SELF_TEST_VALUES }, (_, i) => Math.imul(i, 0x9e3779b1) >>> 0);
  const usage = GPUBufferUsage;
  const storage = device.createBuffer({
    size: input.byteLength,
    usage: usage.STORAGE | usage.COPY_SRC | usage.COPY_DST,
  });
  const readback = device.createBuffer({ size: input.byteLength, usage: usage.MAP_READ | usage.COPY_DST });
  try {
    device.queue.writeBuffer(storage, 0, input);
    const module = device.createShaderModule({ code: SELF_TEST });
    const pipeline = await device.createComputePipelineAsync({
      layout: 'auto',
      compute: { module, entryPoint: 'main' },
    });
    const group = device.createBindGroup({
      layout: pipeline.getBindGroupLayout(0),
      entries: [{ binding: 0, resource: { buffer: storage } }],
    });
    const encoder = device.createCommandEncoder();
    const pass = encoder.beginComputePass();
    pass.setPipeline(pipeline);
    pass.setBindGroup(0, group);
    pass.dispatchWorkgroups(SELF_TEST_VALUES / 64);
    pass.end();
    encoder.copyBufferToBuffer(storage, 0, readback, 0, input.byteLength);
    device.queue.submit([encoder.finish()]);
    await readback.mapAsync(GPUMapMode.READ);
    const output = new Uint32Array(readback.getMappedRange().slice(0));
    const wrong = output.findIndex((value, i) => value !== (Math.imul(input[i]!, 2654435761) + i) >>> 0);
    if (wrong >= 0)
      throw new VouchError('device-lost', `the GPU computes wrongly: value ${wrong} of the self-test`);
  } finally {
    storage.destroy();
    readback.destroy();
  }
}
