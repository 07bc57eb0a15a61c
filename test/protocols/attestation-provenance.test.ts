/**
 * Signed statements about what a CPU measured. Sources: issue 11, "Checks that others have" (Sigstore provenance of a
 * measurement, bound to `measurements`, offline); github.com/sigstore/architecture-docs, client-spec.md;
 * github.com/sigstore/sigstore-conformance, test/assets/bundle-verify, whose kinds of faults are made here;
 * github.com/tinfoilsh/verifier, sigstore/sigstore.go (predicates).
 *
 * On the other side stands whoever runs code that nobody built: he has every bundle that was ever published, may sign
 * statements in his own name, and may ask the logs to log them.
 */

import { fromBase64, parseCertificate } from '../../protocols/attestation/certificate.ts';
import { kindOf } from '../../protocols/attestation/evidence-files.ts';
import {
  CERTIFICATE_LOG_KEYS,
  CERTIFICATE_LOGS,
  FULCIO_CERTIFICATES,
  FULCIO_ROOTS,
  REKOR_KEYS,
  REKOR_LOGS,
  TIMESTAMP_CERTIFICATES,
  TIMESTAMP_ROOTS,
} from '../../protocols/attestation/roots/sigstore.ts';
import { fromHex, hex, sha256Hex, utf8 } from '../../protocols/encoding.ts';
import { assert, suite } from '../harness.ts';
import { AUTHORITY, certify, maker } from './certificate-maker.ts';
import {
  amd,
  beside,
  fails,
  file,
  machine,
  measured,
  mrtd,
  NAMED,
  other,
  own,
  policy,
  put,
  register,
  report,
  root,
  roots,
  rtmr1,
  rtmr2,
} from './provenance-question.ts';
import { json, tinfoil } from './service-maker.ts';
import { ask } from './service-question.ts';
import {
  GITHUB,
  instance,
  pinsOf,
  REPOSITORY,
  SIGNED_AT,
  trustedRoot,
  WORKFLOW,
} from './sigstore-instance.ts';
import { type BundleFields, bundle, statementOf } from './sigstore-maker.ts';

const test = suite('provenance of a measurement', { timeoutMs: 60_000 });

test('bundles of every version and entry are verified whole, and bound to what was measured', async () => {
  const good: BundleFields[] = [
    { version: '0.1' },
    { version: '0.1', entry: 'intoto' },
    { version: '0.2', entry: 'intoto' },
    { version: '0.3' },
    { version: '0.3', chain: true },
    { entry: 'dsse-2' },
    { entry: 'hashedrekord-2' },
    { entry: 'hashedrekord' },
    { stampedAt: SIGNED_AT },
    { subject: 'somebody@example.org', issuer: 'https://accounts.example.org' },
    { file: fromHex(mrtd) },
    { file: utf8(`${mrtd}\n`), entry: 'hashedrekord-2' },
  ];
  for (const fields of good) {
    const one = await file(fields);
    assert.is(kindOf(one)?.name, 'sigstore-bundle');
    const { verdict, checks } = await ask([machine], [root, machine.quote, one], { policy, roots });
    assert.is(verdict, 'accept', JSON.stringify([fields, checks.filter(({ status }) => status === 'fail')]));
    const rows = checks.filter(({ id }) => id.startsWith('provenance.'));
    assert.is(rows.length, 11);
    assert.equal(
      rows.filter(({ status }) => status !== 'pass').map(({ id }) => id),
      ['provenance.identity'],
      'who signed was not asked for',
    );
  }
  const { claims } = await ask([machine], [root, machine.quote, await file()], { policy, roots });
  assert.equal((claims as { provenance: unknown }).provenance, [
    {
      issuer: GITHUB,
      subject: WORKFLOW,
      repository: REPOSITORY,
      commit: 'c0ffee',
      ref: 'refs/tags/v1.2.3',
      predicateType: 'https://example.org/measurement/v1',
      registers: ['measurement'],
    },
  ]);
  assert.is(kindOf(root)?.name, 'sigstore-trusted-root');
});

test('as registries and tools hand bundles out', async () => {
  const [one, two] = [
    await bundle(own, { statement: NAMED }),
    await bundle(own, { statement: statementOf({ rtmr1 }) }),
  ];
  const forms = [
    json({ attestations: [{ bundle: one }, { bundle: two, predicateType: 'x' }] }),
    json([one, two]),
    utf8(`${JSON.stringify(one)}\n${JSON.stringify(two)}\n`),
  ];
  for (const form of forms) {
    assert.is(kindOf(form)?.name, 'sigstore-bundle');
    const { verdict, claims } = await ask([machine], [root, machine.quote, form], { policy, roots });
    assert.is(verdict, 'accept');
    assert.is((claims as { provenance: unknown[] }).provenance.length, 2);
  }
  // In Tinfoil's bundle, beside the report that it is about.
  const within = async (predicate: object) =>
    fails(
      [
        json({
          enclaveAttestationReport: tinfoil('sev-snp', report),
          sigstoreBundle: await bundle(own, { statement: statementOf(predicate) }),
        }),
        ...amd,
      ],
      { roots },
    );
  assert.equal(await within({ snp_measurement: measured, tdx_measurement: { rtmr1, rtmr2 } }), []);
  assert.equal(await within({ snp_measurement: other, tdx_measurement: { rtmr1, rtmr2 } }), [
    'provenance.measurement',
  ]);
});

test('a statement names registers in its subject or its predicate, however it spells them', async () => {
  const types = {
    code: 'https://tinfoil.sh/predicate/snp-tdx-multiplatform/v1',
    hardware: 'https://tinfoil.sh/predicate/hardware-measurements/v1',
  };
  const named: [statement: unknown, registers: string[] | undefined][] = [
    [statementOf({}, { subject: { sha384: mrtd } }), ['measurement']],
    [statementOf({}, { subject: { rtmr1 } }), ['rtmr1']],
    [statementOf({ MRTD: mrtd.toUpperCase() }), ['measurement']],
    [
      statementOf({ builds: [{ mr_td: `0x${mrtd}`, 'rtmr-2': `sha384:${rtmr2}` }] }),
      ['measurement', 'rtmr2'],
    ],
    [
      statementOf({ snp_measurement: other, tdx_measurement: { rtmr1, rtmr2 } }, { type: types.code }),
      ['rtmr1', 'rtmr2'],
    ],
    [
      statementOf(
        { small: { mrtd: other, rtmr0: rtmr1 }, large: { mrtd, rtmr0: register(328) } },
        { type: types.hardware },
      ),
      ['measurement', 'rtmr0'],
    ],
    [statementOf({ mrtd, rtmr1: other }), undefined],
    [statementOf({ tdx_measurement: { rtmr1, rtmr2: other } }, { type: types.code }), undefined],
    [statementOf({ note: mrtd, measurements: mrtd }), undefined],
    [statementOf({ mrenclave: mrtd, pcr0: mrtd }), undefined],
    [statementOf(null), undefined],
  ];
  for (const [statement, registers] of named) {
    const files = [root, machine.quote, await file({ statement })];
    const { verdict, claims } = await ask([machine], files, { policy, roots });
    assert.is(verdict, registers === undefined ? 'reject' : 'accept', JSON.stringify(statement));
    const found = (claims as { provenance?: { registers: string[] }[] }).provenance?.[0]?.registers;
    assert.equal(found, registers);
  }
});

test('what does not hold is a failure by its name', async () => {
  const mallory = await maker('mallory', 'P-256');
  const evil = await instance();
  const later = new Date(SIGNED_AT.getTime() + 3_600_000);
  const cases: [fields: BundleFields, failed: string[]][] = [
    [{ signer: mallory }, ['provenance.signature']],
    [{ rekor: mallory, version: '0.1' }, ['provenance.time', 'provenance.log']],
    [{ by: evil.intermediate }, ['provenance.chain', 'provenance.certificate-log']],
    [{ shownBy: undefined }, ['provenance.certificate-log']],
    [{ shownBy: mallory }, ['provenance.certificate-log']],
    [{ purpose: '1.3.6.1.5.5.7.3.1' }, ['provenance.chain']],
    [{ loggedAt: later }, ['provenance.time']],
    [{ stampedAt: later }, ['provenance.time']],
    [{ entry: 'dsse-2', stampedAt: later }, ['provenance.time']],
    [{ entry: 'dsse-2', stampedBy: mallory }, ['provenance.time']],
    [{ logged: { kind: 'rekord' } }, ['provenance.log']],
    [{ logged: { spec: {} } }, ['provenance.log']],
    [{ statement: statementOf({ mrtd: other }) }, ['provenance.measurement']],
    [{ file: fromHex(other) }, ['provenance.signature']],
    [
      { more: [{ id: '1.2.3.4', critical: true, value: Uint8Array.of(5, 0) }] },
      ['provenance.chain-constraints'],
    ],
  ];
  for (const [fields, failed] of cases)
    assert.equal(await beside(fields), failed, JSON.stringify(Object.keys(fields)));
  // A statement whose signature the log holds for another one, and one that nobody logged.
  const [one, two] = [await bundle(own, { statement: NAMED }), await bundle(own, { statement: NAMED })];
  const mixed = structuredClone(one);
  mixed.verificationMaterial.tlogEntries = two.verificationMaterial.tlogEntries;
  assert.equal(await fails([machine.quote, json(mixed)]), ['provenance.log']);
  const silent = put(one, 'verificationMaterial.tlogEntries', []);
  assert.equal(await fails([machine.quote, json(silent)]), ['provenance.bundle']);
  const timeless = await bundle(own, { statement: NAMED, entry: 'dsse-2' });
  timeless.verificationMaterial.timestampVerificationData = {};
  assert.equal(await fails([machine.quote, json(timeless)]), ['provenance.time']);
  const managed = put(one, 'verificationMaterial.certificate', undefined);
  assert.equal(await fails([machine.quote, json(managed)]), ['provenance.bundle']);
  const newer = { ...one, mediaType: 'application/vnd.dev.sigstore.bundle.v0.4+json' };
  assert.equal(await fails([machine.quote, json(newer)]), ['provenance.bundle']);
  // The same of an instance that is not pinned, although its trusted root was given.
  const foreign = json(await bundle(evil, { statement: NAMED }));
  const files = [machine.quote, foreign, json(trustedRoot(evil))];
  assert.ok((await fails(files)).includes('provenance.chain'));
  assert.equal(await fails(files, { roots: { ...roots, provenance: pinsOf(evil) } }), []);
});

test('proofs of inclusion and checkpoints that do not fit', async () => {
  const good = await bundle(own, { statement: NAMED });
  const entry = 'verificationMaterial.tlogEntries.0.inclusionProof';
  const { hashes, checkpoint, rootHash } = good.verificationMaterial.tlogEntries[0]!.inclusionProof!;
  const head = (from: string, to: string) =>
    ['checkpoint.envelope', checkpoint.envelope.replace(from, to)] as const;
  const changes: (readonly [path: string, value: unknown])[] = [
    ['logIndex', '5'],
    ['logIndex', '7'],
    ['treeSize', '8'],
    ['hashes', hashes.slice(1)],
    ['hashes', [...hashes, hashes[0]]],
    ['hashes', hashes.toReversed()],
    ['rootHash', hashes[0]],
    head('\n7\n', '\n8\n'),
    head(rootHash, hashes[0]!),
    head('\u2014 rekor.', '\u2014 other.'),
    head('rekor.example.org -', 'other.example.org -'),
    head('\n\n', '\n'),
  ];
  for (const [path, value] of changes) {
    const changed = put(good, `${entry}.${path}`, value);
    assert.equal(await fails([machine.quote, json(changed)]), ['provenance.log'], path);
  }
  const bare = put(good, entry, undefined);
  assert.equal(await fails([machine.quote, json(bare)]), ['provenance.bundle'], 'from version 0.2 on');
});

test('what is built in is what it is pinned by', () => {
  const digests = (texts: readonly string[]) => texts.map((text) => sha256Hex(Buffer.from(text, 'base64')));
  assert.equal(digests(REKOR_KEYS), REKOR_LOGS);
  assert.equal(digests(CERTIFICATE_LOG_KEYS), CERTIFICATE_LOGS);
  for (const [texts, pinned] of [
    [FULCIO_CERTIFICATES, FULCIO_ROOTS],
    [TIMESTAMP_CERTIFICATES, TIMESTAMP_ROOTS],
  ] as const) {
    const [below, top] = texts.map((text) => parseCertificate(fromBase64(text, 'built in')));
    assert.equal(pinned, [top!.fingerprint]);
    assert.equal(hex(below!.issuer), hex(top!.subject));
  }
});

test('a certificate by an authority that may not sign certificates is no issuer', async () => {
  const intermediate = await maker('sigstore-intermediate');
  const weak = await certify(own.root, intermediate, { extensions: AUTHORITY.slice(0, 0), serial: 3 });
  const made = await bundle(own, { statement: NAMED, by: intermediate, chain: true });
  const path = 'verificationMaterial.x509CertificateChain.certificates.1.rawBytes';
  const files = [machine.quote, json(put(made, path, Buffer.from(weak).toString('base64')))];
  assert.ok((await fails(files)).some((id) => id.startsWith('provenance.chain')));
});

test.run();
