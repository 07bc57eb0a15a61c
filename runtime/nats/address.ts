/** Where a server listens: `HOST` or `HOST:PORT`, and by which addresses other hosts reach it. */

import { isIP } from 'node:net';
import { hostname, networkInterfaces } from 'node:os';
import { VouchError } from '../../protocols/errors.ts';

export interface Address {
  readonly host: string;
  readonly port?: number;
}

/** An IPv6 address with a port is written `[ADDRESS]:PORT`. Throws `bad-input`; `what` names the option. */
export function parseAddress(text: string, what: string): Address {
  const bare = isIP(text) === 6 ? [text, text] : /^\[([0-9A-Fa-f:.]+)\](?::(\d{1,5}))?$/.exec(text);
  const [, host, digits] = bare ?? /^([A-Za-z0-9.-]{1,253})(?::(\d{1,5}))?$/.exec(text) ?? [];
  const port = digits === undefined ? undefined : Number(digits);
  if (host === undefined || (port !== undefined && (port < 1 || port > 65_535)))
    throw new VouchError(
      'bad-input',
      `${what}: expected HOST or HOST:PORT, such as 192.0.2.7:4222, got ${text.slice(0, 100)}`,
    );
  return { host, ...(port === undefined ? {} : { port }) };
}

export const isLoopback = (host: string): boolean =>
  host === 'localhost' || host === '::1' || (isIP(host) === 4 && host.startsWith('127.'));

const isEverywhere = (host: string): boolean => host === '0.0.0.0' || host === '::';

/** The address by which this host itself reaches what listens there. */
export const nearest = (host: string): string => (isEverywhere(host) ? '127.0.0.1' : host);

/** The names and addresses by which other hosts may reach what listens there; none for loopback. */
export function reachable(host: string): string[] {
  if (isLoopback(host)) return [];
  if (!isEverywhere(host)) return [host];
  return Object.values(networkInterfaces())
    .flatMap((found) => found ?? [])
    .filter(
      ({ internal, family, address }) =>
        // An address of a link alone says nothing without the interface of whoever dials.
        !internal && (family === 'IPv4' || (host === '::' && !address.startsWith('fe80'))),
    )
    .map(({ address }) => address);
}

/** All that a certificate for what listens there may name. */
export const namesOf = (host: string): string[] => [
  ...new Set([
    ...reachable(host),
    ...(isEverywhere(host) ? [hostname()] : []),
    'localhost',
    '127.0.0.1',
    '::1',
  ]),
];

export const urlOf = (scheme: string, host: string, port: number): string =>
  `${scheme}://${host.includes(':') ? `[${host}]` : host}:${port}`;
