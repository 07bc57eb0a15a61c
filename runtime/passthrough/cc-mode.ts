/** The CC mode of a GPU, asked of NVIDIA's tool, which can tell it while vfio-pci has the device. */
import { execFile } from 'node:child_process';
import { messageOf, VouchError } from '../../protocols/errors.ts';

/** https://github.com/NVIDIA/gpu-admin-tools; it reads the GPU's registers, no driver of NVIDIA's needed. */
export const CC_TOOL = 'nvidia_gpu_tools.py';
const CC_TOOL_MS = 60_000;

/** Asks `tool` for the CC mode of the GPU at a PCI address. Throws `evidence-rejected` where it cannot tell. */
export async function queryCcMode(tool: string, address: string): Promise<string> {
  const { promise, resolve, reject } = Promise.withResolvers<string>();
  execFile(
    tool,
    [`--gpu-bdf=${address}`, '--query-cc-mode'],
    { timeout: CC_TOOL_MS, maxBuffer: 1024 * 1024 },
    // The tool says it on stderr.
    (error, stdout, stderr) => (error ? reject(error) : resolve(`${stdout}\n${stderr}`)),
  );
  let output: string;
  try {
    output = await promise;
  } catch (error) {
    throw new VouchError(
      'evidence-rejected',
      `${address}: ${tool} does not tell the CC mode (${messageOf(error).split('\n')[0]}); install NVIDIA's gpu-admin-tools or name the program with --cc-tool`,
    );
  }
  return ccModeIn(output);
}

/**
 * `on`, `off` or `devtools` from what `nvidia_gpu_tools.py --query-cc-mode` ("… CC mode is on") or `nvidia-smi
 * conf-compute -f` ("CC status: ON") prints. Throws `evidence-rejected` when it says nothing, or two things.
 */
export function ccModeIn(output: string): string {
  const found = [...output.matchAll(/\bCC (?:mode is|status:)\s*([a-z]+)/gi)].map(([, mode]) =>
    mode!.toLowerCase(),
  );
  const modes = new Set(found);
  const [mode] = modes;
  if (modes.size === 1 && mode !== undefined) return mode;
  throw new VouchError(
    'evidence-rejected',
    `CC mode: expected one answer, got ${modes.size === 0 ? 'none' : [...modes].join(' and ')}`,
  );
}
