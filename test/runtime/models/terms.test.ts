import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { DEFAULT_TERMS } from '../../../protocols/terms.ts';
import { readTerms } from '../../../runtime/models/terms.ts';
import { assert, suite } from '../../harness.ts';
import { codeOf, temporaryFolder } from '../nats/nats-fixture.ts';

const test = suite('terms');

test('a file of terms says what differs from the default, and nothing that is not understood', async (t) => {
  const file = join(await temporaryFolder(t), 'terms.json');
  const read = async (text: string) => {
    writeFileSync(file, text);
    return readTerms(file);
  };
  assert.equal(await read('{}'), DEFAULT_TERMS);
  const given = { answers: 'exact', all: {}, testSets: ['ab'.repeat(32)] };
  assert.equal(await read(JSON.stringify(given)), { ...DEFAULT_TERMS, ...given });
  for (const wrong of [
    '',
    '[]',
    '{"answers":"logits"}',
    '{"minimumRows":0}',
    '{"requester":{"perHour":1}}',
    '{"rows":5}',
    '{"testSets":[]}',
  ])
    assert.is(await codeOf(read(wrong)), 'bad-file', wrong);
});

test.run();
