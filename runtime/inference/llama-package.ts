/**
 * Fetches llama.cpp for Node, the package node-llama-cpp with its own prebuilt library, when a language model is first served.
 * It is no dependency of ours: nobody else needs its 85 MB. Versions and digests are those of llama/package-lock.json; no install script is
 * run, nothing is compiled, and nothing but npm's registry is asked.
 *
 * npm compares what it fetches with those digests once. Later nobody does: what is loaded is digested when it is loaded, and
 * that digest is the `build` that receipts name.
 */
import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync } from 'node:fs';
import { readdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { pathToFileURL } from 'node:url';
import { VouchError } from '../../protocols/errors.ts';
import { makeFolder } from '../home/files.ts';
import { folder } from '../home/home.ts';
import type { Log } from '../home/log.ts';
import type { JinjaModule, LlamaModule } from './llama-binding.ts';

export const LLAMA_VERSION = '3.21.1';
export type LlamaBuild = 'cpu' | 'cuda' | 'vulkan';

/** The packages with the library, by platform and build. */
const LIBRARIES: Readonly<Record<string, Partial<Record<LlamaBuild, readonly string[]>>>> = {
  'linux-x64': {
    cpu: ['linux-x64'],
    cuda: ['linux-x64', 'linux-x64-cuda', 'linux-x64-cuda-ext'],
    vulkan: ['linux-x64', 'linux-x64-vulkan'],
  },
  'linux-arm64': { cpu: ['linux-arm64'] },
  'darwin-arm64': { cpu: ['mac-arm64-metal'] },
  'darwin-x64': { cpu: ['mac-x64'] },
};
const LOCK = path.join(import.meta.dirname, 'llama', 'package-lock.json');

export interface LlamaPackage {
  readonly llama: LlamaModule;
  readonly jinja: JinjaModule;
  /** SHA-256 over the names and contents of the library's files, 16 hex digits of it */
  readonly digest: string;
}

export interface LlamaPlace {
  readonly build?: LlamaBuild;
  /** where it is installed; default: the home's cache */
  readonly folder?: string | undefined;
}

/** Installs it unless it is there. Throws `not-ready` where npm or this platform does not give it. */
export async function obtainLlama(
  say: Log,
  { build = 'cpu', folder: place = folder('cache', `llama-${LLAMA_VERSION}-${build}`) }: LlamaPlace = {},
): Promise<LlamaPackage> {
  const libraries = LIBRARIES[`${process.platform}-${process.arch}`]?.[build];
  if (!libraries)
    throw new VouchError(
      'not-ready',
      `llama.cpp: there is no ${build} build of it for ${process.platform} ${process.arch}; use --upstream with a server of your own`,
    );
  if (!existsSync(path.join(place, 'node_modules', 'node-llama-cpp', 'package.json')))
    await install(place, libraries, build, say);
  const modules = path.join(place, 'node_modules');
  const load = (entry: string) => import(pathToFileURL(path.join(modules, entry)).href);
  return {
    llama: await load('node-llama-cpp/dist/index.js'),
    jinja: await load('@huggingface/jinja/dist/index.js'),
    digest: await digestOf(
      libraries.map((name) => path.join(modules, '@node-llama-cpp', name)),
      modules,
    ),
  };
}

/** Under a temporary name first, so that a broken-off installation is none. */
async function install(
  place: string,
  libraries: readonly string[],
  build: LlamaBuild,
  say: Log,
): Promise<void> {
  const size =
    build === 'cpu' ? 'about 20 MB, 85 MB on disk' : `its ${build} build, more than 100 MB on disk`;
  say(`llama.cpp (node-llama-cpp ${LLAMA_VERSION}) is fetched from npm, once: ${size}`);
  const temporary = `${place}.${process.pid}.tmp`;
  try {
    await makeFolder(temporary);
    // Of the many libraries that are optional there, the one of this machine is asked for.
    const lock = JSON.parse(await readFile(LOCK, 'utf8'));
    for (const name of libraries) {
      lock.packages[''].dependencies[`@node-llama-cpp/${name}`] = LLAMA_VERSION;
      delete lock.packages[`node_modules/@node-llama-cpp/${name}`].optional;
    }
    const { name, version, dependencies } = lock.packages[''];
    await writeFile(path.join(temporary, 'package-lock.json'), JSON.stringify(lock));
    await writeFile(
      path.join(temporary, 'package.json'),
      JSON.stringify({ name, version, private: true, dependencies }),
    );
    await npm(temporary);
    await rename(temporary, place).catch((error: unknown) => {
      // Another process was faster.
      if (!existsSync(place)) throw error;
    });
  } finally {
    await rm(temporary, { recursive: true, force: true });
  }
}

const NPM_OPTIONS = [
  'ci',
  '--ignore-scripts',
  '--omit=optional',
  '--legacy-peer-deps',
  '--prefer-offline',
  '--no-audit',
  '--no-fund',
  '--loglevel=error',
  '--fetch-retries=1',
];

async function npm(directory: string): Promise<void> {
  const { npm_execpath: own, npm_node_execpath: node } = process.env;
  const [command, prefix] = own?.endsWith('npm-cli.js') && node ? [node, [own]] : ['npm', []];
  const child = spawn(command, [...prefix, ...NPM_OPTIONS], {
    cwd: directory,
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let said = '';
  for (const stream of [child.stdout, child.stderr])
    stream.on('data', (text) => {
      said = (said + text).slice(-2000);
    });
  const status = await new Promise<number | string | null>((resolve) => {
    child.on('error', ({ message }) => resolve(message));
    child.on('close', resolve);
  });
  if (status !== 0)
    throw new VouchError(
      'not-ready',
      `llama.cpp could not be installed: npm ended with ${status}: ${said.trim() || 'it said nothing'}; check the connection and try again`,
    );
}

async function digestOf(folders: readonly string[], base: string): Promise<string> {
  const hash = createHash('sha256');
  for (const directory of folders) {
    const entries = await readdir(directory, { recursive: true, withFileTypes: true });
    const files = entries
      .filter((entry) => entry.isFile() && /\.(node|so|dylib)(\.|$)/.test(entry.name))
      .map((entry) => path.join(entry.parentPath, entry.name))
      .sort();
    for (const file of files)
      hash.update(`${path.relative(base, file)}\0`).update(
        createHash('sha256')
          .update(await readFile(file))
          .digest(),
      );
  }
  return hash.digest('hex').slice(0, 16);
}
