/**
 * Receipts that the viewer has, listed, filtered and verified in this page. The monitor has none: its credentials may not read
 * any, so whoever opens it sees his own alone, which he brings along as files.
 */
import { type ComponentChild, h } from 'preact';
import { useState } from 'preact/hooks';
import type { Answer, JudgedItem } from '../judging.ts';
import { dayTime } from '../words.ts';
import { card, command, row, table } from './parts.ts';
import { checkTable, Opened, stamp, verdicts, word } from './verdicts.ts';

/** So many have a row; a filter finds the others. */
const MOST_ROWS = 500;

export const ReceiptsPage = (): ComponentChild =>
  h(
    'div',
    { class: 'page' },
    h('h2', { id: 'title', tabIndex: -1 }, 'Receipts'),
    card(
      'Your receipts',
      h(
        'p',
        {},
        'The monitor holds no receipts and may read none: a client keeps its own. Open the folder in which yours are, with the model’s manifest and your policy; they are verified in this page and leave this browser for nowhere.',
      ),
      h('p', {}, command('vouch infer MODEL FILE --receipts DIR')),
      h(Opened, { label: 'Receipts', folder: true, show: (answer: Answer) => h(List, { answer }) }),
    ),
  );

const COLUMNS = [
  { title: 'Receipt' },
  { title: 'Verdict' },
  { title: 'Enclave' },
  { title: 'Number', className: 'number spare' },
  { title: 'Time', className: 'nowrap spare' },
];

function List({ answer }: { answer: Answer }): ComponentChild {
  const [text, setText] = useState('');
  const [wanted, setWanted] = useState<'all' | 'accept' | 'reject'>('all');
  const [chosen, setChosen] = useState<string | undefined>();
  const receipts = answer.judged.filter(({ kind }) => kind === 'receipt');
  const found = receipts.filter(
    (item) =>
      (wanted === 'all' || item.accepted === (wanted === 'accept')) &&
      `${item.name} ${item.receipt?.id ?? ''} ${item.receipt?.enclave ?? ''}`
        .toLowerCase()
        .includes(text.toLowerCase()),
  );
  const shown = found.slice(0, MOST_ROWS);
  const open = shown.find(({ name }) => name === chosen);
  return h(
    'div',
    {},
    h(
      'p',
      { id: 'receipt-count' },
      `${receipts.filter(({ accepted }) => accepted).length} of ${receipts.length} receipts accepted${text !== '' || wanted !== 'all' ? `, ${found.length} shown` : ''}.`,
    ),
    h(
      'label',
      {},
      'Name, id or enclave has ',
      h('input', {
        type: 'search',
        value: text,
        onInput: ({ currentTarget }: { currentTarget: HTMLInputElement }) => setText(currentTarget.value),
      }),
    ),
    h(
      'label',
      {},
      'Verdict ',
      h(
        'select',
        {
          value: wanted,
          onChange: ({ currentTarget }: { currentTarget: HTMLSelectElement }) =>
            setWanted(currentTarget.value as typeof wanted),
        },
        ['all', 'accept', 'reject'].map((value) => h('option', { key: value, value }, value)),
      ),
    ),
    table(
      'Receipts',
      COLUMNS,
      shown.map((item) =>
        receiptRow(item, item === open, () => setChosen(item === open ? undefined : item.name)),
      ),
      'receipts',
    ),
    found.length > MOST_ROWS
      ? h('p', { class: 'soft' }, `and ${found.length - MOST_ROWS} more; filter to see them`)
      : null,
    open
      ? h(
          'section',
          { 'aria-label': 'Checks of the receipt', id: 'receipt-checks' },
          h('h3', {}, 'Every check of ', h('bdi', {}, open.name)),
          h('p', { class: 'soft' }, `not checked: ${open.notChecked.join(', ') || 'nothing was left out'}`),
          checkTable(open, `Checks of ${open.name}`),
        )
      : null,
    verdicts(
      { ...answer, judged: answer.judged.filter(({ kind }) => kind !== 'receipt') },
      receipts.length > 0,
    ),
  );
}

function receiptRow(item: JudgedItem, open: boolean, choose: () => void): ComponentChild {
  const { name, receipt } = item;
  return row(name, COLUMNS, [
    h(
      'button',
      { type: 'button', 'aria-expanded': open, onClick: choose },
      h('bdi', {}, name.split('/').at(-1)),
    ),
    [word(item.accepted), ' ', stamp(item.simulated)],
    receipt ? h('bdi', {}, receipt.enclave) : 'cannot be read',
    receipt ? String(receipt.sequence) : '',
    receipt ? dayTime(receipt.time) : '',
  ]);
}
