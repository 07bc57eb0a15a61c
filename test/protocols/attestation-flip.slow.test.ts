/** Every byte of SEV-SNP, TPM and HyperEnclave evidence and of OCSP responses changed: each rejects. Too long for every run. */
import { existsSync, readFileSync } from 'node:fs';
import { splitCertificates } from '../../protocols/attestation/certificate.ts';
import { TpmPolicy } from '../../protocols/attestation/demands.ts';
import { parsePcrs } from '../../protocols/attestation/formats/tpm-pcrs.ts';
import { BUILT_IN, parseEvidencePolicy } from '../../protocols/attestation/policy.ts';
import { suite, type TestContext } from '../harness.ts';
import { AUTHORITY, certify, fingerprint, keyUsage, maker } from './certificate-maker.ts';
import { everyByte } from './every-byte.ts';
import { verifyChain, verifyHyperEnclave, verifySnp, verifyTpm } from './from-bytes.ts';
import { ocsp } from './ocsp-maker.ts';
import { attest, ecdsaSignature, hyperEnclave, NONCE, PCR_TEXT } from './tpm-maker.ts';

const test = suite('every byte of AMD, TPM and HyperEnclave evidence changed', { timeoutMs: 590_000 });
const VECTORS = new URL('../../../shared/vectors/', import.meta.url);
const read = (name: string) => new Uint8Array(readFileSync(new URL(name, VECTORS)));
const need = (t: TestContext): void => {
  if (!existsSync(VECTORS)) t.skip('no ../shared/vectors');
};
const { amd } = BUILT_IN.genuine;

test('OCSP responses', async () => {
  const [root, leaf] = await Promise.all([maker('Root'), maker('Leaf')]);
  const rootDer = await certify(root, root, { extensions: AUTHORITY });
  const leafDer = await certify(root, leaf, { extensions: [keyUsage(0)], serial: 3 });
  for (const options of [{}, { nonce: new Uint8Array(32).fill(1) }, { byKey: true }, { by: root }]) {
    const response = await ocsp(root, 3, options);
    await everyByte('response', response, async (bytes) => {
      const { passed } = await verifyChain({
        leaf: leafDer,
        intermediates: [rootDer],
        rootFingerprints: [fingerprint(rootDer)],
        now: new Date('2026-01-10'),
        revocation: 'required',
        ocsp: [bytes],
      });
      return { verdict: passed ? 'accept' : 'reject' };
    });
  }
});

test('SEV-SNP reports, VCEK and VLEK', async (t) => {
  need(t);
  for (const [file, certificate, now] of [
    ['amd/reports/trustee_v2_milan.bin', 'amd/certs/trustee_vcek.der', '2024-01-01'],
    ['amd/reports/trustee_v3_milan_vlek_aws.bin', 'amd/certs/trustee_vlek.der', '2025-06-01'],
  ] as const) {
    const [leaf] = splitCertificates(read(certificate));
    const judge = (report: Uint8Array, der: Uint8Array) =>
      verifySnp({ report, certificates: [der], policy: { debug: false, amd }, now: new Date(now) });
    await everyByte(file, read(file), (report) => judge(report, leaf!));
    await everyByte(certificate, leaf!, (der) => judge(read(file), der));
  }
});

test('a TPM quote with its signature and certificate', async () => {
  const root = await maker('TPM Root');
  const ak = await maker('AK');
  const rootDer = await certify(root, root, { extensions: AUTHORITY });
  const akDer = await certify(root, ak, { extensions: [keyUsage(0)] });
  const quote = attest();
  const signature = await ecdsaSignature(ak, quote);
  const judge = (change: { attest?: Uint8Array; signature?: Uint8Array; certificates?: Uint8Array[] }) =>
    verifyTpm({
      attest: quote,
      signature,
      certificates: [akDer, rootDer],
      keys: [],
      pcrs: parsePcrs(PCR_TEXT),
      policy: TpmPolicy.parse({ roots: [fingerprint(rootDer)], revocation: 'if-present' }),
      nonce: NONCE,
      now: new Date('2026-01-01'),
      ...change,
    });
  await everyByte('quote', quote, (bytes) => judge({ attest: bytes }));
  await everyByte('signature', signature, (bytes) => judge({ signature: bytes }));
  await everyByte('certificate', akDer, (der) => judge({ certificates: [der, rootDer] }));
});

test('a HyperEnclave quote', async () => {
  const root = await maker('Platform CA');
  const rootDer = await certify(root, root, { extensions: AUTHORITY });
  const { quote } = await hyperEnclave({ issuer: root });
  const hyperenclave = { roots: [fingerprint(rootDer)], revocation: 'if-present' };
  const policy = parseEvidencePolicy({ version: 1, platforms: ['hyperenclave'], hyperenclave });
  await everyByte('quote', quote, (bytes) =>
    verifyHyperEnclave({
      quote: bytes,
      certificates: [rootDer],
      keys: [],
      pcrs: new Map(),
      policy,
      now: new Date('2026-01-01'),
    }),
  );
});

test.run();
