/** The first page: what needs attention, how much is done, and who is there on which host. */
import { type ComponentChild, h } from 'preact';
import { useMemo } from 'preact/hooks';
import { ACTOR_KINDS } from '../../../protocols/subjects.ts';
import { type Actor, type Job, missed } from '../model.ts';
import { type Counted, lineOf, type Minute, totalOf } from '../series.ts';
import { isEnd, meaningOf } from '../states.ts';
import { attention, isSimulated, jobLiveness, liveness, partOf, summarise } from '../view.ts';
import { byName, coarse, countsText, dayTime, duration, times } from '../words.ts';
import { Chart } from './chart.ts';
import {
  actorHref,
  card,
  chip,
  empty,
  Kept,
  proofHref,
  row,
  type Seen,
  short,
  stateChip,
  table,
} from './parts.ts';

/** So many are shown; the rest is counted. */
const MOST_SENTENCES = 20;
const MOST_TRANSITIONS = 12;
const MOST_HOSTS = 400;

export function Overview({ seen }: { seen: Seen }): ComponentChild {
  const { model, now } = seen;
  const summary = summarise(model, now);
  const tiles: readonly (readonly [label: string, count: number, alarm: string])[] = [
    ['Actors alive', summary.alive, ''],
    ['Unknown', summary.unknown, 'bad'],
    ['Proofs running', summary.runningJobs, ''],
    ['Transitions missed', summary.missed, 'warn'],
    ['Messages refused', summary.dropped, 'warn'],
  ];
  return h(
    'div',
    { class: 'page' },
    h('h2', { class: 'unseen', id: 'title', tabIndex: -1 }, 'Overview'),
    h(
      'dl',
      { id: 'overview' },
      tiles.map(([label, count, alarm]) =>
        h('div', { key: label }, h('dt', {}, label), h('dd', { class: count > 0 ? alarm : '' }, count)),
      ),
    ),
    h(Sentences, { seen }),
    h(
      'p',
      { class: 'unseen', role: 'status', 'aria-live': 'polite', id: 'announcement' },
      `${summary.alive} actors alive, ${summary.unknown} unknown, ${summary.runningJobs} proofs running`,
    ),
    h(Day, { minutes: model.minutes, minute: Math.floor(now / 60_000) }),
    card('Proofs', h(Proofs, { seen, most: 5 })),
    card('Hosts and their actors', h(Hosts, { seen })),
    card('Latest transitions', h(Transitions, { seen })),
  );
}

function Sentences({ seen: { model, now } }: { seen: Seen }): ComponentChild {
  const needed = attention(model, now);
  const more = needed.length - MOST_SENTENCES;
  return h(
    'div',
    {},
    h(
      'ul',
      { id: 'attention', 'aria-label': 'Needs attention' },
      needed
        .slice(0, MOST_SENTENCES)
        .map(({ key, grave, what, todo }) =>
          h('li', { key, class: grave ? 'bad' : 'warn' }, h('strong', {}, what), ' ', h('span', {}, todo)),
        ),
    ),
    h(
      'p',
      { id: 'calm', class: 'soft' },
      needed.length === 0 ? 'Nothing needs attention.' : more > 0 ? `and ${more} more of the kind` : '',
    ),
  );
}

const CHARTS: readonly (readonly [name: Counted, title: string, by: Parameters<typeof lineOf>[2]])[] = [
  ['inferences', 'Inferences a second', { per: 60 }],
  ['proofs', 'Proofs an hour', { per: 1 / 60, window: 60 }],
  ['points', 'Points a second', { per: 60 }],
];

/** `minute`: of now, so that the day moves on. */
function Day({ minutes, minute }: { minutes: readonly Minute[]; minute: number }): ComponentChild {
  // While a minute fills, the chart need not follow every count of it.
  const drawn = useMemo(() => minutes, [minute, minutes.length, minutes.at(-1)?.proofs]);
  const lines = useMemo(() => CHARTS.map(([name, , by]) => lineOf(drawn, name, by)), [drawn]);
  return h(
    'section',
    { class: 'card', 'aria-label': 'The last day' },
    h('h2', {}, 'The last day'),
    h(
      'div',
      { class: 'charts' },
      CHARTS.map(([name, title], index) =>
        h(Chart, { key: name, title, line: lines[index]!, until: (minute + 1) * 60 }),
      ),
    ),
    h(
      'details',
      {},
      h('summary', {}, 'Hour by hour, with errors'),
      h(Kept, { by: [drawn], content: () => hours(drawn) }),
    ),
  );
}

const HOURS = [
  { title: 'Hour' },
  { title: 'Inferences', className: 'number' },
  { title: 'Proofs', className: 'number' },
  { title: 'Points', className: 'number' },
  { title: 'Errors', className: 'number' },
];

function hours(minutes: readonly Minute[]): ComponentChild {
  const by = new Map<number, Minute[]>();
  for (const minute of minutes) {
    const hour = Math.floor(minute.minute / 60);
    by.set(hour, [...(by.get(hour) ?? []), minute]);
  }
  return table(
    'Counts by hour, newest first',
    HOURS,
    [...by]
      .reverse()
      .map(([hour, own]) =>
        row(String(hour), HOURS, [
          dayTime(hour * 3_600_000),
          short(totalOf(own, 'inferences')),
          short(totalOf(own, 'proofs')),
          short(totalOf(own, 'points')),
          short(totalOf(own, 'errors')),
        ]),
      ),
  );
}

const newestFirst = (jobs: Iterable<Job>): Job[] => [...jobs].sort((a, b) => b.phaseSince - a.phaseSince);

const PROOFS = [
  { title: 'Job' },
  { title: 'Phase' },
  { title: 'Shards', className: 'number' },
  { title: 'Time', className: 'number' },
];

/** Proof jobs, newest first. */
export function Proofs({ seen, most }: { seen: Seen; most: number }): ComponentChild {
  const jobs = newestFirst(seen.model.jobs.values());
  if (jobs.length === 0)
    return empty('No proof was asked for yet. ', h('code', {}, 'vouch prove MODEL'), ' asks for one.');
  const rows = jobs.slice(0, most).map((job) => {
    const alive = jobLiveness(job, seen.now, seen.coordinatorAt);
    const spent = Object.values(job.phases).reduce((sum, millis) => sum + millis, 0);
    const running = alive !== 'ended';
    return row(job.id, PROOFS, [
      h('a', { href: proofHref(job.id) }, h('code', {}, shortId(job.id))),
      [
        jobChip(job, seen),
        job.attempt > 1 ? h('span', { class: 'small' }, ` attempt ${job.attempt}`) : null,
        job.error ? h('p', { class: 'failure small' }, job.error.message) : null,
      ],
      [
        running && job.total > 0
          ? h('progress', { value: partOf(job.done, job) ?? 0, 'aria-label': `shards of ${shortId(job.id)}` })
          : null,
        job.total > 0 ? ` ${job.done} of ${job.total}` : '',
      ],
      running ? coarse(spent + seen.now - job.phaseSince) : duration(spent),
    ]);
  });
  return h(
    'div',
    {},
    table('Proof jobs, newest first', PROOFS, rows, 'jobs'),
    jobs.length > most ? h('p', {}, h('a', { href: '#/proofs' }, `all ${jobs.length} proofs`)) : null,
  );
}

/** Ids of jobs are digests; their beginning tells them apart. */
export const shortId = (id: string): string => (id.length > 24 ? `${id.slice(0, 16)}…` : id);

export function jobChip(job: Job, { now, coordinatorAt }: Seen): ComponentChild {
  const alive = jobLiveness(job, now, coordinatorAt);
  if (alive === 'unknown')
    return chip('unknown', `silent for ${coarse(now - job.heardAt)}, was ${job.phase}`);
  if (alive === 'ended' && !isEnd('proof-job', job.phase)) return chip('stopped', 'over, nobody heard how');
  return chip(meaningOf('proof-job', job.phase), job.error ? `${job.phase}: ${job.error.code}` : job.phase);
}

const HOSTS = [{ title: 'Host' }, { title: 'Actors' }, { title: 'Heard', className: 'nowrap spare' }];

/** All roles of one process have its id, so that is what a host is here. */
function Hosts({ seen }: { seen: Seen }): ComponentChild {
  const alive = (actor: Actor) => liveness(actor, seen.now, seen.coordinatorAt);
  const hosts = new Map<string, Actor[]>();
  let ended = 0;
  for (const actor of seen.model.actors.values()) {
    if (actor.kind === 'proof-job') continue;
    if (alive(actor) === 'ended') ended += 1;
    else hosts.set(actor.id, [...(hosts.get(actor.id) ?? []), actor]);
  }
  if (hosts.size === 0)
    return empty('No actor was heard yet. ', h('code', {}, 'npm start'), ' brings up one of each kind.');
  const order = [...hosts].sort(([a, own], [b, others]) => others.length - own.length || byName(a, b));
  const rows = order.slice(0, MOST_HOSTS).map(([id, actors]) => {
    const unknown = actors.map((actor) => alive(actor) === 'unknown');
    const heard = coarse(seen.now - Math.max(...actors.map(({ heardAt }) => heardAt)));
    const by = [
      id,
      heard,
      ...unknown,
      ...actors.flatMap((actor) => [actor.state, actor.failure, actor.counts, actor.restarts]),
    ];
    return h(Kept, { key: id, by, content: () => hostRow(id, actors, unknown, heard) });
  });
  return h(
    'div',
    {},
    table('Hosts and their actors', HOSTS, rows, 'actors'),
    order.length > MOST_HOSTS
      ? h('p', { class: 'soft' }, `and ${order.length - MOST_HOSTS} more hosts`)
      : null,
    ended > 0 ? h('p', { class: 'soft' }, `${ended} actors have ended`) : null,
  );
}

const byKind = (a: Actor, b: Actor): number => ACTOR_KINDS.indexOf(a.kind) - ACTOR_KINDS.indexOf(b.kind);

function hostRow(
  id: string,
  actors: readonly Actor[],
  unknown: readonly boolean[],
  heard: string,
): ComponentChild {
  return row(id, HOSTS, [
    h('code', {}, id),
    h(
      'ul',
      { class: 'actors' },
      actors.toSorted(byKind).map((actor) => actorItem(actor, unknown[actors.indexOf(actor)]!)),
    ),
    `${heard} ago`,
  ]);
}

function actorItem(actor: Actor, unknown: boolean): ComponentChild {
  const { kind, failure } = actor;
  const gaps = missed(actor) > 0 ? `${missed(actor)} transitions missed` : '';
  const restarts = actor.restarts > 0 ? `restarted ${times(actor.restarts)}` : '';
  const notes = [restarts, gaps, countsText(actor.counts)].filter(Boolean).join(', ');
  return h(
    'li',
    { key: kind, 'data-actor': kind },
    h('a', { href: actorHref(actor) }, kind),
    ' ',
    stateChip(actor, unknown ? 'unknown' : 'alive'),
    isSimulated(actor) ? h('span', { class: 'badge' }, 'SIMULATED') : null,
    h('span', { class: 'soft small spare' }, ` ${notes}`),
    failure
      ? h(
          'p',
          { class: 'failure small' },
          failure.message,
          ' ',
          h('code', {}, `${failure.code} ${failure.errorId}`),
        )
      : null,
  );
}

const TRANSITIONS = [{ title: 'Time', className: 'nowrap' }, { title: 'Actor' }, { title: 'Change' }];

function Transitions({ seen: { model } }: { seen: Seen }): ComponentChild {
  if (model.transitions.length === 0) return empty('Nothing has changed its state yet.');
  const latest = model.transitions.slice(-MOST_TRANSITIONS).reverse();
  return table(
    'Transitions, newest first',
    TRANSITIONS,
    latest.map((one) => {
      const { at, kind, id, boot, seq, from, to, event } = one;
      const key = `${kind}/${id}/${boot}/${seq}`;
      return h(Kept, {
        key,
        by: [],
        content: () =>
          row(
            key,
            TRANSITIONS,
            [
              dayTime(at),
              h('a', { href: actorHref(one) }, `${kind} ${id}`),
              [
                from === null ? '' : h('span', { class: 'soft' }, `${from} → `),
                h('strong', {}, to),
                h('span', { class: 'soft' }, `, ${event}`),
              ],
            ],
            'small',
          ),
      });
    }),
    'transitions',
  );
}
