/**
 * Azure confidential VMs: the HCL report from the vTPM's NV index, runtime data bound by the CPU's report data, and the
 * vTPM's quote by the key that the runtime data names. Layout and rules: github.com/kinvolk/azure-cvm-tooling,
 * github.com/confidential-containers/trustee (az_snp_vtpm, az_tdx_vtpm); issue 11, "What real users bring".
 */
import { kindOf, type NamedBytes, sortFiles } from '../../protocols/attestation/evidence-files.ts';
import { judgeEvidence } from '../../protocols/attestation/evidence-verdict.ts';
import { parseHclReport } from '../../protocols/attestation/formats/azure-hcl.ts';
import { parseVtpmQuote } from '../../protocols/attestation/formats/azure-vtpm.ts';
import { BUILT_IN, parseEvidencePolicy } from '../../protocols/attestation/policy.ts';
import { base64url, concat, hex, sha512, utf8 } from '../../protocols/encoding.ts';
import { VouchError } from '../../protocols/errors.ts';
import { assert, suite } from '../harness.ts';
import {
  AZURE_PCRS,
  azureJson,
  azureVm,
  base64Url,
  bound,
  hclReport,
  pcrText,
  runtimeData,
  tpmJson,
  vtpm,
  vtpmFile,
} from './azure-maker.ts';
import { fingerprint, flip } from './certificate-maker.ts';
import { intelCase } from './intel-platform.ts';
import { arkCrl, arkDer, askDer, snpReport, vcekDer } from './snp-maker.ts';
import { NONCE } from './tpm-maker.ts';

const test = suite('Azure confidential VMs', { timeoutMs: 60_000 });
const vm = await azureVm();
const other = await azureVm();
const amd = new Map([[fingerprint(arkDer), 'Turin' as const]]);
const CHAIN = [vcekDer, askDer, arkDer, arkCrl];
const NOW = new Date('2026-01-15');
/** Of every report that snp-maker.ts makes. */
const MEASUREMENT = hex(concat(utf8('measurement'), new Uint8Array(37)));

const judge = async (
  files: readonly Uint8Array[],
  ask: { nonce?: string | undefined; policy?: object; roots?: object } = {},
) => {
  const named: NamedBytes[] = files.map((bytes, i) => ({ name: `${i}`, bytes }));
  return judgeEvidence({
    given: sortFiles(named),
    store: sortFiles([]),
    policy: parseEvidencePolicy({ ...BUILT_IN.strict, ...ask.policy }),
    now: NOW,
    nonce: 'nonce' in ask ? ask.nonce : hex(NONCE),
    roots: { amd, ...ask.roots },
  });
};
const failing = async (...all: Parameters<typeof judge>): Promise<string[]> => {
  const { verdict, checks } = await judge(...all);
  const failed = checks.filter(({ status }) => status === 'fail').map(({ id }) => id);
  assert.is(verdict === 'accept', failed.length === 0, failed.join());
  return failed;
};

test('report, vTPM quote and certificates meet the strict policy, as files and in JSON of every version', async () => {
  const forms: readonly (readonly Uint8Array[])[] = [
    [vm.hcl, vm.quote, vm.signature, utf8(pcrText)],
    [utf8(base64url(vm.hcl)), vtpmFile(vm)],
    [azureJson(vm, 0)],
    [azureJson(vm, 1)],
    [azureJson(vm, 2)],
  ];
  for (const [i, files] of forms.entries()) {
    assert.equal(await failing([...files, ...CHAIN]), [], `form ${i}`);
    assert.equal(await failing([...CHAIN, ...files.toReversed()]), [], `form ${i}, the other way round`);
  }
});

test('the CPU alone is judged where no quote came; a nonce is then answered by what the guest had bound', async () => {
  assert.equal(await failing([vm.hcl, ...CHAIN]), []);
  assert.equal(await failing([vm.hcl, ...CHAIN], { nonce: undefined }), []);
  assert.equal(await failing([vm.hcl, ...CHAIN], { nonce: '01'.repeat(32) }), ['evidence.nonce']);
  // Half of it is not it.
  assert.equal(await failing([vm.hcl, ...CHAIN], { nonce: hex(NONCE).slice(0, 62) }), ['evidence.nonce']);
});

test('runtime data that the CPU did not bind is refused, and its key with it', async () => {
  const runtime = runtimeData(other.tpm);
  const swapped = hclReport(await snpReport({ reportData: bound(vm.runtime) }), runtime);
  const quote = { quote: vm.quote, signature: await other.tpm.sign(vm.quote) };
  assert.equal(await failing([swapped, vtpmFile(quote), ...CHAIN]), ['azure.runtime-data']);
  // The whole report data counts, not its first half.
  const longer = concat(bound(vm.runtime).subarray(0, 32), new Uint8Array(32).fill(1));
  const report = hclReport(await snpReport({ reportData: longer }), vm.runtime);
  assert.equal(await failing([report, ...CHAIN]), ['azure.runtime-data']);
});

test('a quote by another key, of another nonce or of other PCRs is refused', async () => {
  assert.equal(await failing([vm.hcl, vtpmFile({ ...vm, signature: other.signature }), ...CHAIN]), [
    'tpm.signature',
  ]);
  const old = await azureVm({ nonce: new Uint8Array(32).fill(1) });
  assert.equal(await failing([old.hcl, vtpmFile(old), ...CHAIN]), ['tpm.nonce']);
  assert.equal(await failing([old.hcl, vtpmFile(old), ...CHAIN], { nonce: undefined }), []);
  const pcrs = utf8(pcrText.replace('0x0b', '0x0c'));
  assert.equal(await failing([vm.hcl, vm.quote, vm.signature, pcrs, ...CHAIN]), ['tpm.pcr-digest']);
  const demand = (value: string, more: object = { measurements: [MEASUREMENT] }) => ({
    policy: { tpm: { pcrs: { sha256: { 11: [value] } } }, ...more },
  });
  // Whoever has a guest of his own can have a key of his own bound: PCRs count where the code in front of them is named.
  assert.equal(await failing([azureJson(vm), ...CHAIN], demand(hex(AZURE_PCRS[11]!), {})), [
    'azure.paravisor',
  ]);
  assert.equal(await failing([azureJson(vm), ...CHAIN], demand(hex(AZURE_PCRS[11]!))), []);
  assert.equal(await failing([azureJson(vm), ...CHAIN], demand('00'.repeat(32))), ['tpm.pcrs']);
});

test('a vTPM quote without the report that names its key is not trusted', async () => {
  assert.ok((await failing([vtpmFile(vm)])).includes('tpm.signature'));
});

test('of a TD the quote has to come beside: the TDREPORT inside proves nothing to others', async () => {
  const tpm = await vtpm();
  const runtime = runtimeData(tpm);
  const td = await intelCase({ report: (body) => body.set(bound(runtime), 520) });
  const report = new Uint8Array(1024);
  report[0] = 0x81;
  const hcl = hclReport(report, runtime, { type: 4 });
  const made = { quote: vm.quote, signature: await tpm.sign(vm.quote) };
  const json = utf8(
    JSON.stringify({
      version: 1,
      hcl_report: base64Url(hcl),
      tpm_quote: tpmJson(made),
      td_quote: base64Url(td.quote),
    }),
  );
  const ask = (files: readonly Uint8Array[]) => {
    const given = sortFiles(files.map((bytes, i) => ({ name: `${i}`, bytes })));
    return judgeEvidence({
      given,
      store: { ...sortFiles([]), intel: td.collateral },
      policy: parseEvidencePolicy({ ...BUILT_IN.strict }),
      now: NOW,
      nonce: hex(NONCE),
      roots: { intel: td.roots },
    });
  };
  const whole = await ask([json]);
  assert.is(whole.verdict, 'accept', JSON.stringify(whole.checks.filter(({ status }) => status === 'fail')));
  assert.is((await ask([hcl, vtpmFile(made), td.quote])).verdict, 'accept');
  const alone = await ask([hcl, vtpmFile(made)]);
  assert.is(alone.verdict, 'reject');
  assert.match(
    alone.checks.find(({ id }) => id === 'azure.runtime-data')!.detail,
    /the quote has to be brought/,
  );
  const stranger = await intelCase();
  assert.is((await ask([hcl, vtpmFile(made), stranger.quote])).verdict, 'reject');
});

test('what Microsoft Azure Attestation takes is read, and what its metadata service hands out', async () => {
  const report = await snpReport({ reportData: bound(utf8('anything')) });
  const pem = (der: Uint8Array) =>
    `-----BEGIN CERTIFICATE-----\n${btoa(String.fromCharCode(...der))}\n-----END CERTIFICATE-----\n`;
  const chain = utf8(CHAIN.slice(0, 3).map(pem).join(''));
  const inner = JSON.stringify({ SnpReport: base64Url(report), VcekCertChain: base64Url(chain) });
  const request = (data: string) =>
    utf8(
      JSON.stringify({
        report: base64Url(utf8(inner)),
        runtimeData: { data: base64Url(utf8(data)), dataType: 'Binary' },
      }),
    );
  const ask = { nonce: undefined };
  assert.equal(await failing([request('anything'), arkCrl], ask), []);
  assert.equal(await failing([request('something'), arkCrl], ask), ['azure.runtime-data']);
  const thim = utf8(
    JSON.stringify({ vcekCert: pem(vcekDer), tcbm: '0', certificateChain: pem(askDer) + pem(arkDer) }),
  );
  assert.is(kindOf(thim)?.name, 'azure-certificates');
  assert.equal(await failing([vm.hcl, thim, arkCrl], ask), []);
});

test('two machines in one call are judged one by one, each with its own quote', async () => {
  assert.equal(await failing([azureJson(vm), azureJson(other), ...CHAIN]), []);
  const mixed = azureJson({ ...vm, quote: other.quote, signature: other.signature });
  const { checks } = await judge([mixed, azureJson(other), ...CHAIN]);
  const failed = checks.filter(({ status }) => status === 'fail');
  assert.equal(
    failed.map(({ id }) => id),
    ['tpm.signature'],
  );
  assert.match(failed[0]!.detail, /^0: /);
  // Apart, each quote finds its signature.
  const files = [vm.hcl, other.hcl, vm.quote, other.signature, vm.signature, utf8(pcrText)];
  assert.equal(await failing([...files, ...CHAIN]), ['evidence.tpm']);
  const quoteOf = await azureVm({ nonce: NONCE });
  assert.equal(await failing([...files, quoteOf.hcl, vm.quote, ...CHAIN]), []);
});

test('one changed byte of a report, runtime data, quote or signature is refused', async () => {
  const { length } = vm.runtime;
  for (let at = 32; at < 32 + 1184; at += 61) {
    assert.ok((await failing([flip(vm.hcl, at), vtpmFile(vm), ...CHAIN])).length > 0, `report byte ${at}`);
  }
  for (let at = 1236; at < 1236 + length; at += 37) {
    assert.ok((await failing([flip(vm.hcl, at), vtpmFile(vm), ...CHAIN])).length > 0, `runtime byte ${at}`);
  }
  for (let at = 0; at < vm.quote.length; at += 5) {
    const quote = flip(vm.quote, at);
    assert.ok((await failing([vm.hcl, vtpmFile({ ...vm, quote }), ...CHAIN])).length > 0, `quote byte ${at}`);
  }
});

test('structures are read strictly', () => {
  const coded = (error: unknown) => error instanceof VouchError;
  const report = new Uint8Array(1184);
  report[0] = 3;
  for (const [name, bytes] of Object.entries({
    version: hclReport(report, vm.runtime, { version: 3 }),
    type: hclReport(report, vm.runtime, { type: 3 }),
    hash: hclReport(report, vm.runtime, { hash: 4 }),
    size: hclReport(report, vm.runtime, { size: 100_000 }),
    short: vm.hcl.subarray(0, 1300),
    'no report': hclReport(new Uint8Array(1184), vm.runtime),
    key: hclReport(report, utf8('{"keys":[{"kid":"HCLAkPub","kty":"EC"}]}')),
  })) {
    assert.throws(() => parseHclReport(bytes), coded, name);
  }
  // SHA-512 fills the report data.
  const { runtime } = parseHclReport(hclReport(report, vm.runtime, { hash: 3 }));
  assert.equal(runtime.reportData, sha512(vm.runtime));
  const file = vtpmFile(vm);
  for (let length = 0; length < file.length; length += 3) {
    assert.throws(() => parseVtpmQuote(file.subarray(0, length)), coded, `${length}`);
  }
});

test.run();
