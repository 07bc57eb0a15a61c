/**
 * Evidence of several machines in one call, lists of GPU evidence, and the text forms of tools (tpm2-tools, configfs-tsm,
 * NVIDIA's attestation SDK); issue 11, "What real users bring".
 */
import { kindOf } from '../../protocols/attestation/evidence-files.ts';
import { deviceEvidenceIn } from '../../protocols/attestation/formats/nvidia-evidence-list.ts';
import { snpReportOf } from '../../protocols/attestation/formats/sev-snp-json.ts';
import { gunzip } from '../../protocols/attestation/inflate.ts';
import { BUILT_IN, parseEvidencePolicy } from '../../protocols/attestation/policy.ts';
import { base64url, concat, hex, sha256, utf8 } from '../../protocols/encoding.ts';
import { VouchError } from '../../protocols/errors.ts';
import { assert, suite } from '../harness.ts';
import { der, flip, maker, sequence, signRaw } from './certificate-maker.ts';
import {
  base64,
  COMPOSE,
  device,
  json,
  LOG,
  nvidiaEntry,
  runtimeEvent,
  snpJson,
  td,
  tdBeside,
} from './service-maker.ts';
import { ask, failing, quoteJson } from './service-question.ts';
import { arkCrl, arkDer, askDer, snpReport, vcekDer } from './snp-maker.ts';
import { attest, ecdsaSignature, PCR_TEXT, pcrDigest, rsaSignature } from './tpm-maker.ts';

const test = suite('machines, lists and text forms', { timeoutMs: 120_000 });
const zeros = (bytes: Uint8Array, length: number) => concat(bytes, new Uint8Array(length - bytes.length));
const NONCE = new Uint8Array(32).fill(0x5a);

test("GPU evidence lists in all the spellings of NVIDIA's tools", async () => {
  const gpu = await device();
  const entry = nvidiaEntry(gpu);
  const spellings: readonly unknown[] = [
    [entry],
    { evidences: [entry], result_code: 0, result_message: 'Ok' },
    { nonce: '00', evidence_list: [entry], arch: 'HOPPER' },
    { device_evidence_list: [{ ...entry, uuid: 'unknown' }] },
    [{ attestationReportHexStr: hex(gpu.evidence), certChainBase64Encoded: entry.certificate }],
    {
      nonce: '00',
      evidence: base64(utf8(hex(gpu.evidence))),
      certificate: entry.certificate,
      arch: 'HOPPER',
    },
    [{ evidence: entry.evidence, certificate: gpu.chain }],
    [{ attestation_report: hex(gpu.evidence), cert_chain: gpu.chain }],
  ];
  for (const spelling of spellings) {
    const bytes = json(spelling);
    assert.is(kindOf(bytes)?.name, 'nvidia-evidence-file', JSON.stringify(spelling).slice(0, 60));
    const [one] = deviceEvidenceIn(spelling);
    assert.equal(one!.bytes, gpu.evidence);
    assert.equal(await failing([], [bytes], { nonce: '07'.repeat(32) }), []);
  }
  for (const wrong of [
    [],
    [{}],
    [entry, {}],
    { evidences: [] },
    [{ ...entry, evidence: '!' }],
    [{ ...entry, certificate: 'AAAA' }],
  ]) {
    assert.throws(
      () => deviceEvidenceIn(wrong),
      (error: unknown) => error instanceof VouchError,
    );
  }
});

test('several machines in one call are judged one by one; what is shared serves them all', async () => {
  const data = zeros(utf8('one'), 64);
  const logOfB = [...LOG, runtimeEvent('more', COMPOSE)];
  const a = await td(data);
  const b = await tdBeside(a, data, logOfB);
  assert.equal(await failing([a], [quoteJson(a, data), quoteJson(b, data, logOfB)]), []);
  const { checks, claims } = await ask([a], [quoteJson(a, data), quoteJson(b, data)]);
  assert.equal(
    checks.filter(({ status }) => status === 'fail').map(({ id, detail }) => `${id} ${detail.split(':')[0]}`),
    ['tdx.rtmr-replay file 1'],
  );
  assert.is((claims as unknown[]).length, 2);
  // Quotes and logs apart: each log goes to the quote that it replays to, in any order.
  for (const files of [
    [a.quote, b.quote, json(LOG), json(logOfB)],
    [json(logOfB), b.quote, json(LOG), a.quote],
  ]) {
    assert.equal(await failing([a], files), []);
  }
  assert.equal(await failing([a], [a.quote, b.quote, json(LOG)]), []);
  const stray = json([runtimeEvent('stray', COMPOSE)]);
  const strayed = await failing([a], [a.quote, b.quote, stray]);
  assert.equal(strayed, ['evidence.present', 'evidence.event-log']);
  // GPUs that came beside one machine are that machine's.
  const gpu = json([nvidiaEntry(await device(NONCE))]);
  assert.equal(await failing([a], [quoteJson(a, data), gpu], { nonce: hex(NONCE) }), []);
});

test('a quote with what tpm2-tools write: keys and signatures as DER or bare, PEM or TPM structures', async () => {
  const ak = await maker('AK');
  const quote = attest();
  const raw = await signRaw(ak, quote);
  const pinned = (spki: Uint8Array) => ({
    policy: parseEvidencePolicy({ ...BUILT_IN.strict, tpm: { keys: [hex(sha256(spki))] } }),
    nonce: '05'.repeat(32),
  });
  const number = (bytes: Uint8Array) => {
    const digits = bytes.subarray(bytes.findIndex((byte) => byte !== 0));
    return der(0x02, ...(digits[0]! >= 0x80 ? [Uint8Array.of(0)] : []), digits);
  };
  const plain = sequence(number(raw.subarray(0, 48)), number(raw.subarray(48)));
  const spkiPem = utf8(`-----BEGIN PUBLIC KEY-----\n${base64(ak.spki)}\n-----END PUBLIC KEY-----\n`);
  for (const key of [ak.spki, spkiPem, utf8(base64url(ak.spki)), utf8(hex(ak.spki))]) {
    for (const signature of [plain, await ecdsaSignature(ak, quote)]) {
      assert.equal(await failing([], [quote, signature, key, utf8(PCR_TEXT)], pinned(ak.spki)), []);
    }
  }
  const other = await maker('other');
  assert.equal(await failing([], [quote, plain, other.spki, utf8(PCR_TEXT)], pinned(ak.spki)), [
    'tpm.signature',
  ]);
  const rsa = await rsaSignature('RSASSA');
  const own = attest({ digest: pcrDigest('sha256') });
  const structure = await rsa.sign(own);
  for (const signature of [structure, structure.subarray(6)]) {
    assert.equal(await failing([], [own, signature, rsa.spki, utf8(PCR_TEXT)], pinned(rsa.spki)), []);
  }
});

test('an SNP report that was taken apart into JSON is put together again, byte for byte', async () => {
  const report = await snpReport();
  const fields = snpJson(report);
  assert.equal(snpReportOf(fields), report);
  const certificates = [vcekDer, askDer, arkDer].map((der, i) => ({
    cert_type: ['VCEK', 'ASK', 'ARK'][i],
    data: [...der],
  }));
  const evidence = (changes: object = {}) =>
    json({ attestation_report: { ...fields, ...changes }, cert_chain: certificates });
  assert.equal(await failing([], [evidence(), arkCrl]), []);
  assert.equal(
    await failing(
      [],
      [json({ attestation_report: fields, cert_chain: null }), vcekDer, askDer, arkDer, arkCrl],
    ),
    [],
  );
  assert.ok((await failing([], [evidence({ guest_svn: 1 }), arkCrl])).includes('snp.signature'));
  for (const wrong of [
    { policy: -1 },
    { vmpl: 2 ** 33 },
    { chip_id: [1] },
    { signature: null },
    { current: null },
  ]) {
    assert.throws(
      () => snpReportOf({ ...fields, ...wrong }),
      (error: unknown) => error instanceof VouchError,
    );
  }
});

test('base64url, 0x-hex and the answer of /dev/sev-guest are taken off', async () => {
  const report = await snpReport();
  const response = new Uint8Array(4000);
  response.set([0xa0, 0x04], 4);
  response.set(report, 32);
  for (const form of [
    report,
    utf8(`0x${hex(report)}\n`),
    utf8(`0X${hex(report).toUpperCase()}`),
    utf8(base64url(report)),
    utf8(base64(report).replaceAll('=', '')),
    response,
    response.subarray(0, 32 + 1184),
    utf8(hex(response)),
  ]) {
    assert.equal(await failing([], [form, vcekDer, askDer, arkDer, arkCrl]), []);
  }
  const failed = response.slice();
  failed[0] = 0x16;
  assert.is(kindOf(failed), undefined);
});

test('gzip is read within bounds, and only where checksum and length hold', async () => {
  const { gzipSync } = await import('node:zlib');
  const texts = [new Uint8Array(0), utf8('abc'.repeat(9000)), crypto.getRandomValues(new Uint8Array(20_000))];
  for (const text of texts) {
    for (const level of [0, 1, 9]) {
      const packed = new Uint8Array(gzipSync(text, { level }));
      assert.equal(gunzip(packed, 65_536), text);
      if (text.length > 0) assert.throws(() => gunzip(packed, text.length - 1), /at most/);
      for (const at of [packed.length - 1, packed.length - 5, 3]) {
        assert.throws(
          () => gunzip(flip(packed, at, 0xff), 65_536),
          (error: unknown) => error instanceof VouchError,
        );
      }
      assert.throws(
        () => gunzip(packed.subarray(0, -1), 65_536),
        (error: unknown) => error instanceof VouchError,
      );
    }
  }
});

test.run();
