/**
 * Reads the certificate of the key that signs a chip's reports: a VCEK, of the chip itself, or a VLEK, of a provider
 * (AMD 57230, section 3). Nothing is verified here.
 */
import { VouchError } from '../../errors.ts';
import { type Certificate, fromBase64, parseCertificates } from '../certificate.ts';
import { readDer, smallInteger, TAG, textOf } from '../der.ts';
import { AMD_CERTIFICATES, type AmdProduct } from '../roots/amd.ts';
import { type SnpReport, TCB_LAYOUT, type TcbComponent } from './sev-snp-report.ts';

/** The key that signs a chip's reports, as its certificate describes it. */
export interface Endorsement {
  readonly key: 'VCEK' | 'VLEK';
  readonly certificate: Certificate;
  /** who may stand above it: those at hand, and AMD's own as Vouch keeps them */
  readonly authorities: readonly Certificate[];
  readonly productName: string;
  readonly product: AmdProduct;
  readonly structVersion: number;
  /** TCB_VERSION that the certificate was issued for */
  readonly tcb: Uint8Array;
  /** 64 or 8 bytes; a VLEK has none */
  readonly chipId?: Uint8Array;
  readonly provider?: string;
}

/** Extensions of 57230, section 3. */
const ARC = '1.3.6.1.4.1.3704.1';
const OID = {
  structVersion: `${ARC}.1`,
  productName: `${ARC}.2`,
  hwId: `${ARC}.4`,
  cspId: `${ARC}.5`,
  spl: (number: number) => `${ARC}.3.${number}`,
} as const;
const SPL: Readonly<Record<TcbComponent, number>> = { bootloader: 1, tee: 2, snp: 3, microcode: 8, fmc: 9 };
/** Extensions of the reserved bytes of TCB_VERSION: byte -> number. */
const RESERVED_SPL: Readonly<Record<AmdProduct, readonly (readonly [number, number])[]>> = {
  Milan: [4, 5, 6, 7].map((number) => [number - 2, number] as const),
  Genoa: [4, 5, 6, 7].map((number) => [number - 2, number] as const),
  Turin: [5, 6, 7].map((number) => [number - 1, number] as const),
};
const NAMES: Readonly<Record<string, AmdProduct>> = {
  Milan: 'Milan',
  Genoa: 'Genoa',
  Bergamo: 'Genoa',
  Siena: 'Genoa',
  Turin: 'Turin',
};

/** Finds and reads the VCEK or VLEK that the report asks for; throws `bad-file` or `evidence-rejected`. */
export function endorsementOf(report: SnpReport, certificates: readonly Certificate[]): Endorsement {
  const refuse = (reason: string): never => {
    throw new VouchError('evidence-rejected', reason);
  };
  const { signingKey } = report;
  if (signingKey === 'none') return refuse('the report is not signed');
  if (signingKey === 'VCEK' && report.maskChipKey)
    return refuse('MASK_CHIP_KEY is set: a VCEK cannot have signed');
  const found = certificates.filter(({ subjectName }) => subjectName === `SEV-${signingKey}`);
  const [certificate] = found;
  if (certificate === undefined) return refuse(`expected a ${signingKey} certificate, got none`);
  if (found.some(({ fingerprint }) => fingerprint !== certificate.fingerprint)) {
    return refuse(`expected one ${signingKey} certificate, got ${found.length}`);
  }
  const { extensions, key } = certificate;
  if (key.type !== 'EC' || key.curve !== 'P-384') return refuse(`expected a P-384 key in the ${signingKey}`);
  const value = (oid: string): Uint8Array =>
    extensions.get(oid)?.value ?? refuse(`${signingKey}: expected extension ${oid}`);
  const number = (oid: string): number =>
    smallInteger(readDer(value(oid), signingKey, TAG.integer), signingKey);
  const text = (oid: string): string => textOf(readDer(value(oid), signingKey), signingKey);

  const productName = text(OID.productName);
  const product = NAMES[productName.split('-')[0]!];
  if (product === undefined) return refuse(`${signingKey}: product ${productName.slice(0, 32)} is not known`);
  const tcb = new Uint8Array(8);
  const put = (at: number, spl: number) => {
    const level = number(OID.spl(spl));
    if (level > 255) refuse(`${signingKey}: expected patch levels of one byte`);
    tcb[at] = level;
  };
  for (const [component, at] of Object.entries(TCB_LAYOUT[product])) put(at, SPL[component as TcbComponent]);
  for (const [at, spl] of RESERVED_SPL[product]) if (extensions.has(OID.spl(spl))) put(at, spl);

  const hwId = signingKey === 'VCEK' ? unwrapped(value(OID.hwId)) : undefined;
  if (signingKey === 'VLEK' && extensions.has(OID.hwId)) return refuse('VLEK: expected no chip id');
  const others = certificates.filter(({ authority }) => authority);
  const own = parseCertificates(AMD_CERTIFICATES[product].map((der) => fromBase64(der, product)));
  return {
    key: signingKey,
    certificate,
    authorities: [...others, ...own],
    productName,
    product,
    structVersion: number(OID.structVersion),
    tcb,
    ...(hwId === undefined ? {} : { chipId: hwId }),
    ...(signingKey === 'VLEK' ? { provider: text(OID.cspId) } : {}),
  };
}

/** AMD signs a chip's VCEK with the product's ASK, a provider's VLEK with its ASVK. */
export const issuerOf = ({ key, product }: Endorsement): string =>
  `SEV-${key === 'VLEK' ? 'VLEK-' : ''}${product}`;

/** AMD issued certificates with the chip id as it is and, later, inside an OCTET STRING; the lengths differ. */
function unwrapped(value: Uint8Array): Uint8Array {
  const wrapped = value.length % 8 === 2 && value[0] === TAG.octetString && value[1] === value.length - 2;
  return wrapped ? value.subarray(2) : value;
}
