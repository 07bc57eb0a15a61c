/**
 * Witness calculators in threads, in Node (prove/witness-thread.ts) as in a browser (web-witness.ts): a circuit's module is
 * compiled once, and one thread stays for the next witness. A calculator may run for ever, so its thread ends with the signal;
 * it ends also after a calculator whose memory cannot be wiped.
 */
import {
  type CalculatorInput,
  type CalculatorOptions,
  compileCalculator,
  isWiped,
  runCalculator,
} from '../../../circuits/groth16/calculator.ts';
import { messageOf, VouchError } from '../../../protocols/errors.ts';
import { withFasterField } from '../wasm/circom-module.ts';

/** What a thread is asked, one after the other. */
export interface CalculatorQuestion {
  /** The file, or what was compiled from it. */
  readonly code: Uint8Array<ArrayBuffer> | WebAssembly.Module;
  readonly input: CalculatorInput;
  /** Lines of a circuit's log are posted only where they are asked for: ours log nothing but secrets. */
  readonly logs: boolean;
}
/** What it posts: the module where it compiled one, lines of the log, then one of the others. */
export type CalculatorReply =
  | { readonly module: WebAssembly.Module }
  | { readonly log: string }
  | { readonly witness: Uint8Array<ArrayBuffer> }
  | { readonly code: 'witness-rejected' | 'bad-file'; readonly message: string };

export interface CalculatorThread {
  post(question: CalculatorQuestion): void;
  /** Nothing is owed any more: an idle thread must not keep its process alive. */
  rest(): void;
  terminate(): Promise<void>;
}
export type StartCalculatorThread = (events: {
  readonly onReply: (reply: CalculatorReply) => void;
  readonly onFailure: (error: Error) => void;
}) => CalculatorThread;

export interface CalculateOptions extends CalculatorOptions {
  readonly signal?: AbortSignal | undefined;
}

/** A calculator's file that is read only where it is not known yet. */
export interface NamedCalculator {
  /** Two files of one name are the same. */
  readonly name: string;
  read(): Promise<Uint8Array>;
}

export interface Calculators extends AsyncDisposable {
  /**
   * The witness: wires x 32 bytes, little-endian standard form. As `compileCalculator` and `runCalculator` throw, and
   * `cancelled` when aborted or closed.
   */
  calculate(
    file: Uint8Array | NamedCalculator,
    input: CalculatorInput,
    options?: CalculateOptions,
  ): Promise<Uint8Array<ArrayBuffer>>;
  /** Ends all threads. */
  close(): Promise<void>;
}

/** Circuits whose modules are kept, the last used ones. */
const MAX_MODULES = 4;

export function createCalculators(start: StartCalculatorThread): Calculators {
  const modules = new Map<string, WebAssembly.Module>();
  /** Who hears of a thread: the call that it works for. */
  interface Worker {
    readonly thread: CalculatorThread;
    listener: Parameters<StartCalculatorThread>[0] | undefined;
  }
  let idle: Worker | undefined;
  const all = new Set<Worker>();
  let closed = false;

  function open(): Worker {
    const worker: Worker = {
      thread: start({
        onReply: (reply) => worker.listener?.onReply(reply),
        onFailure(error) {
          all.delete(worker);
          if (idle === worker) idle = undefined;
          worker.listener?.onFailure(error);
        },
      }),
      listener: undefined,
    };
    all.add(worker);
    return worker;
  }
  async function end(worker: Worker): Promise<void> {
    all.delete(worker);
    await worker.thread.terminate();
  }
  const cancelled = () => new VouchError('cancelled', 'computing the witness was cancelled');

  async function calculate(
    file: Uint8Array | NamedCalculator,
    input: CalculatorInput,
    { signal, onLog }: CalculateOptions = {},
  ): Promise<Uint8Array<ArrayBuffer>> {
    if (closed || signal?.aborted) throw cancelled();
    const worker = idle ?? open();
    idle = undefined;
    let module: WebAssembly.Module | undefined;
    let stays = false;
    const { promise, resolve, reject } = Promise.withResolvers<Uint8Array<ArrayBuffer>>();
    worker.listener = {
      onReply(reply) {
        if ('module' in reply) module = reply.module;
        else if ('log' in reply) onLog?.(reply.log);
        else if ('witness' in reply) resolve(reply.witness);
        else reject(new VouchError(reply.code, reply.message));
        stays ||= 'witness' in reply || 'message' in reply;
      },
      // Its memory ran out, or its stack: what a calculator does is its maker's.
      onFailure: (error) =>
        reject(
          closed
            ? cancelled()
            : new VouchError('bad-file', `witness calculator: its thread failed (${messageOf(error)})`),
        ),
    };
    const stop = () => reject(cancelled());
    signal?.addEventListener('abort', stop, { once: true });
    try {
      promise.catch(() => {});
      // The thread's code loads meanwhile.
      const name = 'name' in file ? file.name : await digestOf(own(file));
      module = name === undefined ? undefined : modules.get(name);
      const code = module ?? own('name' in file ? await file.read() : file);
      if (closed || signal?.aborted) throw cancelled();
      worker.thread.post({ code, input, logs: onLog !== undefined });
      const witness = await promise;
      if (module && name !== undefined) keep(name, module);
      return witness;
    } finally {
      signal?.removeEventListener('abort', stop);
      worker.listener = undefined;
      if (stays && module && isWiped(module) && !closed && !idle && !signal?.aborted) {
        idle = worker;
        worker.thread.rest();
      } else await end(worker);
    }
  }

  function keep(name: string, module: WebAssembly.Module): void {
    modules.delete(name);
    modules.set(name, module);
    for (const oldest of modules.keys()) if (modules.size > MAX_MODULES) modules.delete(oldest);
  }

  const close = async () => {
    closed = true;
    idle = undefined;
    const ending = [...all].map(async (worker) => {
      await end(worker);
      worker.listener?.onFailure(cancelled());
    });
    await Promise.all(ending);
    modules.clear();
  };
  return { calculate, close, [Symbol.asyncDispose]: close };
}

/** In memory that is neither shared nor more: a message would carry all of it. */
const own = (bytes: Uint8Array): Uint8Array<ArrayBuffer> =>
  bytes.buffer instanceof ArrayBuffer && bytes.byteLength === bytes.buffer.byteLength
    ? (bytes as Uint8Array<ArrayBuffer>)
    : new Uint8Array(bytes);

/** Undefined in a page whose context is not secure, so that there is no hash; nothing is kept then. */
async function digestOf(wasm: Uint8Array<ArrayBuffer>): Promise<string | undefined> {
  if (!globalThis.crypto?.subtle) return undefined;
  return new Uint8Array(await crypto.subtle.digest('SHA-256', wasm)).join();
}

/** What a thread does with a question. Whatever it throws ends the thread with that error. */
export async function answerQuestion(
  { code, input, logs }: CalculatorQuestion,
  post: (reply: CalculatorReply, transfer: ArrayBuffer[]) => void,
): Promise<void> {
  try {
    let module = code as WebAssembly.Module;
    if (code instanceof Uint8Array) {
      module = await compileCalculator(await withFasterField(code));
      post({ module }, []);
    }
    const onLog = logs ? (log: string) => post({ log }, []) : undefined;
    const witness = await runCalculator(module, input, { onLog });
    post({ witness }, [witness.buffer]);
  } catch (error) {
    if (!(error instanceof VouchError)) throw error;
    post({ code: error.code as 'witness-rejected' | 'bad-file', message: error.message }, []);
  }
}
