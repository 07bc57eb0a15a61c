/**
 * One verdict whatever the order of files: every case's files are shuffled, genuine evidence among them where it is at
 * hand, with duplicates and with what belongs to other machines. Source: issue 11, 5 and 6: a manifest that holds before
 * one that does not was accepted, the other way round refused; so with TCB info; a tampered switch manifest was passed
 * over, a genuine one made GPUs fail.
 */
import { existsSync, readFileSync } from 'node:fs';
import * as fc from 'fast-check';
import { sortFiles } from '../../protocols/attestation/evidence-files.ts';
import { type EvidenceQuestion, judgeEvidence } from '../../protocols/attestation/evidence-verdict.ts';
import { BUILT_IN, parseEvidencePolicy } from '../../protocols/attestation/policy.ts';
import { concat, hex, utf8 } from '../../protocols/encoding.ts';
import { assert, suite } from '../harness.ts';
import { fingerprint, flip, type Maker, maker } from './certificate-maker.ts';
import { endorsement, googleRoots } from './google-maker.ts';
import {
  type Gpu,
  gpu,
  measured,
  NONCE,
  report,
  rim,
  rimSigner,
  switchFields,
  VBIOS,
  vendor,
} from './gpu-maker.ts';
import { intelCase, NOW, signedBy, tcbInfo } from './intel-platform.ts';
import { json } from './service-maker.ts';
import { instance, pinsOf, trustedRoot } from './sigstore-instance.ts';
import { type BundleFields, bundle, statementOf } from './sigstore-maker.ts';
import { arkCrl, arkDer, askDer, snpReport, vcekDer } from './snp-maker.ts';
import { attest, ecdsaSignature, PCR_TEXT } from './tpm-maker.ts';

const test = suite('evidence in any order', { timeoutMs: 120_000 });
const VECTORS = new URL('../../../shared/vectors/', import.meta.url);
const read = (name: string) => new Uint8Array(readFileSync(new URL(name, VECTORS)));

const makers = await vendor();
const signer = await rimSigner();
const card = await gpu(makers);
const second = await gpu(makers, { serial: 8 });
const driver = await rim(signer);
const vbios = await rim(signer, { version: VBIOS, active: new Map([[2, [measured(2)]]]) });
const mismatching = await rim(signer, { active: new Map([[1, [measured(5)]]]) });
const others = await rim(signer, { version: '570.1.1' });
const tampered = await rim(signer, { after: (text) => text.replace('02020202', '03030303') });
const published = [...makers.ocsp, ...signer.ocsp, await makers.answer(4), await makers.answer(8)];
const roots = {
  gpu: { device: [fingerprint(makers.rootDer)], rim: [signer.root] },
  amd: new Map([[fingerprint(arkDer), 'Turin' as const]]),
};

interface Case {
  readonly name: string;
  readonly files: readonly Uint8Array[];
  readonly expected: 'accept' | 'reject';
  readonly question?: Partial<EvidenceQuestion>;
}
const gpuReport = await report(card);
const device = [gpuReport, ...card.chain, ...published];
const whole = { ccMode: 'on', ready: true } as const;
const gpuCase = (name: string, files: readonly Uint8Array[], expected: Case['expected']): Case => ({
  name,
  files: [...device, ...files],
  expected,
  question: { nonce: hex(NONCE), guest: whole, roots },
});

const pdi = (fill: number) => Uint8Array.from({ length: 8 }, (_, i) => fill + i);
const behind = {
  fields: new Map([
    [21, Uint8Array.of(0xaa)],
    [22, concat(pdi(0x11).toReversed(), new Uint8Array(8))],
  ]),
};
const switchCard = await gpu(makers, { name: 'LS_10 A01 FSP FMC LF', serial: 21 });
const switchReport = await report(switchCard, { fields: switchFields(pdi(0x11), [pdi(0x81), pdi(0x91)]) });
const bios = (after?: (text: string) => string) =>
  rim(signer, {
    version: '96.10.55.00.01',
    product: 'LS10',
    active: new Map([[1, [measured(1)]]]),
    ...(after === undefined ? {} : { after }),
  });
const evidenceFile = (entries: readonly (readonly [Uint8Array, Gpu])[]) => {
  const base64 = (bytes: Uint8Array) => btoa(String.fromCharCode(...bytes));
  const pem = ({ chain }: Gpu) =>
    chain.map((der) => `-----BEGIN CERTIFICATE-----\n${base64(der)}\n-----END CERTIFICATE-----\n`).join('');
  return utf8(
    JSON.stringify(entries.map(([bytes, one]) => ({ evidence: base64(bytes), certificate: btoa(pem(one)) }))),
  );
};
const machine = [
  evidenceFile([
    [await report(card, behind), card],
    [await report(second, behind), second],
  ]),
  evidenceFile([[switchReport, switchCard]]),
  ...published,
  await makers.answer(21),
];
const machineCase = (
  name: string,
  files: readonly Uint8Array[],
  expected: Case['expected'],
  genuine = false,
): Case => ({
  name,
  files: [...machine, ...files],
  expected,
  question: { nonce: hex(NONCE), guest: whole, roots, ...(genuine ? { policy: BUILT_IN.genuine } : {}) },
});

const td = await intelCase();
const [info] = td.collateral.tcbInfos;
const [identity] = td.collateral.qeIdentities;
const combined = (changes: Record<string, unknown> = {}) =>
  utf8(
    JSON.stringify({
      tcb_info: info!.text,
      tcb_info_signature: info!.signature,
      tcb_info_issuer_chain: info!.chain,
      ...changes,
    }),
  );
const intelFiles = [
  td.quote,
  utf8(
    JSON.stringify({
      qe_identity: identity!.text,
      qe_identity_signature: identity!.signature,
      qe_identity_issuer_chain: identity!.chain,
      pck_crl_issuer_chain: td.collateral.crlChains[0],
    }),
  ),
  ...td.collateral.crls.map((list) => list().der),
];
const old = await signedBy(td.signers.signer, tcbInfo({ nextUpdate: '2026-01-02T00:00:00Z' }), info!.chain!);
const intelCaseOf = (name: string, files: readonly Uint8Array[], expected: Case['expected']): Case => ({
  name,
  files: [...intelFiles, ...files],
  expected,
  question: { roots: { intel: td.roots }, now: NOW },
});

const snp = await snpReport();
const anotherVcek = await (async () => {
  const { certify } = await import('./certificate-maker.ts');
  const { ask, hwId, turinExtensions } = await import('./snp-maker.ts');
  return certify(ask, await maker('SEV-VCEK'), {
    extensions: [...turinExtensions(), hwId(new Uint8Array(8).fill(9))],
  });
})();
const snpCase = (name: string, files: readonly Uint8Array[], expected: Case['expected']): Case => ({
  name,
  files: [snp, arkCrl, ...files],
  expected,
  question: { roots },
});

const ak: Maker = await maker('AK');
const tpmPolicy = parseEvidencePolicy({
  version: 1,
  platforms: ['tpm'],
  tpm: { keys: [fingerprint(ak.spki)], revocation: 'if-present' },
});
const tpmQuote = attest();
const key = utf8(
  `-----BEGIN PUBLIC KEY-----\n${btoa(String.fromCharCode(...ak.spki))}\n-----END PUBLIC KEY-----\n`,
);
const tpm = [tpmQuote, await ecdsaSignature(ak, tpmQuote), key, utf8(PCR_TEXT)];
const contradicting = utf8(PCR_TEXT.replace(/(sha256:\n\s+\d+\s*: 0x)../, '$1ee'));
const { NONCE: TPM_NONCE } = await import('./tpm-maker.ts');
const tpmCase = (name: string, files: readonly Uint8Array[], expected: Case['expected']): Case => ({
  name,
  files: [...tpm, ...files],
  expected,
  question: { policy: tpmPolicy, nonce: hex(TPM_NONCE) },
});

const sigstore = await instance();
const launch = hex(snp.subarray(0x90, 0x90 + 48));
const said = async (fields: BundleFields) => json(await bundle(sigstore, fields));
const mallory = await maker('mallory', 'RSA-PSS-256');
const elsewhere = [
  await endorsement({ snp: { 2: 'cd'.repeat(48) } }),
  await said({ statement: statementOf({ measurement: 'cd'.repeat(48) }) }),
];
const endorsed = await endorsement({ snp: { 2: launch } });
const named = statementOf({ measurement: launch });
const stated = await said({ statement: named });
const forgedEndorsements = [
  await endorsement({ snp: { 2: launch }, by: mallory }),
  await endorsement({ snp: { 2: launch }, change: 0 }),
];
const forgedStatements = [
  await said({ statement: named, signer: await maker('mallory', 'P-256') }),
  await said({ statement: named, shownBy: undefined }),
];
const softwareCase = (name: string, files: readonly Uint8Array[], expected: Case['expected']): Case => ({
  name,
  files: [snp, vcekDer, askDer, arkDer, arkCrl, json(trustedRoot(sigstore)), ...files],
  expected,
  question: { roots: { ...roots, gce: googleRoots, provenance: pinsOf(sigstore) } },
});

const CASES: readonly Case[] = [
  gpuCase('a GPU and its manifests', [driver, vbios], 'accept'),
  gpuCase('a manifest twice', [driver, vbios, driver], 'accept'),
  gpuCase("another machine's manifest beside", [driver, vbios, others], 'accept'),
  gpuCase('a manifest that does not match beside one that does', [driver, vbios, mismatching], 'reject'),
  gpuCase('a tampered manifest beside a good one', [driver, vbios, tampered], 'reject'),
  gpuCase('no manifest that fits', [others, vbios], 'reject'),
  gpuCase("another device's certificates beside", [driver, vbios, ...second.chain], 'accept'),
  gpuCase(
    'an answer that revokes beside a good one',
    [driver, vbios, await makers.answer(4, { status: 'revoked' })],
    'reject',
  ),
  machineCase('GPUs and switch with all manifests', [driver, vbios, await bios()], 'accept'),
  machineCase("the switch's manifest alone", [await bios()], 'accept', true),
  machineCase('no manifest', [], 'accept', true),
  machineCase(
    'a tampered switch manifest',
    [await bios((text) => text.replace('96.10.55.00.01', '96.10.55.00.02'))],
    'reject',
    true,
  ),
  machineCase(
    'a switch manifest whose chip was changed',
    [await bios((text) => text.replace("product='LS10'", "product='LS11'"))],
    'reject',
    true,
  ),
  intelCaseOf('a TD and its collateral', [combined()], 'accept'),
  intelCaseOf(
    'an older TCB info beside',
    [combined(), combined({ tcb_info: old.text, tcb_info_signature: old.signature })],
    'accept',
  ),
  intelCaseOf(
    'a tampered TCB info beside',
    [combined(), combined({ tcb_info: info!.text.replace('UpToDate', 'Revoked') })],
    'reject',
  ),
  snpCase('an SNP report and its chain', [vcekDer, askDer, arkDer], 'accept'),
  snpCase("another chip's certificate beside", [vcekDer, askDer, arkDer, anotherVcek], 'accept'),
  snpCase(
    'a tampered copy of the certificate beside',
    [vcekDer, askDer, arkDer, flip(vcekDer, vcekDer.length - 9)],
    'reject',
  ),
  softwareCase('what is said of the software', [endorsed, stated], 'accept'),
  softwareCase('and of other software beside', [endorsed, stated, ...elsewhere], 'accept'),
  softwareCase('of other software alone', elsewhere, 'reject'),
  softwareCase('forged endorsements beside', [endorsed, stated, ...forgedEndorsements], 'reject'),
  softwareCase('forged statements beside', [endorsed, stated, ...forgedStatements], 'reject'),
  tpmCase('a TPM quote', [], 'accept'),
  tpmCase('its PCR values twice', [utf8(PCR_TEXT)], 'accept'),
  tpmCase('PCR values that contradict each other', [contradicting], 'reject'),
];

async function judge(files: readonly Uint8Array[], question: Partial<EvidenceQuestion> = {}) {
  const given = sortFiles(files.map((bytes, i) => ({ name: `${i}`, bytes })));
  return judgeEvidence({
    given,
    store: sortFiles([]),
    policy: BUILT_IN.strict,
    now: new Date('2026-01-10'),
    ...question,
  });
}
const whatFailed = ({ checks }: Awaited<ReturnType<typeof judge>>) =>
  [...new Set(checks.filter(({ status }) => status === 'fail').map(({ id }) => id.replace(/\.\d+\./, '.')))]
    .sort()
    .join();

for (const { name, files, expected, question } of CASES) {
  test(`${name}: ${expected}`, async () => {
    const first = await judge(files, question);
    assert.is(first.verdict, expected, whatFailed(first));
    await fc.assert(
      fc.asyncProperty(fc.shuffledSubarray([...files], { minLength: files.length }), async (shuffled) => {
        const again = await judge(shuffled, question);
        assert.is(again.verdict, expected, whatFailed(again));
        assert.is(whatFailed(again), whatFailed(first));
      }),
      { numRuns: 8 },
    );
  });
}

interface Vector {
  readonly path: string;
  readonly kind: string;
  readonly now: string | null;
  readonly rimNow?: string;
  readonly verdict: 'accept' | 'reject';
  readonly collateral?: string;
  readonly cert?: string;
  readonly vbiosRim?: string;
  readonly expectedNonce?: string;
}

// Issue 11, 2: AMD's own ASK beside a VCEK made a genuine report fail.
test("genuine evidence, its files shuffled, AMD's CA certificates given and withheld", async (t) => {
  if (!existsSync(VECTORS)) t.skip('no ../shared/vectors');
  const authorities = ['milan', 'genoa', 'turin'].map((product) =>
    read(`roots/amd_${product}_ask_ark_asvk.pem`),
  );
  for (const vector of JSON.parse(new TextDecoder().decode(read('vectors.json'))) as Vector[]) {
    const others = [vector.collateral, vector.cert, vector.vbiosRim].flatMap((name) => name ?? []);
    if (vector.kind === 'nvidia-spdm') others.push(vector.path.replace('.hex', '.chain.pem'));
    const own = [vector.path, ...others].map(read);
    const now = vector.rimNow ?? vector.now;
    const question = {
      policy: BUILT_IN.genuine,
      now: now === null ? new Date('2025-06-01') : new Date(now),
      nonce: vector.expectedNonce,
    };
    for (const more of [[], ...authorities.map((one) => [one]), authorities]) {
      const files = [...own, ...more];
      for (const order of fc.sample(fc.shuffledSubarray(files, { minLength: files.length }), 2)) {
        const given = await judge(order, question);
        assert.is(given.verdict, vector.verdict, `${vector.path}: ${whatFailed(given)}`);
      }
    }
    const store = sortFiles(authorities.map((bytes, i) => ({ name: `${i}`, bytes })));
    assert.is(
      (await judge(own, { ...question, store })).verdict,
      vector.verdict,
      `${vector.path} with a store`,
    );
  }
});

test.run();
