#!/usr/bin/env node
/**
 * The `vouch` command: runs the CLI on a Node that can, whichever Node started this file. In a clone the CLI is
 * TypeScript and missing packages are installed first; in an installed package it is the JavaScript of dist/.
 */
import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { constants } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';

const ROOT = fileURLToPath(new URL('..', import.meta.url));
const SOURCE = join(ROOT, 'runtime', 'commands', 'cli.ts');
const NODE_MAJOR = 24;

const inClone = existsSync(SOURCE);
const cli = inClone ? SOURCE : join(ROOT, 'dist', 'runtime', 'commands', 'cli.js');
if (inClone) (await import('./bootstrap.mjs')).bootstrap();

if (Number.parseInt(process.versions.node, 10) >= NODE_MAJOR) {
  process.argv[1] = cli;
  await import(pathToFileURL(cli).href);
} else {
  runOn(installedNode());
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
  // A terminal sends Ctrl-C to the child as well; passing it on would make it two.
  process.on('SIGINT', () => process.stdin.isTTY || child.kill('SIGINT'));
  for (const signal of ['SIGTERM', 'SIGHUP']) process.on(signal, () => child.kill(signal));
  child.on('error', (error) => {
    console.error(`vouch: ${node} does not start: ${error.message}`);
    process.exit(2);
  });
  child.on('exit', (code, signal) => process.exit(signal ? 128 + constants.signals[signal] : code));
}
