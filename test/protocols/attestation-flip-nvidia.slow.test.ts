/** Every byte of real NVIDIA evidence changed: each change rejects. Too long for every run. */
import { existsSync, readFileSync } from 'node:fs';
import { splitCertificates } from '../../protocols/attestation/certificate.ts';
import { BUILT_IN } from '../../protocols/attestation/policy.ts';
import { rememberSignatures } from '../../protocols/attestation/signature.ts';
import { fromHex } from '../../protocols/encoding.ts';
import { assert, suite, type TestContext } from '../harness.ts';
import { everyByte } from './every-byte.ts';
import { verifyGpu } from './from-bytes.ts';

const test = suite('every byte of NVIDIA evidence changed', { timeoutMs: 590_000 });
const VECTORS = new URL('../../../shared/vectors/', import.meta.url);
const read = (name: string) => new Uint8Array(readFileSync(new URL(name, VECTORS)));
const need = (t: TestContext): void => {
  if (!existsSync(VECTORS)) t.skip('no ../shared/vectors');
};
const { gpu } = BUILT_IN.genuine;
// What did not change needs no second verification.
const verify = rememberSignatures();

test('an NVIDIA report and its chain', async (t) => {
  need(t);
  const report = fromHex(new TextDecoder().decode(read('nvidia/reports/sdk_hopper_535.86.09.hex')).trim());
  const certificates = splitCertificates(read('nvidia/reports/sdk_hopper_535.86.09.chain.pem'));
  const rims = [read('nvidia/rims/1010_0200_882_96005E0001_PROD.swidtag')];
  const nonce = fromHex('27a328247bf7935c993341cf587be6f05986ccce4fe7ba2c54100bd616a58f66');
  const judge = (bytes: Uint8Array, chain: readonly Uint8Array[], manifests: readonly Uint8Array[] = []) =>
    verifyGpu({
      gpus: [{ report: bytes, certificates: chain }],
      rims: manifests,
      nonce,
      policy: gpu,
      verify,
      now: new Date('2024-06-01'),
    });
  assert.is((await judge(report, certificates, rims)).verdict, 'accept');
  await everyByte('report', report, (bytes) => judge(bytes, certificates));
  for (const [i, certificate] of certificates.entries()) {
    await everyByte(`certificate ${i}`, certificate, (der) => judge(report, certificates.with(i, der)));
  }
});

test.run();
