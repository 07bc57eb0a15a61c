/**
 * Whose statements about a measurement a policy wants, of which CPU, and where they may lie. Sources: issue 11, "Checks that
 * others have" (Sigstore provenance of a measurement, bound to `measurements`).
 */
import { sortFiles } from '../../protocols/attestation/evidence-files.ts';
import { explainPolicy } from '../../protocols/attestation/explain.ts';
import { fits } from '../../protocols/attestation/judgement/provenance.ts';
import { ProvenancePolicy } from '../../protocols/attestation/software-demands.ts';
import { verifyEvidence } from '../../protocols/attestation/verify.ts';
import { fromHex } from '../../protocols/encoding.ts';
import { assert, suite } from '../harness.ts';
import { maker } from './certificate-maker.ts';
import { composite, policyFor, questionFor } from './composite-maker.ts';
import { endorsement, googleRoots } from './google-maker.ts';
import {
  amd,
  demanding,
  fails,
  file,
  IDENTITY,
  machine,
  measured,
  other,
  own,
  report,
  root,
  rtmr1,
} from './provenance-question.ts';
import { GITHUB, pinsOf, REPOSITORY } from './sigstore-instance.ts';
import { statementOf } from './sigstore-maker.ts';
import { arkCrl } from './snp-maker.ts';

const test = suite('provenance that a policy demands', { timeoutMs: 60_000 });

test('a policy says whose statements it wants, and about what', async () => {
  const files = [machine.quote, await file()];
  const wanted = (demand: object, more: readonly Uint8Array[] = files) =>
    fails(more, { policy: demanding(demand) });
  assert.equal(await wanted({}), []);
  assert.equal(await wanted({}, [machine.quote]), ['provenance.bundle']);
  assert.equal(
    await wanted({
      identities: [{ issuer: GITHUB, subject: `${REPOSITORY}/.github/workflows/*@refs/tags/*` }],
    }),
    [],
  );
  assert.equal(await wanted({ predicates: ['https://example.org/measurement/v1'] }), []);
  assert.equal(await wanted({ registers: ['measurement'] }), []);
  for (const identity of [
    { issuer: 'https://accounts.example.org', repository: REPOSITORY },
    { issuer: GITHUB, repository: `${REPOSITORY}2` },
    { issuer: GITHUB, subject: REPOSITORY },
    { issuer: GITHUB, subject: '*@refs/heads/*' },
  ]) {
    assert.equal(await wanted({ identities: [identity] }), ['provenance.identity']);
  }
  assert.equal(await wanted({ predicates: ['https://slsa.dev/provenance/v1'] }), ['provenance.identity']);
  assert.equal(await wanted({ registers: ['measurement', 'rtmr1'] }), ['provenance.measurement']);
  const [code, mine] = [await file({ statement: statementOf({ rtmr1 }) }), await file()];
  assert.equal(await wanted({ registers: ['measurement', 'rtmr1'] }, [machine.quote, code, mine]), []);
  // A statement of somebody else about the same code makes up for nothing.
  const foreign = await file({
    statement: statementOf({ rtmr1 }),
    repository: 'https://github.com/mallory/x',
  });
  assert.equal(await wanted({ registers: ['measurement', 'rtmr1'] }, [machine.quote, foreign, mine]), [
    'provenance.measurement',
  ]);
  const said = explainPolicy(demanding({ registers: ['rtmr1'] })).join('\n');
  assert.match(
    said,
    /must name rtmr1 as measured, by one of:\n {2}a workflow of https:\/\/github\.com\/example\/enclave, as/,
  );
  assert.throws(() => ProvenancePolicy.parse({ identities: [{ issuer: GITHUB }] }));
});

// An attack: code that nobody signed anything about, beside somebody else's machine whose code is known.
test('what is said of one CPU makes up for nothing in another beside it', async () => {
  const mine = [report, ...amd, arkCrl];
  const files = [machine.quote, await file(), ...mine];
  assert.equal(await fails(files), []);
  assert.equal(await fails(files, { policy: demanding() }), ['provenance.measurement']);
  // Nor is the signature of another machine's measurement, as a file, held against this one.
  const signed = await file({ file: fromHex(measured) });
  assert.equal(await fails([machine.quote, signed, ...mine]), []);
  const both = await file({ statement: statementOf({ measurement: measured }) });
  assert.equal(await fails([...files, both], { policy: demanding() }), []);
});

test('in store statements are about many builds', async () => {
  const kept = [
    await file({ statement: statementOf({ mrtd: other }) }),
    await file({ signer: await maker('m', 'P-256') }),
    await file(),
  ];
  const store = {
    ...sortFiles(kept.map((bytes, i) => ({ name: String(i), bytes }))),
    intel: machine.collateral,
  };
  assert.equal(await fails([machine.quote], { policy: demanding(), store }), []);
  const beforehand = { ...store, provenances: store.provenances.slice(0, 2) };
  assert.equal(await fails([machine.quote], { policy: demanding(), store: beforehand }), [
    'provenance.bundle',
  ]);
});

test('an evidence document is judged with the statements in the folder of its verifier', async () => {
  const made = await composite();
  const named = 'bb'.repeat(48);
  const [endorsed, stated] = [
    await endorsement({ mrtds: [named] }),
    await file({ statement: statementOf({ mrtd: named }) }),
  ];
  const rows = async (files: readonly Uint8Array[]) => {
    const folder = sortFiles(files.map((bytes, i) => ({ name: String(i), bytes })));
    const collateral = {
      ...made.collateral!,
      endorsements: folder.endorsements,
      provenances: folder.provenances,
      keys: folder.keys,
      certificates: [...made.collateral!.certificates, ...folder.certificates],
    };
    const report = await verifyEvidence(
      questionFor(made, {
        collateral,
        policy: policyFor({ provenance: { identities: [IDENTITY] }, gce: {} }),
        roots: { ...made.roots, gce: googleRoots, provenance: pinsOf(own) },
      }),
    );
    const failed = report.checks.filter(({ status }) => status === 'fail').map(({ id }) => id);
    assert.is(report.verdict === 'accept', failed.length === 0, failed.join());
    return failed;
  };
  assert.equal(await rows([root, endorsed, stated]), []);
  assert.equal(await rows([root, endorsed]), ['provenance.bundle']);
  assert.equal(await rows([root, stated]), ['gce.endorsement']);
});

test('patterns of subjects', () => {
  assert.ok(
    fits('abc', 'abc') && fits('abc', '*') && fits('abc', 'a*') && fits('abc', '*c') && fits('abc', 'a*b*c'),
  );
  assert.ok(
    !fits('abc', 'ab') &&
      !fits('abc', 'a*cc') &&
      !fits('aba', 'ab*ba') &&
      !fits('abc', 'b*') &&
      !fits('abc', '*b*b*'),
  );
});

test.run();
