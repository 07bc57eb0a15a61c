/**
 * The inference runner, inside the enclave: it obtains its model from the key-broker, serves its evidence, and
 * answers sealed requests: to rows with one sealed reply, in text with a sealed stream (text-streams.ts). Each answer's receipt is stored before the answer leaves; when it cannot be stored
 * the request is refused. Plaintext lives in this file's closures, for the length of one request.
 *
 * A request that fails is answered and then fails its effect, so that the machine counts it and hears of a lost device.
 */
import { setImmediate } from 'node:timers/promises';
import { inferenceRunnerCounts, inferenceRunnerMachine } from '../../actors/inference-runner.ts';
import { preprocess } from '../../circuits/model/preprocessing.ts';
import { ChatCancel, ChatCredit, ChatRequest, MAX_SEALED_CHAT_BYTES } from '../../protocols/chat.ts';
import { EvidenceReply, EvidenceRequest } from '../../protocols/enclave.ts';
import { base64url, fromHex, sha256Hex, utf8 } from '../../protocols/encoding.ts';
import { decodeHeader, decodeOneOf, ENVELOPE_HEADER, encodeHeader, parse } from '../../protocols/envelope.ts';
import { VouchError } from '../../protocols/errors.ts';
import {
  type AnswerPlaintext,
  InferencePlaintext,
  InferReply,
  InferRequest,
  MAX_SEALED_REQUEST_BYTES,
  requestBytes,
  responseBytes,
} from '../../protocols/inference.ts';
import {
  bundleOf,
  requestDigest,
  responseDigest,
  signReceipt,
  type TextClaims,
} from '../../protocols/receipt.ts';
import { type OpenedRequest, SEALING_INFO } from '../../protocols/sealing.ts';
import { filters, lastToken } from '../../protocols/subjects.ts';
import type { Identity } from '../attest/identity.ts';
import { tellGpuUse, UNSHARED } from '../home/gpu-users.ts';
import type { KeptChunks } from '../home/kept-chunks.ts';
import { createMemoryFolder } from '../home/memory-folder.ts';
import { decidedOf } from '../inference/answers.ts';
import { type ServedModel, serveModel } from '../inference/session.ts';
import type { TextEngine } from '../inference/text-engine.ts';
import { type ObtainedModel, obtainModel, readManifest } from '../models/obtain.ts';
import { compareText, type ObtainedText, obtainText, type TextFiles } from '../models/weights.ts';
import type { Received } from '../nats/bus.ts';
import { answer, readingPlaintext, respondError, wireError } from '../nats/service.ts';
import { createBudget } from './client-budget.ts';
import { compareServed } from './compare-served.ts';
import { createGivenEvidence } from './given-evidence.ts';
import { hasTag, type StartRole } from './host.ts';
import type { Neighbours } from './neighbours.ts';
import { createReceiptStore } from './receipt-store.ts';
import { type Asked, json, respondInText } from './text-answers.ts';
import { createTextLoad } from './text-load.ts';
import { createStreams, type Stream, type Streams } from './text-streams.ts';

/** Requests of one client in hand, and such that did not open, before it has to wait; each costs a millisecond or more. */
const REQUESTS = { burst: 64, perSecond: 4 };
/** Evidence costs a signature of the platform, and a client needs it once in some minutes: that is some thousands of clients. */
const EVIDENCE = { burst: 64, perSecond: 1, together: { burst: 512, perSecond: 32 } };

interface Request {
  readonly received: Received;
  readonly cause: string;
  /** whose request it is: by NATS' rights nobody else publishes on its subject */
  readonly client: string;
  readonly sealed: Uint8Array;
  /** where the answer is one */
  readonly stream?: Stream | undefined;
  /** gives the client's token back: what it sent was in order */
  inOrder(): void;
}

export interface RunnerOptions {
  /** default: a folder in memory (home/memory-folder.ts) */
  readonly memory?: typeof createMemoryFolder;
  /** where encrypted weights are kept, so that the next start does not fetch them */
  readonly kept?: KeptChunks | undefined;
  /** what answers in text */
  readonly openEngine?: OpenEngine;
  /** the files that it has read already: they are compared with the commitment, instead of written to memory */
  readonly files?: TextFiles | undefined;
  readonly streams?: Streams;
  /** May what answers in text compute on this host's GPU? */
  readonly textOnGpu?: boolean | undefined;
  /** Where workers on the same GPU hear of inferences; default: in the home */
  readonly turns?: string | undefined;
}

/** Opens what reads a model's files and answers in text. The files may go once it is there. */
export type OpenEngine = (model: ObtainedText) => Promise<TextEngine>;

const noEngine: OpenEngine = async ({ manifest }) => {
  throw new VouchError('not-ready', `model ${manifest.name}: this runner has nothing that answers in text`);
};

export const runnerRole =
  (
    neighbours: Neighbours,
    modelName: string,
    serve: typeof serveModel = serveModel,
    {
      memory = createMemoryFolder,
      kept,
      openEngine = noEngine,
      files,
      streams = createStreams(),
      textOnGpu = false,
      turns,
    }: RunnerOptions = {},
  ): StartRole =>
  async (context) => {
    const { id, bus, log, source, effect, fail } = context;
    const requests = new Map<string, Request>();
    const budget = createBudget(REQUESTS);
    const asking = createBudget(EVIDENCE);
    const evidence = createGivenEvidence();
    const receipts = createReceiptStore(bus, modelName);
    let loaded: ObtainedModel | undefined;
    let session: ServedModel | undefined;
    let loadedText: ObtainedText | undefined;
    let engine: TextEngine | undefined;
    let gpuClaims = UNSHARED;
    const load = createTextLoad();
    let sequence = 0;

    const identity = (): Identity => {
      if (!neighbours.identity) throw new VouchError('not-ready', 'the enclave is not running; try again');
      return neighbours.identity;
    };

    /** Signs what was answered. The promise that it is stored: nothing that ends an answer may leave before. */
    const receipted = async (
      client: string,
      { manifest, digest, releasePolicy }: Pick<ObtainedModel, 'manifest' | 'digest' | 'releasePolicy'>,
      asked: Asked,
      bodies: { readonly request: Uint8Array; readonly response: Uint8Array },
      text?: TextClaims,
    ) => {
      const document = evidence.of(asked.evidence);
      const { id: receiptId, receipt } = await signReceipt(identity().signer, {
        enclave: id,
        evidence: asked.evidence,
        policy: releasePolicy,
        modelCommitment: manifest.commitment,
        manifest: digest,
        answers: manifest.terms.answers,
        ...(text ? { text } : {}),
        request: requestDigest({ salt: fromHex(asked.requestSalt), body: bodies.request }),
        response: responseDigest({ salt: fromHex(asked.responseSalt), body: bodies.response }),
        nonce: asked.nonce,
        sequence: sequence++,
        time: new Date(),
      });
      const stored = receipts.store(client, { enclave: id, nonce: asked.nonce, receipt, evidence: document });
      return {
        stored,
        /** `bare`: without the evidence */
        said: (bare = false) => {
          const bundle = bundleOf(receipt, document);
          const receiptDigest = sha256Hex(bundle);
          return { receiptId, receiptDigest, receipt: base64url(bare ? receipt : bundle) };
        },
      };
    };

    /** The answer, and the promise that its receipt is stored: the answer may not leave before. */
    const infer = async (
      opened: OpenedRequest,
      client: string,
    ): Promise<{ answer: () => AnswerPlaintext; stored: Promise<void> }> => {
      if (!loaded || !session) throw new VouchError('not-ready', 'the runner has no model; try again');
      const { manifest, model } = loaded;
      const plaintext = readingPlaintext(() => parse(InferencePlaintext, json(opened.plaintext), 'request'));
      evidence.of(plaintext.evidence);
      const features = readingPlaintext(() => preprocess(model.architecture.preprocessing, plaintext.row));
      const began = performance.now();
      const [result] = await session.answer([features]);
      const modelMicros = Math.round((performance.now() - began) * 1000);
      if (!result) throw new VouchError('internal', 'the session gave no answer');
      const { answers } = manifest.terms;
      if (answers === 'text') throw new VouchError('internal', 'a model of rows has terms of one of text');
      const decided = decidedOf(answers, model.architecture, result);
      const bodies = { request: requestBytes(plaintext.row), response: responseBytes(decided) };
      const { stored, said } = await receipted(client, loaded, plaintext, bodies);
      const { provider } = session;
      const bare = plaintext.version === 2;
      const rest = { version: bare ? 3 : 2, answers, provider, modelMicros } as const;
      return { stored, answer: () => ({ ...rest, ...decided, ...said(bare) }) };
    };

    const inText = respondInText({
      id,
      source,
      log,
      served: () => loadedText && engine && { model: loadedText, engine },
      demandEvidence: evidence.of,
      receipted,
    });

    /** The session says that the device is gone: whoever has the device opens it again. */
    const lose = (error: VouchError) => {
      fail('the session', error);
      neighbours.device?.actor.send({ type: 'device.lost' });
    };

    const machine = inferenceRunnerMachine.provide({
      actors: {
        load: effect('load', async ({ signal }) => {
          const { manifest } = await readManifest(bus, modelName);
          // Before the model takes memory there, which workers then give back.
          if (manifest.commitmentKind === 'hash' ? textOnGpu : neighbours.gpu)
            gpuClaims = await tellGpuUse(id, log, turns);
          const asking = [bus, source, identity(), modelName] as const;
          if (manifest.commitmentKind === 'hash')
            loadedText = files
              ? await compareText(asking, files, { signal })
              : await obtainText(asking, memory, { kept, signal });
          else loaded = await obtainModel(bus, source, identity(), modelName);
        }),
        verify: effect('verify', async () => {
          if (loadedText) {
            // Every chunk was compared with the commitment before it was written.
            try {
              engine = await openEngine(loadedText);
            } finally {
              await loadedText[Symbol.asyncDispose]();
            }
            void engine.lost.then((why) => {
              lose(new VouchError('device-lost', `model ${modelName}: ${why}`));
              actor.send({ type: 'device.lost' });
            });
            return;
          }
          if (!loaded) throw new VouchError('internal', 'nothing was loaded');
          // obtainModel has compared the parameters with the commitment; here the graph is compared with them.
          session = await serve(loaded.model, neighbours.gpu);
          await compareServed(session, loaded);
        }),
        infer: effect(
          'infer',
          async ({ input, signal }) => {
            const request = requests.get(input.request);
            if (!request) return;
            const { received, cause, client, sealed, inOrder } = request;
            // Proofs on the same GPU make way before the request is opened.
            using gpu = gpuClaims.claim();
            const settle = () => requests.delete(input.request);
            let opened: OpenedRequest;
            try {
              const aad = utf8(received.subject);
              const info = request.stream ? SEALING_INFO.chat : SEALING_INFO.infer;
              opened = await identity().sealing.openOnce(sealed, { info, aad });
            } catch (error) {
              request.stream?.end();
              if (settle()) respondError(received, error, { source, cause, log });
              throw error;
            }
            if (request.stream) {
              const { stream } = request;
              using answering = load.begin();
              signal.addEventListener('abort', () => stream.cancel(), { once: true });
              try {
                return await inText(opened, { ...request, stream, gpu, said: answering.said }, () =>
                  requests.has(input.request),
                );
              } catch (error) {
                if (error instanceof VouchError && error.code === 'device-lost') lose(error);
                throw error;
              } finally {
                settle();
                stream.end();
                inOrder();
              }
            }
            const body = { enclave: id };
            const header = encodeHeader(InferReply, { subject: received.subject, source, cause, body });
            const reply = async (outcome: unknown) => {
              const bytes = await opened.sealReply(utf8(JSON.stringify(outcome)));
              return () => settle() && received.respond(bytes, { [ENVELOPE_HEADER]: header });
            };
            try {
              const { answer, stored } = await infer(opened, client);
              // The receipt is on its way first: sealing takes a part of the time in which it is stored.
              const sealed = setImmediate().then(() => reply(answer()));
              const [send] = await Promise.all([sealed, stored]);
              send();
            } catch (error) {
              // Even an error could tell about the plaintext, so it is sealed like an answer.
              const send = await reply({ version: 1, error: wireError(error, source, log) });
              send();
              if (error instanceof VouchError && error.code === 'device-lost') lose(error);
              throw error;
            } finally {
              inOrder();
            }
          },
          { ofRequest: true },
        ),
      },
      actions: {
        refuse: (_, { request, code }) => {
          const pending = requests.get(request);
          requests.delete(request);
          if (!pending) return;
          pending.inOrder();
          pending.stream?.end();
          const error = new VouchError(
            code,
            `model ${modelName}: the runner does not take requests now (${code}); try again`,
          );
          respondError(pending.received, error, { source, cause: pending.cause, log });
        },
      },
    });
    const actor = context.run({
      kind: 'runner',
      id,
      machine,
      input: { id },
      countsOf: (context) => ({ ...inferenceRunnerCounts(context), ...(loadedText ? load.counts() : {}) }),
    });
    neighbours.runner = { actor, failure: context.failure };
    context.onStop(() => session?.close());
    context.onStop(() => gpuClaims.close());
    context.onStop(async () => {
      await engine?.[Symbol.asyncDispose]();
      await loadedText?.[Symbol.asyncDispose]();
    });

    answer(
      bus,
      [EvidenceRequest, EvidenceReply],
      {
        subject: filters.evidenceOf(modelName),
        source,
        queue: 'runners',
        log,
        admit: ({ subject }) => asking.take(lastToken(subject)),
      },
      async ({ body }) => {
        const served = loaded ?? loadedText;
        if (!served || !hasTag(actor, 'up')) {
          throw new VouchError('not-ready', `model ${modelName}: the runner is not ready; try again`);
        }
        const document = await identity().evidence(body.nonce, served.manifest.commitment);
        evidence.remember(document);
        return { document };
      },
    );

    /** What a client says of a stream that is under way; of one that is over it says nothing any more. */
    const steer = (received: Received): void => {
      const said = decodeOneOf([ChatCancel, ChatCredit] as const, received.subject, received.data);
      const stream = streams.of(lastToken(received.subject), said.message.body.stream);
      if ('upTo' in said.message.body) stream?.grant(said.message.body.upTo);
      else stream?.cancel();
    };

    bus.subscribe(filters.infersOf(modelName, id), (received) => {
      let cause: string | undefined;
      try {
        if (received.headers[ENVELOPE_HEADER] === undefined) return steer(received);
        // The cheapest first: whose it is, how long it is, what it says of itself; only then is it opened.
        const client = lastToken(received.subject);
        const inOrder = budget.take(client);
        const most = loadedText ? MAX_SEALED_CHAT_BYTES : MAX_SEALED_REQUEST_BYTES;
        if (received.data.byteLength > most) {
          throw new VouchError(
            'too-large',
            `sealed request: expected at most ${most} bytes, got ${received.data.byteLength}`,
          );
        }
        const kind = loadedText ? ChatRequest : InferRequest;
        const header = decodeHeader(kind, received.subject, received.headers[ENVELOPE_HEADER]);
        cause = header.id;
        const stream = loadedText && streams.open(client, cause);
        const request = crypto.randomUUID();
        requests.set(request, { received, cause, client, sealed: received.data, stream, inOrder });
        actor.send({ type: 'infer.request', request });
      } catch (error) {
        respondError(received, error, { source, cause, log });
      }
    });
    return { actor, drain: { type: 'runner.drain' } };
  };
