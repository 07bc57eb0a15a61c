/**
 * Who may do what on NATS, as data: which account a role lives in, the permission templates of its signing key
 * (nats-server, "Scoped Signing Keys"; `{{name()}}` stands for the id that credentials were minted for), and what
 * crosses between the accounts.
 *
 * There are two accounts, because a permission list cannot bind what the *server* sends: whoever may ask JetStream
 * for anything names the subject that the answer goes to, unchecked, and answers can have chosen contents (a
 * stored chunk). With one account, a client stored a forged proof that way and made the server delete a stream
 * (tried on 2.10.27). So the streams live in an account of their own with the two roles that may
 * make consumers anyway; everybody else reaches them through service imports, whose answers stay in the asker's
 * account. All imports share the one export `>`, and the server does not let an answer to one cross again
 * through the same export (its cycle detection). test/runtime/nats/rights.nats.test.ts tries all of this; it has
 * passed on 2.9.10, 2.10.27 and 2.15.1.
 *
 * What remains: an answer can still be sent to a subject on which an actor of the outer account listens. The bus
 * drops messages that carry JetStream's marks, and the others are no valid envelope.
 *
 * No role has `allow_responses`: it would ignore these lists. Whoever answers may publish to the inboxes of those
 * who may ask.
 */
import { BUCKETS, PROOF_REQUEST_CONSUMER, STREAMS, type StreamSpec } from '../../protocols/streams.ts';
import { ACTOR_ROLES, filters, type Role, subjects } from '../../protocols/subjects.ts';

export interface Rights {
  readonly publish: readonly string[];
  readonly subscribe: readonly string[];
}

/** The roles of the inner account, where the streams are: trusted with all of them. */
export const INNER_ROLES: readonly Role[] = ['provisioner', 'coordinator'];

// Legal subject tokens that stand for `*` and for the user's own id while a subject is put together.
const ANY = '__any__';
const OWN = '__own__';
const template = (subject: string): string => subject.replaceAll(ANY, '*').replaceAll(OWN, '{{name()}}');

/** The private inbox of one user: nobody else may listen there. */
export const inboxPrefix = (role: string, id: string): string => `_INBOX.${role}.${id}`;

/**
 * The subject, less the stream's name, that asks about a stream. Every account has `$JS.API.STREAM.INFO` for streams
 * of its own, so the outer account knows those of the inner one by another name.
 */
export const streamInfoPrefix = (role: string | undefined): string =>
  role === undefined || INNER_ROLES.some((inner) => inner === role)
    ? '$JS.API.STREAM.INFO'
    : '$JS.VOUCH.STREAM.INFO';

/** Where requests that come through a service import want their answers. */
const CROSSED = '_R_.>';
const answersTo = (...roles: Role[]): string[] => [
  ...new Set(roles.map((role) => (INNER_ROLES.includes(role) ? CROSSED : `_INBOX.${role}.>`))),
];
const api = (path: string): string => `$JS.API.${path}`;
/** reading stored messages without a consumer, by sequence and by subject */
const reads = ({ name }: StreamSpec): string[] => [api(`DIRECT.GET.${name}`), api(`DIRECT.GET.${name}.>`)];
const readsBucket = (bucket: string): string[] => [api(`DIRECT.GET.KV_${bucket}.>`)];
/** reading the last message of these subjects alone: by subject only, because a sequence is anybody's */
const readsOnly = ({ name }: StreamSpec, ...only: string[]): string[] =>
  only.map((subject) => api(`DIRECT.GET.${name}.${subject}`));
const info = ({ name }: StreamSpec): string => `${streamInfoPrefix('client')}.${name}`;
const innerInfo = ({ name }: StreamSpec): string => `${streamInfoPrefix('coordinator')}.${name}`;
const pulls = ({ name }: StreamSpec, consumer: string): string[] => [
  api(`CONSUMER.MSG.NEXT.${name}.${consumer}`),
  `$JS.ACK.${name}.${consumer}.>`,
];

/** what every actor says about itself, and where it is spoken to */
const actor = (role: Role): Rights => ({
  publish: [subjects.state(role, OWN), subjects.beat(role, OWN), ...answersTo('supervisor', 'coordinator')],
  subscribe: [filters.controlOf(role, OWN)],
});

const all = (...parts: Rights[]): Rights => ({
  publish: [...new Set(parts.flatMap((part) => part.publish))],
  subscribe: [...new Set(parts.flatMap((part) => part.subscribe))],
});

/** the server's word that a message was delivered too often */
export const MAX_DELIVERIES = '$JS.EVENT.ADVISORY.CONSUMER.MAX_DELIVERIES.>';

const NONE: Rights = { publish: [], subscribe: [] };

const RIGHTS: Record<Role, Rights> = {
  enclave: actor('enclave'),
  gpu: actor('gpu'),
  runner: all(actor('runner'), {
    publish: [
      subjects.receipt(ANY, ANY, ANY),
      subjects.release(ANY),
      subjects.releaseFrom(ANY, ANY),
      ...reads(STREAMS.models),
      ...reads(STREAMS.sealedModels),
      ...answersTo('client', 'monitor'),
    ],
    subscribe: [subjects.evidence(ANY, ANY), subjects.infer(ANY, OWN, ANY)],
  }),
  worker: all(actor('worker'), {
    publish: [
      subjects.shardResult(OWN, ANY, ANY),
      // Public key material, whoever stored it, and nothing else.
      ...reads(STREAMS.keys),
    ],
    subscribe: [filters.shardsOf(OWN)],
  }),
  coordinator: all(actor('coordinator'), {
    publish: [
      subjects.state('proof-job', ANY),
      subjects.beat('proof-job', ANY),
      subjects.progress(ANY, ANY),
      subjects.release(ANY),
      subjects.releaseFrom(ANY, ANY),
      subjects.control('worker', ANY, ANY),
      subjects.shard(ANY, ANY, ANY),
      subjects.proof(ANY, ANY),
      ...pulls(STREAMS.proofRequests, PROOF_REQUEST_CONSUMER),
      ...memoryStreams().flatMap((stream) => [innerInfo(stream), api(`STREAM.CREATE.${stream.name}`)]),
      ...reads(STREAMS.keys),
      ...reads(STREAMS.testSets),
      ...reads(STREAMS.models),
      ...reads(STREAMS.sealedModels),
      ...reads(STREAMS.proofs),
      ...Object.values(BUCKETS).flatMap((bucket) => [`$KV.${bucket}.>`, ...readsBucket(bucket)]),
    ],
    subscribe: [
      subjects.coordinatorEvidence(OWN, ANY),
      subjects.beat('worker', ANY),
      filters.shardResults,
      filters.cancels,
    ],
  }),
  broker: all(actor('broker'), {
    publish: [subjects.audit(OWN), ...reads(STREAMS.audits), ...answersTo('runner')],
    subscribe: [subjects.release(ANY), subjects.releaseFrom(ANY, OWN)],
  }),
  supervisor: all(actor('supervisor'), {
    publish: [subjects.control(ANY, ANY, ANY), filters.dead],
    subscribe: [filters.beats, MAX_DELIVERIES],
  }),
  monitor: all(NONE, {
    publish: [
      info(STREAMS.states),
      ...reads(STREAMS.states),
      // What any client may ask for: which models there are, and evidence over a nonce of its own.
      info(STREAMS.models),
      ...reads(STREAMS.models),
      subjects.evidence(ANY, OWN),
      ...readsBucket(BUCKETS.convictions),
      // By name only: it reads a proof whose job it has heard of, and cannot list the others.
      ...readsOnly(STREAMS.proofs, subjects.proof(ANY, ANY)),
    ],
    subscribe: [filters.states, filters.beats, filters.progresses, filters.dead],
  }),
  client: all(NONE, {
    publish: [
      subjects.evidence(ANY, OWN),
      // To whom a row that a proof is to hide may be sealed.
      subjects.coordinatorEvidence(ANY, OWN),
      subjects.infer(ANY, ANY, OWN),
      subjects.proofRequest(ANY, OWN, ANY),
      // Whoever knows a request's secret takes it back; the coordinator asks for it.
      filters.cancels,
      subjects.key(OWN, ANY),
      subjects.testSet(OWN, ANY),
      info(STREAMS.models),
      ...reads(STREAMS.models),
      // Its own only: who else asks what, and what comes of it, is no client's business.
      ...readsOnly(STREAMS.keys, subjects.key(OWN, ANY)),
      ...readsOnly(STREAMS.testSets, subjects.testSet(OWN, ANY)),
      ...readsOnly(STREAMS.proofs, subjects.proof(OWN, ANY)),
      ...readsOnly(STREAMS.receipts, subjects.receipt(ANY, OWN, ANY)),
    ],
    // The heartbeats of proofs name jobs, and when they are worked on.
    subscribe: [
      filters.progressesOf(OWN),
      filters.proofsOf(OWN),
      ...ACTOR_ROLES.map((role) => filters.beatsOf(role)),
    ],
  }),
  auditor: all(NONE, { publish: [info(STREAMS.audits), ...reads(STREAMS.audits)], subscribe: [] }),
  provisioner: {
    publish: [
      subjects.model(ANY),
      subjects.sealedModel(ANY),
      api('INFO'),
      api('STREAM.>'),
      api('CONSUMER.>'),
      api('DIRECT.GET.>'),
      // To take convictions back.
      `$KV.${BUCKETS.convictions}.>`,
    ],
    subscribe: [],
  },
};

/** What crosses between the two accounts. `*` and `>` as in subscriptions. */
export interface Crossings {
  /** subjects of the outer account that arrive in the inner one; `as` is their name there */
  readonly inward: readonly { readonly subject: string; readonly as: string }[];
  /** requests of the inner account that actors of the outer one answer */
  readonly asked: readonly string[];
  /** messages of the inner account that are seen live in the outer one */
  readonly seen: readonly string[];
}

export function crossings(): Crossings {
  const outer = (Object.keys(RIGHTS) as Role[]).filter((role) => !INNER_ROLES.includes(role));
  const asks = outer
    .flatMap((role) => rightsOf(role).publish)
    .filter((subject) => subject.startsWith('$JS.'));
  const stored = [
    STREAMS.states,
    STREAMS.receipts,
    STREAMS.audits,
    STREAMS.proofRequests,
    STREAMS.keys,
    STREAMS.testSets,
    STREAMS.dead,
  ];
  const heard = [
    filters.shardResults,
    subjects.beat('worker', ANY),
    subjects.control('coordinator', ANY, ANY),
    subjects.coordinatorEvidence(ANY, ANY),
    filters.cancels,
  ];
  const inward = [...asks, ...stored.flatMap((stream) => stream.subjects), ...heard.map(template)];
  const of = (kind: string) => [subjects.state(kind, ANY), subjects.beat(kind, ANY)];
  return {
    inward: widest(inward.map((subject) => subject.replaceAll('{{name()}}', '*'))).map((subject) => ({
      subject,
      as: subject.replace(streamInfoPrefix('client'), streamInfoPrefix('coordinator')),
    })),
    asked: [subjects.release(ANY), subjects.releaseFrom(ANY, ANY), subjects.control('worker', ANY, ANY)].map(
      template,
    ),
    seen: [
      ...of('coordinator'),
      ...of('proof-job'),
      filters.progresses,
      filters.proofs,
      filters.shards,
      MAX_DELIVERIES,
    ].map(template),
  };
}

/** Without those that another covers: what two imports took would arrive twice. */
function widest(filters: readonly string[]): string[] {
  const all = [...new Set(filters)];
  return all.filter((filter) => !all.some((other) => other !== filter && covers(other, filter)));
}

/** Whether every subject that `narrow` matches is one that `wide` matches. */
function covers(wide: string, narrow: string): boolean {
  const [pattern, tokens] = [wide.split('.'), narrow.split('.')];
  for (const [i, part] of pattern.entries()) {
    if (part === '>') return tokens.length > i;
    if (tokens[i] === undefined || tokens[i] === '>' || (part !== '*' && part !== tokens[i])) return false;
  }
  return pattern.length === tokens.length;
}

/** Streams that vanish when the server restarts; the coordinator makes them again. */
export function memoryStreams(): StreamSpec[] {
  return Object.values(STREAMS).filter((stream) => stream.storage === 'memory');
}

/** The permission templates of one role, its private inbox included. */
export function rightsOf(role: Role): Rights {
  const { publish, subscribe } = RIGHTS[role];
  return {
    publish: publish.map(template),
    subscribe: [...subscribe.map(template), `${template(inboxPrefix(role, OWN))}.>`],
  };
}
