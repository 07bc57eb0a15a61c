/**
 * Who an attested process is: its sealing keys, its signing key and the evidence that binds them. The keys live for
 * one boot and are never stored. Who makes the evidence is the provider's matter (provider.ts).
 */
import { bindGpu, type EvidenceDocument, evidenceDocument } from '../../protocols/attestation/document.ts';
import { MAX_STAPLED } from '../../protocols/attestation/limits.ts';
import { gpuNonce, reportData } from '../../protocols/attestation/report-data.ts';
import { generateSigner, type Signer } from '../../protocols/cose.ts';
import { fromHex, hex, randomBytes } from '../../protocols/encoding.ts';
import {
  createReplayGuard,
  generateSealingKeyPair,
  type ReplayGuard,
  type SealingKeyPair,
} from '../../protocols/sealing.ts';
import type { Role } from '../../protocols/subjects.ts';
import type { Provider } from './provider.ts';
import { providerOf } from './providers.ts';

export interface Identity {
  readonly id: string;
  readonly measurement: string;
  /** X25519, then X-Wing */
  readonly sealing: readonly [SealingKeyPair, SealingKeyPair];
  readonly signer: Signer;
  /** one guard for all sealing keys */
  readonly replays: ReplayGuard;
  /** Fresh evidence over the verifier's nonce (hex) and, where a model is served, its commitment. */
  evidence(nonce: string, modelCommitment?: string): Promise<EvidenceDocument>;
}

export interface IdentityOptions {
  /** default: a platform that this installation's simulated root certifies */
  readonly provider?: Provider | undefined;
  /** whether the process uses GPUs at the time of asking */
  readonly hasGpus?: () => boolean;
  /** digests of the collateral that belongs to this host's evidence */
  readonly collateral?: readonly string[] | undefined;
}

/** A new identity for a process that plays `role`. */
export async function createIdentity(
  role: Role,
  id: string,
  { provider: given, hasGpus, collateral }: IdentityOptions = {},
): Promise<Identity> {
  const provider = given ?? (await providerOf());
  const [classic, hybrid, signer, measurement] = await Promise.all([
    generateSealingKeyPair(),
    generateSealingKeyPair('x-wing'),
    generateSigner(),
    provider.measurement(role),
  ]);
  return {
    id,
    measurement,
    sealing: [classic, hybrid],
    signer,
    replays: createReplayGuard(),
    async evidence(nonce, modelCommitment) {
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

/** 32 random bytes as hex. */
export const freshNonce = (): string => hex(randomBytes(32));
