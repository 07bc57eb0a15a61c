/** The table of evidence formats, and what else reads it: each thing is known by one row, and named in one place. */
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
import { base64url, concat, fromHex, hex, utf8 } from '../../protocols/encoding.ts';
import { assert, suite } from '../harness.ts';
import { projectFiles, read } from '../repo/sources.ts';
import { attested } from './attested.ts';
import { maker } from './certificate-maker.ts';
import { gpu, report, rim, rimSigner, switchFields, vendor } from './gpu-maker.ts';
import { intelCase } from './intel-platform.ts';
import { ocsp } from './ocsp-maker.ts';
import { arkCrl, arkDer, snpReport, vcekDer } from './snp-maker.ts';
import { attest, ecdsaSignature, hyperEnclave, PCR_JSON, PCR_TEXT } from './tpm-maker.ts';

const test = suite('table of evidence formats', { timeoutMs: 60_000 });
const rows = Object.entries<Format>(FORMATS);

const card = await gpu(await vendor());
const simulated = await createSimulatedPlatform(await createSimulatedRoot());
const tpmQuote = attest();
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
const OTHERS: readonly (readonly [name: string, bytes: Uint8Array])[] = [
  ['sev-snp-with-certificates', concat(SAMPLES['sev-snp'], table)],
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
  ['event-log', concat(new Uint8Array(32), utf8('Spec ID Event03\0'), new Uint8Array(40))],
  ['ccel-table', concat(utf8('CCEL'), new Uint8Array(52))],
  ['sev-snp-certificates', table],
  ['tpm-signature', await ecdsaSignature(await maker('AK'), tpmQuote)],
  ['rim', await rim(await rimSigner())],
  ['ocsp', await ocsp(await maker('CA'), 3)],
  ['crl', arkCrl],
  ['certificates', arkDer],
  ['certificates', concat(arkDer, vcekDer)],
  // Tokens whose parts are no claims yet: the outer form is what counts here.
  ['nras-tokens', utf8('[["JWT", "e30.e30.AAAA"], {"GPU-0": "e30.e30.AAAA"}]')],
  ['jwk-set', utf8('{"keys": [{"kty": "RSA", "n": "AQAB", "e": "AQAB"}]}')],
  ['pcrs', utf8(PCR_TEXT)],
  ['pcrs', utf8(PCR_JSON)],
  ['json', utf8('{"tcbInfo":{},"signature":"00"}')],
  ['pem', pem('CERTIFICATE', arkDer)],
  ['pem', pem('X509 CRL', arkCrl)],
  ['pem', pem('OCSP RESPONSE', await ocsp(await maker('CA'), 3))],
];

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
  const all = [...Object.entries(SAMPLES), ...OTHERS];
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

test('what a file holds is sorted by the same rows', () => {
  const files = [...Object.entries(SAMPLES), ...OTHERS].map(([name, bytes]) => ({ name, bytes }));
  const sorted = sortFiles(files);
  const fromFiles = rows.filter(([, { notInFiles }]) => notInFiles === undefined).map(([name]) => name);
  const found = sorted.evidence.map(({ format }) => format);
  // Two came in containers.
  assert.equal(found, [...fromFiles, 'sev-snp', 'nvidia-gpu']);
  const reasons = new Map(sorted.unknown.map(({ name, reason }) => [name, reason]));
  for (const [name, { notInFiles }] of rows) assert.is(reasons.get(name), notInFiles, name);
  assert.is(sorted.certificates.length, 6);
  assert.is(sorted.crls.length, 2);
  assert.is(sorted.manifests.length + sorted.tpmSignatures.length + sorted.eventLogs.length, 3);
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
  assert.equal(BUILT_IN.strict.platforms, ['sgx', 'tdx', 'sev-snp', 'nvidia-gpu', 'tpm']);
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
  // What travels in a container is named there; a TD's own demands are explained among those of Intel.
  const allowed: Readonly<Record<string, readonly string[]>> = {
    'protocols/attestation/evidence-files.ts': ['sev-snp', 'nvidia-gpu', 'nvidia-switch'],
    'protocols/attestation/explain.ts': ['tdx'],
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
