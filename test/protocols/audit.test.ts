/** The audit chain: what holds, and for everything that somebody could do to it the link that breaks. */
import {
  type Decision,
  readRecord,
  recordDigest,
  signRecord,
  unprovenRecord,
  verifyChain,
} from '../../protocols/audit.ts';
import { generateSigner, type Signer } from '../../protocols/cose.ts';
import { fromHex } from '../../protocols/encoding.ts';
import { VouchError } from '../../protocols/errors.ts';
import { assert, suite } from '../harness.ts';

const test = suite('protocols/audit');

const DIGEST = 'ab'.repeat(32);
const released: Decision = {
  model: 'credit',
  request: '0d2c1c6e-0000-4000-8000-000000000001',
  decision: 'released',
  code: null,
  check: null,
  policy: DIGEST,
  evidence: 'cd'.repeat(32),
  holder: 'enclave-1',
  hardware: false,
  share: 2,
  requester: 'bank',
  job: 'ef'.repeat(32),
};
const refused: Decision = {
  ...released,
  decision: 'refused',
  code: 'policy-rejected',
  check: 'policy.measurement',
  policy: null,
  evidence: null,
  holder: null,
  hardware: null,
  share: null,
  requester: null,
  job: null,
};

async function chain(signer: Signer, decisions: readonly Decision[], broker = 'b1') {
  const records: Uint8Array[] = [];
  for (const [i, decision] of decisions.entries()) {
    const previous = i === 0 ? null : recordDigest(records[i - 1]!);
    const place = {
      broker,
      sequence: i + 1,
      previous,
      time: new Date(1_700_000_000_000 + i * 1000),
      unrecorded: i,
    };
    records.push(await signRecord(signer, { ...place, decision }));
  }
  return records;
}

test('a record says what was decided, and a chain of them holds', async () => {
  const signer = await generateSigner();
  const records = await chain(signer, [released, refused, released]);
  const { records: read, head, broken } = verifyChain(signer.publicKey, records, { broker: 'b1' });
  assert.is(broken, undefined);
  assert.is(head, recordDigest(records[2]!));
  assert.equal(
    read.map(({ sequence, decision, unrecorded }) => [sequence, decision, unrecorded]),
    [
      [1, 'released', 0],
      [2, 'refused', 1],
      [3, 'released', 2],
    ],
  );
  const { key, previous, time, broker, sequence, unrecorded, ...decision } = read[1]!;
  assert.equal(decision, refused);
  assert.is(previous, recordDigest(records[0]!));
  assert.equal(time, new Date(1_700_000_001_000));
  assert.equal(unprovenRecord(records[0]!), read[0]);
  assert.is(verifyChain(signer.publicKey, []).head, null);
});

/** A record of version 1, as the first release of the protocol's page had it. */
const OLD = {
  key: 'b046cf6a27343b55f581761dc3d34e00d3baf80ab26dc4051ac3408cc6fc8fa4',
  record: [
    'd2845822a2012703781c6170706c69636174696f6e2f766f7563682d61756469742b63626f72a059013ab1617601636b',
    '65795820b046cf6a27343b55f581761dc3d34e00d3baf80ab26dc4051ac3408cc6fc8fa464636f6465f66474696d651a',
    '6a45014065636865636bf6656d6f64656c6b6372656469742d74696e79657368617265f66662726f6b657269656e636c',
    '6176652d3166686f6c64657269656e636c6176652d3166706f6c69637958207276328204a7ecdaceb3be75899df32c49',
    'fef5ab722a130068955b7de5fa05f66772657175657374782434323836373962392d663137642d346432342d34316433',
    '2d386163366366383938646361686465636973696f6e6872656c65617365646865766964656e63655820a7fd5ac4e616',
    '3dfd736723c834ff65147c33a85dac1b46a9782415a03ce75275686861726477617265f46870726576696f7573f66873',
    '657175656e6365016a756e7265636f72646564005840c7352994cc3fa6e7c8071356d0bdc486b9477f0b7fb5ba1300f7',
    'bb2faee1ab261ffc8f0e30c3b3f9b7683bcaf4fe9f9e711ce4b4900a309b7005d9e620efb60f',
  ].join(''),
};

test('a record of version 1 is read: nobody has asked for a proof there', () => {
  const read = readRecord(fromHex(OLD.key), fromHex(OLD.record));
  assert.is(read.decision, 'released');
  assert.is(read.requester, null);
  assert.is(read.job, null);
});

test('whatever is changed, left out, swapped, added or cut off is named by its place', async () => {
  const signer = await generateSigner();
  const stranger = await generateSigner();
  const records = await chain(signer, [released, refused, released, refused]);
  const [a, b, c, d] = records as [Uint8Array, Uint8Array, Uint8Array, Uint8Array];
  const at = (list: readonly Uint8Array[], options = {}) =>
    verifyChain(signer.publicKey, list, { broker: 'b1', ...options }).broken?.record;
  for (const [place, record] of records.entries()) {
    for (let byte = 0; byte < record.length; byte += 7) {
      const changed = record.slice();
      changed[byte]! ^= 1;
      assert.is(at(records.with(place, changed)), place + 1, `byte ${byte}`);
    }
  }
  assert.is(at([b, c, d]), 1);
  assert.is(at([a, c, d]), 2);
  assert.is(at([a, b, d]), 3);
  assert.is(at([b, a, c, d]), 1);
  assert.is(at([a, b, b, c, d]), 3);
  assert.is(at([a, b, new Uint8Array(), c]), 3);
  const [, other] = await chain(signer, [refused, refused]);
  assert.is(at([a, other!, c]), 2, 'a record of another history');
  const theirs = await chain(stranger, [released]);
  assert.is(at(theirs), 1, 'signed by another key');
  assert.is(at(await chain(signer, [released], 'b2')), 1, 'the chain of another broker');
  // Cut off at the end nothing shows, unless somebody knows a later head.
  assert.is(at([a, b]), undefined);
  assert.is(at([a, b], { head: recordDigest(d) }), 3);
  assert.is(at([a, b], { head: recordDigest(a) }), undefined);
});

test('a record is small, strict, and holds nothing but names and digests', async () => {
  const signer = await generateSigner();
  const longest = { ...refused, model: 'm'.repeat(64), request: 'r'.repeat(64), holder: 'h'.repeat(64) };
  const [record] = await chain(signer, [
    {
      ...longest,
      policy: DIGEST,
      evidence: DIGEST,
      hardware: true,
      share: 32,
      requester: 'q'.repeat(64),
      job: 'j'.repeat(64),
    },
  ]);
  assert.ok(record!.length < 1024, String(record!.length));
  assert.equal(Object.keys(readRecord(signer.publicKey, record!)).sort(), [
    'broker',
    'check',
    'code',
    'decision',
    'evidence',
    'hardware',
    'holder',
    'job',
    'key',
    'model',
    'policy',
    'previous',
    'request',
    'requester',
    'sequence',
    'share',
    'time',
    'unrecorded',
  ]);
  const wrong: Array<Partial<Decision>> = [
    { model: 'a.b' },
    { share: 0 },
    { policy: 'ab' },
    { code: 'c'.repeat(65) },
  ];
  for (const change of wrong) {
    const made = await chain(signer, [{ ...released, ...change }]).catch((error) => error);
    assert.instance(made, Error, JSON.stringify(change));
  }
  assert.throws(
    () => readRecord(signer.publicKey, new Uint8Array(5000)),
    (e: VouchError) => e instanceof VouchError,
  );
});

test.run();
