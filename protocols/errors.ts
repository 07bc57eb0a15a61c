/**
 * Coded errors. A code says what happened, `retryable` whether the same call may succeed later.
 * The message names the field, what was expected and what came; it never holds a secret.
 * What of it travels is in wire-error.ts: this file loads with every thread, and schemas take a while.
 */
import { printable } from './printable.ts';

/** code -> may the same request succeed later without being changed? */
export const ERROR_CODES = {
  'bad-token': false,
  'bad-message': false,
  'bad-version': false,
  'bad-input': false,
  'bad-file': false,
  'too-large': false,
  'unknown-model': false,
  'not-ready': true,
  'no-responder': true,
  'nats-unreachable': true,
  'nats-credentials': false,
  'nats-feature': false,
  timeout: true,
  busy: true,
  conflict: false,
  'storage-full': true,
  'seal-rejected': false,
  replayed: false,
  'stale-epoch': false,
  'evidence-rejected': false,
  'policy-rejected': false,
  'signature-rejected': false,
  'receipt-rejected': false,
  'commitment-mismatch': false,
  'key-rejected': false,
  'terms-refused': false,
  'statement-false': false,
  'witness-rejected': false,
  'proof-rejected': false,
  'proof-refused': false,
  'shard-rejected': true,
  cancelled: true,
  'device-lost': true,
  'out-of-memory': true,
  internal: true,
} as const satisfies Record<string, boolean>;
export type ErrorCode = keyof typeof ERROR_CODES;

export class VouchError extends Error {
  readonly code: ErrorCode;
  readonly retryable: boolean;
  constructor(code: ErrorCode, message: string, options?: { cause?: unknown }) {
    // It may quote what a peer sent, and lands in logs and on terminals.
    super(printable(message), options);
    this.name = 'VouchError';
    this.code = code;
    this.retryable = ERROR_CODES[code];
  }
}

/** Any thrown value as one clear sentence. */
export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
