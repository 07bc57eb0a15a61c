/**
 * The embedded nats-server: finds or fetches the program, runs it as a child with JetStream on a data folder of
 * its own, starts it again after a crash, and takes it down with us.
 *
 * A fetched server is Debian's package, checked by apt against Debian's archive keys, unpacked without root
 * and without touching the system's package lists. What is not guaranteed: a server older than 2.10 cannot
 * sync before it acknowledges (`durable: false`), so an acknowledged message may be lost in a power cut.
 */
import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { constants } from 'node:fs';
import { access, chmod, copyFile, mkdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { delimiter, join, resolve } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { messageOf, VouchError } from '../../protocols/errors.ts';

const run = promisify(execFile);

/** nats-server 2.10.20 to 2.10.22 could lose streams (Jepsen, NATS 2.12.1); 2.9 has no `sync_interval: always`. */
const PREFERRED = '2.10.23';
const SYNCS_ALWAYS = '2.10.0';
const OLDEST = '2.9.0';

const NATS_CONF = fileURLToPath(new URL('../../nats.conf', import.meta.url));
const USUAL_PORT = 4222;
const READY_MS = 60_000;
const STOP_MS = 10_000;
const MAX_RESTARTS = 5;
const RESTART_WINDOW_MS = 60_000;

export type Log = (line: string) => void;

export interface NatsProgram {
  readonly path: string;
  /** `major.minor.patch` */
  readonly version: string;
}

/** True when `version` (`major.minor.patch`, a suffix is ignored) is not older than `least`. */
export function atLeast(version: string, least: string): boolean {
  const parse = (text: string) => text.split('-')[0]!.split('.').map(Number);
  const [have, want] = [parse(version), parse(least)];
  for (let i = 0; i < 3; i++) {
    const difference = (have[i] ?? 0) - (want[i] ?? 0);
    if (difference !== 0) return difference > 0;
  }
  return true;
}

/** What a server of this version cannot do, as a sentence; undefined when nothing is missing. */
export function weakness(version: string): string | undefined {
  if (!atLeast(version, SYNCS_ALWAYS)) {
    return `nats-server ${version} is older than ${SYNCS_ALWAYS} and cannot sync before it acknowledges: a proof or receipt acknowledged within the last two minutes before a power cut may be lost`;
  }
  if (!atLeast(version, PREFERRED)) {
    return `nats-server ${version} is older than ${PREFERRED}: versions 2.10.20 to 2.10.22 are known to lose streams after a crash`;
  }
  return undefined;
}

async function probe(path: string): Promise<NatsProgram | undefined> {
  try {
    await access(path, constants.X_OK);
    const { stdout, stderr } = await run(path, ['--version'], { timeout: 10_000 });
    const version = /v(\d+\.\d+\.\d+)/.exec(stdout + stderr)?.[1];
    return version === undefined ? undefined : { path, version };
  } catch {
    return undefined;
  }
}

async function onPath(program: string): Promise<string | undefined> {
  // Debian installs nats-server into /usr/sbin, which is not on every user's PATH.
  const folders = [...(process.env.PATH ?? '').split(delimiter), '/usr/sbin', '/usr/local/sbin'];
  for (const folder of folders) {
    if (folder === '') continue;
    const path = join(folder, program);
    if (
      await access(path, constants.X_OK).then(
        () => true,
        () => false,
      )
    )
      return path;
  }
  return undefined;
}

/**
 * The nats-server to run: `$NATS_SERVER`, the first preferred version among PATH and `binDir`, one fetched into
 * `binDir`, or an older one of the former. Throws `nats-feature` when there is none and none can be fetched.
 */
export async function findNatsServer(options: { binDir: string; onLog?: Log }): Promise<NatsProgram> {
  const { binDir, onLog = () => {} } = options;
  const named = process.env.NATS_SERVER;
  if (named !== undefined && named !== '') {
    const program = await probe(resolve(named));
    if (program === undefined) {
      throw new VouchError(
        'nats-feature',
        `NATS_SERVER: expected a nats-server program, ${named} is none; unset it or correct it`,
      );
    }
    return program;
  }
  const ours = join(binDir, 'nats-server');
  const found: NatsProgram[] = [];
  for (const path of [await onPath('nats-server'), ours]) {
    const program = path === undefined ? undefined : await probe(path);
    if (program === undefined || !atLeast(program.version, OLDEST)) continue;
    if (atLeast(program.version, PREFERRED)) return program;
    found.push(program);
  }
  const reasons: string[] = [];
  for (const fetch of [fetchFromApt, fetchFromBrew]) {
    try {
      const path = await fetch(ours, found.length > 0, onLog);
      const program = path === undefined ? undefined : await probe(path);
      if (program !== undefined && atLeast(program.version, OLDEST)) return program;
    } catch (error) {
      reasons.push(messageOf(error).trim().split('\n').at(-1)!);
    }
  }
  if (found[0] !== undefined) return found[0];
  throw new VouchError(
    'nats-feature',
    `no nats-server found or fetched${reasons.length > 0 ? ` (${reasons.join('; ')})` : ''}: install version ${PREFERRED} or newer from https://github.com/nats-io/nats-server/releases, or set NATS_SERVER to the program, or use a running server with --nats URL`,
  );
}

const DEBIAN_SUITE = 'trixie';
const DEBIAN_KEYRING = 'usr/share/keyrings/debian-archive-keyring.gpg';

/**
 * Debian's package with apt lists of our own: first the suite that has a preferred version, then whatever this
 * system's own sources have. Returns undefined where there is no apt.
 */
async function fetchFromApt(target: string, haveOlder: boolean, onLog: Log): Promise<string | undefined> {
  if (
    process.platform !== 'linux' ||
    (await onPath('apt-get')) === undefined ||
    (await onPath('dpkg')) === undefined
  ) {
    return undefined;
  }
  const work = `${target}.${randomBytes(4).toString('hex')}.tmp`;
  await mkdir(work, { recursive: true });
  try {
    await mkdir(join(work, 'system'));
    const system = aptIn(join(work, 'system'), []);
    let keyring = `/${DEBIAN_KEYRING}`;
    let keyringChecked = true;
    try {
      await access(keyring);
    } catch {
      // Ubuntu and others carry Debian's keys as a package that their own archive signs.
      keyringChecked = await system.unpack('debian-archive-keyring', work).then(
        () => true,
        () => false,
      );
      keyring = join(work, DEBIAN_KEYRING);
    }
    let failure: unknown;
    if (keyringChecked) {
      try {
        onLog(`fetching nats-server from Debian ${DEBIAN_SUITE} into ${target}`);
        const sources = join(work, 'debian.sources');
        await writeFile(
          sources,
          `Types: deb\nURIs: http://deb.debian.org/debian\nSuites: ${DEBIAN_SUITE}\nComponents: main\nSigned-By: ${keyring}\n`,
        );
        const folder = join(work, 'debian');
        await mkdir(folder);
        await aptIn(folder, [
          '-o',
          `Dir::Etc::sourcelist=${sources}`,
          '-o',
          'Dir::Etc::sourceparts=-',
        ]).unpack('nats-server', work);
      } catch (error) {
        failure = error;
      }
    }
    const unpacked = join(work, 'usr/sbin/nats-server');
    if ((await probe(unpacked)) === undefined) {
      if (haveOlder) throw failure ?? new Error('apt has no newer nats-server');
      onLog(`fetching nats-server from this system's package sources into ${target}`);
      await system.unpack('nats-server', work);
    }
    if ((await probe(unpacked)) === undefined)
      throw failure ?? new Error('the nats-server from apt does not run here');
    await chmod(unpacked, 0o755);
    await rename(unpacked, target);
    return target;
  } finally {
    await rm(work, { recursive: true, force: true });
  }
}

/** apt with lists and cache under `folder` only; signatures are checked as everywhere. */
function aptIn(folder: string, sourceOptions: string[]) {
  const options = [
    ...sourceOptions,
    '-o',
    `Dir::State::lists=${join(folder, 'lists')}`,
    '-o',
    `Dir::Cache=${join(folder, 'cache')}`,
    '-o',
    'Acquire::Languages=none',
    // As root, apt would otherwise complain that its sandbox user cannot enter this folder.
    '-o',
    'APT::Sandbox::User=root',
    '-o',
    'Acquire::http::Timeout=20',
    '-o',
    'Acquire::Retries=1',
    '-q',
  ];
  const quiet = { cwd: folder, timeout: 180_000, maxBuffer: 2 ** 24, env: { ...process.env, LC_ALL: 'C' } };
  return {
    async unpack(name: string, into: string): Promise<void> {
      await mkdir(join(folder, 'lists/partial'), { recursive: true });
      await mkdir(join(folder, 'cache/archives/partial'), { recursive: true });
      await run('apt-get', [...options, 'update'], quiet);
      await run('apt-get', [...options, 'download', name], quiet);
      const { stdout } = await run('find', ['.', '-maxdepth', '1', '-name', `${name}_*.deb`], quiet);
      const file = stdout.trim().split('\n')[0];
      if (file === undefined || file === '') throw new Error(`apt-get download ${name} left no package`);
      await run('dpkg', ['-x', file, into], quiet);
    },
  };
}

async function fetchFromBrew(_target: string, _haveOlder: boolean, onLog: Log): Promise<string | undefined> {
  if ((await onPath('brew')) === undefined) return undefined;
  onLog('installing nats-server with brew');
  await run('brew', ['install', 'nats-server'], { timeout: 600_000, maxBuffer: 2 ** 24 });
  const { stdout } = await run('brew', ['--prefix'], { timeout: 30_000 });
  return join(stdout.trim(), 'bin', 'nats-server');
}

export interface NatsServer {
  readonly url: string;
  readonly port: number;
  readonly version: string;
  /** process id of the running child; changes when it is started again */
  readonly pid: number;
  /** true when an acknowledged message in a file stream survives a power cut */
  readonly durable: boolean;
  /** SIGTERM, then SIGKILL after 10 s; resolves when the process is gone. */
  stop(): Promise<void>;
  /** Resolves when the server is gone for good: after `stop()` with undefined, else with the reason. */
  readonly exited: Promise<Error | undefined>;
}

export interface NatsServerOptions {
  /** `.vouch`: holds `nats/` (configuration and data) and, unless `binDir` is given, `bin/`. `ensureAuthority` ran on it. */
  readonly stateDir: string;
  readonly binDir?: string;
  /** Wanted port (default 4222); where it is in use, or 0, any free one. */
  readonly port?: number;
  /** Interface to listen on; loopback by default. */
  readonly host?: string;
  /** Gets the server's warnings and errors, and what happens to it. */
  readonly onLog?: Log;
}

/**
 * Starts nats-server and waits until it accepts clients. Throws `nats-feature` (no program, or it refuses to
 * start, with its own last words) or `busy` (another Vouch runs on this folder).
 */
export async function startNats(options: NatsServerOptions): Promise<NatsServer> {
  const { stateDir, host = '127.0.0.1', onLog = () => {} } = options;
  const program = await findNatsServer({ binDir: options.binDir ?? join(stateDir, 'bin'), onLog });
  const weak = weakness(program.version);
  if (weak !== undefined) onLog(weak);
  const durable = atLeast(program.version, SYNCS_ALWAYS);
  const folder = join(resolve(stateDir), 'nats');
  const conf = await writeConf(folder, durable);
  const pidFile = join(folder, 'nats-server.pid');
  await waitForPrevious(pidFile, conf);

  const wanted = options.port ?? USUAL_PORT;
  let port = wanted > 0 && (await isFree(wanted, host)) ? wanted : await freePort(host);
  const start = () =>
    launch(program.path, ['-c', conf, '-a', host, '-p', String(port), '-P', pidFile], onLog);
  let child: Child;
  try {
    child = await start();
  } catch (error) {
    // Somebody may have taken the port between our look and the server's.
    if (!/address already in use/.test(messageOf(error))) throw error;
    port = await freePort(host);
    child = await start();
  }

  let stopping = false;
  const exits: number[] = [];
  const exited = (async (): Promise<Error | undefined> => {
    for (;;) {
      const how = await child.exited;
      if (stopping) return undefined;
      const now = Date.now();
      exits.push(now);
      while (exits[0]! < now - RESTART_WINDOW_MS) exits.shift();
      if (exits.length > MAX_RESTARTS) {
        return new VouchError(
          'nats-unreachable',
          `nats-server ended ${exits.length} times within a minute, last ${how}; see the log lines before`,
        );
      }
      onLog(`nats-server ended (${how}); starting it again on port ${port}`);
      try {
        child = await start();
        if (stopping) child.kill('SIGTERM');
      } catch (error) {
        if (stopping) return undefined;
        onLog(messageOf(error));
        child = failedStart(250 * exits.length);
      }
    }
  })();

  const reachable = host === '0.0.0.0' || host === '::' ? '127.0.0.1' : host;
  return {
    url: `nats://${reachable.includes(':') ? `[${reachable}]` : reachable}:${port}`,
    port,
    version: program.version,
    durable,
    get pid() {
      return child.pid;
    },
    exited,
    async stop() {
      stopping = true;
      child.kill('SIGTERM');
      const timer = setTimeout(() => child.kill('SIGKILL'), STOP_MS);
      await exited;
      clearTimeout(timer);
      await rm(pidFile, { force: true });
    },
  };
}

interface Child {
  readonly pid: number;
  kill(signal: NodeJS.Signals): void;
  /** resolves with how it ended, in words */
  readonly exited: Promise<string>;
}

/** Stands in for a child that did not come up, so that the next attempt waits a little. */
function failedStart(delayMs: number): Child {
  return {
    pid: 0,
    kill: () => {},
    exited: new Promise((done) => setTimeout(() => done('could not start'), delayMs)),
  };
}

/** Spawns the server and resolves once it says that it is ready. */
async function launch(path: string, args: string[], onLog: Log): Promise<Child> {
  // A process group of its own: a Ctrl-C in the terminal must reach us first, so that actors can drain.
  const child = spawn(path, args, { stdio: ['ignore', 'ignore', 'pipe'], detached: true });
  const exited = new Promise<string>((done) => {
    child.once('error', (error) => done(error.message));
    child.once('exit', (code, signal) => done(signal ?? `exit code ${code}`));
  });
  if (child.pid === undefined) throw new VouchError('nats-feature', `nats-server ${path}: ${await exited}`);
  const guard = guardOf(child.pid);
  void exited.then(() => guard.kill('SIGKILL'));

  const lastWords: string[] = [];
  const ready = new Promise<void>((done) => {
    createInterface({ input: child.stderr! }).on('line', (line) => {
      lastWords.push(line);
      if (lastWords.length > 8) lastWords.shift();
      if (line.includes('Server is ready')) done();
      if (/\[(WRN|ERR|FTL)\]/.test(line)) onLog(line.replace(/^\[\d+\] \S+ \S+ /, 'nats-server '));
    });
  });
  const timer = setTimeout(() => child.kill('SIGKILL'), READY_MS);
  const failed = exited.then((how) => {
    throw new VouchError(
      'nats-feature',
      `nats-server ${path} did not start (${how}): ${lastWords.join(' | ')}`,
    );
  });
  try {
    await Promise.race([ready, failed]);
  } finally {
    clearTimeout(timer);
    failed.catch(() => {});
  }
  return { pid: child.pid, kill: (signal) => void child.kill(signal), exited };
}

/**
 * A shell that reads a pipe of ours and sends the server a SIGTERM when the pipe closes, which it does however
 * we end, SIGKILL included.
 */
function guardOf(pid: number): ChildProcess {
  const guard = spawn('/bin/sh', ['-c', 'read -r _; kill -TERM "$1"', 'sh', String(pid)], {
    stdio: ['pipe', 'ignore', 'ignore'],
    detached: true,
  });
  guard.on('error', () => {});
  guard.stdin!.on('error', () => {});
  guard.unref();
  (guard.stdin as unknown as { unref?(): void }).unref?.();
  return guard;
}

/** Puts the repository's nats.conf beside the pieces that it includes, and writes the one about storage. */
async function writeConf(folder: string, durable: boolean): Promise<string> {
  await mkdir(folder, { recursive: true, mode: 0o700 });
  const conf = join(folder, 'nats.conf');
  await copyFile(NATS_CONF, conf);
  const lines = [
    '# Written by Vouch at every start.',
    'jetstream {',
    `  store_dir: ${JSON.stringify(join(folder, 'data'))}`,
    ...(durable ? ['  sync_interval: always'] : []),
    '}',
  ];
  await writeFile(join(folder, 'jetstream.conf'), `${lines.join('\n')}\n`, { mode: 0o600 });
  return conf;
}

/**
 * A server that lost its parent gets a moment to end; two servers on one data folder would destroy it.
 * Throws `busy` when it stays.
 */
async function waitForPrevious(pidFile: string, conf: string): Promise<void> {
  const pid = Number.parseInt(await readFile(pidFile, 'utf8').catch(() => ''), 10);
  if (!Number.isSafeInteger(pid) || pid <= 0) return;
  for (let i = 0; i < 50; i++) {
    if (!(await commandOf(pid)).includes(conf)) return;
    await new Promise((done) => setTimeout(done, 100));
  }
  throw new VouchError(
    'busy',
    `${conf}: another Vouch runs on this folder (nats-server is process ${pid}); stop it first, or join it with --nats`,
  );
}

/** The command line of a process, empty when there is none. */
export async function commandOf(pid: number): Promise<string> {
  if (process.platform === 'linux') return readFile(`/proc/${pid}/cmdline`, 'utf8').catch(() => '');
  const { stdout } = await run('ps', ['-o', 'command=', '-ww', '-p', String(pid)]).catch(() => ({
    stdout: '',
  }));
  return stdout;
}

function isFree(port: number, host: string): Promise<boolean> {
  return listenOnce(port, host).then(
    () => true,
    () => false,
  );
}

const freePort = (host: string): Promise<number> => listenOnce(0, host);

function listenOnce(port: number, host: string): Promise<number> {
  return new Promise((done, fail) => {
    const server = createServer();
    server.once('error', fail);
    server.listen({ port, host, exclusive: true }, () => {
      const address = server.address();
      server.close(() => done(typeof address === 'object' && address !== null ? address.port : port));
    });
  });
}
