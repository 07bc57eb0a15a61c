/** The generated parts of docs/MODELS.md. Run as a program it renews them: `npm run models`. */
import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { problemLine, readGraph } from '../../circuits/model/graph.ts';
import { readOnnx } from '../../circuits/model/onnx.ts';
import { REFUSED } from '../../circuits/model/operators/refused.ts';
import { SUPPORTED } from '../../circuits/model/operators/table.ts';

export const DOCUMENT = fileURLToPath(new URL('../../docs/MODELS.md', import.meta.url));
const CASES = new URL('../../../shared/data/onnx/', import.meta.url);

const operators = (): string => `${SUPPORTED.toSorted().join(', ')}.`;

const refused = (): string =>
  Object.entries(REFUSED)
    .map(([name, { reason, fix }]) => `- ${name}: ${reason}; ${fix}`)
    .join('\n');

function cases(): string {
  const lines = readdirSync(CASES)
    .filter((name) => name.startsWith('test_'))
    .map((name) => {
      const { network, problems } = readGraph(readOnnx(readFileSync(new URL(`${name}/model.onnx`, CASES))), {
        tensors: false,
      });
      const result = network
        ? `read: ${network.layers.map(({ inputs, outputs }) => `${inputs}x${outputs}`).join(', ')}`
        : `refused: ${problemLine(problems[0]!)}`;
      return `| ${name.slice('test_'.length)} | ${result.replaceAll('|', '/')} |`;
    });
  return ['| case | result |', '|---|---|', ...lines].join('\n');
}

/** The document with its generated parts renewed; the cases stay as they are where they are not there to be tried. */
export function render(document: string): string {
  const parts = { operators, refused, ...(existsSync(CASES) ? { cases } : {}) };
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
