/** 10^5 inputs for the sorting of files in services' JSON, and of those that are known and not read: see fuzzing.ts. */
import { gzipSync } from 'node:zlib';
import { sortFiles } from '../../protocols/attestation/evidence-files.ts';
import { judgeEvidence } from '../../protocols/attestation/evidence-verdict.ts';
import { BUILT_IN } from '../../protocols/attestation/policy.ts';
import { concat, fromHex, utf8 } from '../../protocols/encoding.ts';
import { assert, suite } from '../harness.ts';
import { fuzz } from './fuzzing.ts';
import { base64, device, json, nvidiaEntry, snpJson, td, tinfoil } from './service-maker.ts';
import { snpReport } from './snp-maker.ts';
import { unreadSamples } from './unread-samples.ts';

const test = suite('files of services under fuzzing', { timeoutMs: 590_000 });
const RUNS = 100_000;
const { quote } = await td(new Uint8Array(64));
const report = await snpReport();
const sort = (bytes: Uint8Array) => sortFiles([{ name: 'file', bytes }]);
const entry = nvidiaEntry(await device());

const FILES: readonly (readonly [name: string, good: Uint8Array])[] = [
  ['GPU list', json([entry])],
  [
    'Phala report',
    json({ intel_quote: base64(quote), nvidia_payload: JSON.stringify({ evidence_list: [entry] }) }),
  ],
  ['Tinfoil document', json(tinfoil('sev-snp', report))],
  ['SNP report in JSON', json({ attestation_report: snpJson(report), cert_chain: null })],
];

for (const [name, good] of FILES) {
  test(`${name}: sorted or refused, in time and without waste`, () => fuzz(name, good, sort, RUNS));
}

test('files that are known and not read: sorted or refused, in time', () => {
  const samples = unreadSamples(quote);
  for (const [name, bytes] of samples) fuzz(name, bytes, sort, Math.ceil(RUNS / samples.length));
});

test('inputs made to be slow are refused at once', async () => {
  const slow: Uint8Array[] = [
    // Deep and wide CBOR behind the header of a document.
    concat(fromHex('8444a1013822a0593f00'), utf8('module_id'), new Uint8Array(16_000).fill(0x81)),
    concat(fromHex('8444a1013822a0593f00'), utf8('module_id'), new Uint8Array(16_000).fill(0xbf)),
    json(new Array(20_000).fill({ imr: 0, event_type: 1, digest: '' })),
    utf8(`[${'['.repeat(200_000)}`),
    utf8(`{"quote":"${'A'.repeat(4_000_000)}"}`),
    utf8(`{"intel_quote":"${'0x'.repeat(1_000_000)}"}`),
    utf8(`{"hcl_report":[${'1,'.repeat(500_000)}1]}`),
    json({
      format: 'https://tinfoil.sh/predicate/tdx-guest/v2',
      body: base64(new Uint8Array(gzipSync(new Uint8Array(9_000_000)))),
    }),
    json({ all_attestations: new Array(5000).fill({ intel_quote: 'AA' }) }),
    utf8('0x'.repeat(500_000)),
    utf8('ab'.repeat(2_000_000)),
  ];
  const nothing = sortFiles([]);
  for (const [i, bytes] of slow.entries()) {
    const start = process.threadCpuUsage();
    const question = {
      given: sort(bytes),
      store: nothing,
      policy: BUILT_IN.strict,
      now: new Date('2026-01-15'),
    };
    assert.is((await judgeEvidence(question)).verdict, 'reject', `input ${i}`);
    const { user, system } = process.threadCpuUsage(start);
    assert.ok(
      user + system < 2_000_000,
      `input ${i}: two seconds of computing, ${(user + system) / 1000} ms`,
    );
  }
});

test.run();
