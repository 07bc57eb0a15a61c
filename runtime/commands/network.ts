/** What every command that speaks to NATS needs: where the server is, who we are there, and a connection. */
import { folder } from '../home/home.ts';
import { readRunning } from '../home/running.ts';
import { credentials, idIn } from '../installation/credentials.ts';
import type { Bus } from '../nats/bus.ts';
import { connect } from '../nats/connect.ts';
import { closeSnarkjs } from '../prove/snarkjs.ts';
import type { networked, OptionsOf } from './declaration.ts';

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

const CLIENT = 'client-1';

/** Connects as a client, runs `work` with the client's name for envelopes, and disconnects whatever happens. */
export async function asClient<T>(
  { url, creds }: Network,
  work: (bus: Bus, source: string) => Promise<T>,
): Promise<T> {
  const id = idIn(creds, 'client') ?? CLIENT;
  const bus = await connect({ url, creds: await credentials('client', id, creds) });
  try {
    return await work(bus, `client.${id}`);
  } finally {
    await bus.close();
    await closeSnarkjs();
  }
}
