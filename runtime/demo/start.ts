/**
 * The main job, end to end: NATS, one actor of each kind, a private inference with evidence and receipt, and a
 * quality proof made by several processes. It plays three parts that are different parties in life: the vendor
 * (trains and seals the model), the host (runs the actors) and the client (verifies everything).
 */
import { existsSync, readFileSync } from 'node:fs';
import { type CommittedModel, decodeSecret, encodeSecret, randomSalt } from '../../circuits/model/commit.ts';
import { networkFromOnnx, onnxFromNetwork } from '../../circuits/model/network.ts';
import { readOnnx, writeOnnx } from '../../circuits/model/onnx.ts';
import { preprocess } from '../../circuits/model/preprocessing.ts';
import { decideMany, quantise } from '../../circuits/model/quantise.ts';
import { encodeTestSet, type TestSet } from '../../circuits/model/test-set.ts';
import type { Policy } from '../../protocols/attestation/policy.ts';
import { verifyEvidence } from '../../protocols/attestation/verify.ts';
import { canonicalJson } from '../../protocols/encoding.ts';
import { messageOf, VouchError } from '../../protocols/errors.ts';
import type { ProofProgress, PublishedProof } from '../../protocols/proof.ts';
import { verifyReceipt } from '../../protocols/receipt.ts';
import type { Role } from '../../protocols/subjects.ts';
import { demonstrationPolicy } from '../attest/identity.ts';
import { measure } from '../attest/measurement.ts';
import { putBlob } from '../blobs.ts';
import { type Bus, connect } from '../bus.ts';
import { startProcess } from '../child.ts';
import { infer, requestProof, sendSealed, verifyProof, verifyService } from '../client.ts';
import { type Context, contextFile, folder, readNamed, writeWhole } from '../context.ts';
import { inState, type RunningRole, startRole, until } from '../host.ts';
import { publishModel } from '../models.ts';
import { type NatsServer, startNats } from '../nats-server.ts';
import { createProgress, type Progress } from '../progress.ts';
import { provision, provisionMemoryStreams } from '../provision.ts';
import { startMonitorRole } from '../roles/monitor.ts';
import {
  authority,
  credentials,
  POLICIES,
  type PolicyName,
  policyFile,
  startRoles,
  stopRoles,
} from '../roles/start.ts';
import { type ChildSpec, type RunningChild, supervisorRole } from '../roles/supervisor.ts';
import type { Log } from '../service.ts';
import { keyLink, prepareCircuit, prepareKey, verificationKeyDigest } from '../setup.ts';
import { closeSnarkjs } from '../snarkjs.ts';
import { CREDIT_CLASSES, type CreditRow, creditPreprocessing, readCreditData, split } from './data.ts';
import { sampleData } from './sample.ts';
import { train } from './trainer.ts';

/** Seeds of the sample data, of the split into train and test rows, and of the trainer. */
const SEEDS = { data: 1, split: 1, training: 1 } as const;
const APPLICATIONS = 3;
/** The threshold lies this far above what a constant answer scores. */
const MARGIN = 0.03;
const HOST = 'host-1';
const ENCLAVE = 'enclave-1';
const CLIENT = 'client-1';

export interface DemoOptions {
  /** an existing server's URL; otherwise nats-server is started */
  readonly nats?: string | undefined;
  /** a file in German Credit's format; otherwise generated sample data */
  readonly data?: string | undefined;
  readonly workers: number;
  readonly once: boolean;
  readonly port?: number | undefined;
  readonly signal: AbortSignal;
  /** what a person reads */
  readonly say: (line: string) => void;
}

/** What `--json` prints. */
export interface DemoResult {
  enclave: { hardware: boolean; measurement: string };
  model: { name: string; commitment: string };
  inferences: { decision: string; receiptId: string; verified: boolean }[];
  receipt: { verified: boolean };
  refusals: { tamperedReceipt: boolean; wrongMeasurement: boolean; replay: boolean };
  proof: {
    verified: boolean;
    rows: number;
    correct: number;
    threshold: number;
    baseline: number;
    constraints: number;
    domain: number;
    seconds: number;
    phases: Record<string, number>;
    key: string;
  };
  workers: { id: string; shards: number }[];
  seconds: number;
}

/** Runs the main job. Returns its result, and `stop`, which drains and stops everything that was started. */
export async function runDemo(
  options: DemoOptions,
): Promise<{ result: DemoResult; monitor: string; stop(): Promise<void> }> {
  const { say, signal } = options;
  const began = performance.now();
  const stops: Array<() => Promise<unknown>> = [];
  const stop = async () => {
    for (const each of stops.splice(0).reverse()) {
      await each().catch((error: unknown) => say(`  while stopping: ${messageOf(error)}`));
    }
    await closeSnarkjs();
  };
  const log: Log = (line) => say(`  · ${line}`);
  let number = 0;
  const step = async <T>(title: string, work: (detail: (line: string) => void) => Promise<T>): Promise<T> => {
    if (signal.aborted) throw new VouchError('cancelled', 'stopped');
    number++;
    const start = performance.now();
    const lines: string[] = [];
    const result = await work((line) => lines.push(line));
    say(`[${number}] ${title} (${seconds(performance.now() - start)})`);
    for (const line of lines) say(`    ${line}`);
    return result;
  };

  try {
    const rows = readCreditData(
      options.data === undefined
        ? sampleData(SEEDS.data)
        : new TextDecoder().decode(readNamed(options.data, 'data', 64 * 1024 * 1024)),
    );

    const nats = await step('NATS', async (detail) => {
      await authority();
      if (options.nats) {
        detail(`using ${options.nats}`);
        return { url: options.nats };
      }
      const server = await startNats({
        stateDir: folder(),
        onLog: log,
        ...(options.port ? { port: options.port } : {}),
      });
      stops.push(() => server.stop());
      detail(
        `nats-server ${server.version} at ${server.url}, JetStream, operator mode; ${durability(server)}`,
      );
      return server;
    });
    const open = async (role: Role, id: string): Promise<Bus> => {
      const bus = await connect({
        url: nats.url,
        creds: await credentials(role, id, folder('creds')),
        onError: (error) => log(`${role}.${id}: ${messageOf(error)}`),
      });
      stops.push(() => bus.close());
      return bus;
    };
    const provisioner = await open('provisioner', HOST);
    await provision(provisioner);
    // The server's memory streams vanish when it restarts.
    provisioner.onState((state) => {
      if (state === 'connected')
        provisionMemoryStreams(provisioner).catch((error: unknown) => log(messageOf(error)));
    });
    const policies = await writePolicies();

    const name = options.data === undefined ? 'credit-sample' : 'credit';
    const vendor = await step(
      'Model: trained, exported as ONNX, quantised, sealed (vendor)',
      async (detail) => {
        const made = await makeModel(name, rows);
        const policy = await demonstrationPolicy(
          ['runner', 'coordinator'],
          ['nonce', 'hpkeKey', 'receiptKey', 'modelCommitment', 'enclave'],
        );
        const manifest = await publishModel(provisioner, 'provisioner.vendor', {
          name,
          model: made.model,
          policy,
        });
        const { layers } = made.model.architecture;
        detail(
          `${name}: ${made.train} rows to train, ${made.testSet.labels.length} to test; ${layers.map(({ inputs, outputs }) => `${inputs}x${outputs}`).join(' and ')} integer weights`,
        );
        detail(`commitment ${manifest.commitment}`);
        return { ...made, manifest };
      },
    );

    const workers = Array.from({ length: options.workers }, (_, i) => `worker-${i + 1}`);
    const { runner, monitor } = await step(
      `Actors: enclave, GPU device, runner, key-broker, monitor here; ${workers.length} MSM workers and the coordinator in processes of their own`,
      async (detail) => {
        const monitorPage = await startMonitorRole({
          bus: await open('monitor', HOST),
          simulated: true,
          log,
        });
        stops.push(() => monitorPage.close());
        const here = await superviseHost(nats.url, name, workers, log);
        stops.push(() => here.supervisor.stop());
        const gpu = here.local.find(({ role }) => role === 'gpu');
        const found = gpu !== undefined && inState(gpu.actor, 'ready');
        detail(
          found
            ? 'GPU: ready; the runner uses it'
            : 'no GPU on this machine: the runner and the workers use the CPU (WebAssembly)',
        );
        const runnerRole = here.local.find(({ role }) => role === 'runner');
        if (!runnerRole) throw new VouchError('internal', 'no runner was started');
        return { runner: runnerRole, monitor: monitorPage.url };
      },
    );
    const context: Context = {
      url: nats.url,
      creds: folder('creds'),
      policy: folder('policies'),
      monitor,
      model: name,
      testSet: testFile(name),
      threshold: vendor.threshold,
    };
    await writeWhole(contextFile(), `${JSON.stringify(context, null, 2)}\n`);
    stops.push(async () => {});

    const client = await open('client', CLIENT);
    const source = `client.${CLIENT}`;
    const service = await step('Evidence, verified by the client', async (detail) => {
      await until(runner.actor, ({ value }) => value === 'ready' || value === 'running', 60_000);
      const verified = await verifyService(client, source, name, policies.inference);
      for (const check of verified.report.checks)
        detail(`${check.status.padEnd(4)} ${check.id}: ${check.detail}`);
      return verified;
    });

    const inferences = await step(`${APPLICATIONS} credit applications, sealed`, async (detail) => {
      const out = [];
      for (const row of vendor.examples.slice(0, APPLICATIONS)) {
        const one = await infer(client, source, service, policies.inference, row);
        detail(
          `${one.answer.label.padEnd(4)} receipt ${one.answer.receiptId} (${one.answer.provider}, ${one.receipt.claims?.label})`,
        );
        out.push(one);
      }
      return out;
    });

    const first = inferences[0]!;
    const { receipt, refusals } = await step(
      'The receipt, verified offline, and three refusals',
      async (detail) => {
        await writeWhole(folder('receipts', `${first.answer.receiptId}.cose`), first.bundle);
        const question = {
          policy: policies.inference,
          now: new Date(),
          releasePolicy: service.manifest.policy,
          modelCommitment: service.manifest.commitment,
        };
        const verdict = verifyReceipt(first.bundle, question);
        detail(`receipt ${first.answer.receiptId}: ${verdict.verdict} (SIMULATED)`);

        const tampered = Uint8Array.from(first.bundle);
        tampered[Math.floor(tampered.length / 2)]! ^= 1;
        const tamperedReceipt = verifyReceipt(tampered, question);
        detail(`tampered receipt: ${tamperedReceipt.verdict}: ${firstFailure(tamperedReceipt)}`);

        const other: Policy = { ...policies.inference, measurements: [measure('monitor')] };
        const wrong = verifyEvidence({
          document: service.document,
          policy: other,
          nonce: service.nonce,
          now: new Date(),
        });
        detail(`wrong measurement: ${wrong.verdict}: ${firstFailure(wrong)}`);

        const replay = await sendSealed(client, source, service, first.sealed).then(
          () => 'was answered',
          (error: unknown) => error as VouchError,
        );
        const replayRefused = replay instanceof VouchError && replay.code === 'replayed';
        detail(`replayed request and nonce: ${replayRefused ? `refused: ${replay.message}` : 'ANSWERED'}`);
        return {
          receipt: { verified: verdict.verdict === 'accept' },
          refusals: {
            tamperedReceipt: tamperedReceipt.verdict === 'reject',
            wrongMeasurement: wrong.verdict === 'reject',
            replay: replayRefused,
          },
        };
      },
    );

    const key = await step('Circuit and proving key (client)', async (detail) => {
      const progress = createProgress();
      try {
        progress.line('    compiling the circuit');
        const circuit = await prepareCircuit(vendor.model.architecture, vendor.testSet, { signal });
        const prepared = await prepareKey(circuit, {
          signal,
          onProgress: ({ done, total }) => progress.set('setup', done, total, 'points'),
        });
        detail(
          `${circuit.constraints} constraints${circuit.cached ? ' (cached)' : ''}; key ${prepared.mark}${prepared.cached ? ' (cached)' : ''}: it convinces its maker only`,
        );
        const stored = await putBlob(client, prepared.zkey, {
          signal,
          onProgress: (done, total) =>
            progress.set('upload', Math.ceil(done / 2 ** 20), Math.ceil(total / 2 ** 20), 'MiB'),
        });
        const testSet = await putBlob(client, encodeTestSet(vendor.testSet));
        return { circuit, zkey: stored.digest, testSet: testSet.digest };
      } finally {
        progress.stop();
      }
    });

    const proofBegan = performance.now();
    const { published, verified } = await step(
      `Quality proof: at least ${vendor.threshold} of ${vendor.testSet.labels.length} test rows`,
      async (detail) => {
        const progress = createProgress();
        try {
          const made = await requestProof(
            client,
            source,
            {
              statement: 'quality',
              model: name,
              commitment: service.manifest.commitment,
              threshold: vendor.threshold,
              rows: vendor.testSet.labels.length,
              testSet: key.testSet,
              circuit: key.circuit.digest,
              key: key.zkey,
            },
            { signal, onProgress: (news) => showProgress(progress, news) },
          );
          const report = await verifyProof(made, {
            policy: policies.prover,
            modelCommitment: service.manifest.commitment,
          });
          for (const check of report.checks) detail(`${check.status} ${check.id}: ${check.detail}`);
          const { link, mark } = keyLink(
            key.circuit.digest,
            verificationKeyDigest(made.record.verificationKey),
          );
          detail(`key: ${link}${mark ? ` (${mark})` : ''}`);
          const same =
            made.record.statement.commitment === service.document.modelCommitment &&
            made.record.statement.commitment === first.receipt.claims?.modelCommitment;
          detail(`commitment in proof, evidence and receipt: ${same ? 'the same' : 'DIFFERENT'}`);
          return { published: made, verified: report.verified && link === 'made by me' && same };
        } finally {
          progress.stop();
        }
      },
    );
    await writeWhole(folder('proofs', `${published.record.job}.json`), canonicalJson(published));

    const { record } = published;
    const result: DemoResult = {
      enclave: { hardware: service.report.claims!.hardware, measurement: service.report.claims!.measurement },
      model: { name, commitment: service.manifest.commitment },
      inferences: inferences.map(({ answer, receipt: { verdict } }) => ({
        decision: answer.label,
        receiptId: answer.receiptId,
        verified: verdict === 'accept',
      })),
      receipt,
      refusals,
      proof: {
        verified,
        rows: record.statement.rows,
        correct: vendor.correct,
        threshold: record.statement.threshold,
        baseline: vendor.baseline,
        constraints: record.constraints,
        domain: record.domain,
        seconds: round((performance.now() - proofBegan) / 1000),
        phases: record.phases,
        key: 'INSECURE-SINGLE-PARTY',
      },
      workers: record.workers.map(({ id, shards }) => ({ id, shards })),
      seconds: round((performance.now() - began) / 1000),
    };
    for (const line of summary(result, published, monitor, name)) say(line);
    return { result, monitor, stop };
  } catch (error) {
    await stop();
    throw error;
  }
}

const testFile = (name: string): string => folder('models', `${name}.test.data`);

/** The vendor's part: everything from rows to a committed model. What it keeps lies in `.vouch/models`. */
async function makeModel(name: string, rows: readonly CreditRow[]) {
  const { train: training, test } = split(rows, SEEDS.split);
  if (test.length === 0 || training.length < 10) {
    throw new VouchError(
      'bad-file',
      `data: ${rows.length} rows are too few; expected at least 20, of both classes`,
    );
  }
  const preprocessing = creditPreprocessing(training);
  const featuresOf = (list: readonly CreditRow[]) =>
    list.map(({ cells }) => preprocess(preprocessing, cells));
  const calibration = featuresOf(training);
  const network = train(
    { features: calibration, labels: training.map(({ label }) => label) },
    CREDIT_CLASSES.length,
    { seed: SEEDS.training },
  );
  const onnx = writeOnnx(onnxFromNetwork(network));
  await writeWhole(folder('models', `${name}.onnx`), onnx);
  await writeWhole(
    testFile(name),
    test.map(({ cells, label }) => `${[...cells, label + 1].join(' ')}\n`).join(''),
  );

  // From here on it is anybody's ONNX file.
  const quantised = quantise(networkFromOnnx(readOnnx(onnx)), {
    preprocessing,
    classes: CREDIT_CLASSES,
    calibration,
  });
  const model = await withSalt(name, { ...quantised, salt: randomSalt() });
  const testSet: TestSet = { features: featuresOf(test), labels: test.map(({ label }) => label) };
  const total = test.length;
  const correct = decideMany(model, testSet.features).filter((got, i) => got === testSet.labels[i]).length;
  const baseline = Math.max(
    ...CREDIT_CLASSES.map((_, label) => test.filter((row) => row.label === label).length),
  );
  const threshold = baseline + Math.ceil(MARGIN * total);
  if (correct < threshold) {
    throw new VouchError(
      'statement-false',
      `the model classifies ${correct} of ${total} test rows correctly; a constant answer ${baseline}; expected at least ${threshold}, so there is nothing to prove`,
    );
  }
  return {
    model,
    testSet,
    train: training.length,
    correct,
    baseline,
    threshold,
    examples: test.map(({ cells }) => cells),
  };
}

/** The salt is kept with the vendor's copy of the model, so that the same model keeps its commitment. */
async function withSalt(name: string, model: CommittedModel): Promise<CommittedModel> {
  const file = folder('models', `${name}.secret`);
  if (existsSync(file)) {
    try {
      const kept = decodeSecret(model.architecture, readFileSync(file));
      const same = encodeSecret({ ...model, salt: kept.salt });
      if (same.every((byte, i) => byte === encodeSecret(kept)[i])) return { ...model, salt: kept.salt };
    } catch {
      // Another architecture, or a damaged file: a new model then, with a salt of its own.
    }
  }
  await writeWhole(file, encodeSecret(model));
  return model;
}

async function writePolicies(): Promise<Record<PolicyName, Policy>> {
  const binding = ['nonce', 'hpkeKey', 'receiptKey', 'enclave'] as const;
  const policies = {
    inference: await demonstrationPolicy(['runner'], [...binding, 'modelCommitment']),
    prover: await demonstrationPolicy(['coordinator'], [...binding, 'modelCommitment']),
    worker: await demonstrationPolicy(['worker'], [...binding]),
  };
  for (const name of POLICIES)
    await writeWhole(policyFile(name), `${JSON.stringify(policies[name], null, 2)}\n`);
  return policies;
}

/** Starts the host's children under a supervisor: local roles as one child, workers and coordinator as processes. */
async function superviseHost(url: string, model: string, workers: readonly string[], log: Log) {
  const local: RunningRole[] = [];
  const args = ['--nats', url, '--creds', folder('creds')];
  const process = (role: 'worker' | 'coordinator', id: string): ChildSpec => ({
    id,
    essential: role === 'coordinator',
    start: async () => {
      await credentials(role, id, folder('creds'));
      return startProcess(role, id, args);
    },
  });
  const enclave: ChildSpec = {
    id: ENCLAVE,
    essential: true,
    start: async (): Promise<RunningChild> => {
      const roles = await startRoles(['broker', 'runner', 'gpu', 'enclave'], {
        url,
        creds: folder('creds'),
        id: ENCLAVE,
        log,
        model,
      });
      local.splice(0, local.length, ...roles);
      const { promise: exited, resolve } = Promise.withResolvers<number>();
      let stopped: Promise<void> | undefined;
      const stop = (code: number) => {
        stopped ??= stopRoles(roles, log).then(() => resolve(code));
        return stopped;
      };
      for (const { role, actor } of roles) {
        if (role === 'gpu') continue;
        actor.subscribe(({ value }: { value: unknown }) => {
          if (value === 'failed' || value === 'quarantined') void stop(1);
        });
      }
      return { exited, stop: () => stop(0) };
    },
  };
  const children = [
    enclave,
    process('coordinator', 'coordinator-1'),
    ...workers.map((id) => process('worker', id)),
  ];
  const supervisor = await startRole(
    { role: 'supervisor', id: HOST, url, creds: await credentials('supervisor', HOST, folder('creds')), log },
    supervisorRole(children),
  );
  await until(supervisor.actor, ({ value }) => value !== 'starting', 180_000);
  if (!inState(supervisor.actor, 'supervising')) {
    await supervisor.stop();
    throw new VouchError(
      'not-ready',
      'not all actors came up; what failed is said above, and in .vouch/logs',
    );
  }
  return { supervisor, local };
}

function showProgress(progress: Progress, { phase, done, total, workers }: ProofProgress): void {
  if (phase !== 'dispatching') progress.set(phase, phase === 'published' ? 1 : 0, 1);
  if (total === 0) return;
  progress.set('dispatching', done, total, 'shards');
  for (const worker of workers)
    progress.set(worker.id, worker.done, total, worker.assigned > 0 ? `+${worker.assigned} in work` : '');
}

function summary(result: DemoResult, { record }: PublishedProof, monitor: string, model: string): string[] {
  const { proof, workers } = result;
  const percent = (count: number) => `${((100 * count) / proof.rows).toFixed(1)} %`;
  const bytes = canonicalJson(record.proof).length;
  const phases = Object.entries(proof.phases).map(([name, ms]) => `${name} ${seconds(ms)}`);
  const all = workers.reduce((sum, { shards }) => sum + shards, 0);
  return [
    '',
    `Summary (SIMULATED hardware, ${proof.key} key)`,
    `  proved      at least ${proof.threshold} of ${proof.rows} rows (${percent(proof.threshold)}); a constant answer scores ${proof.baseline} (${percent(proof.baseline)}), the model ${proof.correct} (${percent(proof.correct)}) by its vendor's count`,
    `  circuit     ${proof.constraints} constraints, domain 2^${Math.log2(proof.domain)}`,
    `  proof       ${proof.verified ? 'verified' : 'NOT VERIFIED'}, ${bytes} bytes of JSON (three points), ${proof.seconds} s in all`,
    `  phases      ${phases.join(', ')}`,
    `  workers     ${workers.map(({ id, shards }) => `${id} ${shards} of ${all} shards`).join(', ')}`,
    `  receipts    ${result.inferences.map(({ receiptId }) => receiptId.slice(0, 8)).join(', ')} in .vouch/receipts and on NATS`,
    `  monitor     ${monitor}`,
    `  total       ${result.seconds} s`,
    '',
    'In a second terminal:',
    '  runtime/vouch.mjs status',
    `  head -3 ${relative(testFile(model))} | runtime/vouch.mjs infer ${model} -`,
    `  runtime/vouch.mjs verify ${relative(folder('proofs', `${record.job}.json`))} --test-set ${relative(testFile(model))}`,
  ];
}

const relative = (file: string): string =>
  file.startsWith(`${process.cwd()}/`) ? file.slice(process.cwd().length + 1) : file;
const round = (value: number): number => Math.round(value * 100) / 100;
const seconds = (ms: number): string => `${(ms / 1000).toFixed(ms < 10_000 ? 2 : 1)} s`;
const firstFailure = ({
  checks,
}: {
  checks: readonly { id: string; status: string; detail: string }[];
}): string => {
  const failed = checks.find(({ status }) => status === 'fail');
  return failed ? `${failed.id}` : 'nothing failed';
};
const durability = ({ durable }: NatsServer): string =>
  durable
    ? 'syncs before it acknowledges'
    : 'WEAKER: this server acknowledges before it syncs; 2.10 or newer does not';
