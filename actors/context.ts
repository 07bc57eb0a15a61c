/**
 * The words an actor may keep in its context: ids, counts, codes and public digests. Every machine's context
 * schema is built from these alone, and a test walks the schemas to prove it, so that a snapshot or a control
 * reply cannot hold a secret.
 *
 * Not guaranteed: that an id chosen by a careless role is not itself a secret. Effects keep theirs in closures.
 */
import { z } from 'zod';
import { ERROR_CODES, type ErrorCode, VouchError } from '../protocols/errors.ts';

export const Count = z.int().min(0);
export const Millis = z.int().min(0);
export const Code = z.enum(Object.keys(ERROR_CODES) as [ErrorCode, ...ErrorCode[]]);
/** A launch measurement, lower-case hex: 32 bytes (SGX, simulated) or 48 (SEV-SNP, TDX). */
export const Measurement = z
  .string()
  .regex(/^(?:[0-9a-f]{64}|[0-9a-f]{96})$/, 'expected 32 or 48 bytes as lower-case hex');

/** Why an actor closed. The text of the error stays in the log of the role whose effect failed. */
export const Failure = z.strictObject({ code: Code, retryable: z.boolean() });
export type Failure = z.infer<typeof Failure>;

/** What an actor remembers of a rejected effect. An error that is not ours is `internal`. */
export function failureOf(error: unknown): Failure {
  return error instanceof VouchError ? { code: error.code, retryable: error.retryable } : failure('internal');
}

export const failure = (code: ErrorCode): Failure => ({ code, retryable: ERROR_CODES[code] });

/**
 * What a state means to whoever only wants to know whether an actor works: `up` does its work or takes some, `failed` never
 * will again (its context says why), `settled` has nothing left to do. A state on the way has none of them.
 */
export type StateTag = 'up' | 'failed' | 'settled';

/** Whether an actor's evidence is a hardware's, as a count: absent until there is evidence, 0 for SIMULATED. */
export const hardwareCount = ({ hardware }: { hardware: boolean | null }): { hardware?: number } =>
  hardware === null ? {} : { hardware: hardware ? 1 : 0 };

/** The parameters of an `onError` transition's `fail` action. */
export const rejection = ({ event }: { event: { error: unknown } }): Failure => failureOf(event.error);
