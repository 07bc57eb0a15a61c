/**
 * The place of whoever operates the NATS server, or any wire to it without TLS: a proxy through which every message between
 * clients and the server passes, both ways, to be read, changed or dropped. It holds no credentials and needs none.
 *
 * Protocol: https://docs.nats.io/reference/reference-protocols/nats-protocol. Headers are handed on as their text.
 */
import { once } from 'node:events';
import { createServer, connect as dial, type Socket } from 'node:net';
import type { VouchError } from '../../protocols/errors.ts';
import type { Role } from '../../protocols/subjects.ts';
import { folder } from '../../runtime/home/home.ts';
import { credentials } from '../../runtime/installation/credentials.ts';
import { connect } from '../../runtime/nats/connect.ts';
import type { TestContext } from '../harness.ts';

/** A message on its way. `up`: from a client to the server. */
export interface Carried {
  readonly up: boolean;
  subject: string;
  readonly reply: string | undefined;
  /** as on the wire, with its first and last lines; empty without headers */
  headers: string;
  payload: Buffer;
}

/** Changes the message in place; false drops it. */
export type Meddle = (message: Carried) => unknown;

/** Returns the URL to connect to instead of the server's. */
export async function startProxy(t: TestContext, url: string, meddle: Meddle): Promise<string> {
  const { hostname, port } = new URL(url);
  const open = new Set<Socket>();
  const server = createServer((near) => {
    const far = dial(Number(port), hostname);
    for (const [from, to, up] of [
      [near, far, true],
      [far, near, false],
    ] as const) {
      open.add(from);
      carry(from, to, up, meddle);
      from.on('error', () => to.destroy());
      from.on('close', () => {
        open.delete(from);
        to.destroy();
      });
    }
  });
  t.defer(() => {
    server.close();
    for (const socket of open) socket.destroy();
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return `nats://127.0.0.1:${(server.address() as { port: number }).port}`;
}

const WITH_PAYLOAD = /^(PUB|HPUB|MSG|HMSG) /;

function carry(from: Socket, to: Socket, up: boolean, meddle: Meddle): void {
  let waiting = Buffer.alloc(0);
  from.on('data', (data: Buffer) => {
    waiting = Buffer.concat([waiting, data]);
    for (;;) {
      const end = waiting.indexOf('\r\n');
      if (end < 0) return;
      const line = waiting.toString('latin1', 0, end);
      if (!WITH_PAYLOAD.test(line)) {
        to.write(waiting.subarray(0, end + 2));
        waiting = waiting.subarray(end + 2);
        continue;
      }
      const [verb, ...words] = line.split(' ');
      const size = Number(words.pop());
      const headerSize = verb!.startsWith('H') ? Number(words.pop()) : 0;
      if (waiting.length < end + 2 + size + 2) return;
      const body = waiting.subarray(end + 2, end + 2 + size);
      waiting = waiting.subarray(end + 2 + size + 2);
      // PUB: subject, reply. MSG: subject, subscription, reply.
      const [subject, ...rest] = words;
      const message: Carried = {
        up,
        subject: subject!,
        reply: up ? rest[0] : rest[1],
        headers: body.toString('utf8', 0, headerSize),
        payload: Buffer.from(body.subarray(headerSize)),
      };
      if (meddle(message) === false) continue;
      const headers = Buffer.from(message.headers);
      const total = headers.length + message.payload.length;
      const sizes = headers.length > 0 ? [headers.length, total] : [total];
      const name = verb!.replace(/^H/, '');
      const first = [headers.length > 0 ? `H${name}` : name, message.subject, ...rest, ...sizes].join(' ');
      to.write(Buffer.concat([Buffer.from(`${first}\r\n`), headers, message.payload, Buffer.from('\r\n')]));
    }
  });
}

/** A client, or whoever, whose every message passes through the attacker's hands. */
export async function through(t: TestContext, url: string, meddle: Meddle, role: Role = 'client') {
  const proxied = await startProxy(t, url, meddle);
  const bus = await connect({ url: proxied, creds: await credentials(role, 'victim', folder('creds')) });
  t.defer(() => bus.close());
  return bus;
}

/** The code and sentence with which it ends; what was believed, if it does not. */
export async function refusal(work: Promise<unknown>): Promise<string> {
  const got = await work.then(
    (value) => `believed: ${JSON.stringify(value)}`,
    (error: VouchError) => `${error.code}: ${error.message}`,
  );
  return got.slice(0, 300);
}

/** Changes a structured message. */
export const edit = (message: Carried, change: (envelope: Record<string, unknown>) => void): void => {
  const envelope = JSON.parse(message.payload.toString());
  change(envelope);
  message.payload = Buffer.from(JSON.stringify(envelope));
};
/** A message of this type on its way to a client, or `up`, to the server. */
export const isOf = (message: Carried, type: string, up = false): boolean =>
  message.up === up && message.payload.includes(`"type":"${type}"`);
