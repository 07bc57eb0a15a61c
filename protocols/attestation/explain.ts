/** Says in plain words what a policy accepts: every demand that it makes, and what it leaves open. */
import type {
  BitDemand,
  GpuPolicy,
  HyperEnclavePolicy,
  IntelPolicy,
  NitroPolicy,
  Registers,
  Section,
  SnpPolicy,
  TpmPolicy,
} from './demands.ts';
import { formatNamed } from './formats/registry.ts';
import { SNP_FLOORS_DATE } from './judgement/amd-floors.ts';
import { type EvidencePolicy, type Policy, sectionsOf } from './policy.ts';
import type { GcePolicy, ProvenancePolicy } from './software-demands.ts';

/** What stands under each section, in the order of the sections. */
const SECTIONS: { readonly [K in Section]: (policy: EvidencePolicy) => string[] } = {
  intel: ({ intel, platforms }) => explainIntel(intel, platforms.includes('tdx')),
  amd: ({ amd }) => explainSnp(amd),
  gpu: ({ gpu }) => explainGpu(gpu),
  tpm: ({ tpm }) => explainTpm(tpm),
  nitro: ({ nitro }) => explainNitro(nitro),
  hyperenclave: ({ hyperenclave }) => explainHyperEnclave(hyperenclave),
};

const list = (items: readonly (string | number)[], none = 'none'): string => items.join(', ') || none;
const count = (number: number, one: string): string => `${number} ${one}${number === 1 ? '' : 's'}`;

/** One sentence a line. */
export function explainPolicy(policy: EvidencePolicy): string[] {
  // A platform's first format has its name.
  const titles = policy.platforms.map((platform) => formatNamed(platform)?.title ?? platform);
  const accepted: ReadonlySet<string> = sectionsOf(policy.platforms);
  return [
    `Accepts evidence of ${list(titles)}; of nothing else.`,
    ...explainWhole(policy),
    ...Object.entries(SECTIONS)
      .filter(([name]) => accepted.has(name))
      .flatMap(([, explain]) => explain(policy)),
  ];
}

function explainWhole(policy: Policy): string[] {
  const { measurements, simulatedRoots, minimumTcb } = policy;
  return [
    policy.simulated
      ? `SIMULATED evidence is accepted from ${count(simulatedRoots.length, 'pinned root')}, TCB at least ${list(minimumTcb.simulated ?? [])}: it protects nothing.`
      : 'Simulated evidence is refused.',
    ...(measurements === undefined
      ? [
          'In files, any measured code is accepted: the verdict is about the hardware only. In a conversation, none is.',
        ]
      : ['Only this code is accepted, each line one build:', ...measurements.map(explainBuild)]),
    policy.debug ? 'Debug mode is accepted: the host can read the memory.' : 'Debug mode is refused.',
    ...(policy.reportData === undefined ? [] : [`The report data must be ${policy.reportData}.`]),
    ...(policy.provenance === undefined ? [] : explainProvenance(policy.provenance)),
    ...(policy.gce === undefined ? [] : explainGce(policy.gce)),
    ...(policy.vendor === undefined ? [] : [`Only models of the vendor ${policy.vendor} are accepted.`]),
    ...(policy.commitment === undefined
      ? []
      : [`Only the model with the commitment ${policy.commitment} is accepted.`]),
    `In a conversation, evidence counts as fresh for ${policy.maxAgeSeconds} s and must bind ${list(policy.requiredBinding, 'nothing')}.`,
    policy.sealing === 'x-wing'
      ? 'Requests are sealed by X-Wing, which holds against quantum computers, and evidence must bind a key for it.'
      : 'Requests are sealed by X25519, which a quantum computer would break.',
  ];
}

const explainProvenance = ({ identities, predicates, registers }: ProvenancePolicy): string[] => [
  `Provenance: statements signed by way of Sigstore must name ${list(registers ?? ['a register'])} as measured${predicates === undefined ? '' : `, of type ${predicates.join(' or ')}`}, by one of:`,
  ...identities.map(
    ({ issuer, subject, repository }) =>
      `  ${[subject, repository && `a workflow of ${repository}`].filter(Boolean).join(', ')}, as ${issuer} says`,
  ),
];

const explainGce = ({ roots, minimumSvn, notBefore, firmwares }: GcePolicy): string[] => [
  `Google: it must have endorsed the firmware that the CPU measured, under ${count(roots.length, 'root')}, of security version ${minimumSvn} or later${notBefore === undefined ? '' : `, on ${notBefore} or later`}.`,
  ...(firmwares === undefined ? [] : [`Google: firmware accepted: ${list(firmwares)}.`]),
];

const explainBuild = (build: string | Registers): string =>
  `  ${
    typeof build === 'string'
      ? `measurement ${build}`
      : Object.entries(build)
          .map(([name, value]) =>
            name.startsWith('minimum') ? `${name.slice(7)} at least ${value}` : `${name} ${value}`,
          )
          .join(' and ')
  }`;

const explainRevocation = (mode: 'required' | 'if-present', of: string): string =>
  mode === 'required'
    ? `${of}: current revocation lists or OCSP responses must be at hand; unknown revocation is a failure.`
    : `${of}: revocation lists and OCSP responses count where they are at hand; unknown revocation is accepted.`;

function explainBits(who: string, what: string, demand: BitDemand | undefined): string[] {
  if (demand === undefined) return [];
  return typeof demand === 'string'
    ? [`${who}: ${what} must be ${demand}.`]
    : [`${who}: ${what} must be ${demand.value} under ${demand.mask}; its other bits may be anything.`];
}

function explainIntel(policy: IntelPolicy, tdx: boolean): string[] {
  const { minimumSvns: least, serviceTds, advisories, platformIds } = policy;
  const svns = Object.entries(least).map(([name, svn]) => `${name} ${[svn].flat().join('.')}`);
  return [
    `Intel: the platform, its TDX module and its quoting enclave must each be ${policy.tcbStatuses.join(' or ')}; so must what they make together; a level that Intel does not list or has revoked is refused.`,
    policy.tcbStatuses.includes('OutOfDate')
      ? 'Intel: a level that is out of date is accepted, however old.'
      : policy.graceDays === 0
        ? 'Intel: a level that has become out of date is refused at once.'
        : `Intel: a level that has become out of date is accepted for ${count(policy.graceDays, 'more day')}.`,
    advisories === 'any'
      ? 'Intel: open advisories are reported, not refused.'
      : `Intel: open advisories accepted: ${list(advisories)}.`,
    ...(policy.minimumTcbDate === undefined
      ? []
      : [`Intel: the platform must be at a level of ${policy.minimumTcbDate} or later.`]),
    `Intel: collateral must have evaluation number ${policy.minimumEvaluationNumber} or higher.`,
    ...(svns.length === 0 ? [] : [`Intel: security versions at least ${svns.join(', ')}.`]),
    ...(tdx
      ? [
          policy.septVeDisable
            ? 'TDX: SEPT_VE_DISABLE must be set, so that the host cannot inject #VE.'
            : 'TDX: SEPT_VE_DISABLE may be off: the host can then inject #VE.',
          serviceTds === 'any'
            ? 'TDX: any service TD may be bound, and may move the guest.'
            : `TDX: service TDs that may be bound: ${list(serviceTds)}.`,
        ]
      : []),
    ...explainBits('TDX', 'TDATTRIBUTES', policy.tdAttributes),
    ...explainBits('TDX', 'XFAM', policy.xfam),
    ...explainBits('SGX', 'ATTRIBUTES', policy.sgxAttributes),
    ...explainBits('SGX', 'XFRM', policy.sgxXfrm),
    platformIds === undefined
      ? 'Intel: any genuine platform is accepted, wherever it stands.'
      : `Intel: ${count(platformIds.length, 'platform')} accepted, by PPID.`,
    explainRevocation(policy.revocation, 'Intel'),
  ];
}

function explainSnp(policy: SnpPolicy): string[] {
  const least = Object.entries(policy.minimumTcb).map(([name, level]) => `${name} ${level}`);
  const { launch, current } = policy.mitigations;
  const guest = Object.entries(policy.guestPolicy).map(([name, wanted]) =>
    typeof wanted === 'boolean' ? `${name} ${wanted ? 'on' : 'off'}` : `an ABI of ${wanted} or later`,
  );
  const { idKeys = [], authorKeys = [], reportIds, reportIdMas } = policy;
  return [
    `AMD: patch levels at least ${list(least, 'as the certificate says, no others demanded')}, in the reported, the committed and the launch TCB.`,
    policy.tcbFloors === 'bulletins'
      ? `AMD: patch levels below what AMD's security bulletins up to ${SNP_FLOORS_DATE} call mitigated are refused; what came later is not known here.`
      : 'AMD: patch levels with known flaws are accepted.',
    ...(launch.length + current.length === 0
      ? []
      : [`AMD: mitigations that must be on: at launch bits ${list(launch)}, now bits ${list(current)}.`]),
    `AMD: firmware ${policy.minimumFirmware === undefined ? 'of any version' : `${policy.minimumFirmware} or later`}, ${policy.uncommittedFirmware ? 'committed or not: it may roll back' : 'committed, so that it cannot roll back'}.`,
    policy.maximumVmpl === 0
      ? 'AMD: only VMPL 0 may have asked for the report.'
      : `AMD: VMPL 0 to ${policy.maximumVmpl} may have asked for the report.`,
    policy.migration
      ? 'AMD: a migration agent may move the guest elsewhere.'
      : 'AMD: no migration agent may move the guest.',
    policy.smt ? 'AMD: the host may run two threads on a core.' : 'AMD: one thread on a core only.',
    ...(policy.platformFeatures.length === 0 ? [] : [`AMD: must be on: ${list(policy.platformFeatures)}.`]),
    ...(guest.length === 0 ? [] : [`AMD: the guest's own policy must have ${list(guest)}.`]),
    ...(policy.idBlock === 'any' && idKeys.length + authorKeys.length === 0
      ? []
      : [
          idKeys.length + authorKeys.length === 0
            ? 'AMD: the guest must have been launched with an ID block, by whatever key.'
            : `AMD: the guest must have been launched with an ID block by one of ${count(idKeys.length, 'ID key')} or ${count(authorKeys.length, 'author key')}.`,
        ]),
    ...(reportIds === undefined ? [] : [`AMD: ${count(reportIds.length, 'guest')} accepted, by REPORT_ID.`]),
    ...(reportIdMas === undefined
      ? []
      : [`AMD: ${count(reportIdMas.length, 'migration agent')} accepted, by REPORT_ID_MA.`]),
    policy.chipIds === undefined
      ? 'AMD: any genuine chip is accepted, wherever it stands.'
      : `AMD: ${count(policy.chipIds.length, 'chip')} accepted, by id.`,
    explainRevocation(policy.revocation, 'AMD'),
  ];
}

function explainGpu(policy: GpuPolicy): string[] {
  const optional = (presence: 'required' | 'if-present', what: string) =>
    `GPU: ${what} ${presence === 'required' ? 'required' : 'checked where there; may be absent'}.`;
  return [
    `GPU: ${policy.count === undefined ? 'any number' : `exactly ${policy.count}`}, all different, all in one mode out of ${list(policy.modes)}, of ${list(policy.architectures)}.`,
    ...(policy.modes.includes('ppcie')
      ? [
          `GPU: behind switches, all at the same ${policy.switches === undefined ? 'switches' : `${policy.switches} switches`}, ${policy.switchEvidence === 'required' ? 'each with evidence of its own' : 'whose own evidence may be absent'}.`,
        ]
      : []),
    `GPU: drivers ${list(policy.drivers ?? ['any'])}; vBIOSes ${list(policy.vbioses ?? ['any'])}.`,
    optional(policy.rims, 'manifests of driver and vBIOS, and every measurement that they list,'),
    optional(policy.fwid, 'the firmware id in the report'),
    optional(policy.guestState, 'CC mode `on` and ready, as the measured guest states,'),
    policy.devices === undefined
      ? 'GPU: any genuine device is accepted, wherever it stands.'
      : `GPU: ${count(policy.devices.length, 'device')} accepted, by certificate.`,
    ...(policy.secondOpinionKeys === undefined
      ? []
      : [
          `GPU: beside the report, tokens of NVIDIA's attestation service about every GPU, by ${count(policy.secondOpinionKeys.length, 'key')}.`,
        ]),
    explainRevocation(policy.revocation, 'GPU'),
  ];
}

const explainKeys = (who: string, { roots, keys, revocation }: TpmPolicy | HyperEnclavePolicy): string[] => [
  roots.length + keys.length === 0
    ? `${who}: no attestation key is trusted: nothing is accepted until the policy names roots or keys.`
    : `${who}: attestation keys under ${count(roots.length, 'root')}, and ${count(keys.length, 'key')} of their own.`,
  ...(roots.length === 0 ? [] : [explainRevocation(revocation, who)]),
];

function explainTpm(policy: TpmPolicy): string[] {
  const pcrs = Object.entries(policy.pcrs).flatMap(([bank, values]) =>
    Object.entries(values).map(([index, accepted]) => `${bank}:${index} is ${accepted.join(' or ')}`),
  );
  return [
    ...explainKeys('TPM', policy),
    pcrs.length === 0 ? 'TPM: PCRs may have any values.' : `TPM: ${pcrs.join(', and ')}.`,
  ];
}

function explainNitro({ pcrs, tpmPcrs, revocation }: NitroPolicy): string[] {
  const named = (of: string, values: NitroPolicy['pcrs']) => {
    const all = Object.entries(values).map(([index, accepted]) => `PCR ${index} is ${accepted.join(' or ')}`);
    return `Nitro: ${of}: ${all.length === 0 ? 'PCRs may have any values' : all.join(', and ')}.`;
  };
  return [
    named('enclaves', pcrs),
    named('EC2 instances', tpmPcrs),
    explainRevocation(revocation, 'Nitro, of regions and zones'),
  ];
}

function explainHyperEnclave(policy: HyperEnclavePolicy): string[] {
  const pcrs = Object.entries(policy.pcrs).map(
    ([index, accepted]) => `PCR ${index} is ${accepted.join(' or ')}`,
  );
  return [
    ...explainKeys('HyperEnclave', policy),
    pcrs.length === 0 ? 'HyperEnclave: PCRs may have any values.' : `HyperEnclave: ${pcrs.join(', and ')}.`,
  ];
}
