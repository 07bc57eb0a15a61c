/**
 * Compiles circuits with circom (npm `circom2`: the compiler as WebAssembly) in a process of its own, with limits to its
 * time and memory, and caches the results by the circuit's digest.
 *
 * A cached result is trusted as far as the cache folder is: who can write there can swap a circuit. Whoever
 * has to rely on a circuit compiles it (or has compiled it) itself.
 */
import { spawn } from 'node:child_process';
import { mkdir, mkdtemp, open, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import type { EmittedCircuit, Toolchain } from '../../circuits/model/emit.ts';
import { VouchError } from '../../protocols/errors.ts';
import { fileError, makeFolder } from '../home/files.ts';

/** Removes linear constraints: on the demonstration's circuit 50,826 of 62,672 remain, in the same time as --O1. */
const OPTIONS = ['--O2'];
const TEMPLATES = [
  'bits',
  'commitment',
  'conv',
  'decision',
  'dense',
  'hidden-trees',
  'max',
  'requantise',
  'rescale',
  'row',
  'trees',
  'within',
];
const CIRCOMLIB = ['poseidon', 'poseidon_constants'];
/** characters of compiler output kept for an error message */
const MAX_OUTPUT = 20_000;
/** Of one compilation. The largest circuit that a request may ask for (circuits/model/size.ts) takes about half. */
const COMPILER_LIMITS: CompilerLimits = { millis: 10 * 60_000, mebibytes: 3584 };

export interface CompilerLimits {
  readonly millis: number;
  /** of data, by the system's count: the WebAssembly module's memory and Node's own */
  readonly mebibytes: number;
}

const require = createRequire(import.meta.url);

let toolchain: Promise<Toolchain> | undefined;

/** The compiler's name, version and options, and every template a circuit may include; read once. */
export function circuitToolchain(): Promise<Toolchain> {
  toolchain ??= readToolchain().catch((error: unknown) => {
    // Whoever asks next tries again.
    toolchain = undefined;
    throw error;
  });
  return toolchain;
}

async function readToolchain(): Promise<Toolchain> {
  const { version } = require('circom2/package.json') as { version: string };
  const sources = new URL('../../circuits/src/', import.meta.url);
  const circomlib = dirname(require.resolve('circomlib/circuits/poseidon.circom'));
  const templates = new Map<string, string>();
  for (const name of TEMPLATES)
    templates.set(`${name}.circom`, await readFile(new URL(`${name}.circom`, sources), 'utf8'));
  for (const name of CIRCOMLIB) {
    templates.set(`circomlib/${name}.circom`, await readFile(join(circomlib, `${name}.circom`), 'utf8'));
  }
  return { compiler: `circom2 ${version} ${OPTIONS.join(' ')}`, templates };
}

export interface CompiledCircuit {
  readonly r1csPath: string;
  readonly wasmPath: string;
  readonly constraints: number;
  /** true when nothing had to be compiled */
  readonly cached: boolean;
}

export interface CompileOptions {
  readonly cacheDir: string;
  readonly signal?: AbortSignal;
  readonly limits?: CompilerLimits;
}

/**
 * Compiles a circuit, or finds it in the cache. Throws `bad-input` with the compiler's own words when it
 * refuses the source, `too-large` when it takes more time or memory than its limits, `storage-full` or `bad-file` when the
 * cache can't be written, `cancelled` when aborted: no process is left then.
 */
export async function compileCircuit(
  circuit: EmittedCircuit,
  { templates }: Toolchain,
  { cacheDir, signal, limits = COMPILER_LIMITS }: CompileOptions,
): Promise<CompiledCircuit> {
  const home = join(cacheDir, circuit.digest);
  let build: string | undefined;
  try {
    const found = await openCompiled(home);
    if (found) return { ...found, cached: true };
    await makeFolder(cacheDir);
    build = await mkdtemp(join(cacheDir, '.build-'));
    for (const [path, text] of templates) {
      await makeFolder(dirname(join(build, path)));
      await writeFile(join(build, path), text);
    }
    await writeFile(join(build, 'main.circom'), circuit.source);
    await runCompiler(build, limits, signal);
    const done = join(build, 'done');
    await mkdir(done);
    await rename(join(build, 'main.r1cs'), join(done, 'main.r1cs'));
    await rename(join(build, 'main_js', 'main.wasm'), join(done, 'main.wasm'));
    await rename(join(build, 'main.circom'), join(done, 'main.circom'));
    await rename(done, home).catch(async (error: NodeJS.ErrnoException) => {
      // Somebody else was faster, with the same content.
      if (error.code !== 'ENOTEMPTY' && error.code !== 'EEXIST') throw error;
    });
  } catch (error) {
    throw fileError(error, cacheDir, 'write', 'circuit cache');
  } finally {
    if (build) await rm(build, { recursive: true, force: true });
  }
  const compiled = await openCompiled(home);
  if (!compiled)
    throw new VouchError('internal', `circuit cache: ${home} does not hold what was just compiled`);
  return { ...compiled, cached: false };
}

async function openCompiled(home: string): Promise<Omit<CompiledCircuit, 'cached'> | undefined> {
  const r1csPath = join(home, 'main.r1cs');
  try {
    return { r1csPath, wasmPath: join(home, 'main.wasm'), constraints: await countConstraints(r1csPath) };
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw error;
  }
}

/**
 * The number of constraints in an .r1cs file's header (iden3 binary format: `r1cs`, version, sections; the
 * header is section 1 and ends with this number).
 */
async function countConstraints(path: string): Promise<number> {
  const file = await open(path);
  try {
    const { size } = await file.stat();
    const head = Buffer.alloc(12);
    await file.read(head, 0, 12, 0);
    if (head.toString('latin1', 0, 4) !== 'r1cs')
      throw new VouchError('bad-file', `${path}: not an .r1cs file; delete its folder to compile it again`);
    for (let at = 12; at + 12 <= size; ) {
      const section = Buffer.alloc(12);
      await file.read(section, 0, 12, at);
      const length = Number(section.readBigUInt64LE(4));
      if (section.readUInt32LE(0) === 1) {
        const count = Buffer.alloc(4);
        await file.read(count, 0, 4, at + 12 + length - 4);
        return count.readUInt32LE(0);
      }
      at += 12 + length;
    }
    throw new VouchError('bad-file', `${path}: truncated; delete its folder to compile it again`);
  } finally {
    await file.close();
  }
}

/** Sets the limit on data, in KiB, where the system knows it, and becomes the command. */
const LIMITED = 'ulimit -d "$0" 2>/dev/null; exec "$@"';

/** Runs circom on main.circom in `cwd`. */
async function runCompiler(
  cwd: string,
  { millis, mebibytes }: CompilerLimits,
  signal: AbortSignal | undefined,
): Promise<void> {
  const compiler = [require.resolve('circom2/cli.js'), 'main.circom', '--r1cs', '--wasm', ...OPTIONS];
  const late = AbortSignal.timeout(millis);
  // The environment is not the compiler's business.
  const child = spawn('/bin/sh', ['-c', LIMITED, String(mebibytes * 1024), process.execPath, ...compiler], {
    cwd,
    env: {},
    stdio: ['ignore', 'pipe', 'pipe'],
    signal: signal ? AbortSignal.any([signal, late]) : late,
    killSignal: 'SIGKILL',
  });
  let output = '';
  const keep = (chunk: Buffer): void => {
    output = (output + chunk.toString()).slice(-MAX_OUTPUT);
  };
  child.stdout.on('data', keep);
  child.stderr.on('data', keep);
  const code = await new Promise<number | null>((resolve, reject) => {
    child.once('error', reject);
    child.once('close', resolve);
  }).catch((error: Error) => {
    if (signal?.aborted) throw new VouchError('cancelled', 'compiling the circuit was cancelled');
    if (late.aborted) throw tooLarge(`longer than ${millis / 1000} s`);
    throw error;
  });
  // biome-ignore lint/suspicious/noControlCharactersInRegex: these are the compiler's colours
  const text = output.replace(/\u001b\[[0-9;]*m/g, '').trim();
  // The compiler ends with a code of its own when it refuses; a trap or a signal is memory that it did not get.
  if (code === null || (code !== 0 && OUT_OF_MEMORY.test(text))) throw tooLarge(`more than ${mebibytes} MiB`);
  if (code !== 0)
    throw new VouchError('bad-input', `circom refused the circuit (exit ${code}): ${text.slice(-800)}`);
}

const OUT_OF_MEMORY = /out of memory|memory allocation of|RuntimeError: unreachable|RangeError: WebAssembly/;
const tooLarge = (took: string): VouchError =>
  new VouchError('too-large', `the circuit is too large: compiling it took ${took}; ask about fewer rows`);
