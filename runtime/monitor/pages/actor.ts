/** One actor: its machine with the state that it is in, what it went through and why, and what a person can do about it. */
import { type ComponentChild, h } from 'preact';
import type { ActorKind } from '../../../protocols/subjects.ts';
import { useAnswer } from '../asking.ts';
import { arcsOf, BOX, centreOf, type Drawing, heightOf, WIDTH } from '../drawing.ts';
import type { Actor, LoggedTransition } from '../model.ts';
import { missed } from '../model.ts';
import { isEnd, meaningOf } from '../states.ts';
import { isSimulated, liveness, startOf } from '../view.ts';
import { coarse, countsText, dayTime, duration, times } from '../words.ts';
import { card, commandWith, empty, fact, row, type Seen, stateChip, table } from './parts.ts';

export function ActorPage({ seen, kind, id }: { seen: Seen; kind: ActorKind; id: string }): ComponentChild {
  const actor = seen.model.actors.get(`${kind}/${id}`);
  const drawings = useAnswer<Record<ActorKind, Drawing>>('/machines.json', undefined);
  const history = useAnswer<readonly LoggedTransition[]>(
    `/history/${kind}/${id}`,
    actor && `${actor.boot} ${actor.seq}`,
  );
  const drawing = drawings.answer?.[kind];
  const last = history.answer?.at(-1);
  return h(
    'div',
    { class: 'page' },
    h('h2', { id: 'title', tabIndex: -1 }, `${kind} `, h('code', {}, id)),
    actor ? state(seen, actor) : card('Not known', empty('Of this actor nothing was heard.')),
    card(
      'State machine',
      drawing
        ? machine(drawing, kind, actor?.state, last)
        : empty(drawings.error ?? 'Asking for the drawing…'),
    ),
    card('History, newest first', past(history.answer, history.error)),
    actor ? card('What you can do', h('div', {}, todo(actor))) : null,
  );
}

function state({ now, coordinatorAt }: Seen, actor: Actor): ComponentChild {
  const { lastFailure, failure } = actor;
  const counted = countsText(actor.counts);
  return card(
    'State',
    h(
      'dl',
      { class: 'facts' },
      fact('Now', [
        stateChip(actor, liveness(actor, now, coordinatorAt)),
        isSimulated(actor) ? h('span', { class: 'badge' }, 'SIMULATED') : null,
      ]),
      fact('Since', `${coarse(now - actor.since)}, heard ${coarse(now - actor.heardAt)} ago`),
      fact('Boot', [
        h('code', {}, actor.boot),
        actor.restarts > 0 ? `, restarted ${times(actor.restarts)} since the monitor watches` : '',
      ]),
      counted ? fact('Counts', counted) : null,
      missed(actor) > 0
        ? fact('Missed', `${missed(actor)} transitions never came; the history has holes`)
        : null,
      lastFailure
        ? fact(
            failure ? 'Why it does not work' : 'Last error',
            h('div', { class: failure ? 'failure' : '' }, [
              lastFailure.message,
              ' ',
              h('code', { id: 'last-error' }, `${lastFailure.code} ${lastFailure.errorId}`),
              h('span', { class: 'soft' }, ` ${coarse(now - lastFailure.at)} ago`),
              lastFailure.errorId
                ? h('p', {}, commandWith([lastFailure.errorId], `grep ${lastFailure.errorId} .vouch/logs/*`))
                : null,
            ]),
          )
        : null,
    ),
  );
}

function todo(actor: Actor): ComponentChild {
  const { kind, id } = actor;
  if (kind === 'proof-job')
    return h(
      'p',
      {},
      'Whoever asked for the proof can take the request back: ',
      commandWith([id], `vouch cancel ${id}`),
    );
  const model = kind === 'runner' || kind === 'enclave' ? ' --model MODEL' : '';
  return h(
    'dl',
    { class: 'facts' },
    fact('Drain: it finishes what it has and takes no more', commandWith([id], `vouch drain ${kind} ${id}`)),
    fact('Start it again, on its host', commandWith([id], `${startOf(kind)} --id ${id}${model}`)),
  );
}

function machine(
  drawing: Drawing,
  kind: ActorKind,
  now: string | undefined,
  last: LoggedTransition | undefined,
): ComponentChild {
  const came = last && last.to === now ? last : undefined;
  const next = drawing.edges.filter(({ from }) => from === now);
  const known = drawing.states.some(({ name }) => name === now);
  const lit = ({ from, to }: { from: string; to: string }) => came?.from === from && came.to === to;
  // What is lit is drawn last, so that it lies on top.
  const arcs = arcsOf(drawing).sort(
    (a, b) => Number(lit(a)) - Number(lit(b)) || Number(a.from === now) - Number(b.from === now),
  );
  const by = came
    ? `, which it came to${came.from === null ? '' : ` from ${came.from}`} by ${came.event}`
    : '';
  return h(
    'div',
    { class: 'beside' },
    h(
      'svg',
      {
        class: 'machine',
        viewBox: `0 0 ${WIDTH} ${heightOf(drawing)}`,
        role: 'img',
        'aria-label': `State machine of a ${kind}: ${drawing.states.map(({ name }) => name).join(', ')}. Now ${now ?? 'not known'}${by}.`,
      },
      h(
        'defs',
        {},
        ['', 'lit'].map((which) =>
          h(
            'marker',
            {
              key: which,
              id: `tip${which}`,
              class: which,
              viewBox: '0 0 8 8',
              refX: 7,
              refY: 4,
              markerWidth: 7,
              markerHeight: 7,
              markerUnits: 'userSpaceOnUse',
              orient: 'auto',
            },
            h('path', { d: 'M0 0L8 4L0 8z' }),
          ),
        ),
      ),
      arcs.map((arc) =>
        h('path', {
          key: `${arc.from} ${arc.to}`,
          d: arc.path,
          class: lit(arc) ? 'came' : arc.from === now ? 'next' : '',
          'marker-end': `url(#tip${lit(arc) ? 'lit' : ''})`,
        }),
      ),
      drawing.states.map(({ name, final }, index) =>
        h(
          'g',
          {
            key: name,
            class: [
              'state',
              name === now ? 'current' : '',
              name === drawing.initial ? 'start' : '',
              final || isEnd(kind, name) ? 'over' : '',
              meaningOf(kind, name),
            ].join(' '),
          },
          h('rect', {
            x: BOX.left,
            y: centreOf(index) - BOX.height / 2,
            width: BOX.width,
            height: BOX.height,
            rx: 6,
          }),
          h('text', { x: BOX.left + BOX.width / 2, y: centreOf(index) + 4, 'text-anchor': 'middle' }, name),
        ),
      ),
    ),
    now === undefined
      ? null
      : h(
          'div',
          {},
          h(
            'p',
            { id: 'came' },
            known
              ? `It is ${now}${by}.`
              : `It says that it is ${now}, which this monitor’s machine does not have: it is of another version.`,
          ),
          next.length === 0
            ? h('p', {}, 'No event leads on from here.')
            : table(
                `Events that lead on from ${now}`,
                NEXT,
                next.map(({ event, to }) => row(`${event} ${to}`, NEXT, [h('code', {}, event), to])),
                'next',
              ),
        ),
  );
}

const NEXT = [{ title: 'On' }, { title: 'it becomes' }];
const PAST = [
  { title: 'Time', className: 'nowrap' },
  { title: 'State' },
  { title: 'Cause' },
  { title: 'Stayed', className: 'number' },
];

function past(history: readonly LoggedTransition[] | undefined, error: string | undefined): ComponentChild {
  if (history === undefined) return empty(error ?? 'Asking…');
  if (history.length === 0) return empty('No transition of it was heard.');
  const rows = history.map((one, index) => {
    const next = history[index + 1];
    const restarted = index > 0 && history[index - 1]!.boot !== one.boot;
    return row(`${one.boot} ${one.seq} ${index}`, PAST, [
      dayTime(one.at),
      one.to,
      [h('code', {}, one.event), restarted ? ' (a new boot)' : ''],
      next ? duration(next.at - one.at) : 'until now',
    ]);
  });
  return table('History, newest first', PAST, rows.reverse(), 'history');
}
