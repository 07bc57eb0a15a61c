/**
 * The root of this installation's SIMULATED platforms: a key that the installation makes for itself and keeps in
 * `.vouch/keys`. It protects nothing.
 */
import { existsSync } from 'node:fs';
import { createSimulatedRoot, type SimulatedRoot } from '../../protocols/attestation/formats/simulated.ts';
import { folder } from '../home/home.ts';
import { keptSecret } from '../home/kept-secret.ts';

const rootFile = (): string => folder('keys', 'simulated-root');

export const hasSimulatedRoot = (): boolean => existsSync(rootFile());

/** The root; made on first use. Throws `bad-file` when its file is damaged. */
export const simulatedRoot = async (): Promise<SimulatedRoot> =>
  createSimulatedRoot(await keptSecret(rootFile(), 'the simulated root'));
