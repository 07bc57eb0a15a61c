/**
 * The machine code that V8 made of a proof's WebAssembly, kept for the next process: there nothing is emitted, tried or
 * compiled a second time, and the first proof runs at the speed of the later ones. A rehearsal (fused-rehearsal.ts) writes
 * it when its code is compiled well and was right.
 *
 * Node has no interface for it; V8's own tests have, by names that its parser knows under a flag. What anything of that
 * does not fit (another V8, other flags, other instructions of the processor: V8 asks for all of them to be the same) is
 * compiled as ever. It is code, believed as all of `.vouch/cache/compiled` is, and used by the commands that prove alone.
 */
import { createHash } from 'node:crypto';
import { deserialize, serialize, setFlagsFromString } from 'node:v8';
import { readIfThere, writeWhole } from '../home/files.ts';
import { adoptCurve, curveCode, curveModule } from '../msm/threads/fallback.ts';
import { adoptKernel, createSharedKernel, emitKernel, type FieldKind } from '../msm/wasm/kernel.ts';

interface Compiled {
  /** The module as it is defined. */
  readonly bytes: Uint8Array<ArrayBuffer>;
  /** What V8 made of it. */
  readonly code: Uint8Array<ArrayBuffer>;
}
interface KeptCode {
  readonly kind: FieldKind;
  readonly kernel: Compiled;
  readonly curve: Compiled;
}

const DIGEST_BYTES = 32;

/**
 * Writes what this process has compiled well so far. V8 ends a process in which that is nothing, so nothing else may
 * depend on it.
 */
export async function keepCode(file: string): Promise<void> {
  const shared = await createSharedKernel();
  if (!shared) return;
  const compiled = (module: WebAssembly.Module, bytes: Uint8Array<ArrayBuffer>): Compiled => ({
    bytes,
    code: new Uint8Array(native<ArrayBuffer>('SerializeWasmModule', module)),
  });
  const kept: KeptCode = {
    kind: shared.kind,
    kernel: compiled(shared.module, emitKernel(shared.kind)),
    curve: compiled(await curveModule(), curveCode()),
  };
  const body = serialize(kept);
  await writeWhole(file, Buffer.concat([digestOf(body), body]));
}

/** Whether code was there that fits; then this process computes with it. */
export function takeKeptCode(file: string): boolean {
  try {
    const all = readIfThere(file, 'cache');
    const body = all?.subarray(DIGEST_BYTES);
    if (!all || !body || !digestOf(body).equals(all.subarray(0, DIGEST_BYTES))) return false;
    const { kind, kernel, curve } = deserialize(body) as KeptCode;
    const [ours, theirs] = [kernel, curve].map(({ bytes, code }) =>
      native<WebAssembly.Module | undefined>('DeserializeWasmModule', code.slice().buffer, bytes),
    );
    if (!ours || !theirs) return false;
    adoptKernel(kind, ours);
    adoptCurve(theirs);
    return true;
  } catch {
    return false;
  }
}

const digestOf = (body: Uint8Array): Buffer => createHash('sha256').update(body).digest();

/** Calls one of V8's functions that its own tests call. The flag is as it was before when this returns. */
function native<T>(name: string, ...args: readonly unknown[]): T {
  const names = args.map((_, index) => `a${index}`);
  setFlagsFromString('--allow-natives-syntax');
  try {
    return new Function(...names, `return %${name}(${names})`)(...args);
  } finally {
    setFlagsFromString('--no-allow-natives-syntax');
  }
}
