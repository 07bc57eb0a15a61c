/**
 * Who computed which shard of a proof when, and what that says: pure, from what a coordinator has told. What is missing was
 * not heard, because progress may be lost; nothing here makes it up.
 */
import type { ShardNews } from '../../protocols/proof.ts';
import { type Job, PHASES, type Phase } from './model.ts';
import { byName } from './words.ts';

export const SECTIONS = { wires: 'A, B1, B2, C', quotient: 'H' } as const;
export type SectionGroup = keyof typeof SECTIONS;

/** What a run looks like: how it ended, or that it is still held. */
export type RunMark = 'done' | 'held' | 'refused' | 'lost' | 'dropped';
export const markOf = ({ end }: ShardNews): RunMark => end ?? 'held';

export const groupOf = ({ shard }: ShardNews): SectionGroup =>
  shard.startsWith('quotient') ? 'quotient' : 'wires';

export interface PhaseSpan {
  readonly phase: Phase;
  readonly fromMs: number;
  readonly toMs: number;
  readonly running: boolean;
}

/** The phases one after the other, the current one until `now`, from when the job was taken up. */
export function phaseSpans(job: Job, now: number): PhaseSpan[] {
  let at = 0;
  return PHASES.slice(0, -2).flatMap((phase): PhaseSpan[] => {
    const known = job.phases[phase];
    const running = phase === job.phase;
    const millis = known ?? (running ? Math.max(0, now - job.phaseSince) : undefined);
    if (millis === undefined) return [];
    const fromMs = at;
    at += millis;
    return [{ phase, fromMs, toMs: at, running: running && known === undefined }];
  });
}

/** When the plan was opened, by the same clock as the spans: shards are given out from then on. */
export const planOpenedMs = (spans: readonly PhaseSpan[]): number =>
  spans.find(({ phase }) => PHASES.indexOf(phase) >= PHASES.indexOf('planning'))?.fromMs ??
  spans.at(-1)?.toMs ??
  0;

export interface Run {
  readonly news: ShardNews;
  readonly fromMs: number;
  readonly toMs: number;
  /** when it would have ended had the worker begun at once and computed as fast as it says */
  readonly predictedMs: number;
  /** which of the worker's rows it is drawn in: it holds more than one at a time */
  readonly lane: number;
}

export interface WorkerRow {
  readonly worker: string;
  readonly runs: readonly Run[];
  readonly lanes: number;
  readonly done: number;
  /** shards that it gave back or lost */
  readonly failed: number;
  /** shards that somebody else had as well */
  readonly copies: number;
  /** of what is done */
  readonly predictedMs: number;
  readonly computedMs: number;
  /** bytes a second, at least: from sending to answer, less what it computed; undefined where nothing says */
  readonly link: number | undefined;
}

const MOST_LANES = 3;

/** By worker, whoever did most first. `endMs`: now, for what is still held. */
export function workerRows(job: Job, openedMs: number, endMs: number): WorkerRow[] {
  const by = new Map<string, ShardNews[]>();
  for (const news of job.shards) by.set(news.worker, [...(by.get(news.worker) ?? []), news]);
  return [...by]
    .map(([worker, own]) => rowOf(worker, own, openedMs, endMs))
    .sort((a, b) => b.done - a.done || byName(a.worker, b.worker));
}

function rowOf(worker: string, own: readonly ShardNews[], openedMs: number, endMs: number): WorkerRow {
  const free: number[] = [];
  const runs = own
    .toSorted((a, b) => a.sentMs - b.sentMs)
    .map((news): Run => {
      const fromMs = openedMs + news.sentMs;
      const toMs = Math.max(fromMs, news.endMs === undefined ? endMs : openedMs + news.endMs);
      const found = free.findIndex((until) => until <= fromMs);
      const lane = Math.min(found < 0 ? free.length : found, MOST_LANES - 1);
      free[lane] = Math.max(free[lane] ?? 0, toMs);
      return { news, fromMs, toMs, predictedMs: fromMs + news.predictedMs, lane };
    });
  const done = own.filter(({ end, computeMs }) => end === 'done' && computeMs !== undefined);
  const links = done.flatMap(({ bytes, sentMs, endMs = 0, computeMs = 0 }) => {
    const travelled = endMs - sentMs - computeMs;
    return travelled >= 10 ? [(1000 * bytes) / travelled] : [];
  });
  return {
    worker,
    runs,
    lanes: Math.max(1, free.length),
    done: done.length,
    failed: own.filter(({ end }) => end === 'refused' || end === 'lost').length,
    copies: own.filter(({ copy }) => copy === true).length,
    predictedMs: done.reduce((sum, { predictedMs }) => sum + predictedMs, 0),
    computedMs: done.reduce((sum, { computeMs = 0 }) => sum + computeMs, 0),
    link: links.length > 0 ? Math.max(...links) : undefined,
  };
}

/** What the proof was waiting for most, in sentences; nothing while too little is known. */
export function boundSentences(spans: readonly PhaseSpan[], rows: readonly WorkerRow[]): string[] {
  const total = spans.at(-1)?.toMs ?? 0;
  if (total <= 0) return [];
  const longest = spans.reduce((most, span) => (lengthOf(span) > lengthOf(most) ? span : most));
  const share = Math.round((100 * lengthOf(longest)) / total);
  const sentences = [
    `${share} % of the time went into ${longest.phase}: ${REASONS[longest.phase] ?? 'see its log'}.`,
  ];
  const runs = rows.flatMap((row) => row.runs).filter(({ news }) => news.end !== undefined);
  if (runs.length === 0) return sentences;
  const from = Math.min(...runs.map(({ fromMs }) => fromMs));
  const to = Math.max(...runs.map(({ toMs }) => toMs));
  const window = (to - from) * rows.length;
  const computed = rows.reduce((sum, row) => sum + row.computedMs, 0);
  if (window > 0 && computed > 0) {
    const busy = Math.min(100, Math.round((100 * computed) / window));
    const why =
      busy >= 70
        ? 'sums are the bound, so another worker would help'
        : 'they waited for scalars, links or each other, so a further worker would help little';
    sentences.push(`While shards were out the workers computed ${busy} % of the time: ${why}.`);
  }
  const last = runs.reduce((latest, run) => (run.toMs > latest.toMs ? run : latest));
  const others = runs.filter(({ news }) => news.worker !== last.news.worker);
  const before = Math.max(from, ...others.map(({ toMs }) => toMs));
  if (last.news.end === 'done' && others.length > 0 && last.toMs - before > 0.1 * (to - from))
    sentences.push(`At the end all waited for ${last.news.worker}.`);
  return sentences;
}

const lengthOf = ({ fromMs, toMs }: PhaseSpan): number => toMs - fromMs;

const REASONS: Partial<Record<Phase, string>> = {
  queued: 'it waited for a coordinator that is free',
  witnessing: "the coordinator's processor is the bound",
  planning: 'the coordinator looks at the fleet',
  transforming: "the coordinator's processor is the bound",
  dispatching: 'the workers and what reaches them are the bound',
  assembling: "the coordinator's processor is the bound, or it had to find out who computed wrongly",
  verifying: "the coordinator's processor is the bound",
  publishing: 'the store of proofs is the bound',
};
