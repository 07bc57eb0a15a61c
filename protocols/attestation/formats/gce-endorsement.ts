/**
 * Reads Google's endorsement of the firmware of its confidential virtual machines (github.com/google/gce-tcb-verifier,
 * proto/endorsement.proto): VMLaunchEndorsement, a signature over VMGoldenMeasurement, which names the measurements that
 * an SNP guest by its number of virtual CPUs, and a TD by its memory, may start with. It comes in an SNP guest's
 * certificate table, and by measurement from storage.googleapis.com/gce_tcb_integrity. Nothing is verified here.
 */
import { hex } from '../../encoding.ts';
import { VouchError } from '../../errors.ts';
import { type Certificate, parseCertificate, readPem } from '../certificate.ts';
import { MAX_EVIDENCE_BYTES } from '../limits.ts';
import { type Message, readMessage } from '../protobuf.ts';

const MEASUREMENT_BYTES = 48;
const MAX_MEASUREMENTS = 1024;
/** What a Date can hold. */
const MAX_SECONDS = 8_640_000_000_000n;
const MAX_SVN = 0xffff_ffffn;

/** A measurement, lower-case hex, and of which machines it is. */
export interface Golden {
  readonly measurement: string;
  readonly of:
    | { readonly vcpus: number }
    | { readonly ramGib: number; readonly earlyAccept: boolean }
    | { readonly svsm: true };
}

export interface GceEndorsement {
  /** what the signature covers */
  readonly signed: Uint8Array;
  readonly signature: Uint8Array;
  readonly certificate: Certificate;
  /** those that came along; none of them is trusted for that */
  readonly authorities: readonly Certificate[];
  readonly signedAt: Date;
  /** which source the firmware was built from: Google's change, or a commit */
  readonly source: string;
  /** SHA-384 of the firmware's file */
  readonly firmware: string;
  /** by platform: its security version there, and what it may measure */
  readonly platforms: ReadonlyMap<string, { readonly svn: number; readonly golden: readonly Golden[] }>;
}

/** What Google says of the firmware that a CPU measured. */
export interface EndorsementClaims {
  readonly by: 'google';
  /** security version of the firmware on that platform */
  readonly svn: number;
  readonly source: string;
  /** SHA-384 of its file, lower-case hex */
  readonly firmware: string;
  readonly signedAt: string;
  /** of which machines the measurement is, such as those with two virtual CPUs */
  readonly of: Golden['of'];
}

const what = 'endorsement of firmware';
const refuse = (reason: string): never => {
  throw new VouchError('bad-file', `${what}: ${reason}`);
};

const START = 0x0a;
const DER_SEQUENCE = 0x30;

/** Whether bytes have the outer form: signed bytes that hold a certificate, and a signature, and nothing else. */
export function isGceEndorsement(bytes: Uint8Array): boolean {
  if (bytes.length < 512 || bytes.length > MAX_EVIDENCE_BYTES || bytes[0] !== START) return false;
  try {
    const outer = readMessage(bytes, what);
    const golden = outer.bytes(1);
    if (outer.fields.join() !== '1,2' || golden === undefined || outer.bytes(2) === undefined) return false;
    return readMessage(golden, what).bytes(4)?.[0] === DER_SEQUENCE;
  } catch {
    return false;
  }
}

/** Throws `bad-file`. */
export function parseGceEndorsement(bytes: Uint8Array): GceEndorsement {
  if (bytes.length > MAX_EVIDENCE_BYTES) refuse(`expected at most ${MAX_EVIDENCE_BYTES} bytes`);
  const outer = readMessage(bytes, what);
  const signed = outer.bytes(1) ?? refuse('expected what is signed');
  const signature = outer.bytes(2) ?? refuse('expected a signature');
  const golden = readMessage(signed, what);
  const certificate = golden.bytes(4) ?? refuse("expected the signer's certificate");
  const bundle = golden.bytes(6);
  return {
    signed,
    signature,
    certificate: parseCertificate(certificate, `${what}: certificate`),
    authorities:
      bundle === undefined
        ? []
        : readPem(new TextDecoder('latin1').decode(bundle), 'CERTIFICATE', `${what}: ca_bundle`).map((der) =>
            parseCertificate(der, `${what}: ca_bundle`),
          ),
    signedAt: timeOf(golden),
    source: sourceOf(golden),
    firmware: sized(golden.bytes(5), 'digest'),
    platforms: new Map([...snpOf(golden), ...tdxOf(golden)]),
  };
}

function timeOf(golden: Message): Date {
  const seconds = readMessage(golden.bytes(1) ?? refuse('expected a time'), `${what}: time`).number(1);
  return seconds > MAX_SECONDS ? refuse('expected a time that exists') : new Date(Number(seconds) * 1000);
}

/** Google's own tool demands one or the other of what was signed since August 2024. */
function sourceOf(golden: Message): string {
  const change = golden.number(2);
  const commit = golden.bytes(3) ?? new Uint8Array(0);
  if (commit.length > 64) refuse('expected a commit of up to 64 bytes');
  if (commit.length > 0) return `commit ${hex(commit)}`;
  return change === 0n ? '' : `change ${change}`;
}

const sized = (bytes: Uint8Array | undefined, name: string): string =>
  bytes?.length === MEASUREMENT_BYTES ? hex(bytes) : refuse(`${name}: expected ${MEASUREMENT_BYTES} bytes`);

const svnOf = (message: Message): number => {
  const svn = message.number(1);
  return svn > MAX_SVN ? refuse('expected a security version of 32 bits') : Number(svn);
};

const small = (value: bigint): number =>
  value > MAX_SVN ? refuse('expected numbers of 32 bits') : Number(value);

type Row = readonly [string, { readonly svn: number; readonly golden: readonly Golden[] }];

/** VMSevSnp: a map from numbers of virtual CPUs, and the measurement under an SVSM. */
function snpOf(golden: Message): Row[] {
  const bytes = golden.bytes(7);
  if (bytes === undefined) return [];
  const message = readMessage(bytes, `${what}: sev_snp`);
  const entries = few(message.all(2)).map((entry): Golden => {
    const pair = readMessage(entry, `${what}: sev_snp`);
    return { measurement: sized(pair.bytes(2), 'measurement'), of: { vcpus: small(pair.number(1)) } };
  });
  const svsm = message.bytes(7);
  const under: Golden[] =
    svsm === undefined || svsm.length === 0 ? [] : [{ measurement: sized(svsm, 'svsm'), of: { svsm: true } }];
  return [['sev-snp', { svn: svnOf(message), golden: [...entries, ...under] }]];
}

/** VMTdx: MRTDs by memory, and by who accepts it. */
function tdxOf(golden: Message): Row[] {
  const bytes = golden.bytes(8);
  if (bytes === undefined) return [];
  const message = readMessage(bytes, `${what}: tdx`);
  const entries = few(message.all(2)).map((entry): Golden => {
    const one = readMessage(entry, `${what}: tdx`);
    return {
      measurement: sized(one.bytes(3), 'mrtd'),
      of: { ramGib: small(one.number(1)), earlyAccept: one.number(2) !== 0n },
    };
  });
  return [['tdx', { svn: svnOf(message), golden: entries }]];
}

const few = <T>(all: readonly T[]): readonly T[] =>
  all.length > MAX_MEASUREMENTS ? refuse(`expected at most ${MAX_MEASUREMENTS} measurements`) : all;
