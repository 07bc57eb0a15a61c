/**
 * The GPU's benchmark as it is run on a machine with a GPU, only small: its checks, and rows that say what made them. The
 * part with several processes is left out, because each would compile for seconds.
 */
import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { assert, suite } from '../harness.ts';
import { ROOT } from './sources.ts';

const test = suite('GPU benchmark', { timeoutMs: 240_000 });

test('runs through at 2^8, and its rows are labelled where the adapter is software', () => {
  const { stdout, stderr, status } = spawnSync(
    process.execPath,
    [
      join(ROOT, 'test/bench/run.ts'),
      'gpu',
      '--json',
      '--max-bits',
      '8',
      '--rows',
      'multiply|products|sum of|transform|proof',
    ],
    { encoding: 'utf8', timeout: 230_000 },
  );
  assert.is(status, 0, stderr);
  const { rows } = JSON.parse(stdout) as { rows: { name: string; ours: number }[] };
  const names = rows.map(({ name }) => name);
  for (const part of [
    /multiply-adds/,
    /products by words/,
    /G1 sum of 2\^8.*resident$/,
    /G2 sum of 2\^8.*: buckets/,
    /transform of 2\^8/,
    /proof of 2\^8 .*cold/,
    /proof of 2\^8 .*resident$/,
  ]) {
    assert.ok(
      names.some((name) => part.test(name)),
      `${part} among ${names.join('; ')}`,
    );
  }
  assert.ok(rows.every(({ ours }) => ours > 0));
  if (/software/i.test(stderr)) assert.ok(names.every((name) => name.startsWith('SOFTWARE')));
  assert.match(stderr, /Vulkan drivers: \S/);
});

test.run();
