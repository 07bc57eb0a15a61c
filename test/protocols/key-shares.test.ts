/** Keys split over brokers: every choice of k gives the key, k - 1 give nothing, and a wrong share is named. */
import { bn254 } from '@noble/curves/bn254.js';
import { concat, hex, randomBytes } from '../../protocols/encoding.ts';
import type { VouchError } from '../../protocols/errors.ts';
import {
  combineKey,
  commitmentTo,
  isCommitted,
  KeyShares,
  MAX_BROKERS,
  PIECE_BYTES,
  type Piece,
  splitKey,
} from '../../protocols/key-shares.ts';
import { assert, suite } from '../harness.ts';

const test = suite('protocols/key-shares');
const { Fr } = bn254.fields;

const sharesOf = (pieces: readonly Piece[], threshold: number): KeyShares => ({
  threshold,
  brokers: pieces.map((piece, i) => ({ id: `b${i + 1}`, commitment: commitmentTo(piece) })),
});
const refused = (work: () => unknown, text: string) =>
  assert.throws(work, (error: VouchError) => {
    assert.is(error.code, 'key-rejected');
    assert.match(error.message, text);
    return true;
  });
function* subsets<T>(list: readonly T[], k: number): Generator<T[]> {
  if (k === 0) yield [];
  for (const [i, first] of list.entries())
    if (k > 0) for (const rest of subsets(list.slice(i + 1), k - 1)) yield [first, ...rest];
}
/** the two field elements of a piece */
const elements = ({ bytes }: Piece): [bigint, bigint] => [
  BigInt(`0x${hex(bytes.subarray(32, 64))}`),
  BigInt(`0x${hex(bytes.subarray(64))}`),
];

test('any k of n give the key, in any order', () => {
  const keys = [
    randomBytes(32),
    new Uint8Array(32),
    new Uint8Array(32).fill(255),
    concat(new Uint8Array(31), Uint8Array.of(1)),
  ];
  for (const key of keys) {
    for (const [k, n] of [
      [1, 1],
      [1, 3],
      [2, 3],
      [3, 3],
      [3, 5],
    ] as const) {
      const pieces = splitKey(key, k, n);
      const shares = KeyShares.parse(sharesOf(pieces, k));
      assert.ok(pieces.every((piece) => piece.bytes.length === PIECE_BYTES && isCommitted(piece, shares)));
      for (const some of subsets(pieces, k)) {
        assert.equal(combineKey(some, shares), key);
        assert.equal(combineKey(some.toReversed(), shares), key);
      }
      // What is left over is not looked at.
      assert.equal(combineKey(pieces, shares), key);
    }
  }
  const many = splitKey(keys[0]!, MAX_BROKERS, MAX_BROKERS);
  assert.equal(combineKey(many, sharesOf(many, MAX_BROKERS)), keys[0]);
});

test('too few, one twice, one changed, one of another key: refused, and the wrong one is named', () => {
  const key = randomBytes(32);
  const pieces = splitKey(key, 3, 4);
  const shares = sharesOf(pieces, 3);
  refused(() => combineKey(pieces.slice(0, 2), shares), 'expected 3, got 2');
  refused(() => combineKey([pieces[0]!, pieces[0]!, pieces[1]!], shares), 'got one twice');
  for (const at of [0, 31, 32, 63, 64, 95]) {
    const bytes = pieces[1]!.bytes.slice();
    bytes[at]! ^= 1;
    const bad = { number: 2, bytes };
    assert.not.ok(isCommitted(bad, shares));
    refused(() => combineKey([pieces[0]!, bad, pieces[2]!], shares), 'share 2 (broker b2)');
  }
  for (const bytes of [pieces[1]!.bytes.subarray(1), new Uint8Array()])
    assert.not.ok(isCommitted({ number: 2, bytes }, shares));
  assert.not.ok(isCommitted({ number: 5, bytes: pieces[0]!.bytes }, shares));
  // A broker cannot pass for another one.
  refused(() => combineKey([{ number: 2, bytes: pieces[0]!.bytes }, ...pieces.slice(2)], shares), 'share 2');
  // Shares of two keys, each committed to by a careless vendor.
  const other = splitKey(randomBytes(32), 3, 4);
  const mixed = [pieces[0]!, other[1]!, pieces[2]!, pieces[3]!];
  refused(() => combineKey(mixed, sharesOf(mixed, 3)), 'not of one key');
  // An element above the field's order is another name of one below it.
  const bytes = pieces[0]!.bytes.slice();
  bytes.fill(255, 32, 64);
  const outside = [{ number: 1, bytes }, ...pieces.slice(1)];
  refused(() => combineKey(outside, sharesOf(outside, 3)), 'not of the field');
});

test('k - 1 shares fit every key: for each there is exactly one share that completes them to it', () => {
  const k = 3;
  const pieces = splitKey(randomBytes(32), k, 5);
  const captured = pieces.slice(0, k - 1);
  for (let i = 0; i < 20; i++) {
    const candidate = i === 0 ? new Uint8Array(32) : i === 1 ? new Uint8Array(32).fill(255) : randomBytes(32);
    const halves = [candidate.subarray(0, 16), candidate.subarray(16)].map((half) =>
      BigInt(`0x${hex(half)}`),
    );
    // The line through (0, half), (1, y1), (2, y2), at 3: y3 = half - 3 y1 + 3 y2.
    const completing = halves.map((half, part) => {
      const [y1, y2] = captured.map((piece) => elements(piece)[part]!) as [bigint, bigint];
      return Fr.create(half - 3n * y1 + 3n * y2);
    });
    const bytes = concat(
      randomBytes(32),
      ...completing.map((value) => Uint8Array.from(Buffer.from(value.toString(16).padStart(64, '0'), 'hex'))),
    );
    const forged = [...captured, { number: 3, bytes }];
    assert.equal(combineKey(forged, sharesOf(forged, k)), candidate);
  }
});

test('a share is as uniform for one key as for another', () => {
  const SPLITS = 4000;
  const BINS = 16;
  // Bins of equal width over [0, r): chi-square with 15 degrees of freedom; P(above 49) is about 2 in 100,000.
  for (const key of [new Uint8Array(32), new Uint8Array(32).fill(255)]) {
    const counts = Array.from({ length: 4 }, () => new Array<number>(BINS).fill(0));
    for (let i = 0; i < SPLITS; i++) {
      const [first, second] = splitKey(key, 2, 2).map(elements) as [[bigint, bigint], [bigint, bigint]];
      for (const [which, value] of [...first, ...second].entries())
        counts[which]![Number((value * BigInt(BINS)) / Fr.ORDER)]! += 1;
    }
    const expected = SPLITS / BINS;
    for (const bins of counts) {
      const chi = bins.reduce((sum, count) => sum + (count - expected) ** 2 / expected, 0);
      assert.ok(chi < 49, `${hex(key.subarray(0, 1))}: ${chi}`);
    }
  }
});

test('splitting twice shares nothing, and the commitments tell nothing without the salts', () => {
  const key = randomBytes(32);
  const [a, b] = [splitKey(key, 1, 2), splitKey(key, 1, 2)];
  // With k = 1 the share is the key itself, and still no two commitments are alike.
  assert.is(new Set([...a, ...b].map(commitmentTo)).size, 4);
  assert.equal(hex(a[0]!.bytes.subarray(32)), hex(b[0]!.bytes.subarray(32)));
  const [c, d] = [splitKey(key, 2, 2), splitKey(key, 2, 2)];
  assert.not.equal(hex(c[0]!.bytes.subarray(32)), hex(d[0]!.bytes.subarray(32)));
});

test('our own mistakes, and manifests that cannot be', () => {
  const key = randomBytes(32);
  for (const [k, n] of [
    [0, 1],
    [2, 1],
    [1, MAX_BROKERS + 1],
    [1.5, 2],
  ] as const)
    assert.throws(
      () => splitKey(key, k, n),
      (error: Error) => error instanceof RangeError,
    );
  assert.throws(
    () => splitKey(key.subarray(1), 1, 1),
    (error: Error) => error instanceof RangeError,
  );
  const commitment = hex(randomBytes(32));
  const broker = (id: string) => ({ id, commitment });
  const wrong = [
    { threshold: 2, brokers: [broker('a')] },
    { threshold: 0, brokers: [broker('a')] },
    { threshold: 1, brokers: [] },
    { threshold: 1, brokers: [broker('a'), broker('a')] },
    { threshold: 1, brokers: [{ id: 'a.b', commitment }] },
    { threshold: 1, brokers: [{ id: 'a', commitment: commitment.slice(1) }] },
    { threshold: 1, brokers: Array.from({ length: MAX_BROKERS + 1 }, (_, i) => broker(`b${i}`)) },
  ];
  for (const value of wrong)
    assert.not.ok(KeyShares.safeParse(value).success, JSON.stringify(value).slice(0, 80));
});

test.run();
