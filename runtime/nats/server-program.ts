/**
 * Which nats-server to run: one that was named, one on the PATH, or one fetched.
 *
 * A fetched server is Debian's package, checked by apt against Debian's archive keys, unpacked without root and
 * without touching the system's package lists; or Homebrew's.
 */
import { execFile } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { constants } from 'node:fs';
import { access, chmod, mkdir, rename, rm, writeFile } from 'node:fs/promises';
import { delimiter, join, resolve } from 'node:path';
import { promisify } from 'node:util';
import { messageOf, VouchError } from '../../protocols/errors.ts';
import { makeFolder } from '../home/files.ts';
import type { Log } from '../home/log.ts';
import { atLeast, demandSound, OLDEST_LINE, SOUND, vulnerability } from './server-version.ts';

const run = promisify(execFile);

const OLDEST = '2.9.0';

export interface NatsProgram {
  readonly path: string;
  /** `major.minor.patch` */
  readonly version: string;
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
 * The nats-server to run: `$NATS_SERVER`, the first sound version among PATH and `binDir`, one fetched into
 * `binDir`, or, where a person allows that, another of these. Throws `nats-feature` when there is none.
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
    demandSound(program.version, `NATS_SERVER ${named}`, onLog);
    return program;
  }
  const ours = join(binDir, 'nats-server');
  const found: NatsProgram[] = [];
  for (const path of [await onPath('nats-server'), ours]) {
    const program = path === undefined ? undefined : await probe(path);
    if (program === undefined || !atLeast(program.version, OLDEST)) continue;
    if (vulnerability(program.version) === undefined) return program;
    found.push(program);
  }
  const reasons: string[] = [];
  for (const fetch of [fetchFromApt, fetchFromBrew]) {
    try {
      const path = await fetch(ours, found.length > 0, onLog);
      const program = path === undefined ? undefined : await probe(path);
      if (program === undefined || !atLeast(program.version, OLDEST)) continue;
      if (vulnerability(program.version) === undefined) return program;
      found.push(program);
    } catch (error) {
      reasons.push(messageOf(error).trim().split('\n').at(-1)!);
    }
  }
  if (found[0] !== undefined) {
    demandSound(found[0].version, found[0].path, onLog);
    return found[0];
  }
  throw new VouchError(
    'nats-feature',
    `no nats-server found or fetched${reasons.length > 0 ? ` (${reasons.join('; ')})` : ''}: install version ${SOUND[OLDEST_LINE]} or newer from https://github.com/nats-io/nats-server/releases, or set NATS_SERVER to the program, or use a running server with --nats URL`,
  );
}

const DEBIAN_SUITE = 'trixie';
const DEBIAN_KEYRING = 'usr/share/keyrings/debian-archive-keyring.gpg';

/**
 * Debian's package with apt lists of our own: first the suite that has a sound version, then whatever this
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
  await makeFolder(work);
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
      await makeFolder(join(folder, 'lists/partial'));
      await makeFolder(join(folder, 'cache/archives/partial'));
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
