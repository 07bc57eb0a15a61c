import * as fc from 'fast-check';
import { parsePublicKey } from '../../protocols/attestation/certificate.ts';
import { TpmPolicy } from '../../protocols/attestation/demands.ts';
import { kindOf } from '../../protocols/attestation/evidence-files.ts';
import { parseTpmAttest, parseTpmSignature } from '../../protocols/attestation/formats/tpm-attest.ts';
import { parsePcrs } from '../../protocols/attestation/formats/tpm-pcrs.ts';
import type { TpmResult } from '../../protocols/attestation/formats/tpm-quote.ts';
import { concat, hex, sha256Hex } from '../../protocols/encoding.ts';
import { VouchError } from '../../protocols/errors.ts';
import { assert, suite } from '../harness.ts';
import { AUTHORITY, certify, fingerprint, flip, keyUsage, maker, revoke } from './certificate-maker.ts';
import { type TpmQuestion, verifyTpm } from './from-bytes.ts';
import { sm2Key } from './sm2-maker.ts';
import {
  type AttestOptions,
  attest,
  be,
  ecdsaSignature,
  NONCE,
  PCR_JSON,
  PCR_TEXT,
  PCRS,
  pcrDigest,
  rsaSignature,
  SM3_BANK,
  sm2Signature,
  sm2Spki,
} from './tpm-maker.ts';

const test = suite('TPM 2.0 quotes');
const root = await maker('TPM Vendor Root');
const ak = await maker('Attestation Key');
const rootDer = await certify(root, root, { extensions: AUTHORITY });
const akDer = await certify(root, ak, { extensions: [keyUsage(0)], serial: 9 });
const ROOTED = TpmPolicy.parse({ roots: [fingerprint(rootDer)] });
const crl = await revoke(root, []);
const NOW = new Date('2026-01-01');

const ask = async (options: AttestOptions = {}, change: Partial<TpmQuestion> = {}): Promise<TpmResult> => {
  const quote = change.attest ?? attest(options);
  return verifyTpm({
    attest: quote,
    signature: change.signature ?? (await ecdsaSignature(ak, quote)),
    certificates: [akDer, rootDer],
    keys: [],
    pcrs: parsePcrs(PCR_TEXT),
    policy: ROOTED,
    nonce: NONCE,
    crls: [crl],
    now: NOW,
    ...change,
  });
};
const failed = ({ checks }: TpmResult) =>
  checks.filter(({ status }) => status === 'fail').map(({ id }) => id);
const expectOnly = async (ids: string[], result: Promise<TpmResult>) => {
  const { verdict, ...rest } = await result;
  assert.is(verdict, 'reject');
  assert.equal(failed({ verdict, ...rest }).sort(), ids.toSorted());
};

test('a quote is accepted with its key under a root, and says what it holds', async () => {
  const { verdict, claims, checks } = await ask();
  assert.is(verdict, 'accept', JSON.stringify(checks));
  assert.equal(claims?.pcrs, {
    sha256: Object.fromEntries(Object.entries(PCRS).map(([index, value]) => [index, [hex(value)]])),
  });
  assert.is(claims?.key, sha256Hex(ak.spki));
  assert.is(claims?.resetCount, 2);
  const wrapped = attest();
  const sized = concat(be(wrapped.length, 2), wrapped);
  const signature = await ecdsaSignature(ak, wrapped);
  assert.is((await ask({}, { attest: sized, signature })).verdict, 'accept');
  assert.is((await ask({}, { pcrs: parsePcrs(PCR_JSON) })).verdict, 'accept');
});

test('a key may be pinned by itself: RSASSA, RSAPSS with either salt, SM2', async () => {
  for (const [scheme, salt] of [
    ['RSASSA', 0],
    ['RSAPSS', 32],
    ['RSAPSS', 222],
  ] as const) {
    const { spki, sign } = await rsaSignature(scheme, salt);
    const quote = attest({ digest: pcrDigest('sha256') });
    const change = {
      attest: quote,
      signature: await sign(quote),
      certificates: [],
      keys: [parsePublicKey(spki)],
    };
    const pinned = { ...change, policy: TpmPolicy.parse({ keys: [sha256Hex(spki)] }) };
    assert.is((await ask({}, pinned)).verdict, 'accept', `${scheme} ${salt}`);
    await expectOnly(['tpm.key'], ask({}, change));
  }
  const key = sm2Key();
  const spki = sm2Spki(key);
  const quote = attest({ digest: pcrDigest('sm3') });
  const own = {
    attest: quote,
    signature: sm2Signature(key, quote),
    certificates: [],
    keys: [parsePublicKey(spki)],
    policy: TpmPolicy.parse({ keys: [sha256Hex(spki)] }),
  };
  assert.is((await ask({}, own)).verdict, 'accept');
});

test('every negative is refused by the check that is named for it', async () => {
  await expectOnly(['tpm.nonce'], ask({ extraData: flip(NONCE, 3) }));
  await expectOnly(['tpm.nonce'], ask({ extraData: new Uint8Array(0) }));
  await expectOnly(['tpm.nonce'], ask({ extraData: concat(NONCE, NONCE.subarray(0, 1)) }));
  const unasked = await ask({}, { nonce: undefined });
  assert.is(unasked.verdict, 'reject');
  assert.is(unasked.checks.find(({ id }) => id === 'tpm.nonce')?.status, 'skipped');
  await expectOnly(['tpm.pcr-digest'], ask({ digest: pcrDigest('sha256') }));
  await expectOnly(['tpm.pcr-digest'], ask({ selections: [[0x0b, '010001']] }));
  await expectOnly(['tpm.pcr-digest'], ask({ selections: [[0x0c, '030001']] }));
  await expectOnly(['tpm.pcr-digest'], ask({}, { pcrs: new Map() }));
  const other = parsePcrs(PCR_JSON.replace('0a0a', '0a0b'));
  await expectOnly(['tpm.pcr-digest'], ask({}, { pcrs: other }));
  await expectOnly(['tpm.quote'], ask({ magic: 0xff544346 }));
  await expectOnly(['tpm.quote'], ask({ type: 0x8017 }));
  await expectOnly(['tpm.quote'], ask({ safe: 2 }));
  const stranger = await maker('Attestation Key');
  await expectOnly(['tpm.signature'], ask({}, { signature: await ecdsaSignature(stranger, attest()) }));
  await expectOnly(['tpm.signature'], ask({}, { certificates: [] }));
  const bySelf = await certify(stranger, ak, { extensions: [keyUsage(0)] });
  await expectOnly(['tpm.chain', 'tpm.key'], ask({}, { certificates: [bySelf, rootDer] }));
  await expectOnly(['tpm.key'], ask({}, { policy: TpmPolicy.parse({}) }));
  await expectOnly(['tpm.chain-revocation', 'tpm.key'], ask({}, { crls: [] }));
  await expectOnly(['tpm.chain-revocation', 'tpm.key'], ask({}, { crls: [await revoke(root, [9])] }));
  await expectOnly(
    ['tpm.chain-dates', 'tpm.key'],
    ask({}, { now: new Date('2035-01-01'), policy: { ...ROOTED, revocation: 'if-present' }, crls: [] }),
  );
  const sealer = await certify(root, ak, { extensions: [keyUsage(2)] });
  await expectOnly(['tpm.chain-constraints', 'tpm.key'], ask({}, { certificates: [sealer, rootDer] }));
});

test('the policy says which PCRs must have been quoted, with which values', async () => {
  const pcr = (index: string, value: string) => ({
    policy: {
      ...ROOTED,
      ...TpmPolicy.pick({ pcrs: true }).parse({ pcrs: { sha256: { [index]: [value] } } }),
    },
  });
  assert.is((await ask({}, pcr('0', '0a'.repeat(32)))).verdict, 'accept');
  await expectOnly(['tpm.pcrs'], ask({}, pcr('0', '0b'.repeat(32))));
  await expectOnly(['tpm.pcrs'], ask({}, pcr('7', '00'.repeat(32))));
});

test('one changed byte anywhere in a quote or its signature is refused', async () => {
  const quote = attest();
  const signature = await ecdsaSignature(ak, quote);
  for (let at = 0; at < quote.length; at += 2) {
    assert.is((await ask({}, { attest: flip(quote, at), signature })).verdict, 'reject', `quote byte ${at}`);
  }
  for (let at = 0; at < signature.length; at += 2) {
    assert.is(
      (await ask({}, { attest: quote, signature: flip(signature, at) })).verdict,
      'reject',
      `signature byte ${at}`,
    );
  }
});

test('structures are read strictly', async () => {
  const quote = attest();
  const coded = (error: unknown) => error instanceof VouchError;
  for (let length = 0; length < quote.length; length++) {
    assert.throws(() => parseTpmAttest(quote.subarray(0, length)), coded, `${length}`);
  }
  assert.throws(() => parseTpmAttest(concat(quote, new Uint8Array(1))), coded);
  for (const options of [
    { selections: [] },
    { selections: [[0x04, '030001']] },
    { selections: [[0x0b, '000000']] },
    {
      selections: [
        [0x0b, '030001'],
        [0x0b, '030001'],
      ],
    },
    { extraData: new Uint8Array(67) },
    { digest: new Uint8Array(65) },
  ] as AttestOptions[]) {
    assert.throws(() => parseTpmAttest(attest(options)), coded, JSON.stringify(options));
  }
  const signature = await ecdsaSignature(ak, quote);
  for (const bytes of [
    signature.subarray(1),
    signature.subarray(0, -1),
    concat(signature, new Uint8Array(1)),
    flip(signature, 1),
    flip(signature, 3, 8),
  ]) {
    assert.throws(() => parseTpmSignature(bytes), coded);
  }
  for (const text of [
    '',
    'sha256:\n 24: 0x00',
    'sha256:\n 0: 0x00',
    `0: ${'00'.repeat(32)}`,
    'md5:\n',
    `sha256:\n 0: ${'00'.repeat(32)}\n 0: ${'00'.repeat(32)}`,
    'sha256:\nsha256:\n',
    'sha256:\n 0 0x00',
  ]) {
    if (text === '') assert.is(parsePcrs(text).size, 0);
    else assert.throws(() => parsePcrs(text), coded, text);
  }
});

test('files are told apart by content', async () => {
  const quote = attest();
  assert.is(kindOf(quote)?.name, 'tpm');
  assert.is(kindOf(concat(be(quote.length, 2), quote))?.name, 'tpm');
  assert.is(kindOf(await ecdsaSignature(ak, quote))?.name, 'tpm-signature');
  assert.is(kindOf(sm2Signature(sm2Key(), quote))?.name, 'tpm-signature');
  assert.is(SM3_BANK, 0x12);
});

test('no bytes make the readers do anything but refuse', () => {
  const quote = attest();
  const readers = [parseTpmAttest, parseTpmSignature, (bytes: Uint8Array) => parsePcrs(hex(bytes))];
  fc.assert(
    fc.property(
      fc.uint8Array({ maxLength: 300 }),
      fc.nat(quote.length - 1),
      fc.integer({ min: 1, max: 255 }),
      (bytes, at, mask) => {
        for (const input of [bytes, flip(quote, at, mask)]) {
          for (const read of readers) {
            try {
              read(input);
            } catch (error) {
              if (!(error instanceof VouchError)) throw error;
            }
          }
        }
      },
    ),
    { numRuns: 500 },
  );
});

test.run();
