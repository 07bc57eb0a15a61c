/** HyperEnclave's quotes, made here by a simulator: no real platform's evidence is public. */
import * as fc from 'fast-check';
import { parsePublicKey } from '../../protocols/attestation/certificate.ts';
import { kindOf } from '../../protocols/attestation/evidence-files.ts';
import {
  HYPERENCLAVE_LABEL,
  type HyperEnclaveResult,
} from '../../protocols/attestation/formats/hyperenclave.ts';
import { parseHyperEnclaveQuote } from '../../protocols/attestation/formats/hyperenclave-quote.ts';
import { looksLikeQuote } from '../../protocols/attestation/formats/intel-quote.ts';
import { parseEvidencePolicy } from '../../protocols/attestation/policy.ts';
import { sm3 } from '../../protocols/attestation/sm2.ts';
import { concat, sha256Hex, utf8 } from '../../protocols/encoding.ts';
import { VouchError } from '../../protocols/errors.ts';
import { assert, suite } from '../harness.ts';
import { AUTHORITY, certify, fingerprint, flip, keyUsage, maker, revoke } from './certificate-maker.ts';
import { type HyperEnclaveQuestion, verifyHyperEnclave } from './from-bytes.ts';
import { sm2Key } from './sm2-maker.ts';
import { type EnclaveOptions, HYPER_PCRS, hyperEnclave, SM3_BANK, sm2Spki } from './tpm-maker.ts';

const test = suite('HyperEnclave evidence (simulated)', { timeoutMs: 60_000 });
const root = await maker('Platform CA');
const rootDer = await certify(root, root, { extensions: AUTHORITY });
const crl = await revoke(root, []);
const NOW = new Date('2026-01-01');
const policyOf = (hyperenclave: object = {}, changes: object = {}) =>
  parseEvidencePolicy({
    version: 1,
    platforms: ['hyperenclave'],
    hyperenclave: { roots: [fingerprint(rootDer)], ...hyperenclave },
    ...changes,
  });

const judge = (quote: Uint8Array, change: Partial<HyperEnclaveQuestion> = {}): Promise<HyperEnclaveResult> =>
  verifyHyperEnclave({
    quote,
    certificates: [rootDer],
    keys: [],
    pcrs: new Map(),
    policy: policyOf(),
    crls: [crl],
    now: NOW,
    ...change,
  });
const ask = async (options: EnclaveOptions = {}, change: Partial<HyperEnclaveQuestion> = {}) =>
  judge((await hyperEnclave({ issuer: root, ...options })).quote, change);
const failed = ({ checks }: HyperEnclaveResult) =>
  checks.filter(({ status }) => status === 'fail').map(({ id }) => id.replace('hyperenclave.', ''));
const expectOnly = async (ids: string[], result: Promise<HyperEnclaveResult>) => {
  const found = await result;
  assert.is(found.verdict, 'reject');
  assert.equal(failed(found).sort(), ids.toSorted());
};

test('a quote is accepted under a root that the policy names, and labelled for what it is', async () => {
  const { quote } = await hyperEnclave({ issuer: root });
  const { verdict, claims, checks } = await judge(quote);
  assert.is(verdict, 'accept', JSON.stringify(checks));
  assert.is(claims?.label, HYPERENCLAVE_LABEL);
  assert.match(checks.find(({ id }) => id === 'hyperenclave.quote')!.detail, 'only a simulator is public');
  assert.is(claims?.measurement, 'aa'.repeat(32));
  assert.is(claims?.isvProdId, 7);
  assert.is(claims?.isvSvn, 3);
  assert.is(kindOf(quote)?.name, 'hyperenclave');
  assert.not.ok(looksLikeQuote(quote));
  // Where the structure's comment puts the certificate, with the buffer's rest, and with the bare hash as data.
  assert.is((await ask({ gap: new Uint8Array(1) })).verdict, 'accept');
  assert.is((await ask({ padding: new Uint8Array(700) })).verdict, 'accept');
  const bare = (await hyperEnclave()).quote.length;
  assert.is(bare, 775);
});

test('without a certificate the key is pinned and the PCRs are given', async () => {
  const made = await hyperEnclave();
  const spki = sm2Spki(made.tpm);
  const pcrs = new Map([['sm3_256', new Map(HYPER_PCRS.map((index, i) => [index, made.pcrs[i]!]))]] as const);
  const change = {
    certificates: [],
    keys: [parsePublicKey(spki)],
    pcrs,
    policy: policyOf({ roots: [], keys: [sha256Hex(spki)] }),
  };
  assert.is((await judge(made.quote, change)).verdict, 'accept');
  await expectOnly(['key'], judge(made.quote, { ...change, policy: policyOf() }));
  await expectOnly(['platform-signature', 'pcr-digest'], judge(made.quote, { keys: [], certificates: [] }));
  await expectOnly(['pcr-digest'], judge(made.quote, { ...change, pcrs: new Map() }));
});

test('every negative is refused by the check that is named for it', async () => {
  const { quote } = await hyperEnclave({ issuer: root });
  await expectOnly(['signature'], judge(flip(quote, 48 + 256)));
  await expectOnly(['hypervisor-key'], ask({ impostor: sm2Key() }));
  await expectOnly(
    ['report-binding'],
    ask({ extraData: concat(Uint8Array.of(0, SM3_BANK), sm3(utf8('other'))) }),
  );
  await expectOnly(['pcr-selection', 'pcr-digest'], ask({ selections: [[SM3_BANK, 'ff1300']] }));
  await expectOnly(['pcr-digest'], ask({ digest: new Uint8Array(32) }));
  await expectOnly(['debug'], ask({ body: (body) => body.set([2], 48) }));
  assert.is(
    (await ask({ body: (body) => body.set([2], 48) }, { policy: policyOf({}, { debug: true }) })).verdict,
    'accept',
  );
  await expectOnly(['reserved-fields'], ask({ body: (body) => body.set([1], 25) }));
  const pcr = (value: string) => ({ policy: policyOf({ pcrs: { 12: [value] } }) });
  await expectOnly(['pcrs'], ask({}, pcr('00'.repeat(32))));
  await expectOnly(['measurement'], ask({}, { policy: policyOf({}, { measurements: ['00'.repeat(32)] }) }));
  await expectOnly(['report-data'], ask({}, { policy: policyOf({}, { reportData: '00'.repeat(64) }) }));
  await expectOnly(['key'], ask({}, { policy: policyOf({ roots: [] }) }));
  await expectOnly(['chain', 'key'], ask({}, { policy: policyOf({ roots: ['00'.repeat(32)] }) }));
  await expectOnly(['chain-revocation', 'key'], ask({}, { crls: [] }));
  await expectOnly(
    ['chain-dates', 'key'],
    ask({}, { now: new Date('2036-01-01'), crls: [], policy: policyOf({ revocation: 'if-present' }) }),
  );
  const other = await certify(root, await maker('Another key'), { extensions: [keyUsage(0)] });
  await expectOnly(['platform-signature', 'pcr-digest'], ask({ certificate: other }));
});

test('one changed byte anywhere is refused', async () => {
  const { quote } = await hyperEnclave({ issuer: root, padding: new Uint8Array(8) });
  for (let at = 0; at < quote.length; at += at < 436 ? 11 : 23) {
    assert.is((await judge(flip(quote, at))).verdict, 'reject', `byte ${at}`);
  }
});

test('versions, lengths and reserved fields are read strictly', async () => {
  const { quote } = await hyperEnclave({ issuer: root });
  const coded = (code: string) => (error: unknown) => error instanceof VouchError && error.code === code;
  for (const at of [0, 1, 2, 3]) {
    assert.throws(() => parseHyperEnclaveQuote(flip(quote, at)), coded('bad-version'), `byte ${at}`);
  }
  for (const bytes of [
    quote.subarray(0, 400),
    quote.subarray(0, -1),
    concat(quote, Uint8Array.of(1)),
    concat(quote, new Uint8Array(9000)),
    flip(quote, 10),
    flip(quote, 432),
    flip(quote, 435, 0x80),
    flip(quote, 564),
    flip(quote, 775),
  ]) {
    assert.throws(() => parseHyperEnclaveQuote(bytes), coded('bad-file'));
  }
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 900 }), fc.nat(quote.length), (bytes, length) => {
      for (const input of [bytes, quote.subarray(0, length), concat(quote.subarray(0, length), bytes)]) {
        try {
          parseHyperEnclaveQuote(input);
        } catch (error) {
          if (!(error instanceof VouchError)) throw error;
        }
      }
    }),
    { numRuns: 300 },
  );
});

test.run();
