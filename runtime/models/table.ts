/**
 * Tables as people have them: comma-separated values as RFC 4180 describes them (quoted cells, doubled quotes, line breaks
 * inside of quotes), or cells separated by semicolons, tabs or spaces. The separator is the first of these that the first
 * line has outside of quotes.
 */
import { VouchError } from '../../protocols/errors.ts';

export interface TableLine {
  /** in the file, from 1 */
  readonly line: number;
  readonly cells: readonly string[];
}

/** of a header; beyond it no separator is looked for */
const MAX_LINE = 1024 * 1024;
/** 64 MiB, well above any table that a proof could be about */
const MAX_CHARACTERS = 64 * 1024 * 1024;

/** The lines of a table that are not empty. Throws `bad-file` for none, and for a quote that never ends. */
export function readTable(text: string): TableLine[] {
  if (text.length > MAX_CHARACTERS) throw bad('the file is larger than 64 MiB');
  const body = text.replace(/^\uFEFF/, '');
  if (body.trim() === '') throw bad('the file is empty; expected one row per line');
  // What is in quotes is no separator, and no end of the line.
  const plain = body
    .slice(0, MAX_LINE)
    .replaceAll(/"[^"]*"/g, '')
    .trimStart()
    .split('\n')[0]!;
  const separator = [',', ';', '\t'].find((each) => plain.includes(each));
  const lines = separator === undefined ? spaced(body) : separated(body, separator);
  return lines.filter(({ cells }) => cells.some((cell) => cell !== ''));
}

const spaced = (body: string): TableLine[] =>
  body.split(/\r?\n/).map((line, i) => ({ line: i + 1, cells: line.trim().split(/\s+/) }));

function separated(body: string, separator: string): TableLine[] {
  const lines: TableLine[] = [];
  let cells: string[] = [];
  let cell = '';
  let quoted = false;
  let wasQuoted = false;
  let line = 1;
  let began = 1;
  const endCell = (): void => {
    cells.push(wasQuoted ? cell : cell.trim());
    cell = '';
    wasQuoted = false;
  };
  const endLine = (): void => {
    endCell();
    lines.push({ line: began, cells });
    cells = [];
    began = line;
  };
  for (let i = 0; i < body.length; i++) {
    const c = body[i]!;
    if (c === '\n') line++;
    if (quoted) {
      if (c !== '"') cell += c;
      else if (body[i + 1] === '"') {
        cell += '"';
        i++;
      } else quoted = false;
    } else if (c === '"' && cell.trim() === '') {
      quoted = true;
      wasQuoted = true;
      cell = '';
    } else if (c === separator) endCell();
    else if (c === '\n') endLine();
    else if (c !== '\r' && !(wasQuoted && c.trim() === '')) cell += c;
  }
  if (quoted) throw bad(`line ${began}: a quote that never ends`);
  if (cell !== '' || cells.length > 0) endLine();
  return lines;
}

/** A line of comma-separated values. */
export const csvLine = (cells: readonly string[]): string =>
  `${cells.map((cell) => (/[",;\r\n\t]|^\s|\s$/.test(cell) ? `"${cell.replaceAll('"', '""')}"` : cell)).join(',')}\n`;

const bad = (message: string): VouchError => new VouchError('bad-file', `data: ${message}`);
