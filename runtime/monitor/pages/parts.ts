/** What the pages are made of. Text from outside becomes text nodes; nothing here reads markup. */
import { type ComponentChild, h } from 'preact';
import { useMemo } from 'preact/hooks';
import type { ActorKind } from '../../../protocols/subjects.ts';
import type { Actor, Model } from '../model.ts';
import { meaningOf } from '../states.ts';
import type { Liveness } from '../view.ts';

/** What a page shows, as of now. */
export interface Seen {
  readonly model: Model;
  /** the server's clock */
  readonly now: number;
  readonly coordinatorAt: number;
}

/** Makes `content` again only when one of `by` has changed: a table of hundreds of rows is looked at each frame. */
export const Kept = ({
  by,
  content,
}: {
  by: readonly unknown[];
  content: () => ComponentChild;
}): ComponentChild => useMemo(content, by);

export const actorHref = ({ kind, id }: { readonly kind: ActorKind; readonly id: string }): string =>
  `#/actor/${kind}/${id}`;
export const proofHref = (job: string): string => `#/proof/${job}`;

export const chip = (className: string, text: string): ComponentChild =>
  h('span', { class: `chip ${className}` }, text);

/** The state of an actor, which is not believed for longer than its lease. */
export const stateChip = (actor: Pick<Actor, 'kind' | 'state'>, alive: Liveness): ComponentChild =>
  alive === 'unknown'
    ? chip('unknown', `unknown, was ${actor.state}`)
    : chip(meaningOf(actor.kind, actor.state), actor.state);

/** An entry of a list of facts. */
export const fact = (name: string, value: ComponentChild): ComponentChild => [
  h('dt', { key: `${name} dt` }, name),
  h('dd', { key: `${name} dd` }, value),
];

export interface Column {
  readonly title: string;
  readonly className?: string;
}

/** A table whose first column names the row. Wide ones scroll inside of their own frame, by keyboard as well. */
export const table = (
  caption: string,
  columns: readonly Column[],
  rows: ComponentChild,
  id?: string,
): ComponentChild =>
  h(
    'div',
    { class: 'scroll', role: 'group', 'aria-label': caption, tabIndex: 0, id },
    h(
      'table',
      {},
      h('caption', { class: 'unseen' }, caption),
      h(
        'thead',
        {},
        h(
          'tr',
          {},
          columns.map(({ title, className }) => h('th', { scope: 'col', class: className }, title)),
        ),
      ),
      h('tbody', {}, rows),
    ),
  );

/** `cells`: one for each column. */
export const row = (
  key: string,
  columns: readonly Column[],
  cells: readonly ComponentChild[],
  className?: string,
): ComponentChild =>
  h(
    'tr',
    { key, class: className },
    cells.map((cell, index) =>
      index === 0
        ? h('th', { scope: 'row', class: columns[0]!.className }, cell)
        : h('td', { class: columns[index]?.className }, cell),
    ),
  );

export const card = (title: string, ...children: ComponentChild[]): ComponentChild =>
  h('section', { class: 'card', 'aria-label': title }, h('h2', {}, title), children);

/**
 * Is this no more than a word to a shell, and no option? Ids and error ids are somebody else's, and what is copied here is pasted
 * into a terminal.
 */
const isWord = (text: string): boolean => /^[A-Za-z0-9_][A-Za-z0-9_-]{0,63}$/.test(text);

/** A command with words of somebody else's in it; none where one of them is more than a word. */
export const commandWith = (words: readonly string[], text: string): ComponentChild =>
  words.every(isWord) ? command(text) : h('span', { class: 'soft' }, 'no command: its id is no plain word');

/** A command for a terminal. It is copied by a click where the browser lets pages do that, and selected by one where not. */
export const command = (text: string): ComponentChild =>
  h(
    'span',
    { class: 'command' },
    h('code', {}, text),
    h(
      'button',
      {
        type: 'button',
        'aria-label': `copy: ${text}`,
        onClick: ({ currentTarget }: { currentTarget: HTMLButtonElement }) => {
          const said = (word: string) => {
            currentTarget.textContent = word;
          };
          const select = () => getSelection()?.selectAllChildren(currentTarget.previousElementSibling!);
          const { clipboard } = navigator as { clipboard?: Clipboard };
          if (!clipboard) select();
          else clipboard.writeText(text).then(() => said('copied'), select);
        },
      },
      'copy',
    ),
  );

export const empty = (...children: ComponentChild[]): ComponentChild => h('p', { class: 'empty' }, children);

/** What was asked of each published model, or why there is nothing to show yet. */
export const ofModels = <T>(
  title: string,
  { answer, error }: { readonly answer?: readonly T[]; readonly error?: string },
  one: (found: T) => ComponentChild,
): ComponentChild =>
  answer === undefined
    ? card(title, empty(error ?? 'Asking…'))
    : answer.length === 0
      ? card(title, empty('No model is published. ', h('code', {}, 'vouch model add'), ' publishes one.'))
      : answer.map(one);

/** 1234567 is "1.23 M". */
export function short(value: number): string {
  if (!Number.isFinite(value)) return '';
  const [unit, size] = (
    [
      ['G', 1e9],
      ['M', 1e6],
      ['k', 1e3],
    ] as const
  ).find(([, least]) => Math.abs(value) >= least) ?? ['', 1];
  const scaled = value / size;
  const text = String(Number(scaled.toPrecision(3)));
  return unit === '' ? text : `${text} ${unit}`;
}
