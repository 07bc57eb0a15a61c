/** The nodes of the fleet: what each says that it offers, what it did in the latest proofs, and what one more would bring. */
import { type ComponentChild, h } from 'preact';
import { useState } from 'preact/hooks';
import { useAnswer } from '../asking.ts';
import { type Planned, plan } from '../judging.ts';
import type { Conviction } from '../look-ups.ts';
import type { Actor, Model } from '../model.ts';
import { phaseSpans, planOpenedMs, workerRows } from '../timeline.ts';
import { isSimulated, liveness } from '../view.ts';
import { byName, dayTime, duration, gpuUseText } from '../words.ts';
import {
  actorHref,
  card,
  commandWith,
  empty,
  Kept,
  row,
  type Seen,
  short,
  stateChip,
  table,
} from './parts.ts';

const MOST_ROWS = 512;

export function FleetPage({ seen }: { seen: Seen }): ComponentChild {
  const workers = [...seen.model.actors.values()]
    .filter(({ kind }) => kind === 'worker')
    .filter((actor) => liveness(actor, seen.now, seen.coordinatorAt) !== 'ended')
    .sort((a, b) => byName(a.id, b.id));
  // Convictions are looked up by name, so again when the names change, and every half minute.
  const names = `${workers.map(({ id }) => id).join()} ${Math.floor(seen.now / 30_000)}`;
  const convicted = useAnswer<readonly Conviction[]>('/convictions.json', names);
  const convictions = new Map((convicted.answer ?? []).map((one) => [one.worker, one]));
  return h(
    'div',
    { class: 'page' },
    h('h2', { id: 'title', tabIndex: -1 }, 'Fleet'),
    card(
      'Nodes',
      workers.length === 0
        ? empty('No worker was heard yet. ', h('code', {}, 'vouch start worker'), ' adds this machine.')
        : nodes(seen, workers, convictions),
      convicted.error ? h('p', { class: 'soft' }, `Convictions are not known: ${convicted.error}`) : null,
    ),
    convictions.size > 0 ? card('Convictions', convictionTable([...convictions.values()])) : null,
    card('A further node', h(Further, { workers, links: linksOf(seen.model) })),
  );
}

const NODES = [
  { title: 'Node' },
  { title: 'State' },
  { title: 'Class' },
  { title: 'Engine' },
  { title: 'G1', className: 'number' },
  { title: 'G2', className: 'number' },
  { title: 'Link', className: 'number' },
  { title: 'Keys held', className: 'number' },
  { title: 'Credit', className: 'number' },
  { title: 'Shards', className: 'number' },
];

function nodes(
  seen: Seen,
  workers: readonly Actor[],
  convictions: ReadonlyMap<string, Conviction>,
): ComponentChild {
  const links = linksOf(seen.model);
  const rows = workers.slice(0, MOST_ROWS).map((actor) => {
    const alive = liveness(actor, seen.now, seen.coordinatorAt);
    const link = links.get(actor.id);
    const convicted = convictions.has(actor.id);
    const by = [actor.state, alive, actor.worker, actor.counts, actor.failure, link, convicted];
    return h(Kept, {
      key: actor.id,
      by,
      content: () => nodeRow(actor, alive, link, convicted),
    });
  });
  return h(
    'div',
    {},
    table('Nodes of the fleet', NODES, rows, 'nodes'),
    workers.length > MOST_ROWS ? h('p', { class: 'soft' }, `and ${workers.length - MOST_ROWS} more`) : null,
    h(
      'p',
      { class: 'soft small' },
      'Rates are points a second with whole scalars, as each node has measured itself. Links are at least that fast, from shards of the latest proofs. Credit is what it is ready to hold, keys are chunks of 1 MiB.',
    ),
  );
}

function nodeRow(
  actor: Actor,
  alive: ReturnType<typeof liveness>,
  link: number | undefined,
  convicted: boolean,
): ComponentChild {
  const { worker, counts, failure } = actor;
  return row(actor.id, NODES, [
    [
      h('a', { href: actorHref(actor) }, h('code', {}, actor.id)),
      isSimulated(actor) ? h('span', { class: 'badge' }, 'SIMULATED') : null,
    ],
    [
      stateChip(actor, alive),
      convicted ? h('span', { class: 'chip failed' }, 'convicted') : null,
      failure ? h('p', { class: 'failure small' }, failure.message) : null,
    ],
    worker?.class ?? '',
    [worker?.engine ?? '', worker?.gpu ? h('p', { class: 'soft small' }, gpuUseText(worker.gpu)) : null],
    worker ? short(worker.rates.g1) : '',
    worker ? short(worker.rates.g2) : '',
    link === undefined ? '' : `≥ ${short(link)}B/s`,
    worker ? String(worker.resident) : '',
    worker ? `${Math.round(worker.credit / 2 ** 20)} MiB` : '',
    `${counts.done ?? 0}${worker && worker.inHand > 0 ? `, ${worker.inHand} in hand` : ''}`,
  ]);
}

/** Bytes a second by worker, as the shards of the jobs that are remembered say. */
function linksOf(model: Model): ReadonlyMap<string, number> {
  const links = new Map<string, number>();
  for (const job of model.jobs.values()) {
    if (job.shards.length === 0) continue;
    const spans = phaseSpans(job, job.heardAt);
    for (const { worker, link } of workerRows(job, planOpenedMs(spans), spans.at(-1)?.toMs ?? 0))
      if (link !== undefined) links.set(worker, Math.max(link, links.get(worker) ?? 0));
  }
  return links;
}

const CONVICTIONS = [
  { title: 'Worker' },
  { title: 'Since', className: 'nowrap' },
  { title: 'By, in job' },
  { title: 'Take it back' },
];

const convictionTable = (all: readonly Conviction[]): ComponentChild =>
  table(
    'Convictions',
    CONVICTIONS,
    all.map(({ worker, job, coordinator, time }) =>
      row(worker, CONVICTIONS, [
        h('code', {}, worker),
        dayTime(Date.parse(time)),
        [h('code', {}, coordinator), ' in ', h('code', {}, job)],
        commandWith([worker], `vouch pardon ${worker}`),
      ]),
    ),
    'convictions',
  );

const SIZES = [14, 16, 18, 20, 22] as const;

function Further({
  workers,
  links,
}: {
  workers: readonly Actor[];
  links: ReadonlyMap<string, number>;
}): ComponentChild {
  const [size, setSize] = useState<number>(18);
  const [said, setSaid] = useState<Planned | string>('');
  const usable = workers.flatMap(({ id, worker }) =>
    worker
      ? [{ id, rates: worker.rates, bytesPerSecond: links.get(id), memoryBytes: Math.max(worker.credit, 1) }]
      : [],
  );
  const ask = () => {
    setSaid('Playing it through…');
    plan({ nodes: usable.slice(0, 256), domain: 2 ** size }).then(setSaid, (error: Error) =>
      setSaid(error.message),
    );
  };
  return h(
    'div',
    {},
    h(
      'p',
      {},
      'Played through as ',
      h('code', {}, 'vouch plan'),
      ' does: modelled by what the nodes say of themselves, not measured.',
    ),
    h(
      'label',
      {},
      'Constraints ',
      h(
        'select',
        {
          value: size,
          onChange: ({ currentTarget }: { currentTarget: HTMLSelectElement }) =>
            setSize(Number(currentTarget.value)),
        },
        SIZES.map((power) => h('option', { key: power, value: power }, `2^${power}`)),
      ),
    ),
    h(
      'button',
      { type: 'button', id: 'plan', onClick: ask, disabled: usable.length === 0 },
      'What would one more bring?',
    ),
    h('div', { 'aria-live': 'polite', id: 'planned' }, typeof said === 'string' ? said : sentences(said)),
  );
}

function sentences({ totalMs, bounds, further }: Planned): ComponentChild {
  const gain = Math.round(100 * (1 - further.totalMs / totalMs));
  return [
    h(
      'p',
      { key: 'total' },
      `Request to proof ${duration(totalMs)}. A further node like ${further.like}: ${duration(further.totalMs)}, ${gain > 0 ? `${gain} % less` : 'no gain'}.`,
    ),
    ...bounds
      .filter((bound) => bound.totalMs < totalMs * 0.99)
      .map(({ what, totalMs: free }) =>
        h('p', { key: what }, `Bound by ${what}: ${duration(free)} if it took no time.`),
      ),
  ];
}
