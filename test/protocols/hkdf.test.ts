import { expand, extract } from '@noble/hashes/hkdf.js';
import { hmac } from '@noble/hashes/hmac.js';
import { sha256 } from '@noble/hashes/sha2.js';
import { fromHex, hex, randomBytes } from '../../protocols/encoding.ts';
import { hkdfExpand, hkdfExtract, hmacSha256 } from '../../protocols/hkdf.ts';
import { assert, suite } from '../harness.ts';

const test = suite('HKDF');

/** RFC 5869, appendix A.1 to A.3. */
const CASES = [
  {
    ikm: '0b'.repeat(22),
    salt: '000102030405060708090a0b0c',
    info: 'f0f1f2f3f4f5f6f7f8f9',
    prk: '077709362c2e32df0ddc3f0dc47bba6390b6c73bb50f9c3122ec844ad7c2b3e5',
    okm: '3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf34007208d5b887185865',
  },
  {
    ikm: hex(Uint8Array.from({ length: 80 }, (_, i) => i)),
    salt: hex(Uint8Array.from({ length: 80 }, (_, i) => 0x60 + i)),
    info: hex(Uint8Array.from({ length: 80 }, (_, i) => 0xb0 + i)),
    prk: '06a6b88c5853361a06104c9ceb35b45cef760014904671014a193f40c15fc244',
    okm: 'b11e398dc80327a1c8e7f78c596a49344f012eda2d4efad8a050cc4c19afa97c59045a99cac7827271cb41c65e590e09da3275600c2f09b8367793a9aca3db71cc30c58179ec3e87c14c01d5c1f3434f1d87',
  },
  {
    ikm: '0b'.repeat(22),
    salt: '',
    info: '',
    prk: '19ef24a32c717b167f33a91d6f648bdf96596776afdb6377ac434c1c293ccb04',
    okm: '8da4e775a563c18f715f802a063c5a31b8a11f5c5ee1879ec3454e5f3c738d2d9d201395faa4b61a96c8',
  },
];

test("the RFC's cases, whole and cut to one block", () => {
  for (const { ikm, salt, info, prk, okm } of CASES) {
    const key = hkdfExtract(fromHex(salt), fromHex(ikm));
    assert.is(hex(key), prk);
    for (const length of [1, 12, 31, 32, 33, okm.length / 2])
      assert.is(hex(hkdfExpand(key, fromHex(info), length)), okm.slice(0, 2 * length));
  }
});

test('keys and messages of any length are as a library has them', () => {
  for (let i = 0; i < 200; i++) {
    const [key, message] = [randomBytes(i), randomBytes((7 * i) % 131)];
    assert.equal(hmacSha256(key, message), hmac(sha256, key, message));
    assert.equal(hkdfExtract(message, key), extract(sha256, key, message));
    const prk = randomBytes(32 + i);
    assert.equal(hkdfExpand(prk, message, (i % 40) + 1), expand(sha256, prk, message, (i % 40) + 1));
    assert.throws(() => hkdfExpand(randomBytes(i % 32), message, 32), RangeError);
  }
});

test.run();
