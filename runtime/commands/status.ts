/** `vouch status`: listens for as long as every living actor takes to speak, then says who was heard. */

import { setTimeout as sleep } from 'node:timers/promises';
import { type Command, Option } from '@commander-js/extra-typings';
import { MACHINES } from '../../actors/machines.ts';
import { decodeMessage } from '../../protocols/envelope.ts';
import { VouchError } from '../../protocols/errors.ts';
import { ACTOR_ROLES, filters } from '../../protocols/subjects.ts';
import { Heartbeat } from '../../protocols/transition.ts';
import { gpuUseText } from '../monitor/words.ts';
import type { Message } from '../nats/bus.ts';
import { LEASE_MS, sentenceOf, statesTagged } from '../roles/host.ts';
import { networked, whole } from './declaration.ts';
import { asClient, type Network, networkOf } from './network.ts';
import { type Print, print } from './terminal.ts';

/** Actors speak every third of a lease. */
const LISTEN_MS = LEASE_MS / 2;

/** Between two looks at NATS while it does not answer. */
const LOOK_MS = 500;

export const define = (command: Command) =>
  networked(command)
    .option('--json', 'one JSON object', false)
    .addOption(
      new Option(
        '--wait <what>',
        'until an actor of each role was heard that is ready: `ready`, or roles such as runner,worker',
      ),
    )
    .option('--timeout <seconds>', 'how long to wait, then exit 1; default: 60', whole(1, 86_400))
    .action((options) => statusCommand({ ...options, ...networkOf(options) }, print));

export async function statusCommand(
  options: Network & { json: boolean; wait?: string | undefined; timeout?: number | undefined },
  print: Print,
): Promise<void> {
  if (options.wait !== undefined) await waitFor(options.wait, options, (options.timeout ?? 60) * 1000);
  await asClient(options, async (bus) => {
    const heard = new Map<string, { beat: Heartbeat; at: number }>();
    const note = ({ subject, data }: Message) => {
      const { body } = decodeMessage(Heartbeat, subject, data);
      heard.set(`${body.kind}.${body.id}`, { beat: body, at: performance.now() });
    };
    for (const role of ACTOR_ROLES) bus.subscribe(filters.beatsOf(role), note);
    await bus.flush();
    await new Promise((resolve) => setTimeout(resolve, LISTEN_MS));
    const actors = [...heard]
      .sort(([a], [b]) => (a < b ? -1 : 1))
      .map(([, { beat, at }]) => ({
        kind: beat.kind,
        id: beat.id,
        state: beat.state,
        ageMs: Math.round(performance.now() - at),
        counts: beat.counts,
        ...(beat.failure ? { failure: beat.failure } : {}),
        ...(beat.gpu ? { gpu: beat.gpu } : {}),
        ...(beat.worker ? { worker: { ...beat.worker, resident: beat.worker.resident.length } } : {}),
      }));
    if (options.json) {
      print({ server: { version: bus.server.version, url: options.url }, actors });
      return;
    }
    print(`nats-server ${bus.server.version} at ${options.url}`);
    if (actors.length === 0) print('no actor was heard');
    for (const { kind, id, state, worker, gpu, failure } of actors) {
      const detail = failure
        ? sentenceOf(failure)
        : worker
          ? `${worker.class}, ${worker.engine}, ${Math.round(worker.rates.g1)} G1 and ${Math.round(worker.rates.g2)} G2 points/s${worker.gpu ? `; ${gpuUseText(worker.gpu)}` : ''}`
          : gpu
            ? `${gpu.adapter}, ${Math.round(gpu.rates?.G1 ?? 0)} G1 and ${Math.round(gpu.rates?.G2 ?? 0)} G2 points/s`
            : '';
      print(`${kind.padEnd(12)} ${id.padEnd(16)} ${state.padEnd(14)} ${detail}`.trimEnd());
    }
  });
}

/** States in which an actor does what it is there for, by its machine. */
const UP: ReadonlyMap<string, ReadonlySet<string>> = new Map(
  Object.entries(MACHINES).map(([kind, machine]) => [kind, statesTagged(machine, 'up')]),
);
/** What has to be there before an inference is answered. */
const READY = ['broker', 'enclave', 'runner'];

/** Waits until an actor of each role was heard in a state of readiness. Throws `timeout` with what is missing. */
async function waitFor(what: string, network: Network, ms: number): Promise<void> {
  const roles = what === 'ready' ? READY : what.split(',');
  const unknown = roles.find((role) => !(ACTOR_ROLES as readonly string[]).includes(role));
  if (unknown !== undefined)
    throw new VouchError(
      'bad-input',
      `--wait: expected ready, or roles among ${ACTOR_ROLES.join(', ')}, got ${unknown}`,
    );
  const deadline = performance.now() + ms;
  let missing = `${network.url} does not answer`;
  while (performance.now() < deadline) {
    const left = new Set(roles);
    try {
      await asClient(network, async (bus) => {
        const { promise, resolve } = Promise.withResolvers<void>();
        for (const role of roles)
          bus.subscribe(filters.beatsOf(role as (typeof ACTOR_ROLES)[number]), ({ subject, data }) => {
            const { state, failure } = decodeMessage(Heartbeat, subject, data).body;
            if (failure || !UP.get(role)?.has(state)) return;
            left.delete(role);
            if (left.size === 0) resolve();
          });
        await Promise.race([
          promise,
          sleep(Math.max(0, deadline - performance.now()), undefined, { ref: false }),
        ]);
      });
      if (left.size === 0) return;
      missing = `nobody is ready as ${[...left].join(', ')}`;
    } catch (error) {
      if (!(error instanceof VouchError && error.code === 'nats-unreachable')) throw error;
      await sleep(LOOK_MS);
    }
  }
  throw new VouchError(
    'timeout',
    `after ${Math.round(ms / 1000)} s ${missing}; vouch status and vouch doctor say more`,
  );
}
