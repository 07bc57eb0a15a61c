/** `vouch status`: listens for as long as every living actor takes to speak, then says who was heard. */
import type { Command } from '@commander-js/extra-typings';
import { decodeMessage } from '../../protocols/envelope.ts';
import { ACTOR_ROLES, filters } from '../../protocols/subjects.ts';
import { Heartbeat } from '../../protocols/transition.ts';
import type { Message } from '../nats/bus.ts';
import { LEASE_MS, sentenceOf } from '../roles/host.ts';
import { networked } from './declaration.ts';
import { asClient, type Network, networkOf } from './network.ts';
import { type Print, print } from './terminal.ts';

/** Actors speak every third of a lease. */
const LISTEN_MS = LEASE_MS / 2;

export const define = (command: Command) =>
  networked(command)
    .option('--json', 'one JSON object', false)
    .action((options) => statusCommand({ ...options, ...networkOf(options) }, print));

export async function statusCommand(options: Network & { json: boolean }, print: Print): Promise<void> {
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
          ? `${worker.class}, ${worker.engine}, ${Math.round(worker.rates.g1)} G1 and ${Math.round(worker.rates.g2)} G2 points/s`
          : gpu
            ? `${gpu.adapter}, ${Math.round(gpu.rates?.G1 ?? 0)} G1 and ${Math.round(gpu.rates?.G2 ?? 0)} G2 points/s`
            : '';
      print(`${kind.padEnd(12)} ${id.padEnd(16)} ${state.padEnd(14)} ${detail}`.trimEnd());
    }
  });
}
