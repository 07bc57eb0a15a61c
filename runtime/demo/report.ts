/** What a person reads of the main job: a line and a time per step, details below it, and the summary. */

import { canonicalJson } from '../../protocols/encoding.ts';
import { VouchError } from '../../protocols/errors.ts';
import { printableLines } from '../../protocols/printable.ts';
import type { PublishedProof } from '../../protocols/proof.ts';
import { createProgress, type Progress } from '../client/progress.ts';
import { checkCount, checkLines, type PrintedCheck } from '../verdict/checks.ts';

/** What `--json` prints. */
export interface DemoResult {
  enclave: { hardware: boolean; measurement: string };
  model: { name: string; commitment: string };
  inferences: { decision: string; receiptId: string; verified: boolean }[];
  receipt: { verified: boolean };
  /** whether each was refused, as it must be */
  refusals: { tamperedReceipt: boolean; wrongMeasurement: boolean; replay: boolean };
  proof: {
    verified: boolean;
    rows: number;
    /** by the vendor's count; the proof says `threshold` */
    correct: number;
    threshold: number;
    /** what a constant answer scores */
    baseline: number;
    constraints: number;
    domain: number;
    seconds: number;
    /** milliseconds */
    phases: Record<string, number>;
    key: string;
  };
  workers: { id: string; shards: number }[];
  seconds: number;
}

/** Whether everything verified, and everything that must be refused was. */
export const passed = (result: DemoResult): boolean =>
  result.proof.verified &&
  result.receipt.verified &&
  Object.values(result.refusals).every(Boolean) &&
  result.inferences.every(({ verified }) => verified);

const TITLE_WIDTH = 72;
/** Work that knows how to stop by itself gets this long to do so. */
const GRACE_MS = 2_000;

export interface Step {
  /** A line below the step's title, once the step is done. */
  detail(line: string): void;
  /** Bars, or lines, while the step is at work. */
  progress(): Progress;
}

export interface Report {
  line(text: string): void;
  /** Runs one step; throws `cancelled` when `signal` aborts in it. */
  step<T>(title: string, work: (step: Step) => Promise<T>): Promise<T>;
}

export function createReport(stream: NodeJS.WriteStream, signal: AbortSignal): Report {
  let number = 0;
  // At the end of the screen stands one of these, on a terminal: the title of the step at work, or its bars.
  let pending = '';
  let progress: Progress | undefined;
  const erase = () => {
    if (pending && stream.isTTY) stream.write('\r\u001b[K');
  };
  const line = (text: string) => {
    if (progress) return progress.line(text);
    erase();
    stream.write(`${printableLines(text)}\n${stream.isTTY ? pending : ''}`);
  };
  const settle = () => {
    erase();
    pending = '';
    progress?.stop();
    progress = undefined;
  };
  return {
    line,
    async step(title, work) {
      const began = performance.now();
      const label = `[${++number}] ${title}`;
      const details: string[] = [];
      let titled = false;
      pending = `${label} ...`;
      if (stream.isTTY) stream.write(pending);
      try {
        const result = await cancellable(signal, () =>
          work({
            detail: (text) => void details.push(text),
            progress: () => {
              if (!progress) {
                settle();
                line(label);
                titled = true;
                progress = createProgress(stream);
              }
              return progress;
            },
          }),
        );
        settle();
        const took = seconds(performance.now() - began).padStart(7);
        if (!titled) line(`${label.padEnd(TITLE_WIDTH)} ${took}`);
        for (const text of details) line(`    ${text}`);
        if (titled) line(`${'    done'.padEnd(TITLE_WIDTH)} ${took}`);
        return result;
      } finally {
        settle();
      }
    },
  };
}

/** Runs `work`; once `signal` aborts it ends with `cancelled`, whatever the work does. */
async function cancellable<T>(signal: AbortSignal, work: () => Promise<T>): Promise<T> {
  const cancelled = () => new VouchError('cancelled', 'stopped');
  if (signal.aborted) throw cancelled();
  const { promise, reject } = Promise.withResolvers<never>();
  const onAbort = () => void setTimeout(() => reject(cancelled()), GRACE_MS).unref();
  signal.addEventListener('abort', onAbort, { once: true });
  try {
    return await Promise.race([work(), promise]);
  } catch (error) {
    throw signal.aborted ? cancelled() : error;
  } finally {
    signal.removeEventListener('abort', onAbort);
  }
}

export const seconds = (ms: number): string => `${(ms / 1000).toFixed(ms < 10_000 ? 2 : 1)} s`;

interface Judged {
  readonly checks: readonly PrintedCheck[];
}
/** The id of the check that failed first. */
export const firstFailure = ({ checks }: Judged): string =>
  checks.find(({ status }) => status === 'fail')?.id ?? 'nothing failed';

/** How many checks passed; then those that did not, or all of them, a line each. */
export function judged({ checks }: Judged, verbose: boolean): string[] {
  const shown = verbose ? checks : checks.filter(({ status }) => status !== 'pass');
  return [checkCount(checks), ...checkLines(shown).map((line) => `  ${line}`)];
}

/** The end of the main job: what was shown. */
export function summary(result: DemoResult, { record }: PublishedProof, monitor: string): string[] {
  const { proof, workers } = result;
  const score = (count: number) => `${count} of ${proof.rows} (${((100 * count) / proof.rows).toFixed(1)} %)`;
  const phases = Object.entries(proof.phases).map(([name, ms]) => `${name} ${seconds(ms)}`);
  const shards = workers.reduce((sum, worker) => sum + worker.shards, 0);
  const bytes = canonicalJson(record.proof).length;
  return [
    '',
    `Summary (evidence SIMULATED, key ${proof.key})`,
    `    proved      at least ${score(proof.threshold)} test rows are classified correctly`,
    `    compare     a constant answer ${score(proof.baseline)}; this model, by its vendor's count, ${score(proof.correct)}`,
    `    proof       ${proof.verified ? 'verified' : 'NOT VERIFIED'}, ${bytes} bytes of JSON, ${proof.seconds} s from request to verdict`,
    `    circuit     ${proof.constraints} constraints, domain 2^${Math.log2(proof.domain)}`,
    `    phases      ${phases.slice(0, 4).join(', ')},`,
    `                ${phases.slice(4).join(', ')}`,
    `    workers     ${workers.map((worker) => `${worker.id} ${worker.shards}`).join(', ')} of ${shards} shards`,
    `    monitor     ${monitor}`,
    `    total       ${result.seconds} s`,
  ];
}

/** Commands for a second terminal, as a person would type them there. */
export function suggestions(model: string, files: { test: string; proof: string }): string[] {
  const home = process.env.VOUCH_HOME;
  const vouch = `${home ? `VOUCH_HOME=${home} ` : ''}runtime/vouch.mjs`;
  return [
    '',
    'In a second terminal:',
    `    ${vouch} status`,
    `    head -3 ${files.test} | ${vouch} infer ${model} -`,
    `    ${vouch} verify ${files.proof} --test-set ${files.test}`,
  ];
}
