/**
 * The page's script: hears the server's events, reduces them with the server's own reducer and shows the model, a page for each
 * hash. Everything from outside becomes a text node. It holds no credentials, and calls no other server.
 */
import { type ComponentChild, h, render } from 'preact';
import { ACTOR_KINDS } from '../../protocols/subjects.ts';
import type { Hello } from './model.ts';
import { emptyModel, fromSnapshot, reduce } from './model.ts';
import type { Observation } from './observation.ts';
import { ActorPage } from './pages/actor.ts';
import { EvidencePage } from './pages/evidence.ts';
import { FleetPage } from './pages/fleet.ts';
import { ModelsPage } from './pages/models.ts';
import { Overview, Proofs } from './pages/overview.ts';
import type { Seen } from './pages/parts.ts';
import { ProofPage } from './pages/proof.ts';
import { ReceiptsPage } from './pages/receipts.ts';
import { coordinatorHeard, summarise } from './view.ts';

let model = emptyModel;
let tickMs = 5_000;
/** the server's clock less the page's; the page never uses its own time of day to show an age */
let offset = 0;
let heardAt = performance.now();
let lost = false;
let greeted = false;

/** Between two frames; what is heard meanwhile is shown together. */
const FRAME_MS = 200;

const PLACES = [
  ['', 'Overview'],
  ['proofs', 'Proofs'],
  ['fleet', 'Fleet'],
  ['models', 'Models'],
  ['evidence', 'Evidence'],
  ['receipts', 'Receipts'],
] as const;

interface Place {
  /** which entry of the navigation it belongs to */
  readonly under: (typeof PLACES)[number][0] | undefined;
  readonly title: string;
  readonly content: (seen: Seen) => ComponentChild;
}

const TOKEN = /^[A-Za-z0-9_-]{1,64}$/;

/** What a hash stands for. Whoever made the link may have written anything. */
function placeOf(hash: string): Place {
  const [name = '', first = '', second = ''] = hash.replace(/^#\/?/, '').split('/');
  const kind = ACTOR_KINDS.find((known) => known === first);
  if (name === '') return { under: '', title: 'Overview', content: (seen) => h(Overview, { seen }) };
  if (name === 'proofs') return { under: 'proofs', title: 'Proofs', content: (seen) => listOfProofs(seen) };
  if (name === 'proof' && TOKEN.test(first))
    return {
      under: 'proofs',
      title: 'Proof',
      content: (seen) => h(ProofPage, { key: first, seen, id: first }),
    };
  if (name === 'actor' && kind && TOKEN.test(second))
    return {
      under: '',
      title: `${kind} ${second}`,
      content: (seen) => h(ActorPage, { key: `${kind}/${second}`, seen, kind, id: second }),
    };
  if (name === 'fleet') return { under: 'fleet', title: 'Fleet', content: (seen) => h(FleetPage, { seen }) };
  if (name === 'models')
    return { under: 'models', title: 'Models', content: (seen) => h(ModelsPage, { seen }) };
  if (name === 'evidence')
    return { under: 'evidence', title: 'Evidence', content: (seen) => h(EvidencePage, { seen }) };
  if (name === 'receipts')
    return { under: 'receipts', title: 'Receipts', content: () => h(ReceiptsPage, {}) };
  return {
    under: undefined,
    title: 'No such page',
    content: () =>
      h(
        'div',
        { class: 'page' },
        h('h2', { id: 'title', tabIndex: -1 }, 'No such page'),
        h('p', {}, h('a', { href: '#/' }, 'To the overview')),
      ),
  };
}

const listOfProofs = (seen: Seen): ComponentChild =>
  h(
    'div',
    { class: 'page' },
    h('h2', { id: 'title', tabIndex: -1 }, 'Proofs'),
    h('section', { class: 'card', 'aria-label': 'Proof jobs' }, h(Proofs, { seen, most: 50 })),
  );

function App({ seen, place }: { seen: Seen; place: Place }): ComponentChild {
  const summary = summarise(seen.model, seen.now);
  return h(
    'div',
    { class: trouble() ? 'lost' : '' },
    h(
      'header',
      {},
      h('h1', {}, h('img', { src: '/icon.svg', alt: '', width: 24, height: 24 }), ' Vouch monitor'),
      h(
        'nav',
        { 'aria-label': 'Pages' },
        PLACES.map(([name, label]) =>
          h(
            'a',
            { key: name, href: `#/${name}`, 'aria-current': place.under === name ? 'page' : undefined },
            label,
          ),
        ),
      ),
      connectionChip(),
    ),
    h(
      'div',
      { role: 'region', 'aria-label': 'Warnings' },
      summary.simulated
        ? h(
            'p',
            { id: 'simulated', class: 'banner simulated' },
            h('strong', {}, 'SIMULATED'),
            ' No hardware vouches for the actors that are marked so: their evidence comes from a simulated root key, or has not been accepted yet.',
          )
        : null,
      trouble() ? h('p', { id: 'lost', class: 'banner bad', role: 'alert' }, trouble()) : null,
    ),
    h('main', {}, place.content(seen)),
  );
}

const trouble = (): string =>
  lost
    ? 'Connection to the monitor lost, retrying. What follows is old.'
    : greeted && !model.connected
      ? 'The monitor lost NATS and is retrying. What follows is old.'
      : '';

function connectionChip(): ComponentChild {
  const [word, className] = trouble()
    ? ['connection lost, retrying', 'failed']
    : greeted
      ? ['live', 'up']
      : ['connecting', 'waiting'];
  return h('p', { id: 'connection', class: `chip ${className}`, role: 'status' }, word);
}

const root = document.getElementById('monitor')!;
let place = placeOf(location.hash);

function show(): void {
  const now = performance.now() + offset;
  const seen: Seen = { model, now, coordinatorAt: coordinatorHeard(model) };
  render(h(App, { seen, place }), root);
}

function turn(): void {
  place = placeOf(location.hash);
  document.title = `${place.title} · Vouch monitor`;
  show();
  // Whoever listens to the page hears that it is another one now.
  document.getElementById('title')?.focus({ preventScroll: true });
  scrollTo(0, 0);
}

let scheduled = false;
let shownAt = Number.NEGATIVE_INFINITY;

function schedule(): void {
  if (scheduled) return;
  scheduled = true;
  setTimeout(
    () =>
      requestAnimationFrame(() => {
        scheduled = false;
        shownAt = performance.now();
        show();
      }),
    Math.max(0, shownAt + FRAME_MS - performance.now()),
  );
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

addEventListener('hashchange', turn);
// Ages grow while nothing is heard.
setInterval(schedule, 1_000);
document.title = `${place.title} · Vouch monitor`;
show();
connect();
