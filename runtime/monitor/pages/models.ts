/**
 * Published models: what each vendor has signed, and the graph of what a proof computes, with where its constraints go. The viewer
 * believes the monitor that a manifest is this model's latest; the fingerprint says whose it is.
 */
import { type ComponentChild, h } from 'preact';
import { useAnswer } from '../asking.ts';
import type { FoundModel } from '../look-ups.ts';
import { card, commandWith, empty, fact, ofModels, row, type Seen, short, table } from './parts.ts';

const EVERY_MS = 60_000;

export function ModelsPage({ seen }: { seen: Seen }): ComponentChild {
  const asked = useAnswer<readonly FoundModel[]>('/models.json', Math.floor(seen.now / EVERY_MS));
  return h(
    'div',
    { class: 'page' },
    h('h2', { id: 'title', tabIndex: -1 }, 'Models'),
    ofModels('Models', asked, (found) =>
      card(found.name, 'error' in found ? empty(found.error) : signed(found)),
    ),
  );
}

type Step = NonNullable<Signed['graph']>['drawing']['steps'][number];
type Signed = Exclude<FoundModel, { readonly error: string }>;

function signed({ name, vendor, commitment, serial, graph, files }: Signed): ComponentChild {
  return h(
    'div',
    { 'data-model': name },
    h(
      'dl',
      { class: 'facts' },
      fact('Vendor', h('code', {}, vendor)),
      fact('Commitment', h('code', {}, commitment)),
      fact('Publication', String(serial)),
      fact('As a file', commandWith([name], `vouch model show ${name} --svg ${name}.svg`)),
    ),
    h(
      'p',
      { class: 'soft small' },
      'Signed by the key with this fingerprint, by the monitor’s word: compare it with what the vendor has told you on another way.',
    ),
    graph ? drawn(name, graph) : null,
    files ? text(name, files) : null,
  );
}

const FILES = [{ title: 'File' }, { title: 'Bytes', className: 'number' }];

const text = (name: string, files: NonNullable<Signed['files']>): ComponentChild => [
  h(
    'p',
    {},
    'It answers in text. Its commitment is a hash of its files: it says which they are, and nothing can be proved about them.',
  ),
  table(
    `Files of ${name}`,
    FILES,
    files.map((file, i) => row(String(i), FILES, [file.name, String(file.bytes)])),
  ),
];

const STEPS = [
  { title: 'Step' },
  { title: 'What it does' },
  { title: 'Constraints', className: 'number' },
  { title: 'Share', className: 'number' },
];

function drawn(name: string, graph: NonNullable<Signed['graph']>): ComponentChild {
  const { drawing, rows, constraints, domain, maxRows } = graph;
  const { steps, arrows, width, height } = drawing;
  // Where each step takes what the one before it gives, the order says it all.
  const chain = steps.every(({ from }, i) => from.length === 0 || (from.length === 1 && from[0] === i - 1));
  const named = ({ kind, from }: Step, i: number) =>
    chain || (from.length === 0 && i > 0) ? kind : `${i} ${kind}`;
  const whole = ({ text: what, from }: Step) =>
    chain || from.length === 0 ? what : `${what === '' ? '' : `${what}; `}takes ${from.join(' and ')}`;
  const percent = (share: number) => `${(100 * share).toFixed(1)} %`;
  return [
    h(
      'p',
      { 'data-cost': '' },
      `A proof about ${rows} ${rows === 1 ? 'row' : 'rows'} has at most ${short(constraints)} constraints, in a domain of 2^${Math.log2(domain)}; one proof holds at most ${maxRows}.`,
    ),
    h(
      'div',
      { class: 'beside' },
      h(
        'svg',
        {
          class: 'graph',
          viewBox: `0 0 ${width} ${height}`,
          role: 'img',
          'aria-label': `Graph of ${name}: ${steps.map(({ kind }) => kind).join(', ')}. The table beside it says the same.`,
        },
        arrows.map((d, i) => h('path', { key: i, d })),
        steps.map((step, i) => {
          const { line, constraints: own, share, x, y, width: w, height: tall } = step;
          return h(
            'g',
            { key: i },
            h('rect', { class: 'box', x, y, width: w, height: tall, rx: 6 }),
            h('text', { class: 'kind', x: x + 12, y: y + 18 }, named(step, i)),
            h('text', { class: 'soft', x: x + 12, y: y + 34 }, line),
            own > 0
              ? [
                  h(
                    'text',
                    { x: x + w - 12, y: y + 18, 'text-anchor': 'end' },
                    `${short(own)}, ${percent(share)}`,
                  ),
                  h('rect', {
                    class: 'share',
                    x: x + 12,
                    y: y + 42,
                    width: Math.max(1, share * (w - 24)),
                    height: 7,
                  }),
                ]
              : null,
          );
        }),
      ),
      table(
        `Where the constraints of a proof about ${name} go`,
        STEPS,
        steps.map((step, i) =>
          row(String(i), STEPS, [
            named(step, i),
            h('bdi', {}, whole(step)),
            step.constraints > 0 ? String(step.constraints) : '',
            step.constraints > 0 ? percent(step.share) : '',
          ]),
        ),
      ),
    ),
  ];
}
