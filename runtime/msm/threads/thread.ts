/**
 * A pool's thread: what it is asked and answers, how one is started, and what it does with a request, in Node (worker.ts)
 * as in a browser (web-worker.ts).
 */
import { giveBack } from '../programs/rows.ts';
import type { Kernel, KernelModules } from './kernel.ts';

type Bytes = Uint8Array<ArrayBuffer>;
export type Call = keyof Kernel;

export interface ThreadRequest {
  readonly id: number;
  readonly call: Call;
  readonly args: readonly unknown[];
}
export interface ThreadReply {
  readonly id: number;
  readonly result?: Bytes | Bytes[] | undefined;
  readonly error?: string;
}
/** One thread as the pool sees it. */
export interface Thread {
  post(request: ThreadRequest, transfer: ArrayBuffer[]): void;
  /** Nothing is owed any more: an idle thread must not keep its process alive. */
  rest(): void;
  terminate(): Promise<void>;
}
/** What a thread is started with comes later: it loads its own code while the modules are still made. */
export type StartThread = (
  modules: KernelModules | Promise<KernelModules>,
  events: { onReply: (reply: ThreadReply) => void; onFailure: (error: Error) => void },
) => Thread;

/** The answer, and the buffers that move with it. */
export function answerRequest(
  kernel: Kernel,
  { id, call, args }: ThreadRequest,
): { readonly reply: ThreadReply; readonly transfer: ArrayBuffer[] } {
  try {
    const result = (kernel[call] as (...args: unknown[]) => ThreadReply['result'])(...args);
    return { reply: { id, result }, transfer: [result ?? []].flat().map(({ buffer }) => buffer) };
  } catch (error) {
    return { reply: { id, error: error instanceof Error ? error.message : String(error) }, transfer: [] };
  } finally {
    // The copies that were sent here may hold secrets.
    for (const arg of args) if (arg instanceof Uint8Array) giveBack(arg.fill(0));
  }
}

/** Gives a thread its modules, before any request where they are there. Where they cannot be made the pool says why. */
export function giveModules(
  modules: KernelModules | Promise<KernelModules>,
  post: (modules: KernelModules) => void,
): void {
  if (modules instanceof Promise) modules.then(post, () => {});
  else post(modules);
}
