#!/usr/bin/env node
/**
 * The `vouch` command: runs the CLI on a Node that can, whichever Node started this file. In a clone the CLI is
 * TypeScript and missing packages are installed first; in an installed package it is the JavaScript of dist/.
 */
import { spawn, spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import nodeModule from 'node:module';
import { constants } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { setFlagsFromString } from 'node:v8';

const ROOT = fileURLToPath(new URL('..', import.meta.url));
const SOURCE = join(ROOT, 'runtime', 'commands', 'cli.ts');
const NODE_MAJOR = 24;
const COMPILE_MS = 20_000;

const inClone = existsSync(SOURCE);
const isNew = Number.parseInt(process.versions.node, 10) >= NODE_MAJOR;
const proves = isProving(process.argv.slice(2));
const CACHE = join(process.env.VOUCH_HOME ?? join(ROOT, '.vouch'), 'cache');

const compiled = isNew && proves ? await compiledCommands() : undefined;
const cli = compiled ?? (inClone ? SOURCE : join(ROOT, 'dist', 'runtime', 'commands', 'cli.js'));
if (inClone && !compiled) (await import('./bootstrap.mjs')).bootstrap();
if (proves) {
  keepCompiled();
  if (isNew && !(inClone && compiled)) await fuseVectors();
}
if (isNew) {
  process.argv[1] = cli;
  await import(pathToFileURL(cli).href);
} else {
  runOn(installedNode());
}

/** snarkjs's twins: short commands that decide nothing about evidence. */
function isProving(words) {
  const name = words.find((word) => !word.startsWith('-')) ?? '';
  return /^(groth16|zkey|wtns|r1cs|g16[pfiv]|zpw|zk(v|vr|ev|esv|esc)|wc|wchk|ri)$/.test(name);
}

/** Faster vectors, where they were found to be right here (prove/fused-vectors.ts). */
async function fuseVectors() {
  const own = inClone
    ? ['runtime', 'prove', 'fused-vectors.ts']
    : ['dist', 'runtime', 'prove', 'fused-vectors.js'];
  (await import(pathToFileURL(join(ROOT, ...own)).href)).fuseVectors();
}

/** The proving commands in one file (compiled-commands.mjs); undefined where they run from their own. */
async function compiledCommands() {
  if (!inClone) {
    const program = join(ROOT, 'dist', 'runtime', 'compiled', 'cli.js');
    return existsSync(program) ? program : undefined;
  }
  const folder = join(CACHE, 'commands');
  const found = (await import('./compiled-commands.mjs')).findCompiled(folder);
  // Before compiled code is looked for: V8 keeps it apart by flags.
  for (const flag of found?.flags ?? []) setFlagsFromString(flag);
  if (!found) {
    process.on('exit', (code) => {
      // Where nothing can be kept they would be made in vain each time.
      if (code !== 0 || !nodeModule.getCompileCacheDir?.()) return;
      const program = join(ROOT, 'runtime', 'compiled-commands.mjs');
      spawnSync(process.execPath, [program, folder], { stdio: 'ignore', timeout: COMPILE_MS });
    });
  }
  return found?.program;
}

/**
 * Keeps V8's compiled code, of TypeScript too, for the next time: a fifth of a short proof. Where it cannot be written
 * nothing is lost. Whoever can write it can run code here, as with all of `.vouch`; roles, whose code evidence may name,
 * do without.
 */
function keepCompiled() {
  // Threads read it from the environment.
  process.env.NODE_COMPILE_CACHE ??= join(CACHE, 'compiled');
  nodeModule.enableCompileCache?.(process.env.NODE_COMPILE_CACHE);
}

/** The Node that npm installed beside us; as a dependency of someone else's package it lies further up. */
function installedNode() {
  for (let folder = ROOT; ; folder = dirname(folder)) {
    const node = join(folder, 'node_modules', '.bin', 'node');
    if (existsSync(node)) return node;
    if (folder === dirname(folder)) break;
  }
  console.error(
    `vouch: this needs Node ${NODE_MAJOR} or later, yours is ${process.versions.node}. Install it from https://nodejs.org`,
  );
  process.exit(2);
}

function runOn(node) {
  const child = spawn(node, [cli, ...process.argv.slice(2)], { stdio: 'inherit' });
  // A terminal tells the child as well, which takes what comes at once for the same Ctrl-C.
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) process.on(signal, () => child.kill(signal));
  child.on('error', (error) => {
    console.error(`vouch: ${node} does not start: ${error.message}`);
    process.exit(2);
  });
  child.on('exit', (code, signal) => process.exit(signal ? 128 + constants.signals[signal] : code));
}
