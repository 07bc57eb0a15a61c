/**
 * Verifies evidence and chains from their bytes, as files and documents do it: each part is parsed on first use, and
 * what cannot be parsed is a failed check of the verifier. Names and results are the verifiers' own.
 */
import {
  type Certificate,
  parseCertificate,
  parseCertificates,
  parseRevocationList,
  type RevocationList,
} from '../../protocols/attestation/certificate.ts';
import * as chain from '../../protocols/attestation/chain.ts';
import * as hyperenclave from '../../protocols/attestation/formats/hyperenclave.ts';
import { parseHyperEnclaveQuote } from '../../protocols/attestation/formats/hyperenclave-quote.ts';
import { parseIntelQuote, teeOf } from '../../protocols/attestation/formats/intel-quote.ts';
import * as intel from '../../protocols/attestation/formats/intel-verify.ts';
import * as nvidia from '../../protocols/attestation/formats/nvidia-gpu.ts';
import {
  type GpuEvidence,
  parseGpuReport,
  parseSwitchReport,
} from '../../protocols/attestation/formats/nvidia-report.ts';
import * as rims from '../../protocols/attestation/formats/rim.ts';
import * as snp from '../../protocols/attestation/formats/sev-snp.ts';
import { parseSnpReport } from '../../protocols/attestation/formats/sev-snp-report.ts';
import { parseTpmAttest, parseTpmSignature } from '../../protocols/attestation/formats/tpm-attest.ts';
import * as tpm from '../../protocols/attestation/formats/tpm-quote.ts';
import { type OcspResponse, parseOcspResponse } from '../../protocols/attestation/ocsp.ts';
import { type Parsed, parsedOnce } from '../../protocols/attestation/parsed.ts';
import { VouchError } from '../../protocols/errors.ts';

type Bytes = Uint8Array;
/** The same question with bytes in place of what is parsed from them. */
type FromBytes<Question, Changes> = Omit<Question, keyof Changes> & Changes;

export const crlOf = (der: Bytes): Parsed<RevocationList> => parsedOnce(() => parseRevocationList(der));
export const ocspResponseOf = (der: Bytes): Parsed<OcspResponse> => parsedOnce(() => parseOcspResponse(der));
const ocspOf = (ders: readonly Bytes[] | undefined) => ders?.map(ocspResponseOf);
const crlsOf = (ders: readonly Bytes[] | undefined) => ders?.map(crlOf);

/** Those that can be read. */
const readable = (ders: readonly Bytes[]): Certificate[] =>
  ders.flatMap((der) => {
    try {
      return [parseCertificate(der)];
    } catch (error) {
      if (!(error instanceof VouchError)) throw error;
      return [];
    }
  });

export type ChainQuestion = FromBytes<
  Omit<chain.ChainQuestion, 'certificates'>,
  {
    leaf: Bytes;
    intermediates: readonly Bytes[];
    own?: readonly Bytes[];
    crls?: readonly Bytes[];
    ocsp?: readonly Bytes[];
  }
>;
/** Certificates that cannot be parsed fail the check that their caller makes of it. */
export async function verifyChain({
  leaf,
  intermediates,
  own,
  crls,
  ocsp,
  ...rest
}: ChainQuestion): Promise<chain.ChainReport> {
  try {
    return await chain.verifyChain({
      ...rest,
      certificates: [parseCertificate(leaf), ...parseCertificates(intermediates)],
      own: own && parseCertificates(own),
      crls: crlsOf(crls),
      ocsp: ocspOf(ocsp),
    });
  } catch (error) {
    if (!(error instanceof VouchError)) throw error;
    const check = { name: 'certificates', status: 'fail', detail: error.message } as const;
    return { passed: false, checks: [check], path: [], revoked: false };
  }
}

export type SnpQuestion = FromBytes<
  snp.SnpQuestion,
  { report: Bytes; certificates: readonly Bytes[]; crls?: readonly Bytes[] }
>;
export const verifySnp = ({ report, certificates, crls, ...rest }: SnpQuestion): Promise<snp.SnpResult> =>
  snp.verifySnp({
    ...rest,
    report: parsedOnce(() => parseSnpReport(report)),
    certificates: parsedOnce(() => parseCertificates(certificates)),
    crls: crlsOf(crls),
  });

export type TpmQuestion = FromBytes<
  tpm.TpmQuestion,
  { attest: Bytes; signature: Bytes; certificates: readonly Bytes[]; crls?: readonly Bytes[] }
>;
export const verifyTpm = ({
  attest,
  signature,
  certificates,
  crls,
  ...rest
}: TpmQuestion): Promise<tpm.TpmResult> =>
  tpm.verifyTpm({
    ...rest,
    attest: parsedOnce(() => parseTpmAttest(attest)),
    signature: parsedOnce(() => parseTpmSignature(signature)),
    certificates: readable(certificates),
    crls: crlsOf(crls),
  });

export type HyperEnclaveQuestion = FromBytes<
  hyperenclave.HyperEnclaveQuestion,
  { quote: Bytes; certificates: readonly Bytes[]; crls?: readonly Bytes[] }
>;
export const verifyHyperEnclave = ({ quote, certificates, crls, ...rest }: HyperEnclaveQuestion) =>
  hyperenclave.verifyHyperEnclave({
    ...rest,
    quote: parsedOnce(() => parseHyperEnclaveQuote(quote)),
    certificates: readable(certificates),
    crls: crlsOf(crls),
  });

export type GpuQuestion = FromBytes<
  nvidia.GpuQuestion,
  {
    gpus: readonly GpuEvidence[];
    switches?: readonly GpuEvidence[];
    rims: readonly Bytes[];
    storedRims?: readonly Bytes[];
    crls?: readonly Bytes[];
    ocsp?: readonly Bytes[];
  }
>;
const answerOf =
  <T>(parse: (bytes: Bytes) => T) =>
  ({ report, certificates }: GpuEvidence): nvidia.Answer<T> => ({
    report: parsedOnce(() => parse(report)),
    certificates: parsedOnce(() => parseCertificates(certificates)),
  });
const rimOf = (bytes: Bytes): Parsed<rims.Rim> => parsedOnce(() => rims.parseRim(bytes));
export const verifyGpu = ({
  gpus,
  switches,
  rims: manifests,
  storedRims,
  crls,
  ocsp,
  ...rest
}: GpuQuestion) =>
  nvidia.verifyGpu({
    ...rest,
    gpus: gpus.map(answerOf(parseGpuReport)),
    switches: switches?.map(answerOf(parseSwitchReport)),
    rims: manifests.map(rimOf),
    storedRims: storedRims?.map(rimOf),
    crls: crlsOf(crls),
    ocsp: ocspOf(ocsp),
  });

export type RimTrust = FromBytes<
  rims.RimTrust,
  { crls?: readonly Bytes[]; ocsp?: readonly Bytes[] | undefined }
>;
export const verifyRim = (bytes: Bytes, { crls, ocsp, ...rest }: RimTrust): Promise<rims.RimResult> =>
  rims.verifyRim(rimOf(bytes), { ...rest, crls: crlsOf(crls), ocsp: ocspOf(ocsp) });

export type IntelQuestion = FromBytes<Omit<intel.IntelQuestion, 'tee'>, { quote: Bytes }>;
export const verifyIntelQuote = ({ quote, ...rest }: IntelQuestion): Promise<intel.IntelReport> =>
  intel.verifyIntelQuote({
    ...rest,
    tee: teeOf(quote),
    quote: parsedOnce(() => parseIntelQuote(quote)),
  });
