/**
 * AWS Nitro documents, of enclaves and of NitroTPM: aws-nitro-enclaves-nsm-api, docs/attestation_process.md; AWS Nitro
 * Enclaves user guide, "Verifying the root of trust"; issue 11, "What real users bring".
 */
import { evidenceDocument } from '../../protocols/attestation/document.ts';
import { type NamedBytes, sortFiles } from '../../protocols/attestation/evidence-files.ts';
import { judgeEvidence } from '../../protocols/attestation/evidence-verdict.ts';
import { explainPolicy } from '../../protocols/attestation/explain.ts';
import { parseNitroDocument } from '../../protocols/attestation/formats/nitro-document.ts';
import { BUILT_IN, parseEvidencePolicy } from '../../protocols/attestation/policy.ts';
import { type Binding, reportData } from '../../protocols/attestation/report-data.ts';
import { verifyEvidence } from '../../protocols/attestation/verify.ts';
import { base64url, hex, utf8 } from '../../protocols/encoding.ts';
import { VouchError } from '../../protocols/errors.ts';
import { assert, suite } from '../harness.ts';
import { certify, flip, keyUsage, maker, revoke } from './certificate-maker.ts';
import { type NitroOptions, nitroDocument, nitroVendor, PCR0, SIGNED_AT } from './nitro-maker.ts';

const test = suite('AWS Nitro documents', { timeoutMs: 60_000 });
const aws = await nitroVendor();
const store = sortFiles([]);
const STRICT = BUILT_IN.strict;
const later = (seconds: number) => new Date(SIGNED_AT.getTime() + 1000 * seconds);

interface Ask {
  readonly policy?: object;
  readonly now?: Date;
  readonly nonce?: string;
  readonly more?: readonly Uint8Array[];
  readonly roots?: readonly string[];
}

const judge = (bytes: Uint8Array, ask: Ask = {}) => {
  const files: NamedBytes[] = [bytes, ...(ask.more ?? aws.crls)].map((one, i) => ({
    name: `${i}`,
    bytes: one,
  }));
  return judgeEvidence({
    given: sortFiles(files),
    store,
    policy: parseEvidencePolicy({ ...STRICT, ...ask.policy }),
    now: ask.now ?? later(60),
    nonce: ask.nonce,
    roots: { nitro: ask.roots ?? aws.roots },
  });
};

async function failing(bytes: Uint8Array, ask: Ask = {}): Promise<string[]> {
  const { verdict, checks } = await judge(bytes, ask);
  const failed = checks.filter(({ status }) => status === 'fail').map(({ id }) => id);
  assert.is(verdict, failed.length === 0 ? 'accept' : 'reject', failed.join());
  return failed;
}
const made = (options: NitroOptions = {}) => nitroDocument(aws, options);

test('a document as AWS issues it meets the strict policy, in all forms in which it travels', async () => {
  for (const options of [{}, { indefinite: true }, { tag: true }, { response: true, indefinite: true }]) {
    const bytes = await made(options);
    for (const form of [bytes, utf8(hex(bytes)), utf8(base64url(bytes)), utf8(`0x${hex(bytes)}`)]) {
      assert.equal(await failing(form), [], JSON.stringify(options));
    }
    const json = utf8(JSON.stringify({ attestation_document: base64url(bytes), other: 1 }));
    assert.equal(await failing(json), []);
  }
  const { claims } = await judge(await made());
  assert.is((claims as { measurement: string }).measurement, hex(PCR0));
  assert.is((claims as { time: string }).time, SIGNED_AT.toISOString());
});

test('its certificates are judged at its own time, revocation by the clock of the verifier', async () => {
  // Days after the module's certificate has ended.
  assert.equal(await failing(await made(), { now: later(30 * 86_400) }), []);
  assert.equal(await failing(await made({ fields: { timestamp: later(7 * 3600).getTime() } })), [
    'nitro.chain-dates',
    'nitro.time',
  ]);
  assert.equal(await failing(await made(), { now: later(-3600) }), ['nitro.time']);
  assert.equal(await failing(await made(), { now: later(90 * 86_400) }), ['nitro.chain-revocation']);
});

test('strict needs the two CRLs that AWS names, and no more', async () => {
  const [ofRoot, ofRegion] = aws.crls;
  assert.equal(await failing(await made(), { more: [] }), ['nitro.chain-revocation']);
  assert.equal(await failing(await made(), { more: [ofRoot!] }), ['nitro.chain-revocation']);
  assert.equal(await failing(await made(), { more: [], policy: { nitro: BUILT_IN.genuine.nitro } }), []);
  const dates = { thisUpdate: new Date('2026-01-09'), nextUpdate: new Date('2026-03-01') };
  const revoked = await revoke(aws.region, [3], dates);
  assert.equal(await failing(await made(), { more: [ofRoot!, revoked] }), ['nitro.chain-revocation']);
  assert.equal(await failing(await made(), { more: [ofRoot!, flip(ofRegion!, ofRegion!.length - 1)] }), [
    'nitro.chain-revocation',
  ]);
});

test("AWS's root is pinned, and the signature is by the key that the chain ends in", async () => {
  assert.equal(await failing(await made(), { roots: [] }), ['nitro.chain']);
  const stranger = await nitroVendor();
  assert.equal(await failing(await nitroDocument(stranger)), ['nitro.chain']);
  assert.equal(await failing(await made({ signer: stranger.module })), ['nitro.signature']);
  // An instance cannot make itself a zone: path lengths.
  const deeper = await maker('deeper');
  const deeperDer = await certify(aws.module, deeper, { extensions: [keyUsage(0)] });
  const fields = { certificate: deeperDer, cabundle: [...aws.bundle, aws.certificate] };
  assert.ok((await failing(await made({ fields, signer: deeper }))).includes('nitro.chain-constraints'));
});

test('the policy says which images, PCRs and user data are taken', async () => {
  const document = await made();
  const user = '07'.repeat(64);
  assert.equal(await failing(document, { policy: { measurements: [hex(PCR0)], reportData: user } }), []);
  assert.equal(
    await failing(document, { policy: { measurements: [{ pcr0: hex(PCR0), pcr2: '02'.repeat(48) }] } }),
    [],
  );
  assert.equal(
    await failing(document, { policy: { measurements: ['00'.repeat(48)], reportData: '08'.repeat(64) } }),
    ['nitro.measurement', 'nitro.report-data'],
  );
  const pcrs = (index: string, value: string) => ({ policy: { nitro: { pcrs: { [index]: [value] } } } });
  assert.equal(await failing(document, pcrs('3', '03'.repeat(48))), []);
  assert.equal(await failing(document, pcrs('3', '04'.repeat(48))), ['nitro.pcrs']);
  assert.equal(await failing(document, pcrs('17', '00'.repeat(48))), ['nitro.pcrs']);
  assert.equal(await failing(document, { policy: { platforms: ['tdx'] } }), ['nitro.platform-allowed']);
  const text = explainPolicy(parseEvidencePolicy({ version: 1, platforms: ['nitro'] })).join('\n');
  assert.match(text, /AWS Nitro Enclaves/);
  assert.match(text, /PCRs may have any values/);
});

test('an enclave in debug mode attests to zeros, and is refused as one', async () => {
  const pcrs = new Map([
    [0, new Uint8Array(48)],
    [1, new Uint8Array(48)],
  ]);
  assert.equal(await failing(await made({ fields: { pcrs } })), ['nitro.debug']);
  assert.equal(await failing(await made({ fields: { pcrs } }), { policy: { debug: true } }), []);
  // Without PCR0 nothing says that it is not.
  assert.equal(await failing(await made({ fields: { pcrs: new Map([[3, PCR0]]) } })), ['nitro.debug']);
});

test('a nonce given has to be answered; without one the table says that nothing was compared', async () => {
  const nonce = new Uint8Array(20).fill(9);
  const document = await made({ fields: { nonce } });
  assert.equal(await failing(document, { nonce: hex(nonce) }), []);
  assert.equal(await failing(document, { nonce: '09'.repeat(19) }), ['nitro.nonce']);
  assert.equal(await failing(await made(), { nonce: hex(nonce) }), ['nitro.nonce']);
  const { checks } = await judge(document);
  assert.is(checks.find(({ id }) => id === 'nitro.nonce')?.status, 'skipped');
});

test('an EC2 instance with NitroTPM never passes for an enclave', async () => {
  const document = await made({ instance: true });
  assert.equal(await failing(document), []);
  assert.equal(await failing(document, { policy: { platforms: ['nitro'] } }), ['nitro.platform-allowed']);
  assert.equal(await failing(document, { policy: { measurements: [hex(PCR0)] } }), ['nitro.measurement']);
  assert.equal(await failing(document, { policy: { measurements: [{ pcr0: hex(PCR0) }] } }), [
    'nitro.measurement',
  ]);
  // What is demanded of enclaves is not demanded of instances, and the other way round.
  assert.equal(await failing(document, { policy: { nitro: { pcrs: { 0: ['00'.repeat(48)] } } } }), []);
  assert.equal(await failing(document, { policy: { nitro: { tpmPcrs: { 0: ['00'.repeat(48)] } } } }), [
    'nitro.pcrs',
  ]);
});

test('an evidence document may hold one: its user data is the report data', async () => {
  const binding: Binding = {
    nonce: new Uint8Array(32).fill(1),
    hpkeKey: new Uint8Array(32).fill(2),
    enclave: 'nitro-1',
    time: SIGNED_AT,
  };
  const ask = async (userData: Uint8Array, policy: object = {}) => {
    const evidence = await made({ fields: { user_data: userData } });
    const document = evidenceDocument({ cpu: { format: 'nitro', evidence, certificates: [] } }, binding);
    assert.is(document.hardware, true);
    return verifyEvidence({
      document,
      policy: parseEvidencePolicy({ version: 1, measurements: [hex(PCR0)], ...policy }),
      nonce: hex(binding.nonce),
      now: later(60),
      collateral: sortFiles(aws.crls.map((bytes, i) => ({ name: `${i}`, bytes }))),
      roots: { nitro: aws.roots },
    });
  };
  const good = await ask(reportData(binding));
  assert.is(good.verdict, 'accept', JSON.stringify(good.checks.filter(({ status }) => status !== 'pass')));
  assert.is(good.claims?.platform, 'nitro');
  const other = await ask(new Uint8Array(64));
  assert.equal(
    other.checks.filter(({ status }) => status === 'fail').map(({ id }) => id),
    ['binding.report-data'],
  );
  assert.is((await ask(reportData(binding), { measurements: ['00'.repeat(48)] })).verdict, 'reject');
  assert.is((await ask(reportData(binding), { platforms: ['tdx'] })).verdict, 'reject');
});

test('documents are read strictly, unknown fields are named', async () => {
  const refused: Readonly<Record<string, object>> = {
    digest: { digest: 'SHA256' },
    'no digest': { digest: undefined },
    'module id': { module_id: '' },
    time: { timestamp: 0 },
    'time as text': { timestamp: 'now' },
    'no registers': { pcrs: new Map() },
    'register 32': { pcrs: new Map([[32, PCR0]]) },
    'short register': { pcrs: new Map([[0, PCR0.subarray(1)]]) },
    'both kinds': { nitrotpm_pcrs: new Map([[0, PCR0]]) },
    'no bundle': { cabundle: [] },
    'no certificate': { certificate: undefined },
    'user data': { user_data: 'text' },
    nonce: { nonce: new Uint8Array(5000) },
  };
  for (const [name, fields] of Object.entries(refused)) {
    const bytes = await made({ fields: fields as Record<string, unknown> });
    assert.throws(
      () => parseNitroDocument(bytes),
      (error: unknown) => error instanceof VouchError,
      name,
    );
  }
  const more = parseNitroDocument(await made({ fields: { later: 1 } }));
  assert.equal(more.unknown, ['later']);
  const bytes = await made();
  for (let length = 0; length < bytes.length; length += 7) {
    assert.throws(
      () => parseNitroDocument(bytes.subarray(0, length)),
      (error: unknown) => error instanceof VouchError,
      `${length}`,
    );
  }
});

test.run();
