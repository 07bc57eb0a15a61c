/**
 * The main job, end to end: NATS, one actor of each kind, a private inference with evidence and receipt, and a
 * quality proof made by several processes. Three parties that are different in life play together: the vendor
 * (vendor.ts), the host (host.ts) and, here, the client, who verifies everything.
 */
import { verifyEvidence } from '../../protocols/attestation/verify.ts';
import { messageOf, VouchError } from '../../protocols/errors.ts';
import { askedOf } from '../../protocols/proof.ts';
import { verifyReceipt } from '../../protocols/receipt.ts';
import type { Role } from '../../protocols/subjects.ts';
import { DEFAULT_TERMS } from '../../protocols/terms.ts';
import { measure } from '../attest/measurement.ts';
import { type Inference, infer, sendSealed, verifyService } from '../client/client.ts';
import { keepDecision } from '../client/decisions.ts';
import { acquaint } from '../client/pins.ts';
import {
  awaitStatement,
  judgeProof,
  keyAudience,
  prepareStatement,
  saveProof,
} from '../client/quality-proof.ts';
import { folder } from '../home/home.ts';
import { publishRunning } from '../home/running.ts';
import { authority, credentials } from '../installation/credentials.ts';
import { writePolicies } from '../installation/policies.ts';
import { CREDIT, readCreditData } from '../models/credit-data.ts';
import { readManifest } from '../models/obtain.ts';
import { keepPublished, publishModel } from '../models/publish.ts';
import { readRows } from '../models/test-sets.ts';
import { checkRows, commitOnnx, testFile } from '../models/vendor.ts';
import { vendorName, vendorSigner } from '../models/vendor-key.ts';
import { reachable, urlOf } from '../nats/address.ts';
import type { Bus } from '../nats/bus.ts';
import { connect } from '../nats/connect.ts';
import { provision } from '../nats/provision.ts';
import { startNats } from '../nats/server.ts';
import { closeSnarkjs } from '../prove/snarkjs.ts';
import { hasTag, until } from '../roles/host.ts';
import { startMonitorRole } from '../roles/monitor.ts';
import { notChecked } from '../verdict/checks.ts';
import { HOST, startHost } from './host.ts';
import { certificateFor, LOOPBACK, linkLines, type Reach, restoreServer } from './hosts.ts';
import { claimHome } from './lock.ts';
import { createReport, type DemoResult, firstFailure, judged, suggestions, summary } from './report.ts';
import { sampleData } from './sample.ts';
import { trainOnnx } from './trainer.ts';

const SAMPLE_SEED = 1;
const APPLICATIONS = 3;
const CLIENT = 'client-1';
const SOURCE = `client.${CLIENT}`;

export interface DemoOptions extends Reach {
  /** an existing server's URL; otherwise nats-server is started */
  readonly nats?: string | undefined;
  /** a file in German Credit's format; otherwise generated sample data */
  readonly data?: string | undefined;
  readonly workers: number;
  readonly port?: number | undefined;
  /** of the same server, for browsers */
  readonly websocket?: number | undefined;
  /** whether it ends after the summary */
  readonly once: boolean;
  /** every check, not only their number */
  readonly verbose: boolean;
  readonly signal: AbortSignal;
}

/** Runs the main job. Returns its result, and `stop`, which drains and stops everything that was started. */
export async function runDemo(options: DemoOptions): Promise<{ result: DemoResult; stop(): Promise<void> }> {
  const { signal, verbose } = options;
  const began = performance.now();
  const report = createReport(process.stderr, signal);
  const log = (line: string) => report.line(`  · ${line}`);
  const stops: Array<() => Promise<unknown>> = [];
  /** Something that is being started is stopped as well, once it has. */
  const stopLater = (starting: Promise<{ stop(): Promise<unknown> }>) =>
    void stops.push(async () => (await starting.catch(() => undefined))?.stop());
  const stop = async () => {
    for (const each of stops.splice(0).reverse())
      await each().catch((error: unknown) => log(`while stopping: ${messageOf(error)}`));
    await closeSnarkjs();
  };

  try {
    const rows =
      options.data === undefined ? readCreditData(sampleData(SAMPLE_SEED)) : readRows(options.data, CREDIT);
    checkRows(rows, CREDIT);
    const name = options.data === undefined ? 'credit-sample' : 'credit';
    stops.push(await claimHome());

    const servers: string[] = [];
    const url = await report.step('NATS', async ({ detail }) => {
      await authority();
      if (options.nats) {
        detail(`using ${options.nats}`);
        return options.nats;
      }
      const { host } = { ...LOOPBACK, ...options.listen };
      const starting = startNats({
        stateDir: folder(),
        onLog: log,
        host,
        tls: await certificateFor(host, options),
        websocketPort: options.websocket,
        ...port(options),
      });
      stopLater(starting);
      const server = await starting;
      for (const name of reachable(host)) {
        const scheme = new URL(server.url).protocol.replace(':', '');
        servers.push(urlOf(scheme, name, server.port));
      }
      if (server.websocket) log(`browsers: ${server.websocket}`);
      const durability = server.durable
        ? 'it syncs before it acknowledges'
        : 'WEAKER: it acknowledges before it syncs, 2.10 or newer does not';
      detail(`nats-server ${server.version} at ${server.url}; ${durability}`);
      if (servers.length > 0) detail(`for other hosts at ${servers.join(', ')}`);
      if (servers.length > 0 && !options.tls)
        detail('WARNING: without TLS whoever carries it can read and change what is not sealed');
      return server.url;
    });
    const open = async (role: Role, id: string): Promise<Bus> => {
      const renewed = () => credentials(role, id, folder('creds'));
      const bus = await connect({
        url,
        creds: await renewed(),
        renewed,
        warn: log,
        onError: (error) => log(`${role}.${id}: ${messageOf(error)}`),
      });
      stops.push(() => bus.close());
      return bus;
    };

    const { vendor, policies, vendorKey } = await report.step(
      'Vendor: a model trained, exported as ONNX, quantised, sealed',
      async ({ detail }) => {
        const provisioner = await open('provisioner', HOST);
        if (!provisioner.server.authenticated) {
          log(
            'WARNING: this NATS server asks nobody who they are, so the rights of roles are not enforced on it',
          );
        }
        await provision(provisioner);
        const written = await writePolicies();
        const made = await commitOnnx(name, trainOnnx(rows), rows, CREDIT);
        const { model, calibrated, testSet } = made;
        if (made.correct < made.threshold) {
          throw new VouchError(
            'statement-false',
            `the model classifies ${made.correct} of ${testSet.labels.length} test rows correctly, a constant answer ${made.baseline}: there is nothing to prove`,
          );
        }
        const signer = await vendorSigner(detail);
        const { commitment } = await publishModel(provisioner, 'provisioner.vendor', {
          name,
          model,
          policy: written.release,
          terms: {
            ...DEFAULT_TERMS,
            minimumRows: Math.min(DEFAULT_TERMS.minimumRows, testSet.labels.length),
          },
          vendor: signer,
        });
        // A server that restarts has lost its memory streams, one whose disk was wiped the others too.
        const restore = await keepPublished(provisioner, name);
        provisioner.onState((state) => {
          if (state === 'connected') void restoreServer(provisioner, restore, log);
        });
        const shape = model.architecture.layers.map(({ inputs, outputs }) => `${inputs}x${outputs}`);
        detail(
          `${name}: ${calibrated} rows to train, ${testSet.labels.length} to test; ${shape.join(' and ')} integer weights`,
        );
        detail(`commitment ${commitment}`);
        detail(`manifest signed by vendor ${vendorName(signer).fingerprint}`);
        return { vendor: made, policies: written, vendorKey: vendorName(signer).fingerprint };
      },
    );

    const { host, monitor } = await report.step(
      `Host: enclave, GPU, runner, key-broker, coordinator, ${options.workers} MSM workers`,
      async ({ detail }) => {
        const { host: place, port: at } = { ...LOOPBACK, ...options.monitorListen };
        const tls = await certificateFor(place, options);
        const page = await startMonitorRole({
          bus: await open('monitor', HOST),
          log,
          host: place,
          tls,
          ...(at === undefined ? {} : { port: at }),
        });
        if (tls) detail(`monitor ${page.url}, its certificate's SHA-256 fingerprint ${tls.fingerprint}`);
        stops.push(() => page.close());
        if (signal.aborted) throw new VouchError('cancelled', 'stopped');
        const starting = startHost({ url, model: name, workers: options.workers, log });
        stopLater(starting);
        const started = await starting;
        await started.ready;
        detail(
          hasTag(started.role('gpu').actor, 'up')
            ? 'GPU: ready; the runner uses it'
            : 'no GPU on this machine: the runner and the workers use the CPU (WebAssembly)',
        );
        detail('coordinator and workers run in processes of their own');
        return { host: started, monitor: page.url };
      },
    );
    stops.push(await publishRunning({ url, servers, creds: folder('creds'), monitor, model: name }));

    const client = await open('client', CLIENT);
    const service = await report.step('Client: evidence of the enclave, verified', async ({ detail }) => {
      const { actor } = host.role('runner');
      await until(actor, (now) => now.hasTag('up'), 60_000);
      // Here the client knows the vendor: it has it from the step before, as others have it from a website or a contract.
      const manifest = await readManifest(client, name);
      await acquaint(manifest, { vendor: vendorKey, say: detail });
      const verified = await verifyService(client, SOURCE, name, policies.inference, manifest);
      const [count, ...all] = judged(verified.report, verbose);
      const { label, measurement } = verified.report.claims!;
      detail(`${verified.report.verdict}: ${label}, ${count}`);
      for (const line of all) detail(line);
      detail(`measurement ${measurement.slice(0, 32)}...`);
      detail('bound to it: the nonce, the keys to seal to and to sign receipts with, the commitment');
      return verified;
    });

    const inferences = await report.step(
      `Client: ${APPLICATIONS} credit applications sealed, decided, receipts verified`,
      async ({ detail }) => {
        const out: Inference[] = [];
        for (const row of vendor.examples.slice(0, APPLICATIONS)) {
          const one = await infer(client, SOURCE, service, policies.inference, row);
          const { label, provider, receiptId } = one.answer;
          detail(`${label.padEnd(5)} receipt ${receiptId} (${one.receipt.claims?.label}, by ${provider})`);
          out.push(one);
        }
        return out;
      },
    );
    const first = inferences[0]!;

    const { receipt, refusals } = await report.step(
      'Client: a receipt verified offline, and three refusals',
      async ({ detail }) => {
        for (const [i, one] of inferences.entries())
          await keepDecision(folder('receipts'), service, vendor.examples[i]!, one);
        const question = {
          policy: policies.inference,
          now: new Date(),
          manifest: service.published,
        };
        const right = await verifyReceipt(first.bundle, question);
        detail(`receipt            ${right.verdict}, ${right.checks.length} checks (SIMULATED)`);
        detail(`                   ${notChecked(right.checks)}`);

        const bytes = Uint8Array.from(first.bundle);
        bytes[Math.floor(bytes.length / 2)]! ^= 1;
        const tampered = await verifyReceipt(bytes, question);
        detail(`tampered receipt   ${tampered.verdict}: ${firstFailure(tampered)}`);

        const wrong = await verifyEvidence({
          document: service.document,
          policy: { ...policies.inference, measurements: [measure('monitor')] },
          nonce: service.nonce,
          now: new Date(),
        });
        detail(`wrong measurement  ${wrong.verdict}: ${firstFailure(wrong)}`);

        const replay = await sendSealed(client, SOURCE, service, first.sealed).then(
          () => 'ANSWERED',
          (error: unknown) => (error instanceof VouchError ? error.code : messageOf(error)),
        );
        detail(
          `replayed nonce     ${replay === 'replayed' ? 'reject: the runner has seen this message' : replay}`,
        );
        return {
          receipt: { verified: right.verdict === 'accept' },
          refusals: {
            tamperedReceipt: tampered.verdict === 'reject',
            wrongMeasurement: wrong.verdict === 'reject',
            replay: replay === 'replayed',
          },
        };
      },
    );

    const prepared = await report.step('Client: circuit and proving key', async ({ detail, progress }) => {
      const made = await prepareStatement(
        client,
        { manifest: service.manifest, testSet: vendor.testSet, threshold: vendor.threshold },
        { progress: progress(), signal },
      );
      detail(`${made.circuit.constraints} constraints; key ${keyAudience(made.key.mark)}`);
      return made;
    });

    const proofBegan = performance.now();
    const { published, verified } = await report.step(
      'Proof: how many test rows are classified correctly',
      async ({ detail, progress }) => {
        const answered = await awaitStatement(client, SOURCE, prepared, { progress: progress(), signal });
        const { published: made, job } = answered;
        const verdict = await judgeProof(made, {
          policy: policies.prover,
          modelCommitment: service.manifest.commitment,
          job,
          testSet: () => vendor.testSet,
          dictionary: CREDIT,
        });
        const [count, ...all] = judged(verdict, verbose);
        const proved = askedOf(made.record.statement);
        detail(`at least ${proved.threshold} of ${proved.rows}`);
        detail(`${verdict.accepted ? 'verified' : 'NOT VERIFIED'} with snarkjs: ${count}`);
        for (const line of all) detail(line);
        detail(`key: ${verdict.key.link} (${verdict.key.mark})`);
        const { commitment } = made.record.statement;
        const same =
          commitment === service.document.modelCommitment &&
          commitment === first.receipt.claims?.modelCommitment;
        detail(verdict.sentence);
        detail(`commitment in proof, evidence and receipt: ${same ? 'the same' : 'DIFFERENT'}`);
        return { published: made, verified: verdict.accepted && same };
      },
    );
    const proofMs = performance.now() - proofBegan;
    const proofFile = await saveProof(published);

    const { record } = published;
    const claims = service.report.claims!;
    const result: DemoResult = {
      enclave: { hardware: claims.hardware, measurement: claims.measurement },
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
        rows: vendor.testSet.labels.length,
        correct: vendor.correct,
        threshold: askedOf(record.statement).threshold,
        baseline: vendor.baseline,
        constraints: record.constraints,
        domain: record.domain,
        seconds: round(proofMs / 1000),
        phases: record.phases,
        key: prepared.key.mark,
      },
      workers: record.workers.map(({ id, shards }) => ({ id, shards })),
      seconds: round((performance.now() - began) / 1000),
    };
    const files = { test: nearest(testFile(name)), proof: nearest(proofFile) };
    for (const line of summary(result, published, monitor)) report.line(line);
    if (!options.once) {
      for (const line of suggestions(name, files)) report.line(line);
      for (const line of await linkLines(servers)) report.line(line);
    }
    return { result, stop };
  } catch (error) {
    await stop();
    throw error;
  }
}

const port = ({ listen, port = listen?.port }: DemoOptions) => (port ? { port } : {});
const round = (value: number): number => Math.round(value * 100) / 100;
/** A path as a person here would type it. */
const nearest = (file: string): string =>
  file.startsWith(`${process.cwd()}/`) ? file.slice(process.cwd().length + 1) : file;
