/**
 * Who an attested process is: its sealing keys, its signing key and the evidence that binds them. The keys live for
 * one boot and are never stored. Who makes the evidence is the provider's matter (provider.ts).
 */
import { bindGpu, type EvidenceDocument, evidenceDocument } from '../../protocols/attestation/document.ts';
import { MAX_STAPLED } from '../../protocols/attestation/limits.ts';
import { gpuNonce, reportData } from '../../protocols/attestation/report-data.ts';
import { generateSigner, type Signer } from '../../protocols/cose.ts';
import { fromHex } from '../../protocols/encoding.ts';
import type { Role } from '../../protocols/subjects.ts';
import type { Provider } from './provider.ts';
import { providerOf } from './providers.ts';
import { createSealingKeys, type SealingKeys, type SealingKeysOptions } from './sealing-keys.ts';

export { freshNonce } from '../../protocols/envelope.ts';

export interface Identity {
  readonly id: string;
  readonly measurement: string;
  /** they change before their replay guard is full */
  readonly sealing: SealingKeys;
  readonly signer: Signer;
  /** Fresh evidence over the verifier's nonce (hex) and, where a model is served, its commitment. */
  evidence(nonce: string, modelCommitment?: string): Promise<EvidenceDocument>;
}

export interface IdentityOptions {
  /** default: a platform that this installation's simulated root certifies */
  readonly provider?: Provider | undefined;
  /** whether the process uses GPUs at the time of asking */
  readonly hasGpus?: () => boolean;
  /** how long sealing keys are good */
  readonly keys?: SealingKeysOptions | undefined;
  /** digests of the collateral that belongs to this host's evidence */
  readonly collateral?: readonly string[] | undefined;
}

/** A new identity for a process that plays `role`. */
export async function createIdentity(
  role: Role,
  id: string,
  { provider: given, hasGpus, collateral, keys }: IdentityOptions = {},
): Promise<Identity> {
  const provider = given ?? (await providerOf());
  const [sealing, signer, measurement] = await Promise.all([
    createSealingKeys(keys),
    generateSigner(),
    provider.measurement(role),
  ]);
  return {
    id,
    measurement,
    sealing,
    signer,
    async evidence(nonce, modelCommitment) {
      const [classic, hybrid] = sealing.current;
      const asked = {
        nonce: fromHex(nonce, 'nonce'),
        hpkeKey: classic.publicKey,
        xWingKey: hybrid.publicKey,
        receiptKey: signer.publicKey,
        modelCommitment,
        enclave: id,
        time: new Date(),
      };
      const gpu = hasGpus?.() ? await provider.gpus.answer(gpuNonce(asked)) : undefined;
      const binding = bindGpu(asked, gpu);
      const [cpu, stapled] = await Promise.all([
        provider.sign(reportData(binding), role),
        gpu === undefined ? [] : provider.gpus.staple?.(gpu),
      ]);
      return evidenceDocument({ cpu, gpu, collateral, stapled: stapled?.slice(0, MAX_STAPLED) }, binding);
    },
  };
}
