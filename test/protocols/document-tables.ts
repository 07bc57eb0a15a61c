/** The generated tables of docs/PROTOCOL.md: what protocols/ and runtime/nats/rights.ts say, as Markdown. */
import { readFileSync } from 'node:fs';
import type { z } from 'zod';
import { ArchitectureV1, ArchitectureV2, ArchitectureV3 } from '../../circuits/model/architecture.ts';
import { MAX_CONSTRAINTS } from '../../circuits/model/size.ts';
import { TreesShape } from '../../circuits/model/trees.ts';
import { EvidenceDocument } from '../../protocols/attestation/document.ts';
import { CLOCK_SKEW_SECONDS } from '../../protocols/attestation/document-demands.ts';
import { MAX_DOCUMENT_BYTES, MAX_EVIDENCE_BYTES } from '../../protocols/attestation/limits.ts';
import { Policy } from '../../protocols/attestation/policy.ts';
import * as chat from '../../protocols/chat.ts';
import {
  base64Text,
  Digest,
  Envelope,
  FieldElement,
  Id,
  MAX_HEADER_BYTES,
  MAX_MESSAGE_BYTES,
  Nonce,
} from '../../protocols/envelope.ts';
import { ERROR_CODES, type ErrorCode } from '../../protocols/errors.ts';
import * as inference from '../../protocols/inference.ts';
import * as msm from '../../protocols/msm.ts';
import * as proof from '../../protocols/proof.ts';
import { MAX_BUNDLE_BYTES } from '../../protocols/receipt.ts';
import { MAX_PLAINTEXT_BYTES, SEALING_INFO } from '../../protocols/sealing.ts';
import { CHUNK_BYTES, MAX_CHUNK_BYTES, STREAMS, type StreamSpec } from '../../protocols/streams.ts';
import { ACTOR_KINDS, ROLES, type Role, subjects } from '../../protocols/subjects.ts';
import { TextArchitecture } from '../../protocols/weights.ts';
import { rightsOf } from '../../runtime/nats/rights.ts';
import { MESSAGES } from './document-messages.ts';
import { code, jsonSchema, schemaTable, table } from './document-schema.ts';

// --- subjects and streams

interface SubjectEntry {
  readonly name: keyof typeof subjects;
  /** with `<placeholders>` */
  readonly literal: string;
  readonly meaning: string;
}

/** The subjects in the order of their file, from the comment that stands over each. */
export function subjectEntries(): SubjectEntry[] {
  const source = readFileSync(new URL('../../protocols/subjects.ts', import.meta.url), 'utf8');
  const found = source.matchAll(/\/\*\* `(vouch\.v1\.[^`]+)` (.+?) \*\/\s+(\w+): \(/g);
  return [...found].map(([, literal, meaning, name]) => ({
    name: name as keyof typeof subjects,
    literal: literal!,
    meaning: meaning!,
  }));
}

/** The subject of an entry with its placeholders' names as tokens. */
export function subjectOf({ name, literal }: SubjectEntry): string {
  const tokens = [...literal.matchAll(/<(\w+)>/g)].map(([, token]) => token!);
  return (subjects[name] as (...parts: string[]) => string)(...tokens);
}

/** NATS's own matching: `*` is one token, `>` one or more at the end. */
export function matches(filter: string, subject: string): boolean {
  const [pattern, tokens] = [filter.split('.'), subject.split('.')];
  for (let i = 0; i < pattern.length; i++) {
    if (pattern[i] === '>') return tokens.length > i;
    if (tokens[i] === undefined || (pattern[i] !== '*' && pattern[i] !== tokens[i])) return false;
  }
  return pattern.length === tokens.length;
}

/** Roles that may do this on a subject; `kind` and `role` as tokens stand for any of them. */
function rolesThat(what: 'publish' | 'subscribe', subject: string): Role[] {
  const places = ['kind', 'role'].some((name) => subject.split('.').includes(name))
    ? [...ACTOR_KINDS, ...ROLES].map((name) => subject.replace(/\.(kind|role)\./, `.${name}.`))
    : [subject];
  return ROLES.filter((role) =>
    rightsOf(role)[what].some((right) =>
      places.some((place) => matches(right.replaceAll('{{name()}}', '*'), place)),
    ),
  );
}
const streamOf = (subject: string): StreamSpec | undefined =>
  Object.values(STREAMS).find((stream) => stream.subjects.some((filter) => matches(filter, subject)));

function subjectTable(): string {
  return table(
    ['subject', 'what', 'kind', 'publishers', 'subscribers'],
    subjectEntries().map((entry) => {
      const subject = subjectOf(entry);
      const stream = streamOf(subject);
      return [
        code(entry.literal),
        entry.meaning,
        stream ? `stream ${code(stream.name)}` : 'core',
        rolesThat('publish', subject).join(', ') || '-',
        rolesThat('subscribe', subject).join(', ') || '-',
      ];
    }),
  );
}

function streamTable(): string {
  const age = (seconds: number) =>
    seconds === 0 ? 'for ever' : seconds % 86_400 === 0 ? `${seconds / 86_400} d` : `${seconds / 3600} h`;
  const size = (bytes: number) =>
    bytes >= 2 ** 30
      ? `${bytes / 2 ** 30} GiB`
      : bytes >= 2 ** 20
        ? `${Math.floor(bytes / 2 ** 20)} MiB`
        : `${Math.floor(bytes / 2 ** 10)} KiB`;
  return table(
    ['stream', 'subjects', 'storage', 'kept', 'limits', 'readers by direct get'],
    Object.values(STREAMS).map((stream: StreamSpec) => [
      code(stream.name),
      stream.subjects.map(code).join(' '),
      `${stream.storage}${stream.durable ? ', synced before it acknowledges' : ''}`,
      `${age(stream.maxAge)}${stream.retention === 'workqueue' ? ', until acknowledged' : ''}${stream.denyDelete ? ', no delete, no purge' : ''}`,
      [
        stream.maxPerSubject > 0 && `${stream.maxPerSubject} per subject, the latest`,
        size(stream.maxBytes),
        stream.maxMessages > 0 && `${stream.maxMessages} messages`,
        `${size(stream.maxMessageBytes)} a message`,
        stream.discard === 'new' ? 'refuses when full' : 'drops the oldest when full',
      ]
        .filter(Boolean)
        .join('; '),
      (stream.allowDirect ? rolesThat('publish', `$JS.API.DIRECT.GET.${stream.name}.x`) : []).join(', ') ||
        '-',
    ]),
  );
}

function rightsList(role: Role): string {
  const { publish, subscribe } = rightsOf(role);
  const line = (what: string) => (subject: string) => `${what.padEnd(9)}  ${subject}`;
  const lines = [...publish.map(line('publish')), ...subscribe.map(line('subscribe'))];
  return ['```text', ...lines, '```'].join('\n');
}

// --- messages

function message(type: string): string {
  const entry = MESSAGES.find(({ kind }) => kind.type === type);
  if (!entry) throw new RangeError(`no message type ${type}`);
  const { kind, subject, form, from, to, payload, answer } = entry;
  const where =
    subject === 'reply' ? 'reply' : code(subjectEntries().find(({ name }) => name === subject)!.literal);
  const rows = [
    ['version', String(kind.version)],
    ['subject', where],
    ['from, to', `${from} → ${to}`],
    ['form', form === 'bulk' ? `bulk: header, payload = ${payload}` : 'structured'],
    ...(answer ? [['answer', answer.includes(' ') ? answer : code(answer)]] : []),
  ];
  return [
    `**${code(type)}** ${rows.map(([name, value]) => `· ${name}: ${value}`).join(' ')}`,
    '',
    schemaTable(kind.schema),
  ].join('\n');
}

const messageIndex = (): string =>
  table(
    ['type', 'version', 'form', 'from → to'],
    MESSAGES.map(({ kind, form, from, to }) => [
      code(kind.type),
      String(kind.version),
      form,
      `${from} → ${to}`,
    ]),
  );

// --- errors, limits, words

const MEANINGS: Record<ErrorCode, string> = {
  'bad-token': 'a subject token has other characters than `A-Z a-z 0-9 _ -` or another length than 1 to 64',
  'bad-message': 'not of the form that this document describes',
  'bad-version': 'a version of a message type that this side does not speak',
  'bad-input': 'what the message asks for makes no sense: a cell, a row, a statement',
  'bad-file': 'a blob or file is missing, truncated or not what its digest says',
  'too-large': 'over a limit of section 15',
  'unknown-model': 'nobody has published a model of that name',
  'not-ready': 'the actor is starting, draining, or has lost what it needs',
  'no-responder': 'nobody answers on that subject now',
  'nats-unreachable': 'no connection to NATS',
  'nats-credentials': 'NATS refused the credentials, or what was tried with them',
  'nats-feature': 'the NATS server lacks something that Vouch needs',
  timeout: 'no answer in time; it may still have happened',
  busy: 'too many requests wait',
  conflict: 'it exists already, or was changed meanwhile',
  'storage-full': 'a stream or disk is full; nothing was stored',
  'seal-rejected': 'sealed bytes do not open with this key, purpose and context',
  replayed: 'this sealed message or nonce was used before',
  'stale-epoch': 'work of a lease that has passed to another',
  'evidence-rejected': 'evidence is malformed, stale, forged or not of this runner',
  'policy-rejected': 'evidence is genuine, but the policy does not accept it',
  'signature-rejected': 'a signature does not hold',
  'receipt-rejected': 'a receipt does not say what it should',
  'commitment-mismatch': 'another model than the commitment names',
  'key-rejected': 'a proving key is not for the circuit, or unsafe',
  'terms-refused': "the model's terms do not allow this request: its message says which term",
  'statement-false': 'the model does not reach the threshold',
  'witness-rejected': 'the witness does not satisfy the circuit',
  'proof-rejected': 'a proof does not verify',
  'proof-refused': "no proof was made; why is the vendor's secret, a false statement included",
  'shard-rejected': 'a partial result is not one point of the group',
  cancelled: 'given up because somebody asked for it',
  'device-lost': 'the GPU is gone',
  'out-of-memory': 'there is no room for it, on the GPU or on the host',
  internal: 'a fault inside the service; `errorId` finds it in its log',
};

const errorTable = (): string =>
  table(
    ['code', 'retryable', 'meaning'],
    Object.entries(ERROR_CODES).map(([name, retryable]) => [
      code(name),
      retryable ? 'yes' : 'no',
      MEANINGS[name as ErrorCode],
    ]),
  );

const bytes = (count: number): string =>
  count % 2 ** 20 === 0
    ? `${count / 2 ** 20} MiB`
    : count % 1024 === 0
      ? `${count / 1024} KiB`
      : `${count} bytes`;

const limitTable = (): string =>
  table(
    ['what', 'limit'],
    [
      ['structured message, envelope included', bytes(MAX_MESSAGE_BYTES)],
      ['header `Vouch-Envelope` of a bulk message', bytes(MAX_HEADER_BYTES)],
      ['sealed inference request', bytes(inference.MAX_SEALED_REQUEST_BYTES)],
      ['sealed request for text', bytes(chat.MAX_SEALED_CHAT_BYTES)],
      ['text of an answer, in UTF-8', bytes(chat.MAX_ANSWER_BYTES)],
      ['plaintext of any seal', bytes(MAX_PLAINTEXT_BYTES)],
      ['what one CPU or GPU signed, decoded', bytes(MAX_EVIDENCE_BYTES)],
      ['evidence document, as CBOR', bytes(MAX_DOCUMENT_BYTES)],
      ['receipt bundle', bytes(MAX_BUNDLE_BYTES)],
      ['chunk of a blob: usual length', bytes(CHUNK_BYTES)],
      ['chunk of a blob: greatest length', bytes(MAX_CHUNK_BYTES)],
      ['points of a shard', `2^${Math.log2(jsonSchema(msm.Shard.schema).properties!.count!.maximum!)}`],
      ['rows of a test set', String(jsonSchema(proof.QualityStatement).properties!.rows!.maximum)],
      [
        'constraints of a circuit that is compiled for a request, by an estimate',
        `2^${Math.log2(MAX_CONSTRAINTS)}`,
      ],
      ["a signer's clock ahead of the verifier's", `${CLOCK_SKEW_SECONDS} s`],
    ],
  );

const words = (): string =>
  table(
    ['name', 'JSON', 'form'],
    [
      ['id', Id, 'also a subject token'],
      ['digest', Digest, 'SHA-256, lower-case hex'],
      ['nonce', Nonce, '16 to 64 bytes, lower-case hex'],
      [
        'field element',
        FieldElement,
        'integer in decimal, no leading zeros; a commitment or public signal is below *r*',
      ],
      [
        'base64url',
        base64Text(3),
        'RFC 4648 section 5 without padding; unused final bits are zero; lengths are stated per field',
      ],
    ].map(([name, schema, form]) => [
      name as string,
      `string ${code(jsonSchema(schema as z.ZodType).pattern!)}`,
      form as string,
    ]),
  );

const infoTable = (): string =>
  table(
    ['purpose', '`info` (UTF-8)', '`aad` (UTF-8)', 'recipient'],
    [
      [
        'inference request',
        code(SEALING_INFO.infer),
        'the subject `vouch.v1.infer.<model>.<enclave>.<client>`',
        'runner',
      ],
      [
        'request for text',
        code(SEALING_INFO.chat),
        'the subject `vouch.v1.infer.<model>.<enclave>.<client>`',
        'runner',
      ],
      ['shard', code(SEALING_INFO.shard), '`<job>/<shard>/<worker>/<epoch>`, epoch in decimal', 'worker'],
      [
        'model key',
        code(SEALING_INFO.release),
        '`vouch/v1/model/<model>/<commitment>`; a share: `vouch/v1/share/<number>/<model>/<commitment>`',
        'runner or coordinator',
      ],
      [
        'hidden row',
        code(SEALING_INFO.row),
        'the subject `vouch.v1.work.proof.hidden-inference.<client>.<job>`',
        'coordinator',
      ],
    ],
  );

const DOCUMENT_NOTES = {
  version: '',
  hardware: '`false` = SIMULATED, in whole or in part',
  'cpu.format': '`simulated`, `sev-snp`, `tdx`, `sgx` or `nitro`: which format `evidence` has',
  'cpu.evidence': 'base64url of what the CPU signed',
  'cpu.certificates': "base64url of DER: the CPU's certificates, where the evidence does not hold them",
  gpu: '`null` where there is no GPU',
  'gpu.ccMode': 'as the guest reads it from its driver; refused unless `on`',
  'gpu.ready': 'likewise; refused unless `true`',
  'gpu.devices[].format': '`nvidia-gpu`, for switches `nvidia-switch`; or all `simulated-gpu`',
  'gpu.devices[].evidence': 'base64url of what the GPU signed',
  'gpu.devices[].certificates': "base64url of DER: the GPU's chain",
  gpuEvidence: 'GPU evidence digest that the report data binds; `null` where it binds none',
  stapled:
    'base64url of OCSP responses (RFC 6960, DER) about the certificates above; absent where there are none',
  collateral: 'digests of files with which the holder last verified this: a help, not a claim',
  time: "seconds since 1970 by the host's clock",
  nonce: "the verifier's",
  hpkeKey: 'X25519 public key to seal to: 32 bytes, base64url',
  xWingKey: 'X-Wing public key to seal to: 1216 bytes, base64url',
  receiptKey: 'Ed25519 public key that signs receipts or proofs: 32 bytes, base64url',
  tlsKey: 'SHA-256 of the SubjectPublicKeyInfo of a TLS key',
  modelCommitment: '`null` where the holder serves no model',
  enclave: 'id of the holder',
};
const ARCHITECTURE_NOTES = {
  version: '',
  'preprocessing.columns': 'how cells become features',
  layers: 'dense layers, first to last',
  'layers[].weightBits': 'width of each weight, signed',
  'layers[].biasBits': 'width of each bias, signed',
  'layers[].shift': '*k*; 0 on the last layer',
  'layers[].accumulator': 'bound on an accumulator; recompute and compare',
  'layers[].output': 'bound on an output; recompute and compare',
  rounding: 'the one rounding there is',
  decision: 'how the last layer decides',
  classes: 'names, in the order of the outputs',
};

/** The generated blocks by name. */
export const tables = (): Record<string, string> => ({
  words: words(),
  'rights client': rightsList('client'),
  'rights worker': rightsList('worker'),
  subjects: subjectTable(),
  streams: streamTable(),
  envelope: schemaTable(Envelope),
  messages: messageIndex(),
  errors: errorTable(),
  limits: limitTable(),
  info: infoTable(),
  'evidence document': schemaTable(EvidenceDocument, DOCUMENT_NOTES),
  policy: schemaTable(Policy),
  architecture: schemaTable(ArchitectureV1, ARCHITECTURE_NOTES),
  'architecture 2': schemaTable(ArchitectureV2),
  'architecture 3': schemaTable(ArchitectureV3),
  trees: schemaTable(TreesShape),
  statement: schemaTable(proof.QualityStatement),
  'statement inference': schemaTable(proof.InferenceStatement),
  'statement hidden inference': schemaTable(proof.HiddenInferenceStatement),
  'proof record': schemaTable(proof.ProofRecord),
  'groth16 proof': schemaTable(proof.Groth16Proof),
  'request plaintext': schemaTable(inference.InferencePlaintext),
  'answer plaintext': schemaTable(inference.AnswerPlaintext),
  'sealed error': schemaTable(inference.SealedError),
  'chat plaintext': schemaTable(chat.ChatPlaintext),
  'chat end': schemaTable(chat.ChatEnd),
  'text architecture': schemaTable(TextArchitecture),
  ...Object.fromEntries(MESSAGES.map(({ kind }) => [`message ${kind.type}`, message(kind.type)])),
});
