/**
 * The page's proof jobs: how far each phase is, and how the shards of the plan are spread over the workers.
 * Everything from outside becomes a text node.
 */
import type { Part } from './elements.ts';
import { list, make, setClass, setText } from './elements.ts';
import type { Job } from './model.ts';
import { PHASES } from './model.ts';
import { isEnd, meaningOf } from './states.ts';
import { jobLiveness, partOf, shareText } from './view.ts';
import { coarse, duration } from './words.ts';

type Clock = () => number;

/** Shows jobs; the first one is unfolded. `now`: the server's clock. `coordinatorAt`: when one was heard last. */
export function jobList(parent: HTMLElement, now: Clock, coordinatorAt: Clock) {
  let newest: Job | undefined;
  const show = list<Job>(
    parent,
    ({ id }) => id,
    () => jobPart(now, coordinatorAt, (job) => job === newest),
  );
  return (jobs: readonly Job[]): void => {
    newest = jobs[0];
    show(jobs);
  };
}

function jobPart(now: Clock, coordinatorAt: Clock, isNewest: (job: Job) => boolean): Part<Job> {
  const id = make('code');
  const chip = make('span');
  const attempt = make('span', 'warn small');
  const elapsed = make('time', 'soft');
  const phases = make('ol', 'bars');
  const workers = make('ul', 'bars');
  const title = make('h3', '', 'Shards by worker');
  const failure = make('p', 'failure');
  const summary = make('summary', '', id, chip, attempt, elapsed);
  const node = make('details', 'job', summary, phases, title, workers, failure);
  let opened = false;
  const showPhases = bars(phases, 'phase');
  const showShares = bars(workers, 'shards of');
  return {
    node,
    update(job) {
      const alive = jobLiveness(job, now(), coordinatorAt());
      if (!opened) node.open = alive !== 'ended' || isNewest(job);
      opened = true;
      const spent = Object.values(job.phases).reduce((sum, millis) => sum + millis, 0);
      const outcome = job.error ? `${job.phase}: ${job.error.code}` : job.phase;
      const silence = `silent for ${coarse(now() - job.heardAt)}, was ${job.phase}`;
      setText(id, job.id);
      const unheard = alive === 'ended' && !isEnd('proof-job', job.phase);
      setText(chip, alive === 'unknown' ? silence : unheard ? 'over, nobody heard how' : outcome);
      setClass(
        chip,
        `chip ${alive === 'unknown' ? 'unknown' : unheard ? 'stopped' : meaningOf('proof-job', job.phase)}`,
      );
      setText(attempt, job.attempt > 1 ? `attempt ${job.attempt}` : '');
      setText(elapsed, alive === 'ended' ? duration(spent) : coarse(spent + now() - job.phaseSince));
      showPhases(phaseBars(job, now()));
      showShares(workerBars(job));
      title.hidden = job.workers.length === 0;
      failure.hidden = job.error === null;
      setText(failure, job.error?.message ?? '');
    },
  };
}

interface Bar {
  readonly key: string;
  readonly label: string;
  readonly note: string;
  /** 0 to 1; null = under way, nobody says how far */
  readonly value: number | null;
  readonly mark: 'done' | 'running' | 'pending' | 'failed';
}

function bars(parent: HTMLElement, what: string) {
  return list<Bar>(
    parent,
    ({ key }) => key,
    () => {
      const label = make('span');
      const note = make('span');
      const progress = make('progress');
      const node = make('li', '', label, note, progress);
      return {
        node,
        update(bar) {
          setText(label, bar.label);
          setText(note, bar.note);
          setClass(node, bar.mark);
          progress.setAttribute('aria-label', `${what} ${bar.label}`);
          if (bar.value === null) progress.removeAttribute('value');
          else progress.value = bar.value;
        },
      };
    },
  );
}

/** The phases of a proof that take time, with what is known of each. */
function phaseBars(job: Job, now: number): Bar[] {
  const phases = PHASES.slice(0, -2);
  const failed = job.phase === 'failed';
  // A failed job's times are of its finished phases, so the first without one is where it stopped.
  const current = phases.findIndex((phase) =>
    failed ? job.phases[phase] === undefined : phase === job.phase,
  );
  return phases.map((phase, index) => {
    const base = { key: phase, label: phase };
    if (index === current && failed) return { ...base, note: 'failed', value: 0, mark: 'failed' };
    if (index === current) return { ...base, ...running(job, now), mark: 'running' };
    if (index > current && job.phase !== 'published') return { ...base, note: '', value: 0, mark: 'pending' };
    const millis = job.phases[phase];
    return { ...base, note: millis === undefined ? 'done' : duration(millis), value: 1, mark: 'done' };
  });
}

/** Of the phases only dispatching is counted in shards. */
function running(job: Job, now: number): Pick<Bar, 'note' | 'value'> {
  const spent = coarse(now - job.phaseSince);
  const value = job.phase === 'dispatching' ? partOf(job.done, job) : null;
  return { note: value === null ? spent : `${job.done} of ${job.total}, ${spent}`, value };
}

const workerBars = (job: Job): Bar[] =>
  job.workers.map((share) => ({
    key: share.id,
    label: share.id,
    note: shareText(share, job),
    value: partOf(share.done, job),
    mark: job.total > 0 && job.done === job.total ? 'done' : 'running',
  }));
