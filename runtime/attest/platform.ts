/**
 * The SIMULATED platform of a host other than the one that keeps the root: a device key and the root's
 * certificate of it, in a file that `vouch creds` writes. Like a real vendor's root, the installation's root
 * key stays where it is.
 *
 * It protects nothing: whoever holds the file can sign any measurement, so it proves that its holder was given
 * it, and no more.
 */
import { z } from 'zod';
import {
  createSimulatedPlatform,
  type SimulatedPlatform,
} from '../../protocols/attestation/formats/simulated.ts';
import { signerFromSeed } from '../../protocols/cose.ts';
import { base64url, fromBase64url, fromHex, hex, randomBytes } from '../../protocols/encoding.ts';
import { VouchError } from '../../protocols/errors.ts';
import { readText } from '../home/files.ts';
import { simulatedRoot } from './simulated-root.ts';

const PlatformFile = z.strictObject({
  version: z.literal(1),
  platform: z.literal('SIMULATED'),
  /** public key of the root */
  root: z.string(),
  /** the root's certificate of the device key */
  device: z.string(),
  /** secret: the device key */
  seed: z.string(),
});

/** The text of a platform file, secret: a new device certified by this installation's simulated root. */
export async function issuePlatform(): Promise<string> {
  const seed = randomBytes(32);
  const { root, device } = await createSimulatedPlatform(await simulatedRoot(), {
    signer: await signerFromSeed(seed),
  });
  const file: z.infer<typeof PlatformFile> = {
    version: 1,
    platform: 'SIMULATED',
    root: base64url(root),
    device: base64url(device),
    seed: hex(seed),
  };
  return `${JSON.stringify(file, null, 2)}\n`;
}

/** Reads a platform file. Throws `bad-file`; the message quotes nothing of it. */
export async function readPlatform(path: string): Promise<SimulatedPlatform> {
  const text = readText(path, 'simulated platform', 16 * 1024);
  try {
    const { root, device, seed } = PlatformFile.parse(JSON.parse(text));
    return {
      root: fromBase64url(root, 'root', 32),
      device: fromBase64url(device, 'device'),
      signer: await signerFromSeed(fromHex(seed, 'seed', 32)),
      debug: false,
      tcb: 1,
    };
  } catch {
    throw new VouchError(
      'bad-file',
      `simulated platform ${path}: not a file that vouch creds wrote; make it again`,
    );
  }
}
