/** The bodies of all message types, starting from the examples of docs/PROTOCOL.md. */
import { readFileSync } from 'node:fs';
import { z } from 'zod';
import { EvidenceDocument } from '../../protocols/attestation/document.ts';
import { Capability } from '../../protocols/device.ts';
import { ReleaseReply } from '../../protocols/enclave.ts';
import { canonicalJson, utf8 } from '../../protocols/encoding.ts';
import {
  base64Text,
  Digest,
  FieldElement,
  Id,
  type MessageType,
  Nonce,
  parse,
} from '../../protocols/envelope.ts';
import { VouchError } from '../../protocols/errors.ts';
import {
  AnswerPlaintext,
  InferencePlaintext,
  requestBytes,
  responseBytes,
  SealedError,
} from '../../protocols/inference.ts';
import { pointBytes, SECTIONS, Shard, shardContext } from '../../protocols/msm.ts';
import {
  Groth16Proof,
  HiddenInferenceStatement,
  InferenceStatement,
  ProofRecord,
  ProofRequest,
  PublishedProof,
  QualityStatement,
} from '../../protocols/proof.ts';
import { MAX_BUNDLE_BYTES } from '../../protocols/receipt.ts';
import { assert, suite } from '../harness.ts';
import { DOCUMENT } from './document.ts';
import { MESSAGES } from './document-messages.ts';
import { conversation } from './document-scenario.ts';

const test = suite('messages');
type Json = Record<string, unknown>;

const document = readFileSync(DOCUMENT, 'utf8');
const examples = [...document.matchAll(/```json\n([\s\S]*?)\n```/g)]
  .map(([, json]) => JSON.parse(json!) as Json)
  .filter((value) => 'subject' in value)
  .map((value) => ({
    kind: MESSAGES.find(({ kind }) => kind.type === value.type)!.kind,
    body: value.body as Json,
  }));
const exampleOf = <Body>({ type }: MessageType<Body>): Body =>
  structuredClone(examples.find(({ kind }) => kind.type === type)!.body) as Body;

const accepts = (schema: MessageType<unknown>['schema'], value: unknown) => schema.safeParse(value).success;
const refused = (schema: MessageType<unknown>['schema'], value: unknown, what = '') => {
  try {
    parse(schema, value, 'body');
  } catch (error) {
    assert.instance(error, VouchError);
    return (error as VouchError).message;
  }
  return assert.unreachable(`accepted: ${what}`) as never;
};

/** Parts that protocols/ carries without looking into them, by path. */
const OPAQUE = /(^|\.)(architecture|verificationKey)$/;
const OPTIONAL = new Set([
  'error',
  'worker',
  'cause',
  'epoch',
  'cancel',
  'failure',
  'perDay',
  'ever',
  'inference',
]);
/** Objects that nothing may be added to: what is signed, or says what is to be proved. */
const STRICT =
  /(^|\.)((document|maker)(\.cpu|\.gpu(\.devices\.\d+)?)?|manifest|manifest\.terms(\.(requester|all))?|statement|record|proof|record\.workers\.\d+|record\.phases)$/;
/** Fields that say `null` for what there is none of. */
const NULLABLE = new Set([
  'receiptKey',
  'xWingKey',
  'tlsKey',
  'modelCommitment',
  'gpu',
  'gpuEvidence',
  'from',
]);

/** Every object inside `value` with its path, the opaque ones left out. */
function* objects(value: unknown, path = ''): Generator<[string, Json]> {
  if (typeof value !== 'object' || value === null || OPAQUE.test(path)) return;
  if (!Array.isArray(value)) yield [path, value as Json];
  for (const [name, inner] of Object.entries(value)) yield* objects(inner, path ? `${path}.${name}` : name);
}
const at = (value: unknown, path: string): Json =>
  path === '' ? (value as Json) : path.split('.').reduce((inner, name) => inner[name] as Json, value as Json);

test('a field that is missing or of another type is refused, and the error says where', () => {
  let tried = 0;
  for (const { kind, body } of examples) {
    for (const [path, object] of objects(body)) {
      // Names of these are data.
      if (/(^|\.)(counts|phases)$/.test(path)) continue;
      for (const [name, value] of Object.entries(object)) {
        const where = path ? `${path}.${name}` : name;
        if (OPAQUE.test(where)) continue;
        const wrong: unknown[] = [{ a: 'text' }, typeof value === 'string' ? 5 : 'text', ['x', 'y']];
        if (!OPTIONAL.has(name)) wrong.push(undefined);
        if (!NULLABLE.has(name)) wrong.push(null);
        for (const other of wrong) {
          const changed = structuredClone(body);
          at(changed, path)[name] = other;
          const message = refused(kind.schema, changed, `${kind.type} ${where} = ${JSON.stringify(other)}`);
          assert.ok(message.startsWith(`body.${where}`), `${kind.type}: ${message} (${where})`);
          tried++;
        }
      }
    }
  }
  assert.ok(tried > 500, `${tried}`);
});

test('an unknown field is refused in what is signed or proved, and dropped elsewhere', () => {
  const found = { strict: 0, open: 0 };
  for (const { kind, body } of examples) {
    for (const [path] of objects(body)) {
      if (/(^|\.)counts$|^phases$/.test(path)) continue;
      const changed = structuredClone(body);
      at(changed, path).colour = 'blue';
      // The whole request is signed.
      if (STRICT.test(path) || kind.type === ProofRequest.type) {
        refused(kind.schema, changed, `${kind.type} ${path}.colour`);
        found.strict++;
      } else {
        assert.equal(parse(kind.schema, changed, 'body'), body, `${kind.type} ${path}`);
        found.open++;
      }
    }
  }
  assert.ok(found.strict >= 9 && found.open >= 20, JSON.stringify(found));
});

test('ids, digests, nonces, field elements and base64url have one spelling', () => {
  const cases: [MessageType<unknown>['schema'], string[], string[]][] = [
    [Id, ['a', 'A-_9', 'x'.repeat(64)], ['', 'a.b', 'a b', 'x'.repeat(65), 'ä', 'a\n']],
    [Digest, ['0a'.repeat(32)], ['0A'.repeat(32), '0a'.repeat(31), '0a'.repeat(33), 'zz'.repeat(32)]],
    [
      Nonce,
      ['00'.repeat(16), 'ff'.repeat(64)],
      ['00'.repeat(15), '0'.repeat(33), 'FF'.repeat(16), 'ff'.repeat(65)],
    ],
    [FieldElement, ['0', '1', '9'.repeat(77)], ['', '01', '-1', '1e3', '0x1', ' 1', '1.0', '9'.repeat(78)]],
    [base64Text(3), ['AAAA', '-_'], ['', 'AA==', 'A+/A', 'AAAAA', 'A A']],
  ];
  for (const [schema, good, bad] of cases) {
    for (const value of good) assert.ok(accepts(schema, value), value);
    for (const value of bad) assert.not.ok(accepts(schema, value), value);
  }
});

test('what is inside a sealed request takes no unknown field; an answer does', async () => {
  const { plaintext, answer } = await conversation();
  parse(InferencePlaintext, plaintext, 'request');
  refused(InferencePlaintext, { ...plaintext, logProbabilities: true });
  for (const version of [1, 2]) parse(InferencePlaintext, { ...plaintext, version }, 'request');
  for (const version of [0, 3, '1']) refused(InferencePlaintext, { ...plaintext, version });
  refused(InferencePlaintext, { ...plaintext, requestSalt: plaintext.requestSalt.slice(2) });
  refused(InferencePlaintext, { ...plaintext, row: [] });
  refused(InferencePlaintext, { ...plaintext, row: [1] });
  refused(InferencePlaintext, { ...plaintext, row: ['x'.repeat(257)] });
  refused(InferencePlaintext, { ...plaintext, row: Array(4097).fill('') });
  assert.equal(parse(AnswerPlaintext, { ...answer, colour: 'blue' }, 'answer'), answer);
  refused(AnswerPlaintext, { ...answer, answers: 'exact', scores: [] });
  refused(AnswerPlaintext, { ...answer, answers: 'exact', scores: [0.5] });
  // A decision holds no scores, and every other answer does.
  refused(AnswerPlaintext, { ...answer, scores: [1] });
  refused(AnswerPlaintext, { ...answer, answers: 'rounded' });
  // The greatest bundle that a runner can make fits.
  const largest = 'A'.repeat(Math.ceil((MAX_BUNDLE_BYTES * 4) / 3));
  parse(AnswerPlaintext, { ...answer, receipt: largest }, 'answer');
  refused(AnswerPlaintext, { ...answer, receipt: `${largest}A` });
  // An answer is never taken for an error, nor the other way round.
  assert.not.ok(accepts(SealedError, answer));
  const error = { code: 'busy', message: 'm', errorId: 'e', retryable: true };
  assert.not.ok(accepts(AnswerPlaintext, { version: 1, error }));
  parse(SealedError, { version: 1, error }, 'error');
});

test('bodies of receipts are canonical JSON, whatever the cells hold', () => {
  const rows = [['A11', '6'], ['<&>', 'é', '"\\', '\u2028', '\n\u0001', '😀'], ['']];
  for (const row of rows) assert.equal(requestBytes(row), utf8(canonicalJson(row)));
  const answer = { decision: 1, label: '<bad> é', scores: [-3, 0, 16777215] };
  assert.equal(responseBytes(answer), utf8(canonicalJson([1, '<bad> é', [-3, 0, 16777215]])));
  assert.equal(responseBytes({ decision: 0, label: 'good' }), utf8('[0,"good"]'));
  assert.not.equal(requestBytes(['a,b']), requestBytes(['a', 'b']));
});

test('statements and records are bounded, and the statement of a request is as strict as a signed one', () => {
  const { statement } = exampleOf(ProofRequest);
  for (const wrong of [
    { rows: 0 },
    { rows: 65_537 },
    { threshold: -1 },
    { threshold: 0.5 },
    { statement: 'inference' },
    { fairness: 'equalised odds' },
  ])
    refused(ProofRequest.schema, { job: 'j', statement: { ...statement, ...wrong } }, JSON.stringify(wrong));
  const { record } = exampleOf(PublishedProof);
  for (const wrong of [
    { publicSignals: record.publicSignals.slice(1) },
    { publicSignals: [...record.publicSignals, '1'] },
    { constraints: 0 },
    { phases: { resting: 1 } },
    { workers: [{ id: 'w', shards: 1, millis: 1, secret: 1 }] },
    { workers: Array(4097).fill(record.workers[0]) },
    { proof: { ...record.proof, pi_a: record.proof.pi_a.slice(1) } },
    { proof: { ...record.proof, curve: 'bls12381' } },
  ])
    refused(ProofRecord, { ...record, ...wrong }, JSON.stringify(wrong).slice(0, 80));
  for (const schema of [
    QualityStatement,
    InferenceStatement,
    HiddenInferenceStatement,
    Groth16Proof,
    ProofRecord,
    EvidenceDocument,
  ])
    assert.is(z.toJSONSchema(schema).additionalProperties, false);
});

test('a shard is bounded before anything is fetched or allocated', () => {
  const shard = exampleOf(Shard);
  const bases = shard.bases[0]!;
  for (const wrong of [
    { count: 0 },
    { count: 2 ** 20 + 1 },
    { wide: shard.count + 1 },
    { wide: -1 },
    { bits: { from: 4, count: 8 } },
    { bits: { from: 8, count: 0 } },
    { bits: { from: 8, count: 256 } },
    { bases: [] },
    { bases: Array(6).fill(bases) },
    { worker: 'w.x' },
    ...[
      { count: shard.count + 1 },
      { chunks: [] },
      { chunks: Array(257).fill(bases.chunks[0]) },
      { chunks: ['../../etc/passwd'] },
      { offset: -1 },
      { offset: 8 * 2 ** 20 },
      { section: 'D' },
    ].map((part) => ({ bases: [{ ...bases, ...part }] })),
  ])
    refused(Shard.schema, { ...shard, ...wrong }, JSON.stringify(wrong).slice(0, 60));
  assert.equal(SECTIONS.map(pointBytes), [64, 64, 128, 64, 64]);
});

test('what a shard is sealed to differs for every job, shard, worker and epoch', () => {
  const contexts = new Set<string>();
  const parts = ['a', 'a-', '-a', 'aa'];
  for (const job of parts)
    for (const shard of parts)
      for (const worker of parts)
        for (const epoch of [0, 1, 11])
          contexts.add(new TextDecoder().decode(shardContext(job, shard, worker, epoch)));
  assert.is(contexts.size, 4 * 4 * 4 * 3);
});

test('a sealed key is base64url of a bounded length', () => {
  const reply = exampleOf(ReleaseReply);
  refused(ReleaseReply.schema, { ...reply, sealedKey: `${reply.sealedKey}=` });
  refused(ReleaseReply.schema, { ...reply, sealedKey: 'A'.repeat(2732) });
});

test('a capability of a device is bounded', () => {
  const capability = {
    adapter: 'a',
    driver: 'd',
    software: false,
    maxBufferBytes: 2 ** 28,
    maxBindingBytes: 2 ** 27,
    memoryBytes: 2 ** 30,
    features: ['subgroups'],
  };
  parse(Capability, capability, 'capability');
  parse(Capability, { ...capability, rates: { multiplications: 1e9, G1: 1e7, G2: 3e6 } }, 'capability');
  refused(Capability, { ...capability, rates: { multiplications: 1e9, G1: -1, G2: 3e6 } });
  refused(Capability, { ...capability, maxBufferBytes: -1 });
  refused(Capability, { ...capability, features: Array(129).fill('x') });
});

test.run();
