/**
 * Evidence of several machines in one call: which pieces belong together, so that each machine is judged by itself. What
 * came in one file is one machine; the other files are one more. Certificates, revocation lists, vendors' statements and
 * manifests are for all of them.
 *
 * Not guaranteed: that what came in one file is of one machine. Only a binding says so (binding-recipes.ts).
 */
import { equal } from '../encoding.ts';
import { VouchError } from '../errors.ts';
import { type BoundFacts, bindingFault, boundNames, RECIPES } from './binding-recipes.ts';
import type { Check } from './checklist.ts';
import type { Demands } from './demands.ts';
import type { SortedFiles } from './evidence-files.ts';
import { eventsOf, replay } from './formats/eventlog.ts';
import { isAgentLog } from './formats/eventlog-aael.ts';
import type { Evidence, Part } from './formats/format.ts';
import { mergeCollateral } from './formats/intel-collateral.ts';
import { parseIntelQuote } from './formats/intel-quote.ts';
import { formatNamed } from './formats/registry.ts';
import { AZURE_ID_KEYS } from './roots/azure.ts';

export interface Machine {
  /** '' where there is one only */
  readonly name: string;
  readonly files: SortedFiles;
}

const isOfCpu = ({ format }: Evidence): boolean => formatNamed(format)?.signedBy === 'cpu';
const logs = ({ format }: Evidence): boolean =>
  formatNamed(format)?.comparedWith.includes('event log') === true;

/** Each with all that may be needed to judge it; at least one. */
export function machinesOf(given: SortedFiles): Machine[] {
  const { machines } = given;
  const loose = { ...given, machines: [] };
  if (machines.length === 0) return byEventLog(loose);
  const [only] = machines;
  if (machines.length === 1 && !loose.evidence.some(isOfCpu)) {
    return [{ name: '', files: merged(only!.files, loose) }];
  }
  const shared = sharedOf(loose);
  const rest = [
    loose.evidence,
    loose.unknown,
    loose.eventLogs,
    loose.tpmSignatures,
    loose.pcrs,
    loose.runtimes,
  ];
  return [
    ...machines.map(({ name, files }) => ({ name, files: merged(files, shared) })),
    ...(rest.some(({ length }) => length > 0) ? [{ name: 'other files', files: loose }] : []),
  ];
}

/** What is for every machine. */
const sharedOf = (loose: SortedFiles): SortedFiles => ({
  ...loose,
  evidence: [],
  eventLogs: [],
  pcrs: [],
  tpmSignatures: [],
  runtimes: [],
  facts: undefined,
  unknown: [],
});

function merged(a: SortedFiles, b: SortedFiles): SortedFiles {
  return {
    evidence: [...a.evidence, ...b.evidence],
    opinions: [...a.opinions, ...b.opinions],
    serviceKeys: [...a.serviceKeys, ...b.serviceKeys],
    certificates: [...a.certificates, ...b.certificates],
    crls: [...a.crls, ...b.crls],
    ocsp: [...a.ocsp, ...b.ocsp],
    keys: [...a.keys, ...b.keys],
    pcrs: [...a.pcrs, ...b.pcrs],
    tpmSignatures: [...a.tpmSignatures, ...b.tpmSignatures],
    eventLogs: [...a.eventLogs, ...b.eventLogs],
    intel: mergeCollateral(a.intel, b.intel),
    manifests: [...a.manifests, ...b.manifests],
    endorsements: [...a.endorsements, ...b.endorsements],
    provenances: [...a.provenances, ...b.provenances],
    runtimes: [...a.runtimes, ...b.runtimes],
    facts: a.facts ?? b.facts,
    machines: [],
    unknown: [...a.unknown, ...b.unknown],
  };
}

/** Several quotes and logs that came apart: each log goes to the quote whose registers it replays to. */
function byEventLog(loose: SortedFiles): Machine[] {
  const quotes = loose.evidence.filter(logs);
  if (quotes.length < 2 || loose.eventLogs.length === 0) return [{ name: '', files: loose }];
  const left = new Set(loose.eventLogs);
  const shared = sharedOf(loose);
  const machines = quotes.map((quote, i) => {
    const own = logsOf(quote.bytes, [...left]);
    for (const log of own) left.delete(log);
    const files = { ...shared, evidence: [quote], eventLogs: own };
    return { name: `quote ${i + 1}`, files };
  });
  const others = { ...loose, evidence: loose.evidence.filter((one) => !logs(one)), eventLogs: [...left] };
  const needed = others.evidence.length + others.eventLogs.length + others.unknown.length > 0;
  return [...machines, ...(needed ? [{ name: 'other files', files: others }] : [])];
}

/** Of the boot, of the attestation agent, or one of each; none where none fits. */
function logsOf(quote: Uint8Array, logs: readonly Uint8Array[]): readonly Uint8Array[] {
  const agents = logs.filter(isAgentLog);
  const boots = logs.filter((log) => !isAgentLog(log));
  const pairs = boots.flatMap((boot) => agents.map((agent) => [boot, agent]));
  return (
    [...boots.map((log) => [log]), ...pairs, ...agents.map((log) => [log])].find((some) =>
      fits(quote, some),
    ) ?? []
  );
}

/** An attestation agent's log alone says nothing but the last register. */
function fits(quote: Uint8Array, logs: readonly Uint8Array[]): boolean {
  try {
    const { body } = parseIntelQuote(quote);
    if (body.tee !== 'tdx') return false;
    const { rtmrs } = body.report;
    const last = logs.every(isAgentLog) ? rtmrs.length - 1 : 0;
    return replay(eventsOf(logs)).every((register, i) => i < last || equal(register, rtmrs[i]!));
  } catch (error) {
    if (!(error instanceof VouchError)) throw error;
    return false;
  }
}

const check = (id: string, fault: string | undefined, done: string): Check =>
  fault === undefined
    ? { id, status: 'pass', detail: done }
    : { id, status: 'fail', code: 'evidence-rejected', detail: fault };

/** Whether the report data of the machine's CPU binds what it is said to bind. */
export function checkBinding(parts: readonly Part[], facts: BoundFacts): Check {
  const id = `binding.${facts.recipe}`;
  const cpus = parts.flatMap(({ cpu }) => cpu ?? []);
  if (cpus.length === 0)
    return check(id, 'no evidence of a CPU holds, whose report data could be compared', '');
  const fault = cpus
    .map(({ reportData }) => bindingFault(facts, reportData))
    .find((one) => one !== undefined);
  return check(id, fault, `${RECIPES[facts.recipe].title}; bound: ${boundNames(facts)}`);
}

/** What runtime data is judged by. */
export interface RuntimeQuestion {
  readonly given: SortedFiles;
  readonly policy: Pick<Demands, 'measurements' | 'tpm'>;
  readonly nonce: Uint8Array | undefined;
}

/** Whether a CPU's report data binds the runtime data of its VM, which names the vTPM's key. */
export function checkRuntimes(parts: readonly Part[], { given, policy, nonce }: RuntimeQuestion): Check[] {
  const cpus = parts.filter(({ cpu }) => cpu !== undefined);
  return given.runtimes.flatMap(({ reportData, userData, key }) => {
    const part = cpus.find(({ cpu }) => equal(cpu!.reportData, reportData));
    const fault =
      cpus.length === 0
        ? 'no SNP report or TDX quote that holds came with it; of a TD the quote has to be brought beside the HCL report'
        : 'the report data of no CPU is its hash';
    const bound = check(
      'azure.runtime-data',
      part === undefined ? fault : undefined,
      `bound by the report data of ${part?.cpu?.platform}${key === undefined ? '' : ", and with it the vTPM's key"}`,
    );
    const fresh = nonce !== undefined && userData !== undefined && answers(userData, nonce);
    return [
      bound,
      ...(fresh ? [check('azure.user-data', undefined, 'is the nonce, then zeros')] : []),
      ...(part === undefined || key === undefined ? [] : [checkParavisor(part, policy)]),
    ];
  });
}

/**
 * Anybody can have any key bound by a guest of his own: a vTPM is worth what the code in front of it is, Microsoft's
 * paravisor. The policy names its measurement, or the report's ID block was signed by a key that is known.
 */
function checkParavisor({ claims }: Part, { measurements, tpm }: RuntimeQuestion['policy']): Check {
  const id = 'azure.paravisor';
  const { idKeyDigest } = Object(claims) as { idKeyDigest?: unknown };
  if (measurements !== undefined) return check(id, undefined, 'one that the policy names');
  if (AZURE_ID_KEYS.some((known) => known === idKeyDigest)) {
    return check(
      id,
      undefined,
      `Microsoft's, by the key of its ID block, ${String(idKeyDigest).slice(0, 16)}`,
    );
  }
  const why =
    "nothing says that Microsoft's paravisor keeps the vTPM: the policy has to name its measurement";
  // PCRs of a vTPM that anybody may have made up meet no demand.
  if (Object.keys(tpm.pcrs).length > 0) return check(id, why, '');
  return { id, status: 'skipped', detail: why };
}

/** Whether 64 bytes that a guest had bound are the nonce, filled up with zeros. */
export const answers = (userData: Uint8Array, nonce: Uint8Array): boolean =>
  nonce.length >= 8 &&
  equal(userData.subarray(0, nonce.length), nonce) &&
  userData.subarray(nonce.length).every((byte) => byte === 0);
