/** The size of NATS headers, before they are sent. */
import { utf8 } from '../../protocols/encoding.ts';
import type { Headers } from './jetstream.ts';

/** An upper bound of what the headers take on the wire: `NATS/1.0` and a line each. */
export function headerBytes(headers: Headers | undefined): number {
  if (headers === undefined) return 0;
  let bytes = 14;
  for (const [name, value] of Object.entries(headers)) bytes += utf8(name).length + utf8(value).length + 4;
  return bytes;
}
