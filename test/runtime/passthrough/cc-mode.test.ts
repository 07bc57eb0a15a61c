import { chmod, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { VouchError } from '../../../protocols/errors.ts';
import { ccModeIn, queryCcMode } from '../../../runtime/passthrough/cc-mode.ts';
import { assert, suite } from '../../harness.ts';
import { codeOf, temporaryFolder } from '../nats/nats-fixture.ts';

import { AUDIO, GPU } from './machine-fixture.ts';

const test = suite('CC mode');

test("the tools' words for a mode", async (t) => {
  assert.is(ccModeIn('2024-01-01 INFO GPU 0000:65:00.0 H100 0x2331 BAR0 0x0 CC mode is on\n'), 'on');
  assert.is(ccModeIn('GPU 0000:65:00.0 CC mode is devtools'), 'devtools');
  assert.is(ccModeIn('CC status: ON\n'), 'on');
  assert.is(ccModeIn('CC status: OFF'), 'off');
  for (const text of [
    '',
    'all is well',
    'vGPU mode is on',
    'CC mode is on\nCC mode is off',
    'CC mode set to on',
  ])
    assert.throws(
      () => ccModeIn(text),
      (error: VouchError) => error.code === 'evidence-rejected',
      text,
    );
  const folder = await temporaryFolder(t);
  const tool = join(folder, 'tool');
  await writeFile(
    tool,
    '#!/bin/sh\n[ "$1 $2" = "--gpu-bdf=0000:65:00.0 --query-cc-mode" ] && echo "x CC mode is on" >&2\n',
  );
  await chmod(tool, 0o700);
  assert.is(await queryCcMode(tool, GPU), 'on');
  assert.is(await codeOf(queryCcMode(tool, AUDIO)), 'evidence-rejected');
});

test.run();
