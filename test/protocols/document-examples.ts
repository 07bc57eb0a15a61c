/**
 * The generated examples of docs/PROTOCOL.md, from the story in document-scenario.ts. Values that a reader recomputes
 * stand as `name = value` lines; messages as JSON, exactly what travels but for white space.
 *
 * One file, although it is long: one story in the document's order, whose every example uses values of earlier ones.
 */
import { encode, rfc8949EncodeOptions, Tagged } from 'cborg';
import { z } from 'zod';
import { R } from '../../circuits/groth16/field.ts';
import {
  architectureBytes,
  architectureDigest,
  architectureElement,
} from '../../circuits/model/architecture.ts';
import { packParameters, parameterRoot, saltElement } from '../../circuits/model/commit.ts';
import { poseidon, poseidonChain } from '../../circuits/model/poseidon.ts';
import { encodeTestSet } from '../../circuits/model/test-set.ts';
import { evidenceDigest } from '../../protocols/attestation/document.ts';
import { signRecord } from '../../protocols/audit.ts';
import { decodeCbor } from '../../protocols/cbor.ts';
import { ChatCancel, ChatCredit, ChatFrameReply, ChatRequest } from '../../protocols/chat.ts';
import { signerFromSeed } from '../../protocols/cose.ts';
import * as enclave from '../../protocols/enclave.ts';
import {
  base64url,
  canonicalJson,
  concat,
  fromBase64url,
  fromHex,
  hex,
  sha256Hex,
  utf8,
} from '../../protocols/encoding.ts';
import { ErrorReply, encodeHeader, type MessageType, type Outgoing } from '../../protocols/envelope.ts';
import { InferReply, InferRequest } from '../../protocols/inference.ts';
import { PublishedManifest } from '../../protocols/manifest.ts';
import { Shard, ShardRefused, ShardResult, ShardsDropped, WorkerStanding } from '../../protocols/msm.ts';
import {
  ProofCancel,
  ProofCancelled,
  ProofProgress,
  ProofRequest,
  PublishedProof,
  REFUSAL,
} from '../../protocols/proof.ts';
import { signRelease } from '../../protocols/release.ts';
import { sealStream } from '../../protocols/sealed-stream.ts';
import { exportedKey } from '../../protocols/sealing.ts';
import { GROUP_BYTES, receiptPlace } from '../../protocols/stored-receipts.ts';
import { subjects } from '../../protocols/subjects.ts';
import { DeadLetter, Heartbeat, Transition } from '../../protocols/transition.ts';
import { manifestOf } from '../../runtime/nats/blobs.ts';
import { EXAMPLE_REQUESTERS, signedExample } from './document-requester.ts';
import {
  attest,
  CLIENT,
  COORDINATOR,
  conversation,
  ENCLAVE,
  fixed,
  fixedId,
  MODEL,
  NOW,
  publication,
  publish,
  savedProof,
  sealFixed,
  sealingKeys,
  testSet,
  WORKER,
} from './document-scenario.ts';

/** JSON with short lists and objects on one line. */
export function pretty(value: unknown, indent = ''): string {
  const flat = JSON.stringify(value);
  if (flat.length + indent.length < 100 || typeof value !== 'object' || value === null) return flat;
  const deeper = `${indent}  `;
  const inner = Array.isArray(value)
    ? value.map((entry) => `${deeper}${pretty(entry, deeper)}`)
    : Object.entries(value).map(
        ([name, entry]) => `${deeper}${JSON.stringify(name)}: ${pretty(entry, deeper)}`,
      );
  const [open, close] = Array.isArray(value) ? '[]' : '{}';
  return `${open}\n${inner.join(',\n')}\n${indent}${close}`;
}

const json = (value: unknown): string => `\`\`\`json\n${pretty(value)}\n\`\`\``;
const values = (entries: Readonly<Record<string, string | Uint8Array | bigint | number>>): string =>
  [
    '```text',
    ...Object.entries(entries).map(
      ([name, value]) => `${name} = ${value instanceof Uint8Array ? hex(value) : value}`,
    ),
    '```',
  ].join('\n');

/** Parts of a COSE_Sign1 statement. */
function statementParts(statement: Uint8Array) {
  const { value } = decodeCbor(statement, {
    schema: z.instanceof(Tagged),
    what: 'statement',
    maxBytes: 4096,
    tag: 18,
  });
  const [header, , payload, signature] = value as [Uint8Array, unknown, Uint8Array, Uint8Array];
  const signed = encode(['Signature1', header, new Uint8Array(), payload], rfc8949EncodeOptions);
  return { header, payload, signature, signed };
}

/** A key split 2 of 3, with coefficients and salts that are not random. */
function piecesOf(key: Uint8Array) {
  const integer = (bytes: Uint8Array) => BigInt(`0x${hex(bytes)}`);
  const coefficients = ['high', 'low'].map((half) => integer(fixed(`${half} coefficient`)) % R);
  const share = (half: number, at: number): Uint8Array => {
    const value = (integer(key.subarray(16 * half, 16 * half + 16)) + coefficients[half]! * BigInt(at)) % R;
    return fromHex(value.toString(16).padStart(64, '0'));
  };
  const bytes = [1, 2, 3].map((at) => concat(fixed(`share salt ${at}`), share(0, at), share(1, at)));
  return { coefficients, bytes };
}

/** Of a release to a runner, which serves. */
const NOBODY = { requester: null, job: null };

/** A release, then a refusal. */
async function auditChain(policy: string, evidence: string) {
  const signer = await signerFromSeed(fixed('audit key'));
  const place = { broker: ENCLAVE, time: NOW, unrecorded: 0 };
  const known = { model: MODEL, holder: ENCLAVE, hardware: false, share: null, policy, evidence, ...NOBODY };
  const first = await signRecord(signer, {
    ...place,
    sequence: 1,
    previous: null,
    decision: { ...known, request: fixedId('request 1'), decision: 'released', code: null, check: null },
  });
  const second = await signRecord(signer, {
    ...place,
    sequence: 2,
    previous: sha256Hex(first),
    decision: {
      ...known,
      request: fixedId('request 2'),
      decision: 'refused',
      code: 'policy-rejected',
      check: 'policy.measurement',
    },
  });
  return { key: signer.publicKey, records: [first, second] };
}

/** A stream of three frames from a secret that is not random. */
async function streamExample() {
  const [secret, enc, nonce] = [fixed('stream secret'), fixed('stream enc'), fixed('stream nonce')];
  const derived = exportedKey(secret.slice().buffer, enc, nonce);
  const frames = await sealStream({ streamKey: async () => derived }, 256, nonce);
  const text = '{"text":"Good morning","tokens":2}';
  return {
    'exported secret': secret,
    enc,
    'response nonce': nonce,
    'stream key': derived.key,
    'stream nonce': derived.nonce,
    'content 0': text,
    'frame 0': await frames.seal(utf8(text)),
    'content 1, a keep-alive': '{}',
    'frame 1': await frames.seal(utf8('{}')),
    'content 2 (shortened: an end has a receipt)': '{"end":{}}',
    'frame 2': await frames.seal(utf8('{"end":{}}'), { last: true }),
  };
}

export async function examples(): Promise<Record<string, string>> {
  const story = await conversation();
  const groupedNonce = '5a'.repeat(GROUP_BYTES) + story.plaintext.nonce;
  const { commitment, model } = story;
  const { architecture } = model;
  const message = <Body>(
    kind: MessageType<Body>,
    { tag = '', ...outgoing }: Omit<Outgoing<Body>, 'id' | 'time'> & { tag?: string },
  ): string => {
    const id = fixedId(`${kind.type}${tag}`);
    return json(JSON.parse(encodeHeader(kind, { ...outgoing, id, time: NOW.toISOString() })));
  };
  const client = `client.${CLIENT}`;
  const runner = `runner.${ENCLAVE}`;
  const broker = 'broker.enclave-1';
  const coordinator = `coordinator.${COORDINATOR}`;
  const worker = `worker.${WORKER}`;

  const {
    aad,
    modelKey,
    secret,
    sealedModel,
    vendor,
    releaseSigner,
    published: manifest,
  } = await publication();
  const releaseNonce = fixed('release nonce');
  const { document: releaseDocument } = await attest(
    ENCLAVE,
    story.policy.measurements![0] as string,
    releaseNonce,
    {
      modelCommitment: commitment,
    },
  );
  const runnerKey = fromBase64url(story.runner.document.hpkeKey);
  const sealedKey = await sealFixed({
    recipient: runnerKey,
    name: 'release',
    info: 'vouch/v2/release',
    aad,
    plaintext: modelKey,
  });
  const release = await signRelease(
    releaseSigner,
    {
      broker: ENCLAVE,
      model: MODEL,
      commitment,
      manifest: manifest.digest,
      policy: story.releasePolicy,
      evidence: evidenceDigest(releaseDocument),
      holder: ENCLAVE,
      share: undefined,
      job: undefined,
    },
    sealedKey.sealed,
  );

  const { privateBytes } = await sealingKeys(`${ENCLAVE} HPKE key`);
  const refusal = {
    version: 1,
    error: {
      code: 'bad-input',
      message: 'column "savings": expected one of none, low, high, got "gold"',
      errorId: fixedId('error'),
      retryable: false,
    },
  };
  const refusalBytes = utf8(JSON.stringify(refusal));
  const receipt = statementParts(story.receipt);
  const rows = encodeTestSet(testSet());
  const blob = manifestOf(rows);
  const record = savedProof();
  const published = await publish(record);
  const { job, nonce, statement } = record;
  const progress = {
    job,
    done: 3,
    total: 5,
    workers: [{ id: WORKER, assigned: 2, done: 3 }],
    phases: { queued: 3, witnessing: 210, transforming: 12, planning: 1 },
  };
  const shard = { job, shard: 'wires-0-420', worker: WORKER };
  const shardSubject = subjects.shard(WORKER, job, 'wires-0-420');
  const resultSubject = subjects.shardResult(WORKER, job, 'wires-0-420');
  const shardId = fixedId('msm.shard');
  const evidenceSubject = subjects.evidence(MODEL, CLIENT);
  const releaseSubject = subjects.release(MODEL);
  const brokerSubject = subjects.releaseFrom(MODEL, ENCLAVE);
  const pieces = piecesOf(modelKey);
  const audit = await auditChain(story.releasePolicy, evidenceDigest(releaseDocument));
  const boot = fixedId('boot');
  const chatSubject = subjects.infer('chat', ENCLAVE, CLIENT);

  const cancelSecret = fixed('cancel secret');
  return {
    'example error': message(ErrorReply, {
      subject: subjects.evidence(MODEL, CLIENT),
      source: runner,
      cause: fixedId('evidence.request'),
      body: {
        code: 'not-ready',
        message: `model ${MODEL}: the runner is not ready; try again`,
        errorId: fixedId('error'),
        retryable: true,
      },
    }),
    'example evidence': [
      message(enclave.EvidenceRequest, {
        subject: evidenceSubject,
        source: client,
        body: { nonce: hex(story.evidenceNonce) },
      }),
      message(enclave.EvidenceReply, {
        subject: evidenceSubject,
        source: runner,
        cause: fixedId('evidence.request'),
        body: { document: story.runner.document },
      }),
      values({
        'evidence digest': story.evidence,
        'GPU nonce': story.runner.gpuNonce,
        'report data': story.runner.reportData,
      }),
    ].join('\n\n'),
    'example policy': [
      json(story.policy),
      values({ 'canonical JSON': canonicalJson(story.policy), 'policy digest': story.releasePolicy }),
    ].join('\n\n'),
    'example sealing': values({
      'recipient private key': privateBytes,
      'recipient public key': runnerKey,
      'ephemeral private key': story.request.ephemeralPrivate,
      info: 'vouch/v2/infer',
      aad: story.subject,
      plaintext: JSON.stringify(story.plaintext),
      sealed: story.request.sealed,
      'exported secret': story.request.exported,
      'response nonce': story.request.replyNonce,
      'reply key': story.request.replyKey,
      'reply iv': story.request.replyIv,
      'reply plaintext': JSON.stringify(refusal),
      reply: story.request.sealReply(refusalBytes),
    }),
    'example inference': [
      'Header `Vouch-Envelope` of the request, whose payload is `sealed` of section 6:',
      message(InferRequest, { subject: story.subject, source: client, body: { enclave: ENCLAVE } }),
      'Header of the reply:',
      message(InferReply, {
        subject: story.subject,
        source: runner,
        cause: fixedId('infer.request'),
        body: { enclave: ENCLAVE },
      }),
      'Inside the seal of an answer:',
      json(story.answer),
    ].join('\n\n'),
    'example chat': [
      'Header `Vouch-Envelope` of a request:',
      message(ChatRequest, { subject: chatSubject, source: client, body: { enclave: ENCLAVE } }),
      'Header of each frame:',
      message(ChatFrameReply, {
        subject: chatSubject,
        source: runner,
        cause: fixedId('chat.request'),
        body: { enclave: ENCLAVE },
      }),
      'What the client sends meanwhile, and what it may send:',
      message(ChatCredit, {
        subject: chatSubject,
        source: client,
        body: { stream: fixedId('chat.request'), upTo: 96 },
      }),
      message(ChatCancel, {
        subject: chatSubject,
        source: client,
        body: { stream: fixedId('chat.request') },
      }),
    ].join('\n\n'),
    'example stream': values(await streamExample()),
    'example receipt': values({
      'request body': new TextDecoder().decode(story.bodies.request),
      'request salt': story.salts.request,
      'request digest': story.digests.request,
      'response body': new TextDecoder().decode(story.bodies.response),
      'response salt': story.salts.response,
      'response digest': story.digests.response,
      'request nonce': story.plaintext.nonce,
      'receipt id': story.receiptId,
      'a nonce of a group': groupedNonce,
      'place of its first message': receiptPlace(ENCLAVE, groupedNonce, 0),
      'protected header': receipt.header,
      'payload (claims)': receipt.payload,
      'signed bytes': receipt.signed,
      'receipt key': fromBase64url(story.runner.document.receiptKey!),
      signature: receipt.signature,
      receipt: story.receipt,
      'bundle digest': sha256Hex(story.bundle),
      'bundle (base64url)': base64url(story.bundle),
    }),
    'example manifest': [
      message(PublishedManifest, {
        subject: subjects.model(MODEL),
        source: 'provisioner.vendor',
        body: { manifest: manifest.manifest, signature: manifest.signature },
      }),
      values({
        'vendor public key': vendor.publicKey,
        'vendor fingerprint': manifest.vendor,
        'manifest digest': manifest.digest,
      }),
    ].join('\n\n'),
    'example preprocessing': values({
      cells: JSON.stringify(story.plaintext.row),
      features: JSON.stringify([...story.features]),
      logits: JSON.stringify(story.logits),
    }),
    'example commitment': values({
      'architecture bytes': architectureBytes(architecture),
      'architecture digest': architectureDigest(architecture),
      'architecture element': architectureElement(architecture),
      weights: JSON.stringify(model.parameters.layers.map(({ weights }) => [...weights])),
      biases: JSON.stringify(model.parameters.layers.map(({ bias }) => [...bias])),
      'packed elements': packParameters(architecture, model.parameters).join(' '),
      'parameter root': parameterRoot(architecture, model.parameters),
      salt: model.salt,
      'salt element': saltElement(model.salt),
      commitment,
      'Poseidon(1)': poseidon([1n]),
      'Poseidon(1, 2)': poseidon([1n, 2n]),
      'chain of 1 to 17': poseidonChain(Array.from({ length: 17 }, (_, i) => BigInt(i + 1))),
    }),
    'example release': [
      message(enclave.ReleaseChallenge, { subject: releaseSubject, source: runner, body: {} }),
      message(enclave.ReleaseNonce, {
        subject: releaseSubject,
        source: broker,
        cause: fixedId('release.challenge'),
        body: { nonce: hex(releaseNonce), broker: ENCLAVE },
      }),
      message(enclave.ReleaseRequest, {
        subject: brokerSubject,
        source: runner,
        body: { nonce: hex(releaseNonce), document: releaseDocument },
      }),
      message(enclave.ReleaseReply, {
        subject: brokerSubject,
        source: broker,
        cause: fixedId('release.request'),
        body: { release: base64url(release), sealedKey: base64url(sealedKey.sealed) },
      }),
      values({
        'release payload': statementParts(release).payload,
        'model key': modelKey,
        'model aad': new TextDecoder().decode(aad),
        'model secret': secret,
        'sealed model': sealedModel,
      }),
    ].join('\n\n'),
    'example shares': [
      values({
        'high coefficient': pieces.coefficients[0]!,
        'low coefficient': pieces.coefficients[1]!,
        ...Object.fromEntries(pieces.bytes.map((piece, i) => [`piece ${i + 1}`, piece])),
      }),
      json({
        threshold: 2,
        brokers: pieces.bytes.map((bytes, i) => ({
          id: `broker-${i + 1}`,
          commitment: sha256Hex(utf8('vouch/v1/share\0'), Uint8Array.of(i + 1), bytes),
        })),
      }),
    ].join('\n\n'),
    'example audit': values({
      'audit key': audit.key,
      'record 1 payload': statementParts(audit.records[0]!).payload,
      ...Object.fromEntries(audit.records.map((record, i) => [`record ${i + 1}`, record])),
      head: sha256Hex(audit.records[1]!),
    }),
    'example blob': [
      values({ 'test set': new TextDecoder().decode(rows), 'test set chunk': sha256Hex(rows) }),
      json(blob.manifest),
      values({ manifest: new TextDecoder().decode(blob.encoded), 'blob digest': blob.digest }),
    ].join('\n\n'),
    'example proof request': [
      message(ProofRequest, {
        subject: subjects.proofRequest('quality', CLIENT, job),
        source: client,
        body: signedExample({ job, nonce, statement, cancel: sha256Hex(cancelSecret) }),
      }),
      values({ account: EXAMPLE_REQUESTERS.account, 'signing key': EXAMPLE_REQUESTERS.signer }),
    ].join('\n\n'),
    'example proof cancel': [
      message(ProofCancel, {
        subject: subjects.control('proof-job', job, 'cancel'),
        source: client,
        body: { job, secret: hex(cancelSecret) },
      }),
      message(ProofCancelled, {
        subject: subjects.control('proof-job', job, 'cancel'),
        source: coordinator,
        cause: fixedId('proof.cancel'),
        body: { job },
      }),
    ].join('\n\n'),
    'example proof progress': [
      message(ProofProgress, {
        subject: subjects.progress(CLIENT, job),
        source: coordinator,
        body: { ...progress, phase: 'dispatching' },
      }),
      message(ProofProgress, {
        tag: ' failed',
        subject: subjects.progress(CLIENT, job),
        source: coordinator,
        body: {
          ...progress,
          done: 0,
          total: 0,
          workers: [],
          phase: 'failed',
          error: { code: 'proof-refused', message: REFUSAL },
        },
      }),
    ].join('\n\n'),
    'example proof': [
      message(PublishedProof, {
        subject: subjects.proof(CLIENT, job),
        source: coordinator,
        epoch: 1,
        body: published,
      }),
      values({ 'record digest': sha256Hex(utf8(canonicalJson(record))) }),
    ].join('\n\n'),
    'example shard': [
      message(Shard, {
        subject: shardSubject,
        source: coordinator,
        epoch: 1,
        body: {
          ...shard,
          count: 420,
          wide: 180,
          bits: { from: 0, count: 256 },
          writer: CLIENT,
          bases: [
            {
              section: 'A',
              count: 420,
              chunks: [fixed('chunk 0'), fixed('chunk 1')].map(hex),
              offset: 498176,
            },
          ],
        },
      }),
      message(ShardResult, {
        subject: resultSubject,
        source: worker,
        cause: shardId,
        epoch: 1,
        body: shard,
      }),
      message(ShardRefused, {
        subject: resultSubject,
        source: worker,
        cause: shardId,
        epoch: 1,
        body: { job, shard: 'wires-0-420', worker: WORKER, code: 'bad-file' },
      }),
      message(ShardsDropped, {
        subject: subjects.control('worker', WORKER, 'drop'),
        source: coordinator,
        body: { shards: [shardId] },
      }),
      message(WorkerStanding, {
        subject: subjects.control('worker', WORKER, 'standing'),
        source: coordinator,
        body: { standing: 'less', late: 1 },
      }),
    ].join('\n\n'),
    'example actors': [
      message(Transition, {
        subject: subjects.state('worker', WORKER),
        source: worker,
        body: {
          kind: 'worker',
          id: WORKER,
          boot,
          seq: 5,
          from: 'idle',
          to: 'fetching',
          event: 'done',
          counts: { shardsDone: 3, unknownEvents: 0 },
        },
      }),
      message(Heartbeat, {
        subject: subjects.beat('worker', WORKER),
        source: worker,
        body: {
          kind: 'worker',
          id: WORKER,
          boot,
          seq: 5,
          state: 'fetching',
          leaseMs: 3000,
          counts: { shardsDone: 3, unknownEvents: 0 },
          worker: {
            class: 'attested',
            engine: 'wasm x1',
            credit: 33554432,
            inHand: [shardId],
            rates: { g1: 50_000, g2: 15_000 },
            resident: [hex(fixed('chunk 0')).slice(0, 16)],
          },
        },
      }),
      message(DeadLetter, {
        subject: subjects.dead('VOUCH_PROOF_REQUESTS', 'coordinator'),
        source: 'supervisor.host-1',
        body: { stream: 'VOUCH_PROOF_REQUESTS', consumer: 'coordinator', sequence: 7, deliveries: 10 },
      }),
      message(enclave.ControlRequest, {
        subject: subjects.control('worker', WORKER, 'drain'),
        source: 'supervisor.host-1',
        body: {},
      }),
      message(enclave.ControlReply, {
        subject: subjects.control('worker', WORKER, 'drain'),
        source: worker,
        cause: fixedId('control.request'),
        body: { state: 'draining' },
      }),
    ].join('\n\n'),
  };
}
