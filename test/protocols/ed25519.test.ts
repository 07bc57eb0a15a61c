/**
 * One rule for Ed25519 wherever it runs: OpenSSL's equation, JavaScript's and WebCrypto's are judged by the same vectors
 * (sources in test/vectors/ed25519.json), and by signatures that were tampered with.
 */
import { readFileSync } from 'node:fs';
import { ed25519 } from '@noble/curves/ed25519.js';
import {
  type Ed25519Engine,
  inJavaScript,
  verifyByWebCrypto,
  verifyEd25519,
} from '../../protocols/ed25519.ts';
import { fromHex, hex, randomBytes, sha512 } from '../../protocols/encoding.ts';
import { native } from '../../protocols/native-crypto.ts';
import { assert, suite } from '../harness.ts';

const test = suite('ed25519', { timeoutMs: 60_000 });
const L = ed25519.Point.Fn.ORDER;
const P = 2n ** 255n - 19n;

const { wycheproof, speccheck } = JSON.parse(
  readFileSync(new URL('../vectors/ed25519.json', import.meta.url), 'utf8'),
) as {
  wycheproof: [key: string, cases: [id: number, message: string, signature: string, result: string][]][];
  speccheck: [key: string, message: string, signature: string][];
};

const ENGINES: Record<string, Ed25519Engine> = {
  JavaScript: inJavaScript,
  OpenSSL: (...asked) => native!.verifyEd25519(...asked),
};

async function verdicts(key: Uint8Array, message: Uint8Array, signature: Uint8Array): Promise<boolean[]> {
  const own = Object.values(ENGINES).map((engine) => verifyEd25519(key, message, signature, engine));
  return [...own, await verifyByWebCrypto(key, message, signature)];
}

test("all engines judge Wycheproof's cases as they are meant", async () => {
  let count = 0;
  for (const [key, cases] of wycheproof) {
    for (const [id, message, signature, result] of cases) {
      const expected = result === 'valid';
      const got = await verdicts(fromHex(key), fromHex(message), fromHex(signature));
      assert.equal(got, [expected, expected, expected], `case ${id}`);
      count += 1;
    }
  }
  assert.is(count, 151);
});

test('of the cases on which EdDSAs disagree, the one with sound encodings and no cofactor holds', async () => {
  const got = [];
  for (const [key, message, signature] of speccheck)
    got.push(await verdicts(fromHex(key), fromHex(message), fromHex(signature)));
  assert.equal(
    got,
    speccheck.map((_, i) => [i === 3, i === 3, i === 3]),
  );
});

const littleEndian = (value: bigint): Uint8Array => fromHex(value.toString(16).padStart(64, '0')).reverse();

/** A signature by this key point with any nonce and torsion, whose equation holds where the torsion cancels out. */
function signed(secret: bigint, torsion: typeof ed25519.Point.BASE, message: Uint8Array) {
  const { Point } = ed25519;
  const key = Point.BASE.multiply(secret).add(torsion).toBytes();
  const nonce = Point.Fn.fromBytes(
    randomBytes(31).reduce((out, byte, i) => out.fill(byte, i, i + 1), new Uint8Array(32)),
  );
  const r = Point.BASE.multiply(nonce).toBytes();
  const k = BigInt(`0x${hex(sha512(r, key, message).reverse())}`) % L;
  return { key, signature: new Uint8Array([...r, ...littleEndian((nonce + k * secret) % L)]) };
}

test('engines agree about torsion, second encodings, and every changed byte', async () => {
  const { Point } = ed25519;
  const order8 = Point.fromHex('c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a');
  let held = 0;
  for (let i = 0; i < 24; i++) {
    const message = randomBytes(i);
    const secret = Point.Fn.fromBytes(new Uint8Array([...randomBytes(31), 0]));
    // Every eighth k cancels the torsion: then the equation without cofactor holds, too.
    const { key, signature } = signed(secret, order8.multiplyUnsafe(BigInt(i % 8)), message);
    const [first, ...others] = await verdicts(key, message, signature);
    assert.ok(
      others.every((verdict) => verdict === first),
      `torsion ${i % 8}`,
    );
    if (i % 8 === 0) assert.ok(first, 'a sound signature');
    if (first) held += 1;
    for (const at of [0, 31, 32, 63]) {
      const changed = signature.slice();
      changed[at]! ^= 1 << (i % 8);
      assert.equal(await verdicts(key, message, changed), [false, false, false], `byte ${at}`);
    }
    const s = BigInt(`0x${hex(signature.slice(32).reverse())}`);
    const second = new Uint8Array([...signature.subarray(0, 32), ...littleEndian(s + L)]);
    assert.equal(await verdicts(key, message, second), [false, false, false], 's + L');
  }
  assert.ok(held >= 3);
  // Keys with y >= p, and of small order, whatever is signed: [s]B = R with k = 0 mod 8 would hold.
  for (const y of [0n, 1n, P - 1n, P, P + 1n, 2n ** 255n - 1n])
    for (const sign of [0n, 1n]) {
      const key = littleEndian(y | (sign << 255n));
      const signature = new Uint8Array([...Point.BASE.multiply(5n).toBytes(), ...littleEndian(5n)]);
      for (let i = 0; i < 8; i++)
        assert.equal(await verdicts(key, Uint8Array.of(i), signature), [false, false, false], `y ${y}`);
    }
});

test.run();
