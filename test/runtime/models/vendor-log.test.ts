/** The vendor's log as it is kept, and sealed test sets: what is logged once stays, and other rows open nothing. */
import { readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { generateSigner } from '../../../protocols/cose.ts';
import { VouchError } from '../../../protocols/errors.ts';
import {
  appendToLog,
  logFile,
  openingFor,
  ownLog,
  readLogFile,
  readSealedTestSet,
  sealTestSet,
} from '../../../runtime/models/vendor-log.ts';
import { assert, suite } from '../../harness.ts';
import { useHome } from '../home/home-fixture.ts';

const test = suite('vendor log of an installation');

const ROWS = { features: [Int32Array.of(1, 2), Int32Array.of(3, 4)], labels: [0, 1] };
const OTHERS = { ...ROWS, labels: [1, 0] };

test('entries stay in order, the same one is logged once, another key begins no second log in the file', async () => {
  useHome();
  assert.equal(ownLog(), []);
  const vendor = await generateSigner();
  const sealed = sealTestSet(ROWS);
  const set = { kind: 'test-set', root: sealed.root, public: false } as const;
  const model = { kind: 'model', name: 'loans', commitment: '5' } as const;
  const first = await appendToLog(vendor, set);
  await appendToLog(vendor, model);
  assert.is((await appendToLog(vendor, set)).digest, first.digest);
  assert.is(
    (await appendToLog(vendor, { ...set, public: true })).digest,
    first.digest,
    'a label cannot be changed',
  );
  assert.is(ownLog().length, 2);
  assert.equal(openingFor(sealed, ROWS, ownLog()), { entry: first.digest, salt: sealed.salt });
  assert.throws(() => openingFor(sealed, OTHERS, ownLog()), /that of others/);
  assert.throws(() => openingFor(sealTestSet(ROWS), ROWS, ownLog()), /not in the vendor's log/);
  const code = await appendToLog(await generateSigner(), { ...model, commitment: '6' }).catch(
    (error: VouchError) => error.code,
  );
  assert.is(code, 'conflict');
});

test('a file that was changed, or is none, is refused in a sentence', async () => {
  const home = useHome();
  rmSync(logFile(), { force: true });
  const vendor = await generateSigner();
  await appendToLog(vendor, { kind: 'test-set', root: '1'.repeat(64), public: false });
  await appendToLog(vendor, { kind: 'model', name: 'loans', commitment: '5' });
  const text = readFileSync(logFile(), 'utf8');
  const file = join(home, 'log.json');
  for (const damaged of [
    text.replace('"5"', '"6"'),
    text.slice(0, 100),
    '',
    '{}',
    text.replace('"number": 2', '"number": 3'),
  ]) {
    writeFileSync(file, damaged);
    assert.throws(
      () => readLogFile(file),
      (error: unknown) => error instanceof VouchError && error.code === 'bad-file',
    );
    assert.throws(() => readSealedTestSet(file), /expected a sealed test set/);
  }
});

test.run();
