/**
 * Shards and results as plain messages, as they travel, beside what they were before: work queues in memory with a consumer
 * for each worker, each message stored, pulled and acknowledged (DECISIONS 91). A nats-server of its own without users, since
 * rights know of no such streams any more; one shard there and one answer back after the other. What comes back is compared.
 * Processor time is the server's own.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { AckPolicy, connect, type NatsConnection, RetentionPolicy, StorageType } from 'nats';
import { equal } from '../../protocols/encoding.ts';
import { natsProgram } from './machine.ts';
import { processorTimeOf } from './processor-time.ts';
import { type BenchContext, type Row, row } from './result.ts';
import { median, timed } from './statistics.ts';

const SHARD_BYTES = 512 * 1024;
const ANSWER_BYTES = 512;
/** Enough for ticks of 10 ms to say something. */
const SHARDS = 100;
const NAMES = {
  time: 'a shard of 512 KiB and its answer: plain messages beside streams',
  cpu: "nats-server's processor time for a MB of shards: plain messages beside streams",
  killed: 'nats-server killed: until an answer comes again, plain messages beside streams',
} as const;

interface Way {
  /** Sends a shard and resolves with its answer. */
  trip(shard: Uint8Array): Promise<Uint8Array>;
  /** After the server was lost with what it kept in memory. */
  mend(): Promise<void>;
}

export async function benchmarkMessages(context: BenchContext): Promise<Row[]> {
  if (!Object.values(NAMES).some(context.wants)) return [];
  const dir = await mkdtemp(join(tmpdir(), 'vouch-bench-nats-'));
  const port = await freePort();
  const { path } = await natsProgram();
  const start = () =>
    spawn(path, ['-a', '127.0.0.1', '-p', String(port), '-js', '-sd', dir], { stdio: 'ignore' });
  let server = start();
  const open: NatsConnection[] = [];
  try {
    const bus = async () => {
      const made = await connect({
        servers: `127.0.0.1:${port}`,
        waitOnFirstConnect: true,
        maxReconnectAttempts: -1,
        reconnectTimeWait: 50,
      });
      open.push(made);
      return made;
    };
    const [coordinator, worker] = [await bus(), await bus()];
    const ways = {
      messages: messagesWay(coordinator, worker),
      streams: await streamsWay(coordinator, worker),
    };
    const measured = {
      messages: await measure(ways.messages, server, context),
      streams: await measure(ways.streams, server, context),
    };
    const killed: Record<keyof typeof ways, number> = { messages: 0, streams: 0 };
    for (const name of ['messages', 'streams'] as const) {
      const lost = once(server, 'exit');
      server.kill('SIGKILL');
      await lost;
      const began = performance.now();
      server = start();
      await ways[name].mend();
      await ways[name].trip(randomBytes(SHARD_BYTES));
      killed[name] = performance.now() - began;
    }
    const beside = (value: number) => ({ peer: { name: 'streams', value } });
    return [
      row({ name: NAMES.time, unit: 'ms', ours: measured.messages.ms, ...beside(measured.streams.ms) }),
      row({ name: NAMES.cpu, unit: 'ms/MB', ours: measured.messages.cpu, ...beside(measured.streams.cpu) }),
      row({ name: NAMES.killed, unit: 'ms', ours: killed.messages, ...beside(killed.streams) }),
    ];
  } finally {
    await Promise.all(open.map((each) => each.close().catch(() => {})));
    server.kill('SIGKILL');
    await rm(dir, { recursive: true, force: true });
  }
}

async function measure({ trip }: Way, server: ChildProcess, { say, signal }: BenchContext) {
  const shard = randomBytes(SHARD_BYTES);
  const samples: number[] = [];
  let before = 0;
  for (let run = -5; run < SHARDS; run++) {
    signal.throwIfAborted();
    if (run === 0) before = processorTimeOf(server.pid!);
    const { value, ms } = await timed(() => trip(shard));
    if (!equal(value, shard.subarray(0, ANSWER_BYTES))) throw new Error('another answer than expected');
    if (run >= 0) samples.push(ms);
  }
  const cpu = (processorTimeOf(server.pid!) - before) / ((SHARDS * SHARD_BYTES) / 1e6);
  say(`a shard and its answer: ${median(samples).toFixed(2)} ms, server ${cpu.toFixed(2)} ms/MB`);
  return { ms: median(samples), cpu };
}

function messagesWay(coordinator: NatsConnection, worker: NatsConnection): Way {
  worker.subscribe('plain.shard', {
    callback: (_, message) => worker.publish('plain.result', message.data.subarray(0, ANSWER_BYTES)),
  });
  let heard: (answer: Uint8Array) => void = () => {};
  coordinator.subscribe('plain.result', { callback: (_, { data }) => heard(data) });
  return {
    async trip(shard) {
      const { promise, resolve } = Promise.withResolvers<Uint8Array>();
      heard = resolve;
      // What is lost is sent again, as a coordinator does.
      const again = setInterval(() => coordinator.publish('plain.shard', shard), 1_000);
      coordinator.publish('plain.shard', shard);
      return promise.finally(() => clearInterval(again));
    },
    async mend() {
      await back(coordinator);
      await back(worker);
    },
  };
}

async function streamsWay(coordinator: NatsConnection, worker: NatsConnection): Promise<Way> {
  const provision = async () => {
    const manager = await coordinator.jetstreamManager();
    for (const name of ['shard', 'result']) {
      await manager.streams.add({
        name,
        subjects: [`stored.${name}`],
        retention: RetentionPolicy.Workqueue,
        storage: StorageType.Memory,
      });
      await manager.consumers.add(name, { durable_name: 'reader', ack_policy: AckPolicy.Explicit });
    }
  };
  await provision();
  const reader = async (connection: NatsConnection, stream: string) => {
    const consumer = await connection.jetstream().consumers.get(stream, 'reader');
    return async () => {
      const message = await consumer.next({ expires: 5_000 });
      if (!message) return undefined;
      const data = new Uint8Array(message.data);
      await message.ackAck();
      return data;
    };
  };
  const serve = async () => {
    const next = await reader(worker, 'shard');
    const shard = await next();
    if (shard) await worker.jetstream().publish('stored.result', shard.subarray(0, ANSWER_BYTES));
  };
  return {
    async trip(shard) {
      const serving = serve();
      await coordinator.jetstream().publish('stored.shard', shard);
      await serving;
      const answer = await (await reader(coordinator, 'result'))();
      if (!answer) throw new Error('no answer came');
      return answer;
    },
    async mend() {
      await back(coordinator);
      await back(worker);
      await provision();
    },
  };
}

/** Until the connection is there again. */
async function back(connection: NatsConnection): Promise<void> {
  for (;;) {
    try {
      return await connection.flush();
    } catch (error) {
      if (connection.isClosed()) throw error;
      await sleep(20);
    }
  }
}

function randomBytes(length: number): Uint8Array {
  const bytes = new Uint8Array(length);
  for (let at = 0; at < length; at += 65_536) crypto.getRandomValues(bytes.subarray(at, at + 65_536));
  return bytes;
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as { port: number };
  server.close();
  await once(server, 'close');
  return port;
}
