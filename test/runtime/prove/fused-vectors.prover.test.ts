/** Fused vectors: sums with V8's flag set, and that it is set only where a rehearsal was right. */
import { execFile } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { fuseVectors, rehearseFusedVectors } from '../../../runtime/prove/fused-vectors.ts';
import { assert, suite } from '../../harness.ts';

const test = suite('fused vectors', { timeoutMs: 280_000 });
const FLAG = '--experimental-wasm-revectorize';

for (const name of ['field', 'msm']) {
  test(`all that ${name}.prover.test.ts demands holds with fused vectors`, async (t) => {
    const file = fileURLToPath(new URL(`../msm/wasm/${name}.prover.test.ts`, import.meta.url));
    // It ends with another code when a test fails.
    await promisify(execFile)(process.execPath, [FLAG, file], { signal: t.signal });
  });
}

test('the flag is set after a rehearsal that was right, and after no other', async (t) => {
  const home = mkdtempSync(join(tmpdir(), 'vouch-fused-'));
  const before = process.env.VOUCH_HOME;
  process.env.VOUCH_HOME = home;
  t.defer(() => {
    if (before === undefined) delete process.env.VOUCH_HOME;
    else process.env.VOUCH_HOME = before;
    rmSync(home, { recursive: true });
  });
  assert.is(fuseVectors(), false);
  const said: string[] = [];
  const verdict = await rehearseFusedVectors((line) => said.push(line));
  assert.is(said.length, 1);
  const [record] = readdirSync(join(home, 'cache/fused'));
  const file = join(home, 'cache/fused', record!);
  assert.is(readFileSync(file, 'utf8'), verdict);
  assert.is(await rehearseFusedVectors((line) => said.push(line)), verdict);
  assert.is(said.length, 1);
  for (const [text, set] of [
    ['wrong', false],
    ['', false],
    ['righteous', false],
    ['right', true],
  ] as const) {
    writeFileSync(file, text);
    assert.is(fuseVectors(), set, text);
  }
});

test.run();
