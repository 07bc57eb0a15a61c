/** What `npm pack` would ship, unpacked in a foreign project with what npm installs beside it. Nothing is fetched. */
import { execFileSync } from 'node:child_process';
import { cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { setup } from '../../circuits/groth16/setup.ts';
import { writeWitness } from '../../circuits/groth16/witness.ts';
import { createPool } from '../../runtime/msm/threads/pool.ts';
import { randomCircuit } from '../circuits/groth16-circuit.ts';
import { projectFiles, ROOT } from './sources.ts';

export const MODULES = join(ROOT, 'node_modules');

/** Folders of packages by name: those that the package asks for, and those that these ask for. */
export function installedPackages(names: readonly string[]): string[] {
  const found = new Set(names);
  for (const name of found) {
    const { dependencies = {} } = JSON.parse(readFileSync(join(MODULES, name, 'package.json'), 'utf8'));
    for (const needed of Object.keys(dependencies)) found.add(needed);
  }
  return [...found];
}

export interface Consumer {
  /** The foreign project's folder; `vouch` is in its node_modules, with its dependencies. */
  readonly folder: string;
  /** A folder whose node_modules have nothing but `vouch`. */
  readonly alone: string;
  /** A last test's, because thousands of files take longer than a process has to end. */
  remove(): Promise<void>;
}

/** Removed when the process ends, if not before. */
export function installPacked(): Consumer {
  const root = mkdtempSync(join(tmpdir(), 'vouch-package-'));
  process.on('exit', () => rmSync(root, { recursive: true, force: true }));
  const source = join(root, 'vouch');
  for (const path of projectFiles()) {
    mkdirSync(join(source, dirname(path)), { recursive: true });
    cpSync(join(ROOT, path), join(source, path));
  }
  symlinkSync(MODULES, join(source, 'node_modules'));
  execFileSync(process.execPath, [join(source, 'runtime/pack.mjs')], { stdio: 'pipe' });
  const tarball = execFileSync('npm', ['pack', '--ignore-scripts', '--pack-destination', root], {
    cwd: source,
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'pipe'],
  }).trim();
  const unpack = (name: string): string => {
    const target = join(root, name, 'node_modules/vouch');
    mkdirSync(target, { recursive: true });
    execFileSync('tar', ['-xzf', join(root, tarball), '-C', target, '--strip-components=1']);
    writeFileSync(join(root, name, 'package.json'), '{"type":"module"}');
    return join(root, name);
  };
  const folder = unpack('consumer');
  const { dependencies } = JSON.parse(readFileSync(join(source, 'package.json'), 'utf8'));
  for (const name of installedPackages(Object.keys(dependencies))) {
    mkdirSync(dirname(join(folder, 'node_modules', name)), { recursive: true });
    symlinkSync(join(MODULES, name), join(folder, 'node_modules', name));
  }
  return { folder, alone: unpack('alone'), remove: () => rm(root, { recursive: true, force: true }) };
}

/** Puts a key, its verification key and a witness into folders: a.zkey, vk.json, a.wtns. */
export async function writeKey(...folders: string[]): Promise<void> {
  const { r1cs, witness } = randomCircuit({ constraints: 12 });
  await using pool = await createPool({ threads: 1 });
  const { zkey, verificationKey } = await setup(r1cs, { field: pool, points: pool });
  for (const folder of folders) {
    writeFileSync(join(folder, 'a.zkey'), zkey);
    writeFileSync(join(folder, 'a.wtns'), writeWitness(witness));
    writeFileSync(join(folder, 'vk.json'), JSON.stringify(verificationKey));
  }
}
