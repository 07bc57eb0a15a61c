/**
 * What the monitor looks up for its pages, by the rights of its role: published models, fresh evidence of whoever serves one, as any
 * client may ask for it, who was convicted, and the proof of a job that was heard of. It judges nothing: the page checks evidence
 * and proof.
 */
import { EvidenceReply, EvidenceRequest } from '../../protocols/enclave.ts';
import { decodeMessage } from '../../protocols/envelope.ts';
import { messageOf } from '../../protocols/errors.ts';
import { printable } from '../../protocols/printable.ts';
import { PublishedProof } from '../../protocols/proof.ts';
import { STREAMS } from '../../protocols/streams.ts';
import { filters, lastToken, subjects } from '../../protocols/subjects.ts';
import { freshNonce } from '../attest/identity.ts';
import type { LookUps } from '../monitor/look-ups.ts';
import type { Bus } from '../nats/bus.ts';
import { ask } from '../nats/service.ts';
import { convictionOf } from './convictions.ts';
import { createModelLookUp } from './monitor-models.ts';

/** Of each kind; whoever publishes more models than that, or brings more workers, is not shown whole. */
const MOST_MODELS = 16;
const MOST_WORKERS = 512;
const ANSWER_MS = 5_000;
/** Requests under way at once. */
const PARALLEL = 32;

/** An error's sentence, fit for a page. */
const said = (error: unknown): string => printable(messageOf(error)).slice(0, 300);

/** `clock`: of every `at`. `askerOf`: the client who asked for this job, where that was heard. */
export function createLookUps(
  bus: Bus,
  clock: () => number,
  askerOf: (job: string) => string | undefined,
): LookUps {
  const evidenceOf = async (model: string) => {
    const nonce = freshNonce();
    try {
      const { body } = await ask(bus, [EvidenceRequest, EvidenceReply], {
        subject: subjects.evidence(model, bus.id),
        source: `monitor.${bus.id}`,
        body: { nonce },
        timeoutMs: ANSWER_MS,
      });
      const { document } = body;
      return { model, nonce, at: clock(), enclave: document.enclave, document };
    } catch (error) {
      return { model, nonce, at: clock(), error: said(error) };
    }
  };
  const names = async (): Promise<string[]> => {
    const subjects = await bus.subjectsOf(STREAMS.models.name, filters.models);
    return [...subjects.keys()].map(lastToken).sort().slice(0, MOST_MODELS);
  };
  const modelsOf = createModelLookUp(bus);
  return {
    models: async () => modelsOf(await names()),
    async evidence() {
      return Promise.all((await names()).map(evidenceOf));
    },
    async convictions(workers) {
      const found: Awaited<ReturnType<LookUps['convictions']>>[number][] = [];
      const asked = workers.slice(0, MOST_WORKERS);
      for (let first = 0; first < asked.length; first += PARALLEL) {
        const some = await Promise.all(
          asked.slice(first, first + PARALLEL).map((id) => convictionOf(bus, id)),
        );
        found.push(...some.filter((one) => one !== undefined));
      }
      return found;
    },
    async proof(job) {
      const client = askerOf(job);
      if (client === undefined)
        return { error: 'The monitor was started after this proof was made, and cannot find it by name.' };
      try {
        const subject = subjects.proof(client, job);
        const stored = await bus.getLast(STREAMS.proofs.name, subject);
        if (stored === undefined) return { error: 'NATS has no proof of this job.' };
        const { body } = decodeMessage(PublishedProof, subject, stored.data);
        // One answer is a decision about somebody, who is no business of whoever reaches the monitor's port.
        if (body.record.statement.statement !== 'quality')
          return { error: 'It is about one answer, which the monitor shows to nobody.' };
        return { proof: body };
      } catch (error) {
        return { error: `What NATS has of this job cannot be shown: ${said(error)}` };
      }
    },
  };
}
