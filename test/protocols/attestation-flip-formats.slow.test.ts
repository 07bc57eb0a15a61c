/** Every signed byte of Nitro documents and of Azure's evidence changed: each change rejects. Too long for every run. */
import { sortFiles } from '../../protocols/attestation/evidence-files.ts';
import { judgeEvidence } from '../../protocols/attestation/evidence-verdict.ts';
import { BUILT_IN } from '../../protocols/attestation/policy.ts';
import { hex } from '../../protocols/encoding.ts';
import { assert, suite } from '../harness.ts';
import { azureVm, vtpmFile } from './azure-maker.ts';
import { fingerprint, flip } from './certificate-maker.ts';
import { everyByte } from './every-byte.ts';
import { nitroDocument, nitroVendor, SIGNED_AT } from './nitro-maker.ts';
import { arkDer, askDer } from './snp-maker.ts';
import { NONCE } from './tpm-maker.ts';

const test = suite('every signed byte of Nitro and Azure evidence changed', { timeoutMs: 590_000 });
const store = sortFiles([]);
const aws = await nitroVendor();

const judge = (files: readonly Uint8Array[], nonce?: Uint8Array) =>
  judgeEvidence({
    given: sortFiles(files.map((bytes, i) => ({ name: `${i}`, bytes }))),
    store,
    policy: BUILT_IN.genuine,
    now: SIGNED_AT,
    nonce: nonce && hex(nonce),
    roots: { nitro: aws.roots, amd: new Map([[fingerprint(arkDer), 'Turin']]) },
  });

for (const [form, options] of Object.entries({
  'of definite length': {},
  'of indefinite length, tagged, in a response': { indefinite: true, tag: true, response: true },
  'of an instance': { instance: true },
})) {
  test(`a Nitro document ${form}`, async () => {
    await everyByte('document', await nitroDocument(aws, options), (bytes) => judge([bytes]));
  });
}

test("Azure: the CPU's report, runtime data, quote, signature and PCRs", async () => {
  const vm = await azureVm();
  const chain = [vm.vcek, askDer, arkDer];
  const whole = (hcl: Uint8Array) => judge([hcl, vtpmFile(vm), ...chain], NONCE);
  assert.is((await whole(vm.hcl)).verdict, 'accept');
  const runtime = 32 + 1184 + 20;
  for (let at = 0; at < runtime + vm.runtime.length; at++) {
    // Sizes, statuses and reserved bytes of the header: nothing that is read.
    const idle = (at >= 8 && at < 32) || (at >= runtime - 20 && at < runtime - 12);
    const changed = flip(vm.hcl, at, 1 << (at & 7));
    if (!idle) assert.is((await whole(changed)).verdict, 'reject', `HCL report byte ${at}`);
  }
  await everyByte('quote', vtpmFile(vm), (bytes) => judge([vm.hcl, bytes, ...chain], NONCE));
  await everyByte('VCEK', vm.vcek, (bytes) => judge([vm.hcl, vtpmFile(vm), bytes, askDer, arkDer], NONCE));
});

test.run();
