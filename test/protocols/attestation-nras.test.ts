/**
 * Tokens of NVIDIA's attestation service as a second opinion. Sources: issue 11, "Checks that others have"; the layout is
 * NVIDIA's claims guide, versions 2 and 3, and RFC 7515, 7517, 7638 and 9711.
 */
import * as fc from 'fast-check';
import { GpuPolicy } from '../../protocols/attestation/demands.ts';
import { kindOf, sortFiles } from '../../protocols/attestation/evidence-files.ts';
import { judgeEvidence } from '../../protocols/attestation/evidence-verdict.ts';
import { explainPolicy } from '../../protocols/attestation/explain.ts';
import { looksLikeNrasTokens, parseKeySet, parseNrasTokens } from '../../protocols/attestation/nras.ts';
import { BUILT_IN, completePolicy } from '../../protocols/attestation/policy.ts';
import { base64url, hex, sha256, utf8 } from '../../protocols/encoding.ts';
import { VouchError } from '../../protocols/errors.ts';
import { assert, suite } from '../harness.ts';
import { fingerprint } from './certificate-maker.ts';
import { DRIVER, gpu, NONCE, report, VBIOS, vendor } from './gpu-maker.ts';

const test = suite('NRAS tokens', { timeoutMs: 60_000 });
const NOW = new Date('2026-01-10T12:00:00Z');
const SECOND = NOW.getTime() / 1000;

async function service(kid: string) {
  const { privateKey, publicKey } = (await crypto.subtle.generateKey(
    { name: 'ECDSA', namedCurve: 'P-384' },
    true,
    ['sign', 'verify'],
  )) as CryptoKeyPair;
  const { kty, crv, x, y } = await crypto.subtle.exportKey('jwk', publicKey);
  const sign = async (claims: object, alg = 'ES384'): Promise<string> => {
    const parts = [{ alg, typ: 'JWT', kid }, claims].map((part) => base64url(utf8(JSON.stringify(part))));
    const text = parts.join('.');
    const algorithm = { name: 'ECDSA', hash: 'SHA-384' };
    const signature = await crypto.subtle.sign(algorithm, privateKey, utf8(text));
    return `${text}.${base64url(new Uint8Array(signature))}`;
  };
  return { sign, jwk: { kty, crv, x, y, kid, alg: 'ES384', use: 'sig' } };
}

const nvidia = await service('nv-1');
const makers = await vendor();
const card = await gpu(makers);
const pem = (der: Uint8Array): string =>
  `-----BEGIN CERTIFICATE-----\n${Buffer.from(der).toString('base64')}\n-----END CERTIFICATE-----\n`;
const evidence = JSON.stringify([
  {
    evidence: Buffer.from(await report(card)).toString('base64'),
    certificate: Buffer.from(card.chain.map(pem).join('')).toString('base64'),
  },
]);

interface Change {
  readonly by?: Awaited<ReturnType<typeof service>>;
  readonly alg?: string;
  readonly both?: object;
  readonly overall?: object;
  readonly device?: object;
  readonly digest?: string;
}

async function tokens({ by = nvidia, alg, both, overall, device, digest }: Change = {}): Promise<string> {
  const common = {
    iss: 'https://nras.attestation.nvidia.com',
    eat_nonce: hex(NONCE),
    nbf: SECOND - 60,
    iat: SECOND - 60,
    exp: SECOND + 3540,
    ...both,
  };
  const one = await by.sign(
    {
      ...common,
      measres: 'success',
      hwmodel: 'GH100 A01 GSP BROM',
      'x-nvidia-gpu-driver-version': DRIVER,
      'x-nvidia-gpu-vbios-version': VBIOS,
      ...device,
    },
    alg,
  );
  const claims = {
    ...common,
    sub: 'NVIDIA-PLATFORM-ATTESTATION',
    'x-nvidia-ver': '2.0',
    'x-nvidia-overall-att-result': true,
    submods: { 'GPU-0': ['DIGEST', ['SHA-256', digest ?? hex(sha256(utf8(one)))]] },
    ...overall,
  };
  return JSON.stringify([['JWT', await by.sign(claims, alg)], { 'GPU-0': one }]);
}

const keySet = JSON.stringify({ keys: [nvidia.jwk, { kty: 'RSA', n: 'AQAB', e: 'AQAB' }] });
const policy = (keys?: string[]) =>
  completePolicy({
    ...BUILT_IN.genuine,
    gpu: GpuPolicy.parse({
      ...BUILT_IN.genuine.gpu,
      ...(keys === undefined ? {} : { secondOpinionKeys: keys }),
    }),
  });
const judge = async (texts: readonly string[], keys?: string[], stored: readonly string[] = []) => {
  const sorted = (some: readonly string[]) =>
    sortFiles(some.map((text, i) => ({ name: String(i), bytes: utf8(text) })));
  const { verdict, checks } = await judgeEvidence({
    given: sorted(texts),
    store: sorted(stored),
    policy: policy(keys),
    now: NOW,
    nonce: hex(NONCE),
    roots: { gpu: { device: [fingerprint(makers.rootDer)], rim: [] } },
  });
  return { verdict, failed: checks.filter(({ status }) => status === 'fail').map(({ id }) => id), checks };
};
const failures = async (change: Change) => (await judge([evidence, await tokens(change), keySet])).failed;

test('beside its report, what the service found is checked whole', async () => {
  assert.is(kindOf(utf8(await tokens()))?.name, 'nras-tokens');
  assert.is(kindOf(utf8(keySet))?.name, 'jwk-set');
  for (const files of [
    [evidence, await tokens(), keySet],
    [keySet, await tokens(), evidence],
  ]) {
    const whole = await judge(files);
    assert.equal(whole.failed, []);
    assert.is(whole.verdict, 'accept');
    assert.is(whole.checks.filter(({ id }) => id.startsWith('nras.')).length, 6);
  }
  assert.equal(await failures({ device: { measres: 'Success' } }), [], 'as version 3 spells it');
});

test('whatever does not hold is a failure by its name', async () => {
  assert.equal(await failures({ by: await service('nv-1') }), ['nras.signature']);
  assert.equal(await failures({ by: await service('another') }), ['nras.signature']);
  assert.equal(await failures({ alg: 'none' }), ['nras.signature']);
  assert.equal(await failures({ both: { iss: 'LOCAL_GPU_VERIFIER' } }), ['nras.signature']);
  assert.equal(await failures({ digest: '00'.repeat(32) }), ['nras.digests']);
  assert.equal(await failures({ overall: { submods: {} } }), ['nras.digests']);
  assert.equal(await failures({ both: { exp: SECOND } }), ['nras.time']);
  assert.equal(await failures({ both: { nbf: SECOND + 1 } }), ['nras.time']);
  assert.equal(await failures({ both: { eat_nonce: '08'.repeat(32) } }), ['nras.nonce']);
  assert.equal(await failures({ overall: { 'x-nvidia-overall-att-result': false } }), ['nras.result']);
  assert.equal(await failures({ device: { measres: 'fail' } }), ['nras.result']);
  assert.equal(await failures({ device: { 'x-nvidia-gpu-driver-version': '1.2.3' } }), ['nras.devices']);
  assert.equal(await failures({ device: { 'x-nvidia-gpu-vbios-version': '97.00' } }), ['nras.devices']);
  assert.equal((await judge([evidence, await tokens()])).failed, ['nras.signature'], 'without the keys');
  assert.equal((await judge([evidence, await tokens()], undefined, [keySet])).failed, [], 'keys in store');
});

test('a token never stands instead of the report', async () => {
  const alone = await judge([await tokens(), keySet]);
  assert.is(alone.verdict, 'reject');
  assert.ok(alone.failed.includes('evidence.present') && alone.failed.includes('nras.devices'));
});

test('a policy demands an opinion by the keys that it names', async () => {
  const [key] = parseKeySet(keySet);
  const own = [key!.thumbprint];
  assert.equal((await judge([evidence, await tokens(), keySet], own)).failed, []);
  assert.equal((await judge([evidence], own)).failed, ['nras.devices']);
  const others = ['ab'.repeat(32)];
  assert.equal((await judge([evidence, await tokens(), keySet], others)).failed, ['nras.signature']);
  const said = (keys?: string[]) => explainPolicy(policy(keys)).filter((line) => line.includes('tokens'));
  assert.is(said().length, 0);
  assert.match(said(own)[0]!, /beside the report, tokens .* by 1 key\./);
  // RFC 7638 by another's implementation would print the same: members in order, no white space.
  const { crv, kty, x, y } = nvidia.jwk;
  assert.is(key!.thumbprint, hex(sha256(utf8(JSON.stringify({ crv, kty, x, y })))));
});

test('every changed character of a token is refused', async () => {
  const text = await tokens();
  const from = text.indexOf('ey');
  for (let at = from; at < text.length; at += 7) {
    if (!/[\w-]/.test(text[at]!) || /GPU-0/.test(text.slice(at - 5, at + 6))) continue;
    const changed = `${text.slice(0, at)}${text[at] === 'A' ? 'B' : 'A'}${text.slice(at + 1)}`;
    const { verdict } = await judge([evidence, changed, keySet]);
    assert.is(verdict, 'reject', `character ${at}`);
  }
});

test('whatever is damaged, it is read or refused with a code', async () => {
  const text = await tokens();
  const damage = fc.tuple(fc.nat(text.length - 1), fc.string({ maxLength: 4 }));
  await fc.assert(
    fc.asyncProperty(damage, async ([at, put]) => {
      const changed = `${text.slice(0, at)}${put}${text.slice(at + 1)}`;
      for (const [parse, input] of [
        [parseNrasTokens, changed],
        [parseKeySet, `${keySet.slice(0, at % keySet.length)}${put}`],
      ] as const) {
        try {
          parse(input);
        } catch (error) {
          assert.ok(error instanceof VouchError, String(error));
        }
      }
      assert.type(looksLikeNrasTokens(changed), 'boolean');
    }),
    { numRuns: 500 },
  );
});

test.run();
