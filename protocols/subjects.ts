/**
 * Every NATS subject of Vouch, each as a function with its literal in the comment.
 *
 * A token is `[A-Za-z0-9_-]{1,64}`; we check it ourselves because a client library may publish `a..b`
 * without complaint. Nothing else in the project spells a subject.
 */
import { VouchError } from './errors.ts';

export const PREFIX = 'vouch.v1';

const TOKEN = /^[A-Za-z0-9_-]{1,64}$/;

/** Roles that appear in subjects and credentials. One NATS scoped signing key exists per role. */
export const ROLES = [
  'supervisor',
  'enclave',
  'gpu',
  'runner',
  'worker',
  'coordinator',
  'broker',
  'monitor',
  'client',
  'auditor',
  'provisioner',
] as const;
export type Role = (typeof ROLES)[number];

/** The roles that are actors: they publish transitions and heartbeats. */
export const ACTOR_ROLES = [
  'supervisor',
  'enclave',
  'gpu',
  'runner',
  'worker',
  'coordinator',
  'broker',
] as const satisfies readonly Role[];

/** The kinds of actor that publish transitions and heartbeats: a role, or one proof's own actor. */
export const ACTOR_KINDS = [...ACTOR_ROLES, 'proof-job'] as const;
export type ActorKind = (typeof ACTOR_KINDS)[number];

/** Returns `value` when it is a legal subject token; throws `bad-token` otherwise. */
export function token(value: string, field = 'subject token'): string {
  if (typeof value !== 'string' || !TOKEN.test(value)) {
    throw new VouchError('bad-token', `${field}: expected 1 to 64 of A-Z a-z 0-9 _ -, got ${preview(value)}`);
  }
  return value;
}

function preview(value: unknown): string {
  return JSON.stringify(String(value).slice(0, 40));
}

const join = (...parts: string[]): string => [PREFIX, ...parts].join('.');
const t = token;

export const subjects = {
  /** `vouch.v1.model.<model>` public manifest of a served model, last one per subject counts */
  model: (model: string) => join('model', t(model, 'model')),
  /** `vouch.v1.evidence.<model>.<client>` that client's nonce in; evidence, HPKE key and enclave id out */
  evidence: (model: string, client: string) => join('evidence', t(model, 'model'), t(client, 'client')),
  /** `vouch.v1.attest.<coordinator>.<client>` that client's nonce in; the coordinator's evidence out */
  coordinatorEvidence: (coordinator: string, client: string) =>
    join('attest', t(coordinator, 'coordinator'), t(client, 'client')),
  /** `vouch.v1.infer.<model>.<enclave>.<client>` that client's sealed request, sealed answer */
  infer: (model: string, enclave: string, client: string) =>
    join('infer', t(model, 'model'), t(enclave, 'enclave'), t(client, 'client')),
  /** `vouch.v1.release.<model>` a challenge, from any key-broker that holds the model's whole key */
  release: (model: string) => join('release', t(model, 'model')),
  /** `vouch.v1.release.<model>.<broker>` that key-broker: evidence in, wrapped model key or share out */
  releaseFrom: (model: string, broker: string) => join('release', t(model, 'model'), t(broker, 'broker')),
  /** `vouch.v1.audit.<broker>` what that key-broker has released and refused */
  audit: (broker: string) => join('audit', t(broker, 'broker')),
  /** `vouch.v1.work.proof.<statement>.<client>.<job>` durable proof request of that client */
  proofRequest: (statement: string, client: string, job: string) =>
    join('work', 'proof', t(statement, 'statement'), t(client, 'client'), t(job, 'job')),
  /** `vouch.v1.work.msm.<worker>.<job>.<shard>` one sealed shard for one worker */
  shard: (worker: string, job: string, shard: string) =>
    join('work', 'msm', t(worker, 'worker'), t(job, 'job'), t(shard, 'shard')),
  /** `vouch.v1.result.msm.<worker>.<job>.<shard>` sealed partial result */
  shardResult: (worker: string, job: string, shard: string) =>
    join('result', 'msm', t(worker, 'worker'), t(job, 'job'), t(shard, 'shard')),
  /** `vouch.v1.proof.<client>.<job>` signed, verified proof for that client; at most one per job */
  proof: (client: string, job: string) => join('proof', t(client, 'client'), t(job, 'job')),
  /** `vouch.v1.receipt.<model>.<client>.<place>` receipts of that client's requests */
  receipt: (model: string, client: string, place: string) =>
    join('receipt', t(model, 'model'), t(client, 'client'), t(place, 'receipt place')),
  /** `vouch.v1.key.<client>.<sha256>` a chunk of public key material, stored by that client */
  key: (client: string, sha256: string) => join('key', t(client, 'client'), t(sha256, 'chunk digest')),
  /** `vouch.v1.test-set.<client>.<sha256>` a chunk of a test set, stored by that client */
  testSet: (client: string, sha256: string) =>
    join('test-set', t(client, 'client'), t(sha256, 'chunk digest')),
  /** `vouch.v1.sealed.<sha256>` a chunk of a sealed model */
  sealedModel: (sha256: string) => join('sealed', t(sha256, 'chunk digest')),
  /** `vouch.v1.state.<kind>.<id>` transitions */
  state: (kind: string, id: string) => join('state', t(kind, 'actor kind'), t(id, 'actor id')),
  /** `vouch.v1.beat.<kind>.<id>` heartbeat */
  beat: (kind: string, id: string) => join('beat', t(kind, 'actor kind'), t(id, 'actor id')),
  /** `vouch.v1.ctl.<kind>.<id>.<verb>` control: drain, attest, suspend, drop, standing, cancel */
  control: (role: string, id: string, verb: string) =>
    join('ctl', t(role, 'role'), t(id, 'actor id'), t(verb, 'verb')),
  /** `vouch.v1.progress.<client>.<job>` phases and shards of one proof for that client, lossy */
  progress: (client: string, job: string) => join('progress', t(client, 'client'), t(job, 'job')),
  /** `vouch.v1.dead.<stream>.<consumer>` pointers to messages that were delivered too often */
  dead: (stream: string, consumer: string) => join('dead', t(stream, 'stream'), t(consumer, 'consumer')),
} as const;

/** The last token of a subject: the model of `release.<model>`, the id of `beat.<kind>.<id>`. */
export const lastToken = (subject: string): string => subject.slice(subject.lastIndexOf('.') + 1);

/** The last token but one: the client of `progress.<client>.<job>` and of `work.proof.<statement>.<client>.<job>`. */
export const lastTokenButOne = (subject: string): string => subject.split('.').at(-2) ?? '';

/** Whether a filter catches a subject: `*` stands for one token, `>` at the end for one or more. */
export function catches(filter: string, subject: string): boolean {
  const [wanted, given] = [filter.split('.'), subject.split('.')];
  const open = wanted.at(-1) === '>';
  if (open ? given.length < wanted.length : given.length !== wanted.length) return false;
  return wanted.every((part, i) => part === '*' || part === given[i] || (open && i === wanted.length - 1));
}

/** Subscriptions with wildcards; never published to. */
export const filters = {
  models: join('model', '*'),
  releases: join('release', '*'),
  releasesFrom: (broker: string) => join('release', '*', t(broker, 'broker')),
  audits: join('audit', '*'),
  proofRequests: join('work', 'proof', '>'),
  shards: join('work', 'msm', '>'),
  shardsOf: (worker: string) => join('work', 'msm', t(worker, 'worker'), '>'),
  shardResults: join('result', 'msm', '>'),
  shardResultsOf: (job: string) => join('result', 'msm', '*', t(job, 'job'), '*'),
  evidenceOf: (model: string) => join('evidence', t(model, 'model'), '*'),
  evidenceOfCoordinator: (coordinator: string) => join('attest', t(coordinator, 'coordinator'), '*'),
  infersOf: (model: string, enclave: string) => join('infer', t(model, 'model'), t(enclave, 'enclave'), '*'),
  proofs: join('proof', '*', '*'),
  proofsOf: (client: string) => join('proof', t(client, 'client'), '*'),
  receipts: join('receipt', '*', '*', '*'),
  keys: join('key', '*', '*'),
  testSets: join('test-set', '*', '*'),
  sealedModels: join('sealed', '*'),
  states: join('state', '>'),
  beats: join('beat', '>'),
  beatsOf: (kind: string) => join('beat', t(kind, 'actor kind'), '*'),
  progresses: join('progress', '*', '*'),
  progressesOf: (client: string) => join('progress', t(client, 'client'), '*'),
  controlOf: (role: string, id: string) => join('ctl', t(role, 'role'), t(id, 'actor id'), '*'),
  cancels: join('ctl', 'proof-job', '*', 'cancel'),
  dead: join('dead', '>'),
} as const;
