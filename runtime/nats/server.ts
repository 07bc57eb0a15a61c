/**
 * The embedded nats-server: runs the program (server-program.ts) as a child with JetStream on a data folder of its own,
 * starts it again after a crash, and takes it down with us. What is not guaranteed: a server older than 2.10 cannot
 * sync before it acknowledges (`durable: false`), so an acknowledged message may be lost in a power cut.
 */
import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { readFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { join, resolve } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { messageOf, VouchError } from '../../protocols/errors.ts';
import { readNamed, removeFile, writeWhole } from '../home/files.ts';
import type { Log } from '../home/log.ts';
import { nearest, urlOf } from './address.ts';
import { findNatsServer } from './server-program.ts';
import { syncsAlways, weakness } from './server-version.ts';

const run = promisify(execFile);

const NATS_CONF = fileURLToPath(new URL('../../nats.conf', import.meta.url));
const USUAL_PORT = 4222;
const READY_MS = 60_000;
const STOP_MS = 10_000;
const MAX_RESTARTS = 5;
const RESTART_WINDOW_MS = 60_000;

export interface NatsServer {
  /** for this host */
  readonly url: string;
  readonly port: number;
  readonly version: string;
  /** for browsers, `ws://` or `wss://`; undefined where they are not served */
  readonly websocket: string | undefined;
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
  /** PEM; with it nobody is served without TLS */
  readonly tls?: { readonly certificate: string; readonly key: string } | undefined;
  /** Serves browsers as well, at this port (0: a free one), by TLS where the rest is. */
  readonly websocketPort?: number | undefined;
  /** Gets the server's warnings and errors, and what happens to it. */
  readonly onLog?: Log;
}

/**
 * Starts nats-server and waits until it accepts clients. Throws `nats-feature` (no program, or it refuses to
 * start, with its own last words) or `busy` (another Vouch runs on this folder).
 */
export async function startNats(options: NatsServerOptions): Promise<NatsServer> {
  const { stateDir, host = '127.0.0.1', tls, onLog = () => {} } = options;
  const program = await findNatsServer({ binDir: options.binDir ?? join(stateDir, 'bin'), onLog });
  const weak = weakness(program.version);
  if (weak !== undefined) onLog(weak);
  const durable = syncsAlways(program.version);
  const folder = join(resolve(stateDir), 'nats');
  const webPort =
    options.websocketPort === undefined ? undefined : await freeNear(options.websocketPort, host);
  const websocket = webPort === undefined ? undefined : { host, port: webPort };
  const conf = await writeServerConf(stateDir, { durable, tls, websocket });
  const pidFile = join(folder, 'nats-server.pid');
  await waitForPrevious(pidFile, conf);

  const wanted = options.port ?? USUAL_PORT;
  let port = await freeNear(wanted, host);
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

  return {
    url: urlOf(tls ? 'tls' : 'nats', nearest(host), port),
    port,
    websocket: webPort === undefined ? undefined : urlOf(tls ? 'wss' : 'ws', nearest(host), webPort),
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
      await removeFile(pidFile);
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

/**
 * Puts the repository's nats.conf into `<stateDir>/nats`, beside the pieces that it includes, and writes those about storage,
 * TLS and browsers. `ensureAuthority` writes the other one. Returns the file's path.
 */
export async function writeServerConf(
  stateDir: string,
  {
    durable,
    tls,
    websocket,
  }: {
    durable: boolean;
    tls: NatsServerOptions['tls'];
    websocket?: { readonly host: string; readonly port: number } | undefined;
  },
): Promise<string> {
  const folder = join(resolve(stateDir), 'nats');
  const conf = join(folder, 'nats.conf');
  await writeWhole(conf, readNamed(NATS_CONF, 'configuration'));
  const lines = [
    '# Written by Vouch at every start.',
    'jetstream {',
    `  store_dir: ${JSON.stringify(join(folder, 'data'))}`,
    ...(durable ? ['  sync_interval: always'] : []),
    '}',
  ];
  await writeWhole(join(folder, 'jetstream.conf'), `${lines.join('\n')}\n`);
  const files = { certificate: join(folder, 'tls-certificate.pem'), key: join(folder, 'tls-key.pem') };
  if (tls) for (const part of ['certificate', 'key'] as const) await writeWhole(files[part], tls[part]);
  const secured = [
    'tls {',
    `  cert_file: ${JSON.stringify(files.certificate)}`,
    `  key_file: ${JSON.stringify(files.key)}`,
    '}',
  ];
  await writeWhole(
    join(folder, 'tls.conf'),
    `${['# Written by Vouch at every start.', ...(tls ? secured : [])].join('\n')}\n`,
  );
  // Its own block of TLS: the outer one is not heard here. A page has no cookie that would let it in: it signs, as all do.
  const web = websocket && [
    'websocket {',
    `  host: ${JSON.stringify(websocket.host)}`,
    `  port: ${websocket.port}`,
    ...(tls ? secured.map((line) => `  ${line}`) : ['  no_tls: true']),
    '}',
  ];
  await writeWhole(
    join(folder, 'websocket.conf'),
    `${['# Written by Vouch at every start.', ...(web ?? [])].join('\n')}\n`,
  );
  return conf;
}

/**
 * A server that lost its parent gets a moment to end; two servers on one data folder would destroy it.
 * Throws `busy` when it stays.
 */
async function waitForPrevious(pidFile: string, conf: string): Promise<void> {
  const pid = await pidIn(pidFile);
  if (pid === undefined) return;
  for (let i = 0; i < 50; i++) {
    if (!(await commandOf(pid)).includes(conf)) return;
    await new Promise((done) => setTimeout(done, 100));
  }
  throw new VouchError(
    'busy',
    `${conf}: another Vouch runs on this folder (nats-server is process ${pid}); stop it first, or join it with --nats`,
  );
}

async function pidIn(file: string): Promise<number | undefined> {
  const pid = Number.parseInt(await readFile(file, 'utf8').catch(() => ''), 10);
  return Number.isSafeInteger(pid) && pid > 0 ? pid : undefined;
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

/** This port, or where it is in use, or 0, any free one. */
const freeNear = async (wanted: number, host: string): Promise<number> =>
  wanted > 0 && (await isFree(wanted, host)) ? wanted : freePort(host);

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
