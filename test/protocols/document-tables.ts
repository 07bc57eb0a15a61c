/** The generated tables of docs/PROTOCOL.md: what protocols/ and runtime/nats/rights.ts say, as Markdown. */
import { readFileSync } from 'node:fs';
import { z } from 'zod';
import { Architecture } from '../../circuits/model/architecture.ts';
import { Column } from '../../circuits/model/preprocessing.ts';
import {
  EvidenceDocument,
  MAX_DOCUMENT_BYTES,
  MAX_EVIDENCE_BYTES,
} from '../../protocols/attestation/document.ts';
import { Policy } from '../../protocols/attestation/policy.ts';
import { CLOCK_SKEW_SECONDS } from '../../protocols/attestation/verify.ts';
import * as enclave from '../../protocols/enclave.ts';
import * as envelope from '../../protocols/envelope.ts';
import {
  base64Text,
  Digest,
  Envelope,
  FieldElement,
  Id,
  MAX_HEADER_BYTES,
  MAX_MESSAGE_BYTES,
  type MessageType,
  Nonce,
} from '../../protocols/envelope.ts';
import { ERROR_CODES, type ErrorCode, WireError } from '../../protocols/errors.ts';
import * as inference from '../../protocols/inference.ts';
import * as msm from '../../protocols/msm.ts';
import * as proof from '../../protocols/proof.ts';
import { MAX_BUNDLE_BYTES } from '../../protocols/receipt.ts';
import { MAX_PLAINTEXT_BYTES, SEALING_INFO } from '../../protocols/sealing.ts';
import { CHUNK_BYTES, MAX_CHUNK_BYTES, STREAMS, type StreamSpec } from '../../protocols/streams.ts';
import { ACTOR_KINDS, ROLES, type Role, subjects } from '../../protocols/subjects.ts';
import * as transition from '../../protocols/transition.ts';
import { rightsOf } from '../../runtime/nats/rights.ts';

const table = (head: readonly string[], rows: readonly (readonly string[])[]): string =>
  [head, head.map(() => '---'), ...rows].map((cells) => `| ${cells.join(' | ')} |`).join('\n');
const code = (text: string | number): string => `\`${String(text).replaceAll('|', '\\|')}\``;

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
  return table(
    ['stream', 'subjects', 'storage', 'kept', 'limits', 'readers by direct get'],
    Object.values(STREAMS).map((stream: StreamSpec) => [
      code(stream.name),
      stream.subjects.map(code).join(' '),
      `${stream.storage}${stream.durable ? ', synced before it acknowledges' : ''}`,
      `${age(stream.maxAge)}${stream.retention === 'workqueue' ? ', until acknowledged' : ''}${stream.denyDelete ? ', no delete, no purge' : ''}`,
      [
        stream.maxPerSubject > 0 &&
          `${stream.maxPerSubject} per subject${stream.discard === 'new' ? ', a second is refused' : ', the latest'}`,
        stream.maxBytes > 0 && `${stream.maxBytes / 2 ** 30} GiB`,
      ]
        .filter(Boolean)
        .join('; ') || '-',
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

// --- schemas

interface Schema {
  readonly type?: string | string[];
  readonly title?: string;
  readonly description?: string;
  readonly const?: unknown;
  readonly enum?: readonly unknown[];
  readonly format?: string;
  readonly pattern?: string;
  readonly minLength?: number;
  readonly maxLength?: number;
  readonly minimum?: number;
  readonly maximum?: number;
  readonly items?: Schema;
  readonly minItems?: number;
  readonly maxItems?: number;
  readonly properties?: Readonly<Record<string, Schema>>;
  readonly required?: readonly string[];
  readonly additionalProperties?: boolean | Schema;
  readonly propertyNames?: Schema;
  readonly anyOf?: readonly Schema[];
  readonly oneOf?: readonly Schema[];
  readonly default?: unknown;
}

const jsonSchema = (schema: z.ZodType): Schema => z.toJSONSchema(schema, { io: 'input' }) as Schema;

/** Shapes that have a table of their own; elsewhere their name stands for them. */
const NAMED: readonly (readonly [string, z.ZodType])[] = [
  ['evidence document', EvidenceDocument],
  ['statement', proof.QualityStatement],
  ['proof record', proof.ProofRecord],
  ['Groth16 proof', proof.Groth16Proof],
  ['error', WireError],
  ['column', Column],
];
const bare = ({ description: _, ...rest }: Schema & { $schema?: string }): string => {
  const { $schema: __, ...shape } = rest;
  return JSON.stringify(shape);
};
const named = new Map(NAMED.map(([name, schema]) => [bare(jsonSchema(schema)), name]));

function typeOf(schema: Schema): string {
  const name = named.get(bare(schema)) ?? schema.title;
  if (name !== undefined) {
    return schema.maxLength === undefined ? name : `${name}, at most ${schema.maxLength} characters`;
  }
  if (schema.const !== undefined) return code(JSON.stringify(schema.const));
  if (schema.enum) return `one of ${schema.enum.map((value) => code(JSON.stringify(value))).join(', ')}`;
  const choices = schema.anyOf ?? schema.oneOf;
  if (choices) return choices.map(typeOf).join(' or ');
  if (schema.format === 'date-time') return 'time';
  switch (schema.type) {
    case 'null':
      return '`null`';
    case 'array':
      return `list of ${grouped(typeOf(schema.items ?? {}))}${range(schema.minItems ?? 0, schema.maxItems, 'entries')}`;
    case 'object': {
      if (typeof schema.additionalProperties === 'object' && !schema.properties) {
        const value = typeOf(schema.additionalProperties);
        return value === 'any' ? 'object' : `map to ${grouped(value)}`;
      }
      return 'object';
    }
    case 'string':
      return schema.pattern
        ? `text matching ${code(schema.pattern)}`
        : `text${range(schema.minLength ?? 0, schema.maxLength, 'characters')}`;
    case 'integer':
      return `integer${between(schema.minimum, schema.maximum)}`;
    case 'number':
      return `number${between(schema.minimum, schema.maximum)}`;
    case 'boolean':
      return 'boolean';
    default:
      return 'any';
  }
}

const grouped = (type: string): string => (/, /.test(type) ? `(${type})` : type);

function range(least: number, most: number | undefined, unit: string): string {
  if (most === undefined) return least > 0 ? `, at least ${least} ${unit}` : '';
  if (least === most) return `, ${most} ${unit}`;
  return least === 0 ? `, at most ${most} ${unit}` : `, ${least} to ${most} ${unit}`;
}

function between(least?: number, most?: number): string {
  const open = most === undefined || most >= Number.MAX_SAFE_INTEGER;
  if (least === undefined || least <= Number.MIN_SAFE_INTEGER) return '';
  return open ? `, at least ${least}` : `, ${least} to ${most}`;
}

/** One row per field; a nested object's fields follow it with dotted names, a list's with `[]`. */
function fields(schema: Schema, notes: Readonly<Record<string, string>>, path = ''): string[][] {
  return Object.entries(schema.properties ?? {}).flatMap(([field, value]) => {
    const name = `${path}${field}`;
    const optional = !schema.required?.includes(field);
    const standard = value.default === undefined ? '' : `; default ${code(JSON.stringify(value.default))}`;
    const row = [
      code(name),
      `${typeOf(value)}${optional ? ', optional' : ''}${standard}`,
      value.description ?? notes[name] ?? '',
    ];
    if (named.has(bare(value))) return [row];
    const nested = value.items?.properties
      ? fields(value.items, notes, `${name}[].`)
      : fields(value, notes, `${name}.`);
    return named.has(bare(value.items ?? {})) ? [row] : [row, ...nested];
  });
}

export function schemaTable(schema: z.ZodType, notes: Readonly<Record<string, string>> = {}): string {
  const json = jsonSchema(schema);
  const rows = fields(json, notes);
  const unknown =
    json.additionalProperties === false ? 'An unknown field is an error.' : 'Unknown fields are ignored.';
  return rows.length === 0
    ? 'An empty object.'
    : `${table(['field', 'type', 'meaning'], rows)}\n\n${unknown}`;
}

// --- messages

export interface MessageEntry {
  readonly kind: MessageType<unknown>;
  readonly subject: keyof typeof subjects | 'reply';
  readonly form: 'structured' | 'bulk';
  readonly from: string;
  readonly to: string;
  readonly payload?: string;
  readonly answer?: string;
}

const { DeadLetter, Heartbeat, Transition } = transition;
/** Every message type, in the order of the document. A test compares it with what protocols/ exports. */
export const MESSAGES: readonly MessageEntry[] = [
  {
    kind: envelope.ErrorReply,
    subject: 'reply',
    form: 'structured',
    from: 'whoever was asked',
    to: 'the asker',
  },
  {
    kind: enclave.ModelManifest,
    subject: 'model',
    form: 'structured',
    from: 'vendor (provisioner)',
    to: 'everybody',
  },
  {
    kind: enclave.EvidenceRequest,
    subject: 'evidence',
    form: 'structured',
    from: 'client',
    to: 'any runner of the model (queue group `runners`); coordinator to a worker on `ctl.worker.<id>.attest`',
    answer: 'evidence.reply',
  },
  {
    kind: enclave.EvidenceReply,
    subject: 'reply',
    form: 'structured',
    from: 'runner or worker',
    to: 'the asker',
  },
  {
    kind: inference.InferRequest,
    subject: 'infer',
    form: 'bulk',
    from: 'client',
    to: 'that runner',
    payload: 'sealed request (section 6)',
    answer: 'infer.reply',
  },
  {
    kind: inference.InferReply,
    subject: 'reply',
    form: 'bulk',
    from: 'runner',
    to: 'the asker',
    payload: 'sealed reply (section 6)',
  },
  {
    kind: enclave.ReleaseChallenge,
    subject: 'release',
    form: 'structured',
    from: 'runner or coordinator',
    to: 'any key-broker (queue group `brokers`); for a share to its own, on `release.<model>.<broker>`',
    answer: 'release.nonce',
  },
  { kind: enclave.ReleaseNonce, subject: 'reply', form: 'structured', from: 'key-broker', to: 'the asker' },
  {
    kind: enclave.ReleaseRequest,
    subject: 'releaseFrom',
    form: 'structured',
    from: 'runner or coordinator',
    to: 'the key-broker whose nonce it is',
    answer: 'release.reply',
  },
  { kind: enclave.ReleaseReply, subject: 'reply', form: 'structured', from: 'key-broker', to: 'the asker' },
  {
    kind: proof.ProofRequest,
    subject: 'proofRequest',
    form: 'structured',
    from: 'client',
    to: 'any coordinator',
    answer: 'none: the stream acknowledges',
  },
  {
    kind: proof.ProofProgress,
    subject: 'progress',
    form: 'structured',
    from: 'coordinator',
    to: 'everybody; lossy',
  },
  {
    kind: proof.PublishedProof,
    subject: 'proof',
    form: 'structured',
    from: 'coordinator',
    to: 'everybody; once per job',
  },
  {
    kind: msm.Shard,
    subject: 'shard',
    form: 'bulk',
    from: 'coordinator',
    to: 'that worker',
    payload: 'sealed scalars (section 13)',
  },
  {
    kind: msm.ShardResult,
    subject: 'shardResult',
    form: 'bulk',
    from: 'worker',
    to: 'the coordinator',
    payload: 'sealed reply: one point',
  },
  {
    kind: msm.ShardRefused,
    subject: 'shardResult',
    form: 'bulk',
    from: 'worker',
    to: 'the coordinator',
    payload: 'empty',
  },
  { kind: Transition, subject: 'state', form: 'structured', from: 'every actor', to: 'monitor' },
  { kind: Heartbeat, subject: 'beat', form: 'structured', from: 'every actor', to: 'everybody; lossy' },
  {
    kind: DeadLetter,
    subject: 'dead',
    form: 'structured',
    from: 'supervisor',
    to: 'whoever looks after the host',
  },
  {
    kind: enclave.ControlRequest,
    subject: 'control',
    form: 'structured',
    from: 'supervisor',
    to: 'that actor',
    answer: 'control.reply',
  },
  { kind: enclave.ControlReply, subject: 'reply', form: 'structured', from: 'the actor', to: 'the asker' },
];

/** Every message type that protocols/ exports, by name. */
export const exportedTypes = (): Map<string, MessageType<unknown>> =>
  new Map(
    [envelope, enclave, inference, proof, msm, transition]
      .flatMap((module) => Object.values(module) as unknown[])
      .filter(
        (value): value is MessageType<unknown> =>
          typeof value === 'object' && value !== null && 'schema' in value && 'version' in value,
      )
      .map((kind) => [kind.type, kind]),
  );

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
  'statement-false': 'the model does not reach the threshold',
  'witness-rejected': 'the witness does not satisfy the circuit',
  'proof-rejected': 'a proof does not verify',
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
      ['plaintext of any seal', bytes(MAX_PLAINTEXT_BYTES)],
      ['what one CPU or GPU signed, decoded', bytes(MAX_EVIDENCE_BYTES)],
      ['evidence document, as CBOR', bytes(MAX_DOCUMENT_BYTES)],
      ['receipt bundle', bytes(MAX_BUNDLE_BYTES)],
      ['chunk of a blob: usual length', bytes(CHUNK_BYTES)],
      ['chunk of a blob: greatest length', bytes(MAX_CHUNK_BYTES)],
      ['points of a shard', `2^${Math.log2(jsonSchema(msm.Shard.schema).properties!.count!.maximum!)}`],
      ['rows of a test set', String(jsonSchema(proof.QualityStatement).properties!.rows!.maximum)],
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
        'the subject `vouch.v1.infer.<model>.<enclave>`',
        'runner',
      ],
      ['shard', code(SEALING_INFO.shard), '`<job>/<shard>/<worker>/<epoch>`, epoch in decimal', 'worker'],
      [
        'model key',
        code(SEALING_INFO.release),
        '`vouch/v1/model/<model>/<commitment>`; a share: `vouch/v1/share/<number>/<model>/<commitment>`',
        'runner or coordinator',
      ],
    ],
  );

const DOCUMENT_NOTES = {
  version: '',
  hardware: '`false` = SIMULATED, in whole or in part',
  'cpu.format': '`simulated`, `sev-snp`, `tdx` or `sgx`: which format `evidence` has',
  'cpu.evidence': 'base64url of what the CPU signed',
  'cpu.certificates': "base64url of DER: the CPU's certificates, where the evidence does not hold them",
  gpu: '`null` where there is no GPU',
  'gpu.ccMode': 'as the guest reads it from its driver; refused unless `on`',
  'gpu.ready': 'likewise; refused unless `true`',
  'gpu.devices[].format': '`nvidia-gpu`, for switches `nvidia-switch`; or all `simulated-gpu`',
  'gpu.devices[].evidence': 'base64url of what the GPU signed',
  'gpu.devices[].certificates': "base64url of DER: the GPU's chain",
  gpuEvidence: 'GPU evidence digest that the report data binds; `null` where it binds none',
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
  architecture: schemaTable(Architecture, ARCHITECTURE_NOTES),
  statement: schemaTable(proof.QualityStatement),
  'proof record': schemaTable(proof.ProofRecord),
  'groth16 proof': schemaTable(proof.Groth16Proof),
  'request plaintext': schemaTable(inference.InferencePlaintext),
  'answer plaintext': schemaTable(inference.AnswerPlaintext),
  'sealed error': schemaTable(inference.SealedError),
  ...Object.fromEntries(MESSAGES.map(({ kind }) => [`message ${kind.type}`, message(kind.type)])),
});
