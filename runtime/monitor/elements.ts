/** The few things the page does with the DOM. Text becomes text nodes; nothing here reads markup. */

export function byId(id: string): HTMLElement {
  const node = document.getElementById(id);
  if (node === null) throw new Error(`the page has no #${id}`);
  return node;
}

export function make<Tag extends keyof HTMLElementTagNameMap>(
  tag: Tag,
  className = '',
  ...children: (Node | string)[]
): HTMLElementTagNameMap[Tag] {
  const node = document.createElement(tag);
  node.className = className;
  node.append(...children);
  return node;
}

/** Writes only what differs, so that a selection, a focus or a screen reader is not disturbed. */
export function setText(node: HTMLElement, text: string): void {
  if (node.textContent !== text) node.textContent = text;
}

export function setClass(node: HTMLElement, className: string): void {
  if (node.className !== className) node.className = className;
}

export interface Part<T> {
  readonly node: HTMLElement;
  update(item: T): void;
}

/** Keeps `parent`'s children equal to the items, by key, in order. */
export function list<T>(parent: HTMLElement, key: (item: T) => string, create: () => Part<T>) {
  const parts = new Map<string, Part<T>>();
  return (items: readonly T[]): void => {
    const wanted = new Set(items.map(key));
    for (const [name, part] of parts) {
      if (wanted.has(name)) continue;
      part.node.remove();
      parts.delete(name);
    }
    let next = parent.firstElementChild;
    for (const item of items) {
      const name = key(item);
      const part = parts.get(name) ?? create();
      parts.set(name, part);
      part.update(item);
      if (part.node === next) next = next.nextElementSibling;
      else parent.insertBefore(part.node, next);
    }
  };
}

export interface Column<T> {
  readonly title: string;
  readonly className?: string;
  /** fills a cell once and returns what keeps it current */
  readonly cell: (cell: HTMLElement) => (item: T) => void;
}

/** A table whose first column names the row. */
export function table<T>(
  parent: HTMLElement,
  caption: string,
  key: (item: T) => string,
  columns: readonly Column<T>[],
) {
  const head = make('tr');
  for (const { title, className } of columns) {
    const cell = make('th', className, title);
    cell.scope = 'col';
    head.append(cell);
  }
  const body = make('tbody');
  parent.append(make('table', '', make('caption', 'unseen', caption), make('thead', '', head), body));
  return list(body, key, () => {
    const row = make('tr');
    const updates = columns.map(({ className, cell }, index) => {
      const node = make(index === 0 ? 'th' : 'td', className);
      if (node instanceof HTMLTableCellElement && index === 0) node.scope = 'row';
      row.append(node);
      return cell(node);
    });
    return {
      node: row,
      update: (item: T) => {
        for (const update of updates) update(item);
      },
    };
  });
}

/** A cell that holds text alone. */
export const text =
  <T>(of: (item: T) => string) =>
  (cell: HTMLElement) =>
  (item: T): void =>
    setText(cell, of(item));

export const code =
  <T>(of: (item: T) => string) =>
  (cell: HTMLElement) => {
    const node = cell.appendChild(make('code'));
    return (item: T): void => setText(node, of(item));
  };
