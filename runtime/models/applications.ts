/**
 * Credit applications, or whatever a model takes, as people write them: JSON or lines of cells. Every row is
 * checked here, before anything is sealed; the runner checks it again.
 */
import { z } from 'zod';
import { cellsOf, type Preprocessing, preprocess } from '../../circuits/model/preprocessing.ts';
import { messageOf, VouchError } from '../../protocols/errors.ts';

/**
 * Rows of cells from JSON (an array of cells or an object by column name, or an array of such) or from lines
 * whose cells are separated by commas, tabs or spaces. A label at the end of a row, and a header with the columns' names,
 * are left out. Throws `bad-input`, which names the row and the column.
 */
export function readApplications(text: string, preprocessing: Preprocessing): string[][] {
  const names = preprocessing.columns.map(({ name }) => name);
  const json = /^\s*[[{]/.test(text);
  const rows = json ? jsonRows(text, preprocessing) : lineRows(text, names);
  if (rows.length === 0)
    throw new VouchError('bad-input', 'applications: expected at least one row, the input is empty');
  return rows.map((row, i) => {
    const cells = row.length === names.length + 1 ? row.slice(0, -1) : row;
    const line = `row ${i + 1}`;
    if (cells.length !== names.length) {
      throw new VouchError(
        'bad-input',
        `${line}: expected ${names.length} cells (${names.slice(0, 3).join(', ')}, ...), got ${row.length}`,
      );
    }
    try {
      preprocess(preprocessing, cells);
    } catch (error) {
      throw new VouchError('bad-input', `${line}: ${messageOf(error)}`);
    }
    return cells;
  });
}

const Cell = z.union([z.string(), z.number().transform(String)]);

function jsonRows(text: string, preprocessing: Preprocessing): string[][] {
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch (error) {
    throw new VouchError('bad-input', `applications: expected JSON or lines of cells; ${messageOf(error)}`);
  }
  const many = Array.isArray(json) && json.every((entry) => typeof entry === 'object' && entry !== null);
  return (many ? (json as unknown[]) : [json]).map((entry, i) => {
    if (!Array.isArray(entry)) {
      try {
        return cellsOf(preprocessing, entry as Record<string, unknown>);
      } catch (error) {
        throw new VouchError('bad-input', `row ${i + 1}: ${messageOf(error)}`);
      }
    }
    const cells = z.array(Cell).safeParse(entry);
    if (!cells.success)
      throw new VouchError('bad-input', `row ${i + 1}: expected an array of strings or numbers`);
    return cells.data;
  });
}

function lineRows(text: string, names: readonly string[]): string[][] {
  const rows = text
    .replace(/^\uFEFF/, '')
    .split(/\r?\n/)
    .filter((line) => line.trim() !== '')
    .map((line) =>
      (line.includes(',') ? line.split(',') : line.trim().split(/\s+/)).map((cell) =>
        cell.trim().replace(/^"(.*)"$/, '$1'),
      ),
    );
  return rows[0]?.[0] === names[0] ? rows.slice(1) : rows;
}
