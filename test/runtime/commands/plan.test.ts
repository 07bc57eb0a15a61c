import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { planCommand, readWorkers, tableOf } from '../../../runtime/commands/plan.ts';
import { assert, suite, type TestContext } from '../../harness.ts';

const test = suite('vouch plan', { timeoutMs: 60_000 });
const CLI = new URL('../../../runtime/commands/cli.ts', import.meta.url).pathname;

function fileOf(t: TestContext, content: unknown): string {
  const folder = mkdtempSync(path.join(tmpdir(), 'vouch-plan-'));
  t.defer(() => rmSync(folder, { recursive: true, force: true }));
  const file = path.join(folder, 'workers.json');
  writeFileSync(file, typeof content === 'string' ? content : JSON.stringify(content));
  return file;
}
const FLEET = {
  nodes: [
    { id: 'gpu', count: 2, g1: 3e6, g2: 1e6 },
    { id: 'far', g1: 3e5, g2: 1e5, megabitsPerSecond: 50, roundTripMs: 40 },
  ],
};

test('prints what each node would do, how long phases take, what bounds them, and that it is a model', async (t) => {
  const lines: string[] = [];
  const options = { workers: fileOf(t, FLEET), domain: 2 ** 18, bits: 0.9, json: false, table: false };
  await planCommand(options, (line) => lines.push(String(line)));
  const text = lines.join('\n');
  assert.match(lines[0]!, /^MODELLED/);
  for (const word of ['gpu-1', 'gpu-2', 'far', 'witness', 'transform', 'wires', 'quotient', 'finish'])
    assert.match(text, new RegExp(`^${word} `, 'm'));
  assert.match(text, /^bound by coordinator's CPU: witness/m);
  assert.match(text, /^a further node like gpu-1: /m);
});

test('--json has every piece, and what travels is counted', async (t) => {
  const printed: unknown[] = [];
  const options = { workers: fileOf(t, FLEET), domain: 2 ** 16, bits: 1, json: true, table: false };
  await planCommand(options, (value) => printed.push(value));
  const plan = printed[0] as { modelled: boolean; bytes: number; pieces: { piece: { part: string } }[] };
  assert.is(plan.modelled, true);
  assert.ok(plan.pieces.some(({ piece }) => piece.part === 'wires'));
  // All wires bits: an eighth of a byte a wire, 32 bytes a row of the quotient, and copies.
  const least = 2 ** 16 * (32 + 1 / 8);
  assert.ok(plan.bytes >= least && plan.bytes < 1.3 * least);
});

test('more equal nodes are never modelled slower by more than a few percent', (t) => {
  const installation = readWorkers(fileOf(t, { nodes: [{ id: 'n', g1: 5e5, g2: 2e5 }] }));
  for (const { cells } of tableOf(installation, 0.9, { bits: [16, 18], nodes: [1, 2, 8, 32] }))
    for (const [index, cell] of cells.entries())
      if (index > 0) assert.ok(cell.totalMs <= cells[index - 1]!.totalMs * 1.05);
});

test('wrong use ends with 2 and a sentence that names the field', (t) => {
  const run = (content: unknown, ...more: string[]) => {
    const words = ['plan', '--workers', fileOf(t, content), ...more];
    const { status, stderr } = spawnSync(process.execPath, [CLI, ...words], { encoding: 'utf8' });
    return { status, stderr };
  };
  for (const [content, words, sentence] of [
    ['{', ['--domain', '2^10'], /expected JSON/],
    [{ nodes: [] }, ['--domain', '2^10'], /nodes: /],
    [{ nodes: [{ id: 'a', g1: 0, g2: 1 }] }, ['--domain', '2^10'], /nodes\.0\.g1: /],
    [{ nodes: [{ id: 'a', g1: 1e5, g2: 1e5, speed: 1 }] }, ['--domain', '2^10'], /speed/],
    [{ nodes: [1, 2].map(() => ({ id: 'a', g1: 1e5, g2: 1e5 })) }, ['--domain', '2^10'], /a twice/],
    [FLEET, ['--domain', '1000'], /expected a power of two from 2\^8 to 2\^27/],
    [FLEET, ['--domain', '2^10', '--bits', '90'], /expected a number from 0 to 1/],
    [FLEET, [], /--domain: expected the number of constraints/],
  ] as const) {
    const { status, stderr } = run(content, ...words);
    assert.is(status, 2, stderr);
    assert.match(stderr, sentence);
  }
});

test.run();
