/** A scenario from its folder to a proof that verifies, on this host; a second run finds what the first made. */
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { lintCommand } from '../../../runtime/commands/model-lint.ts';
import { runCommand } from '../../../runtime/commands/scenario.ts';
import { readScenario } from '../../../runtime/demo/scenario.ts';
import { assert, suite } from '../../harness.ts';
import { useHome } from '../home/home-fixture.ts';

const test = suite('scenario, proved', { timeoutMs: 120_000 });

interface Result {
  readonly proof: {
    commitment: string;
    threshold: number;
    constraints: number;
    seconds: { compile: number };
  };
  readonly models: readonly { kind: string; file: string; constraints: number }[];
}

test('credit-risk on generated rows: at least 73 % of 300, twice by the same model', async (t) => {
  useHome();
  const out = mkdtempSync(path.join(tmpdir(), 'vouch-scenario-'));
  t.defer(() => rmSync(out, { recursive: true, force: true }));
  const run = async (): Promise<Result> => {
    const printed: unknown[] = [];
    const context = { print: (value: unknown) => void printed.push(value), say: () => {}, signal: t.signal };
    assert.ok(await runCommand('credit-risk', { json: true, out }, context));
    return printed[0] as Result;
  };
  const first = await run();
  assert.is(first.proof.threshold, 219);
  const { file, constraints } = first.models.find(({ kind }) => kind === 'logistic')!;
  assert.is(first.proof.constraints, constraints, 'as lint said');
  const again = await run();
  assert.is(again.proof.commitment, first.proof.commitment);
  assert.is(again.proof.seconds.compile, 0);
  assert.ok(readFileSync(path.join(out, 'test.data'), 'utf8').split('\n').length > 300);

  // The file is linted as anybody's, from the folder's own dictionary.
  const lines: unknown[] = [];
  const dictionary = path.join(readScenario('credit-risk').folder, 'dictionary.json');
  const options = { dictionary, data: path.join(out, 'test.data'), rows: 50, json: false };
  assert.ok(await lintCommand(file, options, (line) => void lines.push(line)));
  assert.match(lines.join('\n'), /^time +[\d.]+ to [\d.]+ s to compile, about [\d.]+ s to make the key/m);
});

test.run();
