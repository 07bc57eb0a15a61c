/**
 * V8 can fuse two vectors of 128 bits into one of 256 (`--experimental-wasm-revectorize`, off by default), which sums are
 * laid out for (msm/wasm/field.ts): they take a fifth to a third less time. The flag is an experiment of V8's, and not all
 * that it fuses comes out right (Node 24 makes a wrong f64x2.neg of a value that is used more than once). So it is set only in processes of our own that make
 * proofs, and only after a rehearsal (fused-rehearsal.ts) was right, by this Node on this processor with this code, which is
 * remembered in `.vouch/cache/fused`. What a rehearsal did not meet cannot do harm: no proof leaves that does not verify.
 */
import { execFile } from 'node:child_process';
import { createHash } from 'node:crypto';
import { readdirSync, readFileSync } from 'node:fs';
import { cpus } from 'node:os';
import { fileURLToPath } from 'node:url';
import { setFlagsFromString } from 'node:v8';
import { readTextIfThere, writeWhole } from '../home/files.ts';
import { folder } from '../home/home.ts';

const FLAG = '--experimental-wasm-revectorize';
/** Of what is remembered. */
const FORMAT = 'code beside verdict';
const REHEARSAL_MS = 60_000;
/** Of the threads' code, all that is compiled to vectors. */
const KERNELS = new URL('../msm/wasm/', import.meta.url);

type Verdict = 'right' | 'wrong';

/** Sets the flag where a rehearsal was right. Whatever was compiled before stays as it is. */
export function fuseVectors(): boolean {
  const flags = rightFlags();
  for (const flag of flags) setFlagsFromString(flag);
  return flags.length > 0;
}

/** V8's flags that a rehearsal found right. */
export const rightFlags = (): readonly string[] => (remembered() === 'right' ? [FLAG] : []);

/** Rehearses where nobody did, in a process of its own, some seconds long, and remembers how it ended; `say` is told before. */
export async function rehearseFusedVectors(
  say: (line: string) => void = () => {},
): Promise<Verdict | 'unknown'> {
  const before = remembered();
  if (before !== undefined) return before;
  say('trying out faster arithmetic for the next proofs, once; what was asked for is done');
  const ended = await rehearse([FLAG]);
  // A rehearsal that was right has said so itself: it may end badly when it keeps its code.
  const verdict = remembered() ?? ended;
  if (verdict !== 'wrong') return verdict;
  await remember('wrong');
  await rehearse([]);
  return verdict;
}

/** An exit of its own accord is a verdict; what was stopped from outside is none. */
function rehearse(flags: readonly string[]): Promise<Verdict | 'unknown'> {
  const own = import.meta.url.endsWith('.ts') ? 'ts' : 'js';
  const program = fileURLToPath(new URL(`./fused-rehearsal.${own}`, import.meta.url));
  return new Promise((resolve) => {
    execFile(process.execPath, [...flags, program], { timeout: REHEARSAL_MS }, (error) => {
      if (error === null) resolve('right');
      else resolve(typeof error.code === 'number' ? 'wrong' : 'unknown');
    });
  });
}

/** Called by a rehearsal that was right. */
export async function rehearsed(): Promise<void> {
  if (process.execArgv.includes(FLAG)) await remember('right');
}

/** Where it cannot be written the flag stays off. */
const remember = (verdict: Verdict): Promise<void> => writeWhole(memory(), verdict).catch(() => undefined);

function remembered(): Verdict | undefined {
  try {
    const text = readTextIfThere(memory(), 'cache');
    return text === 'right' || text === 'wrong' ? text : undefined;
  } catch {
    return undefined;
  }
}

/** Where code that a rehearsal has compiled is kept (kept-code.ts). */
export const codeFile = (): string => `${memory()}.code`;

function memory(): string {
  known ??= fileOfThis();
  return folder('cache', 'fused', known);
}
let known: string | undefined;

/** A name for this Node on this processor with this code. */
function fileOfThis(): string {
  const hash = createHash('sha256');
  for (const part of [FORMAT, process.version, process.arch, cpus()[0]?.model ?? ''])
    hash.update(`${part}\n`);
  for (const name of readdirSync(KERNELS).sort()) {
    if (/(?<!\.d)\.[jt]s$/.test(name)) hash.update(readFileSync(new URL(name, KERNELS)));
  }
  return hash.digest('hex').slice(0, 32);
}
