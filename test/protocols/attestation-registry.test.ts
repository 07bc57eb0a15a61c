/** The table of evidence formats, and what else reads it: each thing is known by one row, and named in one place. */
import { randomBytes } from 'node:crypto';
import { SECTIONS } from '../../protocols/attestation/demands.ts';
import { isHardware } from '../../protocols/attestation/document.ts';
import { contentOf, FILE_KINDS, kindOf, sortFiles } from '../../protocols/attestation/evidence-files.ts';
import { judgeEvidence } from '../../protocols/attestation/evidence-verdict.ts';
import { explainPolicy } from '../../protocols/attestation/explain.ts';
import type { Format } from '../../protocols/attestation/formats/format.ts';
import {
  areOneFamily,
  FORMATS,
  formatNamed,
  judgeAll,
} from '../../protocols/attestation/formats/registry.ts';
import {
  createSimulatedPlatform,
  createSimulatedRoot,
  gpuQuote,
} from '../../protocols/attestation/formats/simulated.ts';
import { parsedOnce } from '../../protocols/attestation/parsed.ts';
import { BUILT_IN, Policy, parseEvidencePolicy } from '../../protocols/attestation/policy.ts';
import { UNREAD_FORMATS } from '../../protocols/attestation/unread-formats.ts';
import { base64url, concat, fromHex, hex, utf8 } from '../../protocols/encoding.ts';
import { assert, suite } from '../harness.ts';
import { projectFiles, read } from '../repo/sources.ts';
import { attested } from './attested.ts';
import { azureJson, azureVm, vtpmFile } from './azure-maker.ts';
import { maker } from './certificate-maker.ts';
import { endorsement } from './google-maker.ts';
import { gpu, report, rim, rimSigner, switchFields, vendor } from './gpu-maker.ts';
import { intelCase } from './intel-platform.ts';
import { nitroDocument, nitroVendor } from './nitro-maker.ts';
import { ocsp } from './ocsp-maker.ts';
import { json, LOG, pem as pemText, snpJson, tinfoil } from './service-maker.ts';
import { instance, trustedRoot } from './sigstore-instance.ts';
import { bundle } from './sigstore-maker.ts';
import { arkCrl, arkDer, snpReport, vcekDer } from './snp-maker.ts';
import { attest, ecdsaSignature, hyperEnclave, PCR_JSON, PCR_TEXT } from './tpm-maker.ts';
import { unreadSamples } from './unread-samples.ts';

const test = suite('table of evidence formats', { timeoutMs: 60_000 });
const rows = Object.entries<Format>(FORMATS);

const card = await gpu(await vendor());
const simulated = await createSimulatedPlatform(await createSimulatedRoot());
const tpmQuote = attest();
const aws = await nitroVendor();
const sigstore = await instance();
/** One of each format, by made-up vendors. */
const SAMPLES: Readonly<Record<keyof typeof FORMATS, Uint8Array>> = {
  simulated: (await attested()).evidence,
  'simulated-gpu': await gpuQuote(simulated, new Uint8Array(32)),
  sgx: (await intelCase({ sgx: true })).quote,
  tdx: (await intelCase()).quote,
  'sev-snp': await snpReport(),
  'nvidia-gpu': await report(card),
  'nvidia-switch': await report(card, { fields: switchFields(new Uint8Array(8).fill(1), []) }),
  tpm: tpmQuote,
  nitro: await nitroDocument(aws),
  'nitro-tpm': await nitroDocument(aws, { instance: true }),
  hyperenclave: (await hyperEnclave()).quote,
};

const pem = (label: string, bytes: Uint8Array) =>
  utf8(`-----BEGIN ${label}-----\n${btoa(String.fromCharCode(...bytes))}\n-----END ${label}-----\n`);
const table = concat(
  fromHex('63da758de6644564adc5f4b93be8accd'),
  Uint8Array.of(48, 0, 0, 0, vcekDer.length & 255, vcekDer.length >> 8, 0, 0),
  new Uint8Array(24),
  vcekDer,
);
const base64 = (bytes: Uint8Array) => btoa(String.fromCharCode(...bytes));
/** One of everything else, by the name of its kind; of some kinds several. */
const tdxQuote = base64(SAMPLES.tdx);
const vm = await azureVm();
const response = new Uint8Array(4000);
response.set([0xa0, 0x04], 4);
response.set(SAMPLES['sev-snp'], 32);
const dstack = concat(
  fromHex('0003'),
  Uint8Array.of(((1184 << 2) | 1) & 255, 1184 >> 6),
  SAMPLES['sev-snp'],
  // No certificates, no configuration, no events.
  fromHex('000000'),
  new Uint8Array(64),
  fromHex('00'),
);
const OTHERS: readonly (readonly [name: string, bytes: Uint8Array])[] = [
  ['sev-snp-with-certificates', concat(SAMPLES['sev-snp'], table)],
  ['sev-snp-response', response],
  ['azure-hcl-report', vm.hcl],
  ['azure-vtpm-quote', vtpmFile(vm)],
  ['dstack-attestation', dstack],
  [
    'nvidia-evidence-file',
    utf8(
      JSON.stringify([
        {
          evidence: base64(SAMPLES['nvidia-gpu']),
          certificate: base64(concat(...card.chain.map((der) => pem('CERTIFICATE', der)))),
        },
      ]),
    ),
  ],
  ['azure-evidence', azureJson(vm)],
  ['azure-evidence', azureJson(vm, 0)],
  ['azure-attestation-request', json({ quote: tdxQuote, runtimeData: { data: 'e30', dataType: 'JSON' } })],
  ['azure-certificates', json({ vcekCert: pemText(vcekDer), certificateChain: pemText(arkDer) })],
  ['tinfoil-bundle', json({ enclaveAttestationReport: tinfoil('tdx', SAMPLES.tdx) })],
  ['tinfoil-document', json(tinfoil('tdx', SAMPLES.tdx))],
  ['phala-report', json({ intel_quote: tdxQuote })],
  [
    'phala-report',
    json({ all_attestations: [{ intel_quote: tdxQuote }, { intel_quote: base64(SAMPLES.sgx) }] }),
  ],
  [
    'aci-report',
    json({ api_version: 'aci/1', attestation: { evidence: { quote: tdxQuote }, report_data: '00' } }),
  ],
  ['dstack-attestation-in-json', json({ attestation: hex(dstack) })],
  ['sev-snp-in-json', json({ attestation_report: snpJson(SAMPLES['sev-snp']), cert_chain: null })],
  ['quote-in-json', json({ quote: tdxQuote, event_log: LOG })],
  ['nitro-in-json', json({ document: base64(SAMPLES.nitro) })],
  ['event-log', json(LOG)],
  ['event-log', concat(new Uint8Array(32), utf8('Spec ID Event03\0'), new Uint8Array(40))],
  ['ccel-table', concat(utf8('CCEL'), new Uint8Array(52))],
  ['sev-snp-certificates', table],
  ['tpm-signature', await ecdsaSignature(await maker('AK'), tpmQuote)],
  ['rim', await rim(await rimSigner())],
  ['gce-endorsement', await endorsement({ snp: { 2: 'ab'.repeat(48) } })],
  ['sigstore-bundle', json(await bundle(sigstore))],
  ['sigstore-bundle', utf8(`${JSON.stringify(await bundle(sigstore))}\n`.repeat(2))],
  ['sigstore-bundle', json({ attestations: [{ bundle: await bundle(sigstore) }] })],
  ['sigstore-trusted-root', json(trustedRoot(sigstore))],
  ['ocsp', await ocsp(await maker('CA'), 3)],
  ['crl', arkCrl],
  ['certificates', arkDer],
  ['certificates', concat(arkDer, vcekDer)],
  ['public-key', (await maker('AK')).spki],
  // Tokens whose parts are no claims yet: the outer form is what counts here.
  ['nras-tokens', utf8('[["JWT", "e30.e30.AAAA"], {"GPU-0": "e30.e30.AAAA"}]')],
  ['jwk-set', utf8('{"keys": [{"kty": "RSA", "n": "AQAB", "e": "AQAB"}]}')],
  ['pcrs', utf8(PCR_TEXT)],
  ['pcrs', utf8(PCR_JSON)],
  ['json', utf8('{"tcbInfo":{},"signature":"00"}')],
  ['pem', pem('CERTIFICATE', arkDer)],
  ['pem', pem('X509 CRL', arkCrl)],
  ['rsa-signature', vm.signature],
  ['pem', pem('OCSP RESPONSE', await ocsp(await maker('CA'), 3))],
];
const UNREAD = unreadSamples(SAMPLES.tdx);

test('every row recognises its own sample, and no other row does, as bytes, hex and base64', () => {
  assert.equal(Object.keys(SAMPLES), Object.keys(FORMATS));
  for (const [own, bytes] of Object.entries(SAMPLES)) {
    for (const [name, { recognise }] of rows) assert.is(recognise(bytes), name === own, `${own} as ${name}`);
    assert.is(kindOf(utf8(hex(bytes)))?.name, own, `${own} as hex`);
    // Short texts may be words.
    const text = base64(bytes);
    if (text.length >= 256) assert.is(kindOf(utf8(text))?.name, own, `${own} as base64`);
  }
});

test('every file is of one kind, and every kind has a file', () => {
  const all = [...UNREAD, ...Object.entries(SAMPLES), ...OTHERS];
  for (const [name, bytes] of all) {
    const content = contentOf(bytes);
    const found = FILE_KINDS.filter(({ recognise }) => recognise(content)).map((kind) => kind.name);
    assert.equal(found, [name]);
  }
  assert.equal(
    FILE_KINDS.map(({ name }) => name),
    [...new Set(all.map(([name]) => name))],
  );
  assert.is(kindOf(utf8('nothing')), undefined);
});

test('a number is an RSA signature by its length, whatever bytes it starts with', () => {
  for (let first = 0; first < 0x10000; first++) {
    const signature = randomBytes(256);
    signature[0] = first >> 8;
    signature[1] = first & 0xff;
    const name = kindOf(new Uint8Array(signature))?.name;
    if (name !== 'rsa-signature') assert.is(name, 'rsa-signature', signature.toString('hex'));
  }
  // What has the length of one by chance and a form of its own stays what it is.
  assert.is(kindOf(concat(arkDer.subarray(0, 512)))?.name, 'certificates');
});

test('what a file holds is sorted by the same rows', () => {
  const files = [...Object.entries(SAMPLES), ...OTHERS].map(([name, bytes]) => ({ name, bytes }));
  const sorted = sortFiles(files);
  const fromFiles = rows.filter(([, { notInFiles }]) => notInFiles === undefined).map(([name]) => name);
  const found = sorted.evidence.map(({ format }) => format);
  // These came in containers; those of whole machines are apart.
  assert.equal(found, [...fromFiles, 'sev-snp', 'sev-snp', 'sev-snp', 'tpm', 'nvidia-gpu']);
  assert.equal(
    sorted.machines.flatMap(({ files: { evidence } }) => evidence.map(({ format }) => format)).sort(),
    [
      'nitro',
      'sev-snp',
      'sev-snp',
      'sev-snp',
      'sev-snp',
      'sev-snp',
      'sgx',
      'tdx',
      'tdx',
      'tdx',
      'tdx',
      'tdx',
      'tdx',
      'tdx',
      'tpm',
      'tpm',
    ],
  );
  const reasons = new Map(sorted.unknown.map(({ name, reason }) => [name, reason]));
  for (const [name, { notInFiles }] of rows) assert.is(reasons.get(name), notInFiles, name);
  assert.is(sorted.certificates.length, 11);
  assert.is(sorted.crls.length, 2);
  assert.is(sorted.manifests.length + sorted.tpmSignatures.length + sorted.eventLogs.length, 6);
});

test('what is known and not read is refused by its name, with what to do instead', () => {
  for (const [name, bytes] of UNREAD) {
    const { unknown, evidence, machines } = sortFiles([{ name: 'file', bytes }]);
    assert.is(evidence.length + machines.length, 0, name);
    assert.match(unknown[0]!.reason, /^this is .+; it is not read here: .+/);
  }
  const ppid = UNREAD.find(([name]) => name === 'intel-quote-without-pck-chain')!;
  assert.match(sortFiles([{ name: '', bytes: ppid[1] }]).unknown[0]!.reason, /pckcert/);
  assert.equal(
    [...new Set(UNREAD.map(([name]) => name))],
    UNREAD_FORMATS.map(({ name }) => name),
  );
});

test('policies name the platforms of the table, no more and no fewer', () => {
  const { platforms } = Policy.shape;
  const named = platforms.unwrap().element.options;
  assert.equal([...named].sort(), [...new Set(rows.map(([, { platform }]) => platform))].sort());
  // A platform has the name of one of its formats, whose title stands for it.
  for (const platform of named) {
    assert.is(formatNamed(platform)?.platform, platform);
    const policy = { version: 1, platforms: [platform], minimumTcb: { simulated: [1] } };
    const [first] = explainPolicy(parseEvidencePolicy(policy));
    assert.ok(first?.includes(formatNamed(platform)!.title), first);
  }
  assert.equal(BUILT_IN.strict.platforms, [
    'sgx',
    'tdx',
    'sev-snp',
    'nvidia-gpu',
    'tpm',
    'nitro',
    'nitro-tpm',
  ]);
});

test('every section of a policy is about a format, and is filled in for its platform', () => {
  const sections = rows.flatMap(([, { section }]) => section ?? []);
  assert.equal([...new Set(sections)].sort(), Object.keys(SECTIONS).sort());
  for (const [, { platform, section }] of rows) {
    if (section === undefined) continue;
    const policy = Policy.parse({ version: 1, platforms: [platform], minimumTcb: { simulated: [1] } });
    assert.ok(parseEvidencePolicy(policy)[section] !== undefined, section);
  }
});

test('a document says hardware when every part of it is by hardware that may stand there', () => {
  const part = (format: string) => ({ format, evidence: base64url(new Uint8Array(2)), certificates: [] });
  for (const [name, { hardware, inDocuments }] of rows) {
    assert.is(isHardware({ cpu: part(name), gpu: null }), hardware && inDocuments, name);
  }
  assert.not.ok(isHardware({ cpu: part('tdy'), gpu: null }));
  assert.not.ok(isHardware({ cpu: part('constructor'), gpu: null }));
  const gpuOf = (...formats: string[]) => ({
    ccMode: 'on' as const,
    ready: true,
    devices: formats.map(part),
  });
  assert.ok(isHardware({ cpu: part('tdx'), gpu: gpuOf('nvidia-gpu', 'nvidia-switch') }));
  assert.not.ok(isHardware({ cpu: part('tdx'), gpu: gpuOf('nvidia-gpu', 'simulated-gpu') }));
  assert.ok(areOneFamily(['nvidia-gpu', 'nvidia-switch']));
  for (const strange of ['simulated-gpu', 'tdx', 'toString']) {
    assert.not.ok(areOneFamily(['nvidia-gpu', strange]), strange);
  }
});

test('evidence of every format that files may hold is judged by a check of its own', async () => {
  for (const [name, { notInFiles, platform }] of rows) {
    if (notInFiles !== undefined) continue;
    const given = sortFiles([{ name, bytes: SAMPLES[name as keyof typeof FORMATS] }]);
    const policy = parseEvidencePolicy({
      version: 1,
      platforms: [platform === 'tpm' ? 'tdx' : 'tpm'],
    });
    const { verdict, checks } = await judgeEvidence({
      given,
      store: sortFiles([]),
      policy,
      now: new Date('2026-01-15'),
    });
    assert.is(verdict, 'reject', name);
    assert.ok(checks.length > 3 || name === 'tpm', name);
  }
});

test('evidence of a format that no row names is a defect, never passed over', async () => {
  const nothing = sortFiles([]);
  const question = {
    given: nothing,
    store: nothing,
    policy: BUILT_IN.strict,
    now: new Date(),
    withCpu: false,
  };
  assert.equal(await judgeAll([], question), []);
  try {
    await judgeAll([{ format: 'sev-snq', bytes: SAMPLES['sev-snp'] }], question);
    assert.unreachable();
  } catch (error) {
    assert.instance(error, TypeError);
  }
});

test('nothing but the formats themselves and what a policy wants of each asks for the name of one', () => {
  // What travels in a container is named there; a TD's own demands are explained among those of Intel, and its
  // registers tell which log is whose.
  const allowed: Readonly<Record<string, readonly string[]>> = {
    'protocols/attestation/evidence-files.ts': ['sev-snp'],
    'protocols/attestation/evidence-azure.ts': ['sev-snp', 'tpm'],
    'protocols/attestation/evidence-verdict.ts': ['tpm'],
    'protocols/attestation/json-fields.ts': ['tpm'],
    'protocols/attestation/explain.ts': ['tdx'],
    'protocols/attestation/machines.ts': ['tdx', 'tpm'],
    'runtime/attest/collateral.ts': [],
  };
  const outside = projectFiles().filter(
    (path) =>
      /^protocols\/(?!attestation\/(?:formats|judgement)\/).*\.ts$/.test(path) ||
      Object.hasOwn(allowed, path),
  );
  assert.ok(outside.length > 20);
  for (const path of outside) {
    const code = read(path).replaceAll(/\/\*[\s\S]*?\*\/|\/\/.*/g, '');
    const named = Object.keys(FORMATS).filter((name) => code.includes(`'${name}'`));
    assert.equal(
      named.filter((name) => !(allowed[path] ?? []).includes(name)),
      [],
      path,
    );
  }
});

test('what is parsed once gives the same value, or the same error, for ever', () => {
  let calls = 0;
  const value = parsedOnce(() => ({ calls: ++calls }));
  assert.is(value(), value());
  assert.is(calls, 1);
  const broken = parsedOnce(() => {
    calls += 1;
    throw new RangeError('broken');
  });
  const thrown = () => {
    try {
      return broken();
    } catch (error) {
      return error;
    }
  };
  assert.is(thrown(), thrown());
  assert.is(calls, 2);
});

test.run();
