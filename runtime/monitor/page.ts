/**
 * The page's script: hears the server's events, reduces them with the server's own reducer and shows the model.
 * Everything from outside becomes a text node. It imports its own model only and holds no credentials.
 */
import type { Column, Part } from './elements.ts';
import { byId, code, dress, list, make, say, table, text } from './elements.ts';
import type { Actor, Hello, Job, LoggedTransition, Observation } from './model.ts';
import { emptyModel, fromSnapshot, missed, PHASES, reduce } from './model.ts';
import { isSimulated, jobLiveness, liveness, summarise, tone } from './view.ts';

let model = emptyModel;
let simulated = false;
let tickMs = 5_000;
/** the server's clock less the page's; the page never uses its own time of day to tell an age */
let offset = 0;
let heardAt = performance.now();
let lost = false;
let greeted = false;

const now = (): number => performance.now() + offset;

// --- words

function duration(millis: number): string {
  if (millis < 1_000) return `${Math.max(0, Math.round(millis))} ms`;
  if (millis < 10_000) return `${(millis / 1_000).toFixed(1)} s`;
  return coarse(millis);
}

/** To the second, so that a running clock does not flicker. */
function coarse(millis: number): string {
  const seconds = Math.max(0, Math.floor(millis / 1_000));
  if (seconds < 120) return `${seconds} s`;
  const minutes = Math.floor(seconds / 60);
  return minutes < 120 ? `${minutes} min` : `${Math.floor(minutes / 60)} h`;
}

const timeOf = (at: number): string => new Date(at).toLocaleTimeString('en-GB');

const times = (count: number): string => (count === 1 ? 'once' : `${count} times`);

const spaced = (name: string): string => name.replace(/[A-Z]/g, (letter) => ` ${letter.toLowerCase()}`);

/** The counts that are not zero; a name in `Ms` is a time. */
const countsOf = (counts: Actor['counts']): string =>
  Object.entries(counts)
    .filter(([name, count]) => count !== 0 && name !== 'hardware')
    .map(([name, count]) =>
      name.endsWith('Ms') ? `${spaced(name.slice(0, -2))} ${duration(count)}` : `${spaced(name)} ${count}`,
    )
    .join(', ');

// --- tables

const actorKey = ({ kind, id }: { kind: string; id: string }): string => `${kind}/${id}`;

const actorName = (cell: HTMLElement) => {
  const kind = cell.appendChild(make('span', 'kind soft small'));
  cell.append(' ');
  const id = cell.appendChild(make('code'));
  cell.append(' ');
  const badge = cell.appendChild(make('span', 'badge', 'SIMULATED'));
  return (actor: Actor): void => {
    say(kind, actor.kind);
    say(id, actor.id);
    badge.hidden = !(isSimulated(actor) || (simulated && actor.kind === 'enclave'));
  };
};

const actorState = (cell: HTMLElement) => {
  const chip = cell.appendChild(make('span'));
  return (actor: Actor): void => {
    const unknown = liveness(actor, now()) === 'unknown';
    say(chip, unknown ? `unknown, was ${actor.state}` : actor.state);
    dress(chip, `chip ${unknown ? 'unknown' : tone(actor.state)}`);
  };
};

const actorNotes = (cell: HTMLElement) => {
  const trouble = cell.appendChild(make('span', 'warn'));
  const counts = cell.appendChild(make('span', 'soft'));
  return (actor: Actor): void => {
    const said = countsOf(actor.counts);
    const troubles = troublesOf(actor);
    cell.title = `boot ${actor.boot}`;
    say(trouble, troubles + (troubles && said ? '; ' : ''));
    say(counts, said);
  };
};

function troublesOf(actor: Actor): string {
  const restarts = actor.restarts > 0 ? `restarted ${times(actor.restarts)}` : '';
  const gaps = missed(actor) > 0 ? `${missed(actor)} transitions missed` : '';
  return [restarts, gaps].filter(Boolean).join(', ');
}

const actorColumns: Column<Actor>[] = [
  { title: 'Actor', cell: actorName },
  { title: 'State', cell: actorState },
  { title: 'Since', className: 'nowrap spare', cell: text((actor) => coarse(now() - actor.since)) },
  { title: 'Heard', className: 'nowrap', cell: text((actor) => `${coarse(now() - actor.heardAt)} ago`) },
  { title: 'Notes', className: 'small spare', cell: actorNotes },
];

const showActors = table(byId('actors'), 'Actors', actorKey, actorColumns);
const ended = byId('ended');
const showEnded = table(ended.querySelector('div')!, 'Ended actors', actorKey, actorColumns);

const showWorkers = table<Actor>(byId('workers'), 'Workers', actorKey, [
  { title: 'Worker', cell: code((actor) => actor.id) },
  { title: 'State', className: 'spare', cell: actorState },
  { title: 'Class', cell: text((actor) => actor.worker?.class ?? 'not told') },
  { title: 'Engine', className: 'nowrap', cell: text((actor) => actor.worker?.engine ?? 'not told') },
  { title: 'Credit', className: 'number', cell: text((actor) => String(actor.worker?.credit ?? '')) },
  {
    title: 'Chunks held',
    className: 'number spare',
    cell: text((actor) => String(actor.worker?.resident ?? '')),
  },
  { title: 'Shards', className: 'number spare', cell: text((actor) => shardsOf(actor.id)) },
]);

function shardsOf(worker: string): string {
  const share = newestFirst()[0]?.workers.find(({ id }) => id === worker);
  return share ? `${share.done} of ${share.assigned}` : '0';
}

const transitionActor = (cell: HTMLElement) => {
  const kind = cell.appendChild(make('span', 'kind soft'));
  cell.append(' ');
  const id = cell.appendChild(make('code'));
  return (transition: LoggedTransition): void => {
    say(kind, transition.kind);
    say(id, transition.id);
  };
};

const showTransitions = table<LoggedTransition>(
  byId('transitions'),
  'Transitions, newest first',
  ({ kind, id, boot, seq }) => `${kind}/${id}/${boot}/${seq}`,
  [
    { title: 'Time', className: 'nowrap small', cell: text(({ at }) => timeOf(at)) },
    { title: 'Actor', className: 'small', cell: transitionActor },
    {
      title: 'Change',
      className: 'small',
      cell: (cell) => {
        const from = cell.appendChild(make('span', 'soft'));
        const to = cell.appendChild(make('strong'));
        const event = cell.appendChild(make('span', 'soft'));
        return (transition) => {
          say(from, transition.from === null ? '' : `${transition.from} \u2192 `);
          say(to, transition.to);
          say(event, `, ${transition.event}`);
        };
      },
    },
  ],
);

// --- jobs

const newestFirst = (): readonly Job[] => [...model.jobs.values()].reverse();

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
          say(label, bar.label);
          say(note, bar.note);
          dress(node, bar.mark);
          progress.setAttribute('aria-label', `${what} ${bar.label}`);
          if (bar.value === null) progress.removeAttribute('value');
          else progress.value = bar.value;
        },
      };
    },
  );
}

/** The phases of a proof that take time, with what is known of each. */
function phaseBars(job: Job): Bar[] {
  const phases = PHASES.slice(0, -2);
  const failed = job.phase === 'failed';
  // A failed job's times are of its finished phases, so the first without one is where it stopped.
  const current = phases.findIndex((phase) =>
    failed ? job.phases[phase] === undefined : phase === job.phase,
  );
  return phases.map((phase, index) => {
    const base = { key: phase, label: phase };
    if (index === current && failed) return { ...base, note: 'failed', value: 0, mark: 'failed' };
    if (index === current) return { ...base, ...running(job), mark: 'running' };
    if (index > current && job.phase !== 'published') return { ...base, note: '', value: 0, mark: 'pending' };
    const millis = job.phases[phase];
    return { ...base, note: millis === undefined ? 'done' : duration(millis), value: 1, mark: 'done' };
  });
}

function running(job: Job): Pick<Bar, 'note' | 'value'> {
  const spent = coarse(now() - job.phaseSince);
  if (job.total === 0) return { note: spent, value: null };
  return { note: `${job.done} of ${job.total}, ${spent}`, value: job.done / job.total };
}

const workerBars = (job: Job): Bar[] =>
  job.workers.map(({ id, assigned, done }) => ({
    key: id,
    label: id,
    note: `${done} of ${assigned}`,
    value: assigned > 0 ? done / assigned : 0,
    mark: assigned > 0 && done === assigned ? 'done' : 'running',
  }));

function jobPart(): Part<Job> {
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
      const state = jobLiveness(job, now());
      if (!opened) node.open = state !== 'ended' || job === newestFirst()[0];
      opened = true;
      const spent = Object.values(job.phases).reduce((sum, millis) => sum + millis, 0);
      say(id, job.id);
      const said = job.error ? `${job.phase}: ${job.error.code}` : job.phase;
      const silent = `silent for ${coarse(now() - job.heardAt)}, was ${job.phase}`;
      say(chip, state === 'unknown' ? silent : said);
      dress(chip, `chip ${state === 'unknown' ? 'unknown' : tone(job.phase)}`);
      say(attempt, job.attempt > 1 ? `attempt ${job.attempt}` : '');
      say(elapsed, state === 'ended' ? duration(spent) : coarse(spent + now() - job.phaseSince));
      showPhases(phaseBars(job));
      showShares(workerBars(job));
      title.hidden = job.workers.length === 0;
      failure.hidden = job.error === null;
      say(failure, job.error?.message ?? '');
    },
  };
}

const showJobs = list<Job>(byId('jobs'), ({ id }) => id, jobPart);

// --- the whole

interface Tile {
  readonly label: string;
  readonly count: number;
  readonly alarm: '' | 'bad' | 'warn';
}

const showOverview = list<Tile>(
  byId('overview'),
  ({ label }) => label,
  () => {
    const label = make('dt');
    const count = make('dd');
    return {
      node: make('div', '', label, count),
      update(tile) {
        say(label, tile.label);
        say(count, String(tile.count));
        dress(count, tile.count > 0 ? tile.alarm : '');
      },
    };
  },
);

const byName = (a: Actor, b: Actor): number => (actorKey(a) < actorKey(b) ? -1 : 1);

function either(full: boolean, content: string, empty: string): void {
  byId(content).hidden = !full;
  byId(empty).hidden = full;
}

function render(): void {
  const actors = [...model.actors.values()].sort(byName);
  const current = actors.filter((actor) => liveness(actor, now()) !== 'ended');
  const gone = actors.filter((actor) => liveness(actor, now()) === 'ended');
  const workers = current.filter(({ kind }) => kind === 'worker');
  const summary = summarise(model, now());

  showOverview([
    { label: 'Actors alive', count: summary.alive, alarm: '' },
    { label: 'Unknown', count: summary.unknown, alarm: 'bad' },
    { label: 'Jobs running', count: summary.runningJobs, alarm: '' },
    { label: 'Transitions missed', count: summary.missed, alarm: 'warn' },
    { label: 'Messages refused', count: summary.dropped, alarm: 'warn' },
  ]);
  showJobs(newestFirst());
  showActors(current);
  showEnded(gone);
  showWorkers(workers);
  showTransitions([...model.transitions].reverse());
  either(model.jobs.size > 0, 'jobs', 'no-jobs');
  either(actors.length > 0, 'actors', 'no-actors');
  either(workers.length > 0, 'workers', 'no-workers');
  either(model.transitions.length > 0, 'transitions', 'no-transitions');
  ended.hidden = gone.length === 0;
  say(ended.querySelector('summary')!, `${gone.length} ended`);

  byId('simulated').hidden = !(simulated || summary.simulated);
  say(
    byId('announcement'),
    `${summary.alive} actors alive, ${summary.unknown} unknown, ${summary.runningJobs} jobs running`,
  );
  showConnection();
}

function showConnection(): void {
  const trouble = lost
    ? 'Connection to the monitor lost, retrying. What follows is old.'
    : model.connected
      ? ''
      : 'The monitor lost NATS and is retrying. What follows is old.';
  const banner = byId('lost');
  say(banner, trouble);
  banner.hidden = trouble === '';
  document.body.classList.toggle('lost', trouble !== '');
  const [word, className] = trouble
    ? ['connection lost, retrying', 'chip bad']
    : greeted
      ? ['live', 'chip good']
      : ['connecting', 'chip quiet'];
  const chip = byId('connection');
  say(chip, word!);
  dress(chip, className!);
}

let scheduled = false;

function schedule(): void {
  if (scheduled) return;
  scheduled = true;
  requestAnimationFrame(() => {
    scheduled = false;
    render();
  });
}

// --- events

const RETRY_MS = 2_000;

function connect(): void {
  const source = new EventSource('/events');
  const on = <T>(event: string, take: (data: T) => void): void => {
    source.addEventListener(event, ({ data }: MessageEvent<string>) => {
      heardAt = performance.now();
      lost = false;
      take(JSON.parse(data) as T);
      schedule();
    });
  };
  on<Hello>('hello', (hello) => {
    greeted = true;
    offset = hello.now - performance.now();
    ({ simulated, tickMs } = hello);
    model = fromSnapshot(hello.snapshot);
  });
  on<readonly Observation[]>('observations', (observations) => {
    model = reduce(model, observations);
  });
  on<number>('tick', (serverNow) => {
    offset = serverNow - performance.now();
  });

  // The browser's own retry stops at any HTTP error, and never starts while a dead peer is merely silent.
  const watchdog = setInterval(() => {
    if (source.readyState !== EventSource.CLOSED && performance.now() - heardAt < 3 * tickMs) return;
    again();
  }, 1_000);
  const again = (): void => {
    clearInterval(watchdog);
    source.close();
    lost = true;
    heardAt = performance.now();
    schedule();
    setTimeout(connect, RETRY_MS);
  };
  source.addEventListener('error', () => {
    lost = true;
    schedule();
  });
}

// Ages grow while nothing is heard.
setInterval(schedule, 1_000);
connect();
