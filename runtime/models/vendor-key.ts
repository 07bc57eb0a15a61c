/**
 * The vendor key of this installation: it signs the manifests of models that are published here. Kept in `.vouch/keys`,
 * mode 0600. Clients remember it, so whoever loses it has to tell them of another one.
 */
import { type Signer, signerFromSeed } from '../../protocols/cose.ts';
import { base64url } from '../../protocols/encoding.ts';
import { vendorFingerprint } from '../../protocols/manifest.ts';
import { folder } from '../home/home.ts';
import { keptSecret, knownSecret } from '../home/kept-secret.ts';
import type { Log } from '../home/log.ts';

const KEY_IS = 'the vendor key; without it clients take the models of this vendor for those of somebody else';
export const vendorKeyFile = (): string => folder('keys', 'vendor');

/** The vendor key, where there is one. Throws `bad-file` when its file is damaged. */
export async function knownVendor(): Promise<Signer | undefined> {
  const seed = knownSecret(vendorKeyFile(), KEY_IS);
  return seed && (await signerFromSeed(seed));
}

/** The vendor key, made on first use, which `say` is told. */
export async function vendorSigner(say: Log = () => {}): Promise<Signer> {
  const known = await knownVendor();
  if (known !== undefined) return known;
  const made = await signerFromSeed(await keptSecret(vendorKeyFile(), KEY_IS));
  say(`vendor key made: ${vendorKeyFile()}; fingerprint ${vendorFingerprint(made.publicKey)}`);
  return made;
}

/** As people and `--vendor` name it. */
export const vendorName = ({ publicKey }: Signer) => ({
  key: base64url(publicKey),
  fingerprint: vendorFingerprint(publicKey),
});
