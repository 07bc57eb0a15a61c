/**
 * `vouch doctor`: what is wrong with this host and its connection, one line a thing, each with what to do. It changes nothing.
 *
 * Not guaranteed: that what is well now was well when something failed.
 */
import { existsSync, statfsSync, statSync } from 'node:fs';
import type { Command } from '@commander-js/extra-typings';
import { messageOf, VouchError } from '../../protocols/errors.ts';
import { STREAMS } from '../../protocols/streams.ts';
import { teeFound } from '../attest/providers.ts';
import { probeAdapter } from '../gpu/probe.ts';
import { demandWritableFolder } from '../home/files.ts';
import { folder, vouchHome } from '../home/home.ts';
import { credentials, idIn } from '../installation/credentials.ts';
import type { Bus } from '../nats/bus.ts';
import { connect } from '../nats/connect.ts';
import { vulnerability, weakness } from '../nats/server-version.ts';
import { networked } from './declaration.ts';
import { type Network, type NetworkOptions, networkOf } from './network.ts';
import { print } from './terminal.ts';
import { versionLine, versionOf } from './version.ts';

const LEAST_NODE = 24;
const GIB = 1024 ** 3;
/** Keys, receipts and logs need little; a proving key several GiB. */
const LEAST_FREE = GIB / 4;
const USUAL_FREE = 4 * GIB;
/** Evidence takes no more than 60; beyond this receipts and evidence will be refused. */
const LEAST_SKEW_SECONDS = 30;

export interface Finding {
  readonly status: 'ok' | 'note' | 'fail';
  readonly id: string;
  readonly detail: string;
}

export const define = (command: Command) =>
  networked(command)
    .option('--json', 'one JSON object', false)
    .action(async (options) => {
      const findings = await examine(options);
      if (options.json) print({ findings });
      else for (const line of findingLines(findings)) print(line);
      if (findings.some(({ status }) => status === 'fail')) process.exitCode = 1;
    });

export const findingLines = (findings: readonly Finding[]): string[] =>
  findings.map(({ status, id, detail }) => `${status.padEnd(5)} ${id.padEnd(16)} ${detail}`);

/** All of it, in the order in which things depend on each other. */
export async function examine(options: NetworkOptions): Promise<Finding[]> {
  const findings: Finding[] = [];
  const note = (status: Finding['status'], id: string, detail: string) =>
    findings.push({ status, id, detail });
  const attempt = async (id: string, work: () => Promise<string> | string) => {
    try {
      note('ok', id, await work());
      return true;
    } catch (error) {
      note('fail', id, messageOf(error));
      return false;
    }
  };
  note('ok', 'vouch', versionLine(versionOf()));
  const major = Number(process.versions.node.split('.')[0]);
  note(
    major >= LEAST_NODE ? 'ok' : 'fail',
    'node',
    major >= LEAST_NODE
      ? process.versions.node
      : `${process.versions.node} is too old: expected ${LEAST_NODE} or newer; npm install in the checkout brings one`,
  );
  await attempt('home', () => demandOwnHome());
  disk(note);
  await gpu(note);
  const tee = teeFound();
  note(
    'ok',
    'tee',
    tee === undefined
      ? 'none: evidence made here is SIMULATED, for trying things out'
      : `${tee}: start roles with --provider configfs-tsm`,
  );
  let network: Network;
  try {
    network = networkOf(options);
  } catch (error) {
    note('fail', 'nats', `${messageOf(error)}; vouch doctor --nats URL looks at another server`);
    return findings;
  }
  await examineServer(network, note, attempt);
  return findings;
}

type Note = (status: Finding['status'], id: string, detail: string) => void;

/** Throws where the home is another user's, or cannot be written. */
async function demandOwnHome(): Promise<string> {
  const home = vouchHome();
  if (existsSync(home)) {
    const { uid } = statSync(home);
    const own = process.getuid?.();
    if (own !== undefined && uid !== own)
      throw new VouchError(
        'bad-file',
        `${home} belongs to user ${uid}, and this is user ${own}: run as that user, or set VOUCH_HOME to a folder of your own`,
      );
  }
  await demandWritableFolder(home);
  const keys = folder('keys');
  if (existsSync(keys) && (statSync(keys).mode & 0o077) !== 0)
    throw new VouchError('bad-file', `${keys} can be read by other users: chmod 700 ${keys}`);
  return home;
}

function disk(note: Note): void {
  const { bavail, bsize } = statfsSync(existsSync(vouchHome()) ? vouchHome() : '.');
  const free = bavail * bsize;
  const gib = `${(free / GIB).toFixed(1)} GiB free`;
  if (free < LEAST_FREE)
    note(
      'fail',
      'disk',
      `${gib} for ${vouchHome()}: free some space; .vouch/cache may be deleted at any time`,
    );
  else
    note(
      free < USUAL_FREE ? 'note' : 'ok',
      'disk',
      free < USUAL_FREE ? `${gib}: a large proving key needs more` : gib,
    );
}

async function gpu(note: Note): Promise<void> {
  try {
    const { name, software } = await probeAdapter();
    note(
      software ? 'note' : 'ok',
      'gpu',
      software
        ? `${name} is a driver in software: proofs are made on the CPU; install the vendor's Vulkan driver`
        : name,
    );
  } catch (error) {
    note('note', 'gpu', `${messageOf(error)}; everything runs without one, proofs take longer`);
  }
}

async function examineServer(
  { url, creds }: Network,
  note: Note,
  attempt: (id: string, work: () => Promise<string> | string) => Promise<boolean>,
): Promise<void> {
  let bus: Bus | undefined;
  const reached = await attempt('nats', async () => {
    const id = idIn(creds, 'client') ?? 'client-1';
    bus = await connect({ url, creds: await credentials('client', id, creds), warn: () => {} });
    return `${url} answers; connected as client ${id}`;
  });
  if (!reached || !bus) return;
  try {
    const { version, jetstream, authenticated } = bus.server;
    const why = vulnerability(version);
    const weak = weakness(version);
    if (why !== undefined) note('fail', 'nats version', `${why}; update it`);
    else note(weak === undefined ? 'ok' : 'note', 'nats version', weak ?? version);
    if (!authenticated)
      note(
        'fail',
        'rights',
        `${url} asks nobody who they are: start it with what vouch provision --config writes`,
      );
    else note('ok', 'rights', "the server checks everybody's credentials");
    if (!jetstream) {
      note(
        'fail',
        'jetstream',
        `${url} runs without JetStream: start nats-server with -js, or jetstream {} in its configuration`,
      );
      return;
    }
    await attempt('streams', async () => {
      const { bytes, maxBytes, time } = await bus!.fillOf(STREAMS.models.name).catch((error: unknown) => {
        throw new VouchError('not-ready', `${messageOf(error)}; vouch provision makes the streams`);
      });
      clock(time, note);
      return `they are there; models take ${Math.round((100 * bytes) / Math.max(1, maxBytes))} % of their room`;
    });
  } finally {
    await bus.close();
  }
}

function clock(server: Date | undefined, note: Note): void {
  if (server === undefined) {
    note('note', 'clock', 'the server does not say what time it is');
    return;
  }
  const ahead = (Date.now() - server.getTime()) / 1000;
  const side = ahead > 0 ? 'ahead of' : 'behind';
  const seconds = Math.abs(Math.round(ahead));
  if (seconds < LEAST_SKEW_SECONDS) note('ok', 'clock', `within ${Math.max(1, seconds)} s of the server's`);
  else
    note(
      'fail',
      'clock',
      `your clock is ${seconds} s ${side} the server's: evidence will look old or not yet made; set it (NTP)`,
    );
}
