/** 10^5 inputs for each reader of AMD's and NVIDIA's formats: it refuses with a coded error, and at once. */
import * as fc from 'fast-check';
import {
  parseCertificate,
  parseRevocationList,
  splitCertificates,
} from '../../protocols/attestation/certificate.ts';
import { parseGpuEvidenceFile, parseGpuReport } from '../../protocols/attestation/formats/nvidia-report.ts';
import { parseRim } from '../../protocols/attestation/formats/rim.ts';
import {
  parseCertificateTable,
  parseSnpReport,
  SNP_REPORT_BYTES,
} from '../../protocols/attestation/formats/sev-snp-report.ts';
import { sniff } from '../../protocols/attestation/formats/sniff.ts';
import { utf8 } from '../../protocols/encoding.ts';
import { VouchError } from '../../protocols/errors.ts';
import { assert, suite } from '../harness.ts';
import { AUTHORITY, certify, fingerprint, flip, maker, revoke } from './certificate-maker.ts';
import { gpu, report, rim, rimSigner, vendor } from './gpu-maker.ts';

const test = suite('readers of evidence under fuzzing', { timeoutMs: 600_000 });
const RUNS = 100_000;
const MOST_MS = 50;

const key = await maker('Fuzz');
const snp = new Uint8Array(SNP_REPORT_BYTES);
snp.set([3], 0);
snp.set([2], 0x0a);
snp.set([1], 0x34);
const signer = await rimSigner();
const FORMATS: readonly (readonly [name: string, good: Uint8Array, parse: (bytes: Uint8Array) => unknown])[] =
  [
    ['certificate', await certify(key, key, { extensions: AUTHORITY }), parseCertificate],
    ['CRL', await revoke(key, [1, 2, 3]), parseRevocationList],
    ['bundle', utf8('-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n'), splitCertificates],
    ['SNP report', snp, parseSnpReport],
    ['SNP certificate table', new Uint8Array(96), parseCertificateTable],
    ['GPU report', await report(await gpu(await vendor())), parseGpuReport],
    ['GPU evidence file', utf8('[{"evidence":"AAAA","certificate":"AAAA"}]'), parseGpuEvidenceFile],
    ['RIM', await rim(signer), parseRim],
  ];

/** The input changed in a few bytes, cut, repeated, or something else altogether. */
const around = (good: Uint8Array) => {
  const changes = fc.array(fc.tuple(fc.nat(good.length - 1), fc.integer({ min: 1, max: 255 })), {
    minLength: 1,
    maxLength: 6,
  });
  return fc.oneof(
    {
      weight: 6,
      arbitrary: changes.map((all) =>
        all.reduce((bytes: Uint8Array, [at, mask]) => flip(bytes, at, mask), good),
      ),
    },
    { weight: 2, arbitrary: fc.nat(good.length).map((length) => good.subarray(0, length)) },
    {
      weight: 1,
      arbitrary: fc
        .tuple(fc.nat(good.length), fc.nat(good.length))
        .map(([a, b]) => Uint8Array.from([...good.subarray(0, a), ...good.subarray(b)])),
    },
    { weight: 1, arbitrary: fc.uint8Array({ maxLength: 512 }) },
  );
};

for (const [name, good, parse] of FORMATS) {
  test(`${name}: a coded error or a value, within ${MOST_MS} ms`, () => {
    const once = (bytes: Uint8Array): number => {
      const start = performance.now();
      try {
        parse(bytes);
      } catch (error) {
        if (!(error instanceof VouchError)) throw error;
      }
      sniff(bytes);
      return performance.now() - start;
    };
    fc.assert(
      fc.property(around(good), (bytes) => {
        // A pause of the machine is not the reader's: a slow input is slow every time.
        const slow = once(bytes) > MOST_MS && once(bytes) > MOST_MS && once(bytes) > MOST_MS;
        assert.not.ok(slow, `${bytes.length} bytes, ${fingerprint(bytes)}`);
      }),
      { numRuns: RUNS },
    );
  });
}

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
      const start = performance.now();
      assert.throws(
        () => parse(bytes),
        (error: unknown) => error instanceof VouchError,
        `${name}, input ${i}`,
      );
      sniff(bytes);
      assert.ok(performance.now() - start < 1000, `${name}, input ${i}`);
    }
  }
});

test.run();
