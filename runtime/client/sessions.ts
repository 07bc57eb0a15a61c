/**
 * Verified services, one a model, shared by all requests: evidence is verified by the caller's policy once, again before it
 * runs out, and again when the service has changed its keys or its enclave. A request that met such a change is made once
 * more, with a nonce of its own; what an answer says is believed only with a receipt that was verified (client.ts).
 */
import type { Policy } from '../../protocols/attestation/policy.ts';
import { VouchError } from '../../protocols/errors.ts';
import type { VerifiedManifest } from '../../protocols/manifest.ts';
import { readManifest } from '../models/manifests.ts';
import type { Bus } from '../nats/bus.ts';
import type { ChatClient } from './chat.ts';
import { type Inference, infer, type VerifiedService, verifyService } from './client.ts';

/** Evidence is asked for anew when so much of its life is left. */
const RENEWAL = 1 / 4;
/** What a service says that has changed since its evidence was verified. */
const CHANGED: ReadonlySet<string> = new Set([
  'evidence-rejected',
  'seal-rejected',
  'no-responder',
  'nats-unreachable',
]);
/** Whether an error says so. */
export const hasChanged = (error: unknown): boolean => error instanceof VouchError && CHANGED.has(error.code);
const MAX_MODELS = 256;

export interface Sessions extends ChatClient {
  /** The model's service, verified; throws what `meet` and `verifyService` throw. */
  service(model: string): Promise<VerifiedService>;
  /** One answer, whose receipt was verified, and the service that gave it. */
  infer(model: string, row: readonly string[]): Promise<{ service: VerifiedService; made: Inference }>;
  /** Evidence of the model's service is verified anew before it is asked again. */
  renew(model: string): void;
  /** Model -> when its evidence runs out by the policy, in seconds since 1970. */
  expiries(): ReadonlyMap<string, number>;
}

interface Session {
  readonly service: Promise<VerifiedService>;
  /** by a monotonic clock, in milliseconds */
  readonly renewAt: number;
  expires: number;
}

export function createSessions(
  bus: Bus,
  source: string,
  {
    policy,
    meet,
  }: {
    policy: Policy;
    /** Throws for the manifest of a vendor that is not to be trusted. */
    meet: (published: VerifiedManifest) => unknown;
  },
): Sessions {
  const sessions = new Map<string, Session>();
  const maxAgeMs = policy.maxAgeSeconds * 1000;

  const begin = (model: string): Session => {
    const service = (async () => {
      const published = await readManifest(bus, model);
      await meet(published);
      return verifyService(bus, source, model, policy, published);
    })();
    const session: Session = {
      service,
      renewAt: performance.now() + maxAgeMs * (1 - RENEWAL),
      expires: 0,
    };
    service.then(
      ({ document }) => {
        session.expires = document.time + policy.maxAgeSeconds;
      },
      () => sessions.get(model) === session && sessions.delete(model),
    );
    if (!sessions.has(model) && sessions.size >= MAX_MODELS) sessions.delete(sessions.keys().next().value!);
    sessions.set(model, session);
    return session;
  };
  const current = (model: string): Session => {
    const known = sessions.get(model);
    return known && performance.now() < known.renewAt ? known : begin(model);
  };
  const attempt = async (session: Session, row: readonly string[]) => {
    const service = await session.service;
    return { service, made: await infer(bus, source, service, policy, row) };
  };
  return {
    bus,
    source,
    policy,
    service: (model) => current(model).service,
    renew: (model) => void sessions.delete(model),
    async infer(model, row) {
      const session = current(model);
      try {
        return await attempt(session, row);
      } catch (error) {
        // A session that could not begin says why; so does one that has begun anew.
        const began = await session.service.then(
          () => true,
          () => false,
        );
        if (!began || !hasChanged(error)) throw error;
        const now = sessions.get(model);
        return attempt(now && now !== session ? now : begin(model), row);
      }
    },
    expiries: () => new Map([...sessions].map(([model, { expires }]) => [model, expires])),
  };
}
