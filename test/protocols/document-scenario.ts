/**
 * One small story told with fixed keys: a model, its evidence, a sealed request, the answer with its receipt, and
 * a proof of the model's quality. docs/PROTOCOL.md shows its values, so every run has to give the same ones.
 *
 * The keys are derived from public strings. They protect nothing; no policy outside of this folder pins them.
 *
 * One file, although it is long: its values follow from each other.
 */
import { createCipheriv, createPrivateKey, createPublicKey, hkdfSync, type KeyObject } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { Aes256Gcm, CipherSuite, DhkemX25519HkdfSha256, HkdfSha256 } from '@hpke/core';
import {
  architectureDocument,
  layerBounds,
  outputRanges,
  parseArchitecture,
  ROUNDING,
} from '../../circuits/model/architecture.ts';
import { type CommittedModel, commit, encodeSecret } from '../../circuits/model/commit.ts';
import { featureRanges, type Preprocessing, preprocess } from '../../circuits/model/preprocessing.ts';
import { evaluate } from '../../circuits/model/quantise.ts';
import { encodeTestSet, type TestSet } from '../../circuits/model/test-set.ts';
import {
  bindGpu,
  type EvidenceDocument,
  evidenceDigest,
  evidenceDocument,
} from '../../protocols/attestation/document.ts';
import {
  createSimulatedPlatform,
  createSimulatedRoot,
  quote,
  SIMULATED,
} from '../../protocols/attestation/formats/simulated.ts';
import { parsePolicy } from '../../protocols/attestation/policy.ts';
import { gpuNonce, reportData } from '../../protocols/attestation/report-data.ts';
import { type Signer, signerFromSeed, signStatement } from '../../protocols/cose.ts';
import {
  base64url,
  canonicalJson,
  concat,
  fromBase64url,
  hex,
  sha256,
  sha256Hex,
  utf8,
} from '../../protocols/encoding.ts';
import { parse } from '../../protocols/envelope.ts';
import {
  type AnswerPlaintext,
  type InferencePlaintext,
  requestBytes,
  responseBytes,
} from '../../protocols/inference.ts';
import { signManifest, verifyManifest } from '../../protocols/manifest.ts';
import {
  PROOF_CONTENT_TYPE,
  ProofRecord,
  type PublishedProof,
  type QualityStatement,
} from '../../protocols/proof.ts';
import { encodeReceiptBundle, requestDigest, responseDigest, signReceipt } from '../../protocols/receipt.ts';
import type { SealingKeyPair } from '../../protocols/sealing.ts';
import { subjects } from '../../protocols/subjects.ts';
import { DEFAULT_TERMS } from '../../protocols/terms.ts';
import { simulatedProvider } from '../../runtime/attest/simulated-provider.ts';
import { manifestOf } from '../../runtime/nats/blobs.ts';

/** 32 bytes that stand for randomness, the same in every run. */
export const fixed = (name: string): Uint8Array<ArrayBuffer> => sha256(utf8(`vouch/v1/example/${name}`));
/** An id in the form that senders usually take, the same in every run. */
export function fixedId(name: string): string {
  const digits = hex(fixed(`id ${name}`));
  return [8, 12, 16, 20, 32].map((end, i) => digits.slice([0, 8, 12, 16, 20][i], end)).join('-');
}

export const MODEL = 'credit-tiny';
export const ENCLAVE = 'enclave-1';
export const CLIENT = 'client-1';
export const COORDINATOR = 'coordinator-1';
export const WORKER = 'worker-1';
export const NOW = new Date('2026-07-01T12:00:00.000Z');
const RUNNER_MEASUREMENT = hex(concat(fixed('runner code'), fixed('runner code').subarray(0, 16)));
const COORDINATOR_MEASUREMENT = hex(
  concat(fixed('coordinator code'), fixed('coordinator code').subarray(0, 16)),
);

/** Rows as a client has them, and the right class of each. */
const ROWS: readonly (readonly [readonly string[], number])[] = [
  [['none', '9500', '0'], 1],
  [['low', '4000', '1'], 0],
  [['high', '1200.50', '3'], 0],
  [['low', '8000', '-2'], 1],
  [['none', '700', '0'], 0],
  [['high', '10000', '3'], 0],
];
export const THRESHOLD = 5;

/** The model: 5 features, 2 hidden units, 2 classes. */
export function model(): CommittedModel {
  const preprocessing: Preprocessing = {
    columns: [
      { kind: 'category', name: 'savings', categories: ['none', 'low', 'high'] },
      { kind: 'bins', name: 'amount', low: 0, high: 10000, bins: 8 },
      { kind: 'integer', name: 'balance', low: -2, high: 3 },
    ],
  };
  const inputs = featureRanges(preprocessing);
  const hidden = { inputs: inputs.length, outputs: 2, weightBits: 4, biasBits: 8, shift: 2 };
  const first = { ...hidden, ...layerBounds(hidden, inputs) };
  const output = { inputs: 2, outputs: 2, weightBits: 4, biasBits: 8, shift: 0 };
  const last = { ...output, ...layerBounds(output, outputRanges(first)) };
  return {
    architecture: parseArchitecture({
      version: 1,
      preprocessing,
      layers: [first, last],
      rounding: ROUNDING,
      decision: 'argmax',
      classes: ['good', 'bad'],
    }),
    parameters: {
      layers: [
        { weights: Int32Array.of(3, 1, -6, 5, -4, -2, 2, 6, -3, 4), bias: Int32Array.of(-14, 8) },
        { weights: Int32Array.of(-5, 4, 6, -4), bias: Int32Array.of(2, 1) },
      ],
    },
    salt: fixed('model salt').subarray(0, 31),
  };
}

export function testSet(): TestSet {
  const { architecture } = model();
  return {
    features: ROWS.map(([cells]) => preprocess(architecture.preprocessing, cells)),
    labels: ROWS.map(([, label]) => label),
  };
}

/** A key pair of X25519 whose private half is 32 fixed bytes (RFC 7748, RFC 8410). */
export async function sealingKeys(name: string): Promise<SealingKeyPair & { privateBytes: Uint8Array }> {
  const privateBytes = fixed(name);
  const key = createPrivateKey({
    key: Buffer.concat([Buffer.from('302e020100300506032b656e04220420', 'hex'), privateBytes]),
    format: 'der',
    type: 'pkcs8',
  });
  const publicKey = rawPublic(key);
  const handle = {
    privateKey: await crypto.subtle.importKey(
      'pkcs8',
      new Uint8Array(key.export({ format: 'der', type: 'pkcs8' })),
      'X25519',
      false,
      ['deriveBits'],
    ),
    publicKey: await crypto.subtle.importKey('raw', publicKey, 'X25519', true, []),
  };
  return { suite: 'x25519', publicKey, handle, privateBytes };
}

function rawPublic(key: KeyObject): Uint8Array<ArrayBuffer> {
  const { x } = createPublicKey(key).export({ format: 'jwk' });
  return new Uint8Array(Buffer.from(x!, 'base64url'));
}

const root = () => createSimulatedRoot(fixed('simulated root'));
const platform = async (name: string) =>
  createSimulatedPlatform(await root(), { signer: await signerFromSeed(fixed(`${name} device`)) });

/** Evidence of a process with fixed keys. */
export async function attest(
  name: string,
  measurement: string,
  nonce: Uint8Array,
  { modelCommitment, gpu = false }: { modelCommitment?: string; gpu?: boolean } = {},
): Promise<{ document: EvidenceDocument; signer: Signer; reportData: Uint8Array; gpuNonce: Uint8Array }> {
  const sealing = await sealingKeys(`${name} HPKE key`);
  const signer = await signerFromSeed(fixed(`${name} receipt key`));
  const asked = {
    nonce,
    hpkeKey: sealing.publicKey,
    receiptKey: signer.publicKey,
    modelCommitment,
    enclave: name,
    time: NOW,
  };
  const provider = simulatedProvider(await platform(name));
  const answer = gpu ? await provider.gpus.answer(gpuNonce(asked)) : undefined;
  const binding = bindGpu(asked, answer);
  const data = reportData(binding);
  const evidence = await quote(await platform(name), { measurement, reportData: data });
  const cpu = { format: SIMULATED, evidence, certificates: [] };
  const document = evidenceDocument({ cpu, gpu: answer }, binding);
  return { document, signer, reportData: data, gpuNonce: gpuNonce(asked) };
}

export async function policies() {
  const { fingerprint } = await root();
  const accepting = (measurement: string) =>
    parsePolicy({
      version: 1,
      platforms: ['simulated'],
      measurements: [measurement],
      minimumTcb: { simulated: [1] },
      maxAgeSeconds: 300,
      simulated: true,
      simulatedRoots: [fingerprint],
      requiredBinding: ['nonce', 'hpkeKey', 'receiptKey', 'modelCommitment', 'enclave'],
    });
  return { inference: accepting(RUNNER_MEASUREMENT), prover: accepting(COORDINATOR_MEASUREMENT) };
}

/**
 * HPKE as in section 6 of the document, with the ephemeral key fixed (RFC 9180 allows that for tests only), and the
 * reply by Node's own HKDF and AES: what protocols/sealing.ts makes with fresh keys.
 */
export async function sealFixed(options: {
  recipient: Uint8Array;
  name: string;
  info: string;
  aad: Uint8Array;
  plaintext: Uint8Array;
}) {
  const suite = new CipherSuite({
    kem: new DhkemX25519HkdfSha256(),
    kdf: new HkdfSha256(),
    aead: new Aes256Gcm(),
  });
  const ephemeral = await sealingKeys(`${options.name} ephemeral key`);
  const { handle } = ephemeral;
  const context = await suite.createSenderContext({
    recipientPublicKey: await suite.kem.deserializePublicKey(options.recipient),
    info: utf8(options.info),
    ekm: handle,
  });
  const enc = new Uint8Array(context.enc);
  const ciphertext = new Uint8Array(await context.seal(options.plaintext, options.aad));
  const exported = new Uint8Array(await context.export(utf8('vouch/v2/reply'), 32));
  const replyNonce = fixed(`${options.name} reply nonce`);
  const salt = concat(enc, replyNonce);
  const key = new Uint8Array(hkdfSync('sha256', exported, salt, 'key', 32));
  const iv = new Uint8Array(hkdfSync('sha256', exported, salt, 'nonce', 12));
  return {
    ephemeralPrivate: ephemeral.privateBytes,
    enc,
    sealed: concat(Uint8Array.of(0, 0x20), enc, ciphertext),
    exported,
    replyNonce,
    replyKey: key,
    replyIv: iv,
    sealReply(plaintext: Uint8Array): Uint8Array {
      const cipher = createCipheriv('aes-256-gcm', key, iv);
      return concat(replyNonce, cipher.update(plaintext), cipher.final(), cipher.getAuthTag());
    },
  };
}

/** The model's secret sealed under a key, and the manifest that its vendor signs. */
export async function publication() {
  const committed = model();
  const commitment = commit(committed).toString();
  const aad = utf8(`vouch/v1/model/${MODEL}/${commitment}`);
  const modelKey = fixed('model key');
  const blobNonce = fixed('model blob nonce').subarray(0, 12);
  const secret = encodeSecret(committed);
  const cipher = createCipheriv('aes-256-gcm', modelKey, blobNonce);
  cipher.setAAD(aad);
  const sealedModel = concat(blobNonce, cipher.update(secret), cipher.final(), cipher.getAuthTag());
  const { inference: policy } = await policies();
  const vendor = await signerFromSeed(fixed('vendor key'));
  const releaseSigner = await signerFromSeed(fixed('release key'));
  const published = verifyManifest(
    await signManifest(vendor, {
      name: MODEL,
      commitment,
      architecture: architectureDocument(committed.architecture),
      // The story's test set is smaller than a vendor should allow.
      terms: { ...DEFAULT_TERMS, minimumRows: ROWS.length },
      policy: sha256Hex(utf8(canonicalJson(policy))),
      sealedModel: manifestOf(sealedModel).digest,
      releaseKeys: [base64url(releaseSigner.publicKey)],
      serial: NOW.getTime(),
    }),
  );
  return { aad, modelKey, secret, sealedModel, vendor, releaseSigner, published };
}

/** Everything up to the receipt. */
export async function conversation() {
  const committed = model();
  const commitment = commit(committed).toString();
  const { inference: policy, prover } = await policies();
  const { published } = await publication();
  const answers = 'decision' satisfies typeof published.manifest.terms.answers;
  const evidenceNonce = fixed('evidence nonce');
  const runner = await attest(ENCLAVE, RUNNER_MEASUREMENT, evidenceNonce, {
    modelCommitment: commitment,
    gpu: true,
  });
  const evidence = evidenceDigest(runner.document);
  const releasePolicy = sha256Hex(utf8(canonicalJson(policy)));

  const [row] = ROWS[0]!;
  const [requestSalt, responseSalt, nonce] = ['request salt', 'response salt', 'request nonce'].map(
    fixed,
  ) as [Uint8Array, Uint8Array, Uint8Array];
  const plaintext: InferencePlaintext = {
    version: 1,
    nonce: hex(nonce),
    evidence,
    requestSalt: hex(requestSalt),
    responseSalt: hex(responseSalt),
    row: [...row],
  };
  const subject = subjects.infer(MODEL, ENCLAVE, CLIENT);
  const request = await sealFixed({
    recipient: fromBase64url(runner.document.hpkeKey),
    name: 'request',
    info: 'vouch/v2/infer',
    aad: utf8(subject),
    plaintext: utf8(JSON.stringify(plaintext)),
  });

  const features = preprocess(committed.architecture.preprocessing, row);
  const { decision, logits } = evaluate(committed, features);
  const decided = { decision, label: committed.architecture.classes[decision]! };
  const bodies = { request: requestBytes(row), response: responseBytes(decided) };
  const digests = {
    request: requestDigest({ salt: requestSalt, body: bodies.request }),
    response: responseDigest({ salt: responseSalt, body: bodies.response }),
  };
  const { id: receiptId, receipt } = await signReceipt(runner.signer, {
    enclave: ENCLAVE,
    evidence,
    policy: releasePolicy,
    modelCommitment: commitment,
    manifest: published.digest,
    answers,
    ...digests,
    nonce: hex(nonce),
    sequence: 0,
    time: NOW,
  });
  const bundle = encodeReceiptBundle({ receipt, evidence: runner.document });
  const answer: AnswerPlaintext = {
    version: 2,
    answers,
    ...decided,
    provider: 'wasm',
    modelMicros: 120,
    receiptId,
    receiptDigest: sha256Hex(bundle),
    receipt: base64url(bundle),
  };
  return {
    model: committed,
    commitment,
    policy,
    releasePolicy,
    prover,
    evidenceNonce,
    runner,
    evidence,
    subject,
    plaintext,
    request,
    features,
    logits: [...logits],
    published,
    bodies,
    digests,
    salts: { request: requestSalt, response: responseSalt },
    receipt,
    receiptId,
    bundle,
    answer,
    sealedAnswer: request.sealReply(utf8(JSON.stringify(answer))),
  };
}

/** The saved proof of the model's quality. `npm run protocol -- --prove` makes it anew. */
export const PROOF_FILE = new URL('../vectors/proof.json', import.meta.url);

export const savedProof = (): PublishedProof['record'] =>
  parse(ProofRecord, JSON.parse(readFileSync(PROOF_FILE, 'utf8')), 'test/vectors/proof.json');

/** The statement that the saved proof is about; circuit and key are the ones that it was made with. */
export function statement(made: { circuit: string; key: string; powers: string }): QualityStatement {
  const rows = testSet();
  return {
    statement: 'quality',
    model: MODEL,
    commitment: commit(model()).toString(),
    threshold: THRESHOLD,
    rows: rows.labels.length,
    testSet: manifestOf(encodeTestSet(rows)).digest,
    ...made,
  };
}

/** Signs a record as a coordinator does. */
export async function publish(record: ProofRecord): Promise<PublishedProof> {
  const digest = sha256(utf8(canonicalJson(record)));
  const { document, signer } = await attest(COORDINATOR, COORDINATOR_MEASUREMENT, digest, {
    modelCommitment: record.statement.commitment,
  });
  return {
    record,
    signature: base64url(await signStatement(signer, PROOF_CONTENT_TYPE, digest)),
    maker: document,
  };
}
