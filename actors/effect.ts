/**
 * A named effect that is not there yet. A machine names what it wants done; the role that runs it provides the
 * promise (`machine.provide({ actors })`). Until then the effect rejects, so a forgotten one fails closed.
 *
 * The promise is given an AbortSignal, aborted when the machine leaves the state that asked: a late result is
 * then ignored by the machine, but only the effect itself can stop what it began.
 */
import { fromPromise } from 'xstate';
import { VouchError } from '../protocols/errors.ts';

export const effect = <Output, Input>(name: string) =>
  fromPromise<Output, Input>(() =>
    Promise.reject(new VouchError('internal', `effect ${name}: expected the role to provide it, it did not`)),
  );

/** The longest delay a timer can hold (setTimeout wraps above it and fires at once). */
export const MAX_DELAY_MS = 2 ** 31 - 1;

/** 250 ms, doubled for each failure in a row, at most 5 s. `failures` starts at 1. */
export const backOffMs = (failures: number): number => Math.min(250 * 2 ** (failures - 1), 5000);
