/**
 * Our verdicts beside those of another verifier, @phala/dcap-qvl. Every disagreement is listed here with its reason;
 * one that is not listed, and one that is listed and does not happen, fails.
 */
import { createRequire } from 'node:module';
import { parseIntelQuote } from '../../protocols/attestation/formats/intel-quote.ts';
import { assert, suite } from '../harness.ts';
import {
  collateralOf,
  combinedOf,
  flipped,
  flippedText,
  intelVectors,
  needVectors,
  readVector,
  SGX,
  TDX,
  verify,
} from './intel-vectors.ts';

const test = suite('differential with @phala/dcap-qvl');

interface Oracle {
  verify(
    quote: Buffer,
    collateral: Record<string, string>,
    now: number,
  ): { status: string; advisory_ids: string[] };
}
const oracle = createRequire(import.meta.url)('@phala/dcap-qvl') as Oracle;

/** Undefined when the oracle rejects. */
function ask(quote: Uint8Array, collateral: Record<string, string>, now: Date) {
  try {
    return oracle.verify(Buffer.from(quote), collateral, now.getTime() / 1000);
  } catch {
    return undefined;
  }
}

const NEVER_READS_CRLS = 'the oracle takes CRLs that are empty, garbage or changed: it does not check them';
const NEVER_READS_CRL_CHAIN = 'the oracle does not look at the chain of the issuer of the CRL';
const TAKES_ANY_PADDING = 'the oracle takes any bytes after the quote';

const CASES: readonly {
  readonly name: string;
  /** why the verdicts differ; absent = they agree */
  readonly reason?: string;
  readonly change: (members: Record<string, string>) => Record<string, string>;
}[] = [
  { name: 'as it is', change: (members) => members },
  ...['root_ca_crl', 'pck_crl'].flatMap((crl) => [
    {
      name: `${crl}: last byte changed`,
      reason: NEVER_READS_CRLS,
      change: (members: Record<string, string>) => ({
        ...members,
        [crl]: flippedText(members[crl]!, members[crl]!.length - 1),
      }),
    },
    {
      name: `${crl}: empty`,
      reason: NEVER_READS_CRLS,
      change: (members: Record<string, string>) => ({ ...members, [crl]: '' }),
    },
    {
      name: `${crl}: garbage`,
      reason: NEVER_READS_CRLS,
      change: (members: Record<string, string>) => ({ ...members, [crl]: '00ff' }),
    },
  ]),
  {
    name: "the other CA's CRL",
    reason: NEVER_READS_CRLS,
    change: (members) => ({ ...members, pck_crl: members.root_ca_crl! }),
  },
  {
    name: 'pck_crl_issuer_chain: garbage',
    reason: NEVER_READS_CRL_CHAIN,
    change: (members) => ({ ...members, pck_crl_issuer_chain: 'garbage' }),
  },
  ...['tcb_info', 'tcb_info_signature', 'tcb_info_issuer_chain', 'qe_identity', 'qe_identity_signature'].map(
    (name) => ({
      name: `${name}: changed`,
      change: (members: Record<string, string>) => ({
        ...members,
        [name]: flippedText(members[name]!, Math.floor(members[name]!.length / 2)),
      }),
    }),
  ),
];

test('collateral, as it is and changed', async (t) => {
  needVectors(t);
  for (const { quote: file, collateral, now } of [SGX, TDX]) {
    const quote = readVector(file);
    for (const { name, reason, change } of CASES) {
      const members = change(combinedOf(collateral));
      const theirs = ask(quote, members, now);
      const ours = await verify(quote, collateralOf(members), now);
      if (reason !== undefined) {
        assert.is(ours.verdict, 'reject', name);
        assert.ok(theirs !== undefined, `${name}: they agree, although listed (${reason})`);
        continue;
      }
      assert.is(ours.verdict, theirs === undefined ? 'reject' : 'accept', `${file}: ${name}`);
      if (theirs !== undefined) {
        assert.is(ours.claims?.tcbStatus, theirs.status);
        assert.equal(ours.claims?.advisories, [...theirs.advisory_ids].sort());
      }
    }
  }
});

test('every vector at its time', async (t) => {
  needVectors(t);
  for (const vector of intelVectors()) {
    if (vector.collateral === undefined) continue;
    const quote = readVector(vector.path);
    const now = new Date(vector.now);
    const theirs = ask(quote, combinedOf(vector.collateral), now);
    const ours = await verify(quote, collateralOf(vector.collateral), now);
    assert.is(ours.verdict, theirs === undefined ? 'reject' : 'accept', `${vector.path} at ${vector.now}`);
  }
});

test('quotes with a bit flipped', async (t) => {
  needVectors(t);
  const quote = readVector(TDX.quote);
  const members = combinedOf(TDX.collateral);
  const collateral = collateralOf(members);
  const end = quote.length - parseIntelQuote(quote).padding.length;
  const disagreements: string[] = [];
  for (let at = 5; at < end; at += 331) {
    const changed = flipped(quote, at);
    const theirs = ask(changed, members, TDX.now) === undefined ? 'reject' : 'accept';
    const ours = (await verify(changed, collateral, TDX.now)).verdict;
    if (ours !== theirs) disagreements.push(`${at}: ${ours}, ${theirs}`);
  }
  // Inside the padding.
  const padded = flipped(quote, quote.length - 1);
  assert.is((await verify(padded, collateral, TDX.now)).verdict, 'reject');
  assert.ok(ask(padded, members, TDX.now) !== undefined, TAKES_ANY_PADDING);
  assert.equal(disagreements, []);
});

test.run();
