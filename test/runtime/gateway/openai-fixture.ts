/** A gateway in front of a model that answers in text by a script, and OpenAI's own client for it. */
import OpenAI from 'openai';
import { type GatewayOptions, startGateway } from '../../../runtime/gateway/server.ts';
import type { TextEngine } from '../../../runtime/inference/text-engine.ts';
import type { TestContext } from '../../harness.ts';
import { serveText } from '../roles/chat-fixture.ts';

export const USER = [{ role: 'user', content: 'hi' }] as const;

export async function started(
  t: TestContext,
  engine: TextEngine,
  options: Pick<Partial<GatewayOptions>, 'requests' | 'keys' | 'receipts'> = {},
) {
  const served = await serveText(t, engine);
  const bus = await served.bus('client', 'gateway');
  const gateway = await startGateway({
    bus,
    source: 'client.gateway',
    policy: served.policies.inference,
    port: 0,
    version: '1',
    log: served.say,
    ...options,
  });
  t.defer(() => gateway.close());
  const openai = new OpenAI({ baseURL: `${gateway.url}/v1`, apiKey: 'none', maxRetries: 0 });
  return { served, gateway, openai };
}
