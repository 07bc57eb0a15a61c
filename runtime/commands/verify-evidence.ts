/** `vouch verify evidence`: judges evidence that hardware signed, offline, and says every check. */
import { existsSync } from 'node:fs';
import { type Command, Option } from '@commander-js/extra-typings';
import {
  type BoundFacts,
  FACTS,
  type Fact,
  RECIPE_NAMES,
  RECIPES,
  type Recipe,
} from '../../protocols/attestation/binding-recipes.ts';
import { sortFiles } from '../../protocols/attestation/evidence-files.ts';
import type { EvidenceQuestion } from '../../protocols/attestation/evidence-verdict.ts';
import { bytesOfText } from '../../protocols/attestation/text-bytes.ts';
import { UNREAD_FORMATS } from '../../protocols/attestation/unread-formats.ts';
import { VouchError } from '../../protocols/errors.ts';
import { collateralFolder, MAX_FILE_BYTES, readCollateral } from '../attest/collateral.ts';
import { OWN_OPINIONS } from '../client/quality-proof.ts';
import { readNamed } from '../home/files.ts';
import { readPolicy } from '../installation/policies.ts';
import { type Judgement, skippedChecks, verdictLines } from '../verdict/checks.ts';
import { judge } from '../verdict/judge.ts';
import { type OptionsOf, stating } from './declaration.ts';
import { type Print, print } from './terminal.ts';

/** What the options of `stating` say, and no more. */
type Taken = Partial<OptionsOf<typeof stating>>;

/** In short what docs/EVIDENCE.md says at length. */
const PLATFORMS = `
Platform        Bring beside the quote or report (strict wants all of it)
  Intel TDX     TCB info, QE identity, both CRLs; event log to compare with RTMRs
  Intel SGX     TCB info, QE identity, both CRLs
  AMD SEV-SNP   VCEK or VLEK; CRL of the ARK
  NVIDIA GPU    five certificates, --nonce; both manifests, OCSP responses
                (vouch collateral fetch), --gpus-ready; NRAS tokens and JWK set
  NVSwitch      certificates, --nonce; manifest
  TPM 2.0       signature, key or certificates, PCR values, --nonce
  HyperEnclave  certificates, PCR values
  AWS Nitro     both CRLs that its certificates name; --nonce
  Azure VM      HCL report, vTPM quote, signature, PCR values; VCEK or TD quote;
                or one JSON that has them all; --nonce
  Google        its endorsement of firmware (SNP guests get it with certificates)
  Sigstore      bundles about the measurement, beside any of the above
  dstack, Phala, Tinfoil, Confidential Containers
                the JSON as it came; what its CPU and GPUs need; --nonce or
                --binding
Not checked: who has physical access, and whether files are of one machine.
Known and refused by name:
${UNREAD_FORMATS.map(({ title }) => `  ${title.split(': known')[0]}`).join('\n')}
Rules for --binding:
${RECIPE_NAMES.map((name) => `  ${name}: ${RECIPES[name].title} (${RECIPES[name].source})`).join('\n')}
`;

const declared = (command: Command) =>
  stating(command)
    .argument(
      '<files...>',
      'the evidence and what belongs to it (certificates, keys, CRLs, OCSP responses, TCB info, manifests, event log, PCR values, endorsements, Sigstore bundles), in any order; docs/EVIDENCE.md says what to bring for which platform',
    )
    .option('--policy <name>', 'what it has to satisfy: genuine, strict, or a file', 'strict')
    .addOption(
      new Option(
        '--binding <rule>',
        "by which rule the CPU's report data has to bind keys and nonce; default: that of the file of the evidence",
      ).choices(RECIPE_NAMES),
    )
    .option(
      '--bound <name=value>',
      `what it has to bind, as hex or base64, once for each of ${Object.keys(FACTS).join(', ')}`,
      (text: string, all: readonly string[]) => [...all, text],
      [] as readonly string[],
    )
    .option('--json', 'print {verdict, checks, claims, notChecked} as JSON', false)
    .addHelpText('after', PLATFORMS);

export type EvidenceCommand = Partial<OptionsOf<typeof declared>>;

export const define = (command: Command) =>
  declared(command).action(async (files, options) => {
    if (!(await verifyEvidenceFiles(files, options, print))) process.exitCode = 1;
  });

/** All that a verdict needs but the policy. Throws `bad-file` for a file that is not there, `bad-input` for a wrong option. */
export function readEvidence(
  files: readonly string[],
  options: Taken,
): Pick<EvidenceQuestion, 'given' | 'store' | 'now' | 'nonce' | 'guest'> {
  const now = timeOf(options.at);
  const nonce = hexNonce(options.nonce, '--nonce');
  const given = sortFiles(
    files.map((name) => ({ name, bytes: readNamed(name, 'evidence', MAX_FILE_BYTES) })),
  );
  const folder = options.collateral ?? (existsSync(collateralFolder()) ? collateralFolder() : undefined);
  const store = folder === undefined ? sortFiles([]) : readCollateral(folder);
  const guest = options.gpusReady ? { ccMode: 'on' as const, ready: true } : undefined;
  return { given, store, now, nonce, guest };
}

/** Returns the verdict. Throws `bad-file` for a file that is not there, `bad-input` for a wrong option. */
export async function verifyEvidenceFiles(
  files: readonly string[],
  options: EvidenceCommand,
  print: Print,
): Promise<boolean> {
  const { given, store: collateral, ...asked } = readEvidence(files, options);
  const judgement = await judge(
    { kind: 'evidence', given },
    {
      policy: readPolicy(options.policy ?? 'strict'),
      ...asked,
      collateral,
      binding: bindingOf(options),
    },
    OWN_OPINIONS,
  );
  printVerdict(judgement, options.json ?? false, print);
  return judgement.accepted;
}

/** The one form of a verdict: every check, the verdict, and what was not checked; as JSON with what was claimed. */
export function printVerdict(judgement: Judgement, json: boolean, print: Print): void {
  const { accepted, ...said } = judgement;
  const whole = { verdict: accepted ? 'accept' : 'reject', ...said, notChecked: skippedChecks(said.checks) };
  for (const line of json ? [whole] : verdictLines(judgement)) print(line);
}

/** Throws `bad-input` for what is no fact, or none that the rule binds. */
function bindingOf({ binding: recipe, bound = [] }: EvidenceCommand): BoundFacts | undefined {
  const refuse = (reason: string): never => {
    throw new VouchError('bad-input', `--bound: ${reason}`);
  };
  if (recipe === undefined) return bound.length > 0 ? refuse('expected --binding beside it') : undefined;
  const { needs, may = [] }: Recipe = RECIPES[recipe];
  const names: readonly string[] = [...needs, ...may];
  const values = new Map<Fact, Uint8Array>();
  for (const text of bound) {
    const [, name = '', value = ''] = /^([A-Za-z]+)=(.+)$/.exec(text) ?? [];
    if (!names.includes(name)) refuse(`${recipe} binds ${names.join(', ')}, got ${text.slice(0, 32)}`);
    if (values.has(name as Fact)) refuse(`expected ${name} once`);
    values.set(name as Fact, bytesOfText(value) ?? refuse(`${name}: expected hex or base64`));
  }
  return { recipe, values: Object.fromEntries(values) };
}

/** RFC 3339 or a date alone (its first moment); UTC where no offset is named. */
function timeOf(text: string | undefined): Date {
  if (text === undefined) return new Date();
  const match = /^(\d{4}-\d\d-\d\d)(?:T\d\d:\d\d(?::\d\d(?:\.\d{1,3})?)?(Z|[+-]\d\d:\d\d)?)?$/.exec(text);
  const [, date = '', offset] = match ?? [];
  // Date takes a 31st of February for a day in March.
  const day = new Date(`${date}T00:00:00Z`);
  const time = new Date(text === date || offset !== undefined ? text : `${text}Z`);
  if (Number.isNaN(day.getTime()) || Number.isNaN(time.getTime()) || !day.toISOString().startsWith(date)) {
    throw new VouchError('bad-input', `--at: expected a time such as 2025-01-31T00:00:00Z, got ${text}`);
  }
  return time;
}

/** Throws `bad-input`; `option` says which one it is. */
export function hexNonce(text: string | undefined, option: string): string | undefined {
  if (text !== undefined && !/^([0-9A-Fa-f]{2}){1,64}$/.test(text)) {
    throw new VouchError('bad-input', `${option}: expected 1 to 64 bytes as hex`);
  }
  return text?.toLowerCase();
}
