/** A model that answers in text, published, and served by a runner in a SIMULATED enclave with an engine of the test's. */
import { type ByteSource, bytesSource } from '../../../circuits/groth16/source.ts';
import { utf8 } from '../../../protocols/encoding.ts';
import { chat } from '../../../runtime/client/chat.ts';
import { createSessions } from '../../../runtime/client/sessions.ts';
import type { TextEngine, TextRequest } from '../../../runtime/inference/text-engine.ts';
import { publishText, type TextPublication } from '../../../runtime/models/weights.ts';
import { enclaveRole } from '../../../runtime/roles/enclave.ts';
import { untilUp } from '../../../runtime/roles/host.ts';
import type { Neighbours } from '../../../runtime/roles/neighbours.ts';
import { type RunnerOptions, runnerRole } from '../../../runtime/roles/runner.ts';
import type { TestContext } from '../../harness.ts';
import { startBroker, startHome } from '../home/home-fixture.ts';

export const MODEL = 'chat';
export const WEIGHTS = utf8('weights of a model that says nothing by itself');
export const DEFAULTS = { context: 256, maxTokens: 64, temperature: 0, topP: 1 };

export const asked = (content: string, more: Partial<TextRequest> = {}): TextRequest => ({
  messages: [{ role: 'user', content }],
  // More than any stream of a test says before it is stopped.
  maxTokens: 100_000,
  temperature: 0,
  topP: 1,
  seed: 1,
  ...more,
});

export async function serveText(
  t: TestContext,
  engine: TextEngine,
  options: Omit<RunnerOptions, 'openEngine'> = {},
  publication: Partial<TextPublication> = {},
  weights: ByteSource = bytesSource(WEIGHTS),
) {
  const home = await startHome(t);
  await publishText(home.observer, 'provisioner.test', {
    name: MODEL,
    weights,
    defaults: DEFAULTS,
    policy: home.policies.release,
    ...publication,
  });
  await home.role('broker', 'broker-1', startBroker);
  const neighbours: Neighbours = {};
  const runner = await home.role(
    'runner',
    'e1',
    runnerRole(neighbours, MODEL, undefined, { ...options, openEngine: async () => engine }),
  );
  runner.actor.send({ type: 'device.absent' });
  const enclave = await home.role('enclave', 'e1', enclaveRole(neighbours, home.policies.inference));
  enclave.actor.send({ type: 'enclave.start' });
  await untilUp(enclave, 30_000);
  const clientOf = async (id: string) => {
    const bus = await home.bus('client', id);
    return createSessions(bus, `client.${id}`, { policy: home.policies.inference, meet: () => {} });
  };
  const client = await clientOf('one');
  return {
    ...home,
    runner,
    enclave,
    neighbours,
    client,
    clientOf,
    chat: (content: string, more: Partial<Parameters<typeof chat>[1]> = {}, by = client) =>
      chat(by, { model: MODEL, request: asked(content), ...more }),
    counts: () => runner.actor.getSnapshot().context as Record<'served' | 'failed' | 'refused', number>,
  };
}
