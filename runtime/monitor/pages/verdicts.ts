/**
 * Files checked in this page: the viewer's own, of which nothing goes to the monitor, and what the monitor has given. Texts of
 * files stand in boxes of their own, and the word of a verdict where no file can write.
 */
import { type ComponentChild, h } from 'preact';
import { useEffect, useState } from 'preact/hooks';
import { printable } from '../../../protocols/printable.ts';
import { DropZone } from '../drop-zone.ts';
import { type Answer, type Asked, type JudgedItem, judge, type OpenedFile } from '../judging.ts';
import { row, table } from './parts.ts';

interface OpenedProps {
  readonly label: string;
  /** checked beside what the viewer opens, and without that, too */
  readonly given?: readonly OpenedFile[];
  readonly asked?: Asked;
  readonly folder?: boolean;
  /** how the answer is shown; default: each verdict with its checks */
  readonly show?: (answer: Answer) => ComponentChild;
}

const NOTHING: readonly OpenedFile[] = [];

/** A place to open files, and what comes of them. */
export function Opened({
  label,
  given = NOTHING,
  asked = {},
  folder = false,
  show = (answer) => verdicts(answer),
}: OpenedProps): ComponentChild {
  const [policy, setPolicy] = useState<'strict' | 'genuine'>('strict');
  const [opened, setOpened] = useState<readonly OpenedFile[]>([]);
  const [answer, setAnswer] = useState<Answer | string>('');

  const fail = (error: unknown) =>
    setAnswer(printable(error instanceof Error ? error.message : String(error)).slice(0, 1000));
  useEffect(() => {
    if (given.length + opened.length === 0) return;
    let over = false;
    setAnswer('Checking…');
    judge([...given, ...opened], { ...asked, policy }).then(
      (answer) => over || setAnswer(answer),
      (error: unknown) => over || fail(error),
    );
    return () => {
      over = true;
    };
  }, [given, opened, policy, asked.job, asked.trustKey]);
  const open = async (files: Promise<OpenedFile[]>) => {
    setAnswer('Reading…');
    try {
      setOpened(await files);
    } catch (error) {
      fail(error);
    }
  };
  return h(
    DropZone,
    {
      choosers: [{ label }, ...(folder ? [{ label: 'Or a folder', folder }] : [])],
      onFiles: open,
    },
    h(
      'label',
      {},
      'Policy, where no file is one ',
      h(
        'select',
        {
          value: policy,
          onChange: ({ currentTarget }: { currentTarget: HTMLSelectElement }) => {
            setPolicy(currentTarget.value === 'genuine' ? 'genuine' : 'strict');
          },
        },
        h('option', { value: 'strict' }, 'strict'),
        h('option', { value: 'genuine' }, 'genuine'),
      ),
    ),
    h(
      'div',
      { 'aria-live': 'polite' },
      typeof answer === 'string' ? h('p', { class: 'soft' }, answer) : show(answer),
    ),
  );
}

export const word = (accepted: boolean): ComponentChild =>
  h(
    'span',
    { class: accepted ? 'word accept' : 'word', 'data-verdict': accepted ? 'accept' : 'reject' },
    `verdict: ${accepted ? 'accept' : 'reject'}`,
  );

export const stamp = (simulated: boolean): ComponentChild =>
  simulated ? h('span', { class: 'stamp' }, 'SIMULATED') : null;

const CHECKS = [{ title: 'Came of it', className: 'came' }, { title: 'Check' }, { title: 'Detail' }];

/** Every check, in the words of `vouch verify`. */
export const checkTable = (item: Pick<JudgedItem, 'checks'>, caption: string): ComponentChild =>
  table(
    caption,
    [CHECKS[1]!, CHECKS[0]!, CHECKS[2]!],
    item.checks.map(({ id, status, detail }) =>
      row(
        id,
        [CHECKS[1]!, CHECKS[0]!, CHECKS[2]!],
        [h('code', {}, id), status, h('bdi', {}, detail)],
        status,
      ),
    ),
  );

const failedOf = ({ checks }: JudgedItem): string =>
  checks.flatMap(({ id, status }) => (status === 'fail' ? [id] : [])).join(', ');

const KINDS = { receipt: 'Receipt', document: 'Evidence', proof: 'Proof', evidence: 'Raw evidence' } as const;

/** Each verdict with its checks, and what became of the other files. `beside`: verdicts stand elsewhere already. */
export function verdicts({ judged, used, unused }: Answer, beside = false): ComponentChild {
  return h(
    'div',
    {},
    judged.length === 0 && !beside
      ? h('p', {}, 'None of these files is a receipt, a proof or evidence: nothing was checked.')
      : null,
    judged.map((item) =>
      h(
        'section',
        {
          key: item.name,
          class: 'verdict',
          'aria-label': `${KINDS[item.kind]}: ${item.accepted ? 'accept' : 'reject'}`,
        },
        h(
          'h3',
          {},
          word(item.accepted),
          ' ',
          stamp(item.simulated),
          ` ${KINDS[item.kind]} `,
          h('bdi', {}, item.name),
        ),
        item.proved ? h('p', { 'data-proved': '' }, item.proved) : null,
        item.claimed
          ? h('p', { 'data-claimed': '' }, `It says, and this verdict does not: ${item.claimed}`)
          : null,
        item.accepted ? null : h('p', { 'data-failed': '' }, `failed: ${failedOf(item)}`),
        h('p', { class: 'soft' }, `not checked: ${item.notChecked.join(', ') || 'nothing was left out'}`),
        h(
          'details',
          { open: !item.accepted },
          h('summary', {}, 'Every check'),
          checkTable(item, `Checks of ${item.name}`),
        ),
      ),
    ),
    [
      ...used.map(({ name, as }) => [name, as] as const),
      ...unused.map(({ name, reason }) => [name, `not taken into account: ${reason}`] as const),
    ].map(([name, what]) => h('p', { key: name, class: 'small' }, h('bdi', {}, name), `: ${what}`)),
  );
}
