/**
 * A process that crashes may leave its memory on a disk: keys, prompts, weights. Linux asks each process which parts of its
 * memory go into a core file (core(5), proc_pid_coredump_filter(5)); of ours none do, and none of its children's, whoever reads core
 * files here, a program that they are piped to included. What is left are registers and the kernel's own page.
 *
 * Not guaranteed: elsewhere than on Linux nothing is done, and who may read the process's memory reads it.
 */
import { writeFileSync } from 'node:fs';
import { messageOf } from '../../protocols/errors.ts';

const FILTER = '/proc/self/coredump_filter';

/** `say` is told where it cannot be had. A kernel that makes no core files has no such file. */
export function stayOutOfCoreFiles(say: (line: string) => void): void {
  if (process.platform !== 'linux') return;
  try {
    writeFileSync(FILTER, '0');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return;
    say(
      `vouch: memory of this process may get into core files; allow it to write ${FILTER} (${messageOf(error)})`,
    );
  }
}
