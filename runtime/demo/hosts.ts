/**
 * The main job for other hosts: where it listens and with which certificate, how they are invited, and what becomes of a
 * NATS server that has come back without its data.
 */
import { messageOf } from '../../protocols/errors.ts';
import { STREAMS } from '../../protocols/streams.ts';
import { folder } from '../home/home.ts';
import type { Log } from '../home/log.ts';
import { inviteWorker } from '../installation/invitations.ts';
import { ensureTlsAuthority } from '../installation/tls-authority.ts';
import { type Address, isLoopback, namesOf } from '../nats/address.ts';
import type { Bus } from '../nats/bus.ts';
import { provision } from '../nats/provision.ts';
import { retry } from '../nats/retry.ts';

/** How long a server that has come back is tried to be set up. */
const RESTORE_MS = 60_000;

export interface Reach {
  /** where NATS and the monitor listen; default: loopback */
  readonly listen?: Address | undefined;
  readonly monitorListen?: Address | undefined;
  /** whether other hosts are served with TLS only */
  readonly tls: boolean;
}

/** Makes anew what a server lacks that has come back, and puts back the model where it is gone. */
export async function restoreServer(bus: Bus, restore: () => Promise<void>, log: Log): Promise<void> {
  try {
    const { created } = await retry(() => provision(bus), { forMs: RESTORE_MS });
    if (!created.includes(STREAMS.models.name)) return;
    log('NATS has come back without its data: streams are made anew, the model is put back');
    await restore();
  } catch (error) {
    log(`NATS has come back, and is not as it was: ${messageOf(error)}; vouch provision makes its streams`);
  }
}

export const LOOPBACK: Address = { host: '127.0.0.1' };

/** What other hosts are served with; nothing on loopback, or where a person does without. */
export const certificateFor = async (host: string, { tls }: Reach) =>
  tls && !isLoopback(host) ? (await ensureTlsAuthority(folder())).issue(namesOf(host)) : undefined;

/** How a host joins. The link is a secret, so it is for the eyes at a terminal, and no file's. */
export async function linkLines(servers: readonly string[]): Promise<string[]> {
  if (servers.length === 0) return [];
  if (!process.stderr.isTTY) return ['', 'A link by which another host joins: vouch invite worker'];
  const { id, expires, link } = await inviteWorker(servers);
  return [
    '',
    `On another host, in a clone of this version, which then is worker ${id}:`,
    `    runtime/vouch.mjs join ${link}`,
    `The link is a secret, good until ${expires.toISOString()}, or until: vouch revoke ${id}`,
    'Every host needs its own: vouch invite worker',
  ];
}
