import { existsSync } from 'node:fs';
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import {
  createSimulatedPlatform,
  createSimulatedRoot,
} from '../../../protocols/attestation/formats/simulated.ts';
import { VouchError } from '../../../protocols/errors.ts';
import { providerOf, teeFound } from '../../../runtime/attest/providers.ts';
import { assert, suite } from '../../harness.ts';

const test = suite('providers of evidence');

test('the simulator refuses to start where a real TEE is found, unless told to', async (t) => {
  const root = await mkdtemp(path.join(tmpdir(), 'vouch-tee-'));
  t.defer(() => rm(root, { recursive: true }));
  assert.is(teeFound(root), undefined);
  await mkdir(path.join(root, 'dev'));
  await writeFile(path.join(root, 'dev/tdx_guest'), '');
  assert.is(teeFound(root), '/dev/tdx_guest');
  const before = process.env.VOUCH_SIMULATED;
  t.defer(() => {
    if (before === undefined) delete process.env.VOUCH_SIMULATED;
    else process.env.VOUCH_SIMULATED = before;
  });
  delete process.env.VOUCH_SIMULATED;
  const platform = await createSimulatedPlatform(await createSimulatedRoot());
  const error: unknown = await providerOf('simulated', { platform, root }).catch((thrown) => thrown);
  assert.instance(error, VouchError);
  assert.is((error as VouchError).code, 'policy-rejected');
  assert.match((error as VouchError).message, /has a TEE \(\/dev\/tdx_guest\)/);
  process.env.VOUCH_SIMULATED = '1';
  assert.is((await providerOf('simulated', { platform, root })).name, 'simulated');
  assert.not.ok(existsSync(path.join(root, 'sys')));
});

test.run();
