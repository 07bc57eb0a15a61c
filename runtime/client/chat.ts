/**
 * A client's side of an answer in text: it verifies the service's evidence as `infer` does, seals the request, opens the
 * frames in their order, grants credit as its reader reads, and verifies the receipt over all that was read.
 *
 * Text is given out before its receipt is there: each frame is authentic, made by the process whose evidence was verified,
 * but only `receipt` says that the answer is whole and what it was an answer to. It rejects where a frame is missing.
 */
import type { Policy } from '../../protocols/attestation/policy.ts';
import {
  type AnswerText,
  answerBytes,
  ChatCancel,
  ChatCredit,
  type ChatEnd,
  ChatFrame,
  ChatFrameReply,
  type ChatPlaintext,
  ChatRequest,
  CREDIT_EVERY_MS,
  MAX_CREDIT,
  questionBytes,
  SILENCE_MS,
  TextQuestion,
} from '../../protocols/chat.ts';
import { fromBase64url, fromHex, fromUtf8, hex, randomBytes, utf8 } from '../../protocols/encoding.ts';
import {
  decodeHeader,
  decodeMessage,
  ENVELOPE_HEADER,
  ErrorReply,
  encodeHeader,
  encodeMessage,
  freshNonce,
  MAX_MESSAGE_BYTES,
  parse,
  RemoteError,
} from '../../protocols/envelope.ts';
import { VouchError } from '../../protocols/errors.ts';
import type { ReceiptReport } from '../../protocols/receipt.ts';
import { type FrameBlock, openStream } from '../../protocols/sealed-stream.ts';
import { SEALING_INFO, sealTo } from '../../protocols/sealing.ts';
import { subjects } from '../../protocols/subjects.ts';
import { textArchitecture } from '../../protocols/weights.ts';
import type { TextPiece, TextRequest } from '../inference/text-engine.ts';
import type { Bus, Message } from '../nats/bus.ts';
import { type VerifiedService, verifiedReceipt } from './client.ts';

/** Who asks, and how he knows whom: `createSessions` makes one. */
export interface ChatClient {
  readonly bus: Bus;
  readonly source: string;
  readonly policy: Policy;
  /** the model's service, verified */
  service(model: string): Promise<VerifiedService>;
}

export interface ChatOptions {
  readonly model: string;
  readonly request: TextRequest;
  /** frames that may wait for the reader, default 64 */
  readonly credit?: number;
  /** what frames are padded to, default 256 bytes; larger ones tell less of the text's length */
  readonly block?: FrameBlock;
  /** milliseconds within which text goes into one frame, default 20; the first words come at once */
  readonly batchMs?: number;
  /** cancels */
  readonly signal?: AbortSignal;
}

export interface ChatReceipt extends AnswerText {
  readonly service: VerifiedService;
  /** what was asked, as the request digest covers it */
  readonly question: TextQuestion;
  readonly end: Omit<ChatEnd, 'receipt'>;
  /** the receipt bundle, as stored */
  readonly bundle: Uint8Array;
  readonly report: ReceiptReport;
  readonly salts: { readonly request: string; readonly response: string };
  readonly nonce: string;
  readonly evidenceNonce: string;
}

export interface ChatStream extends AsyncIterable<TextPiece> {
  /**
   * The verified receipt, once the last piece was read. Rejects, as the iteration does, with what the runner says, and with
   * `seal-rejected`, `receipt-rejected`, `nats-unreachable`, `timeout`, `no-responder`; with `cancelled` where nothing was sent
   * yet. A cancelled stream has one, too, and it settles although nobody reads on, as it does when the connection is lost.
   */
  readonly receipt: Promise<ChatReceipt>;
  /** Asks the runner to stop: the pieces that were sent still come, and then the receipt for them. */
  cancel(): void;
}

/** Asks. Nothing is sent before the service's evidence is verified. Whoever does not read what comes has to cancel. */
export function chat(client: ChatClient, options: ChatOptions): ChatStream {
  const receipt = Promise.withResolvers<ChatReceipt>();
  const inbox = createInbox(() => drain());
  const cancelled = new AbortController();
  const cancel = () => cancelled.abort();
  options.signal?.addEventListener('abort', cancel, { once: true });
  if (options.signal?.aborted) cancel();
  // The signal may outlive many a conversation.
  const settled = () => options.signal?.removeEventListener('abort', cancel);
  receipt.promise.then(settled, settled);
  const pieces = read(client, options, inbox, cancelled.signal, receipt);
  /** What was read before anybody asked for it. */
  const ahead: Promise<IteratorResult<TextPiece, void>>[] = [];
  let draining = false;
  /** Reads to the end, which is near: what was granted, as a rule. A reader finds it all in its order. */
  const drain = async () => {
    if (draining) return;
    draining = true;
    try {
      for (let done: boolean | undefined = false; !done; ) {
        const next = pieces.next();
        ahead.push(next);
        done = (await next).done;
      }
    } catch {
      // `receipt` says it, and so does `ahead` to whoever reads on.
    }
  };
  cancelled.signal.addEventListener('abort', drain, { once: true });
  if (cancelled.signal.aborted) void drain();
  return {
    receipt: receipt.promise,
    cancel,
    [Symbol.asyncIterator]: () => ({
      next: () => ahead.shift() ?? pieces.next(),
      // Whoever stops reading wants no more; the receipt of what came is still waited for.
      async return() {
        cancel();
        return { done: true, value: undefined };
      },
    }),
  };
}

async function* read(
  client: ChatClient,
  options: ChatOptions,
  inbox: Inbox,
  cancelled: AbortSignal,
  receipt: PromiseWithResolvers<ChatReceipt>,
): AsyncGenerator<TextPiece, void> {
  let talk: Talk | undefined;
  try {
    if (cancelled.aborted) throw new VouchError('cancelled', 'chat: cancelled before it was sent');
    const service = await client.service(options.model);
    const question = parse(TextQuestion, withoutUndefined(options.request), 'request');
    talk = await begin(client, service, question, options, inbox);
    cancelled.addEventListener('abort', talk.cancel, { once: true });
    if (cancelled.aborted) talk.cancel();
    let text = '';
    while (true) {
      const { content, last } = await talk.opener.open(await talk.next());
      const frame = parse(ChatFrame, JSON.parse(fromUtf8(content, 'frame')), 'frame');
      if (last !== ('end' in frame || 'error' in frame))
        throw new VouchError('bad-message', 'chat.frame: expected the end in the last frame, and only there');
      if ('error' in frame) throw new RemoteError(frame.error);
      if ('end' in frame) {
        const answer = {
          text,
          ...(frame.end.toolCalls === undefined ? {} : { toolCalls: frame.end.toolCalls }),
        };
        receipt.resolve(await verified(client, service, question, talk.asked, frame.end, answer));
        return;
      }
      if (!('text' in frame)) continue;
      text += frame.text;
      yield { text: frame.text, tokens: frame.tokens };
      talk.read();
    }
  } catch (error) {
    receipt.reject(error);
    throw error;
  } finally {
    talk?.end();
  }
}

const withoutUndefined = (request: TextRequest): unknown =>
  Object.fromEntries(Object.entries(request).filter(([, value]) => value !== undefined));

interface Talk {
  readonly asked: ChatPlaintext;
  readonly opener: ReturnType<typeof openStream>;
  /** The next frame. */
  next(): Promise<Uint8Array>;
  /** A frame with text was read: one more may be sent. */
  read(): void;
  cancel(): void;
  end(): void;
}

async function begin(
  { bus, source }: ChatClient,
  service: VerifiedService,
  question: TextQuestion,
  { credit = 64, block = 256, batchMs = 20 }: ChatOptions,
  inbox: Inbox,
): Promise<Talk> {
  const { manifest, document } = service;
  textArchitecture(manifest);
  const { enclave } = document;
  const subject = subjects.infer(manifest.name, enclave, bus.id);
  const asked: ChatPlaintext = {
    version: 1,
    nonce: freshNonce(),
    evidence: service.digest,
    requestSalt: hex(randomBytes(32)),
    responseSalt: hex(randomBytes(32)),
    question,
    block,
    batchMs,
    credit,
  };
  const request = await sealTo(service.sealingKey, utf8(JSON.stringify(asked)), {
    info: SEALING_INFO.chat,
    aad: utf8(subject),
  });
  const id = crypto.randomUUID();
  const place = { id, subject };
  const header = encodeHeader(ChatRequest, { ...place, source, body: { enclave } });
  const conversation = bus.converse(subject, request.sealed, {
    headers: { [ENVELOPE_HEADER]: header },
    onAnswer: inbox.put,
    onLoss: inbox.fail,
  });
  const steer = (type: typeof ChatCredit | typeof ChatCancel, body: object) =>
    bus.publishLossy(
      subject,
      encodeMessage(type as typeof ChatCredit, { subject, source, body: body as never }),
    );
  let readFrames = 0;
  let granted = credit;
  const grant = () => {
    granted = credit + readFrames;
    steer(ChatCredit, { stream: id, upTo: granted });
  };
  // Also says that this client is there, and mends a grant that was lost.
  const timer = setInterval(grant, CREDIT_EVERY_MS);
  timer.unref?.();
  return {
    asked,
    opener: openStream(request),
    async next() {
      const message = await inbox.take(SILENCE_MS);
      const text = message.headers[ENVELOPE_HEADER];
      if (text === undefined) throw new RemoteError(decodeMessage(ErrorReply, place, message.data).body);
      if (decodeHeader(ChatFrameReply, place, text).body.enclave !== enclave)
        throw new VouchError('bad-message', 'chat.frame: it is of another enclave');
      return message.data;
    },
    read() {
      readFrames += 1;
      if (credit + readFrames - granted >= Math.max(1, credit / 2)) grant();
    },
    cancel: () => void steer(ChatCancel, { stream: id }),
    end() {
      clearInterval(timer);
      conversation.unsubscribe();
      // A runner that is still at it, because something failed here, hears that nobody listens.
      steer(ChatCancel, { stream: id });
    },
  };
}

/** Of an honest runner: frames that there is credit for, and one without text every few seconds of an hour. */
const MAX_UNREAD = 4 * MAX_CREDIT;
/** Of one frame, sealed: some words, or the last one, with a receipt and perhaps calls of tools. */
const MAX_FRAME_BYTES = MAX_MESSAGE_BYTES;
/** Of all frames that wait: a few words each, as a rule. */
const MAX_UNREAD_BYTES = 64 * MAX_FRAME_BYTES;

/** Frames that have come and were not read. Whoever runs the server may send more than the runner: that ends it. */
export interface Inbox {
  put(message: Message): void;
  fail(error: Error): void;
  /** Throws what `fail` was told, and `timeout` where nothing comes for so long. */
  take(ms: number): Promise<Message>;
}

/** `onFailure`: called once, with the first failure. */
export function createInbox(onFailure: () => unknown): Inbox {
  const messages: Message[] = [];
  let bytes = 0;
  let failure: Error | undefined;
  let wake = () => {};
  const fail = (error: Error) => {
    if (!failure) {
      failure = error;
      onFailure();
    }
    wake();
  };
  const refuse = (why: string) => fail(new VouchError('too-large', `chat: ${why}; ask again`));
  return {
    put(message) {
      const { length } = message.data;
      if (failure) return;
      if (length > MAX_FRAME_BYTES)
        refuse(`expected frames of at most ${MAX_FRAME_BYTES} bytes, got ${length}`);
      else if (messages.length >= MAX_UNREAD || bytes + length > MAX_UNREAD_BYTES)
        refuse(`${messages.length} frames of ${bytes} bytes wait to be read, and more come`);
      else {
        messages.push(message);
        bytes += length;
        wake();
      }
    },
    fail,
    async take(ms) {
      const deadline = performance.now() + ms;
      while (true) {
        const message = messages.shift();
        if (message) {
          bytes -= message.data.length;
          return message;
        }
        if (failure) throw failure;
        const left = deadline - performance.now();
        if (left <= 0) throw new VouchError('timeout', `the runner has said nothing for ${ms} ms; ask again`);
        const { promise, resolve } = Promise.withResolvers<void>();
        wake = resolve;
        const timer = setTimeout(resolve, left);
        await promise;
        clearTimeout(timer);
      }
    },
  };
}

/** Throws `receipt-rejected` for a receipt that is not over what was asked and read. */
async function verified(
  { policy }: ChatClient,
  service: VerifiedService,
  question: TextQuestion,
  asked: ChatPlaintext,
  { receipt, ...end }: ChatEnd,
  answer: AnswerText,
): Promise<ChatReceipt> {
  const bundle = fromBase64url(receipt, 'receipt');
  const { nonce, requestSalt, responseSalt } = asked;
  const report = await verifiedReceipt(bundle, service, policy, {
    nonce,
    request: { salt: fromHex(requestSalt), body: questionBytes(question) },
    response: { salt: fromHex(responseSalt), body: answerBytes(answer) },
  });
  const { claims } = report;
  const said = { ...claims?.text, receiptId: claims?.id };
  for (const name of ['finish', 'promptTokens', 'completionTokens', 'receiptId'] as const)
    if (said[name] !== end[name])
      throw new VouchError(
        'receipt-rejected',
        `answer.${name}: expected ${said[name] ?? 'another'}, got ${end[name]}`,
      );
  return {
    ...answer,
    service,
    question,
    end,
    bundle,
    report,
    salts: { request: requestSalt, response: responseSalt },
    nonce,
    evidenceNonce: service.nonce,
  };
}
