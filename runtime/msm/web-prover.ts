/**
 * `vouch/prover` in a browser: the same functions, files from addresses, Blobs or bytes, and threads of WebAssembly. A
 * package's bundle carries the threads' code in itself; a page whose Content-Security-Policy has no `worker-src blob:`
 * serves that code itself and says where (`workers`).
 *
 * Threads share memory only in a page that is cross-origin isolated. Elsewhere proofs are right and many times slower. A
 * key's points are checked once for each page that loads it; nothing is kept from page to page.
 */

import type { Proved } from '../../circuits/groth16/prove.ts';
import { type ByteSource, blobSource } from '../../circuits/groth16/source.ts';
import type { VerificationKey } from '../../circuits/groth16/verify.ts';
import { messageOf, VouchError } from '../../protocols/errors.ts';
import { createDropIn } from './drop-in.ts';
import { type ProverOptions, readProverOptions } from './options.ts';
import { createProverOn, type FileInput, type Prover, type ProverHost } from './prover.ts';
import { type CalculatorReply, type Calculators, createCalculators } from './threads/calculators.ts';
import { THREAD_SOURCES } from './threads/sources.ts';
import { startWebThread } from './threads/web-thread.ts';

export type { CircuitInfo, FileOutput, Proof, ProofLike, Verdict, VerifyOptions } from './drop-in.ts';
export type { Logger, ProveOptions, ProverOptions } from './options.ts';
export type { Input, LoadedKey, ProgressOptions } from './prover.ts';
export type { FileInput, Proved, Prover, VerificationKey };

/** Where a page serves the threads' code, if it does. */
export interface WorkerAddresses {
  /** of dist/runtime/msm/threads/web-worker.js, bundled */
  readonly sums?: string | URL | undefined;
  /** of dist/runtime/msm/threads/web-witness.js, bundled */
  readonly witness?: string | URL | undefined;
}
const addresses: { sums?: string | URL | undefined; witness?: string | URL | undefined } = {};

/** For pages that forbid workers from Blobs; before anything else. */
export function serveWorkersFrom({ sums, witness }: WorkerAddresses): void {
  addresses.sums = sums;
  addresses.witness = witness;
}

function addressOf(kind: keyof WorkerAddresses, source: string | undefined): string | URL {
  if (addresses[kind] === undefined && source === undefined)
    throw new VouchError(
      'not-ready',
      `the code of the threads is not in this bundle; say where it is served (serveWorkersFrom)`,
    );
  addresses[kind] ??= URL.createObjectURL(new Blob([source!], { type: 'text/javascript' }));
  return addresses[kind];
}

async function open(address: string, what: string): Promise<ByteSource & AsyncDisposable> {
  const bad = (why: string) => new VouchError('bad-file', `${what} ${address}: ${why}`);
  const response = await fetch(address).catch((error: unknown) => {
    throw bad(`it could not be fetched (${messageOf(error)})`);
  });
  if (!response.ok) throw bad(`it could not be fetched (${response.status} ${response.statusText})`);
  return { ...blobSource(await response.blob()), [Symbol.asyncDispose]: async () => {} };
}

/** Digests of keys that passed in this page. */
const passed = new Set<string>();

/** What is hashed is in memory whole. */
const MAX_HASHED_BYTES = 2 ** 29;

/** Undefined for large keys, and where the page's context is not secure, so that there is no hash: these are checked each time. */
async function digestOf(key: ByteSource): Promise<string | undefined> {
  if (!globalThis.crypto?.subtle || key.byteLength > MAX_HASHED_BYTES) return undefined;
  const bytes = new Uint8Array(key.byteLength);
  await key.read(0, bytes);
  return new Uint8Array(await crypto.subtle.digest('SHA-256', bytes)).join();
}

const openCalculators = (): Calculators =>
  createCalculators(({ onReply, onFailure }) => {
    const worker = new Worker(addressOf('witness', THREAD_SOURCES.webWitness), { type: 'module' });
    worker.addEventListener('message', ({ data }: MessageEvent<CalculatorReply>) => onReply(data));
    worker.addEventListener('error', ({ message }) => onFailure(new Error(message)));
    return {
      post: (question) => worker.postMessage(question),
      rest: () => {},
      terminate: async () => worker.terminate(),
    };
  });

const host: ProverHost = {
  open,
  async checkOnce(key, check) {
    const digest = await digestOf(key);
    if (digest !== undefined && passed.has(digest)) return;
    await check();
    if (digest !== undefined) passed.add(digest);
  },
  keptTables: async () => ({ digest: '', store: { read: async () => false, write: async () => {} } }),
  openCalculators,
};

/** Threads that stay until `close`, for many proofs. */
export async function createProver(options: ProverOptions = {}): Promise<Prover> {
  const { threads, engine = 'wasm' } = readProverOptions(options);
  if (engine !== 'wasm')
    throw new VouchError('bad-input', `option engine: in a browser there is wasm only, got ${engine}`);
  return createProverOn(host, { threads, start: startWebThread(addressOf('sums', THREAD_SOURCES.web)) });
}

const dropIn = createDropIn({
  ...host,
  createProver,
  async write(name) {
    throw new VouchError(
      'bad-input',
      `${name}: a browser has no files; give an object {type: 'mem'} for the bytes`,
    );
  },
});

export const { groth16, wtns, r1cs } = dropIn;

export const zKey = {
  ...dropIn.zKey,
  async exportSolidityVerifier(_zkey: FileInput): Promise<string> {
    throw new VouchError('not-ready', 'the contract is made in Node: its template is a file of snarkjs');
  },
};
