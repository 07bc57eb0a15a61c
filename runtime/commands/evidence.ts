/**
 * `vouch evidence`: what this very host can attest to, as an evidence document. Its keys are made for it and thrown
 * away, so nobody can use it for anything but looking at it: `vouch verify FILE` judges it.
 */
import { type Command, Option } from '@commander-js/extra-typings';
import { fromHex } from '../../protocols/encoding.ts';
import { VouchError } from '../../protocols/errors.ts';
import { createIdentity } from '../attest/identity.ts';
import { nvidiaGpus } from '../attest/nvidia.ts';
import { providerOf, teeFound } from '../attest/providers.ts';
import { demandWritable, writeWhole } from '../home/files.ts';
import { allowSimulator, type OptionsOf, providerOption, simulatedOption } from './declaration.ts';
import { type Print, print, say } from './terminal.ts';

const declared = (command: Command) =>
  command
    .requiredOption('--nonce <hex>', 'what it has to answer, 16 to 64 bytes')
    .addOption(providerOption('default: the TEE where one is found'))
    .addOption(new Option('--gpu <name>', 'evidence of GPUs, too').choices(['nvidia', 'simulated'] as const))
    .addOption(simulatedOption)
    .option('--out <file>', 'where it goes; default: stdout');

export const define = (command: Command) =>
  declared(command).action(async (options) => {
    allowSimulator(options.simulated);
    await hostEvidence(options, print, say);
  });

/** Throws `bad-input` for a wrong option, `not-ready` for hardware or tools that are not there. */
export async function hostEvidence(
  options: Omit<OptionsOf<typeof declared>, 'simulated'>,
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
  if (out !== undefined) await demandWritable(out);
  const own = await providerOf(name);
  const provider = gpu === 'nvidia' ? { ...own, gpus: nvidiaGpus() } : own;
  const identity = await createIdentity('worker', 'host', { provider, hasGpus: () => gpu !== undefined });
  const document = await identity.evidence(nonce);
  const text = JSON.stringify(document, null, 2);
  if (out === undefined) print(text);
  else await writeWhole(out, `${text}\n`, { mode: 0o644 });
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
