/**
 * A made-up Intel: root, PCK CA, TCB signer, a platform with its quoting enclave, and whatever these sign. It
 * exists for the cases that no real evidence at hand shows: revoked platforms, other TCB levels, forged roles.
 */

import {
  type IntelCollateral,
  NO_COLLATERAL,
  type SignedText,
} from '../../protocols/attestation/formats/intel-collateral.ts';
import { BUILT_IN, type EvidencePolicy } from '../../protocols/attestation/policy.ts';
import { concat, fromHex, hex, sha256, sha256Hex, utf8 } from '../../protocols/encoding.ts';
import { crlOf, verifyIntelQuote } from './from-bytes.ts';

const P256 = { name: 'ECDSA', namedCurve: 'P-256' } as const;
const SIGN = { name: 'ECDSA', hash: 'SHA-256' } as const;
export const NOW = new Date('2026-01-15T00:00:00Z');
const FROM = new Date('2025-01-01T00:00:00Z');
const UNTIL = new Date('2030-01-01T00:00:00Z');
const SGX_EXTENSION = '1.2.840.113741.1.13.1';
export const FMSPC = '00806f050000';
const QE_SIGNER = 'dc'.repeat(32);

const tlv = (tag: number, ...parts: Uint8Array[]): Uint8Array<ArrayBuffer> => {
  const body = concat(...parts);
  const length = body.length < 128 ? [body.length] : [0x82, body.length >> 8, body.length & 255];
  // The shortest form: lengths from 128 to 255 take one byte.
  if (length[0] === 0x82 && length[1] === 0) length.splice(0, 2, 0x81);
  return concat(Uint8Array.of(tag, ...length), body);
};
const sequence = (...parts: Uint8Array[]) => tlv(0x30, ...parts);
const oid = (text: string): Uint8Array => {
  const [a, b, ...rest] = text.split('.').map(Number);
  const bytes = [a! * 40 + b!];
  for (const arc of rest) {
    const digits = [arc & 127];
    for (let left = arc >> 7; left > 0; left >>= 7) digits.unshift((left & 127) | 128);
    bytes.push(...digits);
  }
  return tlv(0x06, Uint8Array.from(bytes));
};
const pair = (name: string, value: Uint8Array) => sequence(oid(name), value);
/** Of big-endian bytes, not negative. */
const integerOf = (bytes: Uint8Array): Uint8Array => {
  const start = bytes.findIndex((byte) => byte !== 0);
  const digits = start < 0 ? Uint8Array.of(0) : bytes.subarray(start);
  return tlv(0x02, digits[0]! >= 128 ? concat(Uint8Array.of(0), digits) : digits);
};
const integer = (value: number) => integerOf(Uint8Array.of(value >> 8, value & 255));
const name = (text: string) => sequence(tlv(0x31, pair('2.5.4.3', tlv(0x0c, utf8(text)))));
const time = (date: Date) => tlv(0x17, utf8(`${date.toISOString().replace(/[-:T]/g, '').slice(2, 14)}Z`));
const bits = (bytes: Uint8Array) => tlv(0x03, Uint8Array.of(0), bytes);
const extension = (id: string, value: Uint8Array, critical = false) =>
  sequence(oid(id), ...(critical ? [tlv(0x01, Uint8Array.of(255))] : []), tlv(0x04, value));
const ECDSA_SHA256 = sequence(oid('1.2.840.10045.4.3.2'));

export const le = (value: number | bigint, bytes: number): Uint8Array =>
  Uint8Array.from({ length: bytes }, (_, i) => Number((BigInt(value) >> BigInt(8 * i)) & 255n));

export interface Signer {
  readonly keys: CryptoKeyPair;
  readonly subject: string;
  readonly serial: number;
  readonly der: Uint8Array;
}

const sign = async (keys: CryptoKeyPair, data: Uint8Array): Promise<Uint8Array> =>
  new Uint8Array(await crypto.subtle.sign(SIGN, keys.privateKey, new Uint8Array(data)));

/** SEQUENCE {what, algorithm, signature} */
async function sealed(keys: CryptoKeyPair, what: Uint8Array): Promise<Uint8Array> {
  const raw = await sign(keys, what);
  const signature = sequence(integerOf(raw.subarray(0, 32)), integerOf(raw.subarray(32)));
  return sequence(what, ECDSA_SHA256, bits(signature));
}

let serials = 1000;

async function certify(
  subject: string,
  issuer: Signer | undefined,
  extensions: Uint8Array[],
  { notBefore = FROM, notAfter = UNTIL }: { notBefore?: Date; notAfter?: Date } = {},
): Promise<Signer> {
  const keys = await crypto.subtle.generateKey(P256, true, ['sign', 'verify']);
  const serial = serials++;
  const der = await sealed(
    issuer?.keys ?? keys,
    sequence(
      tlv(0xa0, integer(2)),
      integer(serial),
      ECDSA_SHA256,
      name(issuer?.subject ?? subject),
      sequence(time(notBefore), time(notAfter)),
      name(subject),
      new Uint8Array(await crypto.subtle.exportKey('spki', keys.publicKey)),
      tlv(0xa3, sequence(...extensions)),
    ),
  );
  return { keys, subject, serial, der };
}

const usage = (byte: number, unused: number) =>
  extension('2.5.29.15', tlv(0x03, Uint8Array.of(unused, byte)), true);
const constraints = (...parts: Uint8Array[]) => extension('2.5.29.19', sequence(...parts), true);
/** keyCertSign and cRLSign */
const ca = (pathLength: number) => [
  constraints(tlv(0x01, Uint8Array.of(255)), integer(pathLength)),
  usage(0x06, 1),
];
const leaf = () => [constraints(), usage(0xc0, 6)];
const pckExtension = ({ svns = SVNS, pceSvn = 11, pceId = '0000' }: Options) =>
  extension(
    SGX_EXTENSION,
    sequence(
      pair(`${SGX_EXTENSION}.1`, tlv(0x04, new Uint8Array(16))),
      pair(
        `${SGX_EXTENSION}.2`,
        sequence(
          ...svns.map((svn, i) => pair(`${SGX_EXTENSION}.2.${i + 1}`, integer(svn))),
          pair(`${SGX_EXTENSION}.2.17`, integer(pceSvn)),
          pair(`${SGX_EXTENSION}.2.18`, tlv(0x04, Uint8Array.from(svns))),
        ),
      ),
      pair(`${SGX_EXTENSION}.3`, tlv(0x04, fromHex(pceId))),
      pair(`${SGX_EXTENSION}.4`, tlv(0x04, fromHex(FMSPC))),
    ),
  );
/** What the platform's PCK certificate says unless told otherwise. */
const SVNS = [7, 7, 2, 2, 3, 1, 0, 3, 0, 0, 0, 0, 0, 0, 0, 0];

export const pem = (...signers: Signer[]): string =>
  signers
    .map(({ der }) => btoa(String.fromCharCode(...der)).replaceAll(/(.{64})/g, '$1\n'))
    .map((text) => `-----BEGIN CERTIFICATE-----\n${text}\n-----END CERTIFICATE-----\n`)
    .join('');

function revoke(
  issuer: Signer,
  revoked: readonly Signer[],
  {
    thisUpdate = new Date('2026-01-01T00:00:00Z'),
    nextUpdate = new Date('2026-02-01T00:00:00Z'),
  }: { thisUpdate?: Date; nextUpdate?: Date },
): Promise<Uint8Array> {
  const entries = revoked.map(({ serial }) => sequence(integer(serial), time(thisUpdate)));
  return sealed(
    issuer.keys,
    sequence(
      integer(1),
      ECDSA_SHA256,
      name(issuer.subject),
      time(thisUpdate),
      time(nextUpdate),
      ...(entries.length > 0 ? [sequence(...entries)] : []),
      tlv(0xa0, sequence(extension('2.5.29.20', integer(1)))),
    ),
  );
}

const components = (svns: readonly number[]) => svns.map((svn) => ({ svn }));
const level = (
  tcb: object,
  tcbStatus = 'UpToDate',
  tcbDate = '2025-06-01T00:00:00Z',
  advisoryIDs?: string[],
) => ({
  tcb,
  tcbDate,
  tcbStatus,
  ...(advisoryIDs === undefined ? {} : { advisoryIDs }),
});

export { level };

/** One level that the platform reaches, unless told otherwise. */
export const platformTcb = (svns: readonly number[] = SVNS, pcesvn = 11, tdx = [5, 0, 7]) => ({
  sgxtcbcomponents: components(svns),
  pcesvn,
  tdxtcbcomponents: components([...tdx, ...new Array(16 - tdx.length).fill(0)]),
});

const statement = {
  issueDate: '2026-01-01T00:00:00Z',
  nextUpdate: '2026-02-01T00:00:00Z',
  tcbEvaluationDataNumber: 18,
};
export const module = {
  mrsigner: '00'.repeat(48),
  attributes: '00'.repeat(8),
  attributesMask: 'FF'.repeat(8),
};

export const tcbInfo = (changes: object = {}) => ({
  id: 'TDX',
  version: 3,
  ...statement,
  fmspc: FMSPC.toUpperCase(),
  pceId: '0000',
  tcbType: 0,
  tdxModule: module,
  tdxModuleIdentities: [{ id: 'TDX_01', ...module, tcbLevels: [level({ isvsvn: 4 })] }],
  tcbLevels: [level(platformTcb())],
  ...changes,
});

export const qeIdentity = (changes: object = {}) => ({
  id: 'TD_QE',
  version: 2,
  ...statement,
  miscselect: '00000000',
  miscselectMask: 'FFFFFFFF',
  attributes: '11000000000000000000000000000000',
  attributesMask: 'FBFFFFFFFFFFFFFF0000000000000000',
  mrsigner: QE_SIGNER.toUpperCase(),
  isvprodid: 2,
  tcbLevels: [level({ isvsvn: 4 })],
  ...changes,
});

export interface Options {
  readonly version?: 3 | 4 | 5;
  readonly td15?: boolean;
  /** the extended form of TD 1.5 */
  readonly td15ex?: boolean;
  readonly sgx?: boolean;
  /** changes bytes of the report before it is signed */
  readonly report?: (body: Uint8Array) => void;
  readonly qeReport?: (report: Uint8Array) => void;
  readonly padding?: Uint8Array;
  readonly tcbInfo?: object;
  readonly qeIdentity?: object;
  readonly svns?: number[];
  readonly pceSvn?: number;
  readonly pceId?: string;
  readonly revoked?: ('pck' | 'pckCa' | 'signer')[];
  readonly crlDates?: { thisUpdate?: Date; nextUpdate?: Date };
  /** names and shapes of certificates, for forged roles */
  readonly pckName?: string;
  readonly pckCaPathLength?: number;
  readonly signerName?: string;
  readonly signerBy?: 'root' | 'pckCa';
  readonly pckDates?: { notBefore?: Date; notAfter?: Date };
}

export interface Case {
  readonly quote: Uint8Array;
  readonly collateral: IntelCollateral;
  readonly roots: string[];
  readonly signers: Record<'root' | 'pckCa' | 'pck' | 'signer', Signer>;
}

/** A statement as Intel signs them. */
export async function signedBy(signer: Signer, content: object, chain: string): Promise<SignedText> {
  const text = JSON.stringify(content);
  return { text, signature: hex(await sign(signer.keys, utf8(text))), chain };
}

/** Everything fits and is current unless the options say otherwise. */
export async function intelCase(options: Options = {}): Promise<Case> {
  const root = await certify('Intel SGX Root CA', undefined, ca(1));
  const pckCa = await certify('Intel SGX PCK Platform CA', root, ca(options.pckCaPathLength ?? 0));
  const pck = await certify(
    options.pckName ?? 'Intel SGX PCK Certificate',
    pckCa,
    [...leaf(), pckExtension(options)],
    options.pckDates,
  );
  const signer = await certify(
    options.signerName ?? 'Intel SGX TCB Signing',
    options.signerBy === 'pckCa' ? pckCa : root,
    leaf(),
  );
  const signers = { root, pckCa, pck, signer };
  const revoked = (names: ('pck' | 'pckCa' | 'signer')[]) =>
    (options.revoked ?? []).filter((name) => names.includes(name)).map((name) => signers[name]);
  const chain = options.signerBy === 'pckCa' ? pem(signer, pckCa, root) : pem(signer, root);
  const signed = (content: object) => signedBy(signer, content, chain);
  const sgx = options.sgx ?? false;
  return {
    quote: await makeQuote(signers, options),
    collateral: {
      ...NO_COLLATERAL,
      tcbInfos: [await signed(tcbInfo({ ...(sgx ? { id: 'SGX' } : {}), ...options.tcbInfo }))],
      qeIdentities: [await signed(qeIdentity({ ...(sgx ? { id: 'QE' } : {}), ...options.qeIdentity }))],
      crls: [
        crlOf(await revoke(root, revoked(['pckCa', 'signer']), options.crlDates ?? {})),
        crlOf(await revoke(pckCa, revoked(['pck']), options.crlDates ?? {})),
      ],
      crlChains: [pem(pckCa, root)],
    },
    roots: [sha256Hex(root.der)],
    signers,
  };
}

/** Another quote by the same platform. */
export async function makeQuote(
  { root, pckCa, pck }: Case['signers'],
  options: Options,
): Promise<Uint8Array> {
  const { sgx = false, td15ex = false, td15 = td15ex } = options;
  const version = options.version ?? (td15 ? 5 : sgx ? 3 : 4);
  const body = sgx ? enclaveReport() : tdReport(td15ex ? 885 : td15 ? 648 : 584);
  options.report?.(body);
  const header = concat(
    le(version, 2),
    le(2, 2),
    le(sgx ? 0 : 0x81, 4),
    le(0, 4),
    fromHex('939a7233f79c4ca9940a0db3957f0607'),
    new Uint8Array(20),
  );
  const type = sgx ? 1 : td15ex ? 4 : td15 ? 3 : 2;
  const typed = version === 5 ? concat(le(type, 2), le(body.length, 4)) : new Uint8Array(0);
  const signedPart = concat(header, typed, body);

  const attestation = await crypto.subtle.generateKey(P256, true, ['sign', 'verify']);
  const point = new Uint8Array(await crypto.subtle.exportKey('raw', attestation.publicKey)).subarray(1);
  const auth = Uint8Array.from({ length: 32 }, (_, i) => i);
  const qeReport = enclaveReport();
  qeReport.set(fromHex('1100000000000000e700000000000000'), 48);
  qeReport.set(fromHex(QE_SIGNER), 128);
  qeReport.set(concat(le(2, 2), le(6, 2)), 256);
  qeReport.set(concat(sha256(point, auth), new Uint8Array(32)), 320);
  options.qeReport?.(qeReport);
  const certificates = utf8(pem(pck, pckCa, root));
  const qe = concat(
    qeReport,
    await sign(pck.keys, qeReport),
    le(auth.length, 2),
    auth,
    concat(le(5, 2), le(certificates.length, 4), certificates),
  );
  const data = concat(
    await sign(attestation, signedPart),
    point,
    version === 3 ? qe : concat(le(6, 2), le(qe.length, 4), qe),
  );
  return concat(signedPart, le(data.length, 4), data, options.padding ?? new Uint8Array(0));
}

function enclaveReport(): Uint8Array {
  const report = new Uint8Array(384);
  report.set(fromHex('0500000000000000e700000000000000'), 48);
  report.fill(0xaa, 64, 96);
  return report;
}

function tdReport(bytes: number): Uint8Array {
  const report = new Uint8Array(bytes);
  report.set([5, 1, 7], 0);
  report.set(fromHex('0000001000000000'), 120);
  report.set(fromHex('e702060000000000'), 128);
  report.fill(0xbb, 136, 184);
  return report;
}

/** The report of a case, under `strict` at NOW unless told otherwise. */
export const judge = (
  { quote, collateral, roots }: Case,
  policy: EvidencePolicy = BUILT_IN.strict,
  now = NOW,
) => verifyIntelQuote({ quote, collateral, roots, policy, now });

/** Ids of the checks that failed. */
export const failures = (report: { checks: readonly { id: string; status: string }[] }): string[] =>
  report.checks.filter(({ status }) => status === 'fail').map(({ id }) => id);
