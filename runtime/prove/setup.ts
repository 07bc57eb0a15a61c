/**
 * Circuits and proving keys of a client: emit, compile, make or take a key, remember where it came from. Whoever
 * makes a single-party key can forge with it; the manifest kept here, with a MAC by a secret of this
 * installation, is how `vouch verify` knows later that *this* client made that key for that circuit.
 */
import { createHash, createHmac, timingSafeEqual } from 'node:crypto';
import { z } from 'zod';
import { INSECURE_SINGLE_PARTY, type SetupProgress, setupTo } from '../../circuits/groth16/setup.ts';
import type { ByteSink } from '../../circuits/groth16/source.ts';
import { verificationKey } from '../../circuits/groth16/verify.ts';
import { openZkey } from '../../circuits/groth16/zkey.ts';
import type { Architecture } from '../../circuits/model/architecture.ts';
import { type CircuitSubject, emitCircuit } from '../../circuits/model/circuit.ts';
import { canonicalJson } from '../../protocols/encoding.ts';
import { Digest } from '../../protocols/envelope.ts';
import { VouchError } from '../../protocols/errors.ts';
import { openFile } from '../home/file-source.ts';
import { demandWritable, readTextIfThere, writePieces, writeWhole } from '../home/files.ts';
import { folder } from '../home/home.ts';
import { keptSecret, knownSecret } from '../home/kept-secret.ts';
import { createPool } from '../msm/threads/pool.ts';
import { type LinkedKey, verificationKeyDigest } from '../verdict/published-proof.ts';
import { hashOf } from './cache.ts';
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

const manifestFile = (circuit: string): string => folder('setups', `${circuit}.json`);

/** The circuit of a statement, compiled; cached by its digest. */
export async function prepareCircuit(
  architecture: Architecture,
  subject: CircuitSubject,
  options: { signal?: AbortSignal } = {},
): Promise<CompiledCircuit & { digest: string }> {
  const toolchain = await circuitToolchain();
  const circuit = emitCircuit(architecture, subject, toolchain);
  const compiled = await compileCircuit(circuit, toolchain, {
    cacheDir: folder('cache', 'circuits'),
    ...options,
  });
  return { ...compiled, digest: circuit.digest };
}

/** The digest of the circuit that architecture and subject give: emitting is enough, nothing is compiled. */
export async function circuitDigestOf(architecture: Architecture, subject: CircuitSubject): Promise<string> {
  return emitCircuit(architecture, subject, await circuitToolchain()).digest;
}

/** Where a proving key lies, and tau's powers, with which others check it (circuits/groth16/ptau.ts). */
export interface KeyFiles {
  readonly zkey: string;
  readonly powers: string;
}

/** The files of a circuit's key, whether or not they are there. */
const filesOf = (circuit: string): KeyFiles => ({
  zkey: folder('cache', 'zkeys', `${circuit}.zkey`),
  powers: folder('cache', 'zkeys', `${circuit}.powers`),
});

/** A key whose files are there. */
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
  const { threads, signal, onProgress } = options;
  const files = filesOf(circuit.digest);
  const known = readSetup(circuit.digest);
  // A damaged cache file is made again.
  if (
    known &&
    (await digestThere(files.zkey, signal)) === known.zkey &&
    (await digestThere(files.powers, signal)) === known.powers
  )
    return { ...files, verificationKeyDigest: known.verificationKey, mark: known.mark, cached: true };
  await demandKeyRememberable();
  await using pool = await createPool(threads === undefined ? {} : { threads });
  const hash = () => createHash('blake2b512');
  await using r1cs = await openFile(circuit.r1csPath, 'circuit');
  const made = await writePieces(files.zkey, (zkey) =>
    writePieces(files.powers, (powers) =>
      setupTo({ zkey, powers }, r1cs, { field: pool, points: pool, hash }, { signal, onProgress }),
    ),
  );
  await rememberKey(circuit.digest, { origin: 'single-party', mark: INSECURE_SINGLE_PARTY });
  return {
    ...files,
    verificationKeyDigest: verificationKeyDigest(made.verificationKey),
    mark: made.insecure,
    cached: false,
  };
}

/** The digest of a file; undefined where there is none that can be read. */
async function digestThere(file: string, signal: AbortSignal | undefined): Promise<string | undefined> {
  try {
    await using source = await openFile(file, 'proving key');
    return await hashOf(source, signal);
  } catch (error) {
    if (error instanceof VouchError && error.code === 'bad-file') return undefined;
    throw error;
  }
}

/** Throws unless a key and what is known of it can be written: for before the work. */
export async function demandKeyRememberable(): Promise<void> {
  const { zkey, powers } = filesOf('circuit');
  for (const file of [zkey, powers, manifestFile('circuit'), secretFile()]) await demandWritable(file);
}

/** Keeps a ceremony's key. The caller has checked it. */
export async function rememberCeremony(
  circuit: string,
  zkey: Uint8Array,
  writePowers: (to: ByteSink) => Promise<void>,
): Promise<void> {
  const files = filesOf(circuit);
  await writeWhole(files.zkey, zkey);
  await writePieces(files.powers, writePowers);
  await rememberKey(circuit, { origin: 'ceremony', mark: CEREMONY });
}

/** Remembers where the key that lies there came from. */
async function rememberKey(circuit: string, from: Pick<Manifest, 'origin' | 'mark'>): Promise<void> {
  const files = filesOf(circuit);
  await using zkey = await openFile(files.zkey, 'proving key');
  await using powers = await openFile(files.powers, 'powers of tau');
  const manifest: Manifest = {
    version: 2,
    circuit,
    verificationKey: verificationKeyDigest(verificationKey(await openZkey(zkey))),
    zkey: await hashOf(zkey),
    powers: await hashOf(powers),
    ...from,
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
