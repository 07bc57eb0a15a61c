/** 10^5 inputs for each reader of AMD's, NVIDIA's, TPMs' and HyperEnclave's formats and of OCSP: see fuzzing.ts. */
import {
  parseCertificate,
  parsePublicKey,
  parseRevocationList,
  splitCertificates,
} from '../../protocols/attestation/certificate.ts';
import { kindOf } from '../../protocols/attestation/evidence-files.ts';
import { parseHyperEnclaveQuote } from '../../protocols/attestation/formats/hyperenclave-quote.ts';
import { parseGpuEvidenceFile, parseGpuReport } from '../../protocols/attestation/formats/nvidia-report.ts';
import { parseRim } from '../../protocols/attestation/formats/rim.ts';
import {
  parseCertificateTable,
  parseSnpReport,
  SNP_REPORT_BYTES,
} from '../../protocols/attestation/formats/sev-snp-report.ts';
import { parseTpmAttest, parseTpmSignature } from '../../protocols/attestation/formats/tpm-attest.ts';
import { parsePcrs } from '../../protocols/attestation/formats/tpm-pcrs.ts';
import { parseKeySet, parseNrasTokens } from '../../protocols/attestation/nras.ts';
import { parseOcspResponse } from '../../protocols/attestation/ocsp.ts';
import { utf8 } from '../../protocols/encoding.ts';
import { VouchError } from '../../protocols/errors.ts';
import { assert, suite } from '../harness.ts';
import { AUTHORITY, certify, maker, revoke } from './certificate-maker.ts';
import { fuzzReaders } from './fuzzing.ts';
import { gpu, report, rim, rimSigner, vendor } from './gpu-maker.ts';
import { ocsp } from './ocsp-maker.ts';
import { attest, ecdsaSignature, hyperEnclave, PCR_TEXT } from './tpm-maker.ts';

const test = suite('readers of evidence under fuzzing', { timeoutMs: 590_000 });
const RUNS = 100_000;

const key = await maker('Fuzz');
const snp = new Uint8Array(SNP_REPORT_BYTES);
snp.set([3], 0);
snp.set([2], 0x0a);
snp.set([1], 0x34);
const signer = await rimSigner();
/** The response, and the certificates in it, which are read when they are needed. */
const readOcsp = (bytes: Uint8Array) => parseOcspResponse(bytes).certificates();
const FORMATS: readonly (readonly [name: string, good: Uint8Array, parse: (bytes: Uint8Array) => unknown])[] =
  [
    ['certificate', await certify(key, key, { extensions: AUTHORITY }), parseCertificate],
    ['CRL', await revoke(key, [1, 2, 3]), parseRevocationList],
    ['OCSP response', await ocsp(key, 3, { nonce: new Uint8Array(32) }), readOcsp],
    ['bundle', utf8('-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n'), splitCertificates],
    ['SNP report', snp, parseSnpReport],
    ['SNP certificate table', new Uint8Array(96), parseCertificateTable],
    ['GPU report', await report(await gpu(await vendor())), parseGpuReport],
    ['GPU evidence file', utf8('[{"evidence":"AAAA","certificate":"AAAA"}]'), parseGpuEvidenceFile],
    ['RIM', await rim(signer), parseRim],
    ['public key', key.spki, parsePublicKey],
    [
      'NRAS tokens',
      utf8('[["JWT","e30.e30.AAAA"],{"GPU-0":"e30.e30.AAAA"}]'),
      (bytes) => parseNrasTokens(new TextDecoder().decode(bytes)),
    ],
    [
      'JWK set',
      utf8('{"keys":[{"kty":"EC","crv":"P-384","x":"AAAA","y":"AAAA"}]}'),
      (bytes) => parseKeySet(new TextDecoder().decode(bytes)),
    ],
    ['TPM quote', attest(), parseTpmAttest],
    ['TPM signature', await ecdsaSignature(key, attest()), parseTpmSignature],
    ['PCR values', utf8(PCR_TEXT), (bytes) => parsePcrs(new TextDecoder().decode(bytes))],
    ['HyperEnclave quote', (await hyperEnclave({ issuer: key })).quote, parseHyperEnclaveQuote],
  ];

fuzzReaders(test, FORMATS, RUNS);

test('inputs made to be slow are refused at once', () => {
  const slow: Uint8Array[] = [
    new Uint8Array(256 * 1024).fill(0x3c),
    utf8('<a>'.repeat(80_000)),
    utf8(`<a ${'b="" '.repeat(50_000)}>`),
    utf8(`<a>${'<b xmlns:c="d"/>'.repeat(15_000)}`),
    utf8(`<a>${'&amp;'.repeat(50_000)}`),
    utf8(`<a>${'&'.repeat(250_000)}`),
    utf8('-----BEGIN CERTIFICATE-----'.repeat(9000)),
    new Uint8Array(256 * 1024).fill(0x30),
    new Uint8Array(256 * 1024).fill(0x31),
    utf8(`[${'{"evidence":"certificate"'.repeat(9000)}`),
  ];
  for (const [i, bytes] of slow.entries()) {
    for (const [name, , parse] of FORMATS) {
      const start = process.threadCpuUsage();
      assert.throws(
        () => parse(bytes),
        (error: unknown) => error instanceof VouchError,
        `${name}, input ${i}`,
      );
      kindOf(bytes);
      const { user, system } = process.threadCpuUsage(start);
      assert.ok(user + system < 1_000_000, `${name}, input ${i}: a second of computing`);
    }
  }
});

test.run();
