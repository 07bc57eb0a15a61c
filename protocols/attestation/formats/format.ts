/**
 * What every format of evidence offers, and how its own types stay inside: a family of formats that are verified
 * together names the type that its parsers give and its verifier takes, and the table of formats (registry.ts) holds
 * families of any type. Whoever reads the table hands in bytes and gets checks.
 *
 * The steps are apart: `recognise` looks at the outer form only, `parse` reads it, `verify` finds out what is true of
 * it, and what the policy wants of that is judged last.
 */
import type { Certificate } from '../certificate.ts';
import type { Check, Verdict } from '../checklist.ts';
import type { Collateral } from '../collateral.ts';
import type { Demands, Reported, Section } from '../demands.ts';
import { type Parsed, parsedOnce } from '../parsed.ts';
import type { CcMode } from '../report-data.ts';
import type { AmdProduct } from '../roots/amd.ts';
import type { ProvenancePins } from '../software-demands.ts';

/** What makes evidence of a format. In a document switches come beside GPUs, never instead of them. */
export type SignerKind = 'cpu' | 'gpu' | 'switch' | 'tpm';

/** What a verifier may bring along for evidence to be compared with. */
export type Comparison = 'nonce' | 'pcrs' | 'event log';

export interface Format {
  /** what policies call it; several formats may be of one platform */
  readonly platform: string;
  /** for people: what a policy that takes the platform accepts */
  readonly title: string;
  /** whether hardware signs it, and a policy takes it unless it says otherwise */
  readonly hardware: boolean;
  readonly signedBy: SignerKind;
  /** whether it may stand in an evidence document */
  readonly inDocuments: boolean;
  /** why a file of it is not judged by itself */
  readonly notInFiles?: string;
  /** what evidence of this format is compared with when it is at hand; its measurement and report data always are */
  readonly comparedWith: readonly Comparison[];
  /** where its age stands, when no nonce is compared; absent: it is worth nothing without one */
  readonly age?: 'signed time';
  /** the section of a policy that is about it */
  readonly section?: Section;
  /** Whether bytes have its outer form. Never throws, and only one format says so of the same bytes. */
  readonly recognise: (bytes: Uint8Array) => boolean;
}

/** Evidence of one format as it came in, not yet parsed. */
export interface Evidence {
  /** name of the format, in the table */
  readonly format: string;
  readonly bytes: Uint8Array;
  /** of a TPM that signed over a CPU's evidence: what it has to answer, in place of the verifier's nonce */
  readonly answers?: Uint8Array | undefined;
  /** the device's own certificates, where they came with it */
  readonly certificates?: Parsed<readonly Certificate[]> | undefined;
}

/** The same for its verifier. */
export interface Piece<T> extends Evidence {
  readonly parsed: Parsed<T>;
}

/** Fingerprints that stand for each vendor's pinned roots. */
export interface VendorRoots {
  readonly intel?: readonly string[] | undefined;
  /** -> the product whose root it is */
  readonly amd?: ReadonlyMap<string, AmdProduct> | undefined;
  readonly gpu?: { readonly device: readonly string[]; readonly rim: readonly string[] } | undefined;
  readonly nitro?: readonly string[] | undefined;
  /** of those who endorse Google's firmware */
  readonly gce?: readonly string[] | undefined;
  /** of those whose statements about software count */
  readonly provenance?: ProvenancePins | undefined;
}

/** What a guest says of its GPUs; as good as the guest's own evidence. */
export interface GuestState {
  readonly ccMode: CcMode;
  readonly ready: boolean;
}

/** All that verifying one family's evidence may depend on. */
export interface Question {
  /** for this very evidence: what is wrong in it is a failure */
  readonly given: Collateral;
  /** used for what `given` lacks */
  readonly store: Collateral;
  readonly policy: Demands;
  readonly now: Date;
  /** what devices that answer one have to answer, lower-case hex */
  readonly nonce?: string | undefined;
  readonly guest?: GuestState | undefined;
  /** the vendors' own unless others are to be trusted, which tests alone do */
  readonly roots?: VendorRoots | undefined;
  /** whether evidence of a CPU is judged in the same call */
  readonly withCpu: boolean;
}

/** What verifying some evidence gives. */
export interface Part {
  readonly verdict: Verdict;
  readonly checks: readonly Check[];
  /** what the evidence says; present when its own signatures hold, whatever the verdict */
  readonly claims?: unknown;
  /** the same as far as a document needs it of its CPU */
  readonly cpu?: CpuClaims | undefined;
}

/** What the CPU's own evidence says, as far as all formats of CPUs say it. */
export interface CpuClaims {
  readonly platform: string;
  /** lower-case hex */
  readonly measurement: string;
  /** what the policy's builds are compared with; absent where the format has compared them itself */
  readonly registers?: Reported;
  readonly debug: boolean;
  readonly reportData: Uint8Array;
}

/** Formats whose evidence is verified together, such as GPUs and the switches between them. */
export interface Family<Formats extends Readonly<Record<string, Format>> = Readonly<Record<string, Format>>> {
  readonly formats: Formats;
  /** Never throws for what the evidence holds: that is a failed check. Empty when there is nothing to say. */
  readonly judge: (evidence: readonly Evidence[], question: Question) => Promise<readonly Part[]>;
}

/** Rows whose parsers give what `judge` takes; which type that is, nobody else has to know. */
export function family<T, const Formats extends Readonly<Record<string, FormatOf<T>>>>(
  formats: Formats,
  judge: (pieces: readonly Piece<T>[], question: Question) => Promise<readonly Part[]>,
): Family<Formats> {
  const rows = new Map<string, FormatOf<T>>(Object.entries(formats));
  return {
    formats,
    judge: async (evidence, question) => {
      const pieces = evidence.flatMap((one) => {
        const row = rows.get(one.format);
        return row === undefined ? [] : [{ ...one, parsed: parsedOnce(() => row.parse(one.bytes)) }];
      });
      const parts = await judge(pieces, question);
      // Evidence about which nothing is said would count as accepted.
      if (pieces.length > 0 && parts.length === 0) throw new TypeError('evidence was not judged');
      return parts;
    },
  };
}

/** A row of the table. */
export interface FormatOf<T> extends Format {
  /** Throws a coded error that says what was expected where. */
  readonly parse: (bytes: Uint8Array) => T;
}

/** Adds the check whether the policy takes this kind of evidence at all. */
export function withPlatform<T extends Part>(
  part: T,
  platform: string,
  prefix: string,
  { platforms }: Pick<Demands, 'platforms'>,
): T {
  const allowed = platforms.includes(platform);
  const id = `${prefix}.platform-allowed`;
  const detail = `the policy accepts ${platforms.join(', ')}`;
  const check: Check = allowed
    ? { id, status: 'pass', detail }
    : { id, status: 'fail', code: 'evidence-rejected', detail };
  return { ...part, verdict: allowed ? part.verdict : 'reject', checks: [...part.checks, check] };
}
