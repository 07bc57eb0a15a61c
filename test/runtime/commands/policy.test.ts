import { execFileSync, spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { explainPolicy } from '../../../protocols/attestation/explain.ts';
import { BUILT_IN, parseEvidencePolicy, parsePolicy } from '../../../protocols/attestation/policy.ts';
import { initPolicy, policyFrom } from '../../../runtime/commands/policy.ts';
import { verifyEvidenceFiles } from '../../../runtime/commands/verify-evidence.ts';
import { assert, suite, type TestContext } from '../../harness.ts';

const test = suite('vouch policy', { timeoutMs: 60_000 });
const VECTORS = new URL('../../../../shared/vectors/', import.meta.url).pathname;
const CLI = new URL('../../../runtime/commands/cli.ts', import.meta.url).pathname;
const at = (name: string): string => path.join(VECTORS, name);
const TDX = [at('intel/quotes/tdx_v4_dcapqvl.bin'), at('intel/collateral/dcapqvl_tdx_quote_collateral.json')];
const SNP = [at('amd/reports/trustee_v2_milan.bin'), at('amd/certs/trustee_vcek.der')];
const GPU = [
  at('nvidia/reports/sdk_hopper_535.86.09.hex'),
  at('nvidia/reports/sdk_hopper_535.86.09.chain.pem'),
];
const NONCE = '27a328247bf7935c993341cf587be6f05986ccce4fe7ba2c54100bd616a58f66';

function folderOf(t: TestContext): string {
  if (!existsSync(VECTORS)) t.skip('no ../shared/vectors');
  const folder = mkdtempSync(path.join(tmpdir(), 'vouch-policy-'));
  t.defer(() => rmSync(folder, { recursive: true, force: true }));
  const before = process.env.VOUCH_HOME;
  process.env.VOUCH_HOME = folder;
  t.defer(() => {
    if (before === undefined) delete process.env.VOUCH_HOME;
    else process.env.VOUCH_HOME = before;
  });
  return folder;
}

async function init(files: string[], options: Parameters<typeof initPolicy>[1]) {
  const printed: unknown[] = [];
  const warnings: string[] = [];
  await initPolicy(
    files,
    options,
    (value) => printed.push(value),
    (line) => warnings.push(line),
  );
  return { policy: printed.length === 0 ? undefined : parsePolicy(JSON.parse(String(printed[0]))), warnings };
}

test('the policy that evidence writes accepts it, and no other', async (t) => {
  const file = path.join(folderOf(t), 'policy.json');
  const { warnings } = await init(TDX, { at: '2025-07-04', out: file });
  assert.equal(warnings, []);
  const judge = async (files: string[], when: string) => {
    const rows: string[] = [];
    const accepted = await verifyEvidenceFiles(files, { policy: file, at: when, json: false }, (row) =>
      rows.push(String(row)),
    );
    return { accepted, failed: rows.filter((row) => /^fail /.test(row)).map((row) => row.split(/ +/)[1]!) };
  };
  assert.equal(await judge(TDX, '2025-07-04'), { accepted: true, failed: [] });
  const other = [
    at('intel/quotes/tdx_v5_td15_dcapqvl_outdated.bin'),
    at('intel/collateral/dcapqvl_tdx_quote_outdated_collateral.json'),
  ];
  const { accepted, failed } = await judge(other, '2026-03-05');
  assert.not.ok(accepted);
  for (const id of ['tdx.measurement', 'tdx.minimum-svns', 'tdx.platform-id'])
    assert.ok(failed.includes(id), id);
  assert.equal((await judge(SNP, '2024-01-01')).failed.includes('snp.platform-allowed'), true);
});

test('it names what the evidence has, stays strict, and says what the evidence lacks', async (t) => {
  folderOf(t);
  const snp = await init(SNP, { at: '2024-01-01' });
  assert.equal(snp.policy?.platforms, ['sev-snp']);
  // The least of reported, committed and launch.
  assert.equal(snp.policy?.amd?.minimumTcb, { bootloader: 3, tee: 0, snp: 8, microcode: 115 });
  assert.is(snp.policy?.amd?.revocation, 'required');
  assert.is(snp.policy?.amd?.chipIds?.length, 1);
  assert.is(snp.policy?.intel, undefined);
  assert.ok(snp.warnings.some((line) => line.includes('snp.chain-revocation')));
  const gpu = await init(GPU, { nonce: NONCE });
  assert.equal(gpu.policy?.gpu?.drivers, ['535.86.09']);
  assert.is(gpu.policy?.gpu?.count, 1);
  assert.is(gpu.policy?.gpu?.guestState, 'required');
  const both = await init([...SNP, ...GPU], { at: '2024-01-01', nonce: NONCE });
  assert.equal(both.policy?.platforms, ['sev-snp', 'nvidia-gpu']);
  const sgx = [
    at('intel/quotes/sgx_v3_dcapqvl.bin'),
    at('intel/collateral/dcapqvl_sgx_quote_collateral.json'),
  ];
  const [build] = (await init(sgx, { at: '2025-07-04' })).policy!.measurements!;
  assert.equal(Object.keys(build as object), ['measurement', 'mrsigner', 'isvProdId', 'minimumIsvSvn']);
});

test('nothing is written for what no hardware signed', async (t) => {
  const file = path.join(folderOf(t), 'policy.json');
  const forged = path.join(path.dirname(file), 'forged');
  const quote = readFileSync(TDX[0]!);
  quote[700]! ^= 1;
  writeFileSync(forged, quote);
  for (const files of [[forged, TDX[1]!], [TDX[1]!]]) {
    try {
      await init(files, { at: '2025-07-04', out: file });
      assert.unreachable();
    } catch (error) {
      assert.match((error as Error).message, 'no evidence whose signatures hold');
    }
  }
  assert.not.ok(existsSync(file));
});

test('explain names every demand and every hole', () => {
  const strict = explainPolicy(BUILT_IN.strict).join('\n');
  const genuine = explainPolicy(BUILT_IN.genuine).join('\n');
  assert.match(strict, 'Simulated evidence is refused');
  assert.match(strict, 'unknown revocation is a failure');
  assert.match(strict, 'must each be UpToDate;');
  assert.match(genuine, 'VMPL 0 to 3');
  assert.match(genuine, 'unknown revocation is accepted');
  const policy = parseEvidencePolicy({
    version: 1,
    platforms: ['simulated', 'tdx', 'hyperenclave'],
    minimumTcb: { simulated: [1] },
    simulated: true,
    simulatedRoots: ['ab'.repeat(32)],
    debug: true,
    measurements: ['cd'.repeat(48), { mrsigner: 'ef'.repeat(32), minimumIsvSvn: 3 }],
    intel: {
      graceDays: 30,
      advisories: ['INTEL-SA-00615'],
      minimumSvns: { pce: 13 },
      platformIds: ['00'.repeat(16)],
    },
  });
  const warnings = explainPolicy(policy).join('\n');
  for (const part of [
    'SIMULATED evidence is accepted from 1 pinned root',
    'Debug mode is accepted: the host can read the memory',
    'cd'.repeat(48),
    'IsvSvn at least 3',
    'accepted for 30 more days',
    'INTEL-SA-00615',
    'pce 13',
    '1 platform accepted',
    'only a simulator is public',
  ]) {
    assert.ok(warnings.includes(part), part);
  }
  assert.not.ok(warnings.includes('AMD'), 'platforms that are not accepted need no words');
});

test('a Nitro document writes the registers of its image, an instance those of its boot', () => {
  const pcr = (byte: string) => byte.repeat(48);
  const pcrs = {
    0: pcr('0a'),
    1: pcr('0b'),
    2: pcr('0c'),
    3: pcr('00'),
    4: pcr('0d'),
    8: pcr('00'),
    16: pcr('0e'),
  };
  const enclave = policyFrom([{ platform: 'nitro', measurement: pcr('0a'), pcrs }]);
  assert.equal(enclave.measurements, [{ pcr0: pcr('0a'), pcr1: pcr('0b'), pcr2: pcr('0c') }]);
  assert.equal(enclave.platforms, ['nitro']);
  const instance = policyFrom([{ platform: 'nitro-tpm', measurement: '', pcrs }]);
  assert.is(instance.measurements, undefined);
  assert.equal(instance.nitro?.tpmPcrs, { 0: [pcr('0a')], 1: [pcr('0b')], 2: [pcr('0c')], 4: [pcr('0d')] });
});

test('the JSON Schema in docs is the one of this code', () => {
  const text = execFileSync(process.execPath, [CLI, 'policy', 'schema'], { encoding: 'utf8' });
  const stored = readFileSync(new URL('../../../docs/policy.schema.json', import.meta.url), 'utf8');
  const anew = 'write it anew: runtime/vouch.mjs policy schema > docs/policy.schema.json';
  assert.equal(JSON.parse(stored), JSON.parse(text), anew);
  assert.is(JSON.parse(text).additionalProperties, false);
});

test('exit codes: wrong use is 2, refused is 1', (t) => {
  const folder = folderOf(t);
  const run = (...args: string[]) =>
    spawnSync(process.execPath, [CLI, 'policy', ...args], {
      encoding: 'utf8',
      env: { ...process.env, VOUCH_HOME: folder },
    }).status;
  assert.is(run('explain', 'genuine'), 0);
  assert.is(run('explain', '/no/such/policy'), 2);
  assert.is(run('init'), 2);
  assert.is(run('init', TDX[1]!), 1);
});

test('what others say of the software is demanded again', () => {
  const claim = {
    platform: 'sev-snp' as const,
    measurement: 'ab'.repeat(48),
    guestSvn: 0,
    vmpl: 0,
    tcb: { reported: {}, committed: {}, launch: {} },
    endorsement: { by: 'google', svn: 3 },
    provenance: [
      { issuer: 'https://issuer.example', subject: 'a@example.org', registers: ['measurement'] },
      { issuer: 'https://issuer.example', subject: 'x', repository: 'https://git.example/x', registers: [] },
      { issuer: 'https://issuer.example', subject: 'y', repository: 'https://git.example/x', registers: [] },
    ],
  };
  const { gce, provenance } = policyFrom([claim]);
  assert.is(gce?.minimumSvn, 3);
  assert.equal(provenance?.identities, [
    { issuer: 'https://issuer.example', subject: 'a@example.org' },
    { issuer: 'https://issuer.example', repository: 'https://git.example/x' },
  ]);
});

test.run();
