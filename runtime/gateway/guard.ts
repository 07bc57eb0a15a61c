/**
 * Who may speak to a gateway. It listens where other programs of this machine, other users, and pages in its owner's
 * browser can reach it, so every request is looked at before its body is read:
 *
 *   - `Host` has to name an address that the gateway was told of: a page whose name was made to point here (DNS
 *     rebinding) says another
 *   - an `Origin`, which browsers send with what pages ask for, has to be the gateway itself; nothing is answered to others,
 *     and no header ever allows them to read an answer
 *   - where keys are set, `Authorization: Bearer KEY` has to be one of them
 */
import { statSync } from 'node:fs';
import { equal, sha256, utf8 } from '../../protocols/encoding.ts';
import { VouchError } from '../../protocols/errors.ts';
import { readText } from '../home/files.ts';

const LEAST_KEY_LENGTH = 32;
const MAX_FILE_BYTES = 64 * 1024;

export interface Guard {
  /** The status and the reason of a refusal; undefined for a request that may pass. */
  refuse(request: {
    readonly host: string | undefined;
    readonly origin: string | undefined;
    /** `Sec-Fetch-Site`, which browsers send where there is no origin, too */
    readonly site: string | undefined;
    readonly authorization: string | undefined;
  }): { readonly status: 401 | 403 | 421; readonly why: string } | undefined;
}

/** `hosts`: names and addresses, without ports. */
export function createGuard(hosts: readonly string[], keys: readonly string[]): Guard {
  const known = new Set(hosts.map((host) => host.toLowerCase()));
  const digests = keys.map((key) => sha256(utf8(key)));
  return {
    refuse({ host, origin, site, authorization }) {
      if (host === undefined || !known.has(nameIn(host)))
        return {
          status: 421,
          why: `host: expected one of ${[...known].join(', ')}; --host NAME allows another`,
        };
      const foreign = site === 'cross-site' || site === 'same-site';
      if (
        foreign ||
        (origin !== undefined && origin.replace(/^https?:\/\//, '').toLowerCase() !== host.toLowerCase())
      )
        return { status: 403, why: 'origin: pages of other origins are not served' };
      if (digests.length === 0) return undefined;
      const given = sha256(utf8(/^Bearer +(\S+)$/i.exec(authorization ?? '')?.[1] ?? ''));
      // All of them, so that the time says nothing.
      const right = digests.filter((digest) => equal(digest, given)).length > 0;
      return right
        ? undefined
        : { status: 401, why: 'authorization: expected Bearer and a key of this gateway' };
    },
  };
}

const nameIn = (host: string): string =>
  host
    .toLowerCase()
    .replace(/:\d+$/, '')
    .replace(/^\[(.*)\]$/, '$1');

/** API keys, one a line; `#` begins a comment. Throws `bad-file` for one that is short, or that others can read. */
export function readKeys(file: string): string[] {
  const keys = readText(file, 'API keys', MAX_FILE_BYTES)
    .split(/\r?\n/)
    .map((line) => line.trim())
    .filter((line) => line !== '' && !line.startsWith('#'));
  if (keys.length === 0 || keys.some((key) => key.length < LEAST_KEY_LENGTH || /\s/.test(key)))
    throw new VouchError(
      'bad-file',
      `${file}: expected keys of at least ${LEAST_KEY_LENGTH} characters, one a line; make one: openssl rand -hex 32`,
    );
  if ((statSync(file).mode & 0o077) !== 0)
    throw new VouchError('bad-file', `${file}: other users may read it; chmod 600 ${file}`);
  return keys;
}
