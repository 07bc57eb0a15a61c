/**
 * Revocation by OCSP (RFC 6960), as NVIDIA revokes devices and the signers of manifests. Sources: issue 11, 3 (the strict
 * policy could be met by no real GPU; a device on hold passed), NVIDIA/attestation-sdk, nv_ocsp.cpp and its sample
 * hopper_evidence_cert_hold.json.
 */
import { parseCertificate } from '../../protocols/attestation/certificate.ts';
import { GpuPolicy } from '../../protocols/attestation/demands.ts';
import { kindOf, sortFiles } from '../../protocols/attestation/evidence-files.ts';
import { looksLikeOcspResponse, ocspRequest, parseOcspResponse } from '../../protocols/attestation/ocsp.ts';
import { crlPlace, ocspPlace } from '../../protocols/attestation/revocation-places.ts';
import { hex, utf8 } from '../../protocols/encoding.ts';
import { VouchError } from '../../protocols/errors.ts';
import { assert, suite } from '../harness.ts';
import { AUTHORITY, certify, der, fingerprint, flip, keyUsage, maker, revoke } from './certificate-maker.ts';
import { type ChainQuestion, verifyChain, verifyGpu } from './from-bytes.ts';
import { DRIVER, gpu, measured, NONCE, report, rim, rimSigner, VBIOS, vendor } from './gpu-maker.ts';
import { crlAt, OCSP_SIGNING, type OcspOptions, ocsp, ocspAt, RESPONDER_URL } from './ocsp-maker.ts';

const test = suite('OCSP', { timeoutMs: 60_000 });
const NOW = new Date('2026-01-10T12:00:00Z');
const root = await maker('Root');
const middle = await maker('Middle');
const leaf = await maker('Leaf');
const rootDer = await certify(root, root, { extensions: AUTHORITY, serial: 1 });
const middleDer = await certify(root, middle, { extensions: AUTHORITY, serial: 2 });
const leafDer = await certify(middle, leaf, { extensions: [keyUsage(0)], serial: 3 });
const aboutMiddle = await ocsp(root, 2);

const chain = (responses: readonly Uint8Array[], change: Partial<ChainQuestion> = {}) =>
  verifyChain({
    leaf: leafDer,
    intermediates: [middleDer, rootDer],
    rootFingerprints: [fingerprint(rootDer)],
    now: NOW,
    revocation: 'required',
    ocsp: responses,
    ...change,
  });
const said = async (options: OcspOptions, change: Partial<ChainQuestion> = {}): Promise<string> => {
  const { checks } = await chain([aboutMiddle, await ocsp(middle, 3, options)], change);
  const failed = checks.filter(({ status }) => status === 'fail');
  return failed.map(({ name, detail }) => `${name}: ${detail}`).join('; ') || 'accepted';
};

test('good answers about every certificate are as good as lists', async () => {
  const { passed, checks } = await chain([aboutMiddle, await ocsp(middle, 3)]);
  assert.ok(passed, JSON.stringify(checks));
  assert.match(checks.find(({ name }) => name === 'revocation')!.detail, /2 OCSP responses/);
  const mixed = await chain([await ocsp(middle, 3)], { crls: [await revoke(root, [])] });
  assert.ok(mixed.passed, 'one by a list, the other by an answer');
  assert.is(await said({ hash: 'SHA-256' }), 'accepted');
  assert.is(await said({ byKey: true }), 'accepted');
  assert.is(await said({ by: middle }), 'accepted', 'signed by the issuer itself');
  assert.is(await said({ nonce: new Uint8Array(32).fill(1) }), 'accepted');
  assert.match(
    await said({ status: 'good' }, { ocsp: [await ocsp(middle, 3)] }),
    /no CRL of Root and no OCSP response about Middle/,
  );
});

test('revoked, on hold and unknown are refused by every policy, with the reason', async () => {
  for (const revocation of ['required', 'if-present'] as const) {
    const ask = (options: OcspOptions) => said(options, { revocation });
    assert.match(
      await ask({ status: 'revoked', reason: 1 }),
      /Leaf is revoked since 2025-12-31: keyCompromise/,
    );
    assert.match(await ask({ status: 'revoked' }), /Leaf is revoked since 2025-12-31 \(OCSP\)/);
    assert.match(
      await ask({ status: 'revoked', reason: 6 }),
      /Leaf is on hold since 2025-12-31: certificateHold/,
    );
    assert.match(await ask({ status: 'unknown' }), /does not know Leaf/);
  }
  const { revoked } = await chain([await ocsp(middle, 3, { status: 'revoked' })], {
    revocation: 'if-present',
  });
  assert.is(revoked, true);
});

test('of several answers the newest counts, whatever their order; only a hold is ever lifted', async () => {
  const at = (day: string) => ({ thisUpdate: new Date(`2026-01-${day}T00:00:00Z`) });
  const hold = await ocsp(middle, 3, { status: 'revoked', reason: 6, ...at('05') });
  const gone = await ocsp(middle, 3, { status: 'revoked', reason: 1, ...at('05') });
  const before = await ocsp(middle, 3, at('04'));
  const after = await ocsp(middle, 3, at('06'));
  for (const [responses, expected] of [
    [[hold, after], true],
    [[hold, before], false],
    [[gone, after], false],
    [[before, after], true],
  ] as const) {
    for (const order of [responses, responses.toReversed()]) {
      const { passed } = await chain([aboutMiddle, ...order]);
      assert.is(passed, expected);
    }
  }
});

test('answers run out, and none is from the future', async () => {
  assert.match(await said({ nextUpdate: new Date('2026-01-10T11:59:59Z') }), /about Leaf is stale/);
  assert.match(await said({ thisUpdate: new Date('2026-01-10T12:02:00Z') }), /future/);
  assert.match(await said({ producedAt: new Date('2026-01-10T12:02:00Z') }), /made in the future/);
  // A responder's clock may be ahead by less than a minute.
  assert.is(await said({ thisUpdate: new Date('2026-01-10T12:00:30Z') }), 'accepted');
  // Without an end an answer counts for a day.
  assert.is(await said({ nextUpdate: null, thisUpdate: new Date('2026-01-09T13:00:00Z') }), 'accepted');
  assert.match(await said({ nextUpdate: null, thisUpdate: new Date('2026-01-09T11:00:00Z') }), /stale/);
  assert.match(await said({}, { now: new Date(Number.NaN) }), /not valid|no date/);
  // A stale good answer beside a current list, and the other way round.
  const crls = [await revoke(middle, []), await revoke(root, [])];
  assert.is(await said({ nextUpdate: new Date('2026-01-02') }, { crls }), 'accepted');
});

test('only the issuer, or whom it certified for OCSP, may answer', async () => {
  const stranger = await maker('Stranger');
  assert.match(await said({ responderIssuer: stranger }), /is not certified by Middle/);
  assert.match(
    await said({ responderIssuer: root }),
    /is not certified by Middle/,
    'nor the issuer of the issuer',
  );
  assert.match(await said({ responderExtensions: [keyUsage(0)] }), /is not certified for OCSP/);
  const others = { id: '2.5.29.37', value: der(0x30, der(0x06, Uint8Array.of(0x2b, 6, 1, 5, 5, 7, 3, 1))) };
  assert.match(await said({ responderExtensions: [keyUsage(0), others] }), /is not certified for OCSP/);
  assert.match(await said({ responderExtensions: [keyUsage(5), OCSP_SIGNING] }), /may not sign/);
  const critical = { id: '1.2.3.4', critical: true, value: der(0x05) };
  assert.match(await said({ responderExtensions: [keyUsage(0), OCSP_SIGNING, critical] }), /1\.2\.3\.4/);
  assert.match(
    await said({ responderDates: { notAfter: new Date('2026-01-10') } }),
    /is not valid on 2026-01-10/,
  );
  assert.match(await said({ certificates: [] }), /is not at hand/);
  // The leaf, by the same issuer, is no responder.
  assert.match(await said({ by: leaf, certificates: [leafDer] }), /Leaf is not certified for OCSP/);
  const crls = [await revoke(middle, [99])];
  assert.match(await said({}, { crls, revocation: 'if-present' }), /Responder is revoked/);
});

test('a response is about one certificate of one issuer', async () => {
  const other = await maker('Middle');
  // The same name and number, another key.
  assert.match(
    await said({}, { ocsp: [aboutMiddle, await ocsp(other, 3)] }),
    /no OCSP response about Leaf: revocation is unknown/,
  );
  assert.match(await said({}, { ocsp: [aboutMiddle, await ocsp(middle, 4)] }), /no OCSP response about Leaf/);
});

test('one changed byte anywhere in what a responder signed is refused', async () => {
  const response = await ocsp(middle, 3, { nonce: new Uint8Array(16).fill(9) });
  for (let at = 0; at < response.length; at += 3) {
    const { passed } = await chain([aboutMiddle, flip(response, at)]);
    assert.is(passed, false, `byte ${at}`);
  }
});

test('responses are files like others, as DER, hex, base64 and PEM; refusals are named', async () => {
  const response = await ocsp(middle, 3);
  const base64 = btoa(String.fromCharCode(...response));
  for (const bytes of [response, utf8(hex(response)), utf8(base64)]) assert.is(kindOf(bytes)?.name, 'ocsp');
  const pem = utf8(`-----BEGIN OCSP RESPONSE-----\n${base64}\n-----END OCSP RESPONSE-----\n`);
  assert.is(sortFiles([{ name: 'a', bytes: pem }]).ocsp.length, 1);
  for (const [status, name] of [
    [1, 'malformedRequest'],
    [3, 'tryLater'],
    [6, 'unauthorized'],
    [9, 'status 9'],
  ] as const) {
    const refusal = await ocsp(middle, 3, { responseStatus: status });
    assert.is(looksLikeOcspResponse(refusal), true);
    assert.match(
      sortFiles([{ name: 'a', bytes: refusal }]).unknown[0]!.reason,
      `the responder answered ${name}`,
    );
  }
  const unknown = { id: '1.2.3.4', critical: true, value: der(0x05) };
  const strange = await ocsp(middle, 3, { extensions: [unknown] });
  assert.throws(() => parseOcspResponse(strange), /critical extension 1\.2\.3\.4/);
  for (const bytes of [
    new Uint8Array(0),
    response.subarray(1),
    response.subarray(0, -1),
    new Uint8Array(70_000),
  ]) {
    assert.throws(
      () => parseOcspResponse(bytes),
      (error: unknown) => error instanceof VouchError && error.code === 'bad-file',
    );
  }
});

test('a request names certificate and issuer as RFC 6960 says, and a certificate where to ask', async () => {
  const named = await certify(middle, leaf, {
    extensions: [ocspAt(), crlAt('http://crl.example/a')],
    serial: 3,
  });
  const certificate = parseCertificate(named);
  assert.is(ocspPlace(certificate), RESPONDER_URL);
  assert.is(crlPlace(certificate), 'http://crl.example/a');
  assert.is(ocspPlace(parseCertificate(leafDer)), undefined);
  const request = hex(ocspRequest(certificate, parseCertificate(middleDer), new Uint8Array(32).fill(7)));
  const answer = parseOcspResponse(await ocsp(middle, 3)).answers[0]!;
  assert.ok(request.includes(`0414${hex(answer.issuerNameHash)}0414${hex(answer.issuerKeyHash)}020103`));
  assert.ok(request.includes(`0420${'07'.repeat(32)}`));
});

const makers = await vendor();
const signer = await rimSigner();
const manifests = [
  await rim(signer, { product: 'GH100' }),
  await rim(signer, { product: 'GH100', version: VBIOS, active: new Map([[2, [measured(2)]]]) }),
];

test('the strict policy is met by what NVIDIA publishes, and by nothing less', async () => {
  for (const name of ['GH100 A01 GSP FMC LF', 'GB100 A01 GSP FMC LF']) {
    const card = await gpu(makers, { name });
    const rims = name.startsWith('GH')
      ? manifests
      : [
          await rim(signer, { version: DRIVER }),
          await rim(signer, { version: VBIOS, active: new Map([[2, [measured(2)]]]) }),
        ];
    const answers = [...makers.ocsp, ...signer.ocsp, await makers.answer(4)];
    const bytes = await report(card);
    const judge = (responses: readonly Uint8Array[], crls: readonly Uint8Array[] = []) =>
      verifyGpu({
        gpus: [{ report: bytes, certificates: card.chain }],
        rims,
        nonce: NONCE,
        guest: { ccMode: 'on', ready: true },
        ocsp: responses,
        crls,
        policy: GpuPolicy.parse({}),
        now: NOW,
        roots: { device: [fingerprint(makers.rootDer)], rim: [signer.root] },
      });
    const whole = await judge(answers);
    assert.is(
      whole.verdict,
      'accept',
      JSON.stringify(whole.checks.filter(({ status }) => status !== 'pass')),
    );
    for (const [i] of answers.entries()) {
      assert.is((await judge(answers.toSpliced(i, 1))).verdict, 'reject', `${name} without answer ${i}`);
    }
    // The two lists that NVIDIA publishes of device CAs say the same as its answers about these.
    assert.is((await judge(answers.slice(2), makers.crls)).verdict, 'accept');
    const held = [...answers.slice(0, -1), await makers.answer(4, { status: 'revoked', reason: 6 })];
    const onHold = await judge(held);
    assert.is(onHold.verdict, 'reject');
    assert.match(onHold.checks.find(({ id }) => id === 'gpu.chain-revocation')!.detail, /on hold/);
  }
});

test.run();
