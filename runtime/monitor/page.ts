/**
 * The page's script: hears the server's events, reduces them with the server's own reducer and shows the model.
 * Everything from outside becomes a text node. It imports the monitor's own modules only and holds no credentials.
 */
import { byId, list, make, setClass, setText } from './elements.ts';
import { jobList } from './jobs.ts';
import type { Actor, Hello, Job } from './model.ts';
import { emptyModel, fromSnapshot, reduce } from './model.ts';
import type { Observation } from './observation.ts';
import { actorKey, actorTable, transitionTable, workerTable } from './tables.ts';
import { type Attention, attention, coordinatorHeard, liveness, summarise } from './view.ts';

let model = emptyModel;
let tickMs = 5_000;
/** the server's clock less the page's; the page never uses its own time of day to show an age */
let offset = 0;
let heardAt = performance.now();
let lost = false;
let greeted = false;

const now = (): number => performance.now() + offset;
const newestFirst = (): readonly Job[] => [...model.jobs.values()].reverse();

const coordinatorAt = (): number => coordinatorHeard(model);

const ended = byId('ended');
const showActors = actorTable(byId('actors'), 'Actors', now, coordinatorAt);
const showEnded = actorTable(ended.querySelector('div')!, 'Ended actors', now, coordinatorAt);
const showWorkers = workerTable(byId('workers'), now, () => newestFirst()[0]);
const showTransitions = transitionTable(byId('transitions'));
const showJobs = jobList(byId('jobs'), now, coordinatorAt);

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
        setText(label, tile.label);
        setText(count, String(tile.count));
        setClass(count, tile.count > 0 ? tile.alarm : '');
      },
    };
  },
);

/** So many are shown; the rest is counted. */
const MOST_SHOWN = 20;
const showAttention = list<Attention>(
  byId('attention'),
  ({ key }) => key,
  () => {
    const what = make('strong');
    const todo = make('span');
    const node = make('li', '', what, ' ', todo);
    return {
      node,
      update(one) {
        setText(what, one.what);
        setText(todo, one.todo);
        setClass(node, one.grave ? 'bad' : 'warn');
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
  const hasEnded = (actor: Actor) => liveness(actor, now(), coordinatorAt()) === 'ended';
  const current = actors.filter((actor) => !hasEnded(actor));
  const gone = actors.filter(hasEnded);
  const workers = current.filter(({ kind }) => kind === 'worker');
  const summary = summarise(model, now());

  showOverview([
    { label: 'Actors alive', count: summary.alive, alarm: '' },
    { label: 'Unknown', count: summary.unknown, alarm: 'bad' },
    { label: 'Jobs running', count: summary.runningJobs, alarm: '' },
    { label: 'Transitions missed', count: summary.missed, alarm: 'warn' },
    { label: 'Messages refused', count: summary.dropped, alarm: 'warn' },
  ]);
  const needed = attention(model, now());
  showAttention(needed.slice(0, MOST_SHOWN));
  const more = needed.length - MOST_SHOWN;
  setText(
    byId('calm'),
    needed.length === 0 ? 'Nothing needs attention.' : more > 0 ? `and ${more} more of the kind` : '',
  );
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
  setText(ended.querySelector('summary')!, `${gone.length} ended`);

  byId('simulated').hidden = !summary.simulated;
  setText(
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
  setText(banner, trouble);
  banner.hidden = trouble === '';
  document.body.classList.toggle('lost', trouble !== '');
  const [word, className] = trouble
    ? ['connection lost, retrying', 'chip failed']
    : greeted
      ? ['live', 'chip up']
      : ['connecting', 'chip waiting'];
  const chip = byId('connection');
  setText(chip, word!);
  setClass(chip, className!);
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
    tickMs = hello.tickMs;
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
