/** Times and counts in the page's words. Pure, and served to the browser as it stands. */
import type { GpuUse } from '../../protocols/transition.ts';

/** Of a time that is over. */
export function duration(millis: number): string {
  if (millis < 1_000) return `${Math.max(0, Math.round(millis))} ms`;
  if (millis < 10_000) return `${(millis / 1_000).toFixed(1)} s`;
  return coarse(millis);
}

/** To the second, so that a running clock does not flicker. */
export function coarse(millis: number): string {
  const seconds = Math.max(0, Math.floor(millis / 1_000));
  if (seconds < 120) return `${seconds} s`;
  const minutes = Math.floor(seconds / 60);
  return minutes < 120 ? `${minutes} min` : `${Math.floor(minutes / 60)} h`;
}

export const timeOf = (at: number): string => new Date(at).toLocaleTimeString('en-GB');

/** With the day where it is another than today's. */
export function dayTime(at: number, today = new Date()): string {
  const date = new Date(at);
  const isToday = date.toDateString() === today.toDateString();
  return isToday ? timeOf(at) : `${date.toLocaleDateString('en-GB')} ${timeOf(at)}`;
}

/** Of a time to come: days, hours, minutes, to the second where it is near. */
export function until(millis: number): string {
  if (millis <= 0) return 'over';
  const days = Math.floor(millis / 86_400_000);
  return days > 2 ? `in ${days} days` : `in ${coarse(millis)}`;
}

export const times = (count: number): string => (count === 1 ? 'once' : `${count} times`);

/** The counts of an actor that are not zero; a name in `Ms` is a time. `hardware` is shown as a badge. */
export const countsText = (counts: Readonly<Record<string, number>>): string =>
  Object.entries(counts)
    .filter(([name, count]) => count !== 0 && name !== 'hardware')
    .map(([name, count]) =>
      name.endsWith('Ms') ? `${spaced(name.slice(0, -2))} ${duration(count)}` : `${spaced(name)} ${count}`,
    )
    .join(', ');

/** `inFlight` is "in flight". */
const spaced = (name: string): string => name.replace(/[A-Z]/g, (letter) => ` ${letter.toLowerCase()}`);

/** worker-2 comes before worker-10. One collator for all, because making one takes longer than a comparison. */
export const byName: (a: string, b: string) => number = new Intl.Collator('en', { numeric: true }).compare;

/** How a worker shares its GPU with inferences. */
export function gpuUseText({ proofs, inferences, bytes, budget }: GpuUse): string {
  const [ofProofs, ofInferences] = [proofs, inferences].map((part) => Math.round(100 * part));
  const [held, most] = [bytes, budget].map((each) => Math.round(each / 2 ** 20));
  return `GPU in the last 10 s: ${ofProofs} % proofs, ${ofInferences} % inferences; ${held} of ${most} MiB`;
}
