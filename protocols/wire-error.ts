/** The form in which an error travels: `{code, message, errorId, retryable}`, no stack and no cause. */
import { z } from 'zod';
import { VouchError } from './errors.ts';

export const WireError = z.object({
  code: z.string().min(1).max(64).describe('one of the codes below; a newer sender may use others'),
  message: z
    .string()
    .max(1000)
    .describe('one sentence for people; strip control characters before you print it'),
  errorId: z.string().max(64).describe("finds the error in the sender's log"),
  retryable: z.boolean().describe('may the same request succeed later, unchanged?'),
});
export type WireError = z.infer<typeof WireError>;

/**
 * The safe body of an error. An error that is not ours is reported as `internal` without its text: that
 * text is for the local log, found again by `errorId`.
 */
export function toWireError(error: unknown, errorId: string): WireError {
  if (error instanceof VouchError) {
    return { code: error.code, message: error.message.slice(0, 1000), errorId, retryable: error.retryable };
  }
  return { code: 'internal', message: 'the request failed inside the service', errorId, retryable: true };
}
