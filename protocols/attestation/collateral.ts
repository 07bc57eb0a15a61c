/**
 * What belongs to evidence and is not evidence itself: certificates and lists of revoked ones, what vendors say of
 * their hardware, and what else a verifier compares evidence with. Only read here; whether any of it is genuine and
 * current is decided for each piece of evidence anew.
 */
import { hex } from '../encoding.ts';
import type { Certificate, RevocationList } from './certificate.ts';
import type { PcrBank } from './demands.ts';
import type { RuntimeData } from './formats/azure-hcl.ts';
import type { GceEndorsement } from './formats/gce-endorsement.ts';
import { type IntelCollateral, NO_COLLATERAL } from './formats/intel-collateral.ts';
import type { Rim } from './formats/rim.ts';
import type { SigstoreBundle } from './formats/sigstore-bundle.ts';
import type { TpmSignature } from './formats/tpm-attest.ts';
import type { PcrValues } from './formats/tpm-pcrs.ts';
import type { OcspResponse } from './ocsp.ts';
import type { Parsed } from './parsed.ts';
import type { PublicKey } from './signature.ts';

/** A manifest names the versions it is for, which have to be read to choose it. */
export type Manifest = Parsed<Rim>;

export interface Collateral {
  readonly certificates: readonly Certificate[];
  readonly crls: readonly Parsed<RevocationList>[];
  readonly ocsp: readonly Parsed<OcspResponse>[];
  /** attestation keys without a certificate */
  readonly keys: readonly PublicKey[];
  /** one entry a file */
  readonly pcrs: readonly PcrValues[];
  /** signatures of TPM quotes, which travel apart from them */
  readonly tpmSignatures: readonly Parsed<TpmSignature>[];
  /** of TDs, not yet parsed */
  readonly eventLogs: readonly Uint8Array[];
  /** with the certificates and CRLs that came alone */
  readonly intel: IntelCollateral;
  /** reference integrity manifests */
  readonly manifests: readonly Manifest[];
  /** what Google says of firmware that CPUs measure */
  readonly endorsements: readonly Parsed<GceEndorsement>[];
  /** signed statements about what CPUs measure */
  readonly provenances: readonly Parsed<SigstoreBundle>[];
  /** what CPUs of Azure's VMs bind, their vTPMs' keys among it */
  readonly runtimes: readonly RuntimeData[];
  /** lower-case hex SHA-256 of the files that all of this came from, where they are known */
  readonly digests?: ReadonlySet<string> | undefined;
}

export const NO_FILES: Collateral = {
  certificates: [],
  crls: [],
  ocsp: [],
  keys: [],
  pcrs: [],
  tpmSignatures: [],
  eventLogs: [],
  intel: NO_COLLATERAL,
  manifests: [],
  endorsements: [],
  provenances: [],
  runtimes: [],
};

/** Whose certificates and lists these are, by the issuer's name; `other`: of NVIDIA, of TPMs, of anybody. */
export type Vendor = 'amd' | 'intel' | 'other';

function vendorOf(issuerName: string): Vendor {
  if (/^(SEV|ARK)-/.test(issuerName)) return 'amd';
  return issuerName.startsWith('Intel SGX ') ? 'intel' : 'other';
}

/** Each once. */
export function certificatesOf(vendor: Vendor, { certificates }: Collateral): Certificate[] {
  const own = certificates.filter(({ issuerName }) => vendorOf(issuerName) === vendor);
  return [...new Map(own.map((certificate) => [certificate.fingerprint, certificate])).values()];
}

/** Each issuer's lists as given, else as in store. */
export function crlsOf(
  vendor: Vendor,
  { given, store }: { readonly given: Collateral; readonly store: Collateral },
): Parsed<RevocationList>[] {
  const named = given.crls.filter((list) => vendorOf(list().issuerName) === vendor);
  const known = new Set(named.map((list) => list().issuerName));
  const kept = store.crls.filter(
    (list) => vendorOf(list().issuerName) === vendor && !known.has(list().issuerName),
  );
  return [...named, ...kept];
}

/**
 * All that are at hand. Of those in store, which run out within days, one that has run out is left out unless it says
 * something other than good: what was given is not made good by silence, what is kept may be kept too long.
 */
export const ocspOf = ({
  given,
  store,
  now,
}: {
  readonly given: Collateral;
  readonly store: Collateral;
  readonly now: Date;
}): Parsed<OcspResponse>[] => [
  ...given.ocsp,
  ...store.ocsp.filter((response) =>
    response().answers.some(
      ({ status, nextUpdate }) => status !== 'good' || nextUpdate === undefined || now <= nextUpdate,
    ),
  ),
];

/** PCR values of all files; of two that contradict each other, which is a failure of its own, always the same one. */
export function pcrsOf({ pcrs }: Collateral): PcrValues {
  const merged = new Map<PcrBank, Map<number, Uint8Array>>();
  for (const [bank, values] of pcrs.flatMap((file) => [...file])) {
    const known = merged.get(bank) ?? new Map<number, Uint8Array>();
    merged.set(bank, known);
    for (const [index, value] of values) {
      const before = known.get(index);
      if (before === undefined || hex(value) < hex(before)) known.set(index, value);
    }
  }
  return merged;
}

/** A PCR of which two files say different things, such as sha256:4; undefined when there is none. */
export function contradictedPcr({ pcrs }: Collateral): string | undefined {
  const known = new Map<string, string>();
  for (const [bank, values] of pcrs.flatMap((file) => [...file])) {
    for (const [index, value] of values) {
      const name = `${bank}:${index}`;
      const before = known.get(name);
      if (before !== undefined && before !== hex(value)) return name;
      known.set(name, hex(value));
    }
  }
  return undefined;
}
