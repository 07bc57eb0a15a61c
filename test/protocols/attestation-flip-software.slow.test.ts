/**
 * Every byte of Google's endorsements and every character of Sigstore bundles changed: each change rejects, where a policy
 * demands them. Too long for every run.
 */
import { sortFiles } from '../../protocols/attestation/evidence-files.ts';
import { judgeEvidence } from '../../protocols/attestation/evidence-verdict.ts';
import { BUILT_IN, completePolicy } from '../../protocols/attestation/policy.ts';
import { GcePolicy, ProvenancePolicy } from '../../protocols/attestation/software-demands.ts';
import { hex, utf8 } from '../../protocols/encoding.ts';
import { assert, suite } from '../harness.ts';
import { fingerprint } from './certificate-maker.ts';
import { everyByte } from './every-byte.ts';
import { endorsement, googleRoots } from './google-maker.ts';
import { json } from './service-maker.ts';
import { GITHUB, instance, pinsOf, REPOSITORY, trustedRoot } from './sigstore-instance.ts';
import { type BundleFields, bundle, statementOf } from './sigstore-maker.ts';
import { arkDer, askDer, snpReport, vcekDer } from './snp-maker.ts';

const test = suite('every byte of what is said of software changed', { timeoutMs: 590_000 });
const own = await instance();
const report = await snpReport();
const measured = hex(report.subarray(0x90, 0x90 + 48));
const policy = {
  gce: completePolicy({ ...BUILT_IN.genuine, gce: GcePolicy.parse({}) }),
  provenance: completePolicy({
    ...BUILT_IN.genuine,
    provenance: ProvenancePolicy.parse({ identities: [{ issuer: GITHUB, repository: REPOSITORY }] }),
  }),
};
const store = sortFiles([{ name: 'root', bytes: json(trustedRoot(own)) }]);
const judge = (what: keyof typeof policy, bytes: Uint8Array) =>
  judgeEvidence({
    given: sortFiles(
      [report, vcekDer, askDer, arkDer, bytes].map((one, i) => ({ name: `${i}`, bytes: one })),
    ),
    store,
    policy: policy[what],
    now: new Date('2026-01-15'),
    roots: {
      gce: googleRoots,
      provenance: pinsOf(own),
      amd: new Map([[fingerprint(arkDer), 'Turin']]),
    },
  });

test("Google's endorsement of firmware", async () => {
  const file = await endorsement({ snp: { 1: 'ab'.repeat(48), 2: measured }, mrtds: ['cd'.repeat(48)] });
  await everyByte('endorsement', file, (bytes) => judge('gce', bytes));
});

/** Names and values that a bundle holds for others, and that nobody reads here. */
const IDLE = /"kindVersion":\{[^}]*\},|,"keyid":""|,"timestampVerificationData":\{\}/g;
/** What only the older log signs. */
const NUMBERS = /"logIndex":"1004","logId":\{"keyId":"(?:[^"]*)"\},/g;

const FORMS: Readonly<Record<string, BundleFields>> = {
  'statement, by its time in the older log': {},
  'file, in the newer log, by the time of an authority': { file: utf8(measured), entry: 'hashedrekord-2' },
};
for (const [name, fields] of Object.entries(FORMS)) {
  test(`a Sigstore bundle: ${name}`, async () => {
    const made = await bundle(own, { statement: statementOf({ measurement: measured }), ...fields });
    const text = JSON.stringify(made);
    assert.is((await judge('provenance', utf8(text))).verdict, 'accept');
    const unread = [...text.matchAll(IDLE), ...('entry' in fields ? text.matchAll(NUMBERS) : [])];
    const idle = unread.map(({ index, 0: match }) => [index, index + match.length] as const);
    // Granted, or granted with changes, says what is around the timestamp, and nobody signs it.
    const status = text.indexOf('"signedTimestamp":"') + '"signedTimestamp":"'.length + 10;
    if ('entry' in fields) idle.push([status, status + 2]);
    for (let at = 0; at < text.length; at++) {
      if (idle.some(([from, to]) => at >= from && at < to)) continue;
      const other = text[at] === 'A' ? 'B' : 'A';
      const changed = text.slice(0, at) + other + text.slice(at + 1);
      const { verdict } = await judge('provenance', utf8(changed));
      assert.is(verdict, 'reject', `character ${at}: ${text.slice(Math.max(0, at - 24), at + 8)}`);
    }
  });
}

test.run();
