/** The most memory that this process, with all of its threads, had resident. */
import { readFileSync } from 'node:fs';

/** Bytes, by the kernel's own count; elsewhere than on Linux by that of getrusage. */
export function peakOfSelf(): number {
  if (process.platform !== 'linux') return process.resourceUsage().maxRSS * 1024;
  return Number(/^VmHWM:\s+(\d+) kB/m.exec(readFileSync('/proc/self/status', 'utf8'))![1]) * 1024;
}
