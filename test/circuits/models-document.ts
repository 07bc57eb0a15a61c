/** The generated parts of docs/MODELS.md. Run as a program it renews them: `npm run models`. */
import { readFileSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { circuitCost } from '../../circuits/model/cost.ts';
import { REFUSED } from '../../circuits/model/operators/refused.ts';
import { SUPPORTED } from '../../circuits/model/operators/table.ts';
import type { TensorOperation } from '../../circuits/model/tensors.ts';
import { caseNames, haveCases, tensorCase } from './onnx-cases.ts';

export const DOCUMENT = fileURLToPath(new URL('../../docs/MODELS.md', import.meta.url));

const operators = (): string => `${SUPPORTED.toSorted().join(', ')}.`;

const refused = (): string =>
  Object.entries(REFUSED)
    .map(([name, { reason, fix }]) => `- ${name}: ${reason}; ${fix}`)
    .join('\n');

function cases(): string {
  const lines = caseNames().map((name) => {
    const made = tensorCase(name);
    const result = made.problems
      ? `refused: ${made.problems.join(' / ')}`
      : `quantised within ${made.error.toPrecision(2)}, ${circuitCost(made.architecture, made.testSet).constraints} constraints at most: ${kindsOf(made.architecture.tensors!)}`;
    return `| ${name} | ${result.replaceAll('|', '/')} |`;
  });
  return ['| case | result |', '|---|---|', ...lines].join('\n');
}

const kindsOf = (operations: readonly TensorOperation[]): string =>
  operations.map(({ kind }) => kind).join(', ');

/** The document with its generated parts renewed; the cases stay as they are where they are not there to be tried. */
export function render(document: string): string {
  const parts = { operators, refused, ...(haveCases() ? { cases } : {}) };
  return Object.entries(parts).reduce(
    (text, [name, make]) =>
      text.replace(
        new RegExp(`<!-- ${name} -->\\n[\\s\\S]*?<!-- end -->`),
        () => `<!-- ${name} -->\n${make()}\n<!-- end -->`,
      ),
    document,
  );
}

if (process.argv[1] === fileURLToPath(import.meta.url))
  writeFileSync(DOCUMENT, render(readFileSync(DOCUMENT, 'utf8')));
