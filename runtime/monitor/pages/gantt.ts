/** Phases and shards over time, drawn in per cent of the width, so that texts keep their size on a phone. */
import { type ComponentChild, h } from 'preact';
import { markOf, type PhaseSpan, type WorkerRow } from '../timeline.ts';
import { duration } from '../words.ts';

/** So many workers are drawn; the table beside has more. */
const MOST_ROWS = 40;
const LABEL = 16;
const LANE = 9;
const GAP = 6;

/** Beside it stands a table that says the same in words. */
export function Gantt({
  spans,
  rows,
}: {
  spans: readonly PhaseSpan[];
  rows: readonly WorkerRow[];
}): ComponentChild {
  const end = Math.max(
    1,
    spans.at(-1)?.toMs ?? 0,
    ...rows.flatMap(({ runs }) => runs.map(({ toMs }) => toMs)),
  );
  const at = (ms: number) => `${((100 * ms) / end).toFixed(3)}%`;
  const width = (from: number, to: number) => `${Math.max(0.25, (100 * (to - from)) / end).toFixed(3)}%`;
  let y = 0;
  const take = (height: number) => {
    const top = y;
    y += height;
    return top;
  };
  const phases = spans.map(({ phase, fromMs, toMs, running }) => {
    const top = take(LABEL + LANE + GAP);
    // A label beyond the middle ends where its bar does.
    const late = fromMs > end / 2;
    return h(
      'g',
      { key: phase },
      h(
        'text',
        { x: at(late ? toMs : fromMs), y: top + 11, 'text-anchor': late ? 'end' : 'start' },
        `${phase} ${duration(toMs - fromMs)}`,
      ),
      h('rect', {
        x: at(fromMs),
        y: top + LABEL,
        width: width(fromMs, toMs),
        height: LANE,
        rx: 2,
        class: running ? 'now' : 'phase',
      }),
    );
  });
  const workers = rows.slice(0, MOST_ROWS).map(({ worker, runs, lanes }) => {
    const top = take(LABEL + lanes * (LANE + 2) + GAP);
    return h(
      'g',
      { key: worker },
      h('line', { x1: '0%', x2: '100%', y1: top + 0.5, y2: top + 0.5 }),
      h('text', { x: 0, y: top + 12, class: 'soft' }, worker),
      runs.map(({ news, fromMs, toMs, predictedMs, lane }) => {
        const barTop = top + LABEL + lane * (LANE + 2);
        return h(
          'g',
          { key: `${news.shard} ${news.sentMs}` },
          h('rect', {
            x: at(fromMs),
            y: barTop,
            width: width(fromMs, toMs),
            height: LANE,
            rx: 1,
            class: `${markOf(news)}${news.copy ? ' copy' : ''}`,
          }),
          predictedMs < end
            ? h('line', {
                class: 'predicted',
                x1: at(predictedMs),
                x2: at(predictedMs),
                y1: barTop,
                y2: barTop + LANE,
              })
            : null,
        );
      }),
    );
  });
  const axis = take(LABEL);
  return h(
    'div',
    {},
    h(
      'svg',
      {
        class: 'gantt',
        height: y,
        role: 'img',
        'aria-label': `Timeline of ${duration(end)}; the tables say the same in words`,
      },
      phases,
      workers,
      h('text', { x: 0, y: axis + 12, class: 'soft' }, '0'),
      h('text', { x: '100%', y: axis + 12, 'text-anchor': 'end', class: 'soft' }, duration(end)),
    ),
    rows.length === 0
      ? null
      : h(
          'ul',
          { class: 'key' },
          h('li', { class: 'done' }, 'shard done'),
          h('li', { class: 'held' }, 'held'),
          h('li', { class: 'again' }, 'given back or lost: given again'),
          h('li', { class: 'dropped' }, 'somebody else was first'),
          h('li', { class: 'copy' }, 'second copy'),
          h('li', { class: 'predicted' }, 'predicted end'),
        ),
    rows.length > MOST_ROWS
      ? h('p', { class: 'soft' }, `and ${rows.length - MOST_ROWS} more workers, in the table`)
      : null,
  );
}
