/**
 * Fused vectors: sums with V8's flag set, and that it is set only where a rehearsal was right. And the code that a
 * rehearsal has compiled: it is taken where it fits, and where it does not the process computes as ever.
 */
import { execFile } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { codeFile, fuseVectors, rehearseFusedVectors } from '../../../runtime/prove/fused-vectors.ts';
import { takeKeptCode } from '../../../runtime/prove/kept-code.ts';
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
  const [record] = readdirSync(join(home, 'cache/fused')).sort();
  const file = join(home, 'cache/fused', record!);
  assert.is(readFileSync(file, 'utf8'), verdict);
  assert.is(await rehearseFusedVectors((line) => said.push(line)), verdict);
  assert.is(said.length, 1);
  // The code is of a process with the flag, so that one without it has to compile.
  const taking = verdict === 'right' ? FLAG : '--no-experimental-wasm-revectorize';
  const modules = new URL('../../../runtime/', import.meta.url);
  const program = `
    const load = (name) => import('${modules}' + name);
    const { takeKeptCode } = await load('prove/kept-code.ts');
    const { createPool } = await load('msm/threads/pool.ts');
    const taken = takeKeptCode(${JSON.stringify(codeFile())});
    const pool = await createPool({ threads: 1 });
    const scalars = new Uint8Array(64 * 32).map((_, at) => (at * 7) % 29);
    const bases = await pool.multiples('G1', scalars);
    console.log(taken, Buffer.from(await pool.msm('G1', bases, scalars)).toString('hex'));
    await pool.close();`;
  const sumWith = async (flag: string) =>
    (await promisify(execFile)(process.execPath, [flag, '--input-type=module', '-e', program])).stdout
      .trim()
      .split(' ');
  const other = taking === FLAG ? '--no-experimental-wasm-revectorize' : FLAG;
  const [taken, sum] = await sumWith(taking);
  assert.is(taken, 'true');
  assert.equal(await sumWith(other), ['false', sum]);
  const code = readFileSync(codeFile());
  for (const at of [0, 40, code.length - 1]) {
    writeFileSync(
      codeFile(),
      code.map((byte, index) => (index === at ? byte ^ 1 : byte)),
    );
    assert.equal(await sumWith(taking), ['false', sum], `a changed byte ${at}`);
  }
  writeFileSync(codeFile(), code.subarray(0, 20));
  assert.is(takeKeptCode(codeFile()), false);
  assert.is(takeKeptCode(join(home, 'nothing')), false);
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
