/**
 * The inference runner, inside the enclave: it obtains its model from the key-broker, serves its evidence, and
 * answers sealed requests. Each answer's receipt is stored before the answer leaves; when it cannot be stored
 * the request is refused. Plaintext lives in this file's closures, for the length of one request.
 *
 * A request that fails is answered and then fails its effect, so that the machine counts it and hears of a lost device.
 */
import { inferenceRunnerCounts, inferenceRunnerMachine } from '../../actors/inference-runner.ts';
import { preprocess } from '../../circuits/model/preprocessing.ts';
import { evaluate, randomFeatures } from '../../circuits/model/quantise.ts';
import { EvidenceDocument } from '../../protocols/attestation/document.ts';
import { encodeCbor } from '../../protocols/cbor.ts';
import { EvidenceReply, EvidenceRequest } from '../../protocols/enclave.ts';
import { base64url, fromHex, fromUtf8, sha256Hex, utf8 } from '../../protocols/encoding.ts';
import { decodeHeader, ENVELOPE_HEADER, encodeHeader, parse } from '../../protocols/envelope.ts';
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
import { bundleOf, requestDigest, responseDigest, signReceipt } from '../../protocols/receipt.ts';
import { type OpenedRequest, SEALING_INFO } from '../../protocols/sealing.ts';
import { filters, lastToken, subjects } from '../../protocols/subjects.ts';
import type { Identity } from '../attest/identity.ts';
import { decidedOf } from '../inference/answers.ts';
import { type ServedModel, serveModel } from '../inference/session.ts';
import { type ObtainedModel, obtainModel } from '../models/obtain.ts';
import type { Received } from '../nats/bus.ts';
import { answer, readingPlaintext, respondError, wireError } from '../nats/service.ts';
import { createBudget } from './client-budget.ts';
import { hasTag, type StartRole } from './host.ts';
import type { Neighbours } from './neighbours.ts';

/** Evidence documents given out and remembered, so that a receipt can carry the client's own: so many bytes. */
const MAX_EVIDENCE = 64 * 1024 * 1024;
/** Rows on which the session is compared with the reference arithmetic before anything is served. */
const PROBES = 32;
/** Requests of one client in hand, and such that did not open, before it has to wait; each costs a millisecond or more. */
const REQUESTS = { burst: 64, perSecond: 4 };
/** Evidence costs a signature of the platform, and a client needs it once in some minutes. */
const EVIDENCE = { burst: 64, perSecond: 1 };

interface Request {
  readonly received: Received;
  readonly cause: string;
  /** whose request it is: by NATS' rights nobody else publishes on its subject */
  readonly client: string;
  readonly sealed: Uint8Array;
  /** gives the client's token back: what it sent was in order */
  inOrder(): void;
}

export const runnerRole =
  (neighbours: Neighbours, modelName: string, serve: typeof serveModel = serveModel): StartRole =>
  async (context) => {
    const { id, bus, log, source, effect, fail } = context;
    const requests = new Map<string, Request>();
    const budget = createBudget(REQUESTS);
    const asking = createBudget(EVIDENCE);
    /** by its digest, encoded as receipts carry it */
    const evidence = new Map<string, Uint8Array>();
    let evidenceBytes = 0;
    let loaded: ObtainedModel | undefined;
    let session: ServedModel | undefined;
    let sequence = 0;

    const identity = (): Identity => {
      if (!neighbours.identity) throw new VouchError('not-ready', 'the enclave is not running; try again');
      return neighbours.identity;
    };

    const remember = (document: EvidenceDocument): void => {
      const encoded = encodeCbor(EvidenceDocument.parse(document));
      evidence.set(sha256Hex(encoded), encoded);
      evidenceBytes += encoded.length;
      for (const [digest, oldest] of evidence) {
        if (evidenceBytes <= MAX_EVIDENCE) break;
        evidence.delete(digest);
        evidenceBytes -= oldest.length;
      }
    };

    /** The answer, and the promise that its receipt is stored: the answer may not leave before. */
    const infer = async (
      opened: OpenedRequest,
      client: string,
    ): Promise<{ answer: AnswerPlaintext; stored: Promise<void> }> => {
      if (!loaded || !session) throw new VouchError('not-ready', 'the runner has no model; try again');
      const { manifest, model } = loaded;
      const plaintext = readingPlaintext(() => parse(InferencePlaintext, json(opened.plaintext), 'request'));
      const document = evidence.get(plaintext.evidence);
      if (!document) {
        throw new VouchError(
          'evidence-rejected',
          'request.evidence: not evidence that this runner gave out lately; ask for new evidence',
        );
      }
      const features = readingPlaintext(() => preprocess(model.architecture.preprocessing, plaintext.row));
      const began = performance.now();
      const [result] = await session.answer([features]);
      const modelMicros = Math.round((performance.now() - began) * 1000);
      if (!result) throw new VouchError('internal', 'the session gave no answer');
      const { answers } = manifest.terms;
      const decided = decidedOf(answers, model.architecture, result);
      const { id: receiptId, receipt } = await signReceipt(identity().signer, {
        enclave: id,
        evidence: plaintext.evidence,
        policy: loaded.releasePolicy,
        modelCommitment: manifest.commitment,
        manifest: loaded.digest,
        answers,
        request: requestDigest({ salt: fromHex(plaintext.requestSalt), body: requestBytes(plaintext.row) }),
        response: responseDigest({ salt: fromHex(plaintext.responseSalt), body: responseBytes(decided) }),
        nonce: plaintext.nonce,
        sequence: sequence++,
        time: new Date(),
      });
      const bundle = bundleOf(receipt, document);
      return {
        stored: store(client, receiptId, bundle),
        answer: {
          version: 2,
          answers,
          ...decided,
          provider: session.provider,
          modelMicros,
          receiptId,
          receiptDigest: sha256Hex(bundle),
          receipt: base64url(bundle),
        },
      };
    };

    const store = async (client: string, receiptId: string, bundle: Uint8Array) => {
      try {
        const subject = subjects.receipt(modelName, client, receiptId);
        await bus.append(subject, bundle, { expectLastSubjectSequence: 0 });
      } catch (error) {
        if (error instanceof VouchError && error.code === 'conflict') {
          throw new VouchError(
            'replayed',
            'request.nonce: a receipt for this nonce exists; choose a new nonce',
          );
        }
        throw error;
      }
    };

    /** The session says that the device is gone: whoever has the device opens it again. */
    const lose = (error: VouchError) => {
      fail('the session', error);
      neighbours.device?.actor.send({ type: 'device.lost' });
    };

    const machine = inferenceRunnerMachine.provide({
      actors: {
        load: effect('load', async () => {
          loaded = await obtainModel(bus, source, identity(), modelName);
        }),
        verify: effect('verify', async () => {
          if (!loaded) throw new VouchError('internal', 'nothing was loaded');
          // obtainModel has compared the parameters with the commitment; here the graph is compared with them.
          session = await serve(loaded.model, neighbours.gpu);
          await compare(session, loaded);
        }),
        infer: effect(
          'infer',
          async ({ input }) => {
            const request = requests.get(input.request);
            if (!request) return;
            const { received, cause, client, sealed, inOrder } = request;
            const settle = () => requests.delete(input.request);
            let opened: OpenedRequest;
            try {
              const aad = utf8(received.subject);
              opened = await identity().sealing.openOnce(sealed, { info: SEALING_INFO.infer, aad });
            } catch (error) {
              if (settle()) respondError(received, error, { source, cause, log });
              throw error;
            }
            const body = { enclave: id };
            const header = encodeHeader(InferReply, { subject: received.subject, source, cause, body });
            const reply = async (outcome: unknown) => {
              const bytes = await opened.sealReply(utf8(JSON.stringify(outcome)));
              return () => settle() && received.respond(bytes, { [ENVELOPE_HEADER]: header });
            };
            try {
              const { answer, stored } = await infer(opened, client);
              const [send] = await Promise.all([reply(answer), stored]);
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
      countsOf: inferenceRunnerCounts,
    });
    neighbours.runner = { actor, failure: context.failure };
    context.onStop(() => session?.close());

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
        if (!loaded || !hasTag(actor, 'up')) {
          throw new VouchError('not-ready', `model ${modelName}: the runner is not ready; try again`);
        }
        const document = await identity().evidence(body.nonce, loaded.manifest.commitment);
        remember(document);
        return { document };
      },
    );

    bus.subscribe(filters.infersOf(modelName, id), (received) => {
      let cause: string | undefined;
      try {
        // The cheapest first: whose it is, how long it is, what it says of itself; only then is it opened.
        const client = lastToken(received.subject);
        const inOrder = budget.take(client);
        if (received.data.byteLength > MAX_SEALED_REQUEST_BYTES) {
          throw new VouchError(
            'too-large',
            `sealed request: expected at most ${MAX_SEALED_REQUEST_BYTES} bytes, got ${received.data.byteLength}`,
          );
        }
        const header = decodeHeader(InferRequest, received.subject, received.headers[ENVELOPE_HEADER]);
        cause = header.id;
        const request = crypto.randomUUID();
        requests.set(request, { received, cause, client, sealed: received.data, inOrder });
        actor.send({ type: 'infer.request', request });
      } catch (error) {
        respondError(received, error, { source, cause, log });
      }
    });
    return { actor, drain: { type: 'runner.drain' } };
  };

/** Parses plaintext; the error must not quote it. */
function json(bytes: Uint8Array): unknown {
  try {
    return JSON.parse(fromUtf8(bytes, 'request'));
  } catch {
    throw new VouchError('bad-message', 'request: expected JSON inside the seal');
  }
}

/** What is served must be what is proved: the session has to agree with the reference on random rows. */
async function compare(session: ServedModel, { model, manifest }: ObtainedModel): Promise<void> {
  const rows = randomFeatures(model.architecture, PROBES);
  const answers = await session.answer(rows);
  rows.forEach((features, i) => {
    const expected = evaluate(model, features);
    const got = answers[i];
    if (got?.decision !== expected.decision || got.logits.some((value, k) => value !== expected.logits[k])) {
      throw new VouchError(
        'commitment-mismatch',
        `model ${manifest.name}: the served graph does not compute what is proved`,
      );
    }
  });
}
