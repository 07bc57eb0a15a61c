import { encode } from 'cborg';
import fc from 'fast-check';
import { z } from 'zod';
import { decodeCbor, encodeCbor } from '../../protocols/cbor.ts';
import {
  base64url,
  canonicalJson,
  equal,
  fromBase64url,
  fromHex,
  fromUtf8,
  hex,
  inJavaScript,
  randomBytes,
  sha256Hex,
  utf8,
} from '../../protocols/encoding.ts';
import { VouchError } from '../../protocols/errors.ts';
import { native } from '../../protocols/native-crypto.ts';
import { assert, suite } from '../harness.ts';

const test = suite('encoding');
const refused = (work: () => unknown) =>
  assert.throws(work, (error: unknown) => error instanceof VouchError && error.code === 'bad-message');

test('hex and base64url round-trip every length', () => {
  for (let length = 0; length < 70; length++) {
    const bytes = randomBytes(length);
    assert.equal(fromHex(hex(bytes)), bytes);
    assert.equal(fromBase64url(base64url(bytes)), bytes);
  }
  assert.is(base64url(Uint8Array.of(251, 255, 191)), '-_-_');
});

test('a second spelling of the same bytes is refused', () => {
  for (const text of ['AB', 'a', '0g', ' 00', '0x00']) refused(() => fromHex(text));
  // Padding, the other alphabet, an impossible length, final bits that are not zero.
  for (const text of ['AA==', '+/+/', 'A', 'AB', 'AAB', 'AA AA', 'AA\n']) refused(() => fromBase64url(text));
  refused(() => fromHex('00', 'field', 2));
  refused(() => fromBase64url('AAAA', 'field', 2));
  refused(() => fromUtf8(Uint8Array.of(0xc3)));
});

test("Node's own coder and ours read and write the same texts", () => {
  const character = fc.constantFrom(...'0123456789abcdefABCDEFxyzXYZ-_+/= \n\u00e9\u{1f600}');
  const texts = fc.oneof(fc.string({ unit: character, maxLength: 12 }), fc.string({ maxLength: 12 }));
  for (const encoding of ['hex', 'base64url'] as const) {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 80 }), (bytes) => {
        const text = inJavaScript.encode(bytes, encoding);
        assert.is(native!.encode(bytes, encoding), text);
        assert.equal(native!.decode(text, encoding), inJavaScript.decode(text, encoding));
      }),
    );
    const read = fc.property(texts, (text) => {
      const [own, theirs] = [inJavaScript.decode(text, encoding), native!.decode(text, encoding)];
      assert.equal(own && Array.from(own), theirs && Array.from(theirs), JSON.stringify(text));
    });
    fc.assert(read, { numRuns: 3000 });
  }
});

test('SHA-256 of FIPS 180-4 examples', () => {
  assert.is(sha256Hex(utf8('abc')), 'ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad');
  assert.is(sha256Hex(utf8('a'), utf8('bc')), sha256Hex(utf8('abc')));
});

test('equal compares content', () => {
  assert.ok(equal(Uint8Array.of(1, 2), Uint8Array.of(1, 2)));
  assert.not(equal(Uint8Array.of(1, 2), Uint8Array.of(1, 3)));
  assert.not(equal(Uint8Array.of(1), Uint8Array.of(1, 0)));
});

test('canonical JSON follows RFC 8785', () => {
  // Section 3.2.3: members by UTF-16 code units, so U+1F600 (D83D DE00) sorts before U+FB33.
  const value = { '\u20ac': 1, '\r': 2, '\ufb33': 3, '1': 4, '\u{1f600}': 5, '\u0080': 6, '\u00f6': 7 };
  assert.is(
    canonicalJson(value),
    '{"\\r":2,"1":4,"\u0080":6,"\u00f6":7,"\u20ac":1,"\u{1f600}":5,"\ufb33":3}',
  );
  // Section 3.2.2.3: numbers as ECMAScript writes them.
  assert.is(
    canonicalJson([1e30, 4.5, 2e-3, 1e-27, -0, 333333333.3333333]),
    '[1e+30,4.5,0.002,1e-27,0,333333333.3333333]',
  );
  assert.is(
    canonicalJson({ b: [true, null], a: { d: '"', c: '\u000f' } }),
    '{"a":{"c":"\\u000f","d":"\\""},"b":[true,null]}',
  );
});

test('canonical JSON refuses what it would have to drop', () => {
  for (const value of [
    undefined,
    Number.NaN,
    Number.POSITIVE_INFINITY,
    1n,
    '\ud800',
    { a: undefined },
    new Date(),
    new Map(),
  ]) {
    assert.throws(() => canonicalJson(value), TypeError);
  }
});

const decodeAny = (bytes: Uint8Array) =>
  decodeCbor(bytes, { schema: z.unknown(), what: 'value', maxBytes: 100 });

test('CBOR is deterministic in both directions', () => {
  const value = { b: 1, aa: [Uint8Array.of(1, 2), 'x', true, null, -5], a: 2 ** 40 };
  assert.equal(decodeAny(encodeCbor(value)), value);
  // RFC 8949 section 4.2.1 sorts bytewise: 10, 100, -1, "z", "aa".
  const sorted = encodeCbor(
    new Map<unknown, number>([
      ['aa', 5],
      ['z', 4],
      [-1, 3],
      [100, 2],
      [10, 1],
    ]),
  );
  assert.is(hex(sorted), 'a50a011864022003617a0462616105');
});

test('CBOR that another encoder would write differently is refused', () => {
  const spellings = {
    'length in two bytes': '5802' + '0102',
    'integer not in its shortest form': '1801',
    'keys out of order': 'a2616201616101',
    'a key twice': 'a2616101616102',
    'indefinite length': '9f01ff',
    'a float that is an integer': 'f93c00',
    undefined: 'f7',
    'a tag': 'c101',
    'an integer beyond 2^53': '1b7fffffffffffffff',
    'trailing bytes': '0101',
    'too few bytes': '4201',
    nothing: '',
  };
  for (const [what, bytes] of Object.entries(spellings)) {
    assert.throws(() => decodeAny(fromHex(bytes)), /deterministic CBOR/, what);
  }
  assert.throws(
    () => decodeAny(encode(new Uint8Array(200))),
    (error: VouchError) => error.code === 'too-large',
  );
});

test.run();
