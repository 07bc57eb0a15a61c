/** A made-up TD, a made-up instance of Sigstore, and verdicts over the one beside statements of the other. For tests only. */
import { BUILT_IN, completePolicy, parseEvidencePolicy } from '../../protocols/attestation/policy.ts';
import { ProvenancePolicy } from '../../protocols/attestation/software-demands.ts';
import { hex } from '../../protocols/encoding.ts';
import { fingerprint } from './certificate-maker.ts';
import type { Case } from './intel-platform.ts';
import { gpuRoots, json, td } from './service-maker.ts';
import { failing } from './service-question.ts';
import { GITHUB, instance, pinsOf, REPOSITORY, trustedRoot } from './sigstore-instance.ts';
import { type BundleFields, bundle, statementOf } from './sigstore-maker.ts';
import { arkCrl, arkDer, askDer, snpReport, vcekDer } from './snp-maker.ts';

export const own = await instance();
export const machine: Case = await td(new Uint8Array(64), []);
export const register = (at: number) => hex(machine.quote.subarray(48 + at, 48 + at + 48));
export const [mrtd, rtmr1, rtmr2] = [register(136), register(376), register(424)];
export const other = 'ee'.repeat(48);
export const report = await snpReport();
export const measured = hex(report.subarray(0x90, 0x90 + 48));
export const amd = [askDer, arkDer, arkCrl, vcekDer];
export const roots = {
  provenance: pinsOf(own),
  gpu: gpuRoots,
  intel: machine.roots,
  amd: new Map([[fingerprint(arkDer), 'Turin' as const]]),
};
export const policy = parseEvidencePolicy({ ...BUILT_IN.genuine });
export const IDENTITY = { issuer: GITHUB, repository: REPOSITORY };
export const demanding = (demand: object = {}) =>
  completePolicy({ ...policy, provenance: ProvenancePolicy.parse({ identities: [IDENTITY], ...demand }) });
export const root = json(trustedRoot(own));
export const NAMED = statementOf({ mrtd });
export const file = async (fields: BundleFields = {}) =>
  json(await bundle(own, { statement: NAMED, ...fields }));

/** A copy with another value at a path. */
export function put(value: unknown, path: string, to: unknown): unknown {
  const [name, ...rest] = path.split('.') as [string, ...string[]];
  const copy: unknown = Array.isArray(value) ? [...value] : { ...Object(value) };
  const fields = copy as Record<string, unknown>;
  fields[name] = rest.length === 0 ? to : put(fields[name], rest.join('.'), to);
  return copy;
}
export const fails = (files: readonly Uint8Array[], more: object = {}) =>
  failing([machine], [root, ...files], { policy, roots, ...more });
export const beside = async (fields: BundleFields) => fails([machine.quote, await file(fields)]);
