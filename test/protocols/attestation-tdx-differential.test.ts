/**
 * Our verdicts beside those of two other verifiers, @phala/dcap-qvl and @phala/dcap-qvl-web. Every disagreement is
 * listed here with its reason; one that is not listed, and one that is listed and does not happen, fails.
 */
import { readFileSync } from 'node:fs';
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

const test = suite('differential with two public verifiers', { timeoutMs: 60_000 });

interface Answer {
  readonly status: string;
  readonly advisory_ids: readonly string[];
}
type Members = Readonly<Record<string, string>>;

interface Oracle {
  readonly name: string;
  /** throws when it rejects */
  readonly verify: (quote: Uint8Array, collateral: Members, seconds: number) => Answer;
}

const require = createRequire(import.meta.url);
const node = require('@phala/dcap-qvl') as {
  verify(quote: Buffer, collateral: Members, now: number): Answer;
};
const web = (await import('@phala/dcap-qvl-web')) as unknown as {
  default(options: { module_or_path: Uint8Array }): Promise<unknown>;
  js_verify(quote: Uint8Array, collateral: Members, now: bigint): Answer;
};
await web.default({
  module_or_path: readFileSync(require.resolve('@phala/dcap-qvl-web/dcap-qvl-web_bg.wasm')),
});

const DCAP: Oracle = {
  name: 'dcap-qvl',
  verify: (quote, collateral, seconds) => node.verify(Buffer.from(quote), collateral, seconds),
};
const WEB: Oracle = {
  name: 'dcap-qvl-web',
  verify: (quote, collateral, seconds) => web.js_verify(quote, collateral, BigInt(seconds)),
};
const ORACLES = [DCAP, WEB];

/** Undefined when the oracle rejects. */
function ask(
  { verify: judge }: Oracle,
  quote: Uint8Array,
  collateral: Members,
  now: Date,
): Answer | undefined {
  try {
    return judge(quote, collateral, Math.floor(now.getTime() / 1000));
  } catch {
    return undefined;
  }
}

const NEVER_READS_CRLS = 'it takes CRLs that are empty, garbage or changed: it does not check them';
const NEVER_READS_CRL_CHAIN = 'it does not look at the chain of the issuer of the CRL';
const NEVER_READS_QE_IDENTITY = 'it does not look at the QE identity at all';
const TAKES_THE_FUTURE = 'it does not compare issue dates with the time';
const TAKES_ANY_PADDING = 'it takes any bytes after the quote';
const HAS_ITS_OWN_ROOT = 'it does not compare every byte of the root certificate in the quote with its own';
const TAKES_ANY_WHITE_SPACE = 'it takes other characters than line ends between lines of PEM';

/** A change of the collateral, and for each oracle that then says otherwise, why. */
interface Change {
  readonly name: string;
  readonly reasons?: Readonly<Record<string, string>>;
  /** absent = one character in the middle of the member of that name */
  readonly change?: (members: Members) => Members;
}
const CHANGES: readonly Change[] = [
  { name: 'as it is', change: (members) => members },
  ...['root_ca_crl', 'pck_crl'].flatMap((crl) => [
    {
      name: `${crl}: last byte changed`,
      reasons: { [DCAP.name]: NEVER_READS_CRLS },
      change: (members: Members) => ({
        ...members,
        [crl]: flippedText(members[crl]!, members[crl]!.length - 1),
      }),
    },
    {
      name: `${crl}: empty`,
      reasons: { [DCAP.name]: NEVER_READS_CRLS },
      change: (members: Members) => ({ ...members, [crl]: '' }),
    },
    {
      name: `${crl}: garbage`,
      reasons: { [DCAP.name]: NEVER_READS_CRLS },
      change: (members: Members) => ({ ...members, [crl]: '00ff' }),
    },
  ]),
  {
    name: "the other CA's CRL",
    reasons: { [DCAP.name]: NEVER_READS_CRLS },
    change: (members) => ({ ...members, pck_crl: members.root_ca_crl! }),
  },
  {
    name: 'pck_crl_issuer_chain: garbage',
    reasons: { [DCAP.name]: NEVER_READS_CRL_CHAIN, [WEB.name]: NEVER_READS_CRL_CHAIN },
    change: (members) => ({ ...members, pck_crl_issuer_chain: 'garbage' }),
  },
  ...['tcb_info', 'tcb_info_signature', 'tcb_info_issuer_chain'].map((name) => ({ name, reasons: {} })),
  ...['qe_identity', 'qe_identity_signature', 'qe_identity_issuer_chain'].map((name) => ({
    name,
    reasons: { [WEB.name]: NEVER_READS_QE_IDENTITY },
  })),
];
const flipMember = (name: string) => (members: Members) => ({
  ...members,
  [name]: flippedText(members[name]!, Math.floor(members[name]!.length / 2)),
});

/** Fails unless they agree, or disagree as listed. */
function compare(
  what: string,
  oracle: Oracle,
  ours: string,
  theirs: Answer | undefined,
  reason?: string,
): void {
  const said = theirs === undefined ? 'reject' : 'accept';
  if (reason === undefined) assert.is(said, ours, `${what}: ${oracle.name}`);
  else assert.is.not(said, ours, `${what}: ${oracle.name} agrees, although listed (${reason})`);
}

test('collateral, as it is and changed', async (t) => {
  needVectors(t);
  for (const { quote: file, collateral, now } of [SGX, TDX]) {
    const quote = readVector(file);
    for (const { name, reasons, change = flipMember(name) } of CHANGES) {
      const members = change(combinedOf(collateral));
      const ours = await verify(quote, collateralOf(members), now);
      for (const oracle of ORACLES) {
        const theirs = ask(oracle, quote, members, now);
        compare(`${file}: ${name}`, oracle, ours.verdict, theirs, reasons?.[oracle.name]);
        if (theirs === undefined || ours.verdict === 'reject') continue;
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
    const ours = await verify(quote, collateralOf(vector.collateral), now);
    for (const oracle of ORACLES) {
      const early = oracle === WEB && vector.reason === 'collateral_not_yet_valid';
      const theirs = ask(oracle, quote, combinedOf(vector.collateral), now);
      const what = `${vector.path} at ${vector.now}`;
      compare(what, oracle, ours.verdict, theirs, early ? TAKES_THE_FUTURE : undefined);
    }
  }
});

test('quotes with a bit flipped', async (t) => {
  needVectors(t);
  const quote = readVector(TDX.quote);
  const members = combinedOf(TDX.collateral);
  const collateral = collateralOf(members);
  const end = quote.length - parseIntelQuote(quote).padding.length;
  const root = Buffer.from(quote).lastIndexOf('-----BEGIN CERTIFICATE-----');
  const excuse = (at: number): string | undefined => {
    if (at >= end) return TAKES_ANY_PADDING;
    if (at >= root) return HAS_ITS_OWN_ROOT;
    return quote[at] === 10 ? TAKES_ANY_WHITE_SPACE : undefined;
  };
  const excused = new Set<string>();
  // A stride through everything, and one end of a line of PEM.
  const places = [quote.indexOf(10, 2000)];
  for (let at = 5; at < quote.length; at += 106) places.push(at);
  for (const at of places) {
    const changed = flipped(quote, at);
    assert.is((await verify(changed, collateral, TDX.now)).verdict, 'reject', `byte ${at}`);
    for (const oracle of ORACLES) {
      if (ask(oracle, changed, members, TDX.now) === undefined) continue;
      const reason = excuse(at);
      assert.ok(reason, `byte ${at}: ${oracle.name} accepts what we reject`);
      excused.add(`${oracle.name}: ${reason}`);
    }
  }
  assert.equal(
    [...excused].sort(),
    [
      `${DCAP.name}: ${HAS_ITS_OWN_ROOT}`,
      `${DCAP.name}: ${TAKES_ANY_PADDING}`,
      `${WEB.name}: ${HAS_ITS_OWN_ROOT}`,
      `${WEB.name}: ${TAKES_ANY_PADDING}`,
      `${WEB.name}: ${TAKES_ANY_WHITE_SPACE}`,
    ].sort(),
  );
});

test.run();
