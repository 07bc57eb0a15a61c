/** A SIMULATED enclave with its keys, evidence and a policy that accepts it, for the tests of this folder. */

import { evidenceDocument } from '../../protocols/attestation/document.ts';
import {
  createSimulatedPlatform,
  createSimulatedRoot,
  quote,
  SIMULATED,
  type SimulatedRoot,
} from '../../protocols/attestation/formats/simulated.ts';
import { type Policy, parsePolicy } from '../../protocols/attestation/policy.ts';
import { type Binding, reportData } from '../../protocols/attestation/report-data.ts';
import { generateSigner } from '../../protocols/cose.ts';
import { fromHex, hex, randomBytes } from '../../protocols/encoding.ts';
import { generateSealingKeyPair } from '../../protocols/sealing.ts';

export const COMMITMENT = '12345678901234567890123456789012345678901234567890';
export const MEASUREMENT = 'ab'.repeat(48);
export const NOW = new Date('2026-07-01T12:00:00Z');
export const later = (seconds: number): Date => new Date(NOW.getTime() + seconds * 1000);

export const policyFor = (root: SimulatedRoot, changes: Record<string, unknown> = {}): Policy =>
  parsePolicy({
    version: 1,
    platforms: ['simulated'],
    measurements: [MEASUREMENT],
    minimumTcb: { simulated: [3] },
    maxAgeSeconds: 300,
    simulated: true,
    simulatedRoots: [root.fingerprint],
    requiredBinding: ['nonce', 'hpkeKey', 'receiptKey', 'modelCommitment', 'enclave'],
    ...changes,
  });

export interface Variation {
  readonly measurement?: string;
  readonly debug?: boolean;
  readonly tcb?: number;
  readonly time?: Date;
  readonly binding?: Partial<Omit<Binding, 'time'>>;
  readonly root?: SimulatedRoot;
}

export async function attested(variation: Variation = {}) {
  const root = variation.root ?? (await createSimulatedRoot());
  const { debug = false, tcb = 3 } = variation;
  const [platform, sealing, signer] = await Promise.all([
    createSimulatedPlatform(root, { debug, tcb }),
    generateSealingKeyPair(),
    generateSigner(),
  ]);
  const nonce = hex(randomBytes(32));
  const binding: Binding = {
    nonce: fromHex(nonce),
    hpkeKey: sealing.publicKey,
    receiptKey: signer.publicKey,
    modelCommitment: COMMITMENT,
    enclave: 'enclave-1',
    time: variation.time ?? NOW,
    ...variation.binding,
  };
  const evidence = await quote(platform, {
    measurement: variation.measurement ?? MEASUREMENT,
    reportData: reportData(binding),
  });
  const document = evidenceDocument({ cpu: { format: SIMULATED, evidence, certificates: [] } }, binding);
  return { root, platform, sealing, signer, nonce, binding, evidence, document, policy: policyFor(root) };
}
