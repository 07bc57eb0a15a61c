/**
 * A small server of OpenAI's API in front of node-llama-cpp used directly: `upstream-server.ts FOLDER MODEL`. It stands in for vLLM or
 * llama-server, prints its address, and then a line for each answer that nobody wanted to its end.
 */
import { createServer } from 'node:http';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import type { LlamaModule } from '../../../runtime/inference/llama-binding.ts';

const [folder, modelPath] = process.argv.slice(2) as [string, string];
const entry = pathToFileURL(join(folder, 'node_modules/node-llama-cpp/dist/index.js')).href;
const { getLlama }: LlamaModule = await import(entry);
const llama = await getLlama({
  gpu: false,
  build: 'never',
  skipDownload: true,
  usePrebuiltBinaries: true,
  progressLogs: false,
  debug: false,
  logLevel: 'disabled',
  logger: () => {},
  maxThreads: 1,
});
const model = await llama.loadModel({ modelPath, useMmap: false });

const server = createServer(async (request, response) => {
  const json = (status: number, value: unknown) =>
    response.writeHead(status, { 'Content-Type': 'application/json' }).end(JSON.stringify(value));
  if (request.url === '/v1/models') return json(200, { object: 'list', data: [{ id: 'tiny' }] });
  if (request.url === '/version') return json(200, { version: '0.0.1' });
  if (request.url === '/v1/elsewhere/models')
    return response.writeHead(302, { Location: '/v1/models' }).end();
  if (request.method !== 'POST') return json(404, { error: { message: 'not found' } });
  let text = '';
  for await (const chunk of request) text += chunk;
  const body = JSON.parse(text);
  if (request.url === '/v1/embeddings')
    return json(200, {
      data: body.input.map((_: string, index: number) => ({ index, embedding: [index, 0.5] })).reverse(),
    });
  if (body.temperature > 2) return json(400, { error: { message: 'temperature is out of range' } });
  if (body.seed === 429) return json(429, { error: 'slow down' });
  const raw = request.url === '/v1/completions';
  const prompt: string = raw
    ? body.prompt
    : body.messages.map(({ content }: { content: string }) => content).join('\n');
  response.writeHead(200, { 'Content-Type': 'text/event-stream' });
  const event = (value: unknown) => response.write(`data: ${JSON.stringify(value)}\n\n`);
  const said = (delta: unknown, finish_reason: string | null = null) =>
    event({
      choices: [
        raw
          ? { index: 0, text: (delta as { content?: string }).content ?? '', finish_reason }
          : { index: 0, delta, finish_reason },
      ],
    });
  const done = (tokens: number[], count: number) => {
    event({ choices: [], usage: { prompt_tokens: tokens.length, completion_tokens: count } });
    response.end('data: [DONE]\n\n');
  };
  if (body.tools) {
    const [tool] = body.tools;
    said({
      tool_calls: [
        { index: 0, id: 'call_1', type: 'function', function: { name: tool.function.name, arguments: '' } },
      ],
    });
    said({ tool_calls: [{ index: 0, function: { arguments: '{"city":' } }] });
    said({ tool_calls: [{ index: 0, function: { arguments: '"Ulm"}' } }] });
    said({}, 'tool_calls');
    return done([1], 3);
  }
  const context = await model.createContext({ sequences: 1, contextSize: 512, threads: 1 });
  const tokens = model.tokenize(prompt);
  let count = 0;
  try {
    for await (const token of context
      .getSequence()
      .evaluate(tokens, { temperature: 0, topP: 1, topK: 0, minP: 0 })) {
      if (response.destroyed) {
        console.log('hung up');
        return;
      }
      said({ content: model.detokenize([token]) });
      count += 1;
      if (count >= body.max_tokens) break;
      await new Promise((resolve) => setTimeout(resolve, body.seed === 7 ? 20 : 0));
    }
    said({}, count >= body.max_tokens ? 'length' : 'stop');
    done(tokens, count);
  } finally {
    await context.dispose();
  }
});
server.listen(0, '127.0.0.1', () =>
  console.log(`http://127.0.0.1:${(server.address() as { port: number }).port}/v1`),
);
