/**
 * Asks the thread that judges (runtime/verifier/thread.ts, served as /judge.js): the same code as `vouch verify`, in a thread of
 * its own, where what files hold can reach neither the page nor its time.
 */

export interface OpenedFile {
  readonly name: string;
  readonly bytes: Uint8Array;
}

/** What whoever looks knows, and demands. */
export interface Asked {
  readonly policy?: 'strict' | 'genuine' | undefined;
  /** milliseconds since 1970; default: now */
  readonly now?: number | undefined;
  readonly nonce?: string | undefined;
  readonly job?: string | undefined;
  readonly vendor?: string | undefined;
  /** digest of the verification key that he trusts */
  readonly trustKey?: string | undefined;
}

export interface CheckRow {
  readonly id: string;
  readonly status: 'pass' | 'fail' | 'skipped';
  readonly detail: string;
}

export interface CertificateRow {
  /** of the CPU or of which GPU */
  readonly of: string;
  readonly subject: string;
  readonly issuer: string;
  /** milliseconds since 1970 */
  readonly notBefore: number;
  readonly notAfter: number;
}

/** What a receipt says, for a list. */
export interface ReceiptFacts {
  readonly id: string;
  readonly enclave: string;
  readonly sequence: number;
  /** by the host's clock */
  readonly time: number;
}

export interface JudgedItem {
  readonly name: string;
  readonly kind: 'receipt' | 'document' | 'proof' | 'evidence';
  readonly accepted: boolean;
  readonly checks: readonly CheckRow[];
  readonly notChecked: readonly string[];
  readonly proved?: string | undefined;
  /** what a proof says that was not accepted */
  readonly claimed?: string | undefined;
  /** whether any part of it comes from a simulated root key */
  readonly simulated: boolean;
  readonly receipt?: ReceiptFacts | undefined;
  readonly certificates?: readonly CertificateRow[] | undefined;
}

export interface Answer {
  readonly judged: readonly JudgedItem[];
  readonly used: readonly { readonly name: string; readonly as: string }[];
  readonly unused: readonly { readonly name: string; readonly reason: string }[];
}

/** A node of a fleet, as it was heard. */
export interface PlannedNode {
  readonly id: string;
  readonly rates: { readonly g1: number; readonly g2: number };
  /** where nothing was measured: a local network */
  readonly bytesPerSecond?: number | undefined;
  readonly memoryBytes: number;
}
export interface Planning {
  readonly nodes: readonly PlannedNode[];
  /** constraints, a power of two */
  readonly domain: number;
}
/** As `vouch plan` models it, in milliseconds. */
export interface Planned {
  readonly totalMs: number;
  readonly bounds: readonly { readonly what: string; readonly totalMs: number }[];
  readonly further: { readonly like: string; readonly totalMs: number };
}

/** What is asked, by its name: question and answer. */
interface Questions {
  judge: readonly [{ readonly files: readonly OpenedFile[]; readonly asked: Asked }, Answer];
  plan: readonly [Planning, Planned];
}
type Name = keyof Questions;
export type Question = {
  [N in Name]: { readonly id: number; readonly name: N; readonly body: Questions[N][0] };
}[Name];
export type Reply =
  | { readonly id: number; readonly answer: Questions[Name][1] }
  | { readonly id: number; readonly error: string };

type Policies = {
  createPolicy(
    name: string,
    rules: { createScriptURL(url: string): string },
  ): { createScriptURL(url: string): string };
};

/** The page's own policy lets a thread start from this one address alone. */
function startThread(): Worker {
  const address = '/judge.js';
  const { trustedTypes } = globalThis as { trustedTypes?: Policies };
  const only = trustedTypes?.createPolicy('judge', { createScriptURL: () => address });
  return new Worker(only ? only.createScriptURL(address) : address, { type: 'module' });
}

let thread: Worker | undefined;
let asked = 0;
const waiting = new Map<number, { resolve(answer: never): void; reject(error: Error): void }>();

/** Rejects with one sentence for files that contradict each other, and where the thread does not start. */
export const judge = (files: readonly OpenedFile[], asked: Asked): Promise<Answer> =>
  ask('judge', { files, asked });
/** What a proof would take on these nodes, and what one more would bring. */
export const plan = (planning: Planning): Promise<Planned> => ask('plan', planning);

function ask<N extends Name>(name: N, body: Questions[N][0]): Promise<Questions[N][1]> {
  if (!thread) {
    thread = startThread();
    thread.addEventListener('message', ({ data }: MessageEvent<Reply>) => {
      const asker = waiting.get(data.id);
      waiting.delete(data.id);
      if ('answer' in data) asker?.resolve(data.answer as never);
      else asker?.reject(new Error(data.error));
    });
    thread.addEventListener('error', () => {
      for (const { reject } of waiting.values()) reject(new Error('the thread that checks did not start'));
      waiting.clear();
      thread = undefined;
    });
  }
  const id = ++asked;
  const answer = new Promise<Questions[N][1]>((resolve, reject) => waiting.set(id, { resolve, reject }));
  thread.postMessage({ id, name, body });
  return answer;
}
