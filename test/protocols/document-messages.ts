/** Every message type of docs/PROTOCOL.md: on which subject it travels, from whom to whom, and what answers it. */
import * as chat from '../../protocols/chat.ts';
import * as enclave from '../../protocols/enclave.ts';
import type { MessageType } from '../../protocols/envelope.ts';
import * as envelope from '../../protocols/envelope.ts';
import * as inference from '../../protocols/inference.ts';
import * as manifest from '../../protocols/manifest.ts';
import * as msm from '../../protocols/msm.ts';
import * as proof from '../../protocols/proof.ts';
import type { subjects } from '../../protocols/subjects.ts';
import * as transition from '../../protocols/transition.ts';

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
    kind: manifest.PublishedManifest,
    subject: 'model',
    form: 'structured',
    from: 'vendor (provisioner)',
    to: 'everybody',
  },
  {
    kind: enclave.EvidenceRequest,
    subject: 'evidence',
    form: 'structured',
    from: 'client, monitor',
    to: 'any runner of the model (queue group `runners`); coordinator to a worker on `ctl.worker.<id>.attest`, client to a coordinator on `attest.<coordinator>.<client>`',
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
    kind: chat.ChatRequest,
    subject: 'infer',
    form: 'bulk',
    from: 'client',
    to: 'that runner',
    payload: 'sealed request (section 6)',
    answer: 'chat.frame, many',
  },
  {
    kind: chat.ChatFrameReply,
    subject: 'reply',
    form: 'bulk',
    from: 'runner',
    to: 'the asker',
    payload: 'a frame of the sealed stream (section 6)',
  },
  { kind: chat.ChatCredit, subject: 'infer', form: 'structured', from: 'client', to: 'that runner' },
  { kind: chat.ChatCancel, subject: 'infer', form: 'structured', from: 'client', to: 'that runner' },
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
    kind: proof.ProofCancel,
    subject: 'control',
    form: 'structured',
    from: 'client',
    to: 'every coordinator; who works on the job answers',
    answer: 'proof.cancelled',
  },
  {
    kind: proof.ProofCancelled,
    subject: 'reply',
    form: 'structured',
    from: 'coordinator',
    to: 'the asker',
  },
  {
    kind: proof.ProofProgress,
    subject: 'progress',
    form: 'structured',
    from: 'coordinator',
    to: 'the requester, monitor; lossy',
  },
  {
    kind: proof.PublishedProof,
    subject: 'proof',
    form: 'structured',
    from: 'coordinator',
    to: 'the requester; once per job',
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
    payload: 'sealed reply: a time and one point for each of `bases`',
  },
  {
    kind: msm.ShardRefused,
    subject: 'shardResult',
    form: 'bulk',
    from: 'worker',
    to: 'the coordinator',
    payload: 'empty',
  },
  {
    kind: msm.ShardsDropped,
    subject: 'control',
    form: 'structured',
    from: 'coordinator',
    to: 'worker, verb `drop`',
  },
  {
    kind: msm.WorkerStanding,
    subject: 'control',
    form: 'structured',
    from: 'coordinator',
    to: 'worker, verb `standing`',
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
    from: 'supervisor; `suspend`: coordinator',
    to: 'that actor',
    answer: 'control.reply',
  },
  { kind: enclave.ControlReply, subject: 'reply', form: 'structured', from: 'the actor', to: 'the asker' },
];

/** Every message type that protocols/ exports, by name. */
export const exportedTypes = (): Map<string, MessageType<unknown>> =>
  new Map(
    [envelope, enclave, manifest, inference, chat, proof, msm, transition]
      .flatMap((module) => Object.values(module) as unknown[])
      .filter(
        (value): value is MessageType<unknown> =>
          typeof value === 'object' && value !== null && 'schema' in value && 'version' in value,
      )
      .map((kind) => [kind.type, kind]),
  );
