/** Every path of the gateway, with the schemas of what it takes and answers. */
import { z } from 'zod';
import { base64Text, Nonce } from '../../protocols/envelope.ts';
import { MAX_BUNDLE_BYTES } from '../../protocols/receipt.ts';
import * as oip from './open-inference.ts';
import * as openai from './openai-shapes.ts';
import type { Route } from './openapi.ts';

const Decision = z.object({
  label: z.string(),
  decision: z.int(),
  answers: z.string(),
  scores: z.array(z.unknown()).optional(),
  receipt: z.string().describe('its id'),
  evidence: z.string().describe('HARDWARE or SIMULATED'),
  verdict: z.string(),
});
const Decisions = z.object({ decisions: z.array(Decision) }).meta({ id: 'Decisions' });
export const VerifyRequest = z
  .object({
    receipt: base64Text(MAX_BUNDLE_BYTES).describe('a receipt bundle as base64url'),
    nonce: Nonce.optional().describe('what was sealed into the request'),
  })
  .meta({ id: 'VerifyRequest' });
const Verdict = z
  .object({
    verdict: z.enum(['accept', 'reject']),
    checks: z.array(z.object({ id: z.string(), status: z.string(), detail: z.string() })),
  })
  .meta({ id: 'Verdict' });
const Rows = z.union([z.array(z.unknown()), z.record(z.string(), z.unknown())]);
export const JSON_TYPE = 'application/json';

export const ROUTES = {
  live: { method: 'get', path: '/v2/health/live', summary: 'whether the gateway runs', answer: oip.Live },
  ready: {
    method: 'get',
    path: '/v2/health/ready',
    summary: 'whether it is connected to NATS',
    answer: oip.Ready,
  },
  server: { method: 'get', path: '/v2', summary: 'what this server is', answer: oip.ServerMetadata },
  model: {
    method: 'get',
    path: '/v2/models/{model}',
    summary: 'columns and outputs',
    answer: oip.ModelMetadata,
  },
  modelVersion: {
    method: 'get',
    path: '/v2/models/{model}/versions/{version}',
    summary: 'the same of one version, the serial of its manifest',
    answer: oip.ModelMetadata,
  },
  modelReady: {
    method: 'get',
    path: '/v2/models/{model}/ready',
    summary: 'whether evidence of who serves it satisfies the policy',
    answer: oip.ModelReady,
  },
  modelVersionReady: {
    method: 'get',
    path: '/v2/models/{model}/versions/{version}/ready',
    summary: 'the same of one version',
    answer: oip.ModelReady,
  },
  infer: {
    method: 'post',
    path: '/v2/models/{model}/infer',
    summary: 'decisions on rows; receipts and verdict in the headers Vouch-Receipt and Vouch-Verdict',
    body: { [JSON_TYPE]: oip.InferRequest },
    answer: oip.InferResponse,
  },
  inferVersion: {
    method: 'post',
    path: '/v2/models/{model}/versions/{version}/infer',
    summary: 'the same by one version',
    body: { [JSON_TYPE]: oip.InferRequest },
    answer: oip.InferResponse,
  },
  decide: {
    method: 'post',
    path: '/decide/{model}',
    summary: 'decisions on rows as people write them',
    body: { [JSON_TYPE]: Rows, 'text/csv': z.string() },
    answer: Decisions,
  },
  openaiModels: {
    method: 'get',
    path: '/v1/models',
    summary: "models that answer in text, as OpenAI's API lists them",
    answer: openai.ModelList,
  },
  openaiChat: {
    method: 'post',
    path: '/v1/chat/completions',
    summary:
      "OpenAI's chat; with `stream` server-sent events, of which the last before [DONE] has the receipt in `vouch`",
    body: { [JSON_TYPE]: openai.ChatCompletionRequest },
    answer: openai.ChatCompletion,
  },
  openaiCompletions: {
    method: 'post',
    path: '/v1/completions',
    summary: 'a text continued as it stands, without the chat template',
    body: { [JSON_TYPE]: openai.CompletionRequest },
    answer: openai.Completion,
  },
  openaiEmbeddings: {
    method: 'post',
    path: '/v1/embeddings',
    summary: 'texts as vectors',
    body: { [JSON_TYPE]: openai.EmbeddingsRequest },
    answer: openai.EmbeddingList,
  },
  verify: {
    method: 'post',
    path: '/verify',
    summary: 'verifies a receipt by the policy of the gateway',
    body: { [JSON_TYPE]: VerifyRequest },
    answer: Verdict,
  },
  metrics: {
    method: 'get',
    path: '/metrics',
    summary: "numbers in Prometheus' format",
    answer: 'text/plain',
  },
  healthz: { method: 'get', path: '/healthz', summary: 'whether the gateway runs', answer: oip.Live },
  readyz: { method: 'get', path: '/readyz', summary: 'whether it is connected to NATS', answer: oip.Ready },
} as const satisfies Record<string, Route>;
