/**
 * Provenance of what a CPU measured: statements, signed by way of Sigstore, that name its registers. Each is verified
 * (signed-provenance.ts) and compared with the registers of the evidence; a policy says whose statements it wants.
 *
 * A statement is a file: an in-toto statement whose subject or predicate names registers (Tinfoil's predicates among them:
 * github.com/tinfoilsh/verifier), or the signature of a measurement itself.
 *
 * Not guaranteed: that the code is good. Anybody may sign a statement about any measurement: what counts is who did, which
 * only a policy's identities say.
 */
import { equal, sha256 } from '../encoding.ts';
import { VouchError } from '../errors.ts';
import { printable } from '../printable.ts';
import type { Certificate } from './certificate.ts';
import { attempting, type Checklist, createChecklist, refused } from './checklist.ts';
import { type Collateral, certificatesOf } from './collateral.ts';
import { contextTag, elementsOf, oidOf, readDer, TAG, textOf } from './der.ts';
import type { Part } from './formats/format.ts';
import {
  asFiles,
  type MeasuredRegisters,
  registerIn,
  registersIn,
  registersNamed,
} from './formats/measured-registers.ts';
import type { SigstoreBundle } from './formats/sigstore-bundle.ts';
import { judgeProvenanceClaims } from './judgement/provenance.ts';
import type { Parsed } from './parsed.ts';
import type { ProvenanceClaims, SignerIdentity } from './provenance-claims.ts';
import { describeSigner } from './provenance-claims.ts';
import { CERTIFICATE_LOGS, FULCIO_ROOTS, REKOR_LOGS, TIMESTAMP_ROOTS } from './roots/sigstore.ts';
import { BUNDLE_CHECKS, checkBundle } from './signed-provenance.ts';
import type { ProvenancePins, ProvenancePolicy } from './software-demands.ts';

export interface ProvenanceQuestion {
  readonly given: Collateral;
  readonly store: Collateral;
  /** what was judged of the machine's evidence; those of CPUs count */
  readonly parts: readonly Part[];
  /** whether what was given is about this machine alone */
  readonly alone: boolean;
  /** present: provenance is demanded */
  readonly policy: ProvenancePolicy | undefined;
  readonly now: Date;
  /** Sigstore's own unless others are to be trusted */
  readonly pins?: ProvenancePins | undefined;
}

export interface ProvenanceResult extends Pick<Part, 'verdict' | 'checks'> {
  readonly claims: readonly ProvenanceClaims[];
}

const REQUIRED = ['provenance.bundle', ...BUNDLE_CHECKS, 'provenance.identity', 'provenance.measurement'];

const BUILT_IN_PINS: ProvenancePins = {
  roots: FULCIO_ROOTS,
  logs: REKOR_LOGS,
  certificateLogs: CERTIFICATE_LOGS,
  timestampRoots: TIMESTAMP_ROOTS,
};

/** Undefined where there is none and none is demanded. Never throws for what bundles hold. */
export async function judgeProvenance(question: ProvenanceQuestion): Promise<ProvenanceResult | undefined> {
  const { given, store, policy, alone } = question;
  // A file that was signed is known by its digest alone: beside several machines it may be about another one.
  const own = alone ? given.provenances : given.provenances.filter((one) => !isOfFile(one, question));
  if (own.length > 0) return judgeGiven(own, question);
  // Those in store are about many builds: the ones that hold are taken, the others are passed over.
  const about = store.provenances.filter((one) => boundIn(one, question).length > 0);
  const stored = await Promise.all(about.map((one) => examine(one, question)));
  const held = stored.filter(({ claims }) => claims !== undefined);
  if (held.length > 0) return finished(held, question);
  if (policy === undefined) return undefined;
  const list = createChecklist(REQUIRED);
  const missing = 'the policy demands provenance of what was measured, and none of it is at hand';
  list.record('provenance.bundle', false, 'policy-rejected', missing);
  return { ...list.result(''), claims: [] };
}

/** Whether it is the signature of a file that is none of the machine's registers. */
const isOfFile = (bundle: Parsed<SigstoreBundle>, question: ProvenanceQuestion): boolean =>
  readOrNone(bundle)?.content.kind === 'artifact' && boundIn(bundle, question).length === 0;

/** Undefined for what is no bundle, which its checks say. */
function readOrNone(bundle: Parsed<SigstoreBundle>): SigstoreBundle | undefined {
  try {
    return bundle();
  } catch (error) {
    if (!(error instanceof VouchError)) throw error;
    return undefined;
  }
}

/** What one bundle came to. */
interface Outcome {
  readonly list: Checklist;
  /** present when it holds */
  readonly signer?: SignerIdentity;
  /** present when it also names registers of this machine */
  readonly claims?: ProvenanceClaims;
}

/** One that does not hold is a failure; one about other builds is none beside the right one. */
async function judgeGiven(
  bundles: readonly Parsed<SigstoreBundle>[],
  question: ProvenanceQuestion,
): Promise<ProvenanceResult> {
  const { alone, policy } = question;
  const outcomes = await Promise.all(bundles.map((one) => examine(one, question)));
  const forged = outcomes.filter(({ signer }) => signer === undefined);
  if (forged.length > 0) {
    return { ...refused(forged.map(({ list }) => list.result(''))), claims: [] };
  }
  const own = outcomes.filter(({ claims }) => claims !== undefined);
  if (own.length > 0) return finished(own, question);
  const { list, signer } = outcomes[0]!;
  const detail = 'it names no register of the evidence as measured';
  list.omit('provenance.identity', describeSigner(signer!));
  // Beside several machines it may be about another one.
  if (alone || policy !== undefined)
    list.record('provenance.measurement', false, 'evidence-rejected', detail);
  else list.omit('provenance.measurement', detail);
  return { ...list.result(''), claims: [] };
}

/** At least one, all of which hold and name registers: those count whom the policy wants. */
function finished(own: readonly Outcome[], { policy }: ProvenanceQuestion): ProvenanceResult {
  const claims = own.map((one) => one.claims!);
  const { list } = own[0]!;
  judgeProvenanceClaims(claims, policy, list);
  return { ...list.result(''), claims };
}

async function examine(bundle: Parsed<SigstoreBundle>, question: ProvenanceQuestion): Promise<Outcome> {
  const { given, store, policy, now, pins } = question;
  const list = createChecklist(REQUIRED);
  const read = attempting(list.record)('provenance.bundle', bundle, ({ content }) =>
    content.kind === 'artifact' ? 'the signature of a file' : printable(content.statement.predicateType),
  );
  if (read === undefined) return { list };
  const signer = attempting(list.record)(
    'provenance.bundle',
    () => signerOf(read.certificates[0]),
    describeSigner,
  );
  if (signer === undefined) return { list };
  const trust = {
    ...(pins ?? policy ?? BUILT_IN_PINS),
    certificates: [given, store].flatMap((files) => certificatesOf('other', files)),
    keys: [...given.keys, ...store.keys],
    now,
  };
  const artifacts = question.parts.flatMap((part) => [...registersIn(part).values()].flatMap(asFiles));
  const signed = await checkBundle(read, artifacts, trust, list);
  if (signed === undefined) return { list };
  const registers = boundIn(bundle, question);
  if (registers.length === 0) return { list, signer };
  const predicateType = read.content.kind === 'artifact' ? '' : read.content.statement.predicateType;
  return { list, signer, claims: { ...signer, predicateType, registers } };
}

/** Registers of the machine that it names as they were measured, before anything is verified. */
function boundIn(bundle: Parsed<SigstoreBundle>, { parts }: ProvenanceQuestion): string[] {
  const content = readOrNone(bundle)?.content;
  if (content === undefined) return [];
  for (const part of parts) {
    const named =
      content.kind === 'statement'
        ? registersNamed(content.statement, part)
        : registerSigned(content.digest, registersIn(part));
    if (named.length > 0) return named;
  }
  return [];
}

/** The register whose value was signed as a file, by the digest of that file. */
function registerSigned(digest: Uint8Array, measured: MeasuredRegisters): string[] {
  const file = [...measured.values()].flatMap(asFiles).find((one) => equal(sha256(one), digest));
  const register = file === undefined ? undefined : registerIn(file, measured);
  return register === undefined ? [] : [register];
}

const FULCIO = '1.3.6.1.4.1.57264.1';
/** Extensions of Fulcio's certificates (github.com/sigstore/fulcio, docs/oid-info.md). */
const OID = {
  names: '2.5.29.17',
  issuer: `${FULCIO}.1`,
  otherName: `${FULCIO}.7`,
  issuerAsText: `${FULCIO}.8`,
  repository: `${FULCIO}.12`,
  commit: `${FULCIO}.13`,
  ref: `${FULCIO}.14`,
} as const;

/** Throws `bad-file` for a certificate that does not say whom it certifies. */
export function signerOf({ extensions }: Certificate): SignerIdentity {
  const what = 'identity';
  const refuse = (reason: string): never => {
    throw new VouchError('bad-file', `${what}: ${reason}`);
  };
  const latin = (bytes: Uint8Array): string => new TextDecoder('latin1').decode(bytes);
  const text = (oid: string): string | undefined => {
    const extension = extensions.get(oid);
    return extension === undefined ? undefined : textOf(readDer(extension.value, what), what);
  };
  const older = extensions.get(OID.issuer)?.value;
  const [first, second] = [older && latin(older), text(OID.issuerAsText)];
  if (first !== undefined && second !== undefined && first !== second) return refuse('two issuers');
  const issuer = second ?? first ?? refuse('expected an issuer');
  const names = elementsOf(
    readDer((extensions.get(OID.names) ?? refuse('expected a name')).value, what, TAG.sequence).value,
    what,
  );
  if (names.length !== 1) return refuse(`expected one name, got ${names.length}`);
  const [name] = names;
  // An address, a URI, or what Fulcio writes for user names: an identifier and a text.
  const subject = (() => {
    if (name!.tag === contextTag(1, false) || name!.tag === contextTag(6, false)) return latin(name!.value);
    if (name!.tag !== contextTag(0)) return refuse('expected an address, a URI or a name');
    const [oid, value] = elementsOf(name!.value, what);
    if (oidOf(oid, what) !== OID.otherName || value?.tag !== contextTag(0))
      return refuse('a name of another kind');
    return textOf(readDer(value.value, what), what);
  })();
  const more = { repository: text(OID.repository), commit: text(OID.commit), ref: text(OID.ref) };
  return {
    issuer,
    subject,
    ...Object.fromEntries(Object.entries(more).filter(([, value]) => value !== undefined)),
  };
}
