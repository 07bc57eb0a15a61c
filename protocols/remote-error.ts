/** An error that the other side sent. Apart from its schema, so that whoever only tells errors apart need not load that. */
import { ERROR_CODES, VouchError } from './errors.ts';
import { printable } from './printable.ts';
import type { WireError } from './wire-error.ts';

/**
 * An error that the other side replied with; `errorId` finds it in that side's log. A code that is not known here
 * becomes `internal`; whether to try again is what the other side says. Its words come without control characters,
 * because they end on a terminal.
 */
export class RemoteError extends VouchError {
  readonly errorId: string;
  override readonly retryable: boolean;
  constructor(body: WireError) {
    super(knownCode(body.code), body.message);
    this.errorId = printable(body.errorId);
    this.retryable = body.retryable;
  }
}

function knownCode(code: string): VouchError['code'] {
  return (Object.hasOwn(ERROR_CODES, code) ? code : 'internal') as VouchError['code'];
}
