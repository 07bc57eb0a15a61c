/**
 * A server of OpenAI's API that says words at a pace, by its clock: `paced-server.ts`. It stands for an engine whose speed is known;
 * `seed` of a request is the tokens a second. Prints its address, and when somebody has hung up: milliseconds since 1970.
 */
import { createServer } from 'node:http';
import { setTimeout as sleep } from 'node:timers/promises';

const server = createServer(async (request, response) => {
  if (request.url === '/v1/models') {
    response.end(JSON.stringify({ data: [{ id: 'paced' }] }));
    return;
  }
  if (request.method !== 'POST') {
    response.writeHead(404).end('{}');
    return;
  }
  let text = '';
  for await (const chunk of request) text += chunk;
  const { seed, max_tokens } = JSON.parse(text) as { seed: number; max_tokens: number };
  response.writeHead(200, { 'Content-Type': 'text/event-stream' });
  response.once('close', () => {
    if (!response.writableFinished) console.log(performance.timeOrigin + performance.now());
  });
  const event = (value: unknown) => response.write(`data: ${JSON.stringify(value)}\n\n`);
  const began = performance.now();
  for (let i = 0; i < max_tokens && !response.destroyed; i++) {
    const wait = began + (1000 * i) / seed - performance.now();
    if (wait > 1) await sleep(wait);
    event({ choices: [{ delta: { content: `w${i} ` }, finish_reason: null }] });
  }
  event({ choices: [{ delta: {}, finish_reason: 'length' }] });
  event({ choices: [], usage: { prompt_tokens: 1, completion_tokens: max_tokens } });
  response.end('data: [DONE]\n\n');
});
server.listen(0, '127.0.0.1', () => {
  console.log(`http://127.0.0.1:${(server.address() as { port: number }).port}/v1`);
});
