/**
 * A real nats-server with an authority of its own in a temporary folder, and connections to it. Everything is
 * taken down when the test ends.
 */

import { rmSync } from 'node:fs';
import { copyFile, mkdir, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { Role } from '../../../protocols/subjects.ts';
import { type Authority, ensureAuthority } from '../../../runtime/installation/authority.ts';
import type { Bus } from '../../../runtime/nats/bus.ts';
import { type BusOptions, connect } from '../../../runtime/nats/connect.ts';
import { provision } from '../../../runtime/nats/provision.ts';
import { type NatsServer, type NatsServerOptions, startNats } from '../../../runtime/nats/server.ts';
import type { TestContext } from '../../harness.ts';

/** The repository's own folder, so that a fetched server is fetched once. */
export const BIN_DIR = fileURLToPath(new URL('../../../.vouch/bin', import.meta.url));

export interface NatsFixture {
  readonly server: NatsServer;
  readonly stateDir: string;
  readonly authority: Authority;
  /** lines from the server and about it */
  readonly log: readonly string[];
  /** A connection with freshly minted credentials, closed when the test ends. */
  bus(role: Role, id: string, options?: Partial<BusOptions>): Promise<Bus>;
}

/** A folder that is gone after the test. */
export async function temporaryFolder(t: TestContext): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'vouch-test-'));
  t.defer(() => rm(folder, { recursive: true, force: true }));
  return folder;
}

let shared: Promise<{ folder: string; authority: Authority }> | undefined;

/** One authority for all servers of a test process: making its keys takes most of a second. */
async function sharedAuthority(stateDir: string): Promise<Authority> {
  shared ??= (async () => {
    const folder = await mkdtemp(join(tmpdir(), 'vouch-test-'));
    process.once('exit', () => rmSync(folder, { recursive: true, force: true }));
    return { folder, authority: await ensureAuthority(folder) };
  })();
  const { folder, authority } = await shared;
  await mkdir(join(stateDir, 'nats'), { recursive: true });
  await copyFile(join(folder, 'nats/authority.conf'), join(stateDir, 'nats/authority.conf'));
  return authority;
}

/** Starts a server; with `provisioned` (default) all streams are there. */
export async function startFixture(
  t: TestContext,
  options: Partial<NatsServerOptions> & { provisioned?: boolean } = {},
): Promise<NatsFixture> {
  const { provisioned = true, ...serverOptions } = options;
  const stateDir = serverOptions.stateDir ?? (await temporaryFolder(t));
  const authority = await sharedAuthority(stateDir);
  const log: string[] = [];
  const server = await startNats({
    binDir: BIN_DIR,
    port: 0,
    onLog: (line) => void log.push(line),
    ...serverOptions,
    stateDir,
  });
  t.defer(() => server.stop());
  const bus: NatsFixture['bus'] = async (role, id, busOptions = {}) => {
    const made = await connect({ url: server.url, creds: await authority.mintUser(role, id), ...busOptions });
    t.defer(() => made.close());
    return made;
  };
  if (provisioned) await provision(await bus('provisioner', 'test'));
  return { server, stateDir, authority, log, bus };
}

export const bytes = (text: string): Uint8Array => new TextEncoder().encode(text);
export const text = (data: Uint8Array): string => new TextDecoder().decode(data);
/** Looks until it is so. What bounds a hang is the time limit of the test. */
export async function until(condition: () => unknown | Promise<unknown>): Promise<void> {
  while (!(await condition())) await new Promise((done) => setTimeout(done, 20));
}

/** The code of the error that `work` ends with; fails when it succeeds. */
export async function codeOf(work: Promise<unknown>): Promise<string> {
  try {
    await work;
  } catch (error) {
    return (error as { code?: string }).code ?? String(error);
  }
  throw new Error('expected an error, there was none');
}
