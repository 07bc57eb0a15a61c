/**
 * The page's tables: actors, workers and transitions. Everything from outside becomes a text node. `now` is the
 * server's clock, on which every age is.
 */
import type { Column } from './elements.ts';
import { code, make, setClass, setText, table, text } from './elements.ts';
import type { Actor, Job, LoggedTransition } from './model.ts';
import { missed } from './model.ts';
import { meaningOf } from './states.ts';
import { isSimulated, liveness, shareText } from './view.ts';
import { coarse, countsText, timeOf, times } from './words.ts';

type Clock = () => number;

export const actorKey = ({ kind, id }: Pick<Actor, 'kind' | 'id'>): string => `${kind}/${id}`;

export function actorTable(parent: HTMLElement, caption: string, now: Clock, coordinatorAt: Clock) {
  const columns: Column<Actor>[] = [
    { title: 'Actor', cell: actorName },
    { title: 'State', cell: actorState(now, coordinatorAt) },
    { title: 'Since', className: 'nowrap spare', cell: text((actor) => coarse(now() - actor.since)) },
    { title: 'Heard', className: 'nowrap', cell: text((actor) => `${coarse(now() - actor.heardAt)} ago`) },
    { title: 'Notes', className: 'small spare', cell: actorNotes },
  ];
  return table(parent, caption, actorKey, columns);
}

const actorName = (cell: HTMLElement) => {
  const kind = cell.appendChild(make('span', 'kind soft small'));
  cell.append(' ');
  const id = cell.appendChild(make('code'));
  cell.append(' ');
  const badge = cell.appendChild(make('span', 'badge', 'SIMULATED'));
  return (actor: Actor): void => {
    setText(kind, actor.kind);
    setText(id, actor.id);
    badge.hidden = !isSimulated(actor);
  };
};

/** The state, and below it why the actor does not work. */
const actorState =
  (now: Clock, coordinatorAt: Clock = () => Number.NEGATIVE_INFINITY) =>
  (cell: HTMLElement) => {
    const chip = cell.appendChild(make('span'));
    const sentence = make('span');
    const about = make('code');
    const failure = cell.appendChild(make('p', 'failure small', sentence, ' ', about));
    return (actor: Actor): void => {
      const unknown = liveness(actor, now(), coordinatorAt()) === 'unknown';
      setText(chip, unknown ? `unknown, was ${actor.state}` : actor.state);
      setClass(chip, `chip ${unknown ? 'unknown' : meaningOf(actor.kind, actor.state)}`);
      failure.hidden = actor.failure === null;
      setText(sentence, actor.failure?.message ?? '');
      setText(about, actor.failure ? `${actor.failure.code} ${actor.failure.errorId}` : '');
    };
  };

const actorNotes = (cell: HTMLElement) => {
  const trouble = cell.appendChild(make('span', 'warn'));
  const counts = cell.appendChild(make('span', 'soft'));
  return (actor: Actor): void => {
    const counted = countsText(actor.counts);
    const troubles = troublesOf(actor);
    cell.title = `boot ${actor.boot}`;
    setText(trouble, troubles + (troubles && counted ? '; ' : ''));
    setText(counts, counted);
  };
};

function troublesOf(actor: Actor): string {
  const restarts = actor.restarts > 0 ? `restarted ${times(actor.restarts)}` : '';
  const gaps = missed(actor) > 0 ? `${missed(actor)} transitions missed` : '';
  return [restarts, gaps].filter(Boolean).join(', ');
}

/** `job`: the one whose shards are shown, if there is one. */
export function workerTable(parent: HTMLElement, now: Clock, job: () => Job | undefined) {
  const shards = ({ id }: Actor): string => {
    const current = job();
    const share = current?.workers.find((worker) => worker.id === id);
    return current && share ? shareText(share, current) : '';
  };
  return table<Actor>(parent, 'Workers', actorKey, [
    { title: 'Worker', cell: code((actor) => actor.id) },
    { title: 'State', className: 'spare', cell: actorState(now) },
    { title: 'Class', cell: text((actor) => actor.worker?.class ?? 'not known') },
    { title: 'Engine', className: 'nowrap', cell: text((actor) => actor.worker?.engine ?? 'not known') },
    {
      title: 'Holds',
      className: 'number',
      cell: text(({ worker }) => (worker ? `${Math.round(worker.credit / 2 ** 20)} MiB` : '')),
    },
    {
      title: 'Chunks held',
      className: 'number spare',
      cell: text((actor) => String(actor.worker?.resident ?? '')),
    },
    { title: 'Shards', className: 'number spare', cell: text(shards) },
  ]);
}

export const transitionTable = (parent: HTMLElement) =>
  table<LoggedTransition>(
    parent,
    'Transitions, newest first',
    ({ kind, id, boot, seq }) => `${kind}/${id}/${boot}/${seq}`,
    [
      { title: 'Time', className: 'nowrap small', cell: text(({ at }) => timeOf(at)) },
      { title: 'Actor', className: 'small', cell: transitionActor },
      { title: 'Change', className: 'small', cell: transitionChange },
    ],
  );

const transitionActor = (cell: HTMLElement) => {
  const kind = cell.appendChild(make('span', 'kind soft'));
  cell.append(' ');
  const id = cell.appendChild(make('code'));
  return (transition: LoggedTransition): void => {
    setText(kind, transition.kind);
    setText(id, transition.id);
  };
};

const transitionChange = (cell: HTMLElement) => {
  const from = cell.appendChild(make('span', 'soft'));
  const to = cell.appendChild(make('strong'));
  const event = cell.appendChild(make('span', 'soft'));
  return (transition: LoggedTransition): void => {
    setText(from, transition.from === null ? '' : `${transition.from} \u2192 `);
    setText(to, transition.to);
    setText(event, `, ${transition.event}`);
  };
};
