/**
 * Nonces of requests to one enclave. While several are under way theirs are of one group, so that the runner may store their receipts
 * together (protocols/stored-receipts.ts); that of a request on its own is of none. Everybody who reads two receipts sees whether they are of one group:
 * that they were asked for by the same client at the same time, which their evidence and their times show as well.
 */
import { randomBytes } from '../../protocols/encoding.ts';
import { freshNonce } from '../../protocols/envelope.ts';
import { GROUP_BYTES, MAX_GROUP_RECEIPTS, nonceOfGroup } from '../../protocols/stored-receipts.ts';

export interface Nonces {
  /** Makes a request with a nonce of its own; it is under way until `request` settles. */
  use<T>(request: (nonce: string) => Promise<T>): Promise<T>;
}

export function createNonces(): Nonces {
  let underWay = 0;
  let group: { readonly bytes: Uint8Array; left: number } | undefined;
  const grouped = (): string => {
    if (group === undefined || group.left === 0)
      group = { bytes: randomBytes(GROUP_BYTES), left: MAX_GROUP_RECEIPTS };
    group.left -= 1;
    return nonceOfGroup(group.bytes);
  };
  return {
    async use(request) {
      underWay += 1;
      try {
        return await request(underWay === 1 ? freshNonce() : grouped());
      } catch (error) {
        // The runner may not know whether this group's last message is stored, and then takes no more of it.
        group = undefined;
        throw error;
      } finally {
        underWay -= 1;
        if (underWay === 0) group = undefined;
      }
    },
  };
}
