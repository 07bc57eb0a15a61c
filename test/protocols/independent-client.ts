/**
 * A client of Vouch written from docs/PROTOCOL.md alone: it imports nothing of this project (a test reads its
 * imports), so that what the document forgets to say fails here. Section numbers are the document's.
 *
 * One file, although it is long: one reader follows one document.
 */
import {
  createDecipheriv,
  createHash,
  createHmac,
  createPublicKey,
  hkdfSync,
  randomBytes,
  randomUUID,
  verify,
} from 'node:crypto';
import { Aes256Gcm, CipherSuite, DhkemX25519HkdfSha256, HkdfSha256 } from '@hpke/core';
import { decode, encode, rfc8949EncodeOptions } from 'cborg';
import { connect, credsAuthenticator, headers, type Msg, type NatsConnection } from 'nats';

type Json = Record<string, unknown>;
interface Gpu {
  ccMode: string;
  ready: boolean;
  devices: { format: string; evidence: string; certificates: string[] }[];
}
interface Document {
  version: number;
  hardware: boolean;
  cpu: { format: string; evidence: string };
  gpu: Gpu | null;
  gpuEvidence: string | null;
  time: number;
  nonce: string;
  hpkeKey: string;
  xWingKey: string | null;
  receiptKey: string | null;
  tlsKey: string | null;
  modelCommitment: string | null;
  enclave: string;
}
export interface Policy {
  platforms: string[];
  measurements: string[];
  minimumTcb: Record<string, number[]>;
  debug: boolean;
  maxAgeSeconds: number;
  simulated: boolean;
  simulatedRoots: string[];
}

/** An `error` message of the other side. */
export class Refused extends Error {
  readonly code: string;
  constructor({ code, message }: { code: string; message: string }) {
    super(message);
    this.code = code;
  }
}
function demand(condition: boolean, what: string): asserts condition {
  if (!condition) throw new Error(`refused: ${what}`);
}

const R = 21888242871839275222246405745257275088548364400416034343698204186575808495617n;
const sha256 = (data: Uint8Array | string) => createHash('sha256').update(data).digest();
const raw = (text: string) => Buffer.from(text, 'base64url');
const suite = () =>
  new CipherSuite({ kem: new DhkemX25519HkdfSha256(), kdf: new HkdfSha256(), aead: new Aes256Gcm() });

// --- 2. Connecting

export async function connectAs(url: string, creds: string): Promise<{ nc: NatsConnection; source: string }> {
  const jwt = /BEGIN NATS USER JWT-+\s+[\w-]+\.([\w-]+)\./.exec(creds)![1]!;
  const { name, nats } = JSON.parse(raw(jwt).toString()) as { name: string; nats: { tags: string[] } };
  const role = nats.tags.find((tag) => tag.startsWith('role:'))!.slice(5);
  const nc = await connect({
    servers: url,
    authenticator: credsAuthenticator(Buffer.from(creds)),
    inboxPrefix: `_INBOX.${role}.${name}`,
  });
  return { nc, source: `${role}.${name}` };
}

export async function directGet(nc: NatsConnection, stream: string, subject: string): Promise<Uint8Array> {
  const reply = await nc.request(`$JS.API.DIRECT.GET.${stream}.${subject}`);
  demand(!reply.headers?.code && reply.headers?.get('Nats-Subject') === subject, `nothing on ${subject}`);
  return reply.data;
}

// --- 4. Messages

export function envelope(type: string, subject: string, source: string, body: Json, more: Json = {}): Json {
  return {
    id: randomUUID(),
    type,
    version: 1,
    source,
    time: new Date().toISOString(),
    subject,
    body,
    ...more,
  };
}

function checked(json: string, type: string, subject: string, cause?: string, version = 1): Json {
  const message = JSON.parse(json) as Json;
  if (message.type === 'error' && cause !== undefined) throw new Refused(message.body as never);
  demand(
    message.type === type && message.version === version,
    `${type}, version ${version}, got ${message.type}`,
  );
  demand(message.subject === subject, 'the subject');
  demand(cause === undefined || message.cause === cause, 'the cause');
  return message.body as Json;
}

export async function ask(nc: NatsConnection, question: Json, answer: string): Promise<Json> {
  const subject = question.subject as string;
  const reply = await nc.request(subject, JSON.stringify(question), { timeout: 10_000 });
  return checked(Buffer.from(reply.data).toString(), answer, subject, question.id as string);
}

// --- 7. Evidence

/** Deterministic CBOR: what is decoded encodes to the same bytes. */
function cbor<T>(bytes: Uint8Array): T {
  const value = decode(bytes, { strict: true, allowIndefinite: false, rejectDuplicateMapKeys: true });
  demand(Buffer.compare(encode(value, rfc8949EncodeOptions), bytes) === 0, 'deterministic CBOR');
  return value as T;
}

function statementPayload(key: Uint8Array, contentType: string, statement: Uint8Array): Uint8Array {
  demand(statement[0] === 0xd2, 'CBOR tag 18');
  const [header, unprotected, payload, signature] = cbor<[Uint8Array, Json, Uint8Array, Uint8Array]>(
    statement.subarray(1),
  );
  const expected = encode(
    new Map<number, unknown>([
      [1, -8],
      [3, contentType],
    ]),
    rfc8949EncodeOptions,
  );
  demand(Buffer.compare(header, expected) === 0 && Object.keys(unprotected).length === 0, 'the headers');
  const signed = encode(['Signature1', header, new Uint8Array(), payload], rfc8949EncodeOptions);
  const publicKey = createPublicKey({
    key: { kty: 'OKP', crv: 'Ed25519', x: Buffer.from(key).toString('base64url') },
    format: 'jwk',
  });
  demand(verify(null, signed, publicKey, signature), `the signature of ${contentType}`);
  return payload;
}

/** Returns the evidence digest. */
export function verifyEvidence(
  document: Document,
  policy: Policy,
  { nonce, commitment, at }: { nonce: string; commitment: string; at: Date },
): string {
  demand(document.version === 2 && document.cpu.format === 'simulated' && !document.hardware, 'the format');
  demand(policy.simulated, 'SIMULATED evidence');
  // Statements about software are not verified here.
  demand(!('gce' in policy) && !('provenance' in policy), 'a policy without statements about software');
  const evidence = raw(document.cpu.evidence);
  const parts = cbor<{ v: number; root: Uint8Array; device: Uint8Array; quote: Uint8Array }>(evidence);
  demand(policy.simulatedRoots.includes(sha256(parts.root).toString('hex')), 'the root');
  const prefix = 'application/vouch-simulated';
  const device = cbor<{ key: Uint8Array }>(
    statementPayload(parts.root, `${prefix}-device+cbor`, parts.device),
  );
  const quote = cbor<{
    v: number;
    platform: string;
    measurement: Uint8Array;
    debug: boolean;
    tcb: number;
    reportData: Uint8Array;
  }>(statementPayload(device.key, `${prefix}-quote+cbor`, parts.quote));
  demand(parts.v === 1 && quote.v === 2 && policy.platforms.includes(quote.platform), 'the platform');
  demand(policy.measurements.includes(Buffer.from(quote.measurement).toString('hex')), 'the measurement');
  demand(!quote.debug || policy.debug, 'debug mode');
  const least = policy.minimumTcb[quote.platform]!;
  demand(least.length === 1 && quote.tcb >= least[0]!, 'the TCB');
  const age = at.getTime() / 1000 - document.time;
  demand(age <= policy.maxAgeSeconds && age >= -60, 'the age');
  demand(document.nonce === nonce, 'the nonce');
  demand(document.modelCommitment === commitment, 'the commitment');

  const slots = [
    Buffer.from(nonce, 'hex'),
    raw(document.hpkeKey),
    raw(document.receiptKey ?? ''),
    fieldBytes(commitment),
    Buffer.from(document.enclave),
    Buffer.from(document.tlsKey ?? '', 'hex'),
    document.gpu === null ? Buffer.alloc(0) : gpuDigest(document.gpu),
    raw(document.xWingKey ?? ''),
    Buffer.from(document.time.toString(16).padStart(16, '0'), 'hex'),
  ];
  const hashed = (algorithm: string, domain: string, parts: readonly Buffer[]) => {
    const hash = createHash(algorithm).update(`${domain}\0`);
    parts.forEach((bytes, i) => {
      hash.update(Buffer.of(i + 1, bytes.length >> 8, bytes.length & 255)).update(bytes);
    });
    return hash.digest();
  };
  demand(hashed('sha512', 'vouch/v2/report-data', slots).equals(quote.reportData), 'the report data');
  demand((document.gpuEvidence ?? '') === slots[6]!.toString('hex'), 'that the GPU evidence is bound');
  const gpuNonce = hashed('sha256', 'vouch/v2/gpu-nonce', slots.with(6, Buffer.alloc(0)));
  for (const { format, evidence } of document.gpu?.devices ?? []) {
    demand(format === 'simulated-gpu', 'the format of the GPU');
    const gpu = cbor<{ root: Uint8Array; device: Uint8Array; quote: Uint8Array }>(raw(evidence));
    demand(policy.simulatedRoots.includes(sha256(gpu.root).toString('hex')), "the GPU's root");
    const { key } = cbor<{ key: Uint8Array }>(
      statementPayload(gpu.root, `${prefix}-device+cbor`, gpu.device),
    );
    const answer = cbor<{ nonce: Uint8Array }>(statementPayload(key, `${prefix}-gpu+cbor`, gpu.quote));
    demand(gpuNonce.equals(answer.nonce), "the GPU's nonce");
  }
  demand(
    document.gpu === null || (document.gpu.ccMode === 'on' && document.gpu.ready),
    'the state of the GPU',
  );
  return sha256(encode(document, rfc8949EncodeOptions)).toString('hex');
}

function gpuDigest({ ccMode, ready, devices }: Gpu): Buffer {
  const part = (bytes: Buffer) => {
    const length = Buffer.alloc(4);
    length.writeUInt32BE(bytes.length);
    return Buffer.concat([length, bytes]);
  };
  return sha256(
    Buffer.concat([
      Buffer.from('vouch/v2/gpu-evidence\0'),
      Buffer.of(['off', 'on', 'devtools'].indexOf(ccMode), Number(ready), devices.length),
      ...devices.flatMap(({ format, evidence, certificates }) => [
        part(Buffer.from(format)),
        part(raw(evidence)),
        Buffer.of(certificates.length),
        ...certificates.map((der) => part(raw(der))),
      ]),
    ]),
  );
}

function fieldBytes(decimal: string): Buffer {
  demand(BigInt(decimal) < R, 'a field element');
  return Buffer.from(BigInt(decimal).toString(16).padStart(64, '0'), 'hex').reverse();
}

// --- 6. Sealing

export async function seal(recipient: Uint8Array, info: string, aad: string, plaintext: string) {
  const hpke = suite();
  const context = await hpke.createSenderContext({
    recipientPublicKey: await hpke.kem.deserializePublicKey(Uint8Array.from(recipient)),
    info: Buffer.from(info),
  });
  const ciphertext = await context.seal(Buffer.from(plaintext), Buffer.from(aad));
  const enc = Buffer.from(context.enc);
  const secret = await context.export(Buffer.from('vouch/v2/reply'), 32);
  return {
    sealed: Buffer.concat([Buffer.of(0, 0x20), enc, Buffer.from(ciphertext)]),
    open(reply: Uint8Array): string {
      const salt = Buffer.concat([enc, reply.subarray(0, 32)]);
      const derive = (label: string, length: number) =>
        Buffer.from(hkdfSync('sha256', new Uint8Array(secret), salt, label, length));
      const cipher = createDecipheriv('aes-256-gcm', derive('key', 32), derive('nonce', 12));
      cipher.setAuthTag(reply.subarray(-16));
      return Buffer.concat([cipher.update(reply.subarray(32, -16)), cipher.final()]).toString();
    },
  };
}

// --- 10. Models

interface Manifest {
  name: string;
  commitment: string;
  policy: string;
  terms: { answers: string };
  vendor: string;
}

/** RFC 8785, for what manifests hold: text, integers, lists and maps. */
const canonical = (value: unknown): string =>
  Array.isArray(value)
    ? `[${value.map(canonical).join(',')}]`
    : typeof value === 'object' && value !== null
      ? `{${Object.entries(value)
          .sort(([a], [b]) => (a < b ? -1 : 1))
          .map(([name, member]) => `${JSON.stringify(name)}:${canonical(member)}`)
          .join(',')}}`
      : JSON.stringify(value);

/** `vendor`: the fingerprint that this client knows. */
export async function readManifest(nc: NatsConnection, model: string, vendor: string) {
  const place = `vouch.v1.model.${model}`;
  const stored = Buffer.from(await directGet(nc, 'VOUCH_MODELS', place)).toString();
  const { manifest, signature } = checked(stored, 'model.manifest', place, undefined, 2) as unknown as {
    manifest: Manifest;
    signature: string;
  };
  const key = raw(manifest.vendor);
  const digest = sha256(canonical(manifest));
  const signed = statementPayload(key, 'application/vouch-manifest+json', raw(signature));
  demand(digest.equals(signed), 'the manifest that was signed');
  demand(manifest.name === model, 'the name');
  demand(sha256(key).toString('hex') === vendor, 'the vendor');
  return { manifest, digest: digest.toString('hex') };
}

// --- 8. Inference, 9. receipts

export interface Service {
  readonly model: string;
  readonly commitment: string;
  readonly manifest: Manifest;
  readonly manifestDigest: string;
  readonly document: Document;
  readonly evidenceDigest: string;
}

export async function findService(
  nc: NatsConnection,
  source: string,
  model: string,
  policy: Policy,
  vendor: string,
): Promise<Service> {
  const { manifest, digest: manifestDigest } = await readManifest(nc, model, vendor);
  const nonce = randomBytes(32).toString('hex');
  const place = `vouch.v1.evidence.${model}.${source.split('.')[1]}`;
  const question = envelope('evidence.request', place, source, { nonce });
  const { document } = (await ask(nc, question, 'evidence.reply')) as unknown as { document: Document };
  const { commitment } = manifest;
  const evidenceDigest = verifyEvidence(document, policy, { nonce, commitment, at: new Date() });
  return { model, commitment, manifest, manifestDigest, document, evidenceDigest };
}

/** Sends raw sealed bytes; returns the sealed reply, or throws what the other side says. */
export async function sendSealed(
  nc: NatsConnection,
  source: string,
  { model, document }: Service,
  sealed: Uint8Array,
  more: Json = {},
): Promise<Uint8Array> {
  const subject = `vouch.v1.infer.${model}.${document.enclave}.${source.split('.')[1]}`;
  const message = envelope('infer.request', subject, source, { enclave: document.enclave }, more);
  const head = headers();
  head.set('Vouch-Envelope', JSON.stringify(message));
  const reply: Msg = await nc.request(subject, sealed, { timeout: 10_000, headers: head });
  const text = reply.headers?.get('Vouch-Envelope') || Buffer.from(reply.data).toString();
  checked(text, 'infer.reply', subject, message.id as string);
  return reply.data;
}

export interface Answer {
  readonly decision: number;
  readonly label: string;
  readonly scores: number[] | undefined;
  readonly receiptId: string;
  readonly bundle: Buffer;
  /** what went out, for trying a replay */
  readonly sealed: Buffer;
}

export async function infer(
  nc: NatsConnection,
  source: string,
  service: Service,
  policy: Policy,
  row: readonly string[],
  nonce = randomBytes(32).toString('hex'),
  version = 1,
): Promise<Answer> {
  const { model, document, evidenceDigest } = service;
  const [requestSalt, responseSalt] = [randomBytes(32), randomBytes(32)];
  const plaintext = JSON.stringify({
    version,
    nonce,
    evidence: evidenceDigest,
    requestSalt: requestSalt.toString('hex'),
    responseSalt: responseSalt.toString('hex'),
    row,
  });
  const aad = `vouch.v1.infer.${model}.${document.enclave}.${source.split('.')[1]}`;
  const { sealed, open } = await seal(raw(document.hpkeKey), 'vouch/v2/infer', aad, plaintext);
  const answer = JSON.parse(open(await sendSealed(nc, source, service, sealed)));
  if ('error' in answer) throw new Refused(answer.error);
  demand(answer.version === version + 1, 'an answer of the version that was asked for');
  const { answers } = service.manifest.terms;
  demand(answer.answers === answers && (answers === 'decision') === !('scores' in answer), 'what it holds');

  const given = raw(answer.receipt);
  const whole = { v: 3, receipt: given, evidence: document };
  const bundle = version === 1 ? given : Buffer.from(encode(whole, rfc8949EncodeOptions));
  demand(sha256(bundle).toString('hex') === answer.receiptDigest, 'the digest of the bundle');
  const hmac = (salt: Buffer, domain: string, body: unknown) =>
    createHmac('sha256', salt).update(`${domain}\0`).update(JSON.stringify(body)).digest('hex');
  const claims = verifyReceipt(bundle, policy, service);
  demand(claims.nonce === nonce && claims.id === answer.receiptId, 'the nonce');
  demand(claims.request === hmac(requestSalt, 'vouch/v1/request', row), 'the request digest');
  const { decision, label, scores, receiptId } = answer;
  const body = scores === undefined ? [decision, label] : [decision, label, scores];
  const expected = hmac(responseSalt, 'vouch/v1/response', body);
  demand(claims.response === expected, 'the response digest');
  return { decision, label, scores, receiptId, bundle, sealed };
}

/** The bundles of a group's receipts, as the document says where they are. */
export async function storedOfGroup(
  nc: NatsConnection,
  source: string,
  { model, document }: Service,
  group: Buffer,
): Promise<Buffer[][]> {
  const name = createHash('sha256').update(`vouch/v1/receipt-group\0${document.enclave}\0`).update(group);
  const first = name.digest('hex').slice(0, 32);
  const messages: Buffer[][] = [];
  for (;;) {
    const place = `vouch.v1.receipt.${model}.${source.split('.')[1]}.${first}-${messages.length}`;
    const message = await directGet(nc, 'VOUCH_RECEIPTS', place).catch(() => undefined);
    if (message === undefined) return messages;
    const { v, evidence, receipts } = cbor<{ v: number; evidence: Document; receipts?: Uint8Array[] }>(
      message,
    );
    if (receipts === undefined) {
      messages.push([Buffer.from(message)]);
      continue;
    }
    demand(v === 1 && receipts.length >= 2 && receipts.length <= 64, 'a message of several receipts');
    messages.push(
      receipts.map((receipt) => Buffer.from(encode({ v: 3, receipt, evidence }, rfc8949EncodeOptions))),
    );
  }
}

/** Returns the claims, bytes as hex. */
export function verifyReceipt(bundle: Uint8Array, policy: Policy, service: Service): Record<string, unknown> {
  const { v, receipt, evidence } = cbor<{ v: number; receipt: Uint8Array; evidence: Document }>(bundle);
  const payload = statementPayload(raw(evidence.receiptKey ?? ''), 'application/vouch-receipt+cbor', receipt);
  const claims: Record<string, unknown> = Object.fromEntries(
    Object.entries(cbor<Json>(payload)).map(([name, value]) => [
      name,
      value instanceof Uint8Array ? Buffer.from(value).toString('hex') : value,
    ]),
  );
  demand(v === 3 && claims.v === 3, 'a receipt of version 3');
  const at = new Date((claims.time as number) * 1000);
  const { nonce } = evidence;
  const digest = verifyEvidence(evidence, policy, { nonce, commitment: service.commitment, at });
  demand(claims.evidence === digest && claims.enclave === evidence.enclave, 'the evidence');
  demand(claims.model === fieldBytes(service.commitment).toString('hex'), 'the commitment');
  const { manifest, manifestDigest } = service;
  demand(claims.manifest === manifestDigest, 'the manifest');
  demand(claims.policy === manifest.policy && claims.answers === manifest.terms.answers, 'policy and terms');
  const id = sha256(
    Buffer.concat([
      Buffer.from(`vouch/v1/receipt-id\0${evidence.enclave}\0`),
      Buffer.from(claims.nonce as string, 'hex'),
    ]),
  );
  demand(claims.id === id.toString('hex').slice(0, 32), 'the id');
  demand(at.getTime() <= Date.now() + 60_000, 'the time');
  return claims;
}
