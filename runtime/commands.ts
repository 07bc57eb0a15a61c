/** What the commands of the CLI do; `cli.ts` parses the words and knows the exit codes. */
import { readFile } from 'node:fs/promises';
import path from 'node:path';
import { z } from 'zod';
import { readZkey } from '../circuits/groth16/zkey.ts';
import { parseArchitecture } from '../circuits/model/architecture.ts';
import { cellsOf, preprocess } from '../circuits/model/preprocessing.ts';
import { encodeTestSet, type TestSet } from '../circuits/model/test-set.ts';
import { canonicalJson } from '../protocols/encoding.ts';
import { decodeMessage, parse } from '../protocols/envelope.ts';
import { messageOf, VouchError } from '../protocols/errors.ts';
import { PublishedProof } from '../protocols/proof.ts';
import { verifyReceipt } from '../protocols/receipt.ts';
import { filters, ROLES, type Role } from '../protocols/subjects.ts';
import { Heartbeat } from '../protocols/transition.ts';
import { simulatedRoot } from './attest/identity.ts';
import { putBlob } from './blobs.ts';
import { type Bus, connect } from './bus.ts';
import { LIFELINE, READY_LINE } from './child.ts';
import { infer, requestProof, verifyProof, verifyService } from './client.ts';
import { folder, readContext, readNamed, writeWhole } from './context.ts';
import { readCreditData } from './demo/data.ts';
import { LEASE_MS } from './host.ts';
import { readManifest } from './models.ts';
import { createProgress } from './progress.ts';
import { startMonitorRole } from './roles/monitor.ts';
import {
  authority,
  credentials,
  policyFile,
  readPolicy,
  STARTABLE,
  type Startable,
  startRoles,
  stopRoles,
} from './roles/start.ts';
import type { Log } from './service.ts';
import {
  circuitDigestOf,
  keyLink,
  prepareCircuit,
  prepareKey,
  rememberKey,
  verificationKeyDigest,
} from './setup.ts';
import { ceremonyKey, closeSnarkjs } from './snarkjs.ts';

const CLIENT = 'client-1';
const MAX_INPUT_BYTES = 64 * 1024 * 1024;

interface Network {
  readonly url: string;
  readonly creds: string;
}
type Print = (value: unknown) => void;

/** Connects with the credentials of a role, runs `work`, disconnects whatever happens. */
async function withBus<T>(
  role: Role,
  id: string,
  { url, creds }: Network,
  work: (bus: Bus) => Promise<T>,
): Promise<T> {
  const bus = await connect({ url, creds: await credentials(role, id, creds) });
  try {
    return await work(bus);
  } finally {
    await bus.close();
    await closeSnarkjs();
  }
}

/** `vouch start`: runs roles until stopped; `lifeline` resolves when the parent of a child process is gone. */
export async function startRolesFor(
  roles: readonly string[],
  options: Network & { id: string; model?: string; threads?: number; policy?: string; port?: number },
  say: Log,
): Promise<{ lifeline: Promise<void>; failed: Promise<void>; stop(): Promise<void> }> {
  const known: readonly string[] = [...STARTABLE, 'monitor'];
  const wrong = roles.find((role) => !known.includes(role));
  if (wrong)
    throw new VouchError('bad-input', `start: expected roles among ${known.join(', ')}, got ${wrong}`);
  const actors = roles.filter((role): role is Startable => role !== 'monitor');
  const running = await startRoles(actors, { ...options, log: say, insecureBlinding: insecureBlinding() });
  const stops: Array<() => Promise<unknown>> = [() => stopRoles(running, say)];
  if (roles.includes('monitor')) {
    const bus = await connect({
      url: options.url,
      creds: await credentials('monitor', options.id, options.creds),
    });
    const monitor = await startMonitorRole({
      bus,
      simulated: true,
      log: say,
      ...(options.port ? { port: options.port } : {}),
    });
    say(`monitor: ${monitor.url}`);
    stops.push(
      () => bus.close(),
      () => monitor.close(),
    );
  }
  process.stdout.write(`${READY_LINE}\n`);
  const lifeline = new Promise<void>((resolve) => {
    if (!process.env[LIFELINE]) return;
    process.stdin
      .once('end', resolve)
      .once('close', () => resolve())
      .resume();
  });
  // No GPU is a state to report, not a failure.
  const watched = running.filter(({ role }) => role !== 'gpu');
  const failed = new Promise<void>((resolve) => {
    for (const { actor } of watched) {
      actor.subscribe(({ value }: { value: unknown }) => {
        if (value !== 'failed' && value !== 'suspended' && value !== 'quarantined') return;
        say(`${actor.id} is ${value} and does not work any more; see above`);
        process.exitCode = 1;
        resolve();
      });
    }
  });
  return {
    lifeline,
    failed,
    async stop() {
      for (const stop of stops.reverse()) await stop();
      await closeSnarkjs();
    },
  };
}

/** Fixed r and s, for tests that compare proofs. Ignored unless a test says that it is one. */
function insecureBlinding(): { r: bigint; s: bigint } | undefined {
  const text = process.env.VOUCH_TEST_BLINDING;
  if (text === undefined || process.env.NODE_ENV !== 'test') return undefined;
  const [r, s] = text.split(',').map(BigInt);
  return r === undefined || s === undefined ? undefined : { r, s };
}

/** `vouch infer`: one line per application. */
export async function inferFile(
  model: string,
  file: string,
  options: Network & { policy?: string; json: boolean },
  print: Print,
): Promise<void> {
  const text =
    file === '-'
      ? await readStdin()
      : new TextDecoder().decode(readNamed(file, 'applications', MAX_INPUT_BYTES));
  const policy = readPolicy(options.policy ?? policyFile('inference'));
  await withBus('client', CLIENT, options, async (bus) => {
    const source = `client.${CLIENT}`;
    const manifest = await readManifest(bus, model);
    const rows = applications(text, parseArchitecture(manifest.architecture).preprocessing);
    const service = await verifyService(bus, source, model, policy);
    for (const row of rows) {
      const { answer, bundle, receipt } = await infer(bus, source, service, policy, row);
      const saved = folder('receipts', `${answer.receiptId}.cose`);
      await writeWhole(saved, bundle);
      const { decision, label, logits, provider, receiptId } = answer;
      const hardware = receipt.claims?.label;
      print(
        options.json
          ? { decision, label, logits, provider, receiptId, receipt: saved, evidence: hardware }
          : `${label}\t${hardware}\t${saved}`,
      );
    }
  });
}

async function readStdin(): Promise<string> {
  const parts: Buffer[] = [];
  let size = 0;
  for await (const part of process.stdin) {
    parts.push(part);
    size += part.length;
    if (size > MAX_INPUT_BYTES)
      throw new VouchError('too-large', `stdin: expected at most ${MAX_INPUT_BYTES} bytes`);
  }
  return Buffer.concat(parts).toString('utf8');
}

type Preprocessing = Parameters<typeof preprocess>[0];

/**
 * Rows of cells from JSON (an array of cells or an object by column name, or an array of such) or lines separated
 * by commas, tabs or spaces. A label column at the end, and a header with the columns' names, are left out. Every
 * row is checked here, before anything is sealed.
 */
export function applications(text: string, preprocessing: Preprocessing): string[][] {
  const names = preprocessing.columns.map(({ name }) => name);
  const rows = /^\s*[[{]/.test(text) ? jsonRows(text, preprocessing) : lineRows(text, names);
  if (rows.length === 0)
    throw new VouchError('bad-input', 'applications: expected at least one row, got none');
  rows.forEach((row, i) => {
    const cells = row.length === names.length + 1 ? row.slice(0, -1) : row;
    if (cells.length !== names.length) {
      throw new VouchError(
        'bad-input',
        `row ${i + 1}: expected ${names.length} cells (${names.slice(0, 3).join(', ')}, ...), got ${row.length}`,
      );
    }
    try {
      preprocess(preprocessing, cells);
    } catch (error) {
      throw new VouchError('bad-input', `row ${i + 1}: ${messageOf(error)}`);
    }
    rows[i] = cells;
  });
  return rows;
}

const Cell = z.union([z.string(), z.number().transform(String)]);

function jsonRows(text: string, preprocessing: Preprocessing): string[][] {
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch (error) {
    throw new VouchError('bad-input', `applications: expected JSON or CSV; as JSON: ${messageOf(error)}`);
  }
  const list =
    Array.isArray(json) && json.every((entry) => typeof entry === 'object' && entry !== null) ? json : [json];
  return list.map((entry: unknown, i) => {
    if (!Array.isArray(entry)) return cellsOf(preprocessing, entry as Record<string, unknown>);
    const cells = z.array(Cell).safeParse(entry);
    if (!cells.success)
      throw new VouchError('bad-input', `row ${i + 1}: expected an array of strings or numbers`);
    return cells.data;
  });
}

function lineRows(text: string, names: readonly string[]): string[][] {
  const rows = text
    .replace(/^\uFEFF/, '')
    .split(/\r?\n/)
    .filter((line) => line.trim() !== '')
    .map((line) =>
      (line.includes(',') ? line.split(',') : line.trim().split(/\s+/)).map((cell) =>
        cell.trim().replace(/^"(.*)"$/, '$1'),
      ),
    );
  return rows[0]?.[0] === names[0] ? rows.slice(1) : rows;
}

/** The labelled rows of a test-set file as the architecture's features. */
function readTestSet(file: string, architecture: ReturnType<typeof parseArchitecture>): TestSet {
  const rows = readCreditData(new TextDecoder().decode(readNamed(file, 'test set', MAX_INPUT_BYTES)));
  return {
    features: rows.map(({ cells }) => preprocess(architecture.preprocessing, cells)),
    labels: rows.map(({ label }) => label),
  };
}

const defaultTestSet = (given: string | undefined, what: string): string => {
  const file = given ?? readContext().testSet;
  if (!file) throw new VouchError('bad-input', `${what}: expected --test-set FILE, got none`);
  return file;
};

/** `vouch prove`: sets up what is missing, asks, waits, verifies, saves. */
export async function proveModel(
  model: string,
  options: Network & { testSet?: string; threshold?: number; policy?: string; out?: string; json: boolean },
  { say, print, signal }: { say: Log; print: Print; signal: AbortSignal },
): Promise<void> {
  const policy = readPolicy(options.policy ?? policyFile('prover'));
  const file = defaultTestSet(options.testSet, 'prove');
  const threshold = options.threshold ?? readContext().threshold;
  if (threshold === undefined) throw new VouchError('bad-input', 'prove: expected --threshold T, got none');
  await withBus('client', CLIENT, options, async (bus) => {
    const source = `client.${CLIENT}`;
    const manifest = await readManifest(bus, model);
    const architecture = parseArchitecture(manifest.architecture);
    const testSet = readTestSet(file, architecture);
    if (threshold > testSet.labels.length) {
      throw new VouchError(
        'bad-input',
        `threshold: expected at most ${testSet.labels.length}, the number of rows, got ${threshold}`,
      );
    }
    const progress = createProgress();
    try {
      progress.line('compiling the circuit');
      const circuit = await prepareCircuit(architecture, testSet, { signal });
      const key = await prepareKey(circuit, {
        signal,
        onProgress: ({ done, total }) => progress.set('setup', done, total, 'points'),
      });
      const statement = {
        statement: 'quality' as const,
        model,
        commitment: manifest.commitment,
        threshold,
        rows: testSet.labels.length,
        testSet: (await putBlob(bus, encodeTestSet(testSet), { signal })).digest,
        circuit: circuit.digest,
        key: (await putBlob(bus, key.zkey, { signal })).digest,
      };
      const published = await requestProof(bus, source, statement, {
        signal,
        onProgress: ({ phase, done, total }) => progress.set(phase, done, total),
      });
      const report = await verifyProof(published, { policy, modelCommitment: manifest.commitment });
      const out = options.out ?? folder('proofs', `${published.record.job}.json`);
      await writeWhole(out, canonicalJson(published), 0o644);
      if (options.json) print(published);
      else
        print(
          `${report.verified ? 'verified' : 'NOT VERIFIED'}\tat least ${threshold} of ${statement.rows} rows\t${out}`,
        );
      say(`key: ${key.mark}: it convinces its maker only`);
      if (!report.verified)
        throw new VouchError(
          'proof-rejected',
          `the proof does not verify: ${report.checks.find(({ status }) => status === 'fail')?.detail}`,
        );
    } finally {
      progress.stop();
    }
  });
}

interface Row {
  readonly id: string;
  readonly status: string;
  readonly detail: string;
}

/** `vouch verify`: offline. Returns the verdict. */
export async function verifyFile(
  file: string,
  options: { policy?: string; testSet?: string; trustKey?: string; json: boolean },
  print: Print,
): Promise<boolean> {
  const bytes = readNamed(file, 'file', MAX_INPUT_BYTES);
  const isProof = bytes[0] === 0x7b;
  const { accepted, checks, claims } = isProof
    ? await checkProof(bytes, options)
    : checkReceipt(bytes, options);
  if (options.json) print({ verdict: accepted ? 'accept' : 'reject', checks, claims });
  else {
    for (const { id, status, detail } of checks) print(`${id.padEnd(28)} ${status.padEnd(8)} ${detail}`);
    print(`verdict: ${accepted ? 'accept' : 'reject'}`);
  }
  return accepted;
}

function checkReceipt(bytes: Uint8Array, options: { policy?: string }) {
  const policy = readPolicy(options.policy ?? policyFile('inference'));
  // Whoever holds only the receipt cannot know the vendor's release policy; the signature says which one it was.
  const first = verifyReceipt(bytes, { policy, now: new Date() });
  const report = verifyReceipt(bytes, { policy, now: new Date(), releasePolicy: first.claims?.policy });
  const claims = report.claims && { ...report.claims, time: report.claims.time.toISOString() };
  return { accepted: report.verdict === 'accept', checks: report.checks as readonly Row[], claims };
}

async function checkProof(
  bytes: Uint8Array,
  options: { policy?: string; testSet?: string; trustKey?: string },
) {
  let json: unknown;
  try {
    json = JSON.parse(new TextDecoder().decode(bytes));
  } catch {
    throw new VouchError('bad-file', 'proof: expected JSON, got a file that is truncated or damaged');
  }
  let published: PublishedProof;
  try {
    published = parse(PublishedProof.schema, json, 'proof');
  } catch (error) {
    throw new VouchError('bad-file', `proof: not a published proof: ${messageOf(error)}`);
  }
  const policy = readPolicy(options.policy ?? policyFile('prover'));
  const { checks } = await verifyProof(published, { policy });
  await closeSnarkjs();
  const { statement, verificationKey } = published.record;
  const rows: Row[] = [...checks];
  const note = (id: string, passed: boolean, detail: string) =>
    rows.push({ id, status: passed ? 'pass' : 'fail', detail });
  const architecture = parseArchitecture(published.record.architecture);
  if (options.testSet) {
    const testSet = readTestSet(options.testSet, architecture);
    const digest = await circuitDigestOf(architecture, testSet);
    note(
      'proof.test-set',
      digest === statement.circuit && testSet.labels.length === statement.rows,
      `the circuit is that of ${options.testSet} and this architecture`,
    );
  } else {
    note(
      'proof.test-set',
      false,
      'expected --test-set FILE: which rows the proof is about is not checked without it',
    );
  }
  const digest = verificationKeyDigest(verificationKey);
  const { link, mark } = keyLink(statement.circuit, digest);
  const trusted = link !== 'unproven' || options.trustKey === digest;
  const by =
    link === 'unproven'
      ? trusted
        ? 'unproven, trusted by --trust-key'
        : `unproven; --trust-key ${digest} accepts it`
      : link;
  note('proof.key', trusted, `key and circuit: ${by}${mark ? ` (${mark})` : ''}`);
  return {
    accepted: rows.every(({ status }) => status === 'pass'),
    checks: rows,
    claims: { statement, key: link, verificationKey: digest, hardware: published.maker.hardware },
  };
}

/** `vouch setup`: the ceremony path, by snarkjs; the result replaces the single-party key of that circuit. */
export async function ceremonySetup(
  options: Network & { ptau: string; model: string; testSet?: string },
  say: Log,
): Promise<void> {
  const file = defaultTestSet(options.testSet, 'setup');
  readNamed(options.ptau, 'powers of tau');
  const architecture = await withBus('client', CLIENT, options, async (bus) =>
    parseArchitecture((await readManifest(bus, options.model)).architecture),
  );
  say('compiling the circuit');
  const circuit = await prepareCircuit(architecture, readTestSet(file, architecture));
  const zkey = await ceremonyKey(await readFile(circuit.r1csPath), options.ptau, say);
  readZkey(zkey);
  await rememberKey(circuit.digest, zkey, { origin: 'ceremony', mark: 'CEREMONY' });
  say(`key for circuit ${circuit.digest} made and checked against ${options.ptau}`);
}

/** `vouch status`: listens for as long as a lease lasts, then says who was heard. */
export async function showStatus(options: Network & { json: boolean }, print: Print): Promise<void> {
  await withBus('client', CLIENT, options, async (bus) => {
    const heard = new Map<string, { beat: Heartbeat; at: number }>();
    bus.subscribe(filters.beats, ({ subject, data }) => {
      const { body } = decodeMessage(Heartbeat, subject, data);
      heard.set(`${body.kind}.${body.id}`, { beat: body, at: Date.now() });
    });
    await bus.flush();
    await new Promise((resolve) => setTimeout(resolve, LEASE_MS / 2));
    const actors = [...heard.values()]
      .map(({ beat, at }) => ({
        kind: beat.kind,
        id: beat.id,
        state: beat.state,
        ageMs: Date.now() - at,
        counts: beat.counts,
        ...(beat.worker ? { worker: { ...beat.worker, resident: beat.worker.resident.length } } : {}),
      }))
      .sort((a, b) => (`${a.kind}.${a.id}` < `${b.kind}.${b.id}` ? -1 : 1));
    if (options.json) print({ server: { version: bus.server.version, url: options.url }, actors });
    else {
      print(`nats-server ${bus.server.version} at ${options.url}`);
      if (actors.length === 0) print('no actor was heard');
      for (const { kind, id, state, worker } of actors) {
        print(
          `${kind.padEnd(12)} ${id.padEnd(16)} ${state.padEnd(14)} ${worker ? `${worker.class}, ${worker.engine}, credit ${worker.credit}` : ''}`.trimEnd(),
        );
      }
    }
  });
}

/** `vouch creds`: credentials for another host, with the SIMULATED root where the role needs evidence. */
export async function makeCredentials(
  role: string,
  { id, out, days }: { id: string; out: string; days: number },
): Promise<string[]> {
  if (!(ROLES as readonly string[]).includes(role)) {
    throw new VouchError('bad-input', `creds: expected a role among ${ROLES.join(', ')}, got ${role}`);
  }
  const file = path.join(out, `${role}_${id}.creds`);
  await writeWhole(file, await (await authority()).mintUser(role as Role, id, { ttlSeconds: days * 86_400 }));
  if (!['worker', 'coordinator', 'runner'].includes(role)) return [file];
  const root = path.join(out, 'keys', 'simulated-root');
  await simulatedRoot();
  await writeWhole(root, await readFile(folder('keys', 'simulated-root')));
  return [file, root];
}
