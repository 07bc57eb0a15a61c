/**
 * One verdict over all evidence among some files: each piece is verified by its own format with what belongs to it
 * (the files given, and a folder of collateral for what they lack), and every piece has to be accepted.
 *
 * Not guaranteed: that the pieces come from one machine. Binding a GPU to a guest is the receipt's matter.
 */

import { equal, fromHex } from '../encoding.ts';
import { VouchError } from '../errors.ts';
import { type Certificate, parseRevocationList } from './certificate.ts';
import type { Check } from './checklist.ts';
import type { DeviceFile, NamedBytes, SortedFiles } from './evidence-files.ts';
import { verifyHyperEnclave } from './formats/hyperenclave.ts';
import { type IntelQuestion, verifyIntelQuote } from './formats/intel-verify.ts';
import { type GpuQuestion, verifyGpu } from './formats/nvidia-gpu.ts';
import { isSwitchReport, parseGpuReport, parseSwitchReport } from './formats/nvidia-report.ts';
import { parseRim, verifyRim } from './formats/rim.ts';
import { type SnpQuestion, verifySnp } from './formats/sev-snp.ts';
import { type PcrValues, verifyTpm } from './formats/tpm-quote.ts';
import type { EvidencePolicy, Platform } from './policy.ts';
import { verifyEcdsa } from './signature.ts';

export interface Judgement {
  readonly verdict: 'accept' | 'reject';
  readonly checks: readonly Check[];
  /** what the evidence says; a list where there is more than one piece */
  readonly claims: unknown;
}

export interface EvidenceQuestion {
  readonly given: SortedFiles;
  readonly store: SortedFiles;
  readonly policy: EvidencePolicy;
  readonly now: Date;
  /** what GPUs have to answer, lower-case hex */
  readonly nonce?: string | undefined;
  /** what the guest says of its GPUs; as good as the guest's own evidence */
  readonly guest?: GpuQuestion['guest'];
  /** the vendors' own unless others are to be trusted, which tests alone do */
  readonly roots?: VendorRoots | undefined;
}

/** Fingerprints that stand for each vendor's pinned roots. */
export interface VendorRoots {
  readonly intel?: IntelQuestion['roots'];
  readonly amd?: SnpQuestion['roots'];
  readonly gpu?: GpuQuestion['roots'];
}

export interface Part {
  readonly verdict: 'accept' | 'reject';
  readonly checks: readonly Check[];
  readonly claims?: unknown;
}

/** Judges all evidence among the files; every piece must be accepted, and every file must be known. */
export async function judgeEvidence(question: EvidenceQuestion): Promise<Judgement> {
  const { given } = question;
  const parts: Part[] = [];
  for (const quote of given.quotes) parts.push(await judgeQuote(quote, question));
  for (const report of given.snpReports) parts.push(await judgeSnp(report, question));
  if (given.gpus.length + given.switches.length > 0 || lacksGpus(question))
    parts.push(await judgeGpus(question));
  else for (const manifest of given.manifests) parts.push(await judgeManifest(manifest, question));
  if (given.tpmQuotes.length + given.tpmSignatures.length > 0) parts.push(await judgeTpm(question));
  for (const quote of given.hyperEnclaves) parts.push(await judgeHyperEnclave(quote, question));
  const files = checkFiles(question);
  const claims = parts.flatMap((part) => part.claims ?? []);
  return {
    verdict:
      parts.every(({ verdict }) => verdict === 'accept') && files.every(({ status }) => status === 'pass')
        ? 'accept'
        : 'reject',
    checks: [...files, ...parts.flatMap(({ checks }) => checks)],
    claims: claims.length > 1 ? claims : (claims[0] ?? null),
  };
}

/** Whether the policy counts on GPUs beside what is there. */
const lacksGpus = ({ given, policy }: EvidenceQuestion): boolean =>
  policy.platforms.includes('nvidia-gpu') &&
  policy.gpu.count !== undefined &&
  given.quotes.length + given.snpReports.length + given.hyperEnclaves.length > 0;

const check = (id: string, fault: string | undefined, done: string): Check =>
  fault === undefined
    ? { id, status: 'pass', detail: done }
    : { id, status: 'fail', code: 'evidence-rejected', detail: fault };

/** What concerns the files as a whole. */
function checkFiles({ given, nonce }: EvidenceQuestion): Check[] {
  const { quotes, snpReports, gpus, switches, manifests, eventLogs, tpmQuotes, hyperEnclaves, unknown } =
    given;
  const pieces = [quotes, snpReports, gpus, switches, manifests, tpmQuotes, hyperEnclaves];
  const count = pieces.reduce((sum, { length }) => sum + length, 0);
  const checks = [
    check(
      'evidence.files',
      unknown.length > 0 ? unknown.map(({ name, reason }) => `${name}: ${reason}`).join('; ') : undefined,
      'every file is known by its content',
    ),
    check('evidence.present', count === 0 ? 'no evidence among the files' : undefined, `${count} found`),
  ];
  if (eventLogs.length > 0) {
    const tds = quotes.filter(isTdxQuote).length;
    const fits = tds === 1 && eventLogs.length === 1;
    const fault = `expected one TDX quote and one event log, got ${tds} and ${eventLogs.length}`;
    checks.push(check('evidence.event-log', fits ? undefined : fault, 'compared with the TDX quote'));
  }
  if (nonce !== undefined && gpus.length + switches.length + tpmQuotes.length === 0) {
    checks.push(check('evidence.nonce', 'a nonce was given, and no GPU or TPM evidence to answer it', ''));
  }
  if (given.pcrs.length > 0 && tpmQuotes.length + hyperEnclaves.length === 0) {
    checks.push(check('evidence.pcrs', 'PCR values were given, and no quote of them', ''));
  }
  return checks;
}

const isTdxQuote = ({ bytes }: NamedBytes): boolean => bytes[4] === 0x81;

export function judgeQuote(
  quote: NamedBytes,
  { given, store, policy, now, roots }: EvidenceQuestion,
): Promise<Part> {
  const [eventLog] = given.eventLogs;
  return verifyIntelQuote({
    quote: quote.bytes,
    collateral: given.intel,
    store: store.intel,
    policy,
    now,
    ...(roots?.intel === undefined ? {} : { roots: roots.intel }),
    ...(eventLog !== undefined && isTdxQuote(quote) ? { eventLog: eventLog.bytes } : {}),
  });
}

type Vendor = 'amd' | 'intel' | 'other';

function vendorOf(issuerName: string): Vendor {
  if (/^(SEV|ARK)-/.test(issuerName)) return 'amd';
  return issuerName.startsWith('Intel SGX ') ? 'intel' : 'other';
}

const certificatesOf = (vendor: Vendor, files: SortedFiles): Certificate[] => {
  const own = files.certificates.filter(({ issuerName }) => vendorOf(issuerName) === vendor);
  return [...new Map(own.map((certificate) => [certificate.fingerprint, certificate])).values()];
};

/** Each issuer's lists as given, else as in store. */
function crlsOf(vendor: Vendor, { given, store }: EvidenceQuestion): Uint8Array[] {
  const issuer = (der: Uint8Array) => parseRevocationList(der).issuerName;
  const named = given.crls.filter((der) => vendorOf(issuer(der)) === vendor);
  const known = new Set(named.map(issuer));
  const kept = store.crls.filter((der) => vendorOf(issuer(der)) === vendor && !known.has(issuer(der)));
  return [...named, ...kept];
}

/** Whether the policy takes this kind of evidence at all. */
function withPlatform(part: Part, platform: Platform, prefix: string, { platforms }: EvidencePolicy): Part {
  const allowed = platforms.includes(platform);
  const said = `the policy accepts ${platforms.join(', ')}`;
  return {
    ...part,
    verdict: allowed ? part.verdict : 'reject',
    checks: [...part.checks, check(`${prefix}.platform-allowed`, allowed ? undefined : said, said)],
  };
}

/** With the certificates given; without a VCEK or VLEK among them, with the one in store that fits. */
export async function judgeSnp({ bytes }: NamedBytes, question: EvidenceQuestion): Promise<Part> {
  const { given, store, policy, now, roots } = question;
  const own = certificatesOf('amd', given);
  const crls = crlsOf('amd', question);
  const verify = async (certificates: readonly Certificate[]) => {
    const ders = certificates.map(({ der }) => der);
    const report = await verifySnp({
      report: bytes,
      certificates: ders,
      crls,
      policy,
      now,
      roots: roots?.amd,
    });
    return { holds: report.claims !== undefined, part: withPlatform(report, 'sev-snp', 'snp', policy) };
  };
  if (own.every(({ authority }) => authority)) {
    const leaves = certificatesOf('amd', store).filter(({ authority }) => !authority);
    for (const leaf of leaves) {
      const { holds, part } = await verify([leaf, ...own]);
      if (holds) return part;
    }
  }
  return (await verify(own)).part;
}

/** All GPUs together; a report that came without its chain gets the one whose key signed it. */
export async function judgeGpus(question: EvidenceQuestion): Promise<Part> {
  const { given, store, policy, now, nonce, guest, roots } = question;
  const named = chainsOf(certificatesOf('other', given));
  const chains = named.length > 0 ? named : chainsOf(certificatesOf('other', store));
  const withChain = async ({ report, certificates }: DeviceFile) => ({
    report,
    certificates: certificates ?? (await signerOf(report, chains)),
  });
  const gpus = [];
  for (const gpu of given.gpus) gpus.push(await withChain(gpu));
  const switches = [];
  for (const one of given.switches) switches.push(await withChain(one));
  const versions = new Set([...given.gpus, ...given.switches].flatMap(({ report }) => firmwareOf(report)));
  const result = await verifyGpu({
    gpus,
    switches,
    rims: [...given.manifests, ...store.manifests.filter((one) => describes(one, versions))].map(
      ({ bytes }) => bytes,
    ),
    nonce: nonce === undefined ? undefined : fromHex(nonce),
    crls: crlsOf('other', question),
    policy: policy.gpu,
    now,
    guest,
    roots: roots?.gpu,
  });
  const claims = [...result.claims, ...(result.switches.length > 0 ? [{ switches: result.switches }] : [])];
  return withPlatform({ ...result, claims }, 'nvidia-gpu', 'gpu', policy);
}

/** The versions that a report's manifests have to be for; none when it cannot be read. */
function firmwareOf(report: Uint8Array): string[] {
  try {
    if (isSwitchReport(report)) return [parseSwitchReport(report).biosVersion];
    const { driverVersion, vbiosVersion } = parseGpuReport(report);
    return [driverVersion, vbiosVersion];
  } catch (error) {
    if (!(error instanceof VouchError)) throw error;
    return [];
  }
}

/** Whether a manifest in store is for one of these versions; others are other machines' matter. */
function describes({ bytes }: NamedBytes, versions: ReadonlySet<string>): boolean {
  try {
    return versions.has(parseRim(bytes).version.toUpperCase());
  } catch (error) {
    if (!(error instanceof VouchError)) throw error;
    return false;
  }
}

/** From every end entity up, by names alone. */
function chainsOf(certificates: readonly Certificate[]): Certificate[][] {
  return certificates
    .filter(({ authority }) => !authority)
    .map((leaf) => {
      const chain = [leaf];
      for (let last = leaf; !equal(last.subject, last.issuer); last = chain.at(-1)!) {
        const issuer = certificates.find((one) => equal(one.subject, last.issuer) && !chain.includes(one));
        if (issuer === undefined) break;
        chain.push(issuer);
      }
      return chain;
    });
}

/** The chain whose key signed the report; the first one, to be refused by its own checks, when none did. */
async function signerOf(report: Uint8Array, chains: readonly Certificate[][]): Promise<Uint8Array[]> {
  let signer = chains[0];
  try {
    const { signature, signed } = isSwitchReport(report) ? parseSwitchReport(report) : parseGpuReport(report);
    for (const chain of chains) {
      if (await verifyEcdsa(chain[0]!.key, 'SHA-384', signature, signed)) signer = chain;
    }
  } catch (error) {
    if (!(error instanceof VouchError)) throw error;
  }
  return (signer ?? []).map(({ der }) => der);
}

/** PCR values of all files; those of a later file count where two name the same bank. */
const pcrsOf = ({ given }: EvidenceQuestion): PcrValues => new Map(given.pcrs.flatMap((pcrs) => [...pcrs]));

/** One quote and its signature, which do not say to each other that they belong together. */
async function judgeTpm(question: EvidenceQuestion): Promise<Part> {
  const { given, store, policy, now, nonce } = question;
  const [attest, ...moreQuotes] = given.tpmQuotes;
  const [signature, ...moreSignatures] = given.tpmSignatures;
  if (attest === undefined || signature === undefined || moreQuotes.length + moreSignatures.length > 0) {
    const fault = `expected one TPM quote and one signature, got ${given.tpmQuotes.length} and ${given.tpmSignatures.length}`;
    return { verdict: 'reject', checks: [check('evidence.tpm', fault, '')] };
  }
  const result = await verifyTpm({
    attest: attest.bytes,
    signature: signature.bytes,
    certificates: [...certificatesOf('other', given), ...certificatesOf('other', store)].map(
      ({ der }) => der,
    ),
    keys: given.keys,
    pcrs: pcrsOf(question),
    policy: policy.tpm,
    nonce: nonce === undefined ? undefined : fromHex(nonce),
    crls: crlsOf('other', question),
    now,
  });
  return withPlatform(result, 'tpm', 'tpm', policy);
}

async function judgeHyperEnclave({ bytes }: NamedBytes, question: EvidenceQuestion): Promise<Part> {
  const { given, store, policy, now } = question;
  const result = await verifyHyperEnclave({
    quote: bytes,
    certificates: [...certificatesOf('other', given), ...certificatesOf('other', store)].map(
      ({ der }) => der,
    ),
    keys: given.keys,
    pcrs: pcrsOf(question),
    policy,
    crls: crlsOf('other', question),
    now,
  });
  return withPlatform(result, 'hyperenclave', 'hyperenclave', policy);
}

async function judgeManifest({ bytes }: NamedBytes, question: EvidenceQuestion): Promise<Part> {
  const { policy, now } = question;
  const trust = { crls: crlsOf('other', question), revocation: policy.gpu.revocation, now };
  const { rim, ...part } = await verifyRim(bytes, trust);
  if (rim === undefined) return part;
  const { kind, version, product } = rim;
  return { ...part, claims: { manifest: { kind, version, product } } };
}
