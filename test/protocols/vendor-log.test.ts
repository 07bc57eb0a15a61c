/**
 * The vendor's log. On its other side: a vendor who wants a flattering proof. He knows all his sets and models, signs his own
 * log, and would open the best of many sets, log a set after its model, write another history, or show another's log.
 */
import { signerFromSeed } from '../../protocols/cose.ts';
import { base64url } from '../../protocols/encoding.ts';
import {
  entryDigest,
  judgeFixed,
  type Logged,
  readLog,
  type SignedEntry,
  signEntry,
  testSetRoot,
} from '../../protocols/vendor-log.ts';
import { assert, suite } from '../harness.ts';

const test = suite('vendor log');

const vendor = await signerFromSeed(new Uint8Array(32).fill(1));
const salt = '11'.repeat(32);
const rows = (n: number): Uint8Array => new TextEncoder().encode(`rows ${n}`);
const setOf = (n: number, isPublic = false): Logged => ({
  kind: 'test-set',
  root: testSetRoot(salt, rows(n)),
  public: isPublic,
});
const modelOf = (commitment: string): Logged => ({ kind: 'model', name: 'loans', commitment });

async function logOf(...logged: Logged[]): Promise<SignedEntry[]> {
  const log: SignedEntry[] = [];
  for (const each of logged) log.push(await signEntry(vendor, log, each, new Date(1e12 + log.length)));
  return log;
}

/** What a verifier says who kept the manifest that came with entry `model` of `published`. */
const judge = (
  log: readonly SignedEntry[],
  {
    set,
    model,
    published = log,
    testSet = 1,
  }: { set: number; model: number; published?: readonly SignedEntry[]; testSet?: number },
) =>
  judgeFixed({
    opening: { entry: entryDigest(log[set - 1]!.entry), salt },
    testSet: rows(testSet),
    commitment: '5',
    log,
    manifest: { vendor: base64url(vendor.publicKey), log: entryDigest(published[model - 1]!.entry) },
  });

test('a set that was logged before the model passes, and is still said to be one that may be known', async () => {
  const { status, detail, label } = judge(await logOf(setOf(1), modelOf('5')), { set: 1, model: 2 });
  assert.is(status, 'pass', detail);
  assert.match(
    label,
    /fixed before the model, one of 1 test set that this vendor logged until then; .*may have trained/,
  );
  const known = judge(await logOf(setOf(1, true), modelOf('5')), { set: 1, model: 2 });
  assert.match(known.label, /they were public, and may have been trained on/);
});

test('who logs many sets and opens the best of them is counted', async () => {
  const log = await logOf(setOf(7), setOf(8), setOf(1), setOf(9), modelOf('5'), setOf(10));
  assert.match(
    judge(log, { set: 3, model: 5 }).detail,
    /one of 4 test sets that this vendor logged until then/,
  );
});

test('a set that was logged after the model fails', async () => {
  const { status, detail } = judge(await logOf(modelOf('5'), setOf(1)), { set: 2, model: 1 });
  assert.is(status, 'fail');
  assert.match(detail, /entry 2, after the model's commitment, which is entry 1/);
  // Nor does it help to log the model once more behind the set, and to publish that.
  assert.is(judge(await logOf(modelOf('5'), setOf(1), modelOf('5')), { set: 2, model: 3 }).status, 'fail');
});

test('another history, in which the set came first, does not fit the manifest', async () => {
  const published = await logOf(modelOf('5'), setOf(1));
  const rewritten = await logOf(setOf(1), modelOf('5'));
  assert.is(judge(rewritten, { set: 1, model: 1, published }).status, 'fail');
  // Nor does one in which the sets that went wrong are left out.
  const honest = await logOf(setOf(7), setOf(1), modelOf('5'));
  const shortened = await logOf(setOf(1), modelOf('5'));
  assert.is(judge(shortened, { set: 1, model: 3, published: honest }).status, 'fail');
});

test('an entry that is left out, changed, put elsewhere or signed by somebody else breaks the log', async () => {
  const log = await logOf(setOf(7), setOf(1), modelOf('5'));
  const other = await signerFromSeed(new Uint8Array(32).fill(2));
  const foreign = await signEntry(other, log.slice(0, 2), modelOf('5'), new Date(1e12));
  const backdated = { ...log[1]!, entry: { ...log[1]!.entry, time: '1999-01-01T00:00:00.000Z' } };
  for (const [what, damaged] of Object.entries({
    'left out': [log[0]!, log[2]!],
    'put elsewhere': [log[1]!, log[0]!, log[2]!],
    foreign: [log[0]!, log[1]!, foreign],
    backdated: [log[0]!, backdated, log[2]!],
    'another one signed': [{ ...log[0]!, signature: log[1]!.signature }, log[1]!, log[2]!],
  }))
    assert.throws(() => readLog(damaged), /vendor log, entry \d/, what);
});

test('other rows, another model, another vendor: fail; what nobody showed: skipped, and labelled', async () => {
  const log = await logOf(setOf(1), modelOf('5'));
  assert.match(judge(log, { set: 1, model: 2, testSet: 2 }).detail, /root of other rows/);
  const question = {
    opening: { entry: entryDigest(log[0]!.entry), salt },
    testSet: rows(1),
    commitment: '5',
    log,
    manifest: { vendor: base64url(vendor.publicKey), log: entryDigest(log[1]!.entry) },
  };
  assert.is(judgeFixed(question).status, 'pass');
  assert.match(judgeFixed({ ...question, commitment: '6' }).detail, /does not have the model's commitment/);
  assert.is(judgeFixed({ ...question, manifest: { ...question.manifest, vendor: 'x' } }).status, 'fail');
  assert.is(judgeFixed({ ...question, manifest: { vendor: question.manifest.vendor } }).status, 'fail');
  for (const left of ['opening', 'log', 'testSet', 'manifest'] as const) {
    const { status, label } = judgeFixed({ ...question, [left]: undefined });
    assert.is(status, 'skipped', left);
    assert.match(label, /may have been trained on, or picked to fit/);
  }
});

test.run();
