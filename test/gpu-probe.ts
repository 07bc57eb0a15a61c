/**
 * Prints one line of JSON: `{"adapter": "..."}` for the WebGPU adapter that tests would use, or `{"none": why}`.
 * A program of its own, because a broken Vulkan driver takes the process with it.
 */
import { messageOf } from '../protocols/errors.ts';

async function probe(): Promise<{ adapter: string } | { none: string }> {
  try {
    const { create } = await import('webgpu');
    const gpu = create([]);
    const adapter = await gpu.requestAdapter();
    if (!adapter) return { none: 'no WebGPU adapter (for a software one on Debian: .ci/vulkan)' };
    const { vendor, architecture, device, description } = adapter.info;
    const kind = adapter.info.isFallbackAdapter ? 'software' : '';
    return { adapter: [vendor, architecture, device, description, kind].filter(Boolean).join(' ') };
  } catch (error) {
    return { none: `WebGPU does not load: ${messageOf(error)}` };
  }
}

console.log(JSON.stringify(await probe()));
// Dawn keeps threads that would hold the process
process.exit(0);
