/** The benchmarks' frame: what a row says, and what wrong use is told. The benchmarks themselves are run by hand. */
import { spawnSync } from 'node:child_process';
import { R } from '../../circuits/groth16/field.ts';
import { addPoints } from '../../circuits/groth16/point.ts';
import { nameOf } from '../bench/memory.ts';
import { row, table } from '../bench/result.ts';
import { dotProduct, multipleOf, simulatedKey } from '../bench/simulated-engine.ts';
import { median, quantile } from '../bench/statistics.ts';
import { assert, suite } from '../harness.ts';
import { ROOT } from './sources.ts';

const test = suite('bench');

test('the median and quantiles are of the samples, in any order', () => {
  assert.is(median([3, 1, 2]), 2);
  assert.is(median([4, 1, 3, 2]), 2.5);
  assert.is(median([7]), 7);
  const hundred = Array.from({ length: 100 }, (_, i) => 100 - i);
  assert.is(quantile(hundred, 0.5), 50);
  assert.is(quantile(hundred, 0.99), 99);
  assert.is(quantile(hundred, 1), 100);
  assert.throws(() => median([]), /at least one/);
  assert.throws(() => quantile([], 0.5), /at least one/);
});

test('a bound holds for our number, or for the ratio where there is a peer', () => {
  const alone = row({ name: 'a', unit: 'ms', ours: 9.99, must: 10 });
  assert.equal(alone, {
    name: 'a',
    unit: 'ms',
    ours: 9.99,
    peer: null,
    peerName: null,
    ratio: null,
    must: 10,
    aim: null,
    pass: true,
    tables: null,
  });
  const tables = { seconds: 4, mebibytes: 300, paidAfter: 12 };
  assert.equal(row({ name: 'a', unit: 'ms', ours: 1, tables }).tables, tables);
  assert.is(row({ name: 'a', unit: 'ms', ours: 10.001, must: 10 }).pass, false, 'compared before rounding');
  assert.is(row({ name: 'a', unit: '1/s', better: 'more', ours: 9, must: 10 }).pass, false);
  assert.is(row({ name: 'a', unit: 's', ours: 1 }).pass, null);

  const peer = { name: 'snarkjs', value: 12 };
  const beside = row({ name: 'a', unit: 's', ours: 3, peer, must: 4, aim: 6 });
  assert.is(beside.ratio, 4);
  assert.is(beside.pass, true);
  assert.is(row({ name: 'a', unit: 's', ours: 4, peer, must: 4 }).pass, false);
  assert.is(row({ name: 'a', unit: '1/s', better: 'more', ours: 24, peer, must: 2 }).ratio, 2);
});

test('a table has a line per row, and says so when a bound does not hold', () => {
  const lines = table([
    row({ name: 'fast', unit: 's', ours: 1, peer: { name: 'snarkjs', value: 2 }, must: 1.5 }),
    row({ name: 'slow', unit: 's', ours: 61, must: 60 }),
  ]).split('\n');
  assert.is(lines.length, 4);
  assert.match(lines[2]!, /fast .*2 \(snarkjs\).* 2x .* 1\.5x .* yes /);
  assert.match(lines[3]!, /slow .* 61 .* 60 .* NO /);
  assert.is(new Set(lines.map((line) => line.length)).size, 1, 'aligned');
});

test('a process is named by what it does', () => {
  const node = '/x/node_modules/.bin/node /x/runtime/commands/cli.ts';
  assert.is(nameOf(`${node} start worker --id worker-2 --nats nats://127.0.0.1:4222`), 'worker-2');
  assert.is(nameOf('node runtime/commands/cli.ts demo --once --json'), 'main');
  assert.is(nameOf('nats-server -c /x/.vouch/nats/nats.conf -a 127.0.0.1 -p 4222'), 'nats-server');
  assert.is(nameOf('sh -c exec node runtime/commands/cli.ts demo --once'), undefined);
  assert.is(nameOf('/bin/sh -c read -r _; kill -TERM "$1" sh 4711'), undefined);
});

test('wrong use is told in one sentence, with exit code 2 and nothing on stdout', () => {
  for (const args of [['no-such-benchmark'], [], ['--no-such-option', 'main'], ['main', '--rows', '(']]) {
    const { status, stdout, stderr } = spawnSync(process.execPath, ['test/bench/run.ts', ...args], {
      cwd: ROOT,
      encoding: 'utf8',
    });
    assert.is(status, 2, stderr);
    assert.is(stdout, '');
    assert.match(stderr, /^bench: .*; expected names among: main\b.*\n$/);
  }
});

test('simulated sums are what the known multiples of the generator give', () => {
  const rows = 5000;
  const scalars = new Uint8Array(rows * 32);
  const values = Array.from({ length: rows }, (_, i) => {
    const value = i % 3 === 0 ? BigInt(i % 2) : (BigInt(i + 1) ** 23n * 0x1234_5678_9abc_def1n) % R;
    for (let byte = 0; byte < 32; byte++)
      scalars[i * 32 + byte] = Number((value >> BigInt(8 * byte)) & 0xffn);
    return value;
  });
  const first = 2 ** 26 - rows;
  const expected = values.reduce((sum, value, i) => sum + value * BigInt(first + i + 1), 0n) % R;
  const wide = values.filter((value) => value > 1n).length;
  assert.equal(dotProduct(scalars, first), { product: expected, wide });
  for (const group of ['G1', 'G2'] as const)
    assert.equal(
      multipleOf(group, 12n),
      addPoints(group, [multipleOf(group, 5n), multipleOf(group, 7n)], 'sum'),
    );
});

test('a simulated key finds its rows again by chunk and offset', () => {
  const { shape, manifest, rowAt } = simulatedKey(2 ** 18);
  const chunkBytes = manifest.chunks[0]!.size;
  for (const [section, size, skipped] of [
    ['A', 64, 0],
    ['B2', 128, 0],
    ['C', 64, 2],
    ['H', 64, 0],
  ] as const)
    for (const base of [0, 1, 131_071, 200_000]) {
      const at = shape.range(section).offset + base * size;
      const chunk = manifest.chunks[Math.floor(at / chunkBytes)]!.sha256;
      assert.is(rowAt(section, chunk, at % chunkBytes), base + skipped);
    }
});

test.run();
