/** `vouch policy`: a strict policy from evidence at hand, and what a policy accepts in plain words. */
import type { Command } from '@commander-js/extra-typings';
import { judgeEvidence } from '../../protocols/attestation/evidence-verdict.ts';
import { explainPolicy } from '../../protocols/attestation/explain.ts';
import type { EndorsementClaims } from '../../protocols/attestation/formats/gce-endorsement.ts';
import {
  BUILT_IN,
  completePolicy,
  type EvidencePolicy,
  type Platform,
  type Policy,
  parsePolicy,
  policySchema,
  type Registers,
} from '../../protocols/attestation/policy.ts';
import type { ProvenanceClaims } from '../../protocols/attestation/provenance-claims.ts';
import { VouchError } from '../../protocols/errors.ts';
import { demandWritable, writeWhole } from '../home/files.ts';
import { readPolicy } from '../installation/policies.ts';
import { type OptionsOf, stating } from './declaration.ts';
import { type Print, print, say } from './terminal.ts';
import { readEvidence } from './verify-evidence.ts';

const initialised = (command: Command) =>
  stating(command)
    .argument('<files...>', 'the evidence and what belongs to it, in any order')
    .option('--out <file>', 'where the policy goes; default: stdout');

export function define(command: Command): void {
  initialised(command.command('init').description('write a strict policy from evidence at hand')).action(
    (files, options) => initPolicy(files, options, print, say),
  );
  command
    .command('explain')
    .description('say in plain words what a policy accepts')
    .argument('[policy]', 'genuine, strict, or a JSON file', 'strict')
    .action((name) => explain(name, print));
  command
    .command('schema')
    .description('print the JSON Schema of policies (docs/policy.schema.json)')
    .action(() => print(JSON.stringify(policySchema(), null, 2)));
}

/** What verified evidence says, as far as a policy can demand it again. */
type Claims = Readonly<Record<string, unknown>> & { readonly platform: Platform };

/**
 * Writes the strictest policy that the evidence at hand could meet: every default strict, and its builds, chips and
 * versions named. Says on `say` what keeps this very evidence from meeting it. Throws `evidence-rejected` when
 * nothing among the files is signed by hardware.
 */
export async function initPolicy(
  files: readonly string[],
  options: Partial<OptionsOf<typeof initialised>>,
  print: Print,
  say: (line: string) => void,
): Promise<void> {
  if (options.out !== undefined) await demandWritable(options.out);
  const question = readEvidence(files, options);
  const judge = (policy: EvidencePolicy) => judgeEvidence({ ...question, policy });
  const { claims, checks } = await judge(BUILT_IN.genuine);
  // Of several machines each has a list of its own.
  const all = ([claims ?? []].flat(2) as Claims[]).filter(({ platform }) => platform !== undefined);
  if (all.length === 0) {
    const failed = checks.find(({ status }) => status === 'fail');
    throw new VouchError(
      'evidence-rejected',
      `no evidence whose signatures hold: ${failed?.id ?? 'evidence'}: ${failed?.detail ?? 'none at hand'}`,
    );
  }
  const policy = policyFrom(all);
  const text = `${JSON.stringify(policy, null, 2)}\n`;
  if (options.out === undefined) print(text.trimEnd());
  else await writeWhole(options.out, text, { mode: 0o644 });
  const { checks: strictly } = await judge(completePolicy(policy));
  for (const { id, status, detail } of strictly) {
    if (status === 'fail') say(`this evidence does not meet it yet: ${id}: ${detail}`);
  }
}

/** Strict, and with all that the claims name demanded. */
export function policyFrom(claims: readonly Claims[]): Policy {
  const of = (platform: Platform) => claims.filter((claim) => claim.platform === platform);
  const gpus = of('nvidia-gpu');
  const said = softwareFrom(claims);
  const measurements = claims.flatMap(buildOf);
  const intel = intelFrom([...of('tdx'), ...of('sgx')]);
  const amd = amdFrom(of('sev-snp'));
  return parsePolicy({
    version: 1,
    platforms: [...new Set(claims.map(({ platform }) => platform))],
    ...(measurements.length > 0 ? { measurements } : {}),
    ...said,
    ...(intel === undefined ? {} : { intel }),
    ...(amd === undefined ? {} : { amd }),
    ...(gpus.length === 0 ? {} : { gpu: gpuFrom(gpus) }),
    ...Object.fromEntries(of('nitro-tpm').map((claim) => ['nitro', { tpmPcrs: pinned(claim.pcrs) }])),
    ...Object.fromEntries(of('tpm').map((claim) => ['tpm', { keys: [claim.key], pcrs: claim.pcrs }])),
    ...Object.fromEntries(
      of('hyperenclave').map((claim) => ['hyperenclave', { keys: [claim.key], pcrs: claim.pcrs }]),
    ),
  });
}

/** What others say of the software: Google of the firmware, and those who signed statements about the rest. */
function softwareFrom(claims: readonly Claims[]): object {
  const endorsed = claims.flatMap(({ endorsement }) => (endorsement as EndorsementClaims | undefined) ?? []);
  const stated = claims.flatMap(({ provenance }) => (provenance as ProvenanceClaims[] | undefined) ?? []);
  // Each release has a subject of its own, and all of them one repository.
  const identities = stated.map(({ issuer, subject, repository }) =>
    repository === undefined ? { issuer, subject } : { issuer, repository },
  );
  const once = [...new Map(identities.map((one) => [JSON.stringify(one), one])).values()];
  return {
    ...(endorsed.length === 0 ? {} : { gce: { minimumSvn: Math.min(...endorsed.map(({ svn }) => svn)) } }),
    ...(stated.length === 0 ? {} : { provenance: { identities: once } }),
  };
}

/** PCRs of a boot: those that firmware and boot loader extend. */
const pinned = (pcrs: unknown): Record<string, string[]> =>
  Object.fromEntries(
    Object.entries(pcrs as Readonly<Record<string, string>>)
      .filter(([index, value]) => Number(index) < 16 && !isZero(value))
      .map(([index, value]) => [index, [value]]),
  );

const isZero = (text: unknown): boolean => typeof text !== 'string' || /^0*$/.test(text);

function buildOf(claim: Claims): Registers[] {
  const named = (...names: string[]) =>
    Object.fromEntries(names.filter((name) => !isZero(claim[name])).map((name) => [name, claim[name]]));
  if (typeof claim.measurement !== 'string') return [];
  if (claim.platform === 'tdx') {
    const rtmrs = (claim.rtmrs as string[]).map((value, i) => [`rtmr${i}`, value]);
    return [
      { ...named('measurement', 'mrconfigid', 'mrowner', 'mrownerconfig'), ...Object.fromEntries(rtmrs) },
    ];
  }
  if (claim.platform === 'sev-snp') {
    const build = named('measurement', 'hostData', 'familyId', 'imageId', 'idKeyDigest', 'authorKeyDigest');
    return [{ ...build, minimumGuestSvn: claim.guestSvn as number }];
  }
  if (claim.platform === 'nitro') {
    const pcrs = Object.entries(claim.pcrs as Readonly<Record<string, string>>);
    const named = pcrs.filter(([index, value]) => ['0', '1', '2', '8'].includes(index) && !isZero(value));
    return [Object.fromEntries(named.map(([index, value]) => [`pcr${index}`, value]))];
  }
  if (claim.platform === 'nitro-tpm') return [];
  const { isvProdId, isvSvn } = claim as unknown as { isvProdId: number; isvSvn: number };
  return [{ ...named('measurement', 'mrsigner'), isvProdId, minimumIsvSvn: isvSvn }];
}

/** The least of each, where several pieces of evidence differ. */
const leastOf = (rows: readonly (readonly number[])[]): number[] =>
  rows[0]!.map((_, i) => Math.min(...rows.map((row) => row[i]!)));

function intelFrom(claims: readonly Claims[]): object | undefined {
  if (claims.length === 0) return undefined;
  const known = claims.filter(({ componentSvns }) => componentSvns !== undefined);
  const tee = claims
    .filter(({ teeTcbSvn }) => teeTcbSvn !== undefined)
    .map(({ teeTcbSvn }) => [...Buffer.from(teeTcbSvn as string, 'hex')]);
  const services = claims.map(({ mrservicetd }) => mrservicetd).filter((value) => !isZero(value));
  const evaluations = claims.flatMap(
    ({ evaluationNumber }) => (evaluationNumber as number | undefined) ?? [],
  );
  return {
    minimumSvns: {
      qe: Math.min(...claims.map(({ qeIsvSvn }) => qeIsvSvn as number)),
      ...(known.length === 0
        ? {}
        : {
            cpu: leastOf(known.map(({ componentSvns }) => componentSvns as number[])),
            pce: Math.min(...known.map(({ pceSvn }) => pceSvn as number)),
          }),
      ...(tee.length === 0 ? {} : { tee: leastOf(tee) }),
    },
    ...(known.length === 0 ? {} : { platformIds: [...new Set(known.map(({ platformId }) => platformId))] }),
    ...(services.length === 0 ? {} : { serviceTds: [...new Set(services)] }),
    ...(evaluations.length === 0 ? {} : { minimumEvaluationNumber: Math.min(...evaluations) }),
  };
}

function amdFrom(claims: readonly Claims[]): object | undefined {
  if (claims.length === 0) return undefined;
  type Tcb = Readonly<Record<string, number>>;
  const tcbs = claims.flatMap(({ tcb }) => {
    const { reported, committed, launch } = tcb as Record<string, Tcb>;
    return [reported!, committed!, launch!];
  });
  const names = Object.keys(tcbs[0]!).filter((name) => tcbs.every((tcb) => tcb[name] !== undefined));
  const chips = claims.flatMap(({ chipId }) => chipId ?? []);
  const vmpl = Math.max(...claims.map((claim) => claim.vmpl as number));
  return {
    minimumTcb: Object.fromEntries(names.map((name) => [name, Math.min(...tcbs.map((tcb) => tcb[name]!))])),
    maximumVmpl: vmpl <= 3 ? vmpl : 0,
    // A VLEK names no chip, so that a list would refuse it.
    ...(chips.length === claims.length ? { chipIds: [...new Set(chips)] } : {}),
  };
}

function gpuFrom(claims: readonly Claims[]): object {
  const each = (name: string) => [...new Set(claims.map((claim) => claim[name]))];
  const modes = each('mode');
  return {
    count: claims.length,
    architectures: each('architecture'),
    drivers: each('driverVersion'),
    vbioses: each('vbiosVersion'),
    modes,
    devices: each('device'),
    ...(modes.includes('ppcie') ? { switches: (claims[0]!.switches as string[]).length } : {}),
  };
}

/** Prints what a policy accepts: a file, `genuine` or `strict`. */
export function explain(name: string, print: Print): void {
  for (const line of explainPolicy(completePolicy(readPolicy(name)))) print(line);
}
