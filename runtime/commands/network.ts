/** What every command that speaks to NATS needs: where the server is, who we are there, and a connection. */
import { folder } from '../home/home.ts';
import { readRunning } from '../home/running.ts';
import { credentials, idIn } from '../installation/credentials.ts';
import type { Bus } from '../nats/bus.ts';
import { connect } from '../nats/connect.ts';
import { closeSnarkjs } from '../prove/snarkjs.ts';
import type { networked, OptionsOf } from './declaration.ts';
import { say } from './terminal.ts';

/** `--nats` and `--creds`, as typed. */
export type NetworkOptions = OptionsOf<typeof networked>;

export interface Network {
  readonly url: string;
  /** a `.creds` file or a folder of them */
  readonly creds: string;
}

/** What was typed, else what `npm start` runs now. Throws `bad-file` when neither says. */
export function networkOf({ nats, creds }: NetworkOptions): Network {
  if (nats !== undefined) return { url: nats, creds: creds ?? folder('creds') };
  const running = readRunning();
  return { url: running.url, creds: creds ?? running.creds };
}

/** Connects as a client, runs `work` with the client's name for envelopes, and disconnects whatever happens. */
export const asClient = <T>(network: Network, work: (bus: Bus, source: string) => Promise<T>): Promise<T> =>
  as('client', network, work);

/** The same as somebody who may read the brokers' audit records, and nothing else. */
export const asAuditor = <T>(network: Network, work: (bus: Bus, source: string) => Promise<T>): Promise<T> =>
  as('auditor', network, work);

async function as<T>(
  role: 'client' | 'auditor',
  { url, creds }: Network,
  work: (bus: Bus, source: string) => Promise<T>,
): Promise<T> {
  const id = idIn(creds, role) ?? `${role}-1`;
  const bus = await connect({ url, creds: await credentials(role, id, creds), warn: say });
  try {
    return await work(bus, `${role}.${id}`);
  } finally {
    await bus.close();
    await closeSnarkjs();
  }
}
