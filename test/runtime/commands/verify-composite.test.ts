/** `vouch verify` and `vouch evidence` on composite receipts and documents, in processes of their own. */
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { writePolicies } from '../../../runtime/installation/policies.ts';
import { assert, suite } from '../../harness.ts';
import { composite, NOW, policyFor, receiptBy } from '../../protocols/composite-maker.ts';
import { newHome, vouch } from './cli-fixture.ts';

const test = suite('vouch verify: composite', { timeoutMs: 120_000 });
const NONCE = 'ab'.repeat(32);

interface Printed {
  readonly verdict: string;
  readonly checks: { id: string; status: string; detail: string }[];
  readonly claims: { label?: string; evidenceClaims?: { label: string; platform: string } };
}
const json = (text: string): Printed => JSON.parse(text) as Printed;
const failed = ({ checks }: Printed): string[] =>
  checks.filter(({ status }) => status === 'fail').map(({ id }) => id);

/** A home with this installation's policies, and a folder of collateral in it. */
async function installation(): Promise<string> {
  const home = newHome();
  process.env.VOUCH_HOME = home;
  await writePolicies();
  return home;
}

test('this host’s evidence, SIMULATED, is accepted by its own policy and by nobody else’s', async () => {
  const home = await installation();
  const file = path.join(home, 'evidence.json');
  const made = await vouch(home, ['evidence', '--nonce', NONCE, '--gpu', 'simulated', '--out', file]);
  assert.is(made.code, 0, made.stderr);
  assert.match(made.stderr, /^SIMULATED: evidence by simulated and simulated GPUs/);
  const right = await vouch(home, ['verify', file, '--nonce', NONCE, '--json']);
  assert.is(right.code, 0, right.stdout);
  const report = json(right.stdout);
  assert.equal([report.verdict, report.claims.label], ['accept', 'SIMULATED']);
  assert.is(report.checks.find(({ id }) => id === 'gpu.bound')?.status, 'pass');
  assert.ok(report.checks.every(({ detail }) => detail.startsWith('SIMULATED: ')));

  const other = await vouch(home, ['verify', file, '--nonce', 'cd'.repeat(32), '--json']);
  assert.is(other.code, 1);
  assert.equal(failed(json(other.stdout)), ['binding.nonce']);
  const stranger = await vouch(await installation(), ['verify', file, '--json']);
  assert.is(stranger.code, 1);
  assert.equal(failed(json(stranger.stdout)), ['simulated.root-pinned', 'gpu.root-pinned']);
  const old = await vouch(home, ['verify', file, '--at', '2025-01-01']);
  assert.is(old.code, 1);
  assert.match(old.stdout, /^fail +evidence\.fresh/m);
});

test('hardware that is not here is said in one sentence', async () => {
  const home = await installation();
  const nvidia = await vouch(home, ['evidence', '--nonce', NONCE, '--gpu', 'nvidia']);
  if (nvidia.code !== 0) assert.match(nvidia.stderr, /^vouch: nvidia: (nvidia-smi|nvattest): /);
  const tee = await vouch(home, ['evidence', '--nonce', NONCE, '--provider', 'configfs-tsm']);
  if (tee.code !== 0) assert.match(tee.stderr, /^vouch: configfs-tsm .*failed \(/);
  const wrong: [string[], RegExp][] = [
    [['--nonce', 'abc'], /expected 16 to 64 bytes as hex/],
    [['--nonce', 'ab'.repeat(65)], /expected 16 to 64 bytes as hex, got 65/],
    [['--nonce', NONCE, '--provider', 'sgx'], /Allowed choices are simulated, configfs-tsm/],
    [['--nonce', NONCE, '--provider', 'configfs-tsm', '--gpu', 'simulated'], /expected it beside/],
  ];
  for (const [words, message] of wrong) {
    const { code, stderr } = await vouch(home, ['evidence', ...words]);
    assert.is(code, 2, stderr);
    assert.match(stderr, message);
  }
});

test('a composite receipt by made-up vendors is read whole, and refused: their roots are not pinned', async () => {
  const home = await installation();
  const made = await composite();
  const { bundle } = await receiptBy(made);
  const file = path.join(home, 'receipt.cose');
  writeFileSync(file, bundle);
  const policy = path.join(home, 'policy.json');
  writeFileSync(policy, JSON.stringify(policyFor()));
  const folder = path.join(home, 'vendor');
  mkdirSync(folder);
  made.files.forEach(({ bytes }, i) => {
    writeFileSync(path.join(folder, String(i)), bytes);
  });
  const words = ['verify', file, '--policy', policy, '--collateral', folder, '--at', NOW.toISOString()];
  const { code, stdout } = await vouch(home, [...words, '--json']);
  assert.is(code, 1);
  const report = json(stdout);
  const failures = failed(report);
  // Only trust is missing: every signature and every binding holds.
  for (const id of failures) assert.match(id, /^(tdx\..*chain|gpu\.chain|rim\..*chain)/);
  assert.ok(failures.includes('tdx.pck-chain') && failures.includes('gpu.chain'));
  const status = (id: string) => report.checks.find((check) => check.id === id)?.status;
  for (const id of ['gpu.signature', 'gpu.nonce', 'receipt.signature', 'tdx.quote-signature']) {
    assert.is(status(id), 'pass', id);
  }
  const later = await vouch(home, [...words.slice(0, -1), '2026-03-01', '--json']);
  assert.ok(failed(json(later.stdout)).includes('tdx.tcb-info-dates'));
  const missing = await vouch(home, [
    'verify',
    file,
    '--policy',
    policy,
    '--collateral',
    path.join(home, 'no'),
  ]);
  assert.is(missing.code, 2);
  assert.match(missing.stderr, /there is no such folder/);
  assert.is(readFileSync(file).length, bundle.length);
});

test.run();
