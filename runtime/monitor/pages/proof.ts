/** One proof: its phases and shards over time, who computed what, what it waited for, and the proof itself with its verdict. */
import { type ComponentChild, h } from 'preact';
import { useEffect, useMemo, useState } from 'preact/hooks';
import { useAnswer } from '../asking.ts';
import type { OpenedFile } from '../judging.ts';
import type { FoundProof } from '../look-ups.ts';
import type { Job } from '../model.ts';
import {
  boundSentences,
  groupOf,
  markOf,
  phaseSpans,
  planOpenedMs,
  SECTIONS,
  type SectionGroup,
  type WorkerRow,
  workerRows,
} from '../timeline.ts';
import { jobLiveness } from '../view.ts';
import { coarse, duration } from '../words.ts';
import { Gantt } from './gantt.ts';
import { jobChip } from './overview.ts';
import { actorHref, card, commandWith, empty, fact, row, type Seen, short, table } from './parts.ts';
import { Opened } from './verdicts.ts';

/** So many workers have a row. */
const MOST_ROWS = 256;
/** So many squares of one worker and section are drawn; the count beside says how many there are. */
const MOST_CELLS = 64;

export function ProofPage({ seen, id }: { seen: Seen; id: string }): ComponentChild {
  const job = seen.model.jobs.get(id);
  return h(
    'div',
    { class: 'page' },
    h('h2', { id: 'title', tabIndex: -1 }, 'Proof ', h('code', {}, id)),
    job
      ? known(seen, job)
      : card(
          'Not known',
          empty('Of this job nothing was heard; jobs are remembered for a day, the latest fifty.'),
        ),
    card(
      'The proof itself',
      job?.phase === 'published'
        ? h(Published, { id })
        : [
            h(
              'p',
              {},
              'It stands here once it is published. Whoever has it as a file can open it: it is checked in this page, by the same code as ',
              h('code', {}, 'vouch verify'),
              '.',
            ),
            h(Judged, { id }),
          ],
      h(
        'p',
        { class: 'soft small' },
        'What you open leaves this browser for nowhere. ',
        commandWith([id], `vouch verify .vouch/proofs/${id}.json`),
      ),
    ),
  );
}

/** The name under which it is judged; a file of the viewer's is never taken for it. */
const OF_THE_MONITOR = 'the proof that this monitor gave';

/** A proof as the monitor has found it, which is somebody's word until something of the viewer's own was compared with it. */
function Published({ id }: { id: string }): ComponentChild {
  const { answer, error } = useAnswer<FoundProof>(`/proof/${id}`, id);
  const given = useMemo(
    () =>
      answer && 'proof' in answer
        ? [{ name: OF_THE_MONITOR, bytes: new TextEncoder().encode(JSON.stringify(answer.proof, null, 2)) }]
        : [],
    [answer],
  );
  const trouble = answer && 'error' in answer ? answer.error : error;
  if (given.length === 0)
    return [
      h('p', { id: 'no-proof' }, trouble ?? 'Asking…'),
      trouble ? h('p', {}, 'Whoever asked for it has it as a file, and can open it here.') : null,
      h(Judged, { id }),
    ];
  return [
    h(
      'p',
      { id: 'whose-word' },
      'The proof, the verification key in it and the name of the job came to this page through this monitor alone. What is not compared with something of your own, whoever runs it could have made up: open your test set and dictionary beside it, a policy that pins the vendor with the model’s manifest, and name the key that you trust. Without a test set and a key ',
      h('code', {}, 'vouch verify'),
      ' accepts no proof either.',
    ),
    h('p', {}, h(Download, { file: given[0]!, name: `${id}.json` })),
    h(Judged, { id, given }),
  ];
}

/** The very bytes that were judged, as a file. */
function Download({ file, name }: { file: OpenedFile; name: string }): ComponentChild {
  const [href, setHref] = useState<string>();
  useEffect(() => {
    const made = URL.createObjectURL(new Blob([file.bytes.slice()], { type: 'application/json' }));
    setHref(made);
    return () => URL.revokeObjectURL(made);
  }, [file]);
  return h('a', { href, download: name }, 'Download the proof');
}

function Judged({ id, given }: { id: string; given?: readonly OpenedFile[] }): ComponentChild {
  const [key, setKey] = useState('');
  const trustKey = /^[0-9a-f]{64}$/.test(key) ? key : undefined;
  return [
    h(
      'label',
      {},
      'Digest of the verification key that you trust ',
      h('input', {
        type: 'text',
        spellcheck: false,
        autocomplete: 'off',
        value: key,
        onInput: ({ currentTarget }: { currentTarget: HTMLInputElement }) =>
          setKey(currentTarget.value.trim().toLowerCase()),
      }),
    ),
    h(Opened, {
      label: given
        ? 'What belongs to it'
        : 'Proof, and what belongs to it (manifest, test set or row, policy)',
      asked: { job: id, trustKey },
      ...(given ? { given } : {}),
    }),
  ];
}

function known(seen: Seen, job: Job): ComponentChild {
  const alive = jobLiveness(job, seen.now, seen.coordinatorAt);
  const now = alive === 'alive' ? seen.now : job.heardAt;
  const spans = phaseSpans(job, now);
  const total = spans.at(-1)?.toMs ?? 0;
  const rows = workerRows(job, planOpenedMs(spans), total);
  const bound = boundSentences(spans, rows);
  return h(
    'div',
    { class: 'page' },
    card(
      'State',
      h(
        'dl',
        { class: 'facts' },
        fact('Phase', jobChip(job, seen)),
        fact('Since it was taken up', alive === 'ended' ? duration(total) : coarse(total)),
        fact('Attempt', String(job.attempt)),
        fact('Shards', job.total > 0 ? `${job.done} of ${job.total} have a result` : 'no plan yet'),
        fact(
          'Its actor',
          h('a', { href: actorHref({ kind: 'proof-job', id: job.id }) }, 'state machine and history'),
        ),
        job.error ? fact('Why it failed', h('span', { class: 'failure' }, job.error.message)) : null,
      ),
      bound.length > 0 ? h('h3', {}, alive === 'ended' ? 'What bound it' : 'What bounds it so far') : null,
      bound.map((sentence) => h('p', { key: sentence, 'data-bound': '' }, sentence)),
    ),
    card('Timeline', spans.length === 0 ? empty('Nothing has taken time yet.') : h(Gantt, { spans, rows })),
    card('Shards by worker and section', shards(job, rows)),
  );
}

const GRID = [
  { title: 'Worker' },
  { title: `Wires (${SECTIONS.wires})` },
  { title: `Quotient (${SECTIONS.quotient})` },
  { title: 'Predicted', className: 'number' },
  { title: 'Computed', className: 'number' },
  { title: 'Link', className: 'number' },
];

function shards(job: Job, rows: readonly WorkerRow[]): ComponentChild {
  if (rows.length === 0 && job.workers.length === 0) return empty('No shard was given out yet.');
  // Without news of single shards, as of an older coordinator, there is still who has how many.
  if (rows.length === 0)
    return table(
      'Shards by worker',
      COUNTS,
      job.workers.map(({ id, done, inFlight }) =>
        row(id, COUNTS, [h('code', {}, id), String(done), String(inFlight)]),
      ),
    );
  const [predicted, computed] = [sum(rows, 'predictedMs'), sum(rows, 'computedMs')];
  return h(
    'div',
    {},
    computed > 0
      ? h(
          'p',
          { id: 'predicted' },
          `Predicted ${duration(predicted)} of computing, took ${duration(computed)}: ${ratio(predicted, computed)}.`,
        )
      : null,
    table(
      'Shards by worker and section',
      GRID,
      rows
        .slice(0, MOST_ROWS)
        .map((worker) =>
          row(worker.worker, GRID, [
            h('a', { href: actorHref({ kind: 'worker', id: worker.worker }) }, h('code', {}, worker.worker)),
            cells(worker, 'wires'),
            cells(worker, 'quotient'),
            worker.done > 0 ? duration(worker.predictedMs) : '',
            worker.done > 0
              ? `${duration(worker.computedMs)}, ${ratio(worker.predictedMs, worker.computedMs)}`
              : '',
            worker.link === undefined ? '' : `≥ ${short(worker.link)}B/s`,
          ]),
        ),
      'shards',
    ),
    rows.length > MOST_ROWS ? h('p', { class: 'soft' }, `and ${rows.length - MOST_ROWS} more workers`) : null,
    h(
      'p',
      { class: 'soft small' },
      'Each square is a shard in the order in which they were given out; colours as in the timeline. Computing times are what workers say.',
    ),
  );
}

const COUNTS = [
  { title: 'Worker' },
  { title: 'Done', className: 'number' },
  { title: 'In flight', className: 'number' },
];

const sum = (rows: readonly WorkerRow[], name: 'predictedMs' | 'computedMs'): number =>
  rows.reduce((total, worker) => total + worker[name], 0);

function ratio(predictedMs: number, computedMs: number): string {
  if (predictedMs <= 0 || computedMs <= 0) return 'too short to compare';
  const percent = Math.round(100 * (computedMs / predictedMs - 1));
  return percent === 0 ? 'as predicted' : percent > 0 ? `${percent} % longer` : `${-percent} % shorter`;
}

function cells({ runs }: WorkerRow, group: SectionGroup): ComponentChild {
  const own = runs.filter(({ news }) => groupOf(news) === group);
  if (own.length === 0) return '';
  const having = (test: (run: (typeof own)[number]) => boolean) => own.filter(test).length;
  const parts = [
    [having(({ news }) => news.end === 'done'), 'done'],
    [having(({ news }) => news.end === undefined), 'held'],
    [having(({ news }) => news.end === 'refused' || news.end === 'lost'), 'given again'],
    [having(({ news }) => news.end === 'dropped'), 'dropped'],
  ] as const;
  const copies = having(({ news }) => news.copy === true);
  const words = parts.filter(([count]) => count > 0).map(([count, what]) => `${count} ${what}`);
  return [
    h(
      'span',
      { class: 'cells', 'aria-hidden': 'true' },
      own.slice(0, MOST_CELLS).map(({ news }) =>
        h('i', {
          key: `${news.shard} ${news.sentMs}`,
          class: `${markOf(news)}${news.copy ? ' copy' : ''}`,
          title: news.shard,
        }),
      ),
    ),
    h(
      'span',
      { class: 'small' },
      [...words, ...(copies > 0 ? [`${copies} second ${copies === 1 ? 'copy' : 'copies'}`] : [])].join(', '),
    ),
  ];
}
