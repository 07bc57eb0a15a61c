/** 10^5 inputs for each reader of what others say of measured software: see fuzzing.ts. */
import { sortFiles } from '../../protocols/attestation/evidence-files.ts';
import { parseGceEndorsement } from '../../protocols/attestation/formats/gce-endorsement.ts';
import { parseSigstoreBundle } from '../../protocols/attestation/formats/sigstore-bundle.ts';
import { readMessage } from '../../protocols/attestation/protobuf.ts';
import { judgeProvenance } from '../../protocols/attestation/provenance.ts';
import { parseTimestamp } from '../../protocols/attestation/timestamp-token.ts';
import { loggedSignature } from '../../protocols/attestation/transparency-log.ts';
import { utf8 } from '../../protocols/encoding.ts';
import { assert, suite } from '../harness.ts';
import { fuzzReaders } from './fuzzing.ts';
import { endorsement, FIRMWARE } from './google-maker.ts';
import { json } from './service-maker.ts';
import { instance, pinsOf, SIGNED_AT, timestamp, trustedRoot } from './sigstore-instance.ts';
import { bundle, statementOf } from './sigstore-maker.ts';

const test = suite('readers of what is said of software under fuzzing', { timeoutMs: 590_000 });
const RUNS = 100_000;
const own = await instance();
const made = await bundle(own, { stampedAt: SIGNED_AT });
const sort = (bytes: Uint8Array) => {
  const { provenances } = sortFiles([{ name: 'file', bytes }]);
  for (const one of provenances) one();
};
const { canonicalizedBody } = made.verificationMaterial.tlogEntries[0]!;
const body = Uint8Array.from(Buffer.from(canonicalizedBody, 'base64'));
const entry = (bytes: Uint8Array) => ({ body: bytes, logId: '', index: 0n, time: 0n });

const READERS: readonly (readonly [name: string, good: Uint8Array, parse: (bytes: Uint8Array) => unknown])[] =
  [
    ['endorsement', await endorsement({ snp: { 2: 'ab'.repeat(48) }, mrtds: [] }), parseGceEndorsement],
    ['protobuf', FIRMWARE, (bytes) => readMessage(bytes, 'message')],
    ['Sigstore bundle', json(made), sort],
    ['trusted root', json(trustedRoot(own)), sort],
    ['timestamp', await timestamp(own, FIRMWARE, SIGNED_AT), parseTimestamp],
    ['log entry', body, (bytes) => loggedSignature(entry(bytes))],
  ];

fuzzReaders(test, READERS, RUNS);

test('bundles made to be slow are judged soon', async () => {
  const deep = JSON.parse(`${'{"a":'.repeat(2000)}1${'}'.repeat(2000)}`) as unknown;
  const slow = [
    statementOf(deep),
    statementOf(new Array(100_000).fill({ mrtd: 'ab' })),
    statementOf({ measurement: 'a'.repeat(1_000_000) }),
    statementOf(
      {},
      { subject: Object.fromEntries(new Array(50_000).fill(0).map((_, i) => [`d${i}`, 'ab'])) },
    ),
  ];
  const nothing = sortFiles([]);
  for (const [i, statement] of slow.entries()) {
    const text = json(await bundle(own, { statement }));
    const start = process.threadCpuUsage();
    const given = sortFiles([{ name: 'bundle', bytes: text }]);
    const cpu = { platform: 'tdx', measurement: 'cd'.repeat(48), debug: false, reportData: utf8('') };
    const result = await judgeProvenance({
      given,
      store: nothing,
      parts: [{ verdict: 'accept', checks: [], cpu, claims: {} }],
      alone: true,
      policy: undefined,
      now: SIGNED_AT,
      pins: pinsOf(own),
    });
    assert.is(result?.verdict, 'reject', `bundle ${i}`);
    const { user, system } = process.threadCpuUsage(start);
    assert.ok(user + system < 1_000_000, `bundle ${i}: ${(user + system) / 1000} ms`);
  }
  assert.ok(parseSigstoreBundle(made).certificates.length > 0);
});

test.run();
