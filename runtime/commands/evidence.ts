/**
 * `vouch evidence`: what this very host can attest to, as an evidence document. Its keys are made for it and thrown
 * away, so nobody can use it for anything but looking at it: `vouch verify FILE` judges it.
 */
import { fromHex } from '../../protocols/encoding.ts';
import { VouchError } from '../../protocols/errors.ts';
import { createIdentity } from '../attest/identity.ts';
import { nvidiaGpus } from '../attest/nvidia.ts';
import type { ProviderName } from '../attest/provider.ts';
import { providerOf, teeFound } from '../attest/providers.ts';
import { writeWhole } from '../home/files.ts';
import type { Print } from './network.ts';

export interface HostEvidenceCommand {
  /** what the evidence has to answer, 16 to 64 bytes as hex */
  readonly nonce: string;
  /** default: the TEE where one is found, else the simulator */
  readonly provider?: ProviderName;
  readonly gpu?: 'nvidia' | 'simulated';
  /** default: stdout */
  readonly out?: string;
}

/** Throws `bad-input` for a wrong option, `not-ready` for hardware or tools that are not there. */
export async function hostEvidence(
  options: HostEvidenceCommand,
  print: Print,
  say: (line: string) => void,
): Promise<void> {
  const { gpu, out } = options;
  const nonce = options.nonce.toLowerCase();
  const { length } = hexBytes(nonce);
  if (length < 16 || length > 64) {
    throw new VouchError('bad-input', `--nonce: expected 16 to 64 bytes as hex, got ${length}`);
  }
  const name = options.provider ?? (teeFound() === undefined ? 'simulated' : 'configfs-tsm');
  if (gpu === 'simulated' && name !== 'simulated') {
    throw new VouchError(
      'bad-input',
      `--gpu simulated: expected it beside --provider simulated, not ${name}`,
    );
  }
  const own = await providerOf(name);
  const provider = gpu === 'nvidia' ? { ...own, gpus: nvidiaGpus() } : own;
  const identity = await createIdentity('worker', 'host', { provider, hasGpus: () => gpu !== undefined });
  const document = await identity.evidence(nonce);
  const text = JSON.stringify(document, null, 2);
  if (out === undefined) print(text);
  else await writeWhole(out, `${text}\n`, 0o644);
  say(
    `${document.hardware ? '' : 'SIMULATED: '}evidence by ${name}${gpu === undefined ? '' : ` and ${gpu} GPUs`}; its keys are thrown away, it is for looking at: vouch verify FILE`,
  );
}

function hexBytes(text: string): Uint8Array {
  try {
    return fromHex(text, '--nonce');
  } catch {
    throw new VouchError('bad-input', `--nonce: expected 16 to 64 bytes as hex, got ${text.slice(0, 80)}`);
  }
}
