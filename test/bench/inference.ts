/** What a private inference costs beside the model's own time, and how many a running stack answers. */
import { KeyObject, verify } from 'node:crypto';
import { evaluate } from '../../circuits/model/quantise.ts';
import { generateSigner } from '../../protocols/cose.ts';
import { equal, hex, randomBytes } from '../../protocols/encoding.ts';
import { filters, subjects } from '../../protocols/subjects.ts';
import { infer, type VerifiedService, verifyService } from '../../runtime/client/client.ts';
import { storedReceipt } from '../../runtime/client/stored.ts';
import { readRunning } from '../../runtime/home/running.ts';
import { credentials } from '../../runtime/installation/credentials.ts';
import { policyFile, readPolicy } from '../../runtime/installation/policies.ts';
import type { Bus } from '../../runtime/nats/bus.ts';
import { connect } from '../../runtime/nats/connect.ts';
import { type BenchContext, type Row, RUNS, row } from './result.ts';
import { CLIENT_SOURCE, type Subject } from './stack.ts';
import { median, quantile, timed } from './statistics.ts';

const WARM_UP = 100;
const REQUESTS = 1000;
const IN_FLIGHT = 16;
const FLOOR_RUNS = 300;

/**
 * A client in this process seals, sends, waits, opens, and verifies the receipt; the clock runs for all of that.
 * Each answer has to be the reference's decision and nothing else, and each receipt to be accepted.
 */
export async function benchmarkInference(
  bus: Bus,
  { manifest: { name }, model, rows, testSet }: Subject,
  { say, signal }: BenchContext,
): Promise<Row[]> {
  const policy = readPolicy(policyFile('inference'));
  const expected = testSet.features.map((features) => evaluate(model, features));
  const ask = async (service: VerifiedService, i: number) => {
    signal.throwIfAborted();
    const at = i % rows.length;
    const { value, ms } = await timed(() => infer(bus, CLIENT_SOURCE, service, policy, rows[at]!.cells));
    const { answer, receipt } = value;
    const same = answer.decision === expected[at]!.decision && answer.scores === undefined;
    if (!same || receipt.verdict !== 'accept') throw new Error(`inference ${i}: wrong answer or receipt`);
    const modelMs = answer.modelMicros / 1000;
    return { nonce: value.nonce, bundle: value.bundle, ms: ms - modelMs, modelMs };
  };

  const service = await verifyService(bus, CLIENT_SOURCE, name, policy);
  for (let i = 0; i < WARM_UP; i++) await ask(service, i);
  const samples = [];
  for (let i = 0; i < REQUESTS; i++) samples.push(await ask(service, i));
  for (const sample of samples) await demandStored(bus, service, sample);
  const times = samples.map(({ ms }) => ms);
  say(
    `inference, ${REQUESTS} in a row: p50 ${quantile(times, 0.5).toFixed(2)} ms, p99 ${quantile(times, 0.99).toFixed(2)} ms`,
  );

  const floor = await leastOf(bus, name);
  say(`a bare round trip, a synced append and a native verification: ${floor.toFixed(2)} ms`);

  const rates = [];
  for (let run = 0; run < RUNS; run++) {
    // Evidence ages; each run has its own.
    const fresh = await verifyService(bus, CLIENT_SOURCE, name, policy);
    let next = 0;
    const together: Awaited<ReturnType<typeof ask>>[] = [];
    const inTurn = async () => {
      while (next < REQUESTS) together.push(await ask(fresh, next++));
    };
    const { ms } = await timed(() => Promise.all(Array.from({ length: IN_FLIGHT }, inTurn)));
    // Each look reads the messages of its group from the first on.
    for (let i = 0; i < together.length; i += 10) await demandStored(bus, fresh, together[i]!);
    rates.push((REQUESTS * 1000) / ms);
  }
  say(`inference, ${IN_FLIGHT} in flight: ${median(rates).toFixed(0)} requests/s`);

  const what = "inference, sealed, receipt stored and verified, less the model's time";
  const modelMs = median(samples.map((sample) => sample.modelMs));
  const throughput = `inference throughput, one client process, ${IN_FLIGHT} in flight`;
  return [
    row({ name: `${what}: p50`, unit: 'ms', ours: quantile(times, 0.5), must: 10 }),
    row({
      name: `${what}: p50 against a bare round trip, a synced append and a native Ed25519 verification`,
      unit: 'ms',
      ours: quantile(times, 0.5),
      peer: { name: 'the three alone', value: floor },
      must: 1 / 3,
      aim: 1 / 1.7,
    }),
    row({ name: `${what}: p99`, unit: 'ms', ours: quantile(times, 0.99), must: 50 }),
    row({ name: "inference, the model's own time: p50", unit: 'ms', ours: modelMs }),
    row({ name: throughput, unit: 'requests/s', better: 'more', ours: median(rates) }),
  ];
}

/** An answer counts only if its receipt lies in the stream as it was given. */
async function demandStored(
  bus: Bus,
  { manifest, document }: VerifiedService,
  { nonce, bundle }: { readonly nonce: string; readonly bundle: Uint8Array },
): Promise<void> {
  const stored = await storedReceipt(bus, { model: manifest.name, enclave: document.enclave, nonce });
  if (!stored || !equal(stored, bundle)) throw new Error(`the receipt for ${nonce} is not in its stream`);
}

/** What no client of this shape can do without, one after the other, in milliseconds: medians of each. */
async function leastOf(bus: Bus, model: string): Promise<number> {
  const running = readRunning();
  const id = 'bench-1';
  const runner = await connect({ url: running.url, creds: await credentials('runner', id, running.creds) });
  try {
    runner.subscribe(filters.infersOf(model, id), (received) => received.respond(received.data));
    await runner.flush();
    const signer = await generateSigner();
    const message = randomBytes(600);
    const signature = await signer.sign(message);
    const key = await crypto.subtle.importKey('raw', signer.publicKey, 'Ed25519', true, ['verify']);
    const native = KeyObject.from(key);
    const steps = {
      trip: () => bus.request(subjects.infer(model, id, bus.id), message),
      append: () =>
        runner.append(subjects.receipt(model, bus.id, hex(randomBytes(16))), randomBytes(1500), {
          expectLastSubjectSequence: 0,
        }),
      verification: async () => verify(null, message, native, signature),
    };
    let sum = 0;
    for (const step of Object.values(steps)) {
      const samples = [];
      for (let i = 0; i < FLOOR_RUNS; i++) samples.push((await timed<unknown>(step)).ms);
      sum += median(samples);
    }
    return sum;
  } finally {
    await runner.close();
  }
}
