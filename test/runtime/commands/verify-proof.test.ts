/** `vouch verify` on proofs, used wrongly: one sentence and exit code 2, before anything is judged. */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { ProofRecord, Statement } from '../../../protocols/proof.ts';
import { CREDIT } from '../../../runtime/models/credit-data.ts';
import { assert, suite } from '../../harness.ts';
import { publish, savedProof } from '../../protocols/document-scenario.ts';
import { newHome, vouch } from './cli-fixture.ts';

const test = suite('verify a proof', { timeoutMs: 60_000 });

test('an option that has nothing to do with the proof is named, with what to do', async () => {
  const home = newHome();
  const saved = savedProof();
  const { model, commitment, circuit, key, powers } = saved.statement;
  const common = { model, commitment, circuit, key, powers };
  const file = async (name: string, statement: Statement): Promise<string> => {
    const record: ProofRecord = { ...saved, statement };
    writeFileSync(join(home, name), JSON.stringify(await publish(record)));
    return join(home, name);
  };
  const digest = 'ab'.repeat(32);
  const quality = await file('quality.json', saved.statement);
  const shown = await file('class.json', { statement: 'inference', ...common, decision: 0, input: digest });
  const tensors = await file('tensors.json', { statement: 'inference', ...common, input: digest });
  const hidden = { statement: 'hidden-inference', ...common, row: commitment } as const;
  const hiddenClass = await file('hidden-class.json', { ...hidden, decision: 0 });
  const hiddenTensors = await file('hidden-tensors.json', { ...hidden, outputs: digest });
  const dictionary = join(home, 'mine.json');
  writeFileSync(dictionary, JSON.stringify(CREDIT));

  const noDictionary =
    /--dictionary: the proof is about tensors, which no data dictionary describes; leave it out/;
  const noOutput = /--output: the proof is not about tensors, and names its answer itself; leave it out/;
  const noSalt = /--row-salt: the proof hides no row; leave it out/;
  for (const [proof, words, text] of [
    [tensors, ['--dictionary', dictionary], noDictionary],
    [hiddenTensors, ['--dictionary', dictionary], noDictionary],
    [quality, ['--output', dictionary], noOutput],
    [shown, ['--output', dictionary], noOutput],
    [hiddenClass, ['--output', dictionary], noOutput],
    [tensors, ['--row-salt', '00'.repeat(31)], noSalt],
    [quality, ['--row-salt', '00'.repeat(31)], noSalt],
    [hiddenTensors, ['--row-salt', '00'.repeat(31)], /expected --input FILE/],
  ] as const) {
    const { code, stdout, stderr } = await vouch(home, ['verify', proof, ...words]);
    assert.is(code, 2, stdout + stderr);
    assert.match(stderr, text);
    assert.is(stderr.trim().split('\n').length, 1, stderr);
    assert.is(stdout, '', 'nothing is judged');
  }
  // What fits is judged, and fails for what it is.
  const { code, stdout } = await vouch(home, ['verify', hiddenClass, '--dictionary', dictionary]);
  assert.is(code, 1);
  assert.match(stdout, /^verdict: reject$/m);
});

test.run();
