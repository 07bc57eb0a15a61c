/**
 * The life of one enclave: made, measured, attested, given its keys, serving, destroyed.
 *
 *   absent -> creating -> measuring -> launched -> attesting -> provisioning -> serving
 *   provisioning -> attesting   while what runs inside loads for longer than a quarter of that, MAX_RENEWALS times at most
 *   serving -> attesting        after three quarters of the evidence's validity, so it never serves on stale evidence
 *   any but absent -> draining -> destroyed     on `enclave.drain`; destroyed -> creating on `enclave.start`
 *   anywhere -> quarantined     on a failed effect, or evidence that came too late
 *
 * Quarantined is for good: it destroys the enclave and no event leads out of it; a new actor takes its place.
 *
 * Not guaranteed: that the evidence is true (verifiers and the key broker decide that), nor that a quarantined
 * enclave is gone: `wiped` says whether destroying it succeeded.
 */
import { assign, setup } from 'xstate';
import { z } from 'zod';
import { Id } from '../protocols/envelope.ts';
import {
  Count,
  Failure,
  failure,
  hardwareCount,
  Measurement,
  Millis,
  rejection,
  type StateTag,
} from './context.ts';
import { effect, MAX_DELAY_MS } from './effect.ts';

export const EnclaveContext = z.strictObject({
  id: Id,
  measurement: Measurement.nullable(),
  /** how often this actor created an enclave */
  boots: Count,
  attestations: Count,
  /** how often evidence was made anew while what runs inside was still loading */
  renewals: Count,
  /** whether the latest evidence is a hardware's; null until there is any */
  hardware: z.boolean().nullable(),
  /** how long the latest evidence holds, from when it was made */
  validMs: Millis,
  wiped: z.boolean(),
  failure: Failure.nullable(),
});
export type EnclaveContext = z.infer<typeof EnclaveContext>;

export interface EnclaveInput {
  readonly id: string;
}

export type EnclaveEvent = { type: 'enclave.start' } | { type: 'enclave.drain' };

/** What every effect of the enclave is told. */
export interface EnclaveEffectInput {
  readonly id: string;
  readonly boot: number;
}

export interface DestroyInput extends EnclaveEffectInput {
  /** whether what runs inside may finish first; a quarantined enclave is destroyed at once */
  readonly gently: boolean;
}

const subject = ({ context }: { context: EnclaveContext }): EnclaveEffectInput => ({
  id: context.id,
  boot: context.boots,
});
const destroying =
  (gently: boolean) =>
  (args: { context: EnclaveContext }): DestroyInput => ({
    ...subject(args),
    gently,
  });
const quarantine = { target: 'quarantined', actions: { type: 'fail', params: rejection } } as const;
const refuseEvidence = {
  target: 'quarantined',
  actions: { type: 'fail', params: failure('evidence-rejected') },
} as const;
/** With an installation's own policy, whose evidence holds for five minutes: half an hour. */
const MAX_RENEWALS = 24;
const tooLate = { target: 'quarantined', actions: { type: 'fail', params: failure('timeout') } } as const;

export const enclaveMachine = setup({
  types: {} as { context: EnclaveContext; events: EnclaveEvent; input: EnclaveInput; tags: StateTag },
  actors: {
    create: effect<void, EnclaveEffectInput>('create'),
    measure: effect<{ measurement: string }, EnclaveEffectInput>('measure'),
    attest: effect<{ validMs: number; hardware: boolean }, EnclaveEffectInput>('attest'),
    provision: effect<void, EnclaveEffectInput>('provision'),
    destroy: effect<void, DestroyInput>('destroy'),
  },
  actions: {
    fail: assign({ failure: (_, params: Failure) => params }),
    renew: assign({ renewals: ({ context }) => context.renewals + 1 }),
    boot: assign({
      renewals: 0,
      boots: ({ context }) => context.boots + 1,
      measurement: null,
      hardware: null,
      validMs: 0,
      wiped: false,
      failure: null,
    }),
  },
  guards: { patient: ({ context }) => context.renewals < MAX_RENEWALS },
  delays: {
    reattestAfter: ({ context }) => Math.min(Math.floor((context.validMs * 3) / 4), MAX_DELAY_MS),
    /** a minute for the first evidence of a boot; later what is left of the evidence that is being renewed */
    attestWithin: ({ context }) =>
      context.validMs === 0 ? 60_000 : Math.min(Math.floor(context.validMs / 4), MAX_DELAY_MS),
  },
}).createMachine({
  id: 'enclave',
  context: ({ input }) => ({
    id: input.id,
    measurement: null,
    boots: 0,
    attestations: 0,
    renewals: 0,
    hardware: null,
    validMs: 0,
    wiped: true,
    failure: null,
  }),
  initial: 'absent',
  on: {
    'enclave.drain': '.draining',
  },
  states: {
    absent: {
      on: {
        'enclave.start': { target: 'creating', actions: 'boot' },
        'enclave.drain': 'destroyed',
      },
    },
    creating: { invoke: { src: 'create', input: subject, onDone: 'measuring', onError: quarantine } },
    measuring: {
      invoke: {
        src: 'measure',
        input: subject,
        onDone: [
          {
            guard: ({ event }) => Measurement.safeParse(event.output?.measurement).success,
            target: 'launched',
            actions: assign({ measurement: ({ event }) => event.output.measurement }),
          },
          refuseEvidence,
        ],
        onError: quarantine,
      },
    },
    // A step of its own, so that the world sees the launch before the evidence for it.
    launched: { after: { 0: 'attesting' } },
    attesting: {
      invoke: {
        src: 'attest',
        input: subject,
        onDone: [
          {
            guard: ({ event }) => Millis.safeParse(event.output?.validMs).success && event.output.validMs > 0,
            target: 'provisioning',
            actions: assign({
              attestations: ({ context }) => context.attestations + 1,
              hardware: ({ event }) => event.output.hardware === true,
              validMs: ({ event }) => event.output.validMs,
            }),
          },
          refuseEvidence,
        ],
        onError: quarantine,
      },
      after: { attestWithin: tooLate },
    },
    provisioning: {
      invoke: {
        src: 'provision',
        input: subject,
        onDone: { target: 'serving', actions: assign({ renewals: 0 }) },
        onError: quarantine,
      },
      // A large model loads for longer than evidence is fresh: it is made anew, and the loading waited for again, so many times.
      after: { attestWithin: [{ guard: 'patient', target: 'attesting', actions: 'renew' }, tooLate] },
    },
    serving: { tags: 'up', after: { reattestAfter: 'attesting' } },
    draining: {
      on: { 'enclave.drain': {} },
      invoke: {
        src: 'destroy',
        input: destroying(true),
        onDone: { target: 'destroyed', actions: assign({ wiped: true }) },
        onError: quarantine,
      },
    },
    destroyed: {
      tags: 'settled',
      on: { 'enclave.start': { target: 'creating', actions: 'boot' }, 'enclave.drain': {} },
    },
    quarantined: {
      tags: ['failed', 'settled'],
      on: { 'enclave.drain': {} },
      invoke: {
        src: 'destroy',
        input: destroying(false),
        onDone: { actions: assign({ wiped: true }) },
        onError: { actions: assign({ wiped: false }) },
      },
    },
  },
});

/** What the monitor may count. */
export const enclaveCounts = (context: EnclaveContext) => ({
  boots: context.boots,
  attestations: context.attestations,
  validMs: context.validMs,
  ...hardwareCount(context),
});
