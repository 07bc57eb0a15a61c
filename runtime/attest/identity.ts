/**
 * Who an attested process is: its HPKE key, its signing key and the evidence that binds them. The keys live
 * for one boot and are never stored. Today's only provider is SIMULATED: a platform certified by a root key
 * that this installation keeps in `.vouch/keys`; it protects nothing.
 */
import { existsSync, readFileSync } from 'node:fs';
import { mkdir, writeFile } from 'node:fs/promises';
import path from 'node:path';
import {
  createSimulatedPlatform,
  createSimulatedRoot,
  quote,
  type SimulatedPlatform,
  type SimulatedRoot,
  simulated,
} from '../../protocols/attestation/formats/simulated.ts';
import { reportData } from '../../protocols/attestation/report-data.ts';
import { type EvidenceDocument, evidenceDocument } from '../../protocols/attestation/verify.ts';
import { generateSigner, type Signer } from '../../protocols/cose.ts';
import { fromHex, hex, randomBytes } from '../../protocols/encoding.ts';
import { VouchError } from '../../protocols/errors.ts';
import {
  createReplayGuard,
  generateSealingKeyPair,
  type ReplayGuard,
  type SealingKeyPair,
} from '../../protocols/sealing.ts';
import type { Role } from '../../protocols/subjects.ts';
import { folder } from '../context.ts';
import { measure } from './measurement.ts';

export interface Identity {
  readonly id: string;
  readonly measurement: string;
  readonly sealing: SealingKeyPair;
  readonly signer: Signer;
  /** one guard per sealing key */
  readonly replays: ReplayGuard;
  /** Fresh evidence over the verifier's nonce (hex) and, where a model is served, its commitment. */
  evidence(nonce: string, modelCommitment?: string): Promise<EvidenceDocument>;
}

const rootFile = (): string => folder('keys', 'simulated-root');

export const hasSimulatedRoot = (): boolean => existsSync(rootFile());

/** The installation's simulated root; made on first use. Throws `bad-file` when its file is damaged. */
export async function simulatedRoot(): Promise<SimulatedRoot> {
  const file = rootFile();
  if (!existsSync(file)) {
    await mkdir(path.dirname(file), { recursive: true, mode: 0o700 });
    // Whoever is first makes it; two processes of a fresh installation must not end with a root each.
    await writeFile(file, `${hex(randomBytes(32))}\n`, { flag: 'wx', mode: 0o600 }).catch((error) => {
      if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
    });
  }
  const text = readFileSync(file, 'utf8').trim();
  if (!/^[0-9a-f]{64}$/.test(text)) {
    throw new VouchError(
      'bad-file',
      `${file}: expected 32 bytes as hex; delete it to get a new simulated root`,
    );
  }
  return createSimulatedRoot(fromHex(text, 'simulated root', 32));
}

/** A new identity for a process that plays `role`, on a platform that this installation's root certifies unless told otherwise. */
export async function createIdentity(
  role: Role,
  id: string,
  given?: SimulatedPlatform | undefined,
): Promise<Identity> {
  const platform = given ?? (await createSimulatedPlatform(await simulatedRoot()));
  const [sealing, signer] = await Promise.all([generateSealingKeyPair(), generateSigner()]);
  const measurement = measure(role);
  return {
    id,
    measurement,
    sealing,
    signer,
    replays: createReplayGuard(),
    async evidence(nonce, modelCommitment) {
      const binding = {
        nonce: fromHex(nonce, 'nonce'),
        hpkeKey: sealing.publicKey,
        receiptKey: signer.publicKey,
        modelCommitment,
        enclave: id,
      };
      const signed = await quote(platform, {
        measurement,
        reportData: reportData(binding),
        time: new Date(),
      });
      return evidenceDocument(simulated, signed, binding);
    },
  };
}

/** 32 random bytes as hex. */
export const freshNonce = (): string => hex(randomBytes(32));
