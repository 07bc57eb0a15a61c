/** What the monitor's server looks up for its page beside what it hears. Types only, so that the page may import them. */
import type { Drawing } from '../../circuits/model/drawing.ts';

/** What the monitor was answered. */
export interface FoundEvidence {
  readonly model: string;
  /** who answered; absent where nobody did */
  readonly enclave?: string;
  readonly nonce: string;
  /** when, by the monitor's clock */
  readonly at: number;
  /** an evidence document */
  readonly document?: unknown;
  readonly error?: string;
}

/** A worker's results were found to be wrong, by this coordinator's word. */
export interface Conviction {
  readonly worker: string;
  readonly job: string;
  readonly coordinator: string;
  readonly time: string;
}

/** What a vendor has signed about a model, or why that cannot be shown. */
export type FoundModel = { readonly name: string } & (
  | { readonly error: string }
  | {
      /** fingerprint of the vendor's key */
      readonly vendor: string;
      readonly commitment: string;
      readonly serial: number;
      /** what a proof about it is made of, for so many rows; absent for what answers in text */
      readonly graph?: {
        readonly drawing: Drawing;
        readonly rows: number;
        readonly constraints: number;
        /** of the key */
        readonly domain: number;
        readonly maxRows: number;
      };
      /** of what answers in text: nothing can be proved about it */
      readonly files?: readonly { readonly name: string; readonly bytes: number }[];
    }
);

/** A published proof as it is stored, which nobody has judged yet; or why there is none to show. */
export type FoundProof = { readonly proof: unknown } | { readonly error: string };

/** What the server looks up when a page asks for it, by rights of its own. */
export interface LookUps {
  models(): Promise<readonly FoundModel[]>;
  evidence(): Promise<readonly FoundEvidence[]>;
  convictions(workers: readonly string[]): Promise<readonly Conviction[]>;
  proof(job: string): Promise<FoundProof>;
}
