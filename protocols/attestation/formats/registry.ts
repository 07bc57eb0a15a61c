/**
 * The table of evidence formats: what each is called, how it is recognised and parsed, whether hardware signs it, where
 * it may stand, and who verifies it. Files, documents, policies and, through them, the command line read it.
 *
 * A new platform is one file beside this one (parse, verify, judge) and one row here, with a sample in the table's test.
 * What a policy may demand of it and of no other is a section of demands.ts, judged by its claims in judgement/; what
 * comes beside it in files is a row of evidence-files.ts. Nothing else asks for the name of a platform.
 *
 * Rows of one family are verified together. The order of families is the order of their checks.
 */
import { type Evidence, type Family, type Format, family, type Part, type Question } from './format.ts';
import { judgeHyperEnclave } from './hyperenclave.ts';
import { isHyperEnclaveQuote, parseHyperEnclaveQuote } from './hyperenclave-quote.ts';
import { looksLikeQuote, parseIntelQuote } from './intel-quote.ts';
import { judgeQuotes } from './intel-verify.ts';
import { judgeNitro } from './nitro.ts';
import { isNitroDocument, isNitroTpm, parseNitroDocument } from './nitro-document.ts';
import { judgeNvidia } from './nvidia-evidence.ts';
import { isGpuReport, isSwitchReport, parseGpuReport, parseSwitchReport } from './nvidia-report.ts';
import { judgeSnp } from './sev-snp.ts';
import { isSnpReport, parseSnpReport } from './sev-snp-report.ts';
import {
  isSimulatedGpuQuote,
  isSimulatedQuote,
  judgeSimulated,
  judgeSimulatedGpus,
  parseSimulated,
} from './simulated.ts';
import { isTpmAttest, parseTpmAttest } from './tpm-attest.ts';
import { judgeTpm } from './tpm-quote.ts';

const IN_DOCUMENTS_ONLY =
  'SIMULATED evidence says nothing by itself: verify the evidence document or the receipt that it came in';

const simulated = family(
  {
    simulated: {
      platform: 'simulated',
      title: 'SIMULATED platforms, which protect nothing',
      hardware: false,
      signedBy: 'cpu',
      inDocuments: true,
      comparedWith: [],
      notInFiles: IN_DOCUMENTS_ONLY,
      recognise: isSimulatedQuote,
      parse: parseSimulated,
    },
  },
  judgeSimulated,
);

const simulatedGpus = family(
  {
    'simulated-gpu': {
      platform: 'simulated',
      title: 'SIMULATED GPUs, which protect nothing',
      hardware: false,
      signedBy: 'gpu',
      inDocuments: true,
      comparedWith: ['nonce'],
      notInFiles: IN_DOCUMENTS_ONLY,
      recognise: isSimulatedGpuQuote,
      parse: parseSimulated,
    },
  },
  judgeSimulatedGpus,
);

const intel = family(
  {
    sgx: {
      platform: 'sgx',
      title: 'Intel SGX enclaves',
      hardware: true,
      signedBy: 'cpu',
      inDocuments: true,
      comparedWith: [],
      section: 'intel',
      recognise: (bytes) => looksLikeQuote(bytes, 'sgx'),
      parse: parseIntelQuote,
    },
    tdx: {
      platform: 'tdx',
      title: 'Intel TDX guests',
      hardware: true,
      signedBy: 'cpu',
      inDocuments: true,
      comparedWith: ['event log'],
      section: 'intel',
      recognise: (bytes) => looksLikeQuote(bytes, 'tdx'),
      parse: parseIntelQuote,
    },
  },
  judgeQuotes,
);

const amd = family(
  {
    'sev-snp': {
      platform: 'sev-snp',
      title: 'AMD SEV-SNP guests',
      hardware: true,
      signedBy: 'cpu',
      inDocuments: true,
      comparedWith: [],
      section: 'amd',
      recognise: isSnpReport,
      parse: parseSnpReport,
    },
  },
  judgeSnp,
);

const nvidia = family(
  {
    'nvidia-gpu': {
      platform: 'nvidia-gpu',
      title: 'NVIDIA GPUs',
      hardware: true,
      signedBy: 'gpu',
      inDocuments: true,
      comparedWith: ['nonce'],
      section: 'gpu',
      recognise: isGpuReport,
      parse: parseGpuReport,
    },
    'nvidia-switch': {
      platform: 'nvidia-gpu',
      title: 'NVIDIA switches between GPUs',
      hardware: true,
      signedBy: 'switch',
      inDocuments: true,
      comparedWith: ['nonce'],
      section: 'gpu',
      recognise: isSwitchReport,
      parse: parseSwitchReport,
    },
  },
  judgeNvidia,
);

const tpm = family(
  {
    tpm: {
      platform: 'tpm',
      title: 'TPM 2.0 quotes',
      hardware: true,
      signedBy: 'tpm',
      inDocuments: false,
      comparedWith: ['nonce', 'pcrs'],
      section: 'tpm',
      recognise: isTpmAttest,
      parse: parseTpmAttest,
    },
  },
  judgeTpm,
);

const nitro = family(
  {
    nitro: {
      platform: 'nitro',
      title: 'AWS Nitro Enclaves',
      hardware: true,
      signedBy: 'cpu',
      inDocuments: true,
      comparedWith: ['nonce'],
      age: 'signed time',
      section: 'nitro',
      recognise: (bytes) => isNitroDocument(bytes) && !isNitroTpm(bytes),
      parse: parseNitroDocument,
    },
    'nitro-tpm': {
      platform: 'nitro-tpm',
      title: 'EC2 instances with NitroTPM',
      hardware: true,
      signedBy: 'tpm',
      inDocuments: false,
      comparedWith: ['nonce'],
      age: 'signed time',
      section: 'nitro',
      recognise: (bytes) => isNitroDocument(bytes) && isNitroTpm(bytes),
      parse: parseNitroDocument,
    },
  },
  judgeNitro,
);

const hyperenclave = family(
  {
    hyperenclave: {
      platform: 'hyperenclave',
      title: 'HyperEnclave enclaves, of which only a simulator is public',
      hardware: false,
      signedBy: 'cpu',
      inDocuments: false,
      comparedWith: ['pcrs'],
      section: 'hyperenclave',
      recognise: isHyperEnclaveQuote,
      parse: parseHyperEnclaveQuote,
    },
  },
  judgeHyperEnclave,
);

/** By the name that documents use. */
export const FORMATS = {
  ...simulated.formats,
  ...simulatedGpus.formats,
  ...intel.formats,
  ...amd.formats,
  ...nvidia.formats,
  ...tpm.formats,
  ...nitro.formats,
  ...hyperenclave.formats,
} as const;
export type FormatName = keyof typeof FORMATS;
export type Platform = (typeof FORMATS)[FormatName]['platform'];

const FAMILIES: readonly Family[] = [simulated, simulatedGpus, intel, amd, nvidia, tpm, nitro, hyperenclave];
const BY_NAME: ReadonlyMap<string, Format> = new Map(Object.entries(FORMATS));
const ROWS = Object.values(FORMATS);

/** Kinds of evidence that a policy may name. */
export const PLATFORMS: readonly Platform[] = [...new Set(ROWS.map(({ platform }) => platform))];
/** Those whose evidence hardware signs. `hyperenclave` is not among them: of it only a simulator is public. */
export const HARDWARE: readonly Platform[] = [
  ...new Set(ROWS.filter(({ hardware }) => hardware).map(({ platform }) => platform)),
];

/** The format of that name; undefined for a name that is not known here. */
export const formatNamed = (name: string): Format | undefined => BY_NAME.get(name);

/** Whether evidence of all these formats is verified together. */
export const areOneFamily = (names: readonly string[]): boolean =>
  FAMILIES.some(({ formats }) => names.every((name) => Object.hasOwn(formats, name)));

/** Verifies and judges all the evidence, family by family. Never throws for what it holds: that is a failed check. */
export async function judgeAll(evidence: readonly Evidence[], question: Question): Promise<Part[]> {
  const strange = evidence.find(({ format }) => !BY_NAME.has(format));
  if (strange !== undefined) throw new TypeError(`format ${strange.format} is not in the table`);
  const parts: Part[] = [];
  for (const { judge } of FAMILIES) parts.push(...(await judge(evidence, question)));
  return parts;
}
