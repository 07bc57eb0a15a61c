/** SM2 and SM3 against the standards' examples and OpenSSL, which Node brings along. */
import { createHash } from 'node:crypto';
import * as fc from 'fast-check';
import { readPem } from '../../protocols/attestation/certificate.ts';
import { sm2Digest, sm3, verifySm2 } from '../../protocols/attestation/sm2.ts';
import { concat, fromHex, hex, utf8 } from '../../protocols/encoding.ts';
import { assert, suite } from '../harness.ts';
import { fingerprint, flip } from './certificate-maker.ts';
import { type ChainQuestion, verifyChain } from './from-bytes.ts';
import { sm2Key, sm2Sign } from './sm2-maker.ts';

const test = suite('SM2 and SM3');
/** openssl req -x509 -sm3 -sigopt distid:1234567812345678 ..., and a key that it certified; both keys are gone. */
const OPENSSL_CHAIN = `
-----BEGIN CERTIFICATE-----
MIIBeTCCAR+gAwIBAgIUGHRRKlOVuZAvPvS8JI/NCTFvFXAwCgYIKoEcz1UBg3Uw
GDEWMBQGA1UEAwwNU00yIFRlc3QgUm9vdDAgFw0yNjExMjYwNDQxMDVaGA8yMTI2
MTEwMjA0NDEwNVowGDEWMBQGA1UEAwwNU00yIFRlc3QgUm9vdDBZMBMGByqGSM49
AgEGCCqBHM9VAYItA0IABBpN1+NbS6uTPwPoSgjHBJrSzue1RL2MJXuOVZWezddZ
4DYgTr/AL/3LFVpPwASJIaKc0i20fnrncaPauXEcmK6jRTBDMBIGA1UdEwEB/wQI
MAYBAf8CAQAwDgYDVR0PAQH/BAQDAgEGMB0GA1UdDgQWBBTmsIjBa+iH7uB9ppxk
/ST9ejtiMTAKBggqgRzPVQGDdQNIADBFAiBZDYI77+ATS7q0WxWII5dSZA1h1XdT
TABTkqE7mWs6cgIhAOLK74RXUkgdzJRsF9HO2yw9Bvyw3pGT8oz2C1WMI/Lg
-----END CERTIFICATE-----
-----BEGIN CERTIFICATE-----
MIIBcTCCARigAwIBAgIBBzAKBggqgRzPVQGDdTAYMRYwFAYDVQQDDA1TTTIgVGVz
dCBSb290MCAXDTI2MTEyNjA0NDEwNloYDzIxMjYxMTAyMDQ0MTA2WjAXMRUwEwYD
VQQDDAxTTTIgVGVzdCBLZXkwWTATBgcqhkjOPQIBBggqgRzPVQGCLQNCAARypk44
/kPZk6mHuBra80R3J+P1Z5MCHv/UznBIgfBhgKJ5BdJn15XvtTV2exaOFAKlnDkw
T/vGQvhB5Lz03pJMo1IwUDAOBgNVHQ8BAf8EBAMCB4AwHQYDVR0OBBYEFLWm0lyu
wTL19Jm9GRBuSVrmrgMfMB8GA1UdIwQYMBaAFOawiMFr6Ifu4H2mnGT9JP16O2Ix
MAoGCCqBHM9VAYN1A0cAMEQCIH6T0piPceiXMZyp65i9dHEzDKanPFvieNBD6YNg
nwQPAiAv3oVwpSEOB3PWDyBDJMy9s3+StOdFX6s24Ulew6zClw==
-----END CERTIFICATE-----
`;

test('SM3: the examples of GB/T 32905, and whatever OpenSSL says', () => {
  assert.is(hex(sm3(utf8('abc'))), '66c7f0f462eeedd9d1f2d46bdc10e4e24167c4875cf2f7a2297da02b8f4ba8e0');
  assert.is(
    hex(sm3(utf8('abcd'.repeat(16)))),
    'debe9ff92275b8a138604889c18e5a4d6fdb70e5387e5765293dcba39c0c5732',
  );
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 300 }), (bytes) => {
      assert.is(hex(sm3(bytes)), createHash('sm3').update(bytes).digest('hex'));
    }),
    { numRuns: 200 },
  );
});

test('SM2: the example of GB/T 32918.5', () => {
  const key = fromHex(
    '0409f9df311e5421a150dd7d161e4bc5c672179fad1833fc076bb08ff356f35020' +
      'ccea490ce26775a52dc6ea718cc1aa600aed05fbf35e084a6632f6072da9ad13',
  );
  const signature = fromHex(
    'f5a03b0648d2c4630eeac513e1bb81a15944da3827d5b74143ac7eaceee720b3' +
      'b1b6aa29df212fd8763182bc0d421ca1bb9038fd1f7f42d4840b69c485bbc1aa',
  );
  const digest = sm2Digest(key, utf8('message digest'), utf8('1234567812345678'));
  assert.is(hex(digest), 'f0b43e94ba45accaace692ed534382eb17e6ab5a19ce7b31f4486fdfc0d28640');
  assert.ok(verifySm2(key, digest, signature));
  for (let at = 0; at < 64; at++) assert.not.ok(verifySm2(key, digest, flip(signature, at)), `byte ${at}`);
  for (let at = 0; at < 65; at++) assert.not.ok(verifySm2(flip(key, at), digest, signature), `key ${at}`);
  for (let at = 0; at < 32; at++) assert.not.ok(verifySm2(key, flip(digest, at), signature), `digest ${at}`);
});

test('a chain made by OpenSSL 3.0 verifies, and no other one', async () => {
  const [root, leaf] = readPem(OPENSSL_CHAIN);
  const ask = (change: Partial<ChainQuestion> = {}) =>
    verifyChain({
      leaf: leaf!,
      intermediates: [root!],
      rootFingerprints: [fingerprint(root!)],
      now: new Date('2027-01-01'),
      ...change,
    });
  const report = await ask();
  assert.ok(report.passed, JSON.stringify(report.checks));
  assert.is(report.path[0]?.subjectName, 'SM2 Test Key');
  for (let at = 0; at < leaf!.length; at += 3) {
    assert.not.ok((await ask({ leaf: flip(leaf!, at) })).passed, `byte ${at}`);
  }
});

test('without a name, SM2 signs the hash of the message alone, as a TPM does', () => {
  const own = sm2Key();
  const digest = sm2Digest(own.key, utf8('abc'), undefined);
  assert.equal(digest, sm3(utf8('abc')));
  assert.ok(verifySm2(own.key, digest, sm2Sign(own, digest)));
});

test('points off the curve, numbers out of range and other lengths never verify', () => {
  const own = sm2Key();
  const digest = sm3(utf8('abc'));
  const good = sm2Sign(own, digest);
  const order = fromHex('fffffffeffffffffffffffffffffffff7203df6b21c6052b53bbf40939d54123');
  for (const signature of [
    new Uint8Array(64),
    concat(order, good.subarray(32)),
    concat(good.subarray(0, 32), order),
    good.subarray(1),
    concat(good, new Uint8Array(1)),
  ]) {
    assert.not.ok(verifySm2(own.key, digest, signature));
  }
  assert.not.ok(verifySm2(new Uint8Array(65).fill(4), digest, good));
  assert.not.ok(verifySm2(own.key.subarray(1), digest, good));
});

test.run();
