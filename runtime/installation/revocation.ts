/** Telling a running nats-server whom the authority has revoked: it cuts them off and lets nobody else notice. */
import { messageOf, VouchError } from '../../protocols/errors.ts';
import { connect } from '../nats/connect.ts';
import { type Authority, accountUpdate } from './authority.ts';

/**
 * Resolves when the server has taken the accounts as they are now. Servers of a cluster pass it on to each other; one that
 * starts later reads `authority.conf`. Throws what connecting throws, and `internal` when the server refuses.
 */
export async function announceRevocations(url: string, authority: Authority): Promise<void> {
  const bus = await connect({ url, creds: await authority.mintHerald() });
  try {
    for (const { key, jwt } of await authority.accounts()) {
      const { data } = await bus.request(accountUpdate(key), new TextEncoder().encode(jwt));
      const answer = JSON.parse(new TextDecoder().decode(data)) as { error?: { description?: string } };
      if (answer.error)
        throw new VouchError(
          'internal',
          `NATS at ${url}: it does not take the revocation (${messageOf(answer.error.description ?? 'no reason')}); restart it`,
        );
    }
  } finally {
    await bus.close();
  }
}
