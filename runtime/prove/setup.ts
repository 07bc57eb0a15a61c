/**
 * Circuits and proving keys of a client: emit, compile, make or take a key, remember where it came from. Whoever
 * makes a single-party key can forge with it; the manifest kept here, with a MAC by a secret of this
 * installation, is how `vouch verify` knows later that *this* client made that key for that circuit.
 */
import { createHash, createHmac, timingSafeEqual } from 'node:crypto';
import { z } from 'zod';
import { INSECURE_SINGLE_PARTY, type SetupProgress, setup } from '../../circuits/groth16/setup.ts';
import { verificationKey } from '../../circuits/groth16/verify.ts';
import { readZkey } from '../../circuits/groth16/zkey.ts';
import type { Architecture } from '../../circuits/model/architecture.ts';
import { emitQualityCircuit } from '../../circuits/model/emit.ts';
import type { TestSet } from '../../circuits/model/test-set.ts';
import { canonicalJson } from '../../protocols/encoding.ts';
import { Digest } from '../../protocols/envelope.ts';
import { demandWritable, readIfThere, readNamed, readTextIfThere, writeWhole } from '../home/files.ts';
import { folder } from '../home/home.ts';
import { keptSecret, knownSecret } from '../home/kept-secret.ts';
import { createPool } from '../msm/threads/pool.ts';
import { type LinkedKey, verificationKeyDigest } from '../verdict/published-proof.ts';
import { type CompiledCircuit, circuitToolchain, compileCircuit } from './circuit-compiler.ts';

/** The mark of a key from a ceremony, where a single party's is INSECURE-SINGLE-PARTY. */
export const CEREMONY = 'CEREMONY';

const Manifest = z.strictObject({
  version: z.literal(2),
  circuit: Digest,
  /** SHA-256 of the canonical JSON of the verification key */
  verificationKey: Digest,
  /** SHA-256 of the .zkey file */
  zkey: Digest,
  /** SHA-256 of the file of its powers */
  powers: Digest,
  origin: z.enum(['single-party', 'ceremony']),
  mark: z.enum([INSECURE_SINGLE_PARTY, CEREMONY]),
  time: z.iso.datetime(),
});
type Manifest = z.infer<typeof Manifest>;
const Signed = z.strictObject({ manifest: Manifest, mac: Digest });

const sha256 = (data: string | Uint8Array): string => createHash('sha256').update(data).digest('hex');
const manifestFile = (circuit: string): string => folder('setups', `${circuit}.json`);
const zkeyFile = (circuit: string): string => folder('cache', 'zkeys', `${circuit}.zkey`);
const powersFile = (circuit: string): string => folder('cache', 'zkeys', `${circuit}.powers`);

/** The circuit of a statement, compiled; cached by its digest. */
export async function prepareCircuit(
  architecture: Architecture,
  testSet: TestSet,
  options: { signal?: AbortSignal } = {},
): Promise<CompiledCircuit & { digest: string }> {
  const toolchain = await circuitToolchain();
  const circuit = emitQualityCircuit(architecture, testSet, toolchain);
  const compiled = await compileCircuit(circuit, toolchain, {
    cacheDir: folder('cache', 'circuits'),
    ...options,
  });
  return { ...compiled, digest: circuit.digest };
}

/** The digest of the circuit that architecture and test set give: emitting is enough, nothing is compiled. */
export async function circuitDigestOf(architecture: Architecture, testSet: TestSet): Promise<string> {
  return emitQualityCircuit(architecture, testSet, await circuitToolchain()).digest;
}

/** A proving key, and tau's powers, with which others check it (circuits/groth16/ptau.ts): both files. */
export interface KeyFiles {
  readonly zkey: Uint8Array;
  readonly powers: Uint8Array;
}

export interface PreparedKey extends KeyFiles {
  readonly verificationKeyDigest: string;
  readonly mark: string;
  readonly cached: boolean;
}

/** The key of a compiled circuit: the cached one that this installation made, or a new single-party key. */
export async function prepareKey(
  circuit: CompiledCircuit & { digest: string },
  options: { threads?: number; onProgress?: (progress: SetupProgress) => void; signal?: AbortSignal } = {},
): Promise<PreparedKey> {
  const known = readSetup(circuit.digest);
  if (known) {
    const zkey = readIfThere(zkeyFile(circuit.digest), 'proving key');
    const powers = readIfThere(powersFile(circuit.digest), 'powers of tau');
    // A damaged cache file is made again.
    if (zkey && sha256(zkey) === known.zkey && powers && sha256(powers) === known.powers) {
      return { zkey, powers, verificationKeyDigest: known.verificationKey, mark: known.mark, cached: true };
    }
  }
  await demandKeyRememberable();
  const { threads, ...rest } = options;
  await using pool = await createPool(threads === undefined ? {} : { threads });
  const hash = () => createHash('blake2b512');
  const made = await setup(readNamed(circuit.r1csPath, 'circuit'), { field: pool, points: pool, hash }, rest);
  await rememberKey(circuit.digest, made, { origin: 'single-party', mark: INSECURE_SINGLE_PARTY });
  return {
    zkey: made.zkey,
    powers: made.powers,
    verificationKeyDigest: verificationKeyDigest(made.verificationKey),
    mark: made.insecure,
    cached: false,
  };
}

/** Throws unless `rememberKey` can write what it writes: for before the work. */
export async function demandKeyRememberable(): Promise<void> {
  for (const file of [zkeyFile('circuit'), powersFile('circuit'), manifestFile('circuit'), secretFile()])
    await demandWritable(file);
}

/** Keeps a key and what is known of its origin. The caller has checked a ceremony's key before it says so. */
export async function rememberKey(
  circuit: string,
  { zkey, powers }: KeyFiles,
  { origin, mark }: Pick<Manifest, 'origin' | 'mark'>,
): Promise<void> {
  await writeWhole(zkeyFile(circuit), zkey);
  await writeWhole(powersFile(circuit), powers);
  const manifest: Manifest = {
    version: 2,
    circuit,
    verificationKey: verificationKeyDigest(verificationKey(readZkey(zkey))),
    zkey: sha256(zkey),
    powers: sha256(powers),
    origin,
    mark,
    time: new Date().toISOString(),
  };
  await writeWhole(manifestFile(circuit), JSON.stringify({ manifest, mac: await mac(manifest) }));
}

/** What links this verification key to this circuit. */
export function keyLink(circuit: string, verificationKey: string): LinkedKey {
  const known = readSetup(circuit);
  if (known?.verificationKey !== verificationKey) return { link: 'unproven' };
  return { link: known.origin === 'ceremony' ? 'ceremony checked' : 'made by me', mark: known.mark };
}

/**
 * The manifest of a circuit's setup, if this installation wrote it and nobody changed it since. Throws `bad-file` when
 * the installation's secret is damaged.
 */
function readSetup(circuit: string): Manifest | undefined {
  const secret = knownSecret(secretFile(), SECRET_IS);
  if (!secret) return undefined;
  try {
    const text = readTextIfThere(manifestFile(circuit), 'manifest');
    if (text === undefined) return undefined;
    const { manifest, mac: stored } = Signed.parse(JSON.parse(text));
    const right = timingSafeEqual(Buffer.from(stored, 'hex'), Buffer.from(macBy(secret, manifest), 'hex'));
    return right && manifest.circuit === circuit ? manifest : undefined;
  } catch {
    // Unreadable is the same as unknown: the key then counts as unproven.
    return undefined;
  }
}

const secretFile = (): string => folder('keys', 'setup-mac');
const SECRET_IS = 'what tells the proving keys that were made here from those of others';
const mac = async (manifest: Manifest): Promise<string> =>
  macBy(await keptSecret(secretFile(), SECRET_IS), manifest);
const macBy = (secret: Uint8Array, manifest: Manifest): string =>
  createHmac('sha256', secret)
    .update(`vouch/v1/setup-manifest\0${canonicalJson(manifest)}`)
    .digest('hex');
