/**
 * The Python client against a real runner, and on the vectors of signatures and CBOR. Skipped, visibly, where no Python
 * with `cryptography` is installed.
 */
import { spawn, spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { evaluate } from '../../circuits/model/quantise.ts';
import { hex } from '../../protocols/encoding.ts';
import { verifyCommand } from '../../runtime/commands/verify.ts';
import { folder } from '../../runtime/home/home.ts';
import { credentials } from '../../runtime/installation/credentials.ts';
import { assert, suite, type TestContext } from '../harness.ts';
import { MODEL, serving } from '../runtime/roles/serving-fixture.ts';

const test = suite('Python client', { timeoutMs: 120_000 });
const CLIENT = fileURLToPath(new URL('../../clients/python', import.meta.url));
const NEEDS = 'import sys, cryptography; sys.exit(sys.version_info < (3, 11))';
// Debian's own first: it is the one that clients are written for.
const PYTHON = ['/usr/bin/python3', 'python3'].find((name) => spawnSync(name, ['-c', NEEDS]).status === 0);

/** Not synchronous: the runner answers from this process. */
async function python<T>(t: TestContext, given: unknown): Promise<T> {
  if (PYTHON === undefined) t.skip('no Python 3.11 with cryptography (apt-get install python3-cryptography)');
  const child = spawn(PYTHON!, ['-B', 'check.py'], { cwd: CLIENT, signal: t.signal });
  const [out, said] = [[] as string[], [] as string[]];
  child.stdout.setEncoding('utf8').on('data', (text: string) => out.push(text));
  child.stderr.setEncoding('utf8').on('data', (text: string) => said.push(text));
  child.stdin.end(JSON.stringify(given));
  const code = await new Promise((resolve) => child.once('close', resolve));
  assert.is(code, 0, said.join(''));
  return JSON.parse(out.join('')) as T;
}

test('it judges signatures as we do', async (t) => {
  const { wycheproof, speccheck } = JSON.parse(
    readFileSync(new URL('../vectors/ed25519.json', import.meta.url), 'utf8'),
  ) as { wycheproof: [string, [number, string, string, string][]][]; speccheck: string[][] };
  const vectors = [
    ...wycheproof.flatMap(([key, cases]) => cases.map(([, message, signature]) => [key, message, signature])),
    ...speccheck,
  ];
  const expected = [
    ...wycheproof.flatMap(([, cases]) => cases.map(([, , , result]) => result === 'valid')),
    ...speccheck.map((_, i) => i === 3),
  ];
  assert.equal(await python(t, { vectors }), expected);
});

test('it takes one encoding of CBOR', async (t) => {
  const good = [
    '00',
    '20',
    '1818',
    '42abcd',
    '6161',
    '820102',
    'a10102',
    'a26161016162f6',
    'f5',
    '1a00010000',
  ];
  const bad = [
    '1800',
    '190001',
    '5f42abcdff',
    'a2616201616101',
    'a201010101',
    'f97e00',
    'c100',
    '61ff',
    '00ff',
    '43ab',
  ];
  assert.equal(await python(t, { cbor: [...good, ...bad] }), [...good, ...bad.map(() => null)]);
});

test('it asks, opens and verifies, and refuses what it should; vouch verify takes its receipts', async (t) => {
  const { url, model, policies, vendor } = await serving(t);
  const kept = mkdtempSync(join(tmpdir(), 'vouch-python-'));
  t.defer(() => rmSync(kept, { recursive: true, force: true }));
  const rows = [
    ['0', '12', '-3', '5'],
    ['7', '-1', '4', '11'],
  ];
  const { labels, refused } = await python<{
    labels: [number, string, string][];
    refused: Record<string, string>;
  }>(t, {
    url,
    creds: await credentials('client', 'snake', folder('creds')),
    policy: policies.inference,
    vendor,
    model: MODEL,
    rows,
    folder: kept,
  });
  rows.forEach((row, i) => {
    const { decision } = evaluate(model, row.map(Number));
    assert.equal(labels[i]!.slice(0, 2), [decision, model.architecture.classes[decision]]);
  });
  assert.match(refused.measurement!, /the measurement/);
  assert.match(refused.simulated!, /SIMULATED evidence/);
  assert.match(refused.changed!, /^refused: /);
  assert.match(refused.row!, /^bad-input: /);
  assert.match(refused.model!, /nobody has published it/);
  assert.match(refused.vendor!, /the vendor/);
  const said: string[] = [];
  const accepted = await verifyCommand([join(kept, 'receipt.cose')], { json: false }, (line) =>
    said.push(String(line)),
  );
  assert.ok(accepted, said.join('\n'));
  assert.is(hex(readFileSync(join(kept, 'receipt.cose'))).slice(0, 2), 'a3');
});

test.run();
