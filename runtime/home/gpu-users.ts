/**
 * How a runner tells the workers on its GPU that an inference is under way, when they are other processes of the same host: by a
 * socket in a folder of the home, which carries one character at each change and nothing else. It is no message of NATS, because
 * others would learn from it when somebody asks something, to the millisecond, and it has to arrive sooner than a submit ends.
 *
 * Whoever may open the folder may listen, and may claim to be an inference for ever; what that can take from a worker is
 * bounded there (msm/webgpu/turns.ts). A process that is gone claims nothing any more.
 */
import { readdir, rm } from 'node:fs/promises';
import { connect, createServer, type Server, type Socket } from 'node:net';
import path from 'node:path';
import { messageOf, VouchError } from '../../protocols/errors.ts';
import { makeFolder } from './files.ts';
import { folder } from './home.ts';
import type { Log } from './log.ts';

/** What is said: an inference is under way, or none is. */
const BUSY = '1';
const IDLE = '0';
/** Of what was not read, after which a listener is no longer told. */
const MAX_UNREAD_BYTES = 1024;
/** How often the folder is looked at for runners that came. */
const LOOK_MS = 1_000;
/** Of a socket's path, on every system. */
const MAX_PATH_BYTES = 103;
const SUFFIX = '.sock';

/** Where it lies, unless somebody says so. */
export const turnsFolder = (): string => folder('turns');

/** An inference, from when it came until it is disposed. */
export interface Claim extends Disposable {
  /** It computes nothing for a while, because whoever asked for it does not read. */
  pause(): void;
  resume(): void;
}

export interface GpuClaims {
  claim(): Claim;
  close(): Promise<void>;
}

/** Nobody is told. */
export const UNSHARED: GpuClaims = { claim: () => claimOf(() => {}), close: async () => {} };

function claimOf(change: (by: 1 | -1) => void): Claim {
  let counted = false;
  let ended = false;
  const count = (now: boolean) => {
    if (ended || now === counted) return;
    counted = now;
    change(now ? 1 : -1);
  };
  count(true);
  return {
    pause: () => count(false),
    resume: () => count(true),
    [Symbol.dispose]() {
      count(false);
      ended = true;
    },
  };
}

/** Opens the socket of the runner `id`. Where that is not possible the log says so, and nobody is told. */
export async function tellGpuUse(id: string, log: Log, directory = turnsFolder()): Promise<GpuClaims> {
  const file = path.join(directory, `${id}.${process.pid}${SUFFIX}`);
  const listeners = new Set<Socket>();
  let claims = 0;
  const tell = (socket: Socket) => {
    if (socket.writableLength > MAX_UNREAD_BYTES) socket.destroy();
    else socket.write(claims > 0 ? BUSY : IDLE);
  };
  let server: Server;
  try {
    server = await listen(id, file, (socket) => {
      listeners.add(socket);
      socket.on('close', () => listeners.delete(socket));
      socket.on('error', () => {});
      // Whatever it says is not read.
      socket.pause();
      tell(socket);
    });
  } catch (error) {
    log(`workers on this GPU do not hear of inferences and do not make way for them: ${messageOf(error)}`);
    return UNSHARED;
  }
  const change = (by: 1 | -1) => {
    const before = claims > 0;
    claims += by;
    if (before !== claims > 0) for (const socket of listeners) tell(socket);
  };
  return {
    claim: () => claimOf(change),
    async close() {
      for (const socket of listeners) socket.destroy();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

async function listen(id: string, file: string, onListener: (socket: Socket) => void): Promise<Server> {
  if (Buffer.byteLength(file) > MAX_PATH_BYTES)
    throw new VouchError(
      'bad-input',
      `${file}: expected at most ${MAX_PATH_BYTES} bytes, which is what a socket's path may have; choose a shorter folder with --gpu-turns, here and for workers`,
    );
  const directory = path.dirname(file);
  await makeFolder(directory);
  // What a runner of this name that was killed has left.
  for (const name of await socketsIn(directory)) {
    const left = path.join(directory, name);
    if (name.startsWith(`${id}.`) && !(await answers(left))) await rm(left, { force: true });
  }
  const server = createServer(onListener);
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen(file, resolve);
  });
  server.on('error', () => {});
  return server.unref();
}

const socketsIn = async (directory: string): Promise<string[]> =>
  (await readdir(directory).catch((): string[] => [])).filter((name) => name.endsWith(SUFFIX));

const answers = (file: string): Promise<boolean> =>
  new Promise((resolve) => {
    const socket = connect(file);
    socket.on('error', () => resolve(false));
    socket.on('connect', () => {
      socket.destroy();
      resolve(true);
    });
  });

/** Whether a runner is there, and whether an inference is under way. */
export interface Others {
  readonly present: boolean;
  readonly busy: boolean;
}

/** Listens to all runners of the folder, also to those that come later. Resolves when those that are there were found. */
export async function hearGpuUse(
  hear: (others: Others) => void,
  directory = turnsFolder(),
): Promise<{ close(): void }> {
  const runners = new Map<string, { readonly socket: Socket; busy: boolean; present: boolean }>();
  const tell = () => {
    const all = [...runners.values()].filter(({ present }) => present);
    hear({ present: all.length > 0, busy: all.some(({ busy }) => busy) });
  };
  const listenTo = (name: string): Promise<void> =>
    new Promise((resolve) => {
      const socket = connect(path.join(directory, name)).unref();
      const runner = { socket, busy: false, present: false };
      runners.set(name, runner);
      socket.on('data', (said: Buffer) => {
        runner.present = true;
        runner.busy = said.at(-1) === BUSY.charCodeAt(0);
        tell();
        resolve();
      });
      socket.on('error', () => {});
      socket.on('close', () => {
        runners.delete(name);
        if (runner.present) tell();
        resolve();
      });
    });
  let closed = false;
  const look = async () => {
    const names = await socketsIn(directory);
    return closed ? [] : names.filter((name) => !runners.has(name)).map(listenTo);
  };
  // One that accepts and says nothing is not waited for.
  const { promise: patience, resolve } = Promise.withResolvers<void>();
  const impatient = setTimeout(resolve, LOOK_MS);
  await Promise.race([Promise.all(await look()), patience]);
  clearTimeout(impatient);
  const timer = setInterval(() => void look(), LOOK_MS).unref();
  return {
    close() {
      closed = true;
      clearInterval(timer);
      for (const { socket } of runners.values()) socket.destroy();
    },
  };
}
