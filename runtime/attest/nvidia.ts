/**
 * Evidence of this machine's NVIDIA GPUs, through NVIDIA's own tools: `nvattest collect-evidence` (NVIDIA Attestation
 * CLI) for the signed reports, `nvidia-smi conf-compute` (the driver's) for CC mode and ready state; and what NVIDIA's OCSP
 * responder says of their certificates, where it can be reached. What they print is not judged here; where the tools are
 * missing, that is said.
 */
import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { parseGpuEvidenceFile } from '../../protocols/attestation/formats/nvidia-report.ts';
import type { CcMode, GpuState } from '../../protocols/attestation/report-data.ts';
import { hex, utf8 } from '../../protocols/encoding.ts';
import { VouchError } from '../../protocols/errors.ts';
import type { GpuProvider } from './provider.ts';
import { type Ask, createStapler } from './revocation.ts';

/** Runs a tool and returns what it prints; throws as `execFile` does. */
export type RunTool = (tool: string, args: readonly string[]) => Promise<string>;

const execute = promisify(execFile);
const runTool: RunTool = async (tool, args) => {
  const limits = { timeout: 60_000, maxBuffer: 8 * 1024 * 1024 };
  return (await execute(tool, [...args], limits)).stdout;
};

const MISSING: Readonly<Record<string, string>> = {
  nvattest: 'the NVIDIA Attestation CLI is not installed, which reads evidence from the GPUs',
  'nvidia-smi': "NVIDIA's driver is not installed, so no NVIDIA GPU is usable here",
};

export function nvidiaGpus(run: RunTool = runTool, ask?: Ask): GpuProvider {
  const staple = createStapler(ask);
  const tool = async (name: string, ...args: string[]): Promise<string> => {
    try {
      return await run(name, args);
    } catch (error) {
      const missing = (error as NodeJS.ErrnoException).code === 'ENOENT';
      const reason = missing ? MISSING[name] : `it failed; run "${name} ${args.join(' ')}" to see why`;
      throw new VouchError('not-ready', `nvidia: ${name}: ${reason}`, { cause: error });
    }
  };
  /** The word after `label:` in what nvidia-smi prints. */
  const state = async (flag: string, label: RegExp): Promise<string> => {
    const text = await tool('nvidia-smi', 'conf-compute', flag);
    const word = label.exec(text)?.[1]?.toLowerCase();
    if (word !== undefined) return word;
    throw new VouchError(
      'not-ready',
      `nvidia: nvidia-smi conf-compute ${flag}: expected a state, got other text`,
    );
  };
  return {
    async answer(nonce) {
      const status = await state('-f', /CC status\s*:\s*(ON|OFF)\b/i);
      const devtools = await state('-d', /DevTools Mode\s*:\s*(ON|OFF)\b/i);
      const ready = await state('-grs', /Ready state\s*:\s*(not-ready|ready)\b/i);
      const ccMode: CcMode = devtools === 'on' ? 'devtools' : status === 'on' ? 'on' : 'off';
      const printed = await tool(
        'nvattest',
        ...['collect-evidence', '--device', 'gpu', '--nonce', hex(nonce), '--format', 'json'],
      );
      const devices = evidenceIn(printed).map(({ report, certificates }) => ({
        format: 'nvidia-gpu',
        evidence: report,
        certificates,
      }));
      return { ccMode, ready: ready === 'ready', devices } satisfies GpuState;
    },
    staple: ({ devices }) => staple(devices.map(({ certificates }) => certificates)),
  };
}

/** nvattest prints {"evidences": [...]} around the array that NVIDIA's other tools write. */
function evidenceIn(text: string): ReturnType<typeof parseGpuEvidenceFile> {
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch (error) {
    throw new VouchError('not-ready', 'nvidia: nvattest: expected JSON, got other text', { cause: error });
  }
  const { evidences } = Object(json) as { evidences?: unknown };
  return parseGpuEvidenceFile(utf8(JSON.stringify(evidences ?? json)));
}
