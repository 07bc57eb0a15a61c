/**
 * Makes a checkout runnable: installs the packages of package-lock.json when node_modules lacks any of them, and
 * where the machine's Node is too old to run TypeScript one that npm has (runtime/node, a project of its own: as a
 * dependency it would take the place of the Node of whoever depends on us). npm calls it before every script; it is plain JavaScript because
 * it may run on the machine's own Node (18 or later) before ours has been fetched.
 *
 * Prints to stderr only, and nothing when there is nothing to do. Exit code 2 with one sentence when it cannot.
 * It does not protect two first runs in the same checkout from each other.
 */
import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, realpathSync, rmSync, symlinkSync } from 'node:fs';
import { dirname, join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';

const ROOT = fileURLToPath(new URL('..', import.meta.url));
/** The project whose only dependency is Node. */
const NODE_PROJECT = fileURLToPath(new URL('node', import.meta.url));
const BUNDLED_NODE = join(ROOT, 'node_modules', '.bin', 'node');
const NODE_MAJOR = 24;

/** Why npm failed, as far as it says so: the codes that mean "no connection". */
const UNREACHABLE =
  /\b(ENOTFOUND|EAI_AGAIN|ECONNREFUSED|ECONNRESET|ETIMEDOUT|ENETUNREACH|EHOSTUNREACH|ERR_SOCKET_TIMEOUT)\b/;

/** Installs what is missing; ends the process with exit code 2 when it cannot. */
export function bootstrap() {
  installMissing(ROOT);
  // npm removes the link with the packages that it replaces, also from under the Node that it leads to.
  const stays = !process.execPath.startsWith(ROOT) || existsSync(BUNDLED_NODE);
  if ((isNew(process.versions.node) && stays) || runs(BUNDLED_NODE)) return;
  if (existsSync(NODE_PROJECT)) linkNode(installMissing(NODE_PROJECT));
  if (runs(BUNDLED_NODE)) return;
  fail(
    `this needs Node ${NODE_MAJOR} or later; npm has none that runs on ${process.platform} ${process.arch} here, ` +
      `and yours is ${process.versions.node}. Install Node ${NODE_MAJOR} (https://nodejs.org) and run this again.`,
  );
}

const isNew = (version) => Number.parseInt(version, 10) >= NODE_MAJOR;

/** Whether there is a Node at this path that starts here and is new enough. */
function runs(node) {
  if (!existsSync(node)) return false;
  const { status, stdout } = spawnSync(node, ['--version'], { encoding: 'utf8' });
  return status === 0 && isNew(stdout.replace(/^v/, ''));
}

/** Installs the packages of a project's package-lock.json unless they are there, and returns them. */
function installMissing(project) {
  const wanted = packagesIn(join(project, 'package-lock.json'));
  if (!wanted) {
    const name = relative(ROOT, join(project, 'package-lock.json'));
    fail(`${name} is missing or damaged; restore it with \`git checkout ${name}\`.`);
  }
  const missing = firstMissing(project, wanted);
  if (missing) install(project, missing);
  return wanted;
}

/**
 * The first package that node_modules doesn't hold in the wanted version, or undefined. npm's own record of what
 * it installed (node_modules/.package-lock.json) is written last, so a broken-off install has none.
 */
function firstMissing(project, wanted) {
  const installed = packagesIn(join(project, 'node_modules', '.package-lock.json')) ?? {};
  for (const [path, entry] of Object.entries(wanted)) {
    if (path === '' || !fitsThisMachine(entry)) continue;
    const found = installed[path];
    const same = found?.version === entry.version && found?.integrity === entry.integrity;
    if (!same || !existsSync(join(project, path, 'package.json'))) return path.replace(/^node_modules\//, '');
  }
  return undefined;
}

/**
 * Puts the Node that came as a package at node_modules/.bin/node, first on the PATH of every npm script. One that doesn't
 * run here (they are built for glibc) must not stay in the way of the machine's own.
 */
function linkNode(wanted) {
  rmSync(BUNDLED_NODE, { force: true });
  for (const [path, entry] of Object.entries(wanted)) {
    if (!entry.bin?.node || !fitsThisMachine(entry)) continue;
    const program = join(NODE_PROJECT, path, entry.bin.node);
    if (!runs(program)) continue;
    mkdirSync(dirname(BUNDLED_NODE), { recursive: true });
    symlinkSync(relative(dirname(BUNDLED_NODE), program), BUNDLED_NODE);
    return;
  }
}

function packagesIn(file) {
  try {
    return JSON.parse(readFileSync(file, 'utf8')).packages;
  } catch {
    return undefined;
  }
}

/** Optional packages carry binaries for one platform each; npm leaves the others out. */
function fitsThisMachine({ optional, os, cpu, libc }) {
  if (!optional) return true;
  return !libc && allows(os, process.platform) && allows(cpu, process.arch);
}

function allows(list, value) {
  const rules = [list ?? []].flat();
  if (rules.includes(`!${value}`)) return false;
  return rules.includes(value) || rules.every((rule) => rule.startsWith('!'));
}

function install(project, missing) {
  const started = Date.now();
  console.error(`vouch: installing packages (${missing} is missing); this takes a minute the first time`);
  const options = [
    'ci',
    // None of our packages needs its install script on Linux or macOS.
    '--ignore-scripts',
    '--include=dev',
    '--include=optional',
    '--prefer-offline',
    '--no-audit',
    '--no-fund',
    '--loglevel=error',
    '--logs-max=10',
    '--fetch-retries=1',
    '--fetch-retry-mintimeout=1000',
  ];
  const { npm_execpath: npm, npm_node_execpath: node } = process.env;
  const [command, prefix] = npm?.endsWith('npm-cli.js') && node ? [node, [npm]] : ['npm', []];
  const result = spawnSync(command, [...prefix, ...options], {
    cwd: project,
    encoding: 'utf8',
    maxBuffer: 1 << 26,
  });
  if (result.error?.code === 'ENOENT')
    fail('npm is not on the PATH; install npm 10 or later and run this again.');
  if (result.signal) fail(`the installation of packages was stopped by ${result.signal}; run this again.`);
  if (result.status !== 0) {
    const said = `${result.stdout}${result.stderr}`.trim();
    const log = said + debugLog(said);
    const [code] = UNREACHABLE.exec(log) ?? [];
    if (!code)
      fail(`npm could not install the packages of package-lock.json. npm said:\n${said.slice(0, 2000)}`);
    const registry = /request to (https?:\/\/[^\s/]+)/.exec(log)?.[1] ?? 'its registry';
    fail(
      `npm could not reach ${registry} (${code}), and the package ${missing} is not installed yet. ` +
        'Check the connection and `npm config get registry`, then run this again.',
    );
  }
  console.error(`vouch: packages installed in ${((Date.now() - started) / 1000).toFixed(1)} s`);
}

/** npm 10 can end without saying why ("Exit handler never called!"); its log, which it names, knows. */
function debugLog(said) {
  try {
    return readFileSync(/complete log of this run can be found in: (.+)/.exec(said)[1], 'utf8');
  } catch {
    return '';
  }
}

function fail(sentence) {
  console.error(`vouch: ${sentence}`);
  process.exit(2);
}

if (process.argv[1] && realpathSync(process.argv[1]) === fileURLToPath(import.meta.url)) bootstrap();
