import { VouchError } from '../../protocols/errors.ts';
import { BUCKETS, STREAMS } from '../../protocols/streams.ts';
import { ACTOR_KINDS, filters, lastToken, PREFIX, ROLES, subjects, token } from '../../protocols/subjects.ts';
import { seededRandom } from '../../runtime/models/random.ts';
import { assert, suite } from '../harness.ts';
import { matches } from './document-tables.ts';

const test = suite('subjects');
type Make = (...tokens: string[]) => string;
const made = Object.entries(subjects) as [string, Make][];
const sample = ['a', 'b-1', 'C_2'];

const refused = (work: () => unknown) =>
  assert.throws(work, (error: unknown) => error instanceof VouchError && error.code === 'bad-token');

test('every subject is the prefix and tokens, and nothing else', () => {
  for (const [name, make] of made) {
    const subject = make(...sample.slice(0, make.length));
    assert.ok(subject.startsWith(`${PREFIX}.`), name);
    for (const part of subject.split('.')) token(part);
    assert.is(subject.split('.').filter((part) => sample.includes(part)).length, make.length, name);
    assert.is(lastToken(subject), sample[make.length - 1]);
  }
});

test('no part of a subject can be a wildcard, empty, two tokens, or longer than 64', () => {
  const bad = ['', '*', '>', 'a.b', '.', 'a b', 'a\n', 'ä', 'a/b', '$JS', 'x'.repeat(65), '\u0000', 'a.>'];
  for (const value of bad) {
    refused(() => token(value));
    for (const [name, make] of made) {
      for (let at = 0; at < make.length; at++) {
        const tokens = sample.slice(0, make.length);
        tokens[at] = value;
        refused(() => make(...tokens) ?? name);
      }
    }
    refused(() => filters.shardsOf(value));
    refused(() => filters.controlOf('worker', value));
  }
  refused(() => token(undefined as never));
  refused(() => token(5 as never));
  token('x'.repeat(64));
});

test('the error names the part and shows no more than its beginning', () => {
  try {
    subjects.infer('m', `${'x'.repeat(100)}.`, 'c');
    assert.unreachable();
  } catch (error) {
    assert.match((error as Error).message, /^enclave: expected 1 to 64 of/);
    assert.ok((error as Error).message.length < 140);
  }
});

test('different tokens give different subjects', () => {
  const random = seededRandom(3);
  const alphabet = 'aZ0_-';
  const word = () => Array.from({ length: 1 + random.below(3) }, () => alphabet[random.below(5)]).join('');
  const seen = new Map<string, string>();
  for (let round = 0; round < 2000; round++) {
    const [name, make] = made[random.below(made.length)]!;
    const tokens = Array.from({ length: make.length }, word);
    const key = `${name} ${tokens}`;
    const subject = make(...tokens);
    assert.is(seen.get(subject) ?? key, key);
    seen.set(subject, key);
  }
});

test('every stored subject belongs to one stream, and no stream takes another kind', () => {
  const streams = Object.values(STREAMS);
  const place: Record<string, keyof typeof STREAMS> = {
    model: 'models',
    proofRequest: 'proofRequests',
    proof: 'proofs',
    receipt: 'receipts',
    audit: 'audits',
    key: 'keys',
    testSet: 'testSets',
    sealedModel: 'sealedModels',
    state: 'states',
    dead: 'dead',
  };
  for (const [name, make] of made) {
    const subject = make(...sample.slice(0, make.length));
    const takers = streams.filter((stream) => stream.subjects.some((filter) => matches(filter, subject)));
    const expected = place[name];
    assert.equal(
      takers.map((stream) => stream.name),
      expected ? [STREAMS[expected].name] : [],
      name,
    );
  }
});

test('what must not be lost is kept for ever, on disk, synced, and cannot be deleted', () => {
  for (const stream of [STREAMS.proofs, STREAMS.receipts, STREAMS.audits]) {
    const { storage, maxAge, discard, denyDelete, denyPurge, durable } = stream;
    assert.equal(
      { storage, maxAge, discard, denyDelete, denyPurge, durable },
      { storage: 'file', maxAge: 0, discard: 'new', denyDelete: true, denyPurge: true, durable: true },
    );
  }
});

test('filters catch the subjects that they are for', () => {
  const caught: [string, string][] = [
    [filters.shardsOf('w'), subjects.shard('w', 'j', 's')],
    [filters.shardResultsOf('j'), subjects.shardResult('w', 'j', 's')],
    [filters.releasesFrom('b'), subjects.releaseFrom('m', 'b')],
    [filters.beatsOf('worker'), subjects.beat('worker', 'w')],
    [filters.controlOf('worker', 'w'), subjects.control('worker', 'w', 'drain')],
    [filters.releases, subjects.release('m')],
    [filters.progresses, subjects.progress('c', 'j')],
    [filters.progressesOf('c'), subjects.progress('c', 'j')],
    [filters.proofsOf('c'), subjects.proof('c', 'j')],
    [filters.infersOf('m', 'e'), subjects.infer('m', 'e', 'c')],
  ];
  for (const [filter, subject] of caught) assert.ok(matches(filter, subject), `${filter} ${subject}`);
  const missed: [string, string][] = [
    [filters.shardsOf('w'), subjects.shard('w2', 'w', 's')],
    [filters.shardResultsOf('j'), subjects.shardResult('j', 'j2', 's')],
    [filters.controlOf('worker', 'w'), subjects.control('runner', 'w', 'drain')],
    [filters.proofs, subjects.proofRequest('quality', 'c', 'j')],
    [filters.proofsOf('c'), subjects.proof('c2', 'c')],
    [filters.progressesOf('c'), subjects.progress('j', 'c')],
  ];
  for (const [filter, subject] of missed) assert.not.ok(matches(filter, subject), `${filter} ${subject}`);
});

test('names of roles, kinds, streams, buckets and consumers are legal tokens', () => {
  const names = [
    ...ROLES,
    ...ACTOR_KINDS,
    ...Object.values(STREAMS).map(({ name }) => name),
    ...Object.values(BUCKETS),
  ];
  for (const name of names) token(name);
  assert.is(new Set(Object.values(STREAMS).map(({ name }) => name)).size, Object.keys(STREAMS).length);
});

test.run();
