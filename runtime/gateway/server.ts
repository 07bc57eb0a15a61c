/**
 * The gateway's HTTP server: the Open Inference Protocol v2, OpenAI's API and a few paths for people, in front of a client of Vouch. It is the
 * caller's own process: whoever reaches it sees applications and answers in plain text, so it listens on loopback unless
 * keys say who may ask. Answers leave only with a receipt that was verified, and kept where a folder was named.
 *
 * Not guaranteed: secrecy from other users of the machine without keys, and from whoever is on the way beyond loopback:
 * put a TLS server in front, or stay on loopback.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import Fastify, { type FastifyReply, type FastifyRequest } from 'fastify';
import type { z } from 'zod';
import type { Policy } from '../../protocols/attestation/policy.ts';
import { fromBase64url } from '../../protocols/encoding.ts';
import { type ErrorCode, messageOf, VouchError } from '../../protocols/errors.ts';
import type { AnswerPlaintext } from '../../protocols/inference.ts';
import { verifyReceipt } from '../../protocols/receipt.ts';
import { collateralFor } from '../attest/collateral.ts';
import { architectureOf } from '../client/answer.ts';
import type { Inference, VerifiedService } from '../client/client.ts';
import { keepDecision, keepText } from '../client/decisions.ts';
import { acquaint } from '../client/pins.ts';
import { createSessions } from '../client/sessions.ts';
import type { Log } from '../home/log.ts';
import { readApplications } from '../models/applications.ts';
import { isLoopback, urlOf } from '../nats/address.ts';
import type { Bus } from '../nats/bus.ts';
import { reportError } from '../nats/service.ts';
import { chatBackend } from './chat-backend.ts';
import { createGuard } from './guard.ts';
import { gatewayMetrics } from './metrics.ts';
import * as oip from './open-inference.ts';
import { openAi } from './openai.ts';
import { failureOf } from './openai-shapes.ts';
import { openApi, type Route } from './openapi.ts';
import { JSON_TYPE, ROUTES, VerifyRequest } from './routes.ts';

const BODY_BYTES = 8 * 1024 * 1024;
/** Rows sealed at a time: a runner takes 256 and refuses more. */
const ROWS_AT_ONCE = 16;
/** Requests with rows in hand; more are told to come again. */
const DEFAULT_REQUESTS = 64;
const RETRY_SECONDS = 1;
/** A runner that is busy is asked again after so long, for so long. */
const BUSY_MS = 50;
const BUSY_TRIES = 20;

export interface GatewayOptions {
  readonly bus: Bus;
  readonly source: string;
  readonly policy: Policy;
  readonly vendor?: string | undefined;
  /** default 127.0.0.1 */
  readonly host?: string | undefined;
  /** 0: a free one */
  readonly port: number;
  /** further names by which it is reached */
  readonly names?: readonly string[] | undefined;
  readonly keys?: readonly string[] | undefined;
  /** where decisions are kept; none are without */
  readonly receipts?: string | undefined;
  readonly requests?: number | undefined;
  readonly version: string;
  readonly log: Log;
}

export interface Gateway {
  readonly url: string;
  close(): Promise<void>;
}

/** Code -> HTTP status; what is not here is 502, another party's fault. */
const STATUS: Partial<Record<ErrorCode, number>> = {
  'bad-input': 400,
  'bad-token': 400,
  'bad-message': 400,
  'too-large': 413,
  'unknown-model': 404,
  busy: 429,
  'not-ready': 503,
  'no-responder': 503,
  'nats-unreachable': 503,
  timeout: 504,
  'storage-full': 507,
  internal: 500,
};

/** Starts it. Throws `bad-input` for an address beyond loopback without keys, or a port in use. */
export async function startGateway(options: GatewayOptions): Promise<Gateway> {
  const { bus, policy, log, host = '127.0.0.1', keys = [], receipts, version } = options;
  if (!isLoopback(host) && keys.length === 0)
    throw new VouchError(
      'bad-input',
      `--listen ${host}: whoever reaches it could use this gateway; expected --api-keys FILE beside an address beyond loopback`,
    );
  const limit = options.requests ?? DEFAULT_REQUESTS;
  const own = isLoopback(host) ? ['localhost', '127.0.0.1', '::1', host] : [host];
  const guard = createGuard([...own, ...(options.names ?? [])], keys);
  const sessions = createSessions(bus, options.source, {
    policy,
    meet: (published) => acquaint(published, { vendor: options.vendor, policy, say: log }),
  });
  let requests = 0;
  let rowsInFlight = 0;
  const metrics = gatewayMetrics({
    connected: () => bus.state === 'connected',
    inFlight: () => rowsInFlight,
    expiries: sessions.expiries,
  });
  const unfollow = bus.onState((state) => {
    if (state === 'connected') metrics.reconnects.inc();
  });

  const app = Fastify({
    bodyLimit: BODY_BYTES,
    requestTimeout: 60_000,
    connectionTimeout: 120_000,
    // A header of a proxy is not believed.
    trustProxy: false,
  });
  app.removeAllContentTypeParsers();
  // Neither is a type that a page may send without asking first.
  for (const type of [JSON_TYPE, 'text/csv'])
    app.addContentTypeParser(type, { parseAs: 'string' }, (_request, body, done) => done(null, body));

  const fail = (reply: FastifyReply, status: number, code: string, message: string) => {
    metrics.refused.inc({ code });
    if (status === 429 || status === 503) reply.header('Retry-After', String(RETRY_SECONDS));
    if (status === 401) reply.header('WWW-Authenticate', 'Bearer');
    const openai = reply.request.url.startsWith('/v1/');
    return reply.code(status).send(openai ? failureOf(status, code, message) : { error: message });
  };
  app.addHook('onRequest', async (request, reply) => {
    reply.headers({
      'Cache-Control': 'no-store',
      'X-Content-Type-Options': 'nosniff',
      'Cross-Origin-Resource-Policy': 'same-origin',
    });
    const { host: named, origin, authorization } = request.headers;
    const site = request.headers['sec-fetch-site']?.toString();
    const refused = guard.refuse({ host: named, origin, site, authorization });
    // Whoever watches a process need not know its keys; nothing is told but that it lives.
    const open = request.url === '/healthz' && refused?.status === 401;
    if (refused && !open) return fail(reply, refused.status, 'refused', refused.why);
  });
  app.setNotFoundHandler((request, reply) =>
    fail(
      reply,
      404,
      'not-found',
      `${request.method} ${request.url.slice(0, 200)}: there is no such path; /openapi.json lists all`,
    ),
  );
  const told = (error: unknown): { status: number; code: string; message: string } => {
    if (error instanceof VouchError) {
      const status = STATUS[error.code] ?? 502;
      // What was wrong with the request is said to whoever made it; the rest is in the log as well.
      const id =
        status < 500 ? '' : ` (error ${reportError(error, 'gateway: error', log, { ofRequest: true })})`;
      return { status, code: error.code, message: `${error.code}: ${error.message}${id}` };
    }
    const status = (error as { statusCode?: number }).statusCode ?? 500;
    if (status < 500) return { status, code: 'bad-request', message: messageOf(error) };
    const message = `a defect of the gateway (error ${reportError(error, 'gateway: error', log)})`;
    return { status: 500, code: 'internal', message };
  };
  app.setErrorHandler((error, _request, reply) => {
    const { status, code, message } = told(error);
    return fail(reply, status, code, message);
  });

  /** Holds a place among the requests in hand. Throws `busy`. */
  const admit = (): Disposable => {
    if (requests >= limit) throw new VouchError('busy', `${limit} requests are in hand; come again`);
    requests += 1;
    return {
      [Symbol.dispose]() {
        requests -= 1;
      },
    };
  };
  const admitted = async <T>(work: () => Promise<T>): Promise<T> => {
    using _place = admit();
    return await work();
  };
  const one = async (model: string, row: readonly string[]): Promise<Inference> => {
    rowsInFlight += 1;
    const end = metrics.latency.startTimer({ model });
    try {
      for (let tries = 1; ; tries++) {
        try {
          const { service, made } = await sessions.infer(model, row);
          if (receipts !== undefined) await keepDecision(receipts, service, row, made);
          end();
          metrics.rows.inc({ model });
          return made;
        } catch (error) {
          if (!(error instanceof VouchError && error.code === 'busy') || tries >= BUSY_TRIES) throw error;
          await sleep(BUSY_MS * tries);
        }
      }
    } finally {
      rowsInFlight -= 1;
    }
  };
  /** All rows, a few at a time; the first that fails fails the request. */
  const all = async (model: string, rows: readonly string[][]): Promise<Inference[]> => {
    const made: Inference[] = [];
    let next = 0;
    const lane = async () => {
      while (next < rows.length) {
        const at = next++;
        made[at] = await one(model, rows[at]!);
      }
    };
    const lanes = await Promise.allSettled(Array.from({ length: Math.min(ROWS_AT_ONCE, rows.length) }, lane));
    const failed = lanes.find((lane) => lane.status === 'rejected');
    if (failed) throw failed.reason;
    return made;
  };
  const serviceOf = async (params: Params): Promise<VerifiedService> => {
    const service = await sessions.service(params.model);
    const serial = String(service.manifest.serial);
    if (params.version !== undefined && params.version !== serial)
      throw new VouchError(
        'unknown-model',
        `model ${params.model}: its version is ${serial}, got ${params.version}`,
      );
    return service;
  };
  const signed = (reply: FastifyReply, made: readonly Inference[]) =>
    reply.headers({
      'Vouch-Receipt': made
        .map(({ answer }) => answer.receiptId)
        .slice(0, 64)
        .join(','),
      'Vouch-Verdict': 'accept',
      'Vouch-Evidence': made[0]?.receipt.claims?.label ?? '',
    });
  const preprocessingOf = ({ manifest }: VerifiedService) => architectureOf(manifest).preprocessing;

  interface Params {
    readonly model: string;
    readonly version?: string;
  }
  const paramsOf = (request: FastifyRequest) => request.params as Params;
  const live = () => ({ live: true });
  const ready = (_: FastifyRequest, reply: FastifyReply) => {
    const connected = bus.state === 'connected';
    return reply.code(connected ? 200 : 503).send({ ready: connected });
  };
  const metadata = async (request: FastifyRequest) => {
    const service = await serviceOf(paramsOf(request));
    return {
      name: service.manifest.name,
      versions: [String(service.manifest.serial)],
      platform: 'vouch',
      inputs: oip.tensorsOf(preprocessingOf(service)),
      outputs: oip.OUTPUT_TENSORS,
    };
  };
  const modelReady = async (request: FastifyRequest, reply: FastifyReply) => {
    const { model } = paramsOf(request);
    try {
      await serviceOf(paramsOf(request));
      return { name: model, ready: true };
    } catch (error) {
      if (error instanceof VouchError && STATUS[error.code] === 404) throw error;
      metrics.refused.inc({ code: error instanceof VouchError ? error.code : 'internal' });
      return reply.code(503).send({ name: model, ready: false });
    }
  };
  const infer = (request: FastifyRequest, reply: FastifyReply) =>
    admitted(async () => {
      const asked = parsed(oip.InferRequest, jsonIn(request), 'request');
      const service = await serviceOf(paramsOf(request));
      const made = await all(paramsOf(request).model, oip.rowsOf(asked, preprocessingOf(service)));
      const answer: oip.InferResponse = {
        model_name: service.manifest.name,
        model_version: String(service.manifest.serial),
        ...(asked.id === undefined ? {} : { id: asked.id }),
        parameters: { verdict: 'accept', evidence: made[0]?.receipt.claims?.label ?? '' },
        outputs: oip.outputsOf(
          made.map(({ answer }) => answer),
          asked,
        ),
      };
      return signed(reply, made).send(answer);
    });
  const decide = (request: FastifyRequest, reply: FastifyReply) =>
    admitted(async () => {
      const service = await serviceOf(paramsOf(request));
      const rows = readApplications(String(request.body ?? ''), preprocessingOf(service));
      if (rows.length > oip.MAX_ROWS)
        throw new VouchError('bad-input', `expected at most ${oip.MAX_ROWS} rows, got ${rows.length}`);
      const made = await all(paramsOf(request).model, rows);
      const decisions = made.map(({ answer, receipt }) => ({
        ...shown(answer),
        evidence: receipt.claims?.label ?? '',
        verdict: receipt.verdict,
      }));
      return signed(reply, made).send({ decisions });
    });
  const verify = async (request: FastifyRequest) => {
    const { receipt, nonce } = parsed(VerifyRequest, jsonIn(request), 'request');
    const { verdict, checks } = await verifyReceipt(fromBase64url(receipt, 'receipt'), {
      policy,
      nonce,
      now: new Date(),
      collateral: collateralFor(policy),
    });
    return { verdict, checks: checks.map(({ id, status, detail }) => ({ id, status, detail })) };
  };
  const openai = openAi({
    backend: chatBackend(sessions, async (model, receipt) => {
      if (receipts !== undefined) await keepText(receipts, receipt);
      metrics.answers.inc({ model });
    }),
    body: (schema, request) => parsed(schema, jsonIn(request), 'request'),
    admit,
    begun: (model, seconds) => metrics.firstText.observe({ model }, seconds),
    told(error) {
      const said = told(error);
      metrics.refused.inc({ code: said.code });
      return said;
    },
  });
  const handlers: Record<keyof typeof ROUTES, (request: FastifyRequest, reply: FastifyReply) => unknown> = {
    live,
    healthz: live,
    ready,
    readyz: ready,
    server: () => ({ name: 'vouch', version, extensions: [] }),
    model: metadata,
    modelVersion: metadata,
    modelReady,
    modelVersionReady: modelReady,
    infer,
    inferVersion: infer,
    decide,
    openaiModels: openai.models,
    openaiChat: openai.chatCompletions,
    openaiCompletions: openai.completions,
    openaiEmbeddings: openai.embeddings,
    verify,
    metrics: async (_, reply) =>
      reply.header('Content-Type', metrics.register.contentType).send(await metrics.register.metrics()),
  };
  for (const [name, { method, path }] of Object.entries(ROUTES) as [keyof typeof ROUTES, Route][])
    app.route({
      method: method.toUpperCase() as 'GET' | 'POST',
      url: path.replaceAll(/\{(\w+)\}/g, ':$1'),
      handler: handlers[name],
    });
  const description = openApi(Object.values(ROUTES), oip.Failure, version);
  app.get('/openapi.json', () => description);

  try {
    await app.listen({ host, port: options.port });
  } catch (error) {
    await app.close();
    throw new VouchError(
      'bad-input',
      `gateway: cannot listen on ${urlOf('http', host, options.port)}: ${messageOf(error)}`,
    );
  }
  const { port } = app.server.address() as { port: number };
  return {
    url: urlOf('http', host, port),
    async close() {
      unfollow();
      await app.close();
    },
  };
}

const shown = ({ label, decision, answers, scores, receiptId }: AnswerPlaintext) => ({
  label,
  decision,
  answers,
  ...(scores === undefined ? {} : { scores }),
  receipt: receiptId,
});

function jsonIn({ body }: FastifyRequest): unknown {
  try {
    return JSON.parse(String(body ?? ''));
  } catch {
    throw new VouchError('bad-input', 'request: expected a body of JSON, of type application/json');
  }
}

function parsed<T>(schema: z.ZodType<T>, value: unknown, what: string): T {
  const result = schema.safeParse(value);
  if (result.success) return result.data;
  const { path = [], message = '' } = result.error.issues[0] ?? {};
  throw new VouchError('bad-input', `${[what, ...path].map(String).join('.')}: ${message}`);
}
