/**
 * An installation of a test's own: one home folder for a whole test process (keys, credentials, policies, stores), and
 * for each test a nats-server that trusts it, with roles in this process and in processes of their own.
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { copyFile, mkdir, readFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Role } from '../../../protocols/subjects.ts';
import { folder } from '../../../runtime/home/home.ts';
import { authority, credentials } from '../../../runtime/installation/credentials.ts';
import { writePolicies } from '../../../runtime/installation/policies.ts';
import type { Bus } from '../../../runtime/nats/bus.ts';
import { connect } from '../../../runtime/nats/connect.ts';
import { provision } from '../../../runtime/nats/provision.ts';
import { type NatsServer, startNats } from '../../../runtime/nats/server.ts';
import { brokerRole } from '../../../runtime/roles/broker.ts';
import { type RoleProcess, startProcess } from '../../../runtime/roles/child.ts';
import { type RunningRole, type StartRole, startRole } from '../../../runtime/roles/host.ts';
import type { TestContext } from '../../harness.ts';
import { BIN_DIR, temporaryFolder } from '../nats/nats-fixture.ts';

let home: string | undefined;
/** Keys, credentials, caches and logs of this test process; gone with it. */
export function useHome(): string {
  if (home) return home;
  const fresh = mkdtempSync(join(tmpdir(), 'vouch-home-'));
  home = fresh;
  process.env.VOUCH_HOME = fresh;
  process.env.NODE_ENV = 'test';
  process.once('exit', () => rmSync(fresh, { recursive: true, force: true }));
  return fresh;
}

let made: ReturnType<typeof writePolicies> | undefined;
/** The home's keys and policies, made by the first fixture of several that start at the same time. */
function homePolicies() {
  made ??= authority().then(writePolicies);
  return made;
}

/** How this home's clients are known. */
export const requesters = async () => (await authority()).requesters;

/** A key-broker that judges requests of this home's clients. */
export const startBroker: StartRole = async (context) => brokerRole(await requesters())(context);

export interface Home {
  readonly server: NatsServer;
  readonly policies: Awaited<ReturnType<typeof writePolicies>>;
  /** what the server and the roles of this process said */
  readonly log: readonly string[];
  readonly say: (line: string) => void;
  /** with the provisioner's rights; all streams are there */
  readonly observer: Bus;
  bus(role: Role, id: string): Promise<Bus>;
  /** A role in this process. */
  role(role: Role, id: string, start: StartRole): Promise<RunningRole>;
  /** A process that runs one role; killed when the test ends. */
  process(role: Role, id: string, options?: { url?: string; args?: string[] }): Promise<RoleProcess>;
}

export async function startHome(t: TestContext): Promise<Home> {
  useHome();
  const stateDir = await temporaryFolder(t);
  const policies = await homePolicies();
  await mkdir(join(stateDir, 'nats'), { recursive: true });
  await copyFile(folder('nats', 'authority.conf'), join(stateDir, 'nats', 'authority.conf'));
  const log: string[] = [];
  const say = (line: string) => void log.push(line);
  const server = await startNats({ binDir: BIN_DIR, port: 0, stateDir, onLog: say });
  t.defer(() => server.stop());
  const creds = folder('creds');
  const bus: Home['bus'] = async (role, id) => {
    const opened = await connect({ url: server.url, creds: await credentials(role, id, creds) });
    t.defer(() => opened.close());
    return opened;
  };
  const observer = await bus('provisioner', 'test');
  await provision(observer);
  return {
    server,
    policies,
    log,
    say,
    observer,
    bus,
    async role(name, id, start) {
      const running = await startRole(
        { role: name, id, url: server.url, creds: await credentials(name, id, creds), log: say },
        start,
      );
      t.defer(() => running.stop());
      return running;
    },
    async process(name, id, { url = server.url, args = [] } = {}) {
      await credentials(name, id, creds);
      const child = await startProcess(name, id, ['--nats', url, '--creds', creds, ...args]);
      t.defer(() => kill(child));
      return child;
    },
  };
}

/** SIGKILL, and wait until it is gone. */
export async function kill(child: RoleProcess): Promise<void> {
  signal(child, 'SIGKILL');
  await child.exited;
}

export function signal({ pid }: { readonly pid: number }, name: NodeJS.Signals): void {
  try {
    process.kill(pid, name);
  } catch {
    // it is gone
  }
}

/** Looks until it is so; `ms` only bounds a hang. */
export async function until(test: () => boolean | Promise<boolean>, ms = 60_000): Promise<void> {
  const deadline = performance.now() + ms;
  while (!(await test())) {
    if (performance.now() > deadline) throw new Error(`not so within ${ms} ms`);
    await new Promise((resume) => setTimeout(resume, 25));
  }
}

/** The text of what a process of this home has logged. */
export const logOf = (role: Role, id: string): Promise<string> =>
  readFile(folder('logs', `${role}_${id}.log`), 'utf8');
