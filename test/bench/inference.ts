/** What a private inference costs beside the model's own time, and how many a running stack answers. */
import { evaluate } from '../../circuits/model/quantise.ts';
import { STREAMS } from '../../protocols/streams.ts';
import { subjects } from '../../protocols/subjects.ts';
import { infer, type VerifiedService, verifyService } from '../../runtime/client/client.ts';
import { policyFile, readPolicy } from '../../runtime/installation/policies.ts';
import type { Bus } from '../../runtime/nats/bus.ts';
import { type BenchContext, type Row, RUNS, row } from './result.ts';
import { CLIENT_SOURCE, type Subject } from './stack.ts';
import { median, quantile, timed } from './statistics.ts';

const WARM_UP = 100;
const REQUESTS = 1000;
const IN_FLIGHT = 16;

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
    return { receipt: answer.receiptId, ms: ms - modelMs, modelMs };
  };

  const service = await verifyService(bus, CLIENT_SOURCE, name, policy);
  for (let i = 0; i < WARM_UP; i++) await ask(service, i);
  const samples = [];
  for (let i = 0; i < REQUESTS; i++) samples.push(await ask(service, i));
  for (const { receipt } of samples) {
    if (!(await bus.getLast(STREAMS.receipts.name, subjects.receipt(name, bus.id, receipt))))
      throw new Error(`receipt ${receipt} is not in its stream`);
  }
  const times = samples.map(({ ms }) => ms);
  say(
    `inference, ${REQUESTS} in a row: p50 ${quantile(times, 0.5).toFixed(2)} ms, p99 ${quantile(times, 0.99).toFixed(2)} ms`,
  );

  const rates = [];
  for (let run = 0; run < RUNS; run++) {
    // Evidence ages; each run has its own.
    const fresh = await verifyService(bus, CLIENT_SOURCE, name, policy);
    let next = 0;
    const inTurn = async () => {
      while (next < REQUESTS) await ask(fresh, next++);
    };
    const { ms } = await timed(() => Promise.all(Array.from({ length: IN_FLIGHT }, inTurn)));
    rates.push((REQUESTS * 1000) / ms);
  }
  say(`inference, ${IN_FLIGHT} in flight: ${median(rates).toFixed(0)} requests/s`);

  const what = "inference, sealed, receipt stored and verified, less the model's time";
  const modelMs = median(samples.map((sample) => sample.modelMs));
  const throughput = `inference throughput, one client process, ${IN_FLIGHT} in flight`;
  return [
    row({ name: `${what}: p50`, unit: 'ms', ours: quantile(times, 0.5), must: 10 }),
    row({ name: `${what}: p99`, unit: 'ms', ours: quantile(times, 0.99), must: 50 }),
    row({ name: "inference, the model's own time: p50", unit: 'ms', ours: modelMs }),
    row({ name: throughput, unit: 'requests/s', better: 'more', ours: median(rates) }),
  ];
}
