/**
 * What the gateway adds to a private inference: the same request over HTTP to a gateway in a process of its own, and by a client
 * in this one, in turns, so that what else the machine does meets both.
 */
import { spawn } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { Agent, request } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { text } from 'node:stream/consumers';
import { evaluate } from '../../circuits/model/quantise.ts';
import { infer, verifyService } from '../../runtime/client/client.ts';
import { PACKAGE_ROOT } from '../../runtime/home/home.ts';
import { policyFile, readPolicy } from '../../runtime/installation/policies.ts';
import type { Bus } from '../../runtime/nats/bus.ts';
import { processorTimeOf } from './processor-time.ts';
import { type BenchContext, type Row, row } from './result.ts';
import { CLIENT_SOURCE, type Subject, withStack } from './stack.ts';
import { quantile, timed } from './statistics.ts';

const WARM_UP = 50;
const REQUESTS = 400;

/** With a stack of its own. */
export async function benchmarkGatewayAlone(context: BenchContext): Promise<Row[]> {
  const home = await mkdtemp(join(tmpdir(), 'vouch-bench-'));
  process.env.VOUCH_HOME = home;
  try {
    return await withStack({ home }, context, (bus, subject) => benchmarkGateway(subject, context, bus));
  } finally {
    await rm(home, { recursive: true, force: true });
  }
}

/** Each answer has to be the reference's decision, with a receipt that was verified. */
export async function benchmarkGateway(
  { manifest: { name }, model, rows, testSet }: Subject,
  { say, signal }: BenchContext,
  bus: Bus,
): Promise<Row[]> {
  const words = ['runtime/commands/cli.ts', 'gateway', '--listen', '127.0.0.1:18420'];
  const child = spawn(process.execPath, words, { cwd: PACKAGE_ROOT, stdio: ['ignore', 'ignore', 'pipe'] });
  const agent = new Agent({ keepAlive: true });
  try {
    const url = await new Promise<string>((resolve, reject) => {
      child.once('exit', (code) => reject(new Error(`vouch gateway ended with ${code}`)));
      createInterface({ input: child.stderr! }).on('line', (line) => {
        const [, found] = /^gateway: (http:\S+)\/v2/.exec(line) ?? [];
        if (found !== undefined) resolve(found);
      });
    });
    const policy = readPolicy(policyFile('inference'));
    const service = await verifyService(bus, CLIENT_SOURCE, name, policy);
    const expected = testSet.features.map((features) => evaluate(model, features).decision);
    const demand = (i: number, decision: unknown, verdict: unknown) => {
      if (decision !== expected[i % rows.length] || verdict !== 'accept')
        throw new Error(`${i}: a wrong answer`);
    };
    const cells = (i: number) => rows[i % rows.length]!.cells;
    const direct = async (i: number) => {
      const { answer, receipt } = await infer(bus, CLIENT_SOURCE, service, policy, cells(i));
      demand(i, answer.decision, receipt.verdict);
    };
    const through = async (i: number) => {
      const body = JSON.stringify(cells(i));
      const answer = await new Promise<string>((resolve, reject) => {
        const asked = request(
          `${url}/decide/${name}`,
          { method: 'POST', agent, headers: { 'Content-Type': 'application/json' } },
          (response) => resolve(text(response)),
        );
        asked.once('error', reject);
        asked.end(body);
      });
      const [decision] = JSON.parse(answer).decisions;
      demand(i, decision.decision, decision.verdict);
    };
    const times = { direct: [] as number[], through: [] as number[] };
    let ownProcessor = 0;
    let before = 0;
    for (let i = 0; i < WARM_UP + REQUESTS; i++) {
      signal.throwIfAborted();
      if (i === WARM_UP) before = processorTimeOf(child.pid!);
      const began = process.cpuUsage();
      const own = await timed(() => direct(i));
      const { user, system } = process.cpuUsage(began);
      const gateway = await timed(() => through(i));
      if (i < WARM_UP) continue;
      ownProcessor += (user + system) / 1000;
      times.direct.push(own.ms);
      times.through.push(gateway.ms);
    }
    const [own, gateway] = [quantile(times.direct, 0.5), quantile(times.through, 0.5)];
    const spent = processorTimeOf(child.pid!) - before;
    say(
      `${REQUESTS} in turns: p50 ${own.toFixed(2)} ms by a client, ${gateway.toFixed(2)} ms through the gateway`,
    );
    return [
      row({
        name: 'inference through the gateway, in turns with a client: added p50',
        unit: 'ms',
        ours: gateway - own,
        must: 2,
        aim: 1,
      }),
      row({
        name: 'the same in processor time: what the gateway spends on a request, less what a client spends on one',
        unit: 'ms',
        ours: (spent - ownProcessor) / REQUESTS,
      }),
    ];
  } finally {
    agent.destroy();
    child.kill('SIGTERM');
  }
}
