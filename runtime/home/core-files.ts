/**
 * A process that crashes may leave its memory on a disk: keys, prompts, weights. Linux asks each process which parts of its
 * memory go into a core file (core(5), proc_pid_coredump_filter(5)); of ours none do, and none of its children's, whoever reads core
 * files here, a program that they are piped to included. What is left are registers and the kernel's own page.
 *
 * Not guaranteed: elsewhere than on Linux nothing is done, and who may read the process's memory reads it.
 */
import { writeFileSync } from 'node:fs';

export function stayOutOfCoreFiles(): void {
  if (process.platform !== 'linux') return;
  try {
    writeFileSync('/proc/self/coredump_filter', '0');
  } catch {
    // A kernel without core files, or a /proc that cannot be written.
  }
}
